//! wasmtime, whose traps are faults of the processor, and sigplane, in both orders.
//!
//! Whichever came first, every trap stays the trap that it is, on every thread, and safe access, guarded
//! calls and regions work outside of wasm and in functions that wasm calls.
//!
//! One thing follows from the order of a delivery and is tested here too: a guarded call is asked before
//! the handlers behind sigplane. So a guard *around* a call into wasm takes wasm's traps, as long as
//! sigplane stands in front of wasmtime, and leaves the call where wasmtime does not expect it. Put the
//! guard inside, around what the host does.

use crate::guest::{Compiled, TRAPS};
use crate::probe;
use sigplane::fault;
use sigplane::{FaultKind, Handler, Signal, Subscription, Verdict, subscribe, table, thread};
use sigplane_tests::{Exit, Running, quick, raw, victim};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Four threads, two of them attached, and the main thread at the same time: each with every trap so many
/// `times`, and safe access in between.
fn traps_on_all_threads(compiled: &Compiled, times: u64) {
    let start = Barrier::new(5);
    let round = |attached: bool| {
        if attached {
            thread::current();
        }
        let mut guest = compiled.start(probe::everything);
        start.wait();
        for _ in 0..times {
            guest.every_trap();
            probe::access();
        }
        // The host function that wasm calls has faults of its own; then wasm traps.
        for _ in 0..times.div_ceil(10) {
            assert_eq!(guest.trap("through_host"), wasmtime::Trap::UnreachableCodeReached);
        }
    };
    std::thread::scope(|scope| {
        for attached in [false, true, false, true] {
            scope.spawn(move || round(attached));
        }
        round(false);
    });
}

fn row(signal: Signal) -> sigplane::Row {
    table().row(signal).expect("taken").clone()
}

/// wasmtime's handler is in the kernel: its signals are SIGSEGV, SIGILL and SIGFPE.
fn is_in_kernel(before: usize) {
    for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE] {
        let now = raw::action(signal).handler;
        assert!(now > libc::SIG_IGN && now != before, "wasmtime relies on signals here");
    }
}

pub fn wasm_first() {
    let rust = raw::action(libc::SIGSEGV).handler;
    let compiled = Compiled::new();
    is_in_kernel(rust);
    let theirs = raw::action(libc::SIGSEGV).handler;
    compiled.start(|| ()).every_trap();
    fault::enable().unwrap();
    let now = row(Signal::SEGV);
    assert_eq!((now.ours, now.taken_over, now.foreign.handler), (true, false, Handler::At(theirs)));
    probe::everything();
    traps_on_all_threads(&compiled, quick(1_000));
    probe::everything();
}

pub fn wasm_last() {
    fault::enable().unwrap();
    probe::everything();
    let ours = raw::action(libc::SIGSEGV).handler;
    let compiled = Compiled::new();
    is_in_kernel(ours);
    // It chains to what it found, so everything works, and the table shows who is in front.
    let now = row(Signal::SEGV);
    assert_eq!((now.ours, now.taken_over), (false, true));
    probe::everything();
    traps_on_all_threads(&compiled, quick(1_000));
    assert!(row(Signal::SEGV).taken_over);
    // In front again: it stands behind us, and chains to us.
    fault::enable().unwrap();
    let now = row(Signal::SEGV);
    assert_eq!((now.ours, now.taken_over), (true, false));
    probe::everything();
    traps_on_all_threads(&compiled, quick(1_000));
}

/// What an observer in the handler has seen of faults.
static SEEN: AtomicUsize = AtomicUsize::new(0);

fn observe() -> Subscription {
    let signals = Signal::SEGV | Signal::ILL | Signal::FPE;
    let subscribed = unsafe {
        subscribe(signals).observe().immediate(|delivery| {
            SEEN.fetch_add(usize::from(delivery.is_fault()), SeqCst);
            Verdict::Pass
        })
    };
    subscribed.expect("subscribed")
}

/// wasmtime before the first subscription: the observer sees each fault of wasm, and wasm its trap.
pub fn before_a_subscription() {
    let compiled = Compiled::new();
    let observer = observe();
    let mut guest = compiled.start(probe::everything);
    for name in ["load", "store", "divide", "remainder", "unreachable"] {
        guest.trap(name);
        assert_eq!(SEEN.swap(0, SeqCst), 1, "{name} is a fault of the processor");
    }
    guest.every_trap();
    // Of the others, which are faults, and which calls of wasmtime's, is wasmtime's matter.
    let each = SEEN.swap(0, SeqCst);
    assert!((5..=TRAPS.len()).contains(&each), "{each}");
    for _ in 0..quick(100) {
        guest.every_trap();
        assert_eq!(SEEN.swap(0, SeqCst), each);
    }
    probe::everything(); // What fixups, guards and regions take is nothing for subscribers.
    assert_eq!(SEEN.load(SeqCst), 0);
    traps_on_all_threads(&compiled, quick(200));
    let expected = each * 5 * quick(200) as usize;
    let extra = SEEN.swap(0, SeqCst).checked_sub(expected).expect("every fault was seen");
    assert!(extra <= 5 * quick(200).div_ceil(10) as usize, "{extra} more, of `through_host`");
    drop(observer);
    guest.every_trap();
}

/// wasmtime after it: it stands in front, and the observer sees what wasmtime passes on: nothing.
pub fn after_a_subscription() {
    let observer = observe();
    probe::everything();
    let compiled = Compiled::new();
    traps_on_all_threads(&compiled, quick(200));
    assert_eq!(SEEN.load(SeqCst), 0, "wasmtime keeps what is its own, and the rest is sigplane's");
    assert!(row(Signal::SEGV).taken_over);
    let second = observe();
    let mut guest = compiled.start(probe::everything);
    guest.every_trap();
    assert!(SEEN.swap(0, SeqCst) > TRAPS.len(), "both see it, in front again");
    drop((observer, second));
    traps_on_all_threads(&compiled, quick(200));
    probe::everything();
}

/// A guard around wasm takes its fault where sigplane stands in front; where wasmtime does, it stays a
/// trap. A guard that wasm's caller does not have is not asked.
pub fn inside_a_guard() {
    let (exit, output) = Running::start(victim("guards_wasm")).finish();
    assert_eq!((exit, &output[..]), (Exit::Code(0), "in front\nbehind\n"));
}

pub fn guards_wasm() {
    // wasmtime in front.
    probe::everything();
    let compiled = Compiled::new();
    let mut guest = compiled.start(probe::everything);
    for (name, expected) in TRAPS {
        let trap = unsafe { fault::guarded(|| guest.trap(name)) };
        assert_eq!(trap.ok(), Some(expected), "{name}");
    }
    assert!(row(Signal::SEGV).taken_over);
    println!("in front");
    // sigplane in front. wasmtime's call does not end, so the thread must never call wasm again.
    fault::enable().unwrap();
    guest.every_trap();
    let taken = std::thread::spawn(move || {
        let mut guest = compiled.start(probe::everything);
        let taken = unsafe { fault::guarded(|| guest.call("load")) };
        std::mem::forget(guest); // It is in the middle of a call, for ever.
        taken.map(drop).map_err(|fault| fault.kind())
    });
    let kind = taken.join().unwrap().expect_err("the guard takes it");
    assert!(matches!(kind, FaultKind::Unmapped | FaultKind::Protected), "{kind}");
    guest.every_trap();
    println!("behind");
}
