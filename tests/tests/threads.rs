//! Threads come and go: their records, what dies with them, and whose signal is whose.

#![allow(clippy::disallowed_methods, reason = "threads block signals for themselves here")]

use sigplane::send::{self, Value};
use sigplane::thread::{self, FdWake, Interest, ThreadHandle, Wake};
use sigplane::{Handler, Inbox, Signal, SignalSet, Verdict};
use sigplane_tests::{Suite, eventually, quick};
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

fn rt() -> Signal {
    Signal::rt(1).expect("there are real-time signals")
}

fn raise(value: i32) {
    send::raise_with(rt(), Value::from_int(value)).expect("there is room in the kernel's queue");
}

/// The values of all events that wait.
fn values(inbox: &Inbox) -> Vec<i32> {
    inbox.try_iter().filter_map(|event| event.value()).map(Value::int).collect()
}

fn mask(how: i32, signal: Signal) {
    let mut set = unsafe { std::mem::zeroed() };
    unsafe { libc::sigemptyset(&mut set) };
    unsafe { libc::sigaddset(&mut set, signal.number()) };
    assert_eq!(unsafe { libc::pthread_sigmask(how, &set, std::ptr::null_mut()) }, 0);
}

/// Runs `body` on a raw thread, which Rust's runtime knows nothing of, to its end.
fn raw_thread(body: extern "C" fn(*mut c_void) -> *mut c_void) {
    let mut id = 0;
    let null = std::ptr::null_mut();
    assert_eq!(unsafe { libc::pthread_create(&mut id, std::ptr::null(), body, null) }, 0);
    assert_eq!(unsafe { libc::pthread_join(id, std::ptr::null_mut()) }, 0);
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs is there");
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<usize>().ok());
    pages.expect("statm has a second field") * 4096
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").expect("procfs is there").lines().count()
}

/// Ends the other threads of a scope, also when an assertion fails in it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

static TARGET: AtomicI32 = AtomicI32::new(0);
static HANDLED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn attach_and_be_shot_at(_: *mut c_void) -> *mut c_void {
    let me = thread::current();
    TARGET.store(me.tid(), SeqCst);
    drop(sigplane::defer());
    assert!(me.is_alive());
    std::ptr::null_mut()
}

fn batch(threads: u64) {
    for _ in 0..threads / 2 {
        raw_thread(attach_and_be_shot_at);
        let worker = std::thread::spawn(|| attach_and_be_shot_at(std::ptr::null_mut()) as usize);
        worker.join().expect("it does not panic");
    }
}

/// 100,000 threads, half of them not Rust's, attach and end while signals are directed at them: no
/// record, alternate stack or other memory stays behind. ("Threads": without a leak through 100,000
/// threads.)
fn come_and_go() {
    let count = sigplane::subscribe(Signal::USR1);
    let count = unsafe {
        count.immediate(|_| {
            HANDLED.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let _count = count.expect("SIGUSR1 is free");
    let _me = thread::current();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _at_end = Stop(&stop);
        scope.spawn(|| {
            // A thread may have ended meanwhile; the kernel says so, and that is all right.
            while !stop.load(SeqCst) {
                let (target, seen) = (TARGET.load(SeqCst), HANDLED.load(SeqCst));
                let _sent = send::to_thread(target, Signal::USR1);
                // As fast as they are handled, and no faster: the thread is to get on, too.
                let handled = || HANDLED.load(SeqCst) != seen || TARGET.load(SeqCst) != target;
                (0..1000).take_while(|_| !handled()).for_each(|_| std::hint::spin_loop());
                std::thread::yield_now();
            }
        });
        batch(quick(4_000));
        let (threads, memory, maps) = (sigplane::table().threads, resident_bytes(), mappings());
        for _ in 0..12 {
            batch(quick(8_000));
            assert_eq!(sigplane::table().threads, threads, "every thread that ended was detached");
        }
        let grown = resident_bytes().saturating_sub(memory);
        assert!(grown < 2 << 20, "100,000 threads left {grown} bytes behind");
        let more = mappings().saturating_sub(maps);
        assert!(more < 16, "100,000 threads left {more} mappings behind");
    });
    assert!(HANDLED.load(SeqCst) > 0, "the storm hit no thread");
}

/// What a thread blocks and leaves pending ends with it, and the next thread, which gets its record,
/// finds nothing of it. ("Threads": records come and go.)
fn end_with_signals_pending() {
    let inbox = sigplane::subscribe(rt()).inbox().expect("a real-time signal is free");
    for round in 0..100 {
        let blocked = std::thread::spawn(|| {
            mask(libc::SIG_BLOCK, rt());
            let me = thread::current();
            (0..20).for_each(|_| raise(-1));
            me
        });
        let gone = blocked.join().expect("it does not panic");
        assert!(!gone.is_alive());
        let next = std::thread::spawn(move || {
            raise(round);
            thread::current()
        });
        let next = next.join().expect("it does not panic");
        assert_ne!(gone, next, "a handle of an ended thread is not taken for the next one's");
        assert_eq!(values(&inbox), [round]);
    }
}

/// A deferral whose guard was forgotten ends with the thread: what it held back, in its own store and
/// in the kernel, is delivered, in order. ("defer(): nothing is lost or reordered".)
fn end_with_a_forgotten_guard() {
    let inbox = sigplane::subscribe(rt()).inbox().expect("a real-time signal is free");
    for _ in 0..100 {
        let forgetful = std::thread::spawn(|| {
            std::mem::forget(sigplane::defer());
            (0..50).for_each(raise);
        });
        forgetful.join().expect("it does not panic");
        assert!(values(&inbox).into_iter().eq(0..50));
        let next = std::thread::spawn(sigplane::is_deferred);
        assert!(
            !next.join().expect("it does not panic"),
            "the deferral was left to the next thread"
        );
    }
}

/// Tells on which thread it is dropped.
struct Dropped(mpsc::Sender<std::thread::ThreadId>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _told = self.0.send(std::thread::current().id());
    }
}

thread_local! {
    static KEPT: RefCell<Option<sigplane::ThreadSubscription>> = const { RefCell::new(None) };
}

/// A thread that ends with a subscription of its own, detached, forgotten or in a thread-local, ends
/// it: the closure is dropped on that thread and the signal is given back. (Same line; BRIEF §7,
/// "Removing the last subscriber must give the default back".)
fn end_subscribed() {
    let ways: [fn(sigplane::ThreadSubscription); 3] =
        [sigplane::ThreadSubscription::detach, std::mem::forget, |subscription| {
            KEPT.set(Some(subscription))
        }];
    for way in ways {
        let (tell, told) = mpsc::channel();
        let subscriber = std::thread::spawn(move || {
            let owned = Dropped(tell);
            let subscription = sigplane::subscribe(rt()).thread(move |_| {
                let _owned = &owned;
            });
            way(subscription.expect("a real-time signal is free"));
            raise(1); // Waits in the queue that ends.
        });
        let id = subscriber.thread().id();
        subscriber.join().expect("it does not panic");
        assert_eq!(told.recv(), Ok(id));
        let table = sigplane::table();
        let row = table.row(rt()).expect("it was subscribed");
        assert!(row.entries.is_empty(), "{table}");
        assert_eq!(row.kernel.handler, Handler::Default);
    }
}

/// A thread that ends while a full queue holds a signal back on it: what was sent to the process
/// waits for another thread and is not lost, and the queue goes on. (BRIEF §6.6.)
fn end_held_by_a_full_queue() {
    let inbox = sigplane::subscribe(rt()).capacity(4).inbox().expect("a real-time signal is free");
    mask(libc::SIG_BLOCK, rt()); // The kernel prefers the main thread otherwise.
    let pid = std::process::id() as i32;
    for _ in 0..50 {
        let held = std::thread::spawn(move || {
            mask(libc::SIG_UNBLOCK, rt());
            for value in 0..40 {
                send::to_process_with(pid, rt(), Value::from_int(value)).expect("there is room");
            }
        });
        held.join().expect("it does not panic");
        assert!(inbox.len() < 40, "the kernel keeps the rest: {}", inbox.len());
        let mut seen = values(&inbox);
        mask(libc::SIG_UNBLOCK, rt());
        eventually("the end of what was sent", || {
            seen.extend(values(&inbox));
            seen.len() >= 40
        });
        assert!(seen.into_iter().eq(0..40));
        assert!(!inbox.stats().holding);
        mask(libc::SIG_BLOCK, rt());
    }
}

/// A signal directed at a thread that subscribes is that thread's alone; directed at one that does
/// not, it goes to those who do. ("Thread-directed signals stay with their thread".)
fn stay_with_their_thread() {
    // The second is a real-time signal: while the queue is full, the kernel keeps each instance.
    let (first, second) = (Signal::USR1, rt());
    let (begin, ready) = mpsc::channel::<()>();
    let other = std::thread::spawn(move || {
        let seen = std::rc::Rc::new(Cell::new(0));
        let count = std::rc::Rc::clone(&seen);
        let both = sigplane::subscribe(SignalSet::from([first, second]));
        let subscription = both.thread(move |_| count.set(count.get() + 1)).expect("they are free");
        drop(begin);
        while seen.get() < 1_001 {
            assert_eq!(thread::wait(None), Wake::Work);
        }
        drop(subscription);
        seen.get()
    });
    let _ended = ready.recv();
    let mine = std::rc::Rc::new(Cell::new(0));
    let count = std::rc::Rc::clone(&mine);
    let me = thread::current().tid();
    let subscription = sigplane::subscribe(first).thread(move |event| {
        assert_eq!(event.thread(), me);
        count.set(count.get() + 1);
    });
    let subscription = subscription.expect("SIGUSR1 can be shared");
    for round in 1..=1_000 {
        send::raise(first).expect("to this thread");
        assert_eq!(thread::poll(), 1);
        assert_eq!(mine.get(), round);
    }
    assert_eq!(subscription.stats().panics, 0);
    // This thread does not subscribe the second: all of these go to the one that does.
    for _ in 0..1_000 {
        send::raise(second).expect("to this thread");
        assert_eq!(thread::poll(), 0);
    }
    // To the process, so to both.
    send::to_process(std::process::id() as i32, first).expect("to this process");
    eventually("the process's signal here", || thread::poll() == 1);
    assert_eq!(other.join().expect("it does not panic"), 1_001);
    assert_eq!(mine.get(), 1_001);
}

/// A signal sent to the process is forwarded to the thread that subscribes, whichever received it,
/// and ends its wait, 1,000 times each for two kinds of wait. ("process-directed ones are forwarded
/// to it, and a blocked wait of it is woken".)
fn are_forwarded_and_wake() {
    let (answer, answers) = mpsc::channel::<(i32, i32)>();
    let waiter = std::thread::spawn(move || {
        mask(libc::SIG_BLOCK, rt()); // The kernel always gives it to the main thread.
        let me = thread::current().tid();
        let tell = answer.clone();
        let ran = std::rc::Rc::new(Cell::new(0)); // One wait may run several, if they come that fast.
        let count = std::rc::Rc::clone(&ran);
        let subscription = sigplane::subscribe(rt()).thread(move |event| {
            count.set(count.get() + 1);
            assert_eq!(unsafe { libc::gettid() }, me, "run on the thread that subscribed");
            let value = event.value().map_or(-2, Value::int);
            let _told = tell.send((value, event.thread()));
        });
        let _subscription = subscription.expect("a real-time signal is free");
        answer.send((-1, me)).expect("the test waits");
        while ran.get() < 1_000 {
            assert_eq!(thread::wait(None), Wake::Work);
        }
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        while ran.get() < 2_000 {
            let woken = thread::wait_fd(reader.as_fd(), Interest::READABLE, None);
            assert_eq!(woken.expect("the pipe is open"), FdWake::Work);
        }
    });
    let (_, waiter_tid) = answers.recv().expect("it begins");
    for value in 0..2_000 {
        let pid = std::process::id() as i32;
        send::to_process_with(pid, rt(), Value::from_int(value)).expect("there is room");
        let (got, receiver) = answers.recv().expect("it is woken");
        assert_eq!(got, value);
        assert_ne!(receiver, waiter_tid);
    }
    waiter.join().expect("it does not panic");
}

/// A handle is small, goes anywhere, and is harmless when its thread has ended. ("a cheap
/// `ThreadHandle` (`Send + Sync + Clone`)".)
fn handles_are_cheap() {
    const fn goes_anywhere<T: Send + Sync + Copy + Eq + 'static>() {}
    goes_anywhere::<ThreadHandle>();
    assert!(size_of::<ThreadHandle>() <= 16);
    let me = thread::current();
    assert_eq!(me, thread::current());
    assert_eq!(me.tid(), unsafe { libc::gettid() });
    let ended = std::thread::spawn(thread::current).join().expect("it does not panic");
    // The next thread gets the record that the last one left.
    let reused = std::thread::spawn(move || {
        let successor = thread::current();
        assert!(successor.is_alive() && !ended.is_alive() && successor != ended);
        ended.post(|| 7).map(drop).expect_err("nobody runs it").0()
    });
    assert_eq!(reused.join().expect("it does not panic"), 7);
}

/// Defers when the thread's locals are destroyed, which attaches the thread if it is not attached.
struct Late;

impl Drop for Late {
    fn drop(&mut self) {
        let critical = sigplane::defer();
        raise(2);
        drop(critical);
    }
}

thread_local! {
    static LATE: Late = const { Late };
}

static KEY: AtomicUsize = AtomicUsize::new(0);
static ROUNDS: AtomicUsize = AtomicUsize::new(0);

/// A key's destructor that runs in one round after the other, and uses the library in each.
unsafe extern "C" fn again(value: *mut c_void) {
    let round = value as usize;
    ROUNDS.fetch_add(1, SeqCst);
    drop(sigplane::defer());
    assert!(thread::current().is_alive());
    raise(10 + round as i32);
    if round < 3 {
        let next = std::ptr::without_provenance_mut::<c_void>(round + 1);
        unsafe { libc::pthread_setspecific(KEY.load(SeqCst) as u32, next) };
    }
}

/// A thread may use the library in its destructors, also in later rounds of them, after it has been
/// detached: it is attached again and detached again. (Records come and go; pthread_key_create(3).)
fn attach_again_in_destructors() {
    let inbox = sigplane::subscribe(rt()).inbox().expect("a real-time signal is free");
    let _me = thread::current(); // Makes sigplane's key: ours comes after it in each round.
    let mut key = 0;
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(again)) }, 0);
    KEY.store(key as usize, SeqCst);
    let threads = sigplane::table().threads;
    for _ in 0..1_000 {
        let late = std::thread::spawn(|| {
            LATE.with(|_| ());
            let first = std::ptr::without_provenance_mut::<c_void>(1);
            unsafe { libc::pthread_setspecific(KEY.load(SeqCst) as u32, first) };
            raise(1);
        });
        late.join().expect("it does not panic");
        assert_eq!(values(&inbox), [1, 2, 11, 12, 13]);
        assert_eq!(sigplane::table().threads, threads);
    }
    assert_eq!(ROUNDS.load(SeqCst), 3_000);
}

fn main() {
    Suite {
        tests: &[
            ("come_and_go", come_and_go),
            ("end_with_signals_pending", end_with_signals_pending),
            ("end_with_a_forgotten_guard", end_with_a_forgotten_guard),
            ("end_subscribed", end_subscribed),
            ("end_held_by_a_full_queue", end_held_by_a_full_queue),
            ("stay_with_their_thread", stay_with_their_thread),
            ("are_forwarded_and_wake", are_forwarded_and_wake),
            ("handles_are_cheap", handles_are_cheap),
            ("attach_again_in_destructors", attach_again_in_destructors),
        ],
        victims: &[],
    }
    .main()
}
