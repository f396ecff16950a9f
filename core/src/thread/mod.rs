//! Threads: what sigplane knows of them, their safe points, and waits that signals interrupt.
//!
//! A thread is *attached* by the first call that needs its record ([`current`], [`defer`](fn@crate::defer),
//! subscribing, waiting) and detached when it ends. Signals on threads that were never attached are
//! delivered all the same.
//!
//! * `record` — the per-thread state. `registry` — all records, attaching and detaching.
//! * `estate` — what a thread that ends hands over.
//! * `altstack` — the alternate stack of an attached thread.
//! * `handle` — [`ThreadHandle`] and [`post`](ThreadHandle::post). `local` — thread-context closures.
//! * `spill` — places for deferred events beyond a record's own.
//! * `safe_point` — where a thread runs what waits for it. `wait` — alertable waits.

pub(crate) mod altstack;
mod estate;
mod handle;
pub(crate) mod local;
pub(crate) mod record;
mod registry;
pub(crate) mod safe_point;
pub(crate) mod spill;
mod wait;

use crate::sys;

pub use handle::{JoinError, PostError, Posted, ThreadHandle};
pub use wait::{FdWake, Interest, Wake, alertable_syscall, wait, wait_fd};

pub(crate) use record::Record;
pub(crate) use registry::{Threads, attached, make_key};
pub(crate) use wait::forget_wait;

/// The calling thread's handle, for others to post closures to it. Attaches the thread.
///
/// # Async-signal safety
/// No: attaching allocates.
///
/// # Examples
/// ```
/// let me = sigplane::thread::current();
/// assert!(me.is_alive());
/// ```
pub fn current() -> ThreadHandle {
    ThreadHandle::of(attached())
}

/// A safe point: runs the thread-context handlers and posted closures that wait for this thread, and
/// returns how many. Inside a deferral, and inside such a handler or closure, it runs nothing.
///
/// With nothing to do it costs two loads.
///
/// # Async-signal safety
/// No: it runs ordinary code.
///
/// # Examples
/// ```
/// use std::{cell::Cell, rc::Rc};
/// use sigplane::{Signal, send, thread};
/// let seen = Rc::new(Cell::new(0)); // not Send: the handler never leaves this thread
/// let _sub = sigplane::subscribe(Signal::USR1).thread({
///     let seen = Rc::clone(&seen);
///     move |_| seen.set(seen.get() + 1)
/// })?;
/// send::raise(Signal::USR1)?;
/// assert_eq!(seen.get(), 0);
/// assert_eq!(thread::poll(), 1);
/// assert_eq!(seen.get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[inline]
pub fn poll() -> usize {
    match Record::current() {
        Some(record) if record.attention.load(crate::sync::Ordering::Relaxed) != 0 => {
            safe_point::reach(record)
        }
        _ => 0,
    }
}

/// Keeps signals that are sent to the process off this thread, from now on and for the threads that it
/// starts from then on: it blocks everything but the synchronous faults, what libc needs, and sigplane's doorbell.
/// Another thread, the main one by preference, receives them instead.
///
/// For worker threads of a runtime. The kernel gives a process's signal to any thread that does not
/// block it, and of two threads that receive at the same time either may be first to queue its event.
/// Where the order of a burst matters, let one thread receive. Signals sent to *this* thread
/// (`tgkill`, `pthread_kill`) wait too, and a handler for them never runs.
///
/// A program that this thread starts inherits the mask (execve(2)), also through
/// [`std::process::Command`]; call [`unshield`] between fork and exec.
///
/// # Async-signal safety
/// No.
///
/// # References
/// signal(7), "Signal mask and pending signals"; kernel/signal.c, `complete_signal`.
///
/// # Examples
/// ```
/// std::thread::spawn(|| {
///     sigplane::thread::shield();
///     // … work that signals to the process do not interrupt …
/// })
/// .join()
/// .unwrap();
/// ```
pub fn shield() {
    sys::block(SHIELDED);
}

/// Undoes [`shield`], here or in the thread that started this one: unblocks what that blocks, whoever blocked
/// it.
///
/// # Async-signal safety
/// Yes.
///
/// # Examples
/// ```
/// use std::os::unix::process::CommandExt;
/// use std::process::Command;
/// sigplane::thread::shielded(|| {
///     let mut command = Command::new("true");
///     // SAFETY: `unshield` may be called between fork and exec.
///     unsafe {
///         command.pre_exec(|| {
///             sigplane::thread::unshield();
///             Ok(())
///         })
///     };
///     assert!(command.status()?.success()); // SIGTERM would reach it
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn unshield() {
    sys::unblock(SHIELDED);
}

/// What [`shield`] blocks.
const SHIELDED: u64 = sys::ASYNC_BITS & !sys::bit(crate::delivery::doorbell::SIGNAL);

/// Calls `call` with this thread [shielded](shield), and puts its mask back: threads that are started
/// in it never receive a signal that is sent to the process, not even before their own first instruction.
/// A runtime that is built in it has shielded workers.
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// let worker = sigplane::thread::shielded(|| std::thread::spawn(|| 7));
/// assert_eq!(worker.join().unwrap(), 7);
/// ```
pub fn shielded<R>(call: impl FnOnce() -> R) -> R {
    struct Mask(u64);
    impl Drop for Mask {
        fn drop(&mut self) {
            // Only what was blocked here: a hold of the thread's may have come or gone meanwhile.
            sys::unblock(SHIELDED & !self.0);
        }
    }
    let _mask = Mask(sys::block(SHIELDED));
    call()
}
