//! Deferral: nothing runs inside, everything runs after, in order, and without a system call.
//!
//! Issue "Core", what must be shown, 6; BRIEF §7 *Queues and deferral*.

use sigplane::send::{self, Raised};
use sigplane::{DeferGuard, Delivery, Event, Signal, SignalSet, Subscription, Verdict, Wake};
use sigplane_tests::{
    Exit, Running, Storm, Suite, eventually, mask, quick, raw, sender, skip, victim,
};
use std::arch::asm;
use std::cell::Cell;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard};
use std::time::{Duration, Instant};

thread_local! {
    /// Whether this thread is in a critical section. Constant, so that a handler may look.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// What went wrong in handlers, which cannot panic.
static RAN_INSIDE: AtomicUsize = AtomicUsize::new(0);
static OUT_OF_ORDER: AtomicUsize = AtomicUsize::new(0);

/// The next value expected of each signal: so many have run.
static NEXT: [AtomicI32; 65] = [const { AtomicI32::new(0) }; 65];

fn rt(n: u8) -> Signal {
    Signal::rt(n).expect("a real-time signal")
}

fn ran(signal: Signal) -> i32 {
    NEXT[signal.number() as usize].load(Ordering::Relaxed)
}

/// An immediate handler that checks where it runs, and for values 0, 1, 2, ….
fn checker(signals: impl Into<SignalSet>) -> Subscription {
    let check = |delivery: &mut Delivery<'_>| {
        if INSIDE.get() {
            RAN_INSIDE.fetch_add(1, Ordering::Relaxed);
        }
        let expected = NEXT[delivery.signal().number() as usize].fetch_add(1, Ordering::Relaxed);
        if delivery.event().value().is_some_and(|value| value.int() != expected) {
            OUT_OF_ORDER.fetch_add(1, Ordering::Relaxed);
        }
        Verdict::Handled
    };
    // SAFETY: counts, and copies an event.
    unsafe { sigplane::subscribe(signals).immediate(check) }.expect("subscribed")
}

fn check_all(expected: &[(Signal, i32)]) {
    assert_eq!(RAN_INSIDE.load(Ordering::Relaxed), 0, "ran inside a critical section");
    assert_eq!(OUT_OF_ORDER.load(Ordering::Relaxed), 0, "lost, doubled or out of order");
    for &(signal, count) in expected {
        assert_eq!(ran(signal), count, "{signal}");
    }
}

/// Issue, line 6: 1,000 nested sections, again and again under a storm of several signals, from another
/// process (to the process and to the thread) and from another thread.
fn nested_under_storm() {
    // Leaves the thread the time to do more than to run handlers.
    const GAP: u32 = 400;
    let sent = quick(20_000);
    let (process, thread, local) = (rt(0), rt(1), rt(2));
    let _sub = checker(SignalSet::from([process, thread, local]));
    let me = sigplane::thread::current().tid();
    let start = Arc::new(Barrier::new(2));
    let peer = std::thread::spawn({
        let start = Arc::clone(&start);
        move || {
            mask::block(SignalSet::all()); // The main thread is the only receiver.
            start.wait();
            start.wait();
            let pid = std::process::id() as i32;
            for value in 0..sent as i32 {
                (0..GAP).for_each(|_| std::hint::spin_loop());
                while send::to_thread_with(pid, me, local, value.into()).is_err() {}
            }
        }
    });
    start.wait();
    let all = [process, thread, local];
    let section = |while_inside: &mut dyn FnMut()| {
        let guards: Vec<DeferGuard> = (0..1000).map(|_| sigplane::defer()).collect();
        INSIDE.set(true);
        let before = all.map(ran);
        while_inside();
        assert_eq!(all.map(ran), before, "a handler ran inside");
        INSIDE.set(false);
        drop(guards);
    };
    let to_process = Storm { gap: GAP, ..Storm::here(process, sent) };
    let mut senders = Vec::new();
    section(&mut || {
        senders.push(to_process.start());
        senders.push(Storm { tid: me, signals: vec![thread], ..to_process.clone() }.start());
        start.wait();
        eventually("more than is stored", || raw::pending() != 0);
    });
    while all.iter().any(|&signal| ran(signal) < sent as i32) {
        section(&mut || (0..2000).for_each(|_| assert!(sigplane::is_deferred())));
    }
    peer.join().expect("no panic");
    check_all(&all.map(|signal| (signal, sent as i32)));
    let deferred = all.map(|signal| sigplane::table().row(signal).expect("subscribed").deferred);
    assert!(deferred.iter().sum::<usize>() > 100, "the storm hit the sections: {deferred:?}");
}

/// More arrive than the record stores: the kernel is asked to hold the rest, in order, and the mask is
/// put back afterwards.
fn more_than_stored() {
    let _sub = checker(SignalSet::from([rt(0), rt(1), Signal::USR1]));
    let before = mask::blocked();
    let outer = sigplane::defer();
    for value in 0..50 {
        for signal in [rt(1), rt(0)] {
            assert_eq!(send::raise_with(signal, value.into()), Ok(Raised::Deferred));
        }
    }
    send::raise(Signal::USR1).expect("sent");
    let inner = sigplane::defer();
    drop(outer); // Not the outermost any more: the order of the guards does not matter.
    check_all(&[(rt(0), 0), (rt(1), 0), (Signal::USR1, 0)]);
    drop(inner);
    check_all(&[(rt(0), 50), (rt(1), 50), (Signal::USR1, 1)]);
    assert_eq!(mask::blocked(), before);
}

/// The program unblocks everything inside the section, when the store is full and the kernel holds the
/// rest: still nothing runs inside, and nothing is lost, doubled or out of order.
fn unblocked_inside() {
    let _sub = checker(rt(0));
    let guard = sigplane::defer();
    INSIDE.set(true);
    for value in 0..40 {
        send::raise_with(rt(0), value.into()).expect("sent");
        if value % 10 == 9 {
            mask::unblock(SignalSet::all());
        }
    }
    check_all(&[(rt(0), 0)]);
    INSIDE.set(false);
    drop(guard);
    check_all(&[(rt(0), 40)]);
    assert!(mask::blocked().is_empty());
}

/// Faults are not held back: a real one inside a section is delivered at once, to an immediate handler
/// that moves the thread past the instruction.
fn faults_are_not_held() {
    // SAFETY: moves the thread to where `load` says.
    let sub = unsafe {
        sigplane::subscribe(Signal::SEGV).immediate(|delivery| {
            let fault = delivery.is_fault();
            let Some(context) = delivery.machine_context().filter(|_| fault) else {
                return Verdict::Pass;
            };
            let registers = &mut context.uc_mcontext.gregs;
            registers[libc::REG_RIP as usize] = registers[libc::REG_R8 as usize];
            registers[libc::REG_RAX as usize] = 77;
            Verdict::Handled
        })
    };
    let _sub = sub.expect("subscribed");
    let _held = checker(rt(0));
    let guard = sigplane::defer();
    INSIDE.set(true);
    for value in 0..20 {
        send::raise_with(rt(0), value.into()).expect("sent");
        assert_eq!(load(16), 77); // From the tenth on everything else is blocked.
    }
    check_all(&[(rt(0), 0)]);
    INSIDE.set(false);
    drop(guard);
    check_all(&[(rt(0), 20)]);
}

/// Loads from `address`; a fault goes on behind the load, with what the handler put into `rax`.
fn load(address: usize) -> usize {
    let result;
    // SAFETY: a fault of the load is handled; `r8` is where to go on.
    unsafe {
        asm!("lea r8, [rip + 2f]", "mov rax, [{address}]", "2:", address = in(reg) address,
            out("rax") result, out("r8") _, options(nostack, readonly));
    }
    result
}

static LEGACY: Mutex<Vec<i32>> = Mutex::new(Vec::new());

extern "C" fn legacy(number: i32) {
    LEGACY.lock().expect("not poisoned").push(number);
}

/// A handler that was there before is held back too, and comes after the subscriber that observes.
fn legacy_is_held() {
    let log = || -> MutexGuard<'_, Vec<i32>> { LEGACY.lock().expect("not poisoned") };
    raw::install(libc::SIGUSR1, legacy as *const () as usize, 0, &[]);
    // SAFETY: the lock is free whenever a signal is let in.
    let sub = unsafe {
        sigplane::subscribe(Signal::USR1).observe().immediate(|_| {
            LEGACY.lock().expect("not poisoned").push(0);
            Verdict::Pass
        })
    };
    let _sub = sub.expect("subscribed");
    let guard = sigplane::defer();
    send::raise(Signal::USR1).expect("sent");
    assert!(log().is_empty());
    drop(guard);
    assert_eq!(*log(), [0, libc::SIGUSR1]);
}

/// `DeferGuard::wait` against a thread that sends at random instants, 100,000 times: a lost wake-up
/// would hang. Tested where it is used: between the condition and the wait.
fn wait_loses_nothing() {
    static ROUND: AtomicU32 = AtomicU32::new(0);
    static HANDLED: AtomicU32 = AtomicU32::new(0);
    // SAFETY: adds to a number.
    let sub = unsafe {
        sigplane::subscribe(Signal::USR1).immediate(|_| {
            HANDLED.fetch_add(1, Ordering::Relaxed);
            Verdict::Handled
        })
    };
    let _sub = sub.expect("subscribed");
    let rounds = quick(100_000) as u32;
    let me = sigplane::thread::current().tid();
    let sender = std::thread::spawn(move || {
        let mut random = 1u32;
        for round in 0..rounds {
            while ROUND.load(Ordering::Acquire) != round {
                std::hint::spin_loop();
            }
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (0..random >> 24).for_each(|_| std::hint::spin_loop());
            send::to_thread(me, Signal::USR1).expect("alive");
        }
    });
    for round in 0..rounds {
        let mut guard = sigplane::defer();
        ROUND.store(round, Ordering::Release);
        while HANDLED.load(Ordering::Relaxed) == round {
            assert_eq!(guard.wait(None), Wake::Work);
        }
        assert!(sigplane::is_deferred());
        assert_eq!(HANDLED.load(Ordering::Relaxed), round + 1);
    }
    sender.join().expect("no panic");
}

/// Its deadline, its depth, and a signal that waits already.
fn wait_by_hand() {
    let _sub = checker(rt(0));
    let _outer = sigplane::defer();
    let mut inner = sigplane::defer();
    assert_eq!(inner.wait(Some(Instant::now())), Wake::Timeout);
    assert_eq!(inner.wait(Some(Instant::now() + Duration::from_millis(2))), Wake::Timeout);
    send::raise_with(rt(0), 0.into()).expect("sent");
    assert_eq!(inner.wait(None), Wake::Work);
    assert_eq!(ran(rt(0)), 1);
    drop(inner);
    send::raise_with(rt(0), 1.into()).expect("sent");
    assert_eq!(ran(rt(0)), 1, "as deep as before");
}

/// A thread-context handler that is due waits for the end of the outermost section, which is a safe
/// point.
fn thread_context() {
    let seen = std::rc::Rc::new(Cell::new(0));
    let sub = sigplane::subscribe(Signal::HUP).thread({
        let seen = std::rc::Rc::clone(&seen);
        move |_: &Event| seen.set(seen.get() + 1)
    });
    let _sub = sub.expect("subscribed");
    let guard = sigplane::defer();
    send::raise(Signal::HUP).expect("sent");
    assert_eq!((sigplane::thread::poll(), seen.get()), (0, 0));
    drop(guard);
    assert_eq!(seen.get(), 1);
}

/// The victim of `no_system_call`: so many sections as it is told.
fn loops() {
    let count: u64 = std::env::var("LOOPS").expect("a count").parse().expect("a number");
    drop(sigplane::defer());
    for _ in 0..count {
        drop(std::hint::black_box(sigplane::defer()));
    }
}

/// Issue, line 6: `strace -c` of a million sections counts as many calls as of none.
fn no_system_call() {
    let Ok(found) = Command::new("strace").arg("--version").output() else {
        skip("strace is not installed");
    };
    assert!(found.status.success());
    let calls = |count: u64| {
        let this = victim("loops");
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-U", "calls,name", "-o", "/dev/stdout"]).arg(this.get_program());
        command.envs(this.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.env("LOOPS", count.to_string());
        let (exit, table) = Running::start(command).finish();
        match table.lines().last().and_then(|line| line.trim().strip_suffix(" total")) {
            Some(calls) if exit == Exit::Code(0) => calls.trim().parse::<u64>().expect("a number"),
            _ => skip(&format!("strace cannot trace here: {exit:?} {table}")),
        }
    };
    let none = calls(0);
    assert!(none > 10, "what starting a process takes");
    assert_eq!(calls(1_000_000), none);
}

fn main() {
    Suite {
        tests: &[
            ("nested_under_storm", nested_under_storm),
            ("more_than_stored", more_than_stored),
            ("unblocked_inside", unblocked_inside),
            ("faults_are_not_held", faults_are_not_held),
            ("legacy_is_held", legacy_is_held),
            ("wait_loses_nothing", wait_loses_nothing),
            ("wait_by_hand", wait_by_hand),
            ("thread_context", thread_context),
            ("no_system_call", no_system_call),
        ],
        victims: &[("sender", sender), ("loops", loops)],
    }
    .main()
}
