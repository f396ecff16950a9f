//! Processes: what `fork`, `vfork` and `exec` mean for the engine.
//!
//! `fork`, as a trio (pthread_atfork(3)):
//! * *prepare*: every signal is blocked on the forking thread and the table's lock taken, so the copy
//!   is of a table at rest and no handler runs in the child before it has been put in order. Nothing
//!   is waited for: the fork may happen inside a handler that a writer waits for.
//! * *parent*: lock and mask back.
//! * *child*: other threads' records, locks, reader counts and holds are forgotten; what was queued or
//!   deferred is the parent's and is dropped here; eventfds are replaced under the same numbers; the
//!   dispatcher is started again if anything needs it; then lock and mask back, and the bell is rung to
//!   lift what a full queue of the parent held on this thread.
//!
//! A `vfork` (or `CLONE_VM`) child shares the memory but not the dispositions, and runs no atfork
//! handler. It is told by its process id. It gets [`Error::VforkChild`](crate::Error::VforkChild) from
//! calls that change the table; its own raw `sigaction` does not touch the parent's.
//!
//! `exec` resets caught signals to the default and keeps ignored ones ignored (execve(2)). A signal
//! that was ignored when sigplane took it is caught now, so the new program would see the default
//! instead: [`restore_dispositions`] puts back what was there.
//!
//! # Safety
//! The child's part runs with one thread and every asynchronous signal blocked.
#![allow(unsafe_code)]

use crate::engine;
use crate::event::Event;
use crate::frame::Frame;
use crate::sync::Ordering;
use crate::sys;
use crate::table::counters::SIGNALS;
use crate::table::default_action;
use crate::thread::{Record, local};
use core::cell::Cell;

thread_local! {
    /// The forking thread's mask, between prepare and parent or child.
    static MASK: Cell<u64> = const { Cell::new(0) };
    /// Whether no subscriber's code was running on the dispatcher.
    static AT_REST: Cell<bool> = const { Cell::new(false) };
    /// Its id in the parent.
    static FORKING: Cell<i32> = const { Cell::new(0) };
}

/// Hooks into `fork` and makes the thread key, when the engine starts.
pub(crate) fn register() {
    crate::thread::make_key();
    // SAFETY: three functions that live as long as this object; glibc takes them back with it.
    let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    assert!(failed == 0, "pthread_atfork failed: out of memory");
}

/// Takes every lock that protects more than a word, in the one order in which they nest anywhere, so
/// that the copy is of consistent data.
extern "C" fn prepare() {
    let mask = sys::block(sys::ASYNC_BITS);
    let engine = engine::get();
    // First the dispatcher's code at rest: it may be about to take the writer's lock.
    AT_REST.set(engine.dispatcher.rest_for_fork());
    core::mem::forget(engine.writer.lock());
    engine.dispatcher.lock_for_fork();
    core::mem::forget(sys::altstack::pool().lock());
    MASK.set(mask);
    FORKING.set(sys::gettid());
}

/// # Safety
/// The calling thread has run `prepare`, in this process or before it was copied.
unsafe fn unlock(engine: &engine::Engine) {
    // SAFETY: the caller's promise.
    unsafe { sys::altstack::pool().unlock_forgotten() };
    // SAFETY: the caller's promise.
    unsafe { engine.dispatcher.unlock_after_fork(AT_REST.get()) };
    // SAFETY: the caller's promise.
    unsafe { engine.writer.unlock_forgotten() };
}

extern "C" fn parent() {
    // SAFETY: fork(2) runs this after `prepare`, on the same thread.
    unsafe { unlock(engine::get()) };
    sys::set_mask(MASK.get());
}

extern "C" fn child() {
    let engine = engine::get();
    engine.set_pid(sys::getpid());
    sys::arch::set_borrowed(0);
    if engine.expedited() {
        // The registration is the address space's, which is a copy: asking again costs little.
        engine.set_expedited(sys::membarrier_register());
    }
    for number in 1..SIGNALS as i32 {
        // SAFETY: the writer's lock is still held.
        let Some(chain) = (unsafe { engine.slot(number).chain() }) else { continue };
        chain.all().iter().filter_map(|entry| entry.queue()).for_each(|queue| {
            // SAFETY: this is the only thread.
            unsafe { queue.reset_after_fork() }
        });
    }
    // SAFETY: the copy of the thread that ran `prepare` runs this.
    unsafe { unlock(engine) };
    // SAFETY: this is the only thread, and everything asynchronous is blocked.
    let deferred = unsafe { reset(engine) };
    if engine.holds.carry_over(FORKING.get(), sys::gettid()) {
        crate::delivery::doorbell::ring(sys::gettid());
    }
    engine.dispatcher.restart_after_fork();
    sys::set_mask(MASK.get() & !deferred);
}

/// # Safety
/// As for the child's part.
unsafe fn reset(engine: &engine::Engine) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { engine.grace.reset_after_fork() };
    // SAFETY: the caller's promise.
    let deferred = unsafe { engine.threads.reset_after_fork() };
    // SAFETY: the caller's promise.
    unsafe { engine.dispatcher.reset_after_fork() };
    engine.strangers.reset_after_fork();
    engine.spill.reset_after_fork();
    if let Some(record) = Record::current() {
        local::reset_after_fork(record);
    }
    deferred
}

/// Gives the kernel back, in the calling process, every action that was there before sigplane: for use
/// between `fork` (or `vfork`) and `exec`, so that the new program sees what it would have seen without
/// sigplane. The table is not changed; after it, no handler of sigplane runs in this process.
///
/// In a process that goes on to use sigplane, do not call it.
///
/// # Async-signal safety
/// Yes, which is what [`CommandExt::pre_exec`](std::os::unix::process::CommandExt::pre_exec) asks for.
///
/// # References
/// execve(2), "Effect on process attributes"; signal(7).
///
/// # Examples
/// ```
/// use std::os::unix::process::CommandExt;
/// use std::process::Command;
/// let _sub = sigplane::on(sigplane::Signal::HUP, |_| ())?;
/// let mut command = Command::new("true");
/// // SAFETY: `restore_dispositions` may be called between fork and exec.
/// unsafe {
///     command.pre_exec(|| {
///         sigplane::process::restore_dispositions();
///         Ok(())
///     })
/// };
/// assert!(command.status()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn restore_dispositions() {
    for number in 1..SIGNALS as i32 {
        if sys::sigaction(number, None).is_ok_and(|action| action.is_ours()) {
            let _set = sys::sigaction(number, Some(&crate::dispatch::original_action(number)));
        }
    }
    // What a full queue or a deferral blocks on this thread would stay blocked in the new program.
    if let Some(record) = Record::current() {
        let tid = record.tid.load(Ordering::Relaxed);
        let held = engine::get().holds.held_on(tid) | record.blocked.load(Ordering::Relaxed);
        if held != 0 {
            sys::unblock(held);
        }
    }
}

/// Does now what the kernel would have done with `event`'s signal if nobody had taken it: ends the
/// process by that signal, with the event's own information in the core dump if there is one; stops
/// the process, and returns when it goes on; or does nothing, where nothing is the default. For a
/// program that takes a signal, puts its house in order, and then wants it to have its usual effect and
/// the parent to see the usual status.
///
/// Nobody else is asked: other subscribers and a handler behind sigplane have seen the event itself. A
/// process 1, which its own signals cannot end, ends with status 128 + n. It returns from a deadly signal
/// only if another thread subscribes to that signal at the same moment. A process whose group is
/// orphaned does not stop (setpgid(2)).
///
/// # Async-signal safety
/// Yes.
///
/// # References
/// signal(7), "Signal dispositions".
///
/// # Examples
/// ```no_run
/// use sigplane::{Signal, process};
/// let stop = sigplane::subscribe(Signal::TERM).inbox()?;
/// let event = stop.recv();
/// // … write the journal …
/// process::take_default(&event); // the parent sees a process that SIGTERM has ended
/// # Ok::<(), sigplane::Error>(())
/// ```
pub fn take_default(event: &Event) {
    let mask = sys::block(sys::ASYNC_BITS);
    let mut frame = Frame::virtual_with(mask);
    default_action::perform(event.signal(), event.raw(), &mut frame, false);
    sys::set_mask(mask);
}
