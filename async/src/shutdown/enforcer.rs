//! What ends the process when a graceful shutdown does not.
//!
//! **`on_signal` runs inside signal handlers.** It uses atomics, clock_gettime(2), timer_settime(2) and
//! the default action of the signal, which are async-signal-safe (signal-safety(7)).
//!
//! Problem: a second Ctrl-C, or a limit, must end a process whose runtime hangs. A task cannot, and a
//! thread for the purpose would be one more that can be starved. So the second signal is dealt with where
//! it arrives, and the limit is a timer of the kernel's that sends the first signal's kind once more.
//!
//! | state | a signal | the timer | the program asks |
//! |---|---|---|---|
//! | `SERVING` | `DRAINING`, the timer starts | cannot be | `DRAINING`, the timer starts |
//! | `DRAINING` | ends the process, unless it is forgiven | ends the process | nothing |
//!
//! The kernel merges the timer's signal with one of the same kind that is still pending. So the limit is
//! also compared with the time at which a signal arrives: after it, none is forgiven.
//!
//! fork: the child has no timer (timer_create(2)), so only a second signal ends it.
//!
//! # Safety
//! The timer is made and deleted here, and started by the handler only in between: the subscription has
//! ended before it is deleted. `State::begin` is not called by anybody else after [`Enforcer::end`].
#![allow(unsafe_code)]

use super::Ending;
use sigplane::{
    DefaultAction, Delivery, Event, Result, Signal, SignalSet, Subscription, Verdict, process,
};
use std::fmt;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Value of `asked_ns` as long as nobody has asked.
const SERVING: u64 = u64::MAX;

pub(super) struct State {
    /// When the shutdown was asked for, on `CLOCK_MONOTONIC`; `SERVING` before.
    ///
    /// ORDERING: Relaxed. It is one word, written once, and publishes nothing else.
    asked_ns: AtomicU64,
    forgive: Duration,
    ending: Ending,
    limit: Option<(Timer, Duration)>,
}

/// The subscription, and the timer behind it. Dropping it ends both, in this order.
pub(super) struct Enforcer {
    subscription: Option<Subscription>,
    state: Arc<State>,
}

impl Enforcer {
    #[track_caller]
    pub(super) fn new(
        set: SignalSet,
        limit: Option<Duration>,
        forgive: Duration,
        ending: Ending,
    ) -> Result<Self> {
        let builder = sigplane::subscribe(set).name("shutdown, enforced");
        let limit = match (limit, kind(set)) {
            (Some(limit), Some(signal)) => Some((Timer::new(signal)?, limit)),
            _ => None,
        };
        let asked_ns = AtomicU64::new(SERVING);
        let state = Arc::new(State { asked_ns, forgive, ending, limit });
        let seen = Arc::clone(&state);
        // SAFETY: see the module: nothing but what is async-signal-safe.
        let subscription = unsafe { builder.immediate(move |delivery| seen.on_signal(delivery)) }?;
        Ok(Self { subscription: Some(subscription), state })
    }

    pub(super) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// Stops the timer: it must not strike when nobody takes its signal.
    pub(super) fn pause(&self) {
        if let Some((timer, _)) = &self.state.limit {
            timer.stop();
        }
    }

    /// Ends the subscription, then the timer, which a last signal may have started. Whether the shutdown
    /// has been asked for.
    pub(super) fn end(&mut self) -> bool {
        self.pause();
        drop(self.subscription.take());
        if let Some((timer, _)) = &self.state.limit {
            timer.delete();
        }
        self.state.asked_ns.load(Ordering::Relaxed) != SERVING
    }
}

/// What the timer sends: SIGTERM if it is one of the signals, or the first of them that ends a process by
/// default, or else the first.
fn kind(set: SignalSet) -> Option<Signal> {
    let term = set.contains(Signal::TERM).then_some(Signal::TERM);
    term.or_else(|| set.iter().find(|signal| is_deadly(*signal))).or_else(|| set.iter().next())
}

fn is_deadly(signal: Signal) -> bool {
    matches!(signal.default_action(), DefaultAction::Terminate | DefaultAction::Core)
}

impl State {
    /// The shutdown has been asked for: from now on the next signal ends the process. Whether this call was
    /// the one that began it.
    pub(super) fn begin(&self, at: Duration) -> bool {
        let at_ns = u64::try_from(at.as_nanos()).unwrap_or(SERVING - 1);
        let begun = self
            .asked_ns
            .compare_exchange(SERVING, at_ns, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if begun && let Some((timer, limit)) = &self.limit {
            timer.start(*limit);
        }
        begun
    }

    fn on_signal(&self, delivery: &mut Delivery<'_>) -> Verdict {
        let event = delivery.event();
        let by_timer = self.limit.as_ref().is_some_and(|(timer, _)| timer.sent(&event));
        if !by_timer {
            if self.begin(event.arrival()) {
                return Verdict::Handled;
            }
            let asked = Duration::from_nanos(self.asked_ns.load(Ordering::Relaxed));
            let since = event.arrival().saturating_sub(asked);
            let in_time = self.limit.as_ref().is_none_or(|(_, limit)| since < *limit);
            if since < self.forgive && in_time {
                return Verdict::Handled;
            }
        }
        let status = match self.ending {
            Ending::Exit(status) => status.into(),
            Ending::BySignal => {
                if is_deadly(event.signal()) {
                    process::take_default(&event);
                }
                // It does not come back, unless another thread has taken the signal anew just then.
                128 + event.signal().number()
            }
        };
        // SAFETY: ends the process, by a call that is async-signal-safe.
        unsafe { libc::_exit(status) }
    }
}

impl Drop for Enforcer {
    fn drop(&mut self) {
        if self.subscription.is_some() {
            self.end();
        }
    }
}

impl fmt::Debug for Enforcer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { asked_ns, forgive, ending, limit } = &*self.state;
        f.debug_struct("Enforcer")
            .field("asked", &(asked_ns.load(Ordering::Relaxed) != SERVING))
            .field("limit", &limit.as_ref().map(|(_, limit)| limit))
            .field("forgive", forgive)
            .field("ending", ending)
            .finish()
    }
}

pub(super) fn now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid, and the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A timer of the kernel's that sends one signal to the process when it expires.
struct Timer {
    id: libc::timer_t,
    /// Whose it is: in a forked child the same number may be another timer.
    process: u32,
    /// What its signal carries.
    cookie: Box<u8>,
    deleted: AtomicBool,
}

// SAFETY: the id is a number for the kernel, and its calls may be made by any thread.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    fn new(signal: Signal) -> Result<Self> {
        let cookie = Box::new(0);
        // SAFETY: all zero bytes are a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal.number();
        event.sigev_value = libc::sigval { sival_ptr: ptr::from_ref(&*cookie).cast_mut().cast() };
        let mut id: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers are valid for the call.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut id) };
        if made != 0 {
            let source = io::Error::last_os_error();
            return Err(sigplane::Error::Os { call: "timer_create", source });
        }
        Ok(Self { id, process: std::process::id(), cookie, deleted: AtomicBool::new(false) })
    }

    /// Has it expire once, `after` from now; at once if that is no time.
    fn start(&self, after: Duration) {
        self.set(after.max(Duration::from_nanos(1)));
    }

    fn stop(&self) {
        self.set(Duration::ZERO);
    }

    /// Zero stops it (timer_settime(2)).
    fn set(&self, after: Duration) {
        if self.process != std::process::id() {
            return;
        }
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let at = libc::timespec {
            tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let times = libc::itimerspec { it_interval: zero, it_value: at };
        // SAFETY: the timer exists until `delete`, after which nobody calls this.
        unsafe { libc::timer_settime(self.id, 0, &raw const times, ptr::null_mut()) };
    }

    /// Whether `event` comes from this timer.
    fn sent(&self, event: &Event) -> bool {
        let cookie = ptr::from_ref(&*self.cookie).addr();
        event.timer().is_some() && event.value().is_some_and(|value| value.addr() == cookie)
    }
}

impl Timer {
    fn delete(&self) {
        if self.process == std::process::id() && !self.deleted.swap(true, Ordering::Relaxed) {
            // SAFETY: made by `new`, and deleted once.
            unsafe { libc::timer_delete(self.id) };
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.delete();
    }
}
