//! Handles to threads, and posting closures to them.
//!
//! A handle is a record and the generation it had: records are never freed, and a record that has
//! changed hands has another generation, so a handle needs no count of its own.

use super::record::{Job, Record, attention};
use crate::defer::Critical;
use crate::delivery::runner::drop_contained;
use crate::sync::Ordering;
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A thread that is attached to sigplane. Cheap to copy, usable from any thread, harmless after the
/// thread has ended.
///
/// # Examples
/// ```
/// use sigplane::thread;
/// use std::sync::mpsc;
/// let (send, receive) = mpsc::channel();
/// let worker = std::thread::spawn(move || {
///     send.send(thread::current()).unwrap();
///     thread::wait(None) // until something has been run here
/// });
/// let handle = receive.recv()?;
/// let answer = handle.post(|| 6 * 7).map_err(|_| "the worker has ended")?;
/// assert_eq!(answer.join().unwrap(), 42);
/// assert_eq!(worker.join().unwrap(), thread::Wake::Work);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct ThreadHandle {
    record: &'static Record,
    generation: u64,
}

impl ThreadHandle {
    pub(crate) fn of(record: &'static Record) -> Self {
        Self { record, generation: record.generation.load(Ordering::Acquire) }
    }

    /// The kernel's id of the thread; of no use once it has ended.
    ///
    /// # Async-signal safety
    /// Yes.
    pub fn tid(&self) -> i32 {
        self.record.tid.load(Ordering::Relaxed)
    }

    /// Whether the thread has not ended yet.
    ///
    /// # Async-signal safety
    /// Yes.
    pub fn is_alive(&self) -> bool {
        self.record.generation.load(Ordering::Acquire) == self.generation
    }

    /// Posts a closure: the thread runs it at its next safe point, after those posted before it. An
    /// alertable wait of it is woken.
    ///
    /// A closure that is posted to the calling thread itself runs at its next safe point too.
    ///
    /// # Errors
    /// [`PostError`] gives the closure back when the thread has ended. If it ends before its turn
    /// comes, [`Posted::join`] gives it back.
    ///
    /// # Async-signal safety
    /// No: it allocates.
    pub fn post<F, R>(&self, closure: F) -> Result<Posted<F, R>, PostError<F>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Waiting(closure)),
            changed: Condvar::new(),
        });
        let _critical = Critical::enter();
        let mut mailbox = self.record.mailbox.lock();
        if !mailbox.alive || !self.is_alive() {
            drop(mailbox);
            return match shared.take(State::Taken) {
                State::Waiting(closure) => Err(PostError(closure)),
                _ => unreachable!("nobody else has seen this closure"),
            };
        }
        mailbox.jobs.push_back(Box::new(Task(Arc::clone(&shared))));
        // With the mailbox held, the thread cannot end before it has been alerted.
        self.record.alert(attention::WORK);
        drop(mailbox);
        Ok(Posted(shared))
    }
}

impl fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadHandle")
            .field("tid", &self.tid())
            .field("alive", &self.is_alive())
            .finish()
    }
}

impl PartialEq for ThreadHandle {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::eq(self.record, other.record) && self.generation == other.generation
    }
}

impl Eq for ThreadHandle {}

enum State<F, R> {
    Waiting(F),
    Running,
    Done(std::thread::Result<R>),
    Ended(F),
    Taken,
}

struct Shared<F, R> {
    state: Mutex<State<F, R>>,
    changed: Condvar,
}

impl<F, R> Shared<F, R> {
    fn take(&self, next: State<F, R>) -> State<F, R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        core::mem::replace(&mut *state, next)
    }

    fn set(&self, next: State<F, R>) {
        drop_contained(self.take(next));
        self.changed.notify_all();
    }
}

struct Task<F, R>(Arc<Shared<F, R>>);

impl<F, R> Job for Task<F, R>
where
    F: FnOnce() -> R + Send,
    R: Send,
{
    fn run(self: Box<Self>) {
        if let State::Waiting(closure) = self.0.take(State::Running) {
            self.0.set(State::Done(catch_unwind(AssertUnwindSafe(closure))));
            // If nobody waits for it, the result is dropped here, and a panic of that stays here.
            drop_contained(self);
        }
    }

    fn give_back(self: Box<Self>) {
        if let State::Waiting(closure) = self.0.take(State::Running) {
            self.0.set(State::Ended(closure));
        }
    }
}

/// The result to come of a posted closure; see [`ThreadHandle::post`]. Dropping it leaves the closure
/// where it is: it still runs.
///
/// # Examples
/// ```
/// let posted = sigplane::thread::current().post(|| "done").ok().unwrap();
/// assert!(!posted.is_finished());
/// sigplane::thread::poll();
/// assert!(posted.is_finished());
/// assert_eq!(posted.join().unwrap(), "done");
/// ```
pub struct Posted<F, R>(Arc<Shared<F, R>>);

impl<F, R> Posted<F, R> {
    /// Whether the closure has run, or never will because its thread has ended.
    pub fn is_finished(&self) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        !matches!(*state, State::Waiting(_) | State::Running)
    }

    /// Waits until the closure has run and gives its result. The wait itself is no safe point: two
    /// threads that post to each other must not both join.
    ///
    /// # Errors
    /// [`JoinError::Ended`] gives the closure back when the thread ended before its turn came;
    /// [`JoinError::Panicked`] gives what it panicked with.
    ///
    /// # Async-signal safety
    /// No.
    pub fn join(self) -> Result<R, JoinError<F>> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        while matches!(*state, State::Waiting(_) | State::Running) {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match core::mem::replace(&mut *state, State::Taken) {
            State::Done(Ok(value)) => Ok(value),
            State::Done(Err(payload)) => Err(JoinError::Panicked(payload)),
            State::Ended(closure) => Err(JoinError::Ended(closure)),
            _ => unreachable!("a posted closure is joined once"),
        }
    }
}

impl<F, R> fmt::Debug for Posted<F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posted").field("finished", &self.is_finished()).finish()
    }
}

/// The thread has ended; here is the closure that was to be posted to it.
///
/// # Examples
/// ```
/// let ended = std::thread::spawn(sigplane::thread::current).join().unwrap();
/// let closure = ended.post(|| 7).unwrap_err().0;
/// assert_eq!(closure(), 7);
/// ```
pub struct PostError<F>(pub F);

/// Why [`Posted::join`] has no result.
///
/// # Examples
/// ```
/// use sigplane::thread::{self, JoinError};
/// let posted = thread::current().post(|| panic!("no")).ok().unwrap();
/// thread::poll();
/// assert!(matches!(posted.join(), Err(JoinError::Panicked(_))));
/// ```
pub enum JoinError<F> {
    /// The thread ended before the closure's turn came; here it is.
    Ended(F),
    /// The closure panicked with this.
    Panicked(Box<dyn Any + Send>),
}

macro_rules! describe {
    ($type:ident, $text:expr) => {
        impl<F> fmt::Debug for $type<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl<F> fmt::Display for $type<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text: fn(&Self) -> &'static str = $text;
                f.write_str(text(self))
            }
        }
        impl<F> std::error::Error for $type<F> {}
    };
}

describe!(PostError, |_| "the thread has ended; run the closure here or post it to another thread");
describe!(JoinError, |error| match error {
    JoinError::Ended(_) => "the thread ended before it ran the closure, which is given back",
    JoinError::Panicked(_) => "the posted closure panicked",
});
