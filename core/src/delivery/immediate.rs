//! The immediate context: a subscriber's code in the signal handler itself.
//!
//! **Runs inside signal handlers**, and so does what the subscriber gives: see
//! [`Builder::immediate`](crate::Builder::immediate) for what it must not do.
//!
//! # Safety
//! A [`Delivery`] borrows what the kernel put on the handler's stack, for as long as the handler
//! runs; its lifetime keeps it from escaping.
#![allow(unsafe_code)]

use crate::event::Event;
use crate::event::stamp::Stamp;
use crate::signal::Signal;
use core::marker::PhantomData;

/// What an immediate handler says about a signal.
///
/// # Examples
/// ```
/// use sigplane::{Signal, Verdict};
/// // SAFETY: the handler only looks and decides.
/// let sub = unsafe {
///     sigplane::subscribe(Signal::USR1)
///         .immediate(|d| if d.info().si_code <= 0 { Verdict::Handled } else { Verdict::Pass })
/// }?;
/// # drop(sub);
/// # Ok::<(), sigplane::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// It is dealt with: the default action is not taken. For a synchronous fault nobody after this
    /// entry is asked, and the interrupted code goes on as the machine context now says.
    Handled,
    /// Not mine: as if this entry only observed.
    Pass,
}

/// A subscriber's handler: one load and one call, where a trait object takes two loads.
pub(crate) struct Callback {
    call: unsafe fn(*const (), &mut Delivery<'_>) -> Verdict,
    data: *mut (),
    drop: unsafe fn(*mut ()),
}

// SAFETY: made of a closure that is Send and Sync.
unsafe impl Send for Callback {}
// SAFETY: as above.
unsafe impl Sync for Callback {}

impl Callback {
    pub(crate) fn new<F>(handler: F) -> Self
    where
        F: Fn(&mut Delivery<'_>) -> Verdict + Send + Sync + 'static,
    {
        unsafe fn call<F: Fn(&mut Delivery<'_>) -> Verdict>(
            data: *const (),
            delivery: &mut Delivery<'_>,
        ) -> Verdict {
            // SAFETY: `data` is the closure, which lives as long as the callback.
            let handler = unsafe { &*data.cast::<F>() };
            handler(delivery)
        }
        unsafe fn free<F>(data: *mut ()) {
            // SAFETY: made by `Box::into_raw` below, and freed once, by `Drop`.
            drop(unsafe { Box::from_raw(data.cast::<F>()) });
        }
        Self { call: call::<F>, data: Box::into_raw(Box::new(handler)).cast(), drop: free::<F> }
    }

    #[inline(always)]
    pub(crate) fn call(&self, delivery: &mut Delivery<'_>) -> Verdict {
        // SAFETY: `call` was made for the type behind `data`.
        unsafe { (self.call)(self.data, delivery) }
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        // SAFETY: as in `call`; this is the only drop.
        unsafe { (self.drop)(self.data) };
    }
}

/// A signal in the hands of an immediate handler: what the kernel said, and the machine context.
///
/// # Async-signal safety
/// Every method may be called in the handler it was given to.
///
/// # Examples
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use sigplane::{Signal, Verdict, send};
/// static PC: AtomicU64 = AtomicU64::new(0);
/// // SAFETY: stores one number, calls nothing.
/// let sub = unsafe {
///     sigplane::subscribe(Signal::USR1).immediate(|delivery| {
///         if let Some(context) = delivery.machine_context() {
///             PC.store(context.uc_mcontext.gregs[libc::REG_RIP as usize] as u64, Ordering::Relaxed);
///         }
///         Verdict::Handled
///     })
/// }?;
/// send::raise(Signal::USR1)?;
/// assert_ne!(PC.load(Ordering::Relaxed), 0);
/// # drop(sub);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Delivery<'a> {
    pub(crate) info: &'a libc::siginfo_t,
    pub(crate) context: *mut libc::ucontext_t,
    pub(crate) stamped: Option<Stamp>,
    pub(crate) tid: i32,
    pub(crate) fault: bool,
    pub(crate) lives: PhantomData<&'a mut libc::ucontext_t>,
}

impl Delivery<'_> {
    /// The signal.
    pub fn signal(&self) -> Signal {
        // SAFETY: the kernel delivers numbers 1 to 64 only.
        unsafe { Signal::from_raw_unchecked(self.info.si_signo as u8) }
    }

    /// What the kernel said, in place.
    pub fn info(&self) -> &libc::siginfo_t {
        self.info
    }

    /// An owned event, stamped with the time of its arrival: now, or, for a deferred delivery, when
    /// the kernel delivered it.
    pub fn event(&self) -> Event {
        Event::from_raw(self.stamped.unwrap_or_else(|| Stamp::now(self.tid())).event(self.info))
    }

    /// The kernel's id of the receiving thread.
    pub fn thread(&self) -> i32 {
        self.tid()
    }

    fn tid(&self) -> i32 {
        if self.tid != 0 { self.tid } else { crate::sys::gettid() }
    }

    /// The interrupted code's registers and mask; changes take effect when the handler returns.
    /// `None` when the delivery was deferred: what was interrupted then has long gone on.
    pub fn machine_context(&mut self) -> Option<&mut libc::ucontext_t> {
        // SAFETY: null, or the kernel's own frame, exclusively ours while the handler runs.
        unsafe { self.context.as_mut() }
    }

    /// Whether the signal was held back by a deferral and is delivered now.
    pub fn is_deferred(&self) -> bool {
        self.context.is_null()
    }

    /// Whether this is a synchronous fault of the interrupted instruction, as opposed to a signal
    /// that somebody sent.
    pub fn is_fault(&self) -> bool {
        self.fault
    }
}

impl core::fmt::Debug for Delivery<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Delivery")
            .field("signal", &self.signal())
            .field("fault", &self.fault)
            .finish()
    }
}
