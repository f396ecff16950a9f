//! Signals that a full queue holds, threads whose masks others rely on, and waits, when something comes
//! in between: a fork in a handler, the end of a thread, a foreign handler, setuid. Each scenario once
//! lost events, hung, or left a signal blocked for ever. The issue's points "Back-pressure" and "Foreign
//! handlers", and BRIEF §6 and §7.

use sigplane::send::{self, Value, raise, raise_with};
use sigplane::{Inbox, Signal, Verdict, Wake, on, subscribe, table, thread};
use sigplane_tests::raw::{self, bit, install};
use sigplane_tests::{DEADLINE, Suite, eventually};
use std::ffi::c_void;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

unsafe extern "C" {
    fn foreign_jump(signal: i32);
    fn foreign_land(interrupted: extern "C" fn(*mut c_void), argument: *mut c_void) -> i32;
}

/// What a foreign handler and its test tell each other.
static STEP: AtomicU32 = AtomicU32::new(0);
/// 1 until the usurper has waited, which it does once.
static FIRST: AtomicU32 = AtomicU32::new(1);
/// What a usurper found.
static FOUND: AtomicUsize = AtomicUsize::new(0);

type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut c_void);

fn rt() -> Signal {
    Signal::rt(3).unwrap()
}

fn is_blocked(signal: Signal) -> bool {
    raw::mask() & bit(signal.number()) != 0
}

/// An inbox with one place, which is taken: its signal is held on this thread.
fn held() -> Inbox {
    let inbox = subscribe(rt()).capacity(1).inbox().unwrap();
    raise_with(rt(), Value::from_int(1)).unwrap();
    assert!(is_blocked(rt()) && inbox.stats().holding);
    inbox
}

fn values(inbox: &Inbox, count: usize) -> Vec<i32> {
    let value = |_| inbox.recv_timeout(DEADLINE).expect("one more").value().map_or(0, Value::int);
    (0..count).map(value).collect()
}

// In a child that was forked in a handler while a queue holds a signal, the handler's return would put
// the held signal's bit back, and nobody would be left to take it away.
fn a_fork_in_a_handler_blocks_nothing() {
    static CHILD: AtomicI32 = AtomicI32::new(-1);
    let inbox = held();
    // SAFETY: the main thread is in a system call and holds no lock.
    let forks = unsafe {
        subscribe(Signal::USR2).immediate(|_| {
            CHILD.store(libc::fork(), SeqCst);
            Verdict::Handled
        })
    };
    let _forks = forks.unwrap();
    raise(Signal::USR2).unwrap();
    let child = CHILD.load(SeqCst);
    if child == 0 {
        assert!(!is_blocked(rt()), "blocked in the child");
        let _its_copy = inbox.try_recv();
        raise_with(rt(), Value::from_int(2)).unwrap();
        assert_eq!(values(&inbox, 1), [2]);
        // SAFETY: ends the child, without the test's own end.
        unsafe { libc::_exit(0) };
    }
    let mut status = -1;
    // SAFETY: `status` is valid.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(is_blocked(rt()), "the parent's hold stands");
    assert_eq!((values(&inbox, 1), is_blocked(rt())), (vec![1], false));
}

// A thread ends in a deferral that was forgotten: if what the deferral keeps is delivered after what the
// kernel keeps was handed over, it fills the queue anew, and the rest dies with the thread.
fn a_forgotten_deferral_loses_nothing() {
    let inbox = subscribe(rt()).capacity(1).inbox().unwrap();
    let forgets = || {
        std::mem::forget(sigplane::defer());
        let tid = thread::current().tid();
        for n in 0..12 {
            send::to_thread_with(std::process::id() as i32, tid, rt(), Value::from_int(n)).unwrap();
        }
    };
    std::thread::spawn(forgets).join().unwrap();
    let mut values = values(&inbox, 12);
    values.sort_unstable();
    assert_eq!(values, (0..12).collect::<Vec<_>>());
    assert_eq!(table().row(rt()).unwrap().lost, 0);
}

// A thread that is held ends: what the kernel keeps for it cannot be queued again as it was sent, by
// tgkill, and would be lost.
fn the_end_of_a_held_thread_hands_over() {
    let inbox = subscribe(rt()).capacity(1).inbox().unwrap();
    let ends = || {
        let tid = thread::current().tid();
        (0..5).for_each(|_| send::to_thread(tid, rt()).unwrap());
    };
    std::thread::spawn(ends).join().unwrap();
    assert_eq!(values(&inbox, 5).len(), 5);
    assert_eq!(table().row(rt()).unwrap().lost, 0);
}

// setuid waits until every thread has run libc's own handler for a signal of its own: with that blocked
// on the dispatcher, on a channel's thread or in a full deferral it would wait for ever.
fn setuid_returns() {
    let _dispatched = on(Signal::USR1, |_| ()).unwrap();
    let _channel = subscribe(Signal::USR2).channel().unwrap();
    let _queue = subscribe(rt()).inbox().unwrap();
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _section = sigplane::defer();
            for _ in 0..12 {
                raise(rt()).unwrap();
            }
            barrier.wait();
            barrier.wait();
        });
        barrier.wait();
        // SAFETY: changes nothing.
        assert_eq!(unsafe { (libc::setuid(libc::getuid()), libc::setgid(libc::getgid())) }, (0, 0));
        barrier.wait();
    });
    // The handler blocks its signal while it runs, a little longer than setuid waits.
    eventually("a dispatcher with neither blocked", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let read = |task: &std::fs::DirEntry, name| std::fs::read_to_string(task.path().join(name));
        let mut ours = tasks.filter(|task| read(task, "comm").is_ok_and(|n| n == "sigplane\n"));
        ours.next().is_some_and(|task| {
            let status = read(&task, "status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
            u64::from_str_radix(mask, 16).unwrap() & (bit(32) | bit(33)) == 0
        })
    });
}

// A place that one thread has reserved in another's queue and gives back may be why the owner's last take
// let nothing go: the owner's signal would stay blocked, and its queue empty.
fn a_place_given_back_lets_go() {
    const EACH: usize = 30_000;
    static TIDS: [AtomicI32; 2] = [const { AtomicI32::new(0) }; 2];
    static GOT: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
    for (tid, got) in TIDS.iter().zip(&GOT) {
        std::thread::spawn(move || {
            let counts = move |_: &sigplane::Event| {
                got.fetch_add(1, SeqCst);
            };
            let _mine = subscribe(rt()).capacity(1).thread(counts).unwrap();
            tid.store(thread::current().tid(), SeqCst);
            loop {
                thread::wait(None);
            }
        });
    }
    eventually("both", || TIDS.iter().all(|tid| tid.load(SeqCst) != 0));
    let mut sent = [0; 2];
    eventually("all received", || {
        for k in 0..2 {
            let room = sent[k] < EACH && sent[k] - GOT[k].load(SeqCst) < 50;
            if room && send::to_thread(TIDS[k].load(SeqCst), rt()).is_ok() {
                sent[k] += 1;
            }
        }
        GOT.iter().all(|got| got.load(SeqCst) == EACH)
    });
}

/// Waits in a foreign handler until the test has emptied the queue, and lets the bell come, if it can.
fn wait_for_the_consumer() {
    STEP.store(1, SeqCst);
    eventually("the consumer", || STEP.load(SeqCst) == 2);
    std::thread::yield_now();
}

/// Sends it to this thread; empties the queue while its handler stands in `wait_for_the_consumer`.
fn consume_during(inbox: &Inbox, sent: Signal) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            eventually("the foreign handler", || STEP.load(SeqCst) == 1);
            assert!(inbox.try_recv().is_some());
            STEP.store(2, SeqCst);
        });
        raise(sent).unwrap();
    });
    STEP.store(0, SeqCst);
    assert!(!is_blocked(rt()) && !inbox.stats().holding, "let go");
    raise_with(rt(), Value::from_int(7)).unwrap();
    assert_eq!(values(inbox, 1), [7], "and works again");
}

extern "C" fn chain_then_wait(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: what was found is a handler with three arguments.
    let found: Handler = unsafe { std::mem::transmute(FOUND.load(SeqCst)) };
    found(signal, info, context);
    if FIRST.swap(0, SeqCst) == 1 {
        wait_for_the_consumer();
    }
}

// A usurper chains first, which fills the queue, then goes on while the queue is emptied: let go on top
// of the usurper, the signal would be blocked again by the usurper's return.
fn a_hold_under_a_usurper_is_lifted() {
    let inbox = subscribe(rt()).capacity(1).inbox().unwrap();
    FOUND.store(raw::action(rt().number()).handler, SeqCst);
    install(rt().number(), chain_then_wait as Handler as usize, libc::SA_SIGINFO, &[]);
    consume_during(&inbox, rt());
}

extern "C" fn waits(_: i32) {
    wait_for_the_consumer();
}

// The same for the foreign handler of another signal, which interrupts a thread that is held: its frame
// has the held signal blocked, and its return would block it again.
fn a_hold_under_a_handler_is_lifted() {
    install(libc::SIGUSR2, waits as extern "C" fn(i32) as usize, 0, &[]);
    // SAFETY: the handler does nothing.
    let passes = unsafe { subscribe(Signal::USR2).immediate(|_| Verdict::Pass) };
    let _passes = passes.unwrap();
    let inbox = held();
    consume_during(&inbox, Signal::USR2);
}

// Threads that sigplane has never seen are held and end: if their holds stayed, the table would be full
// after some 1,000 of them, and queues could hold nothing any more.
fn holds_of_ended_threads_are_freed() {
    let inbox = subscribe(rt()).capacity(1).inbox().unwrap();
    let number = rt().number();
    for _ in 0..1500 {
        let raised = move || assert_eq!(unsafe { libc::raise(number) }, 0);
        std::thread::spawn(raised).join().unwrap();
        assert_eq!(values(&inbox, 1).len(), 1);
    }
    raise(rt()).unwrap();
    assert!(is_blocked(rt()) && inbox.stats().holding, "a hold is placed");
    assert!(inbox.try_recv().is_some() && !is_blocked(rt()));
}

extern "C" fn wait_deferred(_: *mut c_void) {
    let mut section = std::mem::ManuallyDrop::new(sigplane::defer());
    STEP.store(1, SeqCst);
    section.wait(None);
}

// A foreign handler leaves `DeferGuard::wait` by siglongjmp: the thread would count as one that waits,
// each later handler would wake it, and `thread::wait` would spin past its deadline.
fn a_jump_out_of_a_wait_leaves_no_trace() {
    install(libc::SIGUSR1, foreign_jump as *const () as usize, 0, &[]);
    let _jumped = subscribe(Signal::USR1).inbox().unwrap();
    let tid = thread::current().tid();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stat = format!("/proc/self/task/{tid}/stat");
            let asleep = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
            eventually("the main thread asleep", || STEP.load(SeqCst) == 1 && asleep());
            send::to_thread(tid, Signal::USR1).unwrap();
        });
        // SAFETY: the frame that is jumped over owns nothing that must be dropped.
        assert_eq!(unsafe { foreign_land(wait_deferred, std::ptr::null_mut()) }, 1);
    });
    assert!(!sigplane::is_deferred());
    let inbox = subscribe(Signal::USR2).inbox().unwrap();
    raise(Signal::USR2).unwrap();
    assert_eq!(inbox.len(), 1);
    let soon = || Some(Instant::now() + Duration::from_millis(10));
    eventually("a wait that times out", || thread::wait(soon()) == Wake::Timeout);
}

fn main() {
    Suite {
        tests: &[
            ("a_fork_in_a_handler_blocks_nothing", a_fork_in_a_handler_blocks_nothing),
            ("a_forgotten_deferral_loses_nothing", a_forgotten_deferral_loses_nothing),
            ("the_end_of_a_held_thread_hands_over", the_end_of_a_held_thread_hands_over),
            ("setuid_returns", setuid_returns),
            ("a_place_given_back_lets_go", a_place_given_back_lets_go),
            ("a_hold_under_a_usurper_is_lifted", a_hold_under_a_usurper_is_lifted),
            ("a_hold_under_a_handler_is_lifted", a_hold_under_a_handler_is_lifted),
            ("holds_of_ended_threads_are_freed", holds_of_ended_threads_are_freed),
            ("a_jump_out_of_a_wait_leaves_no_trace", a_jump_out_of_a_wait_leaves_no_trace),
        ],
        victims: &[],
    }
    .main()
}
