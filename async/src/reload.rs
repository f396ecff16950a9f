//! Requests to reload: a burst of SIGHUP is one of them.
//!
//! # Safety
//! A burst's timer is dropped by the burst and by nobody else, and in a forked child not at all.
#![allow(unsafe_code)]

use crate::stream::{BuilderExt, SignalStream};
use crate::trace::event;
use futures_core::{FusedStream, Stream};
use sigplane::{Event, Overflow, Result, Signal};
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// Quiet time that ends a burst, unless the program chooses another.
const QUIET: Duration = Duration::from_millis(100);

/// "Never", for a quiet time that no clock can express.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// A burst that does not end is reported all the same, when it has lasted this many quiet times.
const PATIENCE: u32 = 10;

/// Requests to reload, which is what SIGHUP means to a service: see [`Reload`].
///
/// # Errors
/// Those of [`signal`](crate::signal).
///
/// # Panics
/// As [`signal`](crate::signal).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use sigplane::{Signal, send};
/// let mut requests = sigplane_async::reload()?;
/// # for _ in 0..3 { send::raise(Signal::HUP)?; }
/// let last = requests.recv().await;
/// println!("reading the configuration again, asked by {:?}", last.sender());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn reload() -> Result<Reload> {
    let stream =
        sigplane::subscribe(Signal::HUP).name("reload").overflow(Overflow::Coalesce).stream()?;
    Ok(Reload { stream, quiet: QUIET, burst: None })
}

/// A stream of requests to reload: a burst of SIGHUP gives one, when no more has come for a quiet time
/// (100 ms unless [`quiet`](Self::quiet) says otherwise), or when the burst has lasted ten quiet times.
/// The event is the last that the task has seen of the burst; it carries the information of the first of
/// those that came together ([`Overflow::Coalesce`]). A signal that comes while the program is reloading is
/// another request: none is lost.
///
/// It never ends. `recv` is cancel-safe: a burst in progress is kept here. It may be moved to another
/// runtime between two requests, but not in the middle of a burst, whose timer is the first one's. In a
/// forked child, a burst in progress is the parent's, and forgotten.
///
/// # Panics
/// As [`SignalStream::poll_recv`], and in a runtime without a timer (`enable_time`).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use sigplane::{Signal, send};
/// let mut requests = sigplane_async::reload()?.quiet(std::time::Duration::from_millis(5));
/// # send::raise(Signal::HUP)?;
/// assert_eq!(requests.recv().await.signal(), Signal::HUP);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends the subscription"]
pub struct Reload {
    stream: SignalStream,
    quiet: Duration,
    burst: Option<Burst>,
}

#[derive(Debug)]
struct Burst {
    last: Event,
    /// Signals so far.
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only reported there"))]
    signals: u64,
    /// When it is reported even if it goes on.
    latest: Instant,
    timer: ManuallyDrop<Pin<Box<Sleep>>>,
    /// Whose timer it is.
    process: u32,
}

impl Burst {
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        // After a fork it is in the parent's runtime, of which a lock may have been copied locked.
        if self.is_ours() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.timer) };
        }
    }
}

impl Reload {
    /// Chooses the quiet time. Zero reports at once what has come since the last request.
    pub fn quiet(mut self, quiet: Duration) -> Self {
        self.quiet = quiet;
        self
    }

    /// The next request. Cancel-safe.
    ///
    /// # Panics
    /// As [`Reload`].
    pub async fn recv(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next request; see [`recv`](Self::recv).
    ///
    /// # Panics
    /// As [`Reload`].
    #[track_caller]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.burst.take_if(|burst| !burst.is_ours());
        let mut over = false;
        while !over && let Poll::Ready(event) = self.stream.poll_recv(cx) {
            // A storm is reported between two of its signals.
            over = self.extend(event);
        }
        let Some(burst) = &mut self.burst else { return Poll::Pending };
        if !over {
            ready!(burst.timer.as_mut().poll(cx));
        }
        let last = burst.last.clone();
        event!(info, signals = burst.signals, "reload requested");
        self.burst = None;
        Poll::Ready(last)
    }

    /// Adds a signal to the burst. Whether the burst has lasted long enough.
    fn extend(&mut self, event: Event) -> bool {
        let now = Instant::now();
        let after = |time| now.checked_add(time).unwrap_or_else(|| now + FAR);
        let (signals, until) = (u64::from(event.instances()), after(self.quiet));
        match &mut self.burst {
            Some(burst) => {
                burst.last = event;
                burst.signals += signals;
                burst.timer.as_mut().reset(burst.latest.min(until));
                now >= burst.latest
            }
            None => {
                let timer = ManuallyDrop::new(Box::pin(sleep_until(until)));
                let latest = after(self.quiet.saturating_mul(PATIENCE));
                let process = std::process::id();
                self.burst = Some(Burst { last: event, signals, latest, timer, process });
                now >= latest
            }
        }
    }
}

impl Stream for Reload {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(cx).map(Some)
    }
}

impl FusedStream for Reload {
    fn is_terminated(&self) -> bool {
        false
    }
}
