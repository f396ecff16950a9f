//! A stream is carried about: between runtimes that end or live on, from task to task, to an executor
//! that is not tokio's; and what the documentation says of the places where it cannot wait.

use super::{current, read, rt, shielded, stream};
use sigplane::Error;
use sigplane::send::{self, Value};
use sigplane_async::SignalStream;
use sigplane_tests::raw::action;
use sigplane_tests::{Dice, InOrder, Storm, quick, value};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

fn raise(value: i32) {
    send::raise_with(rt(), Value::from_int(value)).expect("there is room in the kernel's queue");
}

/// Reads the next `count` values.
async fn take(stream: &mut SignalStream, order: &mut InOrder, count: u64) {
    for _ in 0..count {
        order.see(&stream.recv().await);
    }
}

/// In the middle of a storm each runtime is dropped, and another goes on.
pub fn through_runtimes_that_end() {
    let each = quick(10_000);
    let made: [fn() -> Runtime; 6] = [current, current, shielded, shielded, current, shielded];
    let (mut stream, mut order) = (stream(), InOrder::of(rt()));
    let mut sender = Storm::here(rt(), each * made.len() as u64).start();
    for make in made {
        (stream, order) = make().block_on(async move {
            let part = tokio::spawn(async move {
                take(&mut stream, &mut order, each).await;
                (stream, order)
            });
            part.await.expect("in order")
        });
    }
    assert!(sender.wait().success());
    assert!(stream.try_recv().is_none(), "nothing twice");
}

/// In the middle of a storm from one runtime to another and back, all of them alive, and those of one
/// thread not running meanwhile. It leaves each with a waker behind, in a task or in `block_on`.
pub fn through_runtimes_that_live() {
    let count = quick(20_000);
    let runtimes = [current(), current(), shielded(), shielded()];
    let (mut stream, mut order, mut dice) = (stream(), InOrder::of(rt()), Dice::new());
    // Slow enough that the readers have to wait.
    let mut sender = Storm { gap: 3_000, ..Storm::here(rt(), count) }.start();
    while order.seen() < count {
        let part = dice.roll(40).min(count - order.seen());
        let leave_a_waker = async |stream: &mut SignalStream, order: &mut InOrder| {
            if let Poll::Ready(event) = poll_fn(|cx| Poll::Ready(stream.poll_recv(cx))).await {
                order.see(&event);
            }
        };
        let runtime = &runtimes[dice.roll(4) as usize];
        if dice.roll(2) == 0 {
            runtime.block_on(async {
                take(&mut stream, &mut order, part).await;
                leave_a_waker(&mut stream, &mut order).await;
            });
        } else {
            (stream, order) = runtime.block_on(async move {
                let part = tokio::spawn(async move {
                    take(&mut stream, &mut order, part).await;
                    leave_a_waker(&mut stream, &mut order).await;
                    (stream, order)
                });
                part.await.expect("in order")
            });
        }
    }
    assert!(sender.wait().success());
    assert!(stream.try_recv().is_none(), "nothing twice");
}

/// Each task takes a few and hands the stream on to a new one, on whichever worker.
fn hand_on(
    mut stream: SignalStream,
    mut order: InOrder,
    mut dice: Dice,
    count: u64,
    done: oneshot::Sender<(SignalStream, u32)>,
    tasks: u32,
) {
    tokio::spawn(async move {
        let part = dice.roll(20).min(count - order.seen());
        take(&mut stream, &mut order, part).await;
        if order.seen() == count {
            let _heard = done.send((stream, tasks));
        } else {
            hand_on(stream, order, dice, count, done, tasks + 1);
        }
    });
}

/// One storm through thousands of tasks.
pub fn from_task_to_task() {
    let count = quick(30_000);
    for runtime in [current(), shielded()] {
        runtime.block_on(async {
            let (done, all) = oneshot::channel();
            let stream = stream();
            let mut sender = Storm::here(rt(), count).start();
            hand_on(stream, InOrder::of(rt()), Dice::new(), count, done, 1);
            let (mut stream, tasks) = all.await.expect("in order");
            assert!(sender.wait().success());
            assert!(stream.try_recv().is_none(), "nothing twice");
            println!("{tasks} tasks");
        });
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of tokio: it parks the thread until the future has been woken.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Polled by another executor, while the runtime that wakes it runs elsewhere: on its workers, or on a
/// thread that drives a current-thread one.
pub fn another_executor() {
    let runtime = shielded();
    let entered = runtime.enter();
    let stream_of_workers = stream();
    drop(entered);
    let mut sender = Storm::here(rt(), quick(30_000)).start();
    block_on(read(stream_of_workers, quick(30_000), 0));
    assert!(sender.wait().success());

    let (give, given) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let driver = std::thread::spawn(move || {
        sigplane::thread::shield();
        current().block_on(async move {
            give.send(stream()).expect("the main thread waits");
            let _stopped = stopped.await;
        });
    });
    let stream = given.recv().expect("it starts");
    let mut sender = Storm::here(rt(), quick(30_000)).start();
    block_on(read(stream, quick(30_000), 0));
    assert!(sender.wait().success());
    drop(stop);
    driver.join().expect("it does not panic");
}

/// What comes before any runtime exists, and while none runs, waits in the queue.
pub fn made_outside_any_runtime() {
    let mut stream = stream();
    let mut next = 0;
    for make in [current, shielded, current] {
        (0..3).for_each(|more| raise(next + more));
        let runtime = make();
        assert_eq!(stream.len(), 3);
        for _ in 0..2 {
            runtime.block_on(async {
                for expected in next..next + 3 {
                    assert_eq!(value(&stream.recv().await), expected as u64);
                }
                assert!(stream.is_empty());
            });
            next += 3;
            (0..3).for_each(|more| raise(next + more));
        }
        runtime.block_on(async { while stream.try_recv().is_some() {} });
        next += 3;
    }
    // Never polled at all: nothing of a runtime is needed for dropping it either.
    drop(sigplane_async::signal(rt()).expect("subscribed"));
    assert_eq!(stream.unsubscribe(), sigplane::Removal::Restored);
}

/// The message with which `body` panics.
fn panic_of<R>(body: impl FnOnce() -> R) -> String {
    let payload = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => payload,
    };
    let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).expect("a message")
}

fn poll_for_nobody(stream: &mut SignalStream) -> Poll<u64> {
    stream.poll_recv(&mut Context::from_waker(Waker::noop())).map(|event| value(&event))
}

/// What has come is given out anywhere. Waiting outside of any runtime panics, as documented, and the
/// stream is none the worse for it.
pub fn no_runtime_panics() {
    let mut stream = stream();
    raise(0);
    assert_eq!(poll_for_nobody(&mut stream), Poll::Ready(0));
    let message = panic_of(|| poll_for_nobody(&mut stream));
    assert!(message.contains("no runtime wakes this stream"), "{message}");
    raise(1);
    assert_eq!(poll_for_nobody(&mut stream), Poll::Ready(1));
    assert_eq!(panic_of(|| block_on(stream.recv())), message);
    current().block_on(async {
        assert!(poll_for_nobody(&mut stream).is_pending());
        raise(2);
        assert_eq!(value(&stream.recv().await), 2);
    });
}

/// A runtime without an I/O driver: nobody can subscribe in it, and nothing is left of the attempt; nobody
/// can wait in it, and the stream is none the worse for that.
pub fn no_driver_panics() {
    let bare = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let before = action(rt().number());
    let message = panic_of(|| bare().block_on(async { stream() }));
    assert!(message.contains("IO is disabled"), "{message}");
    assert_eq!(action(rt().number()), before, "the signal was given back");
    let mut stream = current().block_on(async { stream() });
    raise(0);
    assert_eq!(bare().block_on(async { poll_for_nobody(&mut stream) }), Poll::Ready(0));
    assert_eq!(panic_of(|| bare().block_on(stream.recv())), message);
    raise(1);
    assert_eq!(value(&shielded().block_on(stream.recv())), 1);
}

/// The runtime is shut down under a reader that another executor runs: the reader does not wait for
/// ever, but panics, as documented. In a new runtime the stream goes on.
pub fn a_runtime_shut_down_panics() {
    let runtime = shielded();
    let entered = runtime.enter();
    let mut stream = stream();
    drop(entered);
    let (tell, told) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        sigplane::thread::shield();
        let message = panic_of(|| {
            block_on(poll_fn(|cx| {
                let poll = stream.poll_recv(cx);
                tell.send(poll.is_pending()).expect("the main thread waits");
                poll
            }))
        });
        (stream, message)
    });
    assert_eq!(told.recv(), Ok(true));
    runtime.shutdown_background();
    let (mut stream, message) = reader.join().expect("it caught the panic");
    assert!(message.contains("no runtime wakes this stream"), "{message}");
    // Polled anew, it panics again; what has come is still given out.
    assert_eq!(panic_of(|| poll_for_nobody(&mut stream)), message);
    raise(0);
    assert_eq!(poll_for_nobody(&mut stream), Poll::Ready(0));
    raise(1);
    current().block_on(async {
        assert_eq!(value(&stream.recv().await), 1);
        assert!(poll_for_nobody(&mut stream).is_pending());
        raise(2);
        assert_eq!(value(&stream.recv().await), 2);
    });
}

/// Without a descriptor to spare, subscribing in a runtime is an error, as documented, and leaves
/// nothing behind.
pub fn out_of_descriptors() {
    let before = action(rt().number());
    let runtime = current();
    // The lowest free number is the limit.
    let free = unsafe { libc::dup(0) };
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe { libc::close(free) };
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    let none_left = libc::rlimit { rlim_cur: free as u64, ..limit };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none_left) }, 0);
    let refused = runtime.block_on(async { sigplane_async::signal(rt()).map(drop) });
    assert!(matches!(refused, Err(Error::Os { .. })), "{refused:?}");
    assert_eq!(action(rt().number()), before, "the signal was given back");
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    runtime.block_on(async {
        let mut stream = stream();
        raise(7);
        assert_eq!(value(&stream.recv().await), 7);
    });
}
