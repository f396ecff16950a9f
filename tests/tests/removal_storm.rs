//! Subscriptions that end while other threads storm their signal: when drop returns, their code is not
//! running and does not run. Acceptance line 3 of the issue.

use sigplane::send::{self, raise};
use sigplane::{Signal, SignalSet, Verdict, subscribe, table, thread};
use sigplane_tests::raw::action;
use sigplane_tests::{Suite, eventually, quick};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};

/// Of one subscription: whether it has ended, and how many threads are in its handler.
#[derive(Default)]
struct Life {
    dead: AtomicBool,
    inside: AtomicUsize,
}

static AFTER_DEATH: AtomicUsize = AtomicUsize::new(0);
static LIVE_CALLS: AtomicUsize = AtomicUsize::new(0);

impl Life {
    fn call(&self) {
        self.inside.fetch_add(1, SeqCst);
        AFTER_DEATH.fetch_add(usize::from(self.dead.load(SeqCst)), SeqCst);
        LIVE_CALLS.fetch_add(1, SeqCst);
        for _ in 0..50 {
            std::hint::spin_loop();
        }
        AFTER_DEATH.fetch_add(usize::from(self.dead.load(SeqCst)), SeqCst);
        self.inside.fetch_sub(1, SeqCst);
    }
}

// Issue line 3: from 4 threads while 4 others storm the signal, 10,000 times: after drop returns the
// code is not running and does not run. Nothing else keeps the signal, so it is taken and given back
// all the time, and its default, to be ignored, is what is left in the end.
fn storm(subscribe_and_drop: fn(&Arc<Life>)) {
    let (before, stop) = (action(libc::SIGWINCH), AtomicBool::new(false));
    let tids = [const { AtomicI32::new(0) }; 4];
    let count = quick(10_000) as usize / 4;
    std::thread::scope(|scope| {
        let removers: Vec<_> = (tids.iter())
            .map(|tid| {
                scope.spawn(|| {
                    tid.store(thread::current().tid(), SeqCst);
                    for _ in 0..count {
                        let life = Arc::new(Life::default());
                        subscribe_and_drop(&life);
                        assert_eq!(life.inside.load(SeqCst), 0, "running after its end");
                        life.dead.store(true, SeqCst);
                        // Kept, so that a call after the end finds the flag.
                        std::mem::forget(life);
                    }
                })
            })
            .collect();
        for tid in &tids {
            scope.spawn(|| {
                let pid = std::process::id() as i32;
                eventually("the thread has begun", || tid.load(SeqCst) != 0);
                while !stop.load(SeqCst) {
                    // The thread may have ended already.
                    let _sent = send::to_thread(tid.load(SeqCst), Signal::WINCH);
                    send::to_process(pid, Signal::WINCH).unwrap();
                    raise(Signal::WINCH).unwrap();
                }
            });
        }
        let ended: Vec<_> = removers.into_iter().map(|remover| remover.join()).collect();
        stop.store(true, SeqCst);
        ended.into_iter().for_each(|result| result.unwrap());
    });
    assert_eq!(AFTER_DEATH.load(SeqCst), 0, "calls after the end");
    assert!(LIVE_CALLS.load(SeqCst) > 0, "the storm reached somebody");
    assert_eq!(action(libc::SIGWINCH), before);
    assert_eq!(table().panics, 0);
}

fn of_the_immediate_context() {
    storm(|life| {
        let life = Arc::clone(life);
        // SAFETY: the handler writes to atomics.
        let subscribed = unsafe {
            subscribe(Signal::WINCH).immediate(move |_| {
                life.call();
                Verdict::Handled
            })
        };
        drop(subscribed.unwrap());
    });
}

fn of_the_dispatcher() {
    storm(|life| {
        let (life, set) = (Arc::clone(life), SignalSet::from([Signal::WINCH, Signal::HUP]));
        drop(subscribe(set).capacity(2).dispatcher(move |_| life.call()).unwrap());
    });
}

fn of_the_thread_context() {
    storm(|life| {
        let life = Arc::clone(life);
        let sub = subscribe(Signal::WINCH).thread(move |_| life.call()).unwrap();
        // One at least, however short its life.
        raise(Signal::WINCH).unwrap();
        thread::poll();
        drop(sub);
        thread::poll();
    });
}

fn of_an_inbox() {
    storm(|life| {
        let inbox = subscribe(Signal::WINCH).capacity(1).inbox().unwrap();
        raise(Signal::WINCH).unwrap();
        if inbox.try_recv().is_some() {
            life.call();
        }
        drop(inbox);
    });
}

fn main() {
    Suite {
        tests: &[
            ("of_the_immediate_context", of_the_immediate_context),
            ("of_the_dispatcher", of_the_dispatcher),
            ("of_the_thread_context", of_the_thread_context),
            ("of_an_inbox", of_an_inbox),
        ],
        victims: &[],
    }
    .main()
}
