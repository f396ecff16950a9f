//! Graceful shutdown: the first signal asks, the second one and the time limit insist.
//!
//! The asking is a matter of the runtime: a task awaits the signal, cancels the token, and the hooks
//! run. The insisting must not depend on the runtime, which may be what hangs: it is an immediate
//! entry, and the time limit a timer of the kernel's that sends the same signal. `enforcer.rs` has it.
//!
//! Invariant: a signal that the two subscriptions keep from its default action cancels the token. The
//! stream is there before the enforcer and goes before it. What comes in between at the beginning is found
//! in the stream; at the end, the enforcer knows of it.
//!
//! Invariant: the stream does not live in the task that awaits it, which a hanging runtime would not drop:
//! the signals are given back by whoever drops the [`Shutdown`], then and there.

mod enforcer;

use crate::stream::{BuilderExt, SignalStream};
use crate::trace::event;
use enforcer::{Enforcer, State};
use sigplane::{Event, Overflow, Result, Signal, SignalSet};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How a process ends that does not end by itself.
///
/// # Examples
/// ```
/// use sigplane_async::{Ending, Shutdown};
/// let builder = Shutdown::builder().ending(Ending::Exit(75)); // EX_TEMPFAIL, for the supervisor
/// # drop(builder);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ending {
    /// By the signal itself, as if nobody had handled it: a shell sees 128 + n, a supervisor the signal.
    /// A signal that ends nothing by default, such as SIGWINCH, gives the exit status 128 + n.
    #[default]
    BySignal,
    /// By `_exit` with this status. Nothing is flushed and no destructor runs.
    Exit(u8),
}

/// A shutdown in the making; see [`Shutdown::builder`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sigplane::Result<()> {
/// use sigplane::Signal;
/// use std::time::Duration;
/// let shutdown = sigplane_async::Shutdown::builder()
///     .signals([Signal::TERM, Signal::QUIT])
///     .limit(Duration::from_secs(30))
///     .forgive(Duration::from_millis(500))
///     .start()?;
/// # drop(shutdown);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is subscribed before `start`"]
pub struct ShutdownBuilder {
    set: SignalSet,
    limit: Option<Duration>,
    forgive: Duration,
    ending: Ending,
}

impl ShutdownBuilder {
    /// Which signals ask for it; SIGINT and SIGTERM by default.
    pub fn signals(mut self, set: impl Into<SignalSet>) -> Self {
        self.set = set.into();
        self
    }

    /// How long the shutdown may take from the first signal on. After that the process ends, even if the
    /// runtime hangs. No limit by default.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// For how long after the first signal others are taken for the same request. Zero by default: the
    /// second one ends the process. A wrapper that passes on a Ctrl-C which the terminal has sent to the
    /// whole process group sends two within milliseconds.
    pub fn forgive(mut self, time: Duration) -> Self {
        self.forgive = time;
        self
    }

    /// How a process ends that a second signal or the limit ends; by the signal by default.
    pub fn ending(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// Subscribes, and waits for the first signal in a task of the current runtime.
    ///
    /// # Errors
    /// Those of [`signals`](crate::signals), and [`sigplane::Error::Os`] when the kernel has no timer
    /// left for the limit.
    ///
    /// # Panics
    /// Outside of a runtime, and in one without an I/O driver.
    #[track_caller]
    pub fn start(self) -> Result<Shutdown> {
        // One event is all that is wanted, and the signals must never be held back for want of room: what
        // is held back does not reach the enforcer. Within a delivery the enforcer goes first: otherwise the
        // task, on another thread, could count the same signal before it.
        let stream = sigplane::subscribe(self.set)
            .name("shutdown")
            .priority(-1)
            .capacity(1)
            .overflow(Overflow::DropNewest)
            .stream()?;
        let enforcer = Enforcer::new(self.set, self.limit, self.forgive, self.ending)?;
        if !stream.is_empty() {
            enforcer.state().begin(enforcer::now()); // It came before the enforcer.
        }
        let shared = Arc::new(Shared {
            token: CancellationToken::new(),
            first: OnceLock::new(),
            stream: Mutex::new(Some(stream)),
            state: Arc::clone(enforcer.state()),
        });
        let listener = tokio::spawn(listen(Arc::clone(&shared)));
        let process = std::process::id();
        Ok(Shutdown { shared, hooks: Mutex::new(JoinSet::new()), listener, enforcer, process })
    }
}

struct Shared {
    token: CancellationToken,
    /// The signal that asked; `None` in it when the program did. Set with the lock of `stream` held.
    first: OnceLock<Option<Event>>,
    /// `None` when the shutdown has been dropped.
    stream: Mutex<Option<SignalStream>>,
    state: Arc<State>,
}

impl Shared {
    fn stream(&self) -> MutexGuard<'_, Option<SignalStream>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ready when it has been asked for, and noted by whom, or when nobody is left to ask.
    fn poll_asked(&self, cx: &mut Context<'_>, cancelled: bool) -> Poll<()> {
        let mut guard = self.stream();
        let Some(stream) = &mut *guard else { return Poll::Ready(()) };
        match stream.poll_recv(cx) {
            Poll::Ready(event) => {
                event!(info, %event, "shutting down");
                self.state.begin(event.arrival()); // Unless the enforcer has, as it has nearly always.
                let _noted = self.first.set(Some(event));
            }
            Poll::Pending if cancelled => {
                self.state.begin(enforcer::now());
                let _noted = self.first.set(None);
            }
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(())
    }
}

async fn listen(shared: Arc<Shared>) {
    let mut cancelled = pin!(shared.token.cancelled());
    let asked = |cx: &mut Context<'_>| {
        let cancelled = cancelled.as_mut().poll(cx).is_ready();
        shared.poll_asked(cx, cancelled)
    };
    std::future::poll_fn(asked).await;
    if shared.first.get().is_some() {
        shared.token.cancel();
    }
}

/// The graceful end of a service. The first signal cancels a token, on which everything that serves stops
/// accepting and finishes what it has; hooks flush and close. A second signal, or a time limit, ends the
/// process at once, with the status that the parent expects, even if a task or the runtime hangs.
///
/// Dropping it gives the signals back at once, whatever the runtime does. Hooks that have not begun are
/// dropped, those that have begun run on. A signal that arrives until then cancels the token.
///
/// Other subscribers of the same signals, in any context, do not come in the way of the second signal and
/// the limit, with one exception: a queue that is full and drops nothing ([`Overflow::Backpressure`]) holds
/// the signal back from everybody. Where one might not be read while the process drains, choose another
/// policy for it.
///
/// Do not share it with a forked child: the child has the subscriptions, but neither the task nor the
/// timer, so that a first signal does nothing there but count, and a second one ends the child. Drop it
/// there and make another.
///
/// # Examples
/// With axum (or hyper, with [`requested`](Self::requested) raced against `accept`):
/// ```no_run
/// # async fn serve(stop: impl std::future::Future<Output = ()>) {}
/// # #[tokio::main]
/// # async fn main() -> sigplane::Result<()> {
/// use std::time::Duration;
/// let shutdown = sigplane_async::Shutdown::builder().limit(Duration::from_secs(30)).start()?;
/// shutdown.hook("journal", async { /* flush it */ });
/// // axum::serve(listener, app).with_graceful_shutdown(shutdown.requested()).await?;
/// serve(shutdown.requested()).await;
/// let outcome = shutdown.finished().await;
/// println!("stopped by {:?}", outcome.first);
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it gives the signals back"]
pub struct Shutdown {
    shared: Arc<Shared>,
    hooks: Mutex<JoinSet<Hook>>,
    listener: JoinHandle<()>,
    enforcer: Enforcer,
    /// Whose runtime it is.
    process: u32,
}

/// What became of a hook: its name, and whether it panicked.
type Hook = (String, bool);

/// How a shutdown went.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sigplane::Result<()> {
/// let shutdown = sigplane_async::Shutdown::new()?;
/// shutdown.request();
/// let outcome = shutdown.finished().await;
/// assert!(outcome.first.is_none() && outcome.panicked.is_empty()); // asked for by the program
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// The signal that asked for it; `None` when the program did.
    pub first: Option<Event>,
    /// The hooks that panicked, by name.
    pub panicked: Vec<String>,
}

impl Shutdown {
    /// On SIGINT or SIGTERM, without a limit: `Shutdown::builder().start()`.
    ///
    /// # Errors
    /// Those of [`ShutdownBuilder::start`].
    ///
    /// # Panics
    /// As [`ShutdownBuilder::start`].
    #[track_caller]
    pub fn new() -> Result<Self> {
        Self::builder().start()
    }

    /// Begins with the defaults of [`ShutdownBuilder`].
    pub fn builder() -> ShutdownBuilder {
        ShutdownBuilder {
            set: SignalSet::from([Signal::INT, Signal::TERM]),
            limit: None,
            forgive: Duration::ZERO,
            ending: Ending::default(),
        }
    }

    /// The token that the first signal cancels. Its clones and children may go anywhere. Whoever cancels
    /// it makes a [request](Self::request), which takes effect when the runtime notices.
    pub fn token(&self) -> CancellationToken {
        self.shared.token.clone()
    }

    /// Completes when the shutdown has been asked for: what `axum::serve(…).with_graceful_shutdown` takes.
    pub fn requested(&self) -> WaitForCancellationFutureOwned {
        self.token().cancelled_owned()
    }

    /// Whether it has been asked for.
    pub fn is_requested(&self) -> bool {
        self.shared.token.is_cancelled()
    }

    /// The signal that asked for it, if one has.
    pub fn first(&self) -> Option<Event> {
        self.shared.first.get().cloned().flatten()
    }

    /// Asks for it as a signal would: the token is cancelled, the limit begins to run, and the next
    /// signal ends the process.
    pub fn request(&self) {
        {
            let mut stream = self.shared.stream();
            let by_us = self.enforcer.state().begin(enforcer::now());
            // Otherwise a signal was quicker, and its task has not been running yet.
            let event = if by_us { None } else { stream.as_mut().and_then(SignalStream::try_recv) };
            event!(info, ?event, "shutting down, as the program asks");
            let _noted = self.shared.first.set(event);
        }
        self.shared.token.cancel();
    }

    /// Has `hook` run when the shutdown is asked for, at the same time as the others, in a task of its
    /// own. [`finished`](Self::finished) waits for it. One that is added after the shutdown has been asked
    /// for runs at once.
    ///
    /// # Panics
    /// Outside of a runtime. A panic of the hook is caught and reported in the [`Outcome`].
    #[track_caller]
    pub fn hook(&self, name: impl Into<String>, hook: impl Future<Output = ()> + Send + 'static) {
        let (name, token) = (name.into(), self.token());
        let task = async move {
            token.cancelled().await;
            event!(debug, hook = %name, "hook begins");
            // A task of its own, so that its panic ends here and its name is known.
            let panicked = tokio::spawn(hook).await.is_err_and(|error| error.is_panic());
            event!(debug, hook = %name, panicked, "hook ends");
            (name, panicked)
        };
        self.hooks().spawn(task);
    }

    /// Waits until the shutdown has been asked for and all hooks have run; then gives the signals
    /// back. Await it after everything that serves has stopped.
    pub async fn finished(self) -> Outcome {
        self.shared.token.cancelled().await;
        let mut panicked = Vec::new();
        loop {
            let mut hooks = std::mem::take(&mut *self.hooks());
            if hooks.is_empty() {
                break;
            }
            while let Some(ended) = hooks.join_next().await {
                panicked.extend(ended.ok().filter(|(_, panicked)| *panicked).map(|(name, _)| name));
            }
        }
        event!(info, panicked = panicked.len(), "shut down");
        Outcome { first: self.first(), panicked }
    }

    fn hooks(&self) -> MutexGuard<'_, JoinSet<Hook>> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shutdown {
    fn drop(&mut self) {
        let forked = self.process != std::process::id();
        let hooks = self.hooks.get_mut().unwrap_or_else(PoisonError::into_inner);
        if forked {
            // The tasks are the parent's, and a lock in its runtime may have been copied locked.
            std::mem::forget(std::mem::take(hooks));
        } else {
            self.listener.abort();
        }
        self.enforcer.pause();
        // In a forked child this lock, too, may be held by a thread that is not there.
        let stream = if forked {
            self.shared.stream.try_lock().ok().and_then(|mut stream| stream.take())
        } else {
            self.shared.stream().take()
        };
        drop(stream);
        if self.enforcer.end() && !forked {
            self.shared.token.cancel();
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("requested", &self.is_requested())
            .field("first", &self.first())
            .field("hooks", &self.hooks().len())
            .field("enforcer", &self.enforcer)
            .finish()
    }
}
