//! POSIX dispositions on top of the table: what sigaction(2) means in a process that sigplane owns.
//!
//! **Runs inside signal handlers**: sigaction(2) is async-signal-safe, and programs call it in handlers, in
//! the middle of anything. No lock, no allocation, no waiting.
//!
//! A signal is in one of two ways.
//! * *Direct*: nobody subscribes to it. The kernel has the program's own action, so flags, masks, stacks and
//!   `SA_RESETHAND` are the kernel's, and a delivery costs what it costs without sigplane.
//! * *Owned*: somebody subscribes, or all handlers are to be owned ([`own_handlers`]). The kernel has our
//!   entry stub, and what the program sets is virtual: the word of `table::disposition` is the truth, the
//!   kernel's action follows from it (`Slot::desired`), and the stub jumps to the handler.
//!
//! The two meet when a subscription begins or ends while others call [`sigaction`]. The rule is that whoever
//! changes the kernel looks at the word again afterwards, and puts the kernel right if it has changed: the
//! last one to look makes both agree.
//!
//! # Safety
//! Numbers are checked before they index anything.
#![allow(unsafe_code)]

use crate::engine;
use crate::frame::Frame;
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, KernelAction};
use crate::table::disposition::Word;
use crate::table::interned;
use crate::table::slot::Slot;
use core::sync::atomic::{AtomicPtr, AtomicU64};

/// An action of sigaction(2) as the kernel has it.
///
/// # Examples
/// ```
/// use sigplane::legacy::{self, Action};
/// let ignore = Action { handler: libc::SIG_IGN, ..Action::default() };
/// let before = legacy::sigaction(libc::SIGUSR1, Some(&ignore)).unwrap();
/// assert_eq!(legacy::sigaction(libc::SIGUSR1, Some(&before)).unwrap(), ignore);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Action {
    /// `SIG_DFL`, `SIG_IGN`, or the address of a handler.
    pub handler: usize,
    /// `SA_…`, `SA_RESTORER` (0x04000000) included.
    pub flags: u64,
    /// Where a handler returns to, with `SA_RESTORER`.
    pub restorer: usize,
    /// The signals blocked meanwhile: bit n - 1 for signal n.
    pub mask: u64,
}

impl From<KernelAction> for Action {
    fn from(action: KernelAction) -> Self {
        let KernelAction { handler, flags, restorer, mask } = action;
        Self { handler, flags, restorer, mask }
    }
}

impl From<Action> for KernelAction {
    fn from(action: Action) -> Self {
        let Action { handler, flags, restorer, mask } = action;
        Self { handler, flags, restorer, mask }
    }
}

static OWN_HANDLERS: AtomicBool = AtomicBool::new(false);

/// Whether a handler that a program sets for a signal is entered through our stub also where nobody
/// subscribes. That of SIGSYS is not: it may have to let system calls through before there can be one, even
/// for the mask (prctl(2), `PR_SET_SYSCALL_USER_DISPATCH`).
#[inline(always)]
pub(crate) fn owns(signal: i32) -> bool {
    OWN_HANDLERS.load(Ordering::Relaxed) && signal != libc::SIGSYS
}

/// The flags that the kernel keeps: those of `UAPI_SA_FLAGS` (include/linux/signal_types.h). One before 5.11
/// keeps all (kernel/signal.c, `do_sigaction`); [`start`] finds out.
static FLAGS: AtomicU64 = AtomicU64::new(0xdc00_0807);
const UNBLOCKABLE: u64 = sys::bit(libc::SIGKILL) | sys::bit(libc::SIGSTOP);

/// As the kernel keeps it: what it does not know or never blocks is gone.
fn normal(action: &Action) -> KernelAction {
    let mut action = KernelAction::from(*action);
    action.flags &= FLAGS.load(Ordering::Relaxed);
    action.mask &= !UNBLOCKABLE;
    action
}

/// Sets the action of a signal when `new` is given; the action that it had before. Meant for callers that
/// expect sigaction(2) and nothing else: they see their own actions, on every thread, whoever subscribes.
///
/// Subscribers of the same signal go first, and the action set here is what stands behind them.
///
/// # Errors
/// `EINVAL` for a number that is none, and for SIGKILL and SIGSTOP; `ENOMEM` after four million different
/// actions. On an error nothing has changed.
///
/// # Async-signal safety
/// Yes.
///
/// # References
/// sigaction(2); kernel/signal.c, `do_sigaction`.
///
/// # Examples
/// See [`Action`].
pub fn sigaction(signal: i32, new: Option<&Action>) -> Result<Action, i32> {
    if !(1..=64).contains(&signal) {
        return Err(libc::EINVAL);
    }
    let slot = engine::get().slot(signal);
    if sys::arch::is_borrowed() {
        return borrowed(slot, signal, new);
    }
    match new {
        None => query(slot, signal),
        Some(new) => exchange(slot, signal, normal(new)),
    }
    .map(Action::from)
}

/// As [`sigaction`] with a new action, for a caller that does not want to know the old one: cheaper, where the
/// kernel need not be asked for it.
///
/// # Errors
/// As for [`sigaction`].
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use sigplane::legacy::{self, Action};
/// legacy::set(libc::SIGUSR1, &Action { handler: libc::SIG_IGN, ..Action::default() }).unwrap();
/// assert_eq!(legacy::sigaction(libc::SIGUSR1, None).unwrap().handler, libc::SIG_IGN);
/// ```
#[inline]
pub fn set(signal: i32, new: &Action) -> Result<(), i32> {
    if (1..=64).contains(&signal) && !owns(signal) && !sys::arch::is_borrowed() {
        let slot = engine::get().slot(signal);
        let word = slot.behind.get();
        if !word.is_owned()
            && let Some(begun) = slot.behind.begin(word)
        {
            let new = normal(new);
            sys::set_action(signal, &new)?;
            if let Some(owned) = slot.behind.end(begun) {
                make_virtual(slot, signal, owned, &new)?;
            }
            return Ok(());
        }
    }
    sigaction(signal, Some(new)).map(|_| ())
}

/// Of a direct signal the kernel is asked: others may have set it past us, libc itself among them.
fn query(slot: &Slot, signal: i32) -> Result<KernelAction, i32> {
    loop {
        let word = slot.behind.get();
        if word.is_owned() {
            return Ok(*word.action());
        }
        let actual = sys::sigaction(signal, None)?;
        if !actual.is_ours() {
            return Ok(actual);
        }
        if slot.behind.get() == word {
            // Just given up, and about to be replaced in the kernel.
            return Ok(*word.action());
        }
    }
}

fn exchange(slot: &Slot, signal: i32, new: KernelAction) -> Result<KernelAction, i32> {
    if owns(signal) && !slot.behind.get().is_owned() {
        adopt(slot, signal)?;
    }
    loop {
        let word = slot.behind.get();
        if word.is_owned() {
            if let Some(old) = set_virtual(slot, signal, word, &new)? {
                return Ok(old);
            }
        } else if let Some(begun) = slot.behind.begin(word) {
            return set_direct(slot, signal, begun, &new);
        }
    }
}

/// Makes a signal owned that nobody subscribes to. Its handler, if it has one, is replaced by our stub.
fn adopt(slot: &Slot, signal: i32) -> Result<(), i32> {
    if UNBLOCKABLE & sys::bit(signal) != 0 {
        return Err(libc::EINVAL);
    }
    loop {
        let word = slot.behind.get();
        if word.is_owned() {
            return Ok(());
        }
        // Who changes the kernel's action from here on makes the exchange below fail.
        let Some(asked) = slot.behind.ask(word) else { continue };
        let actual = sys::sigaction(signal, None)?;
        if actual.is_ours() {
            continue; // A subscription that begins or ends: the word tells in a moment.
        }
        let index = interned::intern(&actual).ok_or(libc::ENOMEM)?;
        if slot.behind.adopt_after(asked, index) {
            if actual.is_handler() {
                let _replaced = settle(slot, signal);
            }
            return Ok(());
        }
    }
}

/// Sets the virtual action, and what follows from it in the kernel if that changes. `None` if the word is
/// not `seen` any more.
fn set_virtual(
    slot: &Slot,
    signal: i32,
    seen: Word,
    new: &KernelAction,
) -> Result<Option<KernelAction>, i32> {
    let index = interned::intern(new).ok_or(libc::ENOMEM)?;
    let before = slot.desired(signal, seen);
    let Some(now) = slot.behind.set(seen, index) else { return Ok(None) };
    let after = slot.desired(signal, now);
    // An action that the kernel itself takes is told to it again even if it is the same: setting one that
    // ignores discards what is pending (kernel/signal.c, `do_sigaction`).
    // So is one that the kernel may have reset.
    if after != before || !after.is_ours() || before.has(libc::SA_RESETHAND) {
        let replaced = settle(slot, signal);
        if replaced != before && !replaced.is_ours() {
            taken_over(signal, &replaced);
        }
    }
    Ok(Some(*seen.action()))
}

fn set_direct(
    slot: &Slot,
    signal: i32,
    begun: Word,
    new: &KernelAction,
) -> Result<KernelAction, i32> {
    // It fails for SIGKILL and SIGSTOP, and then nothing has changed.
    let replaced = sys::sigaction(signal, Some(new))?;
    let Some(owned) = slot.behind.end(begun) else {
        // Our stub is there while a subscription ends, which leaves what it finds now alone.
        return Ok(if replaced.is_ours() { *begun.action() } else { replaced });
    };
    let old = make_virtual(slot, signal, owned, new)?;
    Ok(match old {
        Some(old) if old != *new || replaced.is_ours() => old,
        None if replaced.is_ours() => *begun.action(),
        _ => replaced,
    })
}

/// The signal has become owned during a change of the kernel's action, before or after the kernel had the new
/// one. It is made the virtual one now, as if this call had come later. What it replaces; `None` if the signal
/// is not owned any more.
#[cold]
fn make_virtual(
    slot: &Slot,
    signal: i32,
    mut word: Word,
    new: &KernelAction,
) -> Result<Option<KernelAction>, i32> {
    while word.is_owned() {
        let index = interned::intern(new).ok_or(libc::ENOMEM)?;
        let old = *word.action();
        if slot.behind.set(word, index).is_some() {
            let _replaced = settle(slot, signal);
            return Ok(Some(old));
        }
        word = slot.behind.get();
    }
    Ok(None)
}

/// Makes the kernel's action what follows from the word, if the signal is owned. What the kernel had.
pub(crate) fn settle(slot: &Slot, signal: i32) -> KernelAction {
    let mut first = None;
    loop {
        let word = slot.behind.get();
        let desired = slot.desired(signal, word);
        if !word.is_owned() {
            // Whoever ended it sees to the kernel.
            return first.unwrap_or(desired);
        }
        let replaced = sys::sigaction(signal, Some(&desired)).unwrap_or(desired);
        let first = *first.get_or_insert(replaced);
        let now = slot.behind.get();
        if now == word {
            return first;
        }
        if !now.is_owned() && desired.is_ours() && !replaced.is_ours() {
            // It has ended in between, the kernel had what it is to have: that, or what somebody has set
            // since, goes back.
            let newer = sys::sigaction(signal, Some(&replaced)).unwrap_or(desired);
            if !newer.is_ours() {
                let _put_back = sys::sigaction(signal, Some(&newer));
            }
            return first;
        }
    }
}

static TAKEN_OVER: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Has `tell` called, with the signal and the handler, when an action is found that nobody has set through
/// sigplane: it may run inside handlers.
#[doc(hidden)]
pub fn on_taken_over(tell: fn(i32, usize)) {
    TAKEN_OVER.store(tell as *mut (), Ordering::Release);
}

#[cold]
fn taken_over(signal: i32, found: &KernelAction) {
    let tell = TAKEN_OVER.load(Ordering::Acquire);
    if !tell.is_null() {
        // SAFETY: stored by `on_taken_over`.
        let tell = unsafe { core::mem::transmute::<*mut (), fn(i32, usize)>(tell) };
        tell(signal, found.handler);
    }
}

/// As `settle`, if the word is not `seen` any more, for which the kernel is right.
pub(crate) fn settle_after(slot: &Slot, signal: i32, seen: Word) {
    if slot.behind.get() != seen {
        let _replaced = settle(slot, signal);
    }
}

/// Uses up a handler with `SA_RESETHAND`: the action becomes the default, its flags and its mask stay
/// (kernel/signal.c, `get_signal`). Whether it was this call that did it.
pub(crate) fn spend(slot: &Slot, signal: i32, seen: Word) -> bool {
    let spent = KernelAction { handler: libc::SIG_DFL, ..*seen.action() };
    if sys::arch::is_borrowed() {
        // A child with actions of its own: the parent's is not used up.
        return sys::set_action(signal, &spent).is_ok();
    }
    // Without room the handler keeps its place: called again, rather than never.
    let Some(index) = interned::intern(&spent) else { return true };
    slot.behind.set(seen, index).is_some()
}

/// In a `vfork` child, which has the memory of its parent and actions of its own: the kernel is changed, the
/// table is not.
fn borrowed(slot: &Slot, signal: i32, new: Option<&Action>) -> Result<Action, i32> {
    let actual = match new {
        Some(new) => sys::sigaction(signal, Some(&KernelAction::from(*new)))?,
        None => sys::sigaction(signal, None)?,
    };
    Ok(if actual.was_ours() { *slot.behind.get().action() } else { actual }.into())
}

/// Has handlers entered through sigplane's stub from now on, also where nobody subscribes: so that they
/// are counted, and held back by deferrals. Handlers that are there already are taken now.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// sigplane::legacy::own_handlers();
/// ```
pub fn own_handlers() {
    OWN_HANDLERS.store(true, Ordering::SeqCst);
    let never = UNBLOCKABLE | sys::LIBC_BITS;
    for signal in (1..=64).filter(|signal| sys::bit(*signal) & never == 0 && owns(*signal)) {
        let _adopted = adopt(engine::get().slot(signal), signal);
    }
}

/// An action as the kernel would keep it, for as long as the process lives; equal ones are one. `None` when
/// there are too many different ones.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn keep(action: &Action) -> Option<&'static Action> {
    let kept = core::ptr::from_ref(interned::action(interned::intern(&normal(action))?));
    // SAFETY: both have the same four words in the same order (asserted below), and it stays.
    Some(unsafe { &*kept.cast::<Action>() })
}

const _: () = {
    assert!(size_of::<Action>() == size_of::<KernelAction>());
    assert!(core::mem::offset_of!(Action, handler) == core::mem::offset_of!(KernelAction, handler));
    assert!(core::mem::offset_of!(Action, flags) == core::mem::offset_of!(KernelAction, flags));
    assert!(
        core::mem::offset_of!(Action, restorer) == core::mem::offset_of!(KernelAction, restorer)
    );
    assert!(core::mem::offset_of!(Action, mask) == core::mem::offset_of!(KernelAction, mask));
};

/// What a process is told that has its signals owned by the shim from its very start.
///
/// * The kernel is asked which flags it knows, with a real-time signal whose action is then put back.
/// * Threads that attach keep the alternate stack that they have.
///
/// Called once, by the loading thread, before there is another. Returns the restorer that libc gives to the
/// kernel, if `set` (libc's own `sigaction`, which sets the action of a signal) can be used to see it.
#[doc(hidden)]
pub fn start(set_default: impl FnOnce(i32)) -> usize {
    let engine = engine::started();
    engine.set_posix();
    let signal = 64;
    let Ok(before) = sys::sigaction(signal, None) else { return 0 };
    if before.is_handler() {
        return before.restorer;
    }
    let all = KernelAction { flags: !sys::SA_RESTORER & 0xffff_ffff, ..KernelAction::DEFAULT };
    let _set = sys::sigaction(signal, Some(&all));
    if sys::sigaction(signal, None).is_ok_and(|kept| kept.flags == all.flags) {
        FLAGS.store(u64::MAX, Ordering::Relaxed);
    }
    set_default(signal);
    let libc = sys::sigaction(signal, None).map_or(0, |action| action.restorer);
    let _set = sys::sigaction(signal, Some(&before));
    libc
}

/// For `exec`: gives the kernel, for the new program, what the program has set where it was ignored and
/// somebody subscribes, since caught signals are reset and ignored ones are not (execve(2)). The signals
/// that were changed, for [`exec_failed`].
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn about_to_exec() -> u64 {
    let mut changed = 0;
    for signal in 1..=64 {
        let word = engine::get().slot(signal).behind.get();
        if word.is_owned()
            && word.action().handler == libc::SIG_IGN
            && sys::sigaction(signal, None).is_ok_and(|action| action.is_ours())
            && sys::sigaction(signal, Some(word.action())).is_ok()
        {
            changed |= sys::bit(signal);
        }
    }
    changed
}

/// Undoes [`about_to_exec`] in a process that goes on after all.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn exec_failed(changed: u64) {
    for signal in (1..=64).filter(|signal| sys::bit(*signal) & changed != 0) {
        let _replaced = settle(engine::get().slot(signal), signal);
    }
}

/// Gives the kernel the program's own action of an owned signal to which nobody subscribes, for a time in which
/// libc saves and restores what it finds there; [`recheck`] ends it.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn step_aside(signal: i32) {
    let slot = engine::get().slot(signal);
    let word = slot.behind.get();
    if word.is_owned() && !slot.is_wanted() && word.is_handler() {
        let _set = sys::set_action(signal, word.action());
    }
}

/// Puts the kernel right where libc has changed it without telling, and put it back with a restorer of its
/// own (`system`, for SIGINT and SIGQUIT).
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn recheck(signal: i32) {
    let slot = engine::get().slot(signal);
    let word = slot.behind.get();
    if !word.is_owned() || sys::arch::is_borrowed() {
        return;
    }
    // A handler that is to be called once may have been, by the kernel, while we stood aside.
    let once = word.is_handler() && word.action().has(libc::SA_RESETHAND) && !slot.is_wanted();
    let spent = |now: KernelAction| now.handler == libc::SIG_DFL && !now.was_ours();
    if once && sys::sigaction(signal, None).is_ok_and(spent) {
        spend(slot, signal, word);
    }
    let _replaced = settle(slot, signal);
}

/// A mask that the calling thread has for the time of a wait, by a system call that puts it on and takes it
/// off. A handler that interrupts the wait is to have it, and cannot see it: our own action blocks everything,
/// and the interrupted context has the mask from before the call.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
#[derive(Debug)]
pub struct WaitMask {
    before: (usize, u64),
}

impl WaitMask {
    /// Notes `mask` until this is dropped. `below` is an address on the stack of the caller.
    #[inline]
    #[must_use]
    pub fn note(mask: u64, below: usize) -> Self {
        let before = sys::arch::wait_mask();
        sys::arch::set_wait_mask(below, mask);
        Self { before }
    }
}

impl Drop for WaitMask {
    fn drop(&mut self) {
        let (below, mask) = self.before;
        sys::arch::set_wait_mask(below, mask);
    }
}

/// The mask that a thread really had when the signal with this frame came, if it had one for the time of a
/// wait. Only the first handler of a wait: the kernel takes the mask off when that returns.
pub(crate) fn take_wait_mask(frame: &mut Frame) -> Option<u64> {
    let (below, mask) = sys::arch::wait_mask();
    if below == 0 {
        return None;
    }
    let interrupted = frame.context().is_some_and(|context| sys::arch::is_in_wait(context, below));
    if interrupted {
        sys::arch::set_wait_mask(0, 0);
    }
    interrupted.then_some(mask)
}

/// Whether the action of a signal is virtual now.
#[doc(hidden)]
pub fn is_owned(signal: i32) -> bool {
    (1..=64).contains(&signal) && engine::get().slot(signal).behind.get().is_owned()
}

/// Whether the caller is a child of [`vfork_stub`]: memory and thread are its parent's.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn is_borrowed() -> bool {
    sys::arch::is_borrowed()
}

/// Where a function is that does what vfork(2) does, and has sigplane know the child for one. It has to be
/// jumped to: it returns twice.
#[doc(hidden)]
pub fn vfork_stub() -> usize {
    sys::arch::sigplane0_vfork as *const () as usize
}

/// What can be said about memory that somebody names.
#[doc(hidden)]
pub mod memory {
    use crate::sync::{AtomicUsize, Ordering};
    use crate::sys;

    const PAGE: usize = 4096;
    /// Nothing but the main stack is so close below its end: the kernel keeps at least 128 MiB free for it
    /// (mm/util.c, `mmap_base`).
    const MAIN: usize = 8 << 20;

    static MAIN_END: AtomicUsize = AtomicUsize::new(0);

    /// Tells where the main thread's stack began, above which are arguments and environment.
    pub fn set_main_stack(end: usize) {
        MAIN_END.store(end, Ordering::Relaxed);
    }

    /// Whether `length` bytes at `at`, less than a page, are certainly there, seen from `stack`, an address
    /// on the calling thread's stack in use: on the same page of it, or further up the main stack.
    ///
    /// # Async-signal safety
    /// Yes.
    #[inline(always)]
    pub fn is_near(at: usize, length: usize, stack: usize) -> bool {
        let page = stack & !(PAGE - 1);
        if at.wrapping_sub(page) <= PAGE - length {
            return true;
        }
        let end = MAIN_END.load(Ordering::Relaxed);
        let above = end.wrapping_sub(stack);
        above < MAIN && at >= page && end.wrapping_sub(at) <= above + PAGE && end - at >= length
    }

    /// Whether eight bytes at `at` can be read.
    ///
    /// # Async-signal safety
    /// Yes.
    pub fn is_readable(at: usize) -> bool {
        sys::is_readable(at)
    }

    /// Whether eight bytes at `at` can be written. Overwrites them.
    ///
    /// # Async-signal safety
    /// Yes.
    pub fn is_writable(at: usize) -> bool {
        sys::is_writable(at)
    }
}
