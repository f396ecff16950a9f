//! Closures posted to a task: what [`sigplane::thread::ThreadHandle::post`] is to a thread.
//!
//! A task has no thread of its own, and the worker that runs it belongs to the runtime; what it has is
//! its polls. Between two of them nothing of it runs, which makes every poll a safe point.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

type Job = Box<dyn FnOnce() + Send>;

/// How many closures run before the future has its turn: a fraction of the 128 operations that tokio
/// lets a task do in one poll, so that the future has most of them.
const TURN: usize = 32;

/// Makes `future` one to which closures can be posted: they run in its task, before it is polled, one
/// after the other. So they may use what belongs to the task, such as a lock that the future never holds
/// over an `await`, and nothing of the future runs at the same time.
///
/// A post wakes the task, as a signal or a timer does; the future is then polled too, which does it no
/// harm. Posted closures count against the task's cooperative budget, and no more than a few run between two
/// polls of the future: a flood of posts starves neither other tasks nor this one. They must be short, as
/// everything between two awaits.
///
/// Dropping the future, or its completion, gives posts that have not been run the result [`Gone::Ended`].
/// Of a closure that is posted at that moment, either may be true; never both, and never neither.
///
/// # Panics
/// A closure that panics does not take the task with it: whoever awaits its [`Posted`] gets the panic.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (handle, task) = sigplane_async::alertable(std::future::pending::<()>());
/// let task = tokio::spawn(task);
/// let answer = handle.post(|| 6 * 7).await;
/// assert_eq!(answer.unwrap(), 42);
/// task.abort();
/// # }
/// ```
pub fn alertable<F: Future>(future: F) -> (TaskHandle, Alertable<F>) {
    let (sender, jobs) = mpsc::unbounded_channel();
    (TaskHandle(sender), Alertable { jobs: Some(jobs), future: Box::pin(future) })
}

/// A future that runs posted closures between its polls; see [`alertable`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (_handle, task): (_, sigplane_async::Alertable<_>) = sigplane_async::alertable(async { 7 });
/// assert_eq!(task.await, 7);
/// # }
/// ```
#[must_use = "a future does nothing unless it is awaited"]
pub struct Alertable<F> {
    /// `None` when the future has completed.
    jobs: Option<mpsc::UnboundedReceiver<Job>>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Alertable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if let Some(jobs) = &mut self.jobs {
            let mut turns = 0;
            // Pending without the budget, too: then the task is woken again.
            while turns < TURN
                && let Poll::Ready(Some(job)) = jobs.poll_recv(cx)
            {
                job();
                turns += 1;
            }
            if turns == TURN {
                cx.waker().wake_by_ref(); // There may be more, and nobody else says so.
            }
        }
        let output = ready!(self.future.as_mut().poll(cx));
        self.jobs = None; // Those left get to know now, and not when somebody drops this.
        Poll::Ready(output)
    }
}

impl<F> fmt::Debug for Alertable<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alertable")
            .field("waiting", &self.jobs.as_ref().map_or(0, |jobs| jobs.len()))
            .finish()
    }
}

/// Posts closures to one task; see [`alertable`]. Cheap to clone, usable from any thread and from
/// any runtime, and harmless after the task has ended.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (handle, task) = sigplane_async::alertable(async {});
/// drop(task);
/// assert!(!handle.is_alive());
/// assert!(handle.post(|| ()).await.is_err());
/// # }
/// ```
#[derive(Clone)]
pub struct TaskHandle(mpsc::UnboundedSender<Job>);

impl TaskHandle {
    /// Posts a closure, which runs in the task after those posted before it. Dropping what is returned
    /// leaves the closure where it is: it still runs.
    ///
    /// # Async-signal safety
    /// No: it allocates. Subscribe to the signal with a stream in the task instead.
    pub fn post<R: Send + 'static>(
        &self,
        closure: impl FnOnce() -> R + Send + 'static,
    ) -> Posted<R> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(closure));
            if let Err(unheard) = done.send(result) {
                // Nobody waits for it. Dropping it is the closure's business, and so is a panic there.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(unheard))) {
                    std::mem::forget(payload); // It could panic yet again.
                }
            }
        });
        // If the task has ended, the closure is dropped here, and `done` with it: that is `Gone`.
        let _ended = self.0.send(job);
        Posted(result)
    }

    /// Whether the task has not ended yet.
    pub fn is_alive(&self) -> bool {
        !self.0.is_closed()
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle").field("alive", &self.is_alive()).finish()
    }
}

/// The result to come of a posted closure.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (handle, task) = sigplane_async::alertable(std::future::pending::<()>());
/// let posted: sigplane_async::Posted<&str> = handle.post(|| "done");
/// tokio::select! {
///     result = posted => assert_eq!(result.unwrap(), "done"),
///     () = task => unreachable!(),
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use = "whether the closure has run is only known to who awaits this"]
pub struct Posted<R>(oneshot::Receiver<std::thread::Result<R>>);

impl<R> Future for Posted<R> {
    type Output = Result<R, Gone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(payload)) => Err(Gone::Panicked(payload)),
            Err(_) => Err(Gone::Ended),
        })
    }
}

/// Why a posted closure has no result.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use sigplane_async::Gone;
/// let (handle, task) = sigplane_async::alertable(std::future::pending::<()>());
/// let posted = handle.post(|| panic!("no"));
/// tokio::select! {
///     result = posted => assert!(matches!(result, Err(Gone::Panicked(_)))),
///     () = task => unreachable!(),
/// }
/// # }
/// ```
pub enum Gone {
    /// The task ended before the closure's turn came. The closure has been dropped.
    Ended,
    /// The closure panicked with this.
    Panicked(Box<dyn Any + Send>),
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ended => "the task ended before it ran the posted closure",
            Self::Panicked(_) => "the posted closure panicked",
        })
    }
}

impl fmt::Debug for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Gone {}
