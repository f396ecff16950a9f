//! Faults: what the running code itself did wrong, as an ordinary, ordered, composable matter.
//!
//! ```
//! use sigplane::fault;
//!
//! let byte: Result<u8, fault::Fault> = fault::try_read(16 as *const u8);
//! println!("{}", byte.unwrap_err()); // address not mapped, reading 0x10
//! ```
//!
//! A fault is never deferred and never queued: the instruction would only repeat. It goes this way, until
//! somebody takes it:
//!
//! | step | what | module |
//! |---|---|---|
//! | 1 | the [fixup](crate::fixup!) of the faulting instruction | `fixup` |
//! | 2 | the innermost [guarded call](guarded) of the thread | `guarded` |
//! | 3 | the [code range](CodeRanges) that the instruction is in | `code` |
//! | 4 | the [region](Region)s that the address is in, by priority | `region` |
//! | 5 | [immediate](crate::Builder::immediate) entries | `dispatch` |
//! | 6, 7 | the legacy action, the handler that was there before sigplane | `dispatch` |
//! | 8 | [last-chance hooks](last_chance) | `last_chance` |
//! | 9 | the default action: restored, and the instruction repeats | `table::default_action` |
//!
//! The same signals sent by somebody (`kill`, `tgkill`, `sigqueue`) are no faults and go the way of any
//! other signal, except that one which a subscriber has handled is not passed on to the handler that was
//! there before: that would take it for a fault. One that nobody has handled is, and the handler of Rust's
//! runtime then gives the signal its default back, which disarms this module until [`enable`] is called again.
//!
//! What runs in steps 3 to 5 and 8 runs under a guard of sigplane's own: if it faults itself, it has not
//! taken the fault, and the next in order is asked. So the default action is in the end that of the first
//! fault, with its core dump. Such faults are counted ([`Table::faults`](crate::Table)).
//!
//! The first of these functions that is used (or [`enable`]) makes the six signals of faults sigplane's,
//! for as long as the process lives. A handler that was there before stands behind, as always.
//!
//! A fault whose signal is blocked kills the process and no handler runs (kernel/signal.c,
//! `force_sig_info_to_task`). So sigplane itself never blocks them, [`enable`] unblocks them, and with the
//! feature `masks` the program's own `pthread_sigmask` and `sigprocmask` leave them out. Threads that have
//! them blocked all the same are named in [`table`](crate::table()): [`FaultTable::blocked`].
//!
//! **`deliver` runs inside signal handlers.**
#![allow(unsafe_code)]

mod access;
mod code;
mod context;
mod error;
mod fixup;
mod guarded;
mod last_chance;
pub(crate) mod overflow;
mod plain;
mod ranges;
mod region;
mod report;
pub(crate) mod words;

pub use access::{
    try_c_str, try_compare_exchange, try_copy, try_copy_from, try_copy_nonoverlapping, try_copy_to,
    try_fill, try_load, try_read, try_store, try_strlen, try_write,
};
pub use code::{CodeRange, CodeRanges};
pub use context::FaultContext;
pub use error::{Access, Fault};
pub use fixup::{FixupError, register, unregister};
pub use guarded::guarded;
pub use last_chance::{Fatal, LastChance, last_chance};
pub use plain::{Plain, Word};
pub use region::Region;
pub use report::{BlockedThread, FaultTable, FixupTable};

pub(crate) use guarded::contain;
pub(crate) use last_chance::{concerns as has_last_chance, run as run_last_chance};

use crate::dispatch::{self, Arrival, Next};
use crate::engine;
use crate::error::Result;
use crate::frame::Frame;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::sys;
use crate::table::published::Published;
use words::Words;

/// The process's state of faults, in the engine.
pub(crate) struct Faults {
    pub lists: Published<fixup::Lists>,
    pub code: Published<code::Map>,
    pub regions: Published<region::Map>,
    pub hooks: Published<last_chance::Hooks>,
    /// The thread that runs last-chance hooks; 0 when none does.
    pub last: crate::sync::AtomicU32,
    pub tally: Tally,
}

/// How often each step took a fault.
#[derive(Default)]
pub(crate) struct Tally {
    pub fixups: AtomicUsize,
    pub guards: AtomicUsize,
    pub code: AtomicUsize,
    pub regions: AtomicUsize,
    /// Faults of what runs inside the handler.
    pub in_handlers: AtomicUsize,
}

impl Faults {
    pub(crate) const fn new() -> Self {
        Self {
            lists: Published::none(),
            code: Published::none(),
            regions: Published::none(),
            hooks: Published::none(),
            last: crate::sync::AtomicU32::new(0),
            tally: Tally {
                fixups: AtomicUsize::new(0),
                guards: AtomicUsize::new(0),
                code: AtomicUsize::new(0),
                regions: AtomicUsize::new(0),
                in_handlers: AtomicUsize::new(0),
            },
        }
    }
}

/// Whether the signals of faults have been made ours.
///
/// ORDERING: Relaxed on the fast path. What it stands for is in the kernel, and whoever sees it set was
/// told by a thread that had set it there before.
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Makes SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS sigplane's, so that faults go the way of
/// this module. Called again, it takes back those that somebody has taken since, and stands in front of
/// them. They are unblocked on this thread; `table()` names threads that have them blocked. The functions of this module call it themselves the first time; call it where they are first
/// used inside a handler, and in programs that only have [fixups](crate::fixup!) of their own.
///
/// # Errors
/// [`Error::VforkChild`](crate::Error::VforkChild), [`Error::Os`](crate::Error::Os).
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// sigplane::fault::enable()?;
/// assert!(sigplane::table().row(sigplane::Signal::SEGV).unwrap().ours);
/// # Ok::<(), sigplane::Error>(())
/// ```
pub fn enable() -> Result<()> {
    crate::table::pin(sys::FAULT_BITS)?;
    // The program may have blocked everything before it came to this.
    sys::unblock(sys::FAULT_BITS);
    ENABLED.store(true, Ordering::SeqCst);
    Ok(())
}

/// Registers the fixups of the object that sigplane is linked into.
pub(crate) fn register_own() {
    let (start, stop) = sys::arch::own_fixups();
    // SAFETY: the linker's bounds; the object stays as long as the engine in it.
    if let Err(error) = unsafe { register(start..stop) } {
        // A constructor has nobody to return it to, and a wrong landing is worse than an early end.
        panic!("{error}");
    }
}

/// Whether [`enable`] has been called, by the program or by a function of this module.
#[inline(always)]
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// For the functions that cannot fail for this reason: in a `vfork` child whose parent has not done it.
#[cold]
pub(crate) fn enable_or_panic() {
    if let Err(error) = enable() {
        panic!("faults cannot be handled: {error}");
    }
}

/// Tells a fault of the interrupted instruction from a signal of the same number that somebody sent:
/// the kernel gives faults a positive `si_code` (sigaction(2)), and users cannot send one to others.
/// The report of a memory error that nobody has touched yet (`BUS_MCEERR_AO`) is no fault.
#[inline(always)]
pub(crate) fn is_synchronous(number: i32, info: &libc::siginfo_t) -> bool {
    sys::FAULT_BITS & sys::bit(number) != 0
        && info.si_code > 0
        && !(number == libc::SIGBUS && info.si_code == libc::BUS_MCEERR_AO)
}

/// The way of a fault through the steps above.
pub(crate) fn deliver(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    if let Some(context) = frame.context() {
        if overflow::is_of_alternate_stack(arrival, context) {
            // Whatever ran there is overwritten: the end, before it comes to this again and again.
            crate::table::default_action::perform_fault(arrival.number, arrival.info, frame);
            return Next::RETURN;
        }
        if is_taken(arrival, context) {
            return Next::RETURN;
        }
    }
    last_chance::wait(arrival);
    dispatch::deliver(arrival, frame)
}

/// Steps 1 to 4.
fn is_taken(arrival: &Arrival<'_>, context: &mut libc::ucontext_t) -> bool {
    let tally = &engine::get().faults.tally;
    let record = arrival.record;
    let words = Words::of(arrival.info, context);
    if arrival.number == libc::SIGTRAP && !words.is_breakpoint() {
        return false; // A debugger's step or watchpoint: nothing is wrong with the instruction.
    }
    let step = if let Some(landing) = fixup::landing(record, words.pc) {
        sys::arch::land(context, landing, &words);
        &tally.fixups
    } else if guarded::catch(record, context, &words) {
        &tally.guards
    } else if code::handle(arrival, context, &words) {
        &tally.code
    } else if region::handle(arrival, context, &words) {
        &tally.regions
    } else {
        return false;
    };
    step.fetch_add(1, Ordering::Relaxed);
    true
}
