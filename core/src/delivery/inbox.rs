//! The inbox: events wait in a queue that the subscriber reads when it likes.

use super::entry::Entry;
use super::queue::{Consumer, Doorway, Queue};
use crate::event::Event;
use crate::subscribe::{Subscription, SubscriptionStats};
use crate::sync::Ordering;
use crate::sys;
use crossbeam_channel::{Receiver, bounded};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events in a queue of their own, read by the caller: blocking, with a time limit, without waiting,
/// as an iterator, or through a descriptor that polls readable. May be read from several threads: each
/// event goes to one of them.
///
/// Dropping it ends the subscription; what has not been read is discarded and counted.
///
/// # Examples
/// ```
/// use sigplane::{Signal, SignalSet, send, send::Value};
/// let rt = Signal::rt(0)?;
/// let inbox = sigplane::subscribe(SignalSet::from([Signal::USR1, rt])).inbox()?;
/// send::raise(Signal::USR1)?;
/// send::raise_with(rt, Value::from_int(5))?;
/// assert_eq!(inbox.recv().signal(), Signal::USR1);
/// assert_eq!(inbox.try_recv().and_then(|event| event.value()), Some(Value::from_int(5)));
/// assert!(inbox.try_recv().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Inbox {
    subscription: Subscription,
}

impl Inbox {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self { subscription }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        self.subscription.entry()
    }

    /// Waits for the next event.
    ///
    /// # Async-signal safety
    /// No.
    pub fn recv(&self) -> Event {
        loop {
            if let Some(event) = receive(self.entry(), None) {
                return event;
            }
        }
    }

    /// Waits for the next event, for at most `limit`.
    ///
    /// # Async-signal safety
    /// No.
    pub fn recv_timeout(&self, limit: Duration) -> Option<Event> {
        receive(self.entry(), Some(sys::now().saturating_add(limit)))
    }

    /// Waits for the next event until `deadline`.
    ///
    /// # Async-signal safety
    /// No.
    pub fn recv_deadline(&self, deadline: Instant) -> Option<Event> {
        receive(self.entry(), sys::deadline(Some(deadline)))
    }

    /// The next event if there is one.
    ///
    /// # Async-signal safety
    /// No.
    pub fn try_recv(&self) -> Option<Event> {
        try_receive(self.entry())
    }

    /// Events for ever, waiting for each.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        core::iter::repeat_with(|| self.recv())
    }

    /// The events that are there, without waiting.
    pub fn try_iter(&self) -> impl Iterator<Item = Event> + '_ {
        core::iter::from_fn(|| self.try_recv())
    }

    /// How many events wait; those merged into one count as one.
    pub fn len(&self) -> usize {
        self.entry().queue().map_or(0, Queue::len)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the queue has seen so far.
    pub fn stats(&self) -> SubscriptionStats {
        self.subscription.stats()
    }

    /// Ends the subscription and says what became of the kernel's action. Unread events are discarded
    /// and counted.
    pub fn unsubscribe(self) -> crate::Removal {
        self.subscription.unsubscribe()
    }

    /// Promises that the [descriptor](AsFd) is watched for edges only (`EPOLLET`). Then
    /// [`try_recv`](Self::try_recv) need not read it to make it unreadable again, which saves a system
    /// call each time the queue runs empty. Watched for levels, it would stay readable for ever.
    ///
    /// # References
    /// epoll(7), "Level-triggered and edge-triggered".
    ///
    /// # Examples
    /// ```
    /// let inbox = sigplane::subscribe(sigplane::Signal::USR1).inbox()?.edge_triggered();
    /// assert!(inbox.try_recv().is_none());
    /// # Ok::<(), sigplane::Error>(())
    /// ```
    #[must_use]
    pub fn edge_triggered(self) -> Self {
        if let Some(Consumer::Inbox(doorway)) = self.entry().queue().map(|queue| &queue.consumer) {
            doorway.edges.store(true, Ordering::Relaxed);
        }
        self
    }

    /// The descriptor that [`AsFd`] gives, made now if this is the first call.
    ///
    /// # Errors
    /// [`Error::Os`](crate::Error::Os) when the process is out of descriptors.
    ///
    /// # Examples
    /// ```
    /// let inbox = sigplane::subscribe(sigplane::Signal::USR1).inbox()?;
    /// let _readable_while_events_wait = inbox.try_as_fd()?;
    /// # Ok::<(), sigplane::Error>(())
    /// ```
    pub fn try_as_fd(&self) -> crate::Result<BorrowedFd<'_>> {
        let Some(queue) = self.entry().queue() else { unreachable!("an inbox has a queue") };
        descriptor(queue).map(borrow)
    }

    fn fd(&self) -> RawFd {
        match self.try_as_fd() {
            Ok(fd) => fd.as_raw_fd(),
            Err(error) => panic!("{error}"),
        }
    }
}

impl AsRawFd for Inbox {
    /// A descriptor that polls readable while events wait; see [`AsFd`].
    fn as_raw_fd(&self) -> RawFd {
        self.fd()
    }
}

impl AsFd for Inbox {
    /// A descriptor that polls readable while events wait. Do not read it: take events until
    /// [`try_recv`](Inbox::try_recv) gives none, which makes it unreadable again. It works level- and
    /// edge-triggered, and stays the same for the life of the inbox. Made at the first call.
    ///
    /// # Panics
    /// When the process is out of descriptors at the first call.
    fn as_fd(&self) -> BorrowedFd<'_> {
        borrow(self.fd())
    }
}

/// # Safety
/// The descriptor belongs to the queue and is open as long as the inbox lives.
#[allow(unsafe_code)]
fn borrow<'a>(fd: RawFd) -> BorrowedFd<'a> {
    // SAFETY: the only caller passes the queue's own descriptor and ties it to the inbox.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

impl<'a> IntoIterator for &'a Inbox {
    type Item = Event;
    type IntoIter = Box<dyn Iterator<Item = Event> + 'a>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}

/// The queue's eventfd, made now if it has none.
fn descriptor(queue: &Queue) -> crate::Result<RawFd> {
    let Consumer::Inbox(doorway) = &queue.consumer else { unreachable!("an inbox has a doorway") };
    let present = doorway.fd.load(Ordering::SeqCst);
    if present >= 0 {
        return Ok(present);
    }
    let fresh = sys::eventfd().map_err(|errno| sys::os_error("eventfd2", errno))?;
    Ok(match doorway.fd.compare_exchange(-1, fresh, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            // ORDERING: the descriptor is stored before the length is looked at; a handler raises
            // the length before it looks for a descriptor. One of the two makes it readable.
            if queue.len() > 0 {
                doorway.open();
            }
            fresh
        }
        Err(other) => {
            sys::close(fresh);
            other
        }
    })
}

/// The next event if there is one; otherwise makes the descriptor, if any, unreadable, unless only
/// its edges count.
fn try_receive(entry: &Entry) -> Option<Event> {
    let queue = entry.queue()?;
    if let Some(event) = queue.take() {
        return Some(Event::from_raw(event));
    }
    let Consumer::Inbox(doorway) = &queue.consumer else { return None };
    let fd = doorway.fd.load(Ordering::SeqCst);
    if fd < 0 {
        return None;
    }
    // Every write to an eventfd is an edge, whatever its count (eventfd(2), epoll(7), "Level-triggered and
    // edge-triggered"; fs/eventfd.c, `eventfd_write` wakes its waiters each time).
    if !doorway.edges.load(Ordering::Relaxed) {
        sys::eventfd_clear(fd);
    }
    // ORDERING: cleared, disarmed, then the queue is looked at once more. A handler publishes and then
    // arms. One that armed before the swap, and whose write was cleared, has published: its event is
    // found here, or, if an older one is not completely written yet, whoever writes that arms anew.
    // One that arms after the swap writes. The swap takes in what the handler did before it armed.
    doorway.armed.swap(false, Ordering::SeqCst);
    let event = queue.take()?;
    if queue.len() > 0 {
        doorway.open();
    }
    Some(Event::from_raw(event))
}

/// The next event; `None` at the deadline, or when the inbox has been closed.
fn receive(entry: &Entry, deadline: Option<Duration>) -> Option<Event> {
    let queue = entry.queue()?;
    let Consumer::Inbox(doorway) = &queue.consumer else { return None };
    let found = doorway.sleepers.wait(deadline, || match queue.take() {
        Some(event) => Some(Some(event)),
        None => doorway.closed.load(Ordering::SeqCst).then_some(None),
    });
    found.flatten().map(Event::from_raw)
}

/// Moves events from an inbox into a channel on a thread of its own, until the subscription ends. The
/// channel has one place: what waits, waits in the inbox, so that its policy holds.
pub(crate) fn pump(entry: Arc<Entry>) -> crate::Result<Receiver<Event>> {
    let (sender, receiver) = bounded(1);
    let mask = sys::block(sys::ASYNC_BITS);
    let started = std::thread::Builder::new().name("sigplane-channel".into()).spawn(move || {
        while let Some(event) = receive(&entry, None) {
            if sender.send(event).is_err() {
                break; // The receiver is gone; the subscription goes when its owner drops it.
            }
        }
    });
    sys::set_mask(mask);
    started.map_err(|source| crate::Error::Os { call: "pthread_create", source })?;
    Ok(receiver)
}

/// Wakes the readers of an inbox whose subscription has ended.
pub(crate) fn close(queue: &Queue) {
    if let Consumer::Inbox(doorway) = &queue.consumer {
        doorway.closed.store(true, Ordering::SeqCst);
        doorway.sleepers.notify();
    }
}

/// A queue for an inbox.
pub(crate) fn consumer() -> Consumer {
    Consumer::Inbox(Doorway::new())
}
