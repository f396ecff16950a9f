//! The interface and the promises that users of the published crate rely on. Issue "What to build",
//! "signal-hook-registry, both ways".

use signal_hook_registry::{FORBIDDEN, SigId, register, register_sigaction, unregister};
use signal_hook_registry::{register_signal_unchecked, register_unchecked};
use sigplane::Signal;
use sigplane::send::{Value, raise, raise_with};
use sigplane_tests::raw::{self, install};
use sigplane_tests::{Exit, Running, Suite, victim};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::SeqCst};

/// What ran, in order: each step appends a decimal digit.
static ORDER: AtomicUsize = AtomicUsize::new(0);

fn step(digit: usize) {
    ORDER.fetch_update(SeqCst, SeqCst, |order| Some(order * 10 + digit)).unwrap();
}

fn order() -> usize {
    ORDER.swap(0, SeqCst)
}

extern "C" fn first(_: i32) {
    step(1);
}

/// An action that appends `digit`.
fn stepper(signal: i32, digit: usize) -> SigId {
    // SAFETY: changes an atomic.
    unsafe { register(signal, move || step(digit)) }.unwrap()
}

// The handler that was there first, then the actions by order of registration, whatever is removed between.
fn runs_in_order_behind_the_previous_handler() {
    install(libc::SIGUSR1, first as *const () as usize, 0, &[]);
    let [two, _, _] = [2, 3, 4].map(|digit| stepper(libc::SIGUSR1, digit));
    raise(Signal::USR1).unwrap();
    assert_eq!(order(), 1234);
    assert!(unregister(two));
    stepper(libc::SIGUSR1, 5);
    raise(Signal::USR1).unwrap();
    assert_eq!(order(), 1345);
}

fn errno() -> *mut i32 {
    // SAFETY: takes nothing.
    unsafe { libc::__errno_location() }
}

/// Number, sender and value of the last signal that `note` has seen.
static SEEN: [AtomicI32; 3] = [const { AtomicI32::new(0) }; 3];

fn note(info: &libc::siginfo_t) {
    // SAFETY: the signal was queued by a process: these fields are filled.
    let (pid, value) = (unsafe { info.si_pid() }, unsafe { info.si_value() });
    for (word, seen) in SEEN.iter().zip([info.si_signo, pid, value.sival_ptr.addr() as i32]) {
        word.store(seen, SeqCst);
    }
    // SAFETY: errno of this thread.
    unsafe { errno().write(4711) };
}

// The action sees the kernel's own information; what it does to errno is not seen by anybody.
fn tells_all_and_keeps_errno() {
    let rt = Signal::rt(3).unwrap();
    // SAFETY: changes atomics and errno.
    unsafe { register_sigaction(rt.number(), note) }.unwrap();
    // SAFETY: errno of this thread.
    unsafe { errno().write(17) };
    raise_with(rt, Value::from_int(99)).unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { errno().read() }, 17);
    let seen = SEEN.each_ref().map(|word| word.load(SeqCst));
    assert_eq!(seen, [rt.number(), std::process::id() as i32, 99]);
}

// Forbidden signals panic in the checked functions; numbers that the kernel or libc refuses are EINVAL in
// all of them (tokio passes the number of the error on). Nothing is changed by either.
fn refuses_as_libc_does() {
    assert_eq!(
        FORBIDDEN,
        [libc::SIGKILL, libc::SIGSTOP, libc::SIGILL, libc::SIGFPE, libc::SIGSEGV]
    );
    let before = FORBIDDEN.iter().map(|&signal| raw::action(signal)).collect::<Vec<_>>();
    for &signal in FORBIDDEN {
        // SAFETY: does nothing; it panics before.
        let call = || unsafe { register(signal, || ()) };
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{signal}");
        // SAFETY: as above.
        let call = || unsafe { register_sigaction(signal, |_| ()) };
        assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{signal}");
    }
    for signal in [0, -1, i32::MIN, 32, 33, 65, 1000] {
        // SAFETY: does nothing.
        let error = unsafe { register(signal, || ()) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{signal}");
    }
    for signal in [libc::SIGKILL, libc::SIGSTOP] {
        // SAFETY: does nothing.
        let error = unsafe { register_signal_unchecked(signal, || ()) }.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{signal}");
    }
    assert_eq!(FORBIDDEN.iter().map(|&signal| raw::action(signal)).collect::<Vec<_>>(), before);
}

// tokio and signal-hook promise that a signal stays caught when its last listener is gone: without that, the
// first SIGTERM below would kill.
fn stays_caught() {
    let id = stepper(libc::SIGTERM, 1);
    let ours = raw::action(libc::SIGTERM);
    assert!(unregister(id));
    assert_eq!(raw::action(libc::SIGTERM), ours);
    raise(Signal::TERM).unwrap();
    assert_eq!(order(), 0);
    for (signal, digit) in [(libc::SIGTERM, 2), (libc::SIGTERM, 3), (libc::SIGINT, 4)] {
        stepper(signal, digit);
    }
    #[allow(deprecated, reason = "users of the published crate may still call it")]
    let ended = [0; 2].map(|_| signal_hook_registry::unregister_signal(libc::SIGTERM));
    assert_eq!(ended, [true, false]);
    raise(Signal::TERM).unwrap();
    raise(Signal::INT).unwrap(); // Not concerned.
    assert_eq!(order(), 4);
    stepper(libc::SIGTERM, 5);
    raise(Signal::TERM).unwrap();
    assert_eq!(order(), 5);
}

// An id is a plain value, ordered by time within a signal; it ends its own action, once.
fn ids() {
    fn plain<T: Copy + Ord + std::hash::Hash + std::fmt::Debug + Send + Sync + UnwindSafe>(_: T) {}
    let ids = [1, 2, 3].map(|digit| stepper(libc::SIGUSR2, digit));
    plain(ids[0]);
    assert!(ids[0] < ids[1] && ids[1] < ids[2]);
    assert_eq!(ids.into_iter().chain(ids).collect::<HashSet<_>>().len(), 3);
    assert_eq!([unregister(ids[1]), unregister(ids[1])], [true, false]);
    let again = stepper(libc::SIGUSR2, 4);
    assert!(again > ids[2] && !unregister(ids[1]));
    raise(Signal::USR2).unwrap();
    assert_eq!(order(), 134);
}

/// The page that `mend` makes writable.
static PAGE: AtomicUsize = AtomicUsize::new(0);

fn mend(info: &libc::siginfo_t) {
    step(1);
    let page = std::ptr::with_exposed_provenance_mut(PAGE.load(SeqCst));
    // SAFETY: read for a fault only, which fills it.
    if info.si_code > 0 && unsafe { info.si_addr() } == page {
        // SAFETY: a mapping of the test's.
        unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_WRITE) };
    }
}

// A signal of faults: every action runs, for a sent one and for a fault, and when they have mended what was
// wrong the instruction is tried again and succeeds.
fn all_actions_of_a_fault_run() {
    // std's handler goes first, as any that was there before, and gives up faults that are not its own.
    raw::set_action(libc::SIGSEGV, raw::Action::default());
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_NONE, flags, -1, 0) };
    PAGE.store(page.expose_provenance(), SeqCst);
    // SAFETY: makes a system call on a mapping of the test's.
    unsafe { register_unchecked(libc::SIGSEGV, mend) }.unwrap();
    // SAFETY: changes an atomic.
    unsafe { register_signal_unchecked(libc::SIGSEGV, || step(2)) }.unwrap();
    raise(Signal::SEGV).unwrap();
    assert_eq!(order(), 12);
    // SAFETY: the page is made writable by the action.
    unsafe { page.cast::<u8>().write_volatile(7) };
    // SAFETY: as above.
    assert_eq!((order(), unsafe { page.cast::<u8>().read_volatile() }), (12, 7));
}

fn leave() {
    // SAFETY: ends the process.
    unsafe { libc::_exit(23) };
}

/// Is ended by an action that calls `_exit`, as signal-hook's conditional shutdown does.
fn exits() {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { register(libc::SIGTERM, leave) }.unwrap();
    raise(Signal::TERM).unwrap();
}

/// Is ended by an action that puts the default back and raises, as signal-hook's `emulate_default_handler` does.
fn defaults() {
    // SAFETY: these calls are async-signal-safe.
    let registered = unsafe {
        register(libc::SIGTERM, || {
            raw::set_action(libc::SIGTERM, raw::Action::default());
            raw::set_mask(0);
            let _sent = raise(Signal::TERM);
        })
    };
    registered.unwrap();
    raise(Signal::TERM).unwrap();
}

// Actions may end the process in the ways that signal-hook offers, with the true status.
fn actions_may_end_the_process() {
    assert_eq!(Running::start(victim("exits")).wait(), Exit::Code(23));
    assert_eq!(Running::start(victim("defaults")).wait().signal(), Some(libc::SIGTERM));
}

fn main() {
    Suite {
        tests: &[
            (
                "runs_in_order_behind_the_previous_handler",
                runs_in_order_behind_the_previous_handler,
            ),
            ("tells_all_and_keeps_errno", tells_all_and_keeps_errno),
            ("refuses_as_libc_does", refuses_as_libc_does),
            ("stays_caught", stays_caught),
            ("ids", ids),
            ("all_actions_of_a_fault_run", all_actions_of_a_fault_run),
            ("actions_may_end_the_process", actions_may_end_the_process),
        ],
        victims: &[("exits", exits), ("defaults", defaults)],
    }
    .main()
}
