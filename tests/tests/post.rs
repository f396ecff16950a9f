//! Posting closures to threads: order, results, panics, and threads that end.
//!
//! Issue "Core", *Threads*: `ThreadHandle::post`, FIFO; ownership comes back if the thread has ended.

use sigplane::thread::{self, JoinError, Posted, ThreadHandle};
use sigplane::{Signal, Wake, send};
use sigplane_tests::{Suite, eventually, quick};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A thread that does nothing but wait for work, until it is told to end.
struct Worker {
    handle: ThreadHandle,
    thread: JoinHandle<()>,
    over: Arc<AtomicBool>,
}

impl Worker {
    fn start() -> Self {
        let (tell, told) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                tell.send(thread::current()).expect("the test waits");
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(thread::wait(None), Wake::Work);
                }
            }
        });
        Self { handle: told.recv().expect("it starts"), thread, over }
    }

    fn end(self) {
        let over = self.over;
        let last = self.handle.post(move || over.store(true, Ordering::Relaxed));
        assert!(last.is_ok());
        self.thread.join().expect("no panic");
    }
}

/// One poster: closures run in the order they were posted in, on the thread they were posted to, and
/// each result goes to its own `join`.
fn in_order_with_results() {
    let worker = Worker::start();
    let tid = worker.handle.tid();
    let log = Arc::new(Mutex::new(Vec::new()));
    let post = |number: usize| {
        let log = Arc::clone(&log);
        let run = move || {
            log.lock().expect("not poisoned").push(number);
            (number * number, thread::current().tid())
        };
        worker.handle.post(run).expect("alive")
    };
    let posted: Vec<_> = (0..quick(10_000) as usize).map(post).collect();
    let count = posted.len();
    for (number, posted) in posted.into_iter().enumerate() {
        assert_eq!(posted.join().expect("run"), (number * number, tid));
    }
    assert_eq!(*log.lock().expect("not poisoned"), (0..count).collect::<Vec<_>>());
    worker.end();
}

/// Four posters to one thread that waits, polls and defers in turn: every closure once, in the order of
/// each poster.
fn storm() {
    let each = quick(20_000);
    let me = thread::current();
    let ran = Arc::new(AtomicUsize::new(0));
    let last = Arc::new([const { AtomicUsize::new(0) }; 4]);
    let posters: Vec<_> = (0..4usize)
        .map(|poster| {
            let (ran, last) = (Arc::clone(&ran), Arc::clone(&last));
            std::thread::spawn(move || {
                for number in 1..=each as usize {
                    let (ran, last) = (Arc::clone(&ran), Arc::clone(&last));
                    let run = move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                        last[poster].swap(number, Ordering::Relaxed)
                    };
                    let posted = me.post(run).expect("alive");
                    if number % 64 == 0 {
                        assert_eq!(posted.join().expect("run"), number - 1, "in order");
                    }
                }
            })
        })
        .collect();
    let mut turn = 0u32;
    while ran.load(Ordering::Relaxed) < 4 * each as usize {
        turn += 1;
        match turn % 3 {
            0 => drop(thread::wait(None)),
            1 => drop(thread::poll()),
            _ => drop(sigplane::defer()),
        }
    }
    posters.into_iter().for_each(|poster| poster.join().expect("no panic"));
    assert_eq!(ran.load(Ordering::Relaxed), 4 * each as usize, "each once");
    assert!(last.iter().all(|last| last.load(Ordering::Relaxed) == each as usize));
    assert_eq!(thread::poll(), 0);
}

/// A closure that panics: its poster is told what with, the thread goes on, others are not touched.
fn panics_go_to_the_poster() {
    std::panic::set_hook(Box::new(|_| ()));
    let worker = Worker::start();
    let panics = worker.handle.post(|| -> usize { panic!("as expected") }).expect("alive");
    let after = worker.handle.post(|| 3).expect("alive");
    let Err(JoinError::Panicked(payload)) = panics.join() else { panic!("it panicked") };
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"as expected"));
    assert_eq!(after.join().expect("run"), 3);
    worker.end();
}

/// A thread that has ended: the closure comes back at once, and what it owns with it.
fn ended_gives_back() {
    let ended = std::thread::spawn(thread::current).join().expect("no panic");
    eventually("its end", || !ended.is_alive());
    let (sender, receiver): (Sender<u8>, Receiver<u8>) = mpsc::channel();
    let error = ended.post(move || sender.send(4)).expect_err("it has ended");
    (error.0)().expect("the channel came back with the closure");
    assert_eq!(receiver.recv(), Ok(4));
    // Its record serves other threads by now; they are not reached by the old handle.
    let others: Vec<Worker> = (0..4).map(|_| Worker::start()).collect();
    assert!(ended.post(|| ()).is_err() && !ended.is_alive());
    assert!(others.iter().all(|other| other.handle != ended));
    others.into_iter().for_each(Worker::end);
}

/// A thread that ends before the turn of its closures: `join` gives each back, unrun.
fn ends_before_its_turn() {
    for _ in 0..quick(200) {
        let (tell, told) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let busy = std::thread::spawn(move || {
            tell.send(thread::current()).expect("the test waits");
            let _ = ends.recv(); // No safe point.
        });
        let handle = told.recv().expect("it starts");
        let token = Arc::new(());
        let posted: Vec<Posted<_, _>> = (0..3)
            .map(|number| {
                let token = Arc::clone(&token);
                handle.post(move || (number, token)).expect("alive")
            })
            .collect();
        assert!(posted.iter().all(|posted| !posted.is_finished()));
        drop(end);
        for (number, posted) in posted.into_iter().enumerate() {
            let Err(JoinError::Ended(closure)) = posted.join() else { panic!("never run") };
            assert_eq!(closure().0, number);
        }
        busy.join().expect("no panic");
        assert_eq!(Arc::strong_count(&token), 1, "nothing leaks");
    }
}

/// Posts that race the end of their thread: each closure runs or comes back, never both, never neither.
fn race_with_the_end() {
    let mut given_back = 0;
    for _ in 0..quick(1_000) {
        let worker = Worker::start();
        let handle = worker.handle;
        let ran = Arc::new(AtomicUsize::new(0));
        let poster = std::thread::spawn({
            let ran = Arc::clone(&ran);
            move || {
                let (mut done, mut ended) = (0, 0);
                loop {
                    let ran = Arc::clone(&ran);
                    let run = move || ran.fetch_add(1, Ordering::Relaxed);
                    match handle.post(run).map(Posted::join) {
                        Ok(Ok(_)) => done += 1,
                        Ok(Err(JoinError::Ended(_))) => ended += 1,
                        Ok(Err(JoinError::Panicked(_))) => panic!("it does not panic"),
                        Err(_) => return (done, ended),
                    }
                }
            }
        });
        worker.end();
        let (done, ended) = poster.join().expect("no panic");
        assert_eq!(done, ran.load(Ordering::Relaxed));
        given_back += ended;
    }
    println!("{given_back} were given back by `join`");
}

/// A safe point runs what is there and ends: a closure that posts itself again has its next turn at the
/// next one.
fn a_safe_point_ends() {
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    fn again() {
        let turn = TURNS.fetch_add(1, Ordering::Relaxed);
        // A bound, so that a safe point that goes on for ever fails instead of hanging.
        if turn < 1_000 {
            assert!(thread::current().post(again).is_ok());
        }
    }
    assert!(thread::current().post(again).is_ok());
    assert_eq!((thread::poll(), TURNS.load(Ordering::Relaxed)), (1, 1));
    assert_eq!((thread::wait(None), TURNS.load(Ordering::Relaxed)), (Wake::Work, 2));
}

/// A post to the own thread runs at the next safe point, not before, also from inside a posted closure.
fn to_oneself() {
    let me = thread::current();
    let log = Arc::new(Mutex::new(Vec::new()));
    let note = {
        let log = Arc::clone(&log);
        move |what: &'static str| log.lock().expect("not poisoned").push(what)
    };
    let inner = note.clone();
    let outer = me.post(move || {
        inner("outer begins");
        let inner_note = inner.clone();
        let nested = me.post(move || inner_note("nested")).expect("alive");
        // Safe points do not nest: none of these runs anything.
        assert_eq!(thread::poll(), 0);
        drop(sigplane::defer());
        assert!(!nested.is_finished());
        inner("outer ends");
    });
    let outer = outer.expect("alive");
    assert!(!outer.is_finished());
    note("before");
    assert_eq!(thread::poll(), 1, "its own post is for the next safe point");
    outer.join().expect("run");
    assert_eq!(thread::poll(), 1);
    assert_eq!(
        *log.lock().expect("not poisoned"),
        ["before", "outer begins", "outer ends", "nested"]
    );
}

/// A thread-context handler posts to its own thread, and a closure raises its signal: each runs after the
/// other has returned.
fn handlers_and_closures_do_not_nest() {
    static BUSY: AtomicBool = AtomicBool::new(false);
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    fn alone() {
        assert!(!BUSY.swap(true, Ordering::Relaxed), "runs on top of another");
        assert_eq!(thread::poll(), 0);
        assert!(BUSY.swap(false, Ordering::Relaxed));
        TURNS.fetch_add(1, Ordering::Relaxed);
    }
    let me = thread::current();
    let sub = sigplane::subscribe(Signal::USR1).thread(move |_| {
        assert!(me.post(alone).is_ok());
        alone();
    });
    let sub = sub.expect("subscribed");
    let posted = me.post(|| {
        send::raise(Signal::USR1).expect("sent");
        alone();
    });
    while TURNS.load(Ordering::Relaxed) < 3 {
        assert_eq!(thread::wait(None), Wake::Work);
    }
    posted.expect("alive").join().expect("nothing nested");
    assert_eq!((TURNS.load(Ordering::Relaxed), sub.stats().panics), (3, 0));
}

fn main() {
    Suite {
        tests: &[
            ("in_order_with_results", in_order_with_results),
            ("storm", storm),
            ("panics_go_to_the_poster", panics_go_to_the_poster),
            ("ended_gives_back", ended_gives_back),
            ("ends_before_its_turn", ends_before_its_turn),
            ("race_with_the_end", race_with_the_end),
            ("a_safe_point_ends", a_safe_point_ends),
            ("to_oneself", to_oneself),
            ("handlers_and_closures_do_not_nest", handlers_and_closures_do_not_nest),
        ],
        victims: &[],
    }
    .main()
}
