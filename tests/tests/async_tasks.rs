//! What a task awaits or does besides a plain stream: the first signal (`ctrl_c`, `terminate`), requests
//! to reload, and closures posted to it. The "What to build", third and fourth point.
//!
//! Nothing here depends on how fast the machine is: quiet times are long where a burst must hold together,
//! and what must not come is looked for when it would have been there.

use futures::{FutureExt, StreamExt, stream::FusedStream};
use sigplane::send::{self, Value};
use sigplane::{Event, Signal};
use sigplane_async::{Gone, Reload, TaskHandle, alertable, ctrl_c, reload, terminate};
use sigplane_tests::{DEADLINE, Dice, Exit, Running, Suite, quick, raw, victim};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs it to its end, up to the deadline.
fn within<F: Future>(runtime: &Runtime, future: F) -> F::Output {
    runtime.block_on(async { timeout(DEADLINE, future).await.expect("in time") })
}

fn on_each(test: fn(&Runtime)) {
    test(&current_thread());
    test(&multi_thread());
}

// ---- the first signal

// Subscribed at the call and not at the first poll; completes with the event; gives the signal back.
fn the_first_signal() {
    on_each(|runtime| {
        for (signal, first) in [(Signal::INT, ctrl_c as fn() -> _), (Signal::TERM, terminate)] {
            let before = raw::action(signal.number());
            runtime.block_on(async {
                let dropped = first();
                assert_ne!(raw::action(signal.number()), before, "subscribed by the call");
                drop(dropped);
                assert_eq!(raw::action(signal.number()), before, "given back unpolled");

                let waiting = first();
                send::raise_with(signal, Value::from_int(6)).unwrap(); // Before it is polled.
                let event = waiting.await.unwrap();
                assert_eq!((event.signal(), event.value()), (signal, Some(Value::from_int(6))));
                assert_eq!(raw::action(signal.number()), before, "given back by its completion");

                let (mut one, mut other) = (first(), first());
                assert!((&mut one).now_or_never().is_none());
                assert!((&mut other).now_or_never().is_none());
                send::raise(signal).unwrap();
                assert_eq!(one.await.unwrap().signal(), signal);
                assert_ne!(raw::action(signal.number()), before, "the other one is still there");
                assert_eq!(other.await.unwrap().signal(), signal);
                assert_eq!(raw::action(signal.number()), before);
            });
        }
    });
}

fn polled_after_completion() {
    current_thread().block_on(async {
        let mut first = ctrl_c();
        send::raise(Signal::INT).unwrap();
        (&mut first).await.unwrap();
        let again = catch_unwind(AssertUnwindSafe(|| (&mut first).now_or_never()));
        let payload = again.expect_err("panics");
        assert_eq!(payload.downcast_ref(), Some(&"polled after it had completed"));
    });
}

// The second one has its default effect.
fn the_second_signal_kills() {
    for (name, signal) in [("interrupted", Signal::INT), ("terminated", Signal::TERM)] {
        let mut child = Running::start(victim(name));
        child.expect("ready");
        send::to_process(child.pid(), signal).unwrap();
        child.expect("first");
        send::to_process(child.pid(), signal).unwrap();
        let (exit, output) = child.finish();
        let number = signal.number();
        assert_eq!(exit, Exit::Signal { number, core: false }, "{output}");
    }
}

fn interrupted() {
    awaits(ctrl_c);
}

fn terminated() {
    awaits(terminate);
}

fn awaits(first: fn() -> sigplane_async::First) {
    current_thread().block_on(async {
        let first = first();
        println!("ready");
        first.await.unwrap();
    });
    println!("first");
    while std::io::stdin().read_line(&mut String::new()).is_ok_and(|read| read > 0) {}
    println!("survived");
}

// ---- reload

fn hang_up(value: i32) {
    send::raise_with(Signal::HUP, Value::from_int(value)).unwrap();
}

fn said(event: &Event) -> Option<i32> {
    event.value().map(|value| value.int())
}

/// Looks once.
fn poll_now(requests: &mut Reload) -> Option<Event> {
    requests.recv().now_or_never()
}

// A burst is one request, which carries the last of it, whether it came before or between the polls; what
// comes after it is another request, at once or later.
fn a_burst_is_one_request() {
    on_each(|runtime| {
        within(runtime, async {
            // Longer than any hiccup between two lines here, because ten of them end a burst.
            let mut requests = reload().unwrap().quiet(Duration::from_millis(500));
            for value in 0..5 {
                hang_up(value);
            }
            assert!(poll_now(&mut requests).is_none(), "the burst may go on");
            for value in 5..20 {
                hang_up(value);
                if value % 3 == 0 {
                    assert!(poll_now(&mut requests).is_none(), "the burst goes on");
                }
            }
            assert_eq!(said(&requests.recv().await), Some(19));
            assert!(poll_now(&mut requests).is_none(), "nothing is left of it");
            // While the program reads its configuration:
            hang_up(20);
            assert_eq!(said(&requests.recv().await), Some(20));
            assert!(poll_now(&mut requests).is_none());
        });
    });
}

// A storm that never ends is reported all the same, again and again.
fn an_endless_storm_is_reported() {
    let runtime = current_thread();
    let stop = Arc::new(AtomicBool::new(false));
    within(&runtime, async {
        let mut requests = reload().unwrap().quiet(Duration::from_millis(20));
        let (until, pid) = (Arc::clone(&stop), std::process::id() as i32);
        let storm = std::thread::spawn(move || {
            while !until.load(SeqCst) {
                send::to_process(pid, Signal::HUP).unwrap();
                std::thread::yield_now();
            }
        });
        for _ in 0..3 {
            assert_eq!(requests.recv().await.signal(), Signal::HUP);
        }
        stop.store(true, SeqCst);
        storm.join().unwrap();
    });
}

// No quiet time: reported as soon as it is looked for; and one that no clock can express is no panic.
fn extreme_quiet_times() {
    current_thread().block_on(async {
        let mut requests = reload().unwrap().quiet(Duration::ZERO);
        for value in 0..100 {
            hang_up(value);
            hang_up(-1); // Merged into the first.
            let event = poll_now(&mut requests).expect("at once");
            assert_eq!((said(&event), event.instances()), (Some(value), 2));
            assert!(poll_now(&mut requests).is_none());
        }
        let mut requests = requests.quiet(Duration::MAX);
        for value in 0..3 {
            hang_up(value);
            assert!(poll_now(&mut requests).is_none());
        }
    });
}

// Futures of `recv` are dropped at random points; every request is reported, once, and in order.
fn cancelled_at_random_points() {
    let mut dice = Dice::new();
    within(&current_thread(), async {
        let mut requests = reload().unwrap();
        for value in 0..quick(3000) as i32 {
            requests = requests.quiet(Duration::from_micros(dice.roll(3) * 700));
            let before = dice.roll(3);
            for _ in 0..before {
                assert!(poll_now(&mut requests).is_none(), "nothing has come since");
            }
            hang_up(value);
            let event = loop {
                let (mut left, mut recv) = (dice.roll(4), Box::pin(requests.recv()));
                let tried = poll_fn(|cx| match recv.as_mut().poll_unpin(cx) {
                    Poll::Ready(event) => Poll::Ready(Some(event)),
                    // Woken for another look, or by what it waits for.
                    Poll::Pending if left > 0 => {
                        left -= 1;
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    Poll::Pending => Poll::Ready(None),
                });
                if let Some(event) = tried.await {
                    break event;
                }
            };
            assert_eq!(said(&event), Some(value));
        }
    });
}

// As a stream it never ends; dropping it gives SIGHUP back.
fn a_stream_of_requests() {
    let before = raw::action(libc::SIGHUP);
    on_each(|runtime| {
        within(runtime, async {
            let mut requests = reload().unwrap().quiet(Duration::from_millis(1));
            assert!(!requests.is_terminated());
            for value in 0..3 {
                hang_up(value);
                assert_eq!(said(&requests.next().await.unwrap()), Some(value));
                assert!(!requests.is_terminated());
            }
            // Dropped in the middle of a burst, too.
            let mut requests = requests.quiet(DEADLINE);
            hang_up(3);
            assert!(poll_now(&mut requests).is_none());
        });
    });
    assert_eq!(raw::action(libc::SIGHUP), before);
}

// ---- posted closures

// From one thread: in the order of the posts, in the task, whether anybody awaits the result or not.
fn posted_in_order() {
    on_each(|runtime| {
        let (handle, task) = alertable(pending::<()>());
        let (seen, count) = (Arc::new(Mutex::new(Vec::new())), quick(10_000));
        let task = runtime.spawn(task);
        let posts = (0..count).map(|number| {
            let seen = Arc::clone(&seen);
            handle.post(move || {
                seen.lock().unwrap().push(number);
                tokio::task::id()
            })
        });
        // All but the last result are dropped at once.
        let last = posts.reduce(|_dropped, next| next).unwrap();
        let ran_in = within(runtime, last).unwrap();
        assert_eq!(ran_in, task.id());
        assert!(seen.lock().unwrap().iter().copied().eq(0..count));
        assert!(handle.is_alive());
        task.abort();
    });
}

/// Panics if two of its owners are inside at the same time.
#[derive(Default)]
struct Alone(AtomicBool);

impl Alone {
    fn inside(&self, work: impl FnOnce()) {
        assert!(!self.0.swap(true, SeqCst), "not alone");
        work();
        self.0.store(false, SeqCst);
    }
}

// From four threads, 100,000 posts: each runs exactly once, and never at the same time as another or as
// the future itself, which has its turns all the while.
fn posted_from_many_threads() {
    let (runtime, each, threads) = (multi_thread(), quick(25_000), 4);
    let (alone, runs) = (Arc::new(Alone::default()), Arc::new(Mutex::new(Vec::new())));
    let turns = Arc::new(AtomicU64::new(0));
    let future = {
        let (alone, turns) = (Arc::clone(&alone), Arc::clone(&turns));
        async move {
            loop {
                alone.inside(|| {
                    turns.fetch_add(1, SeqCst);
                });
                tokio::task::yield_now().await;
            }
        }
    };
    let (handle, task) = alertable::<_>(future);
    let task = runtime.spawn(async move {
        let () = task.await;
    });
    let posters: Vec<_> = (0..threads)
        .map(|thread| {
            let (handle, alone, runs) = (handle.clone(), Arc::clone(&alone), Arc::clone(&runs));
            std::thread::spawn(move || {
                let post = |number| {
                    let (alone, runs) = (Arc::clone(&alone), Arc::clone(&runs));
                    handle.post(move || {
                        alone.inside(|| runs.lock().unwrap().push(thread * each + number));
                    })
                };
                (0..each).map(post).collect::<Vec<_>>()
            })
        })
        .collect();
    for poster in posters {
        for posted in poster.join().unwrap() {
            within(&runtime, posted).unwrap();
        }
    }
    let mut runs = runs.lock().unwrap();
    let thread_of = |number: &u64| number / each;
    for thread in 0..threads {
        let own = runs.iter().filter(|number| thread_of(number) == thread);
        assert!(own.is_sorted(), "one thread's posts run in its order");
    }
    runs.sort_unstable();
    assert!(runs.iter().copied().eq(0..threads * each));
    assert!(turns.load(SeqCst) > 1);
    task.abort();
}

// A panic goes to whoever awaits the post, or to nobody; the task goes on. So it does when a result that
// nobody wanted panics as it is dropped.
fn a_posted_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the destructor");
        }
    }
    on_each(|runtime| {
        let (handle, task) = alertable(pending::<()>());
        let task = runtime.spawn(task);
        drop(handle.post(|| panic!("unheard")));
        drop(handle.post(|| Bomb));
        drop(handle.post(|| std::panic::panic_any(Bomb)));
        let result = within(runtime, handle.post(|| panic!("heard")));
        let Err(Gone::Panicked(payload)) = result else { panic!("{result:?}") };
        assert_eq!(payload.downcast_ref(), Some(&"heard"));
        assert_eq!(runtime.block_on(handle.post(|| 1)).unwrap(), 1);
        assert!(!task.is_finished());
        task.abort();
    });
}

// When the task has ended, in whichever way, what was posted before and what is posted later is `Ended`,
// and the closure is dropped at once.
fn posted_to_a_task_that_ended() {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let post = |handle: &TaskHandle| {
        let dropped = Dropped(Arc::clone(&drops));
        handle.post(move || drop(dropped))
    };
    current_thread().block_on(async {
        // Completed, and not dropped.
        let (handle, mut task) = alertable(async { 7 });
        assert_eq!((&mut task).await, 7);
        assert!(!handle.is_alive());
        assert!(matches!(post(&handle).await, Err(Gone::Ended)));
        drop(task);
        assert!(matches!(post(&handle).await, Err(Gone::Ended)));

        // Dropped unpolled.
        let (handle, task) = alertable(pending::<()>());
        let before = post(&handle);
        assert!(handle.is_alive());
        drop(task);
        assert!(!handle.is_alive());
        assert!(matches!(before.await, Err(Gone::Ended)));

        // Aborted, and ended by a panic of its own.
        let (handle, task) = alertable(pending::<()>());
        let task = tokio::spawn(task);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert!(matches!(post(&handle).await, Err(Gone::Ended)));
        let (handle, task) = alertable(async { panic!("its own") });
        let _: tokio::task::JoinError = tokio::spawn(task).await.unwrap_err();
        assert!(matches!(post(&handle).await, Err(Gone::Ended)));
    });
    assert_eq!(drops.load(SeqCst), 5);
}

// Posted by a closure, by the future itself in the poll that completes it, and by others at that moment:
// everybody gets an answer, `Ok` exactly where the closure has run.
fn posted_while_it_ends() {
    current_thread().block_on(async {
        let (handle, task) = alertable(pending::<()>());
        let task = tokio::spawn(task);
        let again = handle.clone();
        let nested = handle.post(move || again.post(|| "nested"));
        assert_eq!(nested.await.unwrap().await.unwrap(), "nested");
        task.abort();

        let slot = Arc::new(Mutex::new(None::<TaskHandle>));
        let own = Arc::clone(&slot);
        let (handle, mut task) = alertable(async move {
            let handle = own.lock().unwrap().take().unwrap();
            (handle.post(|| "too late"),)
        });
        *slot.lock().unwrap() = Some(handle.clone());
        let before = handle.post(|| "in time");
        let (posted,) = (&mut task).await;
        assert_eq!(before.await.unwrap(), "in time");
        assert!(matches!(posted.await, Err(Gone::Ended)));
    });

    let (runtime, mut dice) = (multi_thread(), Dice::new());
    for _ in 0..quick(300) {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (handle, task) = alertable(ended);
        let task = runtime.spawn(task);
        let (ran, count) = (Arc::new(AtomicU64::new(0)), 200);
        let at = dice.roll(count);
        let poster = std::thread::spawn({
            let ran = Arc::clone(&ran);
            move || {
                let post = |_| {
                    let ran = Arc::clone(&ran);
                    handle.post(move || ran.fetch_add(1, SeqCst))
                };
                (0..count).map(post).collect::<Vec<_>>()
            }
        });
        while ran.load(SeqCst) < at && !poster.is_finished() {
            std::hint::spin_loop();
        }
        end.send(()).unwrap();
        let mut answers = 0;
        for posted in poster.join().unwrap() {
            match within(&runtime, posted) {
                Ok(_) => answers += 1,
                Err(gone) => assert!(matches!(gone, Gone::Ended), "{gone:?}"),
            }
        }
        runtime.block_on(task).unwrap().unwrap();
        assert_eq!(answers, ran.load(SeqCst));
    }
}

// A closure that posts itself again for ever starves neither another task of the same thread nor the
// future it is posted to, which waits for things of the runtime's.
fn a_flood_starves_nobody() {
    fn repost(handle: &TaskHandle, runs: &Arc<AtomicU64>) {
        runs.fetch_add(1, SeqCst);
        let (again, runs) = (handle.clone(), Arc::clone(runs));
        drop(handle.post(move || repost(&again, &runs)));
    }
    let runtime = current_thread();
    let (turn, mut turns) = tokio::sync::mpsc::channel(1);
    let (handle, task) = alertable(async move { while turns.recv().await.is_some() {} });
    let runs = Arc::new(AtomicU64::new(0));
    within(&runtime, async {
        let task = tokio::spawn(task);
        repost(&handle, &runs);
        repost(&handle, &runs);
        for _ in 0..1000 {
            turn.send(()).await.unwrap(); // Waits for the future's turn, while others run.
        }
        let before = runs.load(SeqCst);
        while runs.load(SeqCst) == before {
            tokio::task::yield_now().await;
        }
        drop(turn);
        task.await.unwrap();
    });
    assert!(!handle.is_alive());
}

fn main() {
    Suite {
        tests: &[
            ("the_first_signal", the_first_signal),
            ("polled_after_completion", polled_after_completion),
            ("the_second_signal_kills", the_second_signal_kills),
            ("a_burst_is_one_request", a_burst_is_one_request),
            ("an_endless_storm_is_reported", an_endless_storm_is_reported),
            ("extreme_quiet_times", extreme_quiet_times),
            ("cancelled_at_random_points", cancelled_at_random_points),
            ("a_stream_of_requests", a_stream_of_requests),
            ("posted_in_order", posted_in_order),
            ("posted_from_many_threads", posted_from_many_threads),
            ("a_posted_panic", a_posted_panic),
            ("posted_to_a_task_that_ended", posted_to_a_task_that_ended),
            ("posted_while_it_ends", posted_while_it_ends),
            ("a_flood_starves_nobody", a_flood_starves_nobody),
        ],
        victims: &[("interrupted", interrupted), ("terminated", terminated)],
    }
    .main()
}
