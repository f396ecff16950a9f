//! Foreign handlers that leave by siglongjmp from under sigplane: nothing is held, lost or left behind.
//! Acceptance line 4 of the issue, and BRIEF §6.3 and §7.

use sigplane::send::{Value, raise, raise_with};
use sigplane::{DeferGuard, Inbox, Place, Removal, Signal, Subscription, Verdict};
use sigplane::{on, subscribe, table, thread};
use sigplane_tests::raw::{self, install};
use sigplane_tests::{Suite, eventually};
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

unsafe extern "C" {
    fn foreign_jump(signal: i32);
    fn foreign_land(interrupted: extern "C" fn(*mut c_void), argument: *mut c_void) -> i32;
}

/// How often `count`, an immediate handler, has run.
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn count(signal: Signal, verdict: Verdict) -> Subscription {
    // SAFETY: the handler writes to atomics.
    let subscribed = unsafe {
        subscribe(signal).immediate(move |_| {
            COUNT.fetch_add(1, SeqCst);
            verdict
        })
    };
    subscribed.expect("subscribed")
}

extern "C" fn send_usr1(_: *mut c_void) {
    raise(Signal::USR1).unwrap();
}

extern "C" fn fault(_: *mut c_void) {
    // SAFETY: none: it is meant to fault.
    unsafe { std::ptr::with_exposed_provenance::<u8>(8).read_volatile() };
}

extern "C" fn leave(guard: *mut c_void) {
    // SAFETY: `jump_at_the_end_of` passes it.
    drop(unsafe { (*guard.cast::<Option<DeferGuard>>()).take() });
}

extern "C" fn poll(_: *mut c_void) {
    thread::poll();
}

/// Runs it; how often a handler left it by siglongjmp.
fn land(interrupted: extern "C" fn(*mut c_void), argument: *mut c_void) -> i32 {
    // SAFETY: the frames that are jumped over own nothing.
    unsafe { foreign_land(interrupted, argument) }
}

fn jumps(signal: i32) {
    install(signal, foreign_jump as *const () as usize, 0, &[libc::SIGHUP]);
}

/// Bytes on the heap, of all arenas.
fn heap() -> usize {
    // SAFETY: takes nothing.
    unsafe { libc::mallinfo2() }.uordblks
}

// Issue line 4: a legacy handler that leaves by siglongjmp from under sigplane, then 1,000 more
// subscriptions: no hang, no leak. Between each of them it jumps again, in a deferral at times.
fn a_jump_and_a_thousand_subscriptions() {
    jumps(libc::SIGUSR1);
    let _keeps = count(Signal::USR1, Verdict::Pass);
    let _after = subscribe(Signal::USR1).place(Place::AfterLegacy).inbox().unwrap();
    let mask = raw::mask();
    let thousand = |count: usize| {
        for n in 0..count {
            let one: Box<dyn std::any::Any> = match n % 4 {
                0 => Box::new(self::count(Signal::USR1, Verdict::Handled)),
                1 => Box::new(on(Signal::USR1, |_| ()).unwrap()),
                2 => Box::new(subscribe(Signal::USR1).thread(|_| ()).unwrap()),
                _ => Box::new(subscribe(Signal::USR1).inbox().unwrap()),
            };
            assert_eq!((land(send_usr1, std::ptr::null_mut()), raw::mask()), (1, mask));
            let mut guard = Some(sigplane::defer());
            raise(Signal::USR1).unwrap();
            assert_eq!(land(leave, (&raw mut guard).cast()), 1);
            assert_eq!((sigplane::is_deferred(), raw::mask()), (false, mask));
            thread::poll();
            drop(one);
        }
        table()
    };
    thousand(200);
    let (threads, before) = (table().threads, heap());
    assert_eq!(thousand(1000).threads, threads);
    // A chain or an entry left behind by each would be some 100 bytes at least, a queue kilobytes. The
    // dispatcher lets go of the last ones when it looks at its list again.
    eventually("the heap as large as before", || heap().saturating_sub(before) < 50_000);
    // 1,000 at once, and their end.
    let many: Vec<_> =
        (0..1000).map(|_| subscribe(Signal::USR1).observe().capacity(1).inbox().unwrap()).collect();
    drop(many);
    assert_eq!(table().row(Signal::USR1).unwrap().entries.len(), 2);
}

// The same from threads without a record, which share their reader counts, and from a synchronous
// fault with an immediate entry in front of the handler.
fn jumps_everywhere_else() {
    jumps(libc::SIGUSR1);
    jumps(libc::SIGSEGV);
    let _faults = count(Signal::SEGV, Verdict::Pass);
    for _ in 0..250 {
        let sub = count(Signal::USR1, Verdict::Handled);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(land(send_usr1, std::ptr::null_mut()), 1);
                    assert_eq!(land(fault, std::ptr::null_mut()), 1);
                });
            }
        });
        assert_eq!((sub.unsubscribe(), COUNT.swap(0, SeqCst)), (Removal::Restored, 8));
        assert_eq!(land(fault, std::ptr::null_mut()), 1);
        assert_eq!(COUNT.swap(0, SeqCst), 1);
    }
}

extern "C" fn defer_and_send(count: *mut c_void) {
    let guard = sigplane::defer();
    for n in 0..count.addr() as i32 {
        raise_with(Signal::rt(1).unwrap(), Value::from_int(n)).unwrap();
    }
    drop(guard);
}

/// In a deferral `sent` signals come, and the handler jumps out of each: to a place inside the deferral,
/// or outside. Afterwards the deferral is over, the mask is what it was, and the rest is not lost and
/// comes at the next safe points, in order.
fn jump_out_of_a_deferral(sent: i32, inside: bool, inbox: &Inbox) {
    let (rt, mask) = (Signal::rt(1).unwrap(), raw::mask());
    let mut jumped = if inside {
        let mut guard = Some(sigplane::defer());
        for n in 0..sent {
            raise_with(rt, Value::from_int(n)).unwrap();
        }
        land(leave, (&raw mut guard).cast())
    } else {
        land(defer_and_send, std::ptr::without_provenance_mut(sent as usize))
    };
    // More than one where the jump itself unblocks what the kernel kept.
    assert!(jumped >= 1 && !sigplane::is_deferred(), "{sent}, inside: {inside}");
    assert!(inside || raw::mask() == mask, "{sent}: {:#x}", raw::mask());
    for _ in 0..sent + 2 {
        // Each safe point delivers what it can before it is left, and puts the mask back.
        jumped += land(poll, std::ptr::null_mut());
    }
    assert_eq!((jumped, raw::mask()), (sent, mask), "{sent}, inside: {inside}");
    let values: Vec<_> = inbox.try_iter().map(|event| event.value().unwrap().int()).collect();
    assert_eq!(values, (0..sent).collect::<Vec<_>>(), "inside: {inside}");
}

fn jumps_out_of_deferrals(inside: bool, sent: std::ops::Range<i32>) {
    let rt = Signal::rt(1).unwrap();
    jumps(rt.number());
    let inbox = subscribe(rt).inbox().unwrap();
    sent.for_each(|sent| jump_out_of_a_deferral(sent, inside, &inbox));
}

// BRIEF §6.3: a handler may leave a deferred call as well, with events of the same deferral waiting.
fn a_jump_out_of_a_deferred_handler() {
    jumps_out_of_deferrals(false, 1..8);
    jumps_out_of_deferrals(true, 1..8);
}

// The same with more events than a deferral has places for, so that the kernel keeps some. Jumping to a
// place outside lets those in, on top of the jump.
fn a_jump_out_of_a_full_deferral() {
    jumps_out_of_deferrals(false, 8..13);
}

// The place inside the deferral was made when it was full: the mask saved with it is sigplane's doing,
// and must not stay.
fn a_jump_into_a_full_deferral() {
    jumps_out_of_deferrals(true, 8..13);
}

fn main() {
    Suite {
        tests: &[
            ("a_jump_and_a_thousand_subscriptions", a_jump_and_a_thousand_subscriptions),
            ("jumps_everywhere_else", jumps_everywhere_else),
            ("a_jump_out_of_a_deferred_handler", a_jump_out_of_a_deferred_handler),
            ("a_jump_out_of_a_full_deferral", a_jump_out_of_a_full_deferral),
            ("a_jump_into_a_full_deferral", a_jump_into_a_full_deferral),
        ],
        victims: &[],
    }
    .main()
}
