//! The stream of a subscription's events.

use crate::reactor::Reactor;
use crate::trace::event;
use futures_core::{FusedStream, Stream};
use sigplane::{Builder, Event, Inbox, Removal, Result, Signal, SignalSet, SubscriptionStats};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::coop;

/// Subscribes to one signal: every instance that the kernel delivers, with its full information. The
/// default action is suppressed for as long as the stream lives.
///
/// Every call makes a stream of its own, and every stream gets every event. Dropping it ends the
/// subscription; the last one gives the signal back, so that a second Ctrl-C kills.
///
/// For anything but the defaults (a queue of 128, nothing dropped) see [`BuilderExt::stream`].
///
/// # Errors
/// Those of [`sigplane::on`], and [`sigplane::Error::Os`] when the reactor refuses the descriptor.
///
/// # Panics
/// When it is called in a runtime without an I/O driver (`enable_io`). Outside of any runtime it does
/// not panic: the stream joins the runtime that first polls it.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sigplane::send::{self, Value};
/// let rt = sigplane::Signal::rt(1)?;
/// let mut values = sigplane_async::signal(rt)?;
/// for value in 0..3 {
///     send::raise_with(rt, Value::from_int(value))?;
/// }
/// for value in 0..3 {
///     assert_eq!(values.recv().await.value(), Some(Value::from_int(value)));
/// }
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn signal(signal: Signal) -> Result<SignalStream> {
    sigplane::subscribe(signal).stream()
}

/// Subscribes to several signals in one stream, in the order in which they are delivered; see [`signal`].
///
/// # Errors
/// Those of [`signal`], and [`sigplane::Error::EmptySet`].
///
/// # Panics
/// As [`signal`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sigplane::{Signal, send};
/// let mut stop = sigplane_async::signals([Signal::INT, Signal::TERM])?;
/// send::raise(Signal::TERM)?;
/// assert_eq!(stop.recv().await.signal(), Signal::TERM);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn signals(set: impl Into<SignalSet>) -> Result<SignalStream> {
    sigplane::subscribe(set).stream()
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for sigplane::Builder {}
}

/// The context that this crate adds to [`sigplane::Builder`].
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sigplane::{Overflow, Signal, send};
/// use sigplane_async::BuilderExt;
/// let mut sizes = sigplane::subscribe(Signal::WINCH)
///     .name("resize")
///     .overflow(Overflow::Coalesce) // one event for all that came since the last
///     .stream()?;
/// send::raise(Signal::WINCH)?;
/// send::raise(Signal::WINCH)?;
/// assert_eq!(sizes.recv().await.instances(), 2);
/// # Ok(())
/// # }
/// ```
pub trait BuilderExt: sealed::Sealed {
    /// Puts events into a queue that a task awaits.
    ///
    /// # Errors
    /// Those of [`sigplane::Builder::inbox`], and [`sigplane::Error::Os`] when the reactor refuses the
    /// descriptor.
    ///
    /// # Panics
    /// As [`signal`].
    fn stream(self) -> Result<SignalStream>;
}

impl BuilderExt for Builder {
    #[track_caller]
    fn stream(self) -> Result<SignalStream> {
        let mut stream = SignalStream::from(self.inbox()?);
        stream.reactor.follow(&stream.inbox)?;
        event!(debug, stream = ?stream, "subscribed");
        Ok(stream)
    }
}

/// Events of one subscription, awaited.
///
/// It never ends: as a [`Stream`] it gives `Some` for ever, and as a `FusedStream` it is never
/// terminated. Dropping it ends the subscription; what has not been read is discarded, and counted where
/// it can still be seen: [`unsubscribe`](Self::unsubscribe) after [`stats`](Self::stats).
///
/// It may be polled in any task of any runtime, current-thread or multi-thread, and moved from one to
/// another, also after the first has been dropped: it registers with the runtime that polls it. Polled by
/// an executor that is not tokio's, it stays with the runtime that it was last registered with, which has
/// to be running. In a forked child it keeps its subscription, with none of the parent's events, and is
/// polled by a runtime that the child has made (a runtime that was copied by `fork` works for nobody, and
/// with tokio's feature `parking_lot` a new one may hang: that crate's queues are copied with threads in
/// them that are gone).
///
/// Events are taken within the task's cooperative budget, so that a burst does not starve the other tasks.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sigplane::{Signal, send};
/// let mut usr1 = sigplane_async::signal(Signal::USR1)?;
/// let mut usr2 = sigplane_async::signal(Signal::USR2)?;
/// send::raise(Signal::USR2)?;
/// tokio::select! {
///     _ = usr1.recv() => unreachable!(),
///     event = usr2.recv() => assert_eq!(event.signal(), Signal::USR2),
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping it ends the subscription"]
pub struct SignalStream {
    // Before the inbox, whose descriptor it has registered: fields are dropped in this order.
    reactor: Reactor,
    inbox: Inbox,
}

/// Takes over an inbox that was made without a runtime. It registers with the runtime that first polls it.
impl From<Inbox> for SignalStream {
    fn from(inbox: Inbox) -> Self {
        Self { reactor: Reactor::default(), inbox: inbox.edge_triggered() }
    }
}

impl SignalStream {
    /// The next event.
    ///
    /// Cancel-safe: an event is taken only in the poll that returns it, so a future that is dropped
    /// before has lost nothing.
    ///
    /// # Panics
    /// As [`poll_recv`](Self::poll_recv).
    pub async fn recv(&mut self) -> Event {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Takes the next event, or has the task of `cx` woken when there may be one. Only the task of the
    /// last call is woken.
    ///
    /// # Panics
    /// When it has to wait and no runtime can wake it: outside of any runtime before it has been in one,
    /// or after its runtime was shut down; in a runtime without an I/O driver; and when the reactor of
    /// a runtime that it moves to refuses the descriptor.
    #[track_caller]
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let budget = ready!(coop::poll_proceed(cx));
        let mut followed = false;
        loop {
            if let Some(event) = self.inbox.try_recv() {
                budget.made_progress();
                return Poll::Ready(event);
            }
            if !followed {
                // Once a poll, during which the current runtime stays the same: asking for it takes a count
                // on its handle, which all its workers share.
                followed = true;
                match self.reactor.follow(&self.inbox) {
                    Ok(true) => continue, // An event that came before it was registered has made no edge.
                    Ok(false) => {}
                    Err(error) => panic!("the stream cannot join this runtime: {error}"),
                }
            }
            if let Err(error) = ready!(self.reactor.poll_edge(cx)) {
                panic!(
                    "no runtime wakes this stream ({error}): poll it in a running tokio runtime"
                );
            }
        }
    }

    /// The next event if there is one now.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.inbox.try_recv()
    }

    /// How many events wait; those merged into one count as one.
    pub fn len(&self) -> usize {
        self.inbox.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// What the queue has seen so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.inbox.stats()
    }

    /// Ends the subscription and says what became of the kernel's action. Unread events are discarded.
    pub fn unsubscribe(self) -> Removal {
        let Self { reactor, inbox } = self;
        drop(reactor);
        inbox.unsubscribe()
    }
}

impl Stream for SignalStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), None)
    }
}

impl FusedStream for SignalStream {
    fn is_terminated(&self) -> bool {
        false
    }
}

impl fmt::Debug for SignalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignalStream").field(&self.inbox).finish()
    }
}

const _: () = {
    const fn usable_anywhere<T: Send + Sync + Unpin + 'static>() {}
    usable_anywhere::<SignalStream>();
};
