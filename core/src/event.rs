//! An owned record of one delivered signal, with views typed by its cause.
//!
//! It is not a delivery: nothing here runs handlers or knows queues, and the machine
//! context is not part of it. What the handler copies is a [`RawEvent`]; what subscribers
//! get is an [`Event`] made of it.
//!
//! Invariants:
//! - the `siginfo_t` is kept whole and unchanged, as the kernel gave it;
//! - a view exists only for the causes that fill its fields (`event/cause.rs`);
//! - no method panics, whatever the bytes are; none but formatting allocates.
//!
//! The parts: `cause.rs` reads `si_code`, `fields.rs` the union, `views.rs` and `fault.rs`
//! are the typed views, `stamp.rs` makes the records.
//!
//! # Safety
//! A `siginfo_t` may hold pointers, which makes it neither `Send` nor `Sync`. They are
//! only ever read as numbers here, never followed, so a record may cross threads.
#![allow(unsafe_code)]

mod cause;
mod fault;
pub(crate) mod fields;
pub(crate) mod stamp;
#[cfg(test)]
mod tests;
mod views;

use std::fmt;
use std::time::Duration;

use crate::send::Value;
use crate::signal::Signal;

pub use cause::Cause;
pub use fault::{FaultInfo, FaultKind};
pub use views::{Child, ChildStatus, Poll, Sender, SysCall, Timer};

/// What the handler copies out of a delivery: plain data, for rings and pipes.
///
/// `info.si_signo` is the number of a [`Signal`]; the kernel sees to that.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct RawEvent {
    /// As the kernel passed it.
    pub(crate) info: libc::siginfo_t,
    /// `CLOCK_MONOTONIC` at the start of the handler, in nanoseconds.
    pub(crate) arrival_ns: u64,
    /// Kernel id of the thread that the handler ran on.
    pub(crate) tid: i32,
    /// How many instances this record stands for, itself included.
    pub(crate) instances: u32,
}

// SAFETY: plain data; the pointers in it are never followed, only read as numbers.
unsafe impl Send for RawEvent {}
// SAFETY: as above, and nothing in it can change behind a shared reference.
unsafe impl Sync for RawEvent {}

/// One delivered signal: its `siginfo_t`, where and when it arrived.
///
/// An event is owned data and may go anywhere. The views ([`sender`](Self::sender),
/// [`value`](Self::value), [`child`](Self::child), …) exist only when
/// [`cause`](Self::cause) says that the kernel or the sender filled them.
///
/// # Async-signal safety
/// Every method and `clone` are async-signal-safe. `Display` and `Debug` are not.
///
/// # References
/// `sigaction(2)`
///
/// # Examples
/// ```
/// use sigplane::{Signal, send::{self, Value}};
///
/// let (tx, rx) = std::sync::mpsc::channel();
/// let _subscription = sigplane::on(Signal::rt(2)?, move |event| {
///     let _ = tx.send(event.clone());
/// })?;
/// send::raise_with(Signal::rt(2)?, Value::from_int(7))?;
///
/// let event = rx.recv()?;
/// assert_eq!(event.signal(), Signal::rt(2)?);
/// assert_eq!(event.value(), Some(Value::from_int(7)));
/// assert_eq!(event.sender().map(|sender| sender.pid as u32), Some(std::process::id()));
/// assert!(event.child().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Event(RawEvent);

impl Event {
    /// The event of `info`, which a handler that is not sigplane's has received, as if it had arrived here and
    /// now. `None` when `info` names no signal.
    ///
    /// # Async-signal safety
    /// Yes.
    ///
    /// # Examples
    /// ```
    /// // SAFETY: all zero bytes are a `siginfo_t`, of no signal.
    /// let nothing: libc::siginfo_t = unsafe { std::mem::zeroed() };
    /// assert!(sigplane::Event::received(&nothing).is_none());
    /// ```
    #[must_use]
    pub fn received(info: &libc::siginfo_t) -> Option<Self> {
        Signal::try_from(info.si_signo).ok()?;
        Some(Self::from_raw(stamp::Stamp::now(crate::sys::gettid()).event(info)))
    }

    /// The event that a handler recorded as `raw`.
    pub(crate) fn from_raw(raw: RawEvent) -> Event {
        Event(raw)
    }

    /// The signal.
    #[must_use]
    pub fn signal(&self) -> Signal {
        // The kernel writes the number itself, so the fallback is never taken: no handler is
        // ever installed for a number that `Signal` cannot hold.
        Signal::try_from(self.0.info.si_signo).unwrap_or(Signal::SYS)
    }

    /// The raw `si_code`; [`cause`](Self::cause) says what it means.
    #[must_use]
    #[doc(alias = "si_code")]
    pub fn code(&self) -> i32 {
        self.0.info.si_code
    }

    /// Why the signal was sent.
    #[must_use]
    pub fn cause(&self) -> Cause {
        Cause::of(self.signal(), self.code())
    }

    /// The process that sent the signal. See [`Sender`] for whether to believe it.
    #[must_use]
    #[doc(alias("si_pid", "si_uid"))]
    pub fn sender(&self) -> Option<Sender> {
        self.cause().has_sender().then(|| Sender::of(&self.0.info))
    }

    /// The value that came along with `sigqueue`, a timer, a message queue or
    /// asynchronous input and output.
    #[must_use]
    #[doc(alias("si_value", "si_int", "si_ptr"))]
    pub fn value(&self) -> Option<Value> {
        self.cause().has_value().then(|| Value::from_addr(fields::value(&self.0.info)))
    }

    /// The child that ended or changed. The event does not reap it, and one event may
    /// stand for several children: the kernel keeps a single pending `SIGCHLD`.
    #[must_use]
    #[doc(alias = "si_status")]
    pub fn child(&self) -> Option<Child> {
        if self.cause() == Cause::Child { Child::of(&self.0.info) } else { None }
    }

    /// The fault, if the kernel raised the signal because of what the running code did.
    /// `None` for the same signal sent by a process.
    #[must_use]
    #[doc(alias = "si_addr")]
    pub fn fault(&self) -> Option<FaultInfo> {
        matches!(self.cause(), Cause::Fault | Cause::Syscall)
            .then(|| FaultInfo::of(self.signal(), &self.0.info))
    }

    /// The timer that expired.
    #[must_use]
    #[doc(alias("si_overrun", "si_timerid"))]
    pub fn timer(&self) -> Option<Timer> {
        (self.cause() == Cause::Timer).then(|| Timer::of(&self.0.info))
    }

    /// The descriptor that became ready.
    #[must_use]
    #[doc(alias("si_band", "si_fd"))]
    pub fn poll(&self) -> Option<Poll> {
        matches!(self.cause(), Cause::Poll | Cause::SigIo).then(|| Poll::of(&self.0.info))
    }

    /// The system call that was filtered or dispatched.
    #[must_use]
    #[doc(alias("si_syscall", "si_arch", "si_call_addr"))]
    pub fn syscall(&self) -> Option<SysCall> {
        (self.cause() == Cause::Syscall).then(|| SysCall::of(&self.0.info))
    }

    /// Kernel id of the thread that received the signal.
    #[must_use]
    pub fn thread(&self) -> i32 {
        self.0.tid
    }

    /// When the signal arrived, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn arrival(&self) -> Duration {
        Duration::from_nanos(self.0.arrival_ns)
    }

    /// How long ago the signal arrived, by the same clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        crate::sys::now().saturating_sub(self.arrival())
    }

    /// How many instances this event stands for, at least 1; more than 1 only where the
    /// subscriber chose to coalesce. What the kernel itself merged is not counted.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.0.instances.max(1)
    }

    /// The `siginfo_t`, as the kernel passed it.
    #[must_use]
    pub fn raw(&self) -> &libc::siginfo_t {
        &self.0.info
    }
}

/// One line: the signal, and what is known of its cause.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.signal().name())?;
        if let Some(Sender { pid, uid }) = self.sender() {
            write!(f, " from process {pid} of user {uid}")?;
        }
        if let Some(child) = self.child() {
            write!(f, ": child {} {}", child.pid, child.status)?;
        }
        if let Some(fault) = self.fault() {
            write!(f, ": {}", fault.kind)?;
            if let Some(address) = fault.address {
                write!(f, " at {address:#x}")?;
            }
        }
        if let Some(timer) = self.timer() {
            write!(f, " from timer {}, overrun {}", timer.id, timer.overrun)?;
        }
        if let Some(poll) = self.poll() {
            write!(f, " for descriptor {}, band {:#x}", poll.fd, poll.band)?;
        }
        if let Some(call) = self.syscall() {
            write!(f, ", call {}", call.number)?;
        }
        match self.cause() {
            Cause::Kernel => f.write_str(" from the kernel")?,
            Cause::Other(code) => write!(f, " with code {code}")?,
            _ => {}
        }
        if let Some(value) = self.value() {
            write!(f, " with value {:#x}", value.addr())?;
        }
        if self.instances() > 1 {
            write!(f, ", {} instances", self.instances())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Event");
        out.field("signal", &self.signal()).field("cause", &self.cause());
        out.field("code", &self.code());
        if let Some(sender) = self.sender() {
            out.field("sender", &sender);
        }
        if let Some(value) = self.value() {
            out.field("value", &value);
        }
        if let Some(child) = self.child() {
            out.field("child", &child);
        }
        if let Some(fault) = self.fault() {
            out.field("fault", &fault);
        }
        if let Some(timer) = self.timer() {
            out.field("timer", &timer);
        }
        if let Some(poll) = self.poll() {
            out.field("poll", &poll);
        }
        if let Some(call) = self.syscall() {
            out.field("syscall", &call);
        }
        out.field("thread", &self.thread()).field("arrival", &self.arrival());
        out.field("instances", &self.instances()).finish()
    }
}
