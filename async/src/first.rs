//! The first instance of a signal, as a future.

use crate::stream::{SignalStream, signal};
use sigplane::{Error, Event, Result, Signal};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Completes with the first SIGINT, which Ctrl-C sends.
///
/// It subscribes when it is called, not when it is first polled, and gives SIGINT back when it completes
/// or is dropped: from then on Ctrl-C kills, unless somebody else listens. Called in a loop, it leaves
/// gaps in which Ctrl-C kills; hold a [`signal`] stream there.
///
/// # Errors
/// Those of [`signal`], when awaited.
///
/// # Panics
/// As [`signal`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use sigplane::{Signal, send};
/// let interrupted = sigplane_async::ctrl_c();
/// # send::raise(Signal::INT)?;
/// println!("stopping, on behalf of {:?}", interrupted.await?.sender());
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn ctrl_c() -> First {
    First::of(Signal::INT)
}

/// Completes with the first SIGTERM; otherwise as [`ctrl_c`].
///
/// # Errors
/// Those of [`signal`], when awaited.
///
/// # Panics
/// As [`signal`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use sigplane::{Signal, send};
/// let (interrupted, terminated) = (sigplane_async::ctrl_c(), sigplane_async::terminate());
/// # send::raise(Signal::TERM)?;
/// let event = tokio::select! {
///     event = interrupted => event?,
///     event = terminated => event?,
/// };
/// assert_eq!(event.signal(), Signal::TERM);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn terminate() -> First {
    First::of(Signal::TERM)
}

/// The future of [`ctrl_c`] and [`terminate`].
///
/// # Panics
/// When it is polled after it has completed.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let first: sigplane_async::First = sigplane_async::ctrl_c();
/// drop(first); // SIGINT has its old effect again
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited, and this one gives the signal back when dropped"]
pub struct First(State);

#[derive(Debug)]
enum State {
    Waiting(SignalStream),
    Refused(Error),
    Done,
}

impl First {
    #[track_caller]
    fn of(which: Signal) -> Self {
        Self(match signal(which) {
            Ok(stream) => State::Waiting(stream),
            Err(error) => State::Refused(error),
        })
    }
}

impl Future for First {
    type Output = Result<Event>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Event>> {
        if let State::Waiting(stream) = &mut self.0 {
            let event = ready!(stream.poll_recv(cx));
            self.0 = State::Done; // Drops the stream, which gives the signal back.
            return Poll::Ready(Ok(event));
        }
        match std::mem::replace(&mut self.0, State::Done) {
            State::Refused(error) => Poll::Ready(Err(error)),
            _ => panic!("polled after it had completed"),
        }
    }
}
