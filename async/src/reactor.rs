//! The registration of a descriptor, an inbox's mostly, with the reactor of a runtime.
//!
//! A stream is made wherever the program likes, and polled by whichever runtime runs its task. So it is
//! registered with the runtime that polls it, and moves when another does. A runtime is known by its
//! id, which no later one gets, not even in a forked child, where the counter goes on.
//!
//! Moving loses nothing: epoll(7) reports a descriptor that is readable when it is added, edge-triggered
//! or not, and the caller looks into the queue after each registration.
//!
//! fork: the child has a copy of the registration, but the reactor behind it is the parent's: the epoll
//! instance is shared, and a lock in the copied runtime may have been held by a thread that is gone. So a
//! registration that another process made is forgotten, never dropped. The descriptor itself has been
//! replaced by core, under the same number.
//!
//! # Safety
//! tokio asks that a registered descriptor stays open and the same until the registration is dropped or
//! forgotten. It belongs to a [`Keeper`], which keeps it for its own life; [`Door`] is only made of one,
//! and whoever owns both drops the registration first.
#![allow(unsafe_code)]

use sigplane::Inbox;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};

/// The owner of a descriptor that a reactor watches.
///
/// # Safety
/// `descriptor` gives the same open descriptor for the owner's whole life, but in a forked child.
pub(crate) unsafe trait Keeper {
    /// The descriptor, made now if this is the first call.
    fn descriptor(&self) -> sigplane::Result<RawFd>;
}

// SAFETY: made at the first call, and closed with the queue.
unsafe impl Keeper for Inbox {
    fn descriptor(&self) -> sigplane::Result<RawFd> {
        self.try_as_fd().map(|fd| fd.as_raw_fd())
    }
}

/// A keeper's descriptor.
struct Door(RawFd);

impl AsRawFd for Door {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// A descriptor in the reactor of one runtime.
pub(crate) struct Registration {
    fd: ManuallyDrop<AsyncFd<Door>>,
    runtime: Id,
    process: u32,
}

impl Registration {
    /// Registers with the current runtime.
    ///
    /// # Panics
    /// Without a current runtime, and when the current one has no I/O driver.
    ///
    /// # Safety
    /// The registration is dropped before the keeper.
    #[track_caller]
    unsafe fn new(keeper: &impl Keeper, runtime: Id) -> sigplane::Result<Self> {
        let door = Door(keeper.descriptor()?);
        // SAFETY: the descriptor is open and the same for the life of the keeper, which is longer: the
        // caller's promise. In a forked child it is another, and the registration is forgotten.
        let fd = unsafe { AsyncFd::register_with_interest(door, Interest::READABLE) };
        let fd = fd.map_err(|error| {
            let (_door, source) = error.into_parts();
            sigplane::Error::Os { call: "epoll_ctl", source }
        })?;
        Ok(Self { fd: ManuallyDrop::new(fd), runtime, process: std::process::id() })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

/// The place of a registration, which follows the keeper's reader from runtime to runtime.
///
/// Whoever owns it beside a keeper declares it first, so that it is dropped first.
#[derive(Default)]
pub(crate) struct Reactor(Option<Registration>);

impl Reactor {
    /// Sees to it that the current runtime, if there is one, wakes the reader. Whether it has been
    /// registered anew: then look into the queue before waiting.
    ///
    /// # Panics
    /// When the current runtime has no I/O driver.
    #[track_caller]
    pub(crate) fn follow(&mut self, keeper: &impl Keeper) -> sigplane::Result<bool> {
        let Ok(runtime) = Handle::try_current().map(|handle| handle.id()) else {
            // Another executor polls. What another process has registered wakes nobody here, and its locks
            // may have been copied while they were held.
            let process = std::process::id();
            self.0.take_if(|registration| registration.process != process);
            return Ok(false);
        };
        if self.0.as_ref().is_some_and(|registration| registration.runtime == runtime) {
            return Ok(false);
        }
        self.0 = None; // The old one leaves its reactor before the same descriptor enters another.
        // SAFETY: of a keeper and its reactor, the reactor is declared, and so dropped, first.
        self.0 = Some(unsafe { Registration::new(keeper, runtime) }?);
        Ok(true)
    }

    /// Ready when the descriptor may have been written since the last call that said so.
    ///
    /// # Errors
    /// When there is no registration, or its runtime has been shut down.
    pub(crate) fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(registration) = &self.0 else {
            return Poll::Ready(Err(io::Error::other("no runtime has been entered")));
        };
        // ORDERING: cleared before the caller looks into the queue again. An edge that comes after the
        // poll is another tick, which `clear_ready` leaves alone.
        ready!(registration.fd.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}
