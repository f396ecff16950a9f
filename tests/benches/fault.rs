//! Faults: recovered to a landing and out of a guarded call, and what such calls cost when nothing faults.
//!
//! SIGSEGV has one owner at a time, so each contender puts the kernel's action of its own in before its
//! batch. The base edits the program counter in a bare handler: less cannot be done about a fault.

use crate::kernel::{self, Handler};
use crate::measure::{Contender, Effort, Round, Series, interleave, per_operation};
use crate::report::{Figure, Group, Peer, Row};
use sigplane::fault;
// The C part is linked with it.
use sigplane_tests as _;
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr::{null, null_mut};

pub const GROUP: Group = Group {
    name: "fault",
    rows: &[
        Row {
            name: "fault recovered to a landing (try_read)",
            series: "fault",
            base: BARE,
            ours: "try_read, fault",
            peers: &[
                Peer::of(ON_STACK),
                Peer::of("sigsetjmp, fault"),
                Peer::of("process_vm_readv, EFAULT"),
                Peer::of("pipe write, EFAULT"),
            ],
            figure: Figure::Ratio,
            target: Some(1.02),
        },
        Row {
            name: "guarded call that faults",
            series: "fault",
            base: BARE,
            ours: "guarded, fault",
            peers: &[Peer::of(ON_STACK), Peer::of("sigsetjmp, fault")],
            figure: Figure::Ratio,
            target: Some(1.02),
        },
        Row {
            name: "guarded call that does not fault",
            series: "call",
            base: "bare call",
            ours: "guarded",
            peers: &[Peer::of("sigsetjmp with mask"), Peer::of("sigsetjmp without")],
            figure: Figure::Ratio,
            target: Some(3.0),
        },
        Row {
            name: "try_read of 8 bytes, each the address of the next",
            series: "chain",
            base: LOAD,
            ours: "try_read",
            peers: &[Peer::of("process_vm_readv")],
            figure: Figure::Ratio,
            target: Some(1.2),
        },
        Row {
            name: "try_read of 8 bytes, independent",
            series: "sum",
            base: LOAD,
            ours: "try_read",
            peers: &[],
            figure: Figure::Ratio,
            target: Some(1.2),
        },
        Row {
            name: "look-up among 1,000 lists of 10,000 fixups",
            series: "look-up",
            base: "one list of one",
            ours: "look-up",
            peers: &[Peer::of("all of the handler, anywhere")],
            figure: Figure::Time,
            target: Some(200.0),
        },
    ],
    children: &[
        ("fault", faults),
        ("no-fault", no_fault),
        ("look-up", crate::fault_lists::look_up),
    ],
};

const BARE: &str = "PC edited in a bare handler";
const ON_STACK: &str = "the same, SA_ONSTACK";
const LOAD: &str = "plain load";

/// The kernel's action of SIGSEGV, as rt_sigaction(2) has it.
#[derive(Clone, Copy)]
pub struct Owner([usize; 4]);

impl Owner {
    pub fn now() -> Self {
        let mut action = [0; 4];
        let null = null::<c_void>();
        // SAFETY: a query; the kernel writes 32 bytes.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, libc::SIGSEGV, null, action.as_mut_ptr(), 8usize)
        };
        Self(action)
    }

    fn of(handler: Handler) -> Self {
        kernel::set_action(libc::SIGSEGV, handler);
        Self::now()
    }

    pub fn put_in(&self) {
        let null = null_mut::<c_void>();
        // SAFETY: what the kernel gave before.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, libc::SIGSEGV, self.0.as_ptr(), null, 8usize)
        };
    }

    /// The same with these flags besides.
    fn with(self, flags: i32) -> Self {
        let Self([handler, before, restorer, mask]) = self;
        Self([handler, before | flags as usize, restorer, mask])
    }

    /// A bare handler that goes on eight bytes behind the faulting instruction.
    pub fn skipping_eight() -> Self {
        Self::of(skip_eight)
    }

    pub fn ours() -> Self {
        fault::enable().expect("the signals of faults");
        Self::now()
    }
}

unsafe extern "C" fn skip_eight(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel's context.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    context.uc_mcontext.gregs[libc::REG_RIP as usize] += 8;
}

/// Loads from `rdi`; the landing is eight bytes behind the load.
#[unsafe(naked)]
unsafe extern "C" fn load_or_zero(_: *const u64) -> u64 {
    core::arch::naked_asm!(
        "mov rax, [rdi]",
        "ret",
        ".byte 0x90, 0x90, 0x90, 0x90",
        "xor eax, eax",
        "ret",
    )
}

unsafe extern "C" {
    /// `tests/victims/guard.c`.
    fn victim_leave(_: i32, _: *mut libc::siginfo_t, _: *mut c_void);
    fn victim_sigsetjmp(f: unsafe extern "C" fn(*mut c_void), argument: *mut c_void, m: i32)
    -> i32;
}

unsafe extern "C" fn touch(at: *mut c_void) {
    // SAFETY: guarded by the caller.
    black_box(unsafe { at.cast::<u64>().read_volatile() });
}

/// The address that faults, hidden from the compiler; not near the stack.
fn bad() -> *mut c_void {
    black_box(std::ptr::without_provenance_mut(64))
}

/// process_vm_readv(2) of this process's own memory.
fn vm_read(from: *const c_void, to: *mut c_void, length: usize) -> isize {
    let here = libc::iovec { iov_base: to, iov_len: length };
    let there = libc::iovec { iov_base: from.cast_mut(), iov_len: length };
    // SAFETY: `to` has the length.
    unsafe { libc::process_vm_readv(kernel::pid(), &here, 1, &there, 1, 0) }
}

/// Process-wide set-up: one processor, a record, the owners.
fn start() -> Owner {
    kernel::pin(0, kernel::two_cpus().0);
    sigplane::thread::current();
    Owner::ours()
}

fn faults(effort: Effort) -> Vec<Series> {
    const BATCH: usize = 100;
    let ours = start();
    let (bare, jump) = (Owner::skipping_eight(), Owner::of(victim_leave));
    let pipe = {
        let mut ends = [0; 2];
        // SAFETY: two descriptors.
        assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
        ends[1]
    };
    let owned = |name, owner: Owner, mut operation: fn()| {
        Contender::new(name, move || {
            owner.put_in();
            per_operation(BATCH, &mut operation)
        })
    };
    let skipped = || {
        // SAFETY: the handler skips the load.
        assert_eq!(unsafe { load_or_zero(bad().cast()) }, 0);
    };
    let contenders = vec![
        owned(BARE, bare, skipped),
        owned(ON_STACK, bare.with(libc::SA_ONSTACK), skipped),
        owned("try_read, fault", ours, || {
            assert!(fault::try_read::<u64>(bad().cast()).is_err());
        }),
        owned("guarded, fault", ours, || {
            let at = bad().cast::<u64>();
            // SAFETY: one load, which holds nothing.
            assert!(unsafe { fault::guarded(|| at.read_volatile()) }.is_err());
        }),
        owned("sigsetjmp, fault", jump, || {
            // SAFETY: the handler leaves to the guard.
            assert_eq!(unsafe { victim_sigsetjmp(touch, bad(), 1) }, 1);
        }),
        owned("process_vm_readv, EFAULT", ours, || {
            let mut value = 0u64;
            assert_eq!(vm_read(bad(), (&raw mut value).cast(), 8), -1);
        }),
        Contender::batch("pipe write, EFAULT", BATCH, move || {
            // SAFETY: the kernel looks whether it can be read.
            assert_eq!(unsafe { libc::write(pipe, bad(), 8) }, -1);
        }),
    ];
    vec![interleave("fault", effort.pick(300, 5), contenders)]
}

/// A call that does next to nothing, and that the compiler cannot see through.
#[inline(never)]
extern "C" fn nearly_nothing(argument: usize) -> usize {
    black_box(argument) + 1
}

unsafe extern "C" fn nearly_nothing_of(argument: *mut c_void) {
    black_box(nearly_nothing(argument.addr()));
}

fn no_fault(effort: Effort) -> Vec<Series> {
    let ours = start();
    ours.put_in();
    vec![calls(effort), chain(effort), sum(effort)]
}

fn calls(effort: Effort) -> Series {
    const BATCH: usize = 20_000;
    let function: extern "C" fn(usize) -> usize = nearly_nothing;
    let guard = |mask| {
        move || {
            // SAFETY: nothing faults.
            unsafe { victim_sigsetjmp(nearly_nothing_of, bad(), mask) };
        }
    };
    let contenders = vec![
        Contender::batch("bare call", BATCH, move || {
            black_box(black_box(function)(7));
        }),
        Contender::batch("guarded", BATCH, move || {
            // SAFETY: nothing to give back.
            black_box(unsafe { fault::guarded(|| black_box(function)(7)) }.is_ok());
        }),
        Contender::batch("sigsetjmp with mask", BATCH / 10, guard(1)),
        Contender::batch("sigsetjmp without", BATCH, guard(0)),
    ];
    interleave("call", effort.pick(300, 5), contenders)
}

/// How many words, of eight bytes: they stay in the first-level cache.
const WORDS: usize = 512;

/// Time per word of `run`, which goes through all of them.
fn words(name: &'static str, mut run: impl FnMut() -> usize + 'static) -> Contender<'static> {
    Contender::new(name, move || {
        per_operation(20, || {
            black_box(run());
        }) / WORDS as f64
    })
}

fn chain(effort: Effort) -> Series {
    // Each word holds the address of the next, in steps that visit all.
    let cells = Box::leak(vec![0usize; WORDS].into_boxed_slice());
    let start = cells.as_ptr();
    for (at, cell) in cells.iter_mut().enumerate() {
        *cell = start.wrapping_add((at + 77) % WORDS).expose_provenance();
    }
    let start = start.expose_provenance();
    let next = std::ptr::with_exposed_provenance::<usize>;
    let contenders = vec![
        words(LOAD, move || {
            // SAFETY: each is the address of another.
            (0..WORDS).fold(start, |at, _| unsafe { next(at).read_volatile() })
        }),
        words("try_read", move || {
            let read = |at, _| fault::try_read(next(at));
            (0..WORDS).try_fold(start, read).expect("nothing faults")
        }),
        words("process_vm_readv", move || {
            let mut at = start;
            for _ in 0..WORDS {
                let from = next(at).cast();
                assert_eq!(vm_read(from, (&raw mut at).cast(), 8), 8);
            }
            at
        }),
    ];
    interleave("chain", effort.pick(300, 5), contenders)
}

fn sum(effort: Effort) -> Series {
    let cells: &'static [usize] = Box::leak(vec![3usize; WORDS].into_boxed_slice());
    let contenders = vec![
        words(LOAD, move || {
            // SAFETY: within the slice.
            cells.iter().map(|cell| unsafe { (&raw const *cell).read_volatile() }).sum()
        }),
        words("try_read", move || {
            let read = |sum: usize, cell| Ok::<_, fault::Fault>(sum + fault::try_read(cell)?);
            cells.iter().map(|cell| &raw const *cell).try_fold(0, read).expect("nothing faults")
        }),
    ];
    interleave("sum", effort.pick(300, 5), contenders)
}

/// One figure of two that a round has.
pub fn difference(round: &mut Round, name: &str, many: &str, few: &str) {
    if let (Some(many), Some(few)) = (round.get(many), round.get(few)) {
        round.insert(name.to_owned(), many - few);
    }
}
