//! fork: under a storm, and in the middle of everything that the library does.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests look at masks, and block signals for themselves"
)]

use sigplane::send::{self, Raised, Value};
use sigplane::{Inbox, Overflow, Signal, Verdict, thread};
use sigplane_tests::{Suite, eventually, quick};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::id;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

fn rt(n: u8) -> Signal {
    Signal::rt(n).expect("there are real-time signals")
}

fn raise(value: i32) {
    send::raise_with(rt(0), Value::from_int(value)).expect("there is room in the kernel's queue");
}

fn values(inbox: &Inbox) -> Vec<i32> {
    std::iter::from_fn(|| inbox.try_recv()?.value()).map(Value::int).collect()
}

fn mask(how: i32, signals: &[Signal]) -> libc::sigset_t {
    let (mut set, mut old) = unsafe { std::mem::zeroed() };
    unsafe { libc::sigemptyset(&mut set) };
    for signal in signals {
        unsafe { libc::sigaddset(&mut set, signal.number()) };
    }
    assert_eq!(unsafe { libc::pthread_sigmask(how, &set, &mut old) }, 0);
    old
}

fn is_blocked(signal: Signal) -> bool {
    let now = mask(libc::SIG_BLOCK, &[]);
    unsafe { libc::sigismember(&now, signal.number()) == 1 }
}

/// Ends a forked child: 0 when `body` got to its end.
fn end_child(body: impl FnOnce()) -> ! {
    unsafe { libc::alarm(60) }; // A child that hangs is killed by SIGALRM.
    let failed = catch_unwind(AssertUnwindSafe(body)).is_err();
    unsafe { libc::_exit(i32::from(failed)) }
}

/// Forks; the child runs `body` and ends.
fn fork(body: impl FnOnce()) -> i32 {
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => end_child(body),
        child => child,
    }
}

fn assert_ends_well(child: i32) {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child failed; its message is above");
}

/// Uses everything once: a new subscription of each kind, deferral, a post to itself, removal.
fn use_the_library() {
    let me = thread::current();
    assert_eq!(me.tid(), unsafe { libc::gettid() });
    let inbox = sigplane::subscribe(rt(3)).inbox().expect("it is free");
    let (tell, told) = mpsc::channel();
    let on_dispatcher = sigplane::on(rt(3), move |event| {
        let _told = tell.send(event.value().map(Value::int));
    });
    let on_dispatcher = on_dispatcher.expect("it can be shared");
    static OTHER: AtomicI32 = AtomicI32::new(0);
    let other = sigplane::on(rt(0), |event| {
        OTHER.store(event.value().map_or(-1, Value::int), SeqCst);
    });
    let _other = other.expect("it can be shared");
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    let here = sigplane::subscribe(rt(3)).thread(move |_| count.set(count.get() + 1));
    let here = here.expect("it can be shared");
    let critical = sigplane::defer();
    send::raise_with(rt(3), Value::from_int(9)).expect("there is room");
    assert!(inbox.try_recv().is_none());
    drop(critical);
    assert_eq!(seen.get(), 1);
    assert_eq!(inbox.recv().value(), Some(Value::from_int(9)));
    assert_eq!(told.recv(), Ok(Some(9)));
    let posted = me.post(|| 42).expect("this thread has not ended");
    assert_eq!(thread::wait(None), thread::Wake::Work);
    assert_eq!(posted.join().expect("it has run"), 42);
    drop((inbox, on_dispatcher, here));
}

/// Ends the other threads of a scope, also when an assertion fails in it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

static NEXT: AtomicI32 = AtomicI32::new(0);
static WRONG: AtomicUsize = AtomicUsize::new(0);

/// Issue, "What must be shown", 8: fork in a loop, 1,000 times, under a storm of real-time and
/// standard signals, each child using the library itself at once. The parent loses none of its own
/// and gets none twice, in order; no child gets one of them.
fn in_a_loop_under_storm() {
    let parent = id() as i32;
    let order = sigplane::on(rt(0), move |event| {
        let expected = NEXT.fetch_add(1, SeqCst);
        if event.value() != Some(Value::from_int(expected)) || id() as i32 != parent {
            WRONG.fetch_add(1, SeqCst);
        }
    });
    let _order = order.expect("it is free");
    let inbox =
        sigplane::subscribe(Signal::USR1).overflow(Overflow::Coalesce).inbox().expect("it is free");
    let noise = sigplane::subscribe(Signal::USR2);
    let _noise = unsafe { noise.immediate(|_| Verdict::Handled) }.expect("it is free");
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let storm = Stop(&stop);
        // The sender blocks what it sends: one thread receives, so the order is the kernel's.
        let sender = scope.spawn(|| {
            mask(libc::SIG_BLOCK, &[rt(0), Signal::USR1, Signal::USR2]);
            let mut sent = 0;
            while !stop.load(SeqCst) {
                match send::to_process_with(parent, rt(0), Value::from_int(sent)) {
                    Ok(()) => sent += 1,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                send::to_process(parent, Signal::USR1).expect("to this process");
                send::to_process(parent, Signal::USR2).expect("to this process");
                // More than the queue holds waits at any time; all that the kernel would take would
                // leave the children no room.
                while sent - NEXT.load(SeqCst) > 300 && !stop.load(SeqCst) {
                    std::thread::park_timeout(Duration::from_micros(50));
                }
            }
            sent
        });
        for _ in 0..quick(1_000) {
            assert_ends_well(fork(|| {
                assert!(inbox.try_recv().is_none(), "an event of the parent");
                use_the_library();
                assert!(inbox.try_recv().is_none(), "an event of the parent");
            }));
        }
        drop(storm);
        sender.join().expect("it does not panic")
    });
    eventually("the last of the parent's own events", || NEXT.load(SeqCst) >= sent);
    assert_eq!((NEXT.load(SeqCst), WRONG.load(SeqCst)), (sent, 0));
    // One event stands for all the others: no fork has lost or added one.
    let instances = inbox.try_recv().map(|event| event.instances() as usize);
    assert_eq!(instances, Some(inbox.stats().queued));
}

static RELEASE: AtomicBool = AtomicBool::new(false);
static LOG: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];
static LOGGED: AtomicUsize = AtomicUsize::new(0);

/// What is queued in the parent at the fork, in an inbox, for this thread, for the dispatcher (which
/// is in the middle of a handler), or in a deferral, is the parent's and not seen in the child; and
/// subscriptions made before the fork work in the child, those on the dispatcher too. (BRIEF §7,
/// "events queued in the parent are not delivered twice".)
fn nothing_is_delivered_twice() {
    let inbox = sigplane::subscribe(rt(0)).priority(1).inbox().expect("it is free");
    let slow = sigplane::on(rt(0), |event| {
        let value = event.value().map_or(-1, Value::int);
        if value == 1 {
            eventually("its release", || RELEASE.load(SeqCst));
        }
        LOG[LOGGED.load(SeqCst)].store(value, SeqCst);
        LOGGED.fetch_add(1, SeqCst);
    });
    let slow = slow.expect("it can be shared");
    static OTHER: AtomicI32 = AtomicI32::new(0);
    let other = sigplane::on(rt(0), |event| {
        OTHER.store(event.value().map_or(-1, Value::int), SeqCst);
    });
    let _other = other.expect("it can be shared");
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    let here = sigplane::subscribe(rt(0)).thread(move |_| count.set(count.get() + 1));
    let _here = here.expect("it can be shared");
    (1..=3).for_each(raise);
    eventually("the dispatcher is busy with the first", || slow.stats().taken > 0);
    let critical = sigplane::defer();
    (4..=5).for_each(raise);
    let child = fork(|| {
        drop(critical);
        assert_eq!(thread::poll(), 0);
        assert_eq!((seen.get(), values(&inbox)), (0, vec![]));
        raise(100);
        assert_eq!(thread::poll(), 1);
        assert_eq!(values(&inbox), [100]);
        // The parent's dispatcher was in the middle of `slow`, which is therefore not run again here.
        eventually("the child's dispatcher", || OTHER.load(SeqCst) == 100);
        assert_eq!(LOGGED.load(SeqCst), 0);
        let table = sigplane::table();
        let row = table.row(rt(0)).expect("subscribed");
        assert_eq!(row.entries.iter().filter(|entry| !entry.armed).count(), 1);
    });
    assert_ends_well(child);
    RELEASE.store(true, SeqCst);
    // The guard went into the closure, and was dropped here with it.
    assert!(!sigplane::is_deferred());
    thread::poll();
    assert_eq!((seen.get(), values(&inbox)), (5, vec![1, 2, 3, 4, 5]));
    eventually("the parent's dispatcher", || LOGGED.load(SeqCst) == 5);
    assert!(LOG.iter().map(|value| value.load(SeqCst)).take(5).eq(1..=5));
}

fn is_readable(inbox: &Inbox) -> bool {
    let mut poll = libc::pollfd { fd: inbox.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

/// The descriptor of an inbox is the child's own after a fork: neither side's events make the other's
/// readable. (BRIEF §7, "must not run the parent's handlers on shared descriptors".)
fn descriptors_are_independent() {
    let inbox = sigplane::subscribe(rt(0)).inbox().expect("it is free");
    assert!(!is_readable(&inbox));
    let (mut at_child, mut to_child) = std::io::pipe().expect("a pipe");
    let (mut at_parent, mut to_parent) = std::io::pipe().expect("a pipe");
    let child = fork(|| {
        raise(1);
        assert!(is_readable(&inbox));
        to_parent.write_all(b"1").expect("the parent reads");
        at_child.read_exact(&mut [0]).expect("the parent writes");
        assert_eq!(values(&inbox), [1]);
        assert!(!is_readable(&inbox), "the parent's event is not the child's");
        to_parent.write_all(b"2").expect("the parent reads");
    });
    at_parent.read_exact(&mut [0]).expect("the child writes");
    assert!(!is_readable(&inbox), "the child's event is not the parent's");
    raise(2);
    assert!(is_readable(&inbox));
    to_child.write_all(b"1").expect("the child reads");
    at_parent.read_exact(&mut [0]).expect("the child writes");
    assert_ends_well(child);
    assert!(is_readable(&inbox), "what the child read was its own");
    assert_eq!(values(&inbox), [2]);
    assert!(!is_readable(&inbox));
}

static CHILD: AtomicI32 = AtomicI32::new(-1);

/// fork inside a handler on the dispatcher: the child goes on there, with the library in order.
fn inside_a_dispatcher_handler() {
    let forks = sigplane::on(Signal::USR1, |_| {
        let child = fork(|| {
            assert!(sigplane::dispatcher::is_current());
            // The only thread is the one that blocks all signals; the program may lift that.
            mask(libc::SIG_UNBLOCK, &[rt(0)]);
            let inbox = sigplane::subscribe(rt(0)).inbox().expect("it is free");
            raise(7);
            assert_eq!(inbox.recv().value(), Some(Value::from_int(7)));
        });
        CHILD.store(child, SeqCst);
    });
    let _forks = forks.expect("it is free");
    for _ in 0..50 {
        CHILD.store(-1, SeqCst);
        send::raise(Signal::USR1).expect("to this thread");
        eventually("the fork", || CHILD.load(SeqCst) != -1);
        assert_ends_well(CHILD.load(SeqCst));
    }
}

/// fork inside an immediate handler: the child returns from the handler and goes on.
fn inside_an_immediate_handler() {
    let forks = sigplane::subscribe(Signal::USR1);
    let forks = unsafe {
        forks.immediate(|_| {
            CHILD.store(libc::fork(), SeqCst);
            Verdict::Handled
        })
    };
    let forks = forks.expect("it is free");
    for _ in 0..50 {
        assert_eq!(send::raise(Signal::USR1), Ok(Raised::Delivered));
        match CHILD.load(SeqCst) {
            0 => end_child(|| {
                drop(forks); // Waits for nobody's handler: all others are the parent's.
                use_the_library();
            }),
            child => assert_ends_well(child),
        }
    }
}

/// fork inside a deferral: what it holds back is the parent's; the child's own is delivered when the
/// child leaves it.
fn inside_a_deferral() {
    let inbox = sigplane::subscribe(rt(0)).inbox().expect("it is free");
    for own in 0..50 {
        let outer = sigplane::defer();
        (0..own).for_each(raise); // More than the thread's own store holds, from some round on.
        let child = unsafe { libc::fork() };
        assert_ne!(child, -1);
        if child == 0 {
            end_child(|| {
                assert!(sigplane::is_deferred());
                raise(1_000);
                assert!(inbox.try_recv().is_none());
                drop(outer);
                assert_eq!(values(&inbox), [1_000]);
                assert!(!is_blocked(Signal::TERM) && !is_blocked(rt(0)));
                use_the_library();
            });
        }
        assert_ends_well(child);
        drop(outer);
        assert!(values(&inbox).into_iter().eq(0..own));
    }
}

/// fork while other threads subscribe and unsubscribe: the child finds the table at rest.
fn while_others_write() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _at_end = Stop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    drop(sigplane::on(rt(3), |_| ()).expect("it can be shared"));
                    drop(sigplane::subscribe(Signal::USR1).inbox().expect("it can be shared"));
                }
            });
        }
        for _ in 0..quick(300) {
            assert_ends_well(fork(use_the_library));
        }
    });
}

/// fork of a thread that a full queue holds: the child's mask is clean, and the parent's is as it was,
/// with nothing lost. (BRIEF §6.6 and §7.)
fn of_a_held_thread() {
    let inbox = sigplane::subscribe(rt(0)).capacity(2).inbox().expect("it is free");
    (0..6).for_each(raise);
    assert!(is_blocked(rt(0)), "the queue holds it");
    let child = fork(|| {
        assert!(!is_blocked(rt(0)) && !is_blocked(Signal::URG));
        assert!(!inbox.stats().holding);
        assert_eq!(values(&inbox), []);
        (10..14).for_each(raise);
        assert_eq!(values(&inbox), [10, 11, 12, 13]);
        use_the_library();
    });
    assert_ends_well(child);
    assert!(is_blocked(rt(0)) && inbox.stats().holding);
    assert_eq!(values(&inbox), [0, 1, 2, 3, 4, 5]);
    assert!(!is_blocked(rt(0)));
}

fn main() {
    Suite {
        tests: &[
            ("in_a_loop_under_storm", in_a_loop_under_storm),
            ("nothing_is_delivered_twice", nothing_is_delivered_twice),
            ("descriptors_are_independent", descriptors_are_independent),
            ("inside_a_dispatcher_handler", inside_a_dispatcher_handler),
            ("inside_an_immediate_handler", inside_an_immediate_handler),
            ("inside_a_deferral", inside_a_deferral),
            ("while_others_write", while_others_write),
            ("of_a_held_thread", of_a_held_thread),
        ],
        victims: &[],
    }
    .main()
}
