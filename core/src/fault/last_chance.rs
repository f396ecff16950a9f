//! Last-chance hooks: what runs when nobody has taken a signal that ends the process.
//!
//! **`run` runs inside signal handlers**, and so do the hooks.
//!
//! One thread at a time: when several threads crash, the first runs the hooks and the others wait, for a
//! limited time, so that they do not end the process in the middle of a report. A signal of the thread
//! that runs the hooks itself (`abort` in a hook) does not run them again, nor does one of a child that a
//! hook has forked.
//!
//! A handler behind us that gives up has put the default into the kernel. While hooks run, sigplane stands
//! there again: a fault of a hook, or of another thread, would end the process at once otherwise.
//!
//! # Safety
//! See [`last_chance`].
#![allow(unsafe_code)]

use super::error::Fault;
use super::words::Words;
use crate::dispatch::{self, Arrival};
use crate::engine;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::event::stamp::Stamp;
use crate::frame::Frame;
use crate::set::SignalSet;
use crate::signal::{DefaultAction, Signal};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::{self, KernelAction};
use crate::table;
use core::fmt;
use core::time::Duration;
use std::sync::Arc;

/// How long a thread that crashes waits for another one's hooks.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Hook {
    set: SignalSet,
    priority: i32,
    armed: AtomicBool,
    call: Box<dyn Fn(&Fatal<'_>) + Send + Sync>,
}

/// Highest priority first; within one, in the order of registration.
pub(crate) struct Hooks(Vec<Arc<Hook>>);

impl Hooks {
    pub(super) fn len(&self) -> usize {
        self.0.iter().filter(|hook| hook.armed.load(Ordering::Relaxed)).count()
    }
}

/// What ends the process, as a hook sees it.
///
/// # Async-signal safety
/// Every method, inside the hook it was given to.
///
/// # Examples
/// See [`last_chance`].
pub struct Fatal<'a> {
    info: &'a libc::siginfo_t,
    context: Option<&'a libc::ucontext_t>,
    words: Option<Words>,
    stamp: Stamp,
}

impl Fatal<'_> {
    /// The signal that ends the process.
    pub fn signal(&self) -> Signal {
        self.event().signal()
    }

    /// It with everything that came along.
    pub fn event(&self) -> Event {
        Event::from_raw(self.stamp.event(self.info))
    }

    /// The fault; `None` for a signal that somebody sent, `abort` included.
    pub fn fault(&self) -> Option<Fault> {
        self.words.map(Fault::new)
    }

    /// What the kernel said, in place.
    pub fn info(&self) -> &libc::siginfo_t {
        self.info
    }

    /// The registers of the thread at the fault, or where the signal interrupted it. `None` when the
    /// signal had been deferred.
    pub fn machine_context(&self) -> Option<&libc::ucontext_t> {
        self.context
    }

    /// The kernel's id of the thread.
    pub fn thread(&self) -> i32 {
        self.stamp.tid
    }
}

impl fmt::Debug for Fatal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fatal").field("event", &self.event()).field("fault", &self.fault()).finish()
    }
}

/// Has `hook` run when one of the signals is about to end the process: when no subscriber has handled it,
/// nor the handler that was there before sigplane. After the hooks, the default action is taken: that
/// of the fault itself, whose instruction is executed again, or of the signal that was sent. So the parent
/// sees the true status, and the core dump, if there is one, shows the crash and not the hook.
///
/// Those of higher priority run first, and within one priority those that were registered first. A hook
/// that faults itself ends there, and the next one runs. Another thread that crashes meanwhile waits for the
/// hooks, for at most 30 s.
///
/// A handler that was there before and gives the signal its default back, as that of Rust's runtime
/// does, has not handled it. One that ends the process by itself, as Rust's does with `abort` on a stack
/// overflow, does so before the hooks of the fault; those of SIGABRT then run. So include SIGABRT.
///
/// A hook that waits for another thread must not wait for one that removes a subscription, a region or a hook,
/// or unloads an object with fixups: that one waits for the hook. Hooks do not run when a handler has exhausted
/// the alternate stack.
///
/// The signals become sigplane's for as long as the process lives, and those of faults with them
/// ([`enable`](super::enable)): a hook may use [`try_read`](super::try_read) and its like.
///
/// # Errors
/// [`Error::EmptySet`], [`Error::Uncatchable`], [`Error::InHandler`], [`Error::VforkChild`],
/// [`Error::Os`].
///
/// # Safety
/// The hook runs in a signal handler, at any instruction of any thread, in a process of which nothing may
/// be relied on any more: it must do only what is async-signal-safe, and where it may fault it holds
/// nothing that must be given back. It must not unwind. It may end the process by itself.
///
/// # Async-signal safety
/// The call itself: no.
///
/// # Examples
/// ```
/// use sigplane::{Signal, SignalSet, fault};
/// let deadly = SignalSet::FAULTS | Signal::ABRT;
/// // SAFETY: the hook makes one system call.
/// let hook = unsafe {
///     fault::last_chance(deadly, 0, |fatal| {
///         let text = fatal.signal().name(); // no formatting, no allocation
///         libc::write(2, text.as_ptr().cast(), text.len());
///     })
/// }?;
/// # drop(hook);
/// # Ok::<(), sigplane::Error>(())
/// ```
pub unsafe fn last_chance(
    set: impl Into<SignalSet>,
    priority: i32,
    hook: impl Fn(&Fatal<'_>) + Send + Sync + 'static,
) -> Result<LastChance> {
    let set = set.into();
    if set.is_empty() {
        return Err(Error::EmptySet);
    }
    if let Some(signal) = set.iter().find(|s| matches!(*s, Signal::KILL | Signal::STOP)) {
        return Err(Error::Uncatchable(signal));
    }
    // A fault of the hook itself has to come to us, too.
    super::enable()?;
    table::pin(set.bits())?;
    let hook = Arc::new(Hook { set, priority, armed: AtomicBool::new(true), call: Box::new(hook) });
    edit(|hooks| {
        let at = hooks.partition_point(|other| other.priority >= priority);
        hooks.insert(at, Arc::clone(&hook));
    })?;
    Ok(LastChance { hook: Some(hook) })
}

fn edit(change: impl FnOnce(&mut Vec<Arc<Hook>>)) -> Result<()> {
    table::edit(|engine, retired| {
        // SAFETY: the table's lock is held.
        let current = unsafe { engine.faults.hooks.get() };
        let mut hooks = current.map_or_else(Vec::new, |hooks| hooks.0.clone());
        hooks.retain(|hook| hook.armed.load(Ordering::Relaxed));
        change(&mut hooks);
        retired.extend(engine.faults.hooks.publish(Hooks(hooks)));
        Ok(())
    })
}

/// Keeps a last-chance hook. Dropping it removes the hook, quiescently.
///
/// # Examples
/// See [`last_chance`].
#[must_use = "dropping it removes the hook; `detach` keeps it for ever"]
pub struct LastChance {
    hook: Option<Arc<Hook>>,
}

impl LastChance {
    /// Keeps it for as long as the process lives.
    pub fn detach(mut self) {
        core::mem::forget(self.hook.take());
    }
}

impl Drop for LastChance {
    fn drop(&mut self) {
        let Some(hook) = self.hook.take() else { return };
        hook.armed.store(false, Ordering::Relaxed);
        if edit(|_| ()).is_ok() {
            table::quiesce();
        } else {
            // In a handler, or a vfork child: nothing may be freed here. It is disarmed, and stays.
            core::mem::forget(hook);
        }
    }
}

impl fmt::Debug for LastChance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.hook.as_ref().map(|hook| hook.set);
        f.debug_struct("LastChance").field("set", &set).finish()
    }
}

/// Whether hooks would run for a signal.
pub(crate) fn concerns(record: Option<&crate::thread::Record>, number: i32) -> bool {
    if engine::get().faults.hooks.is_none() {
        return false;
    }
    let reading = dispatch::enter(record);
    // SAFETY: `enter` made this a reader until `exit`.
    let hooks = unsafe { engine::get().faults.hooks.get() };
    let bit = sys::bit(number);
    let any = hooks.is_some_and(|hooks| hooks.0.iter().any(|hook| hook.set.bits() & bit != 0));
    dispatch::exit(record, reading);
    any
}

/// Step 8: runs the hooks, if the default action of the signal ends the process.
#[inline(always)]
pub(crate) fn run(arrival: &Arrival<'_>, frame: &mut Frame, signal: Signal) {
    use DefaultAction::{Core, Terminate};
    if concerns(arrival.record, arrival.number)
        && matches!(signal.default_action(), Core | Terminate)
    {
        run_hooks(arrival, frame);
    }
}

/// Kept out of the way of signals without hooks, which may come on a small alternate stack.
#[cold]
#[inline(never)]
fn run_hooks(arrival: &Arrival<'_>, frame: &mut Frame) {
    let number = arrival.number;
    let is_default = |action: KernelAction| action.handler == libc::SIG_DFL;
    let given_up = arrival.fault && sys::sigaction(number, None).is_ok_and(is_default);
    if given_up && matches!(number, libc::SIGTRAP | libc::SIGSYS) {
        return; // These do not repeat: the process goes on.
    }
    if given_up {
        let ours = KernelAction::ours(&dispatch::original_action(number), number, true);
        let _set = sys::sigaction(number, Some(&ours));
    }
    if is_first(arrival) {
        // A handler behind us has its signal blocked, and a blocked fault would be the end.
        let mask = sys::unblock(sys::FAULT_BITS);
        run_each(arrival, frame);
        sys::set_mask(mask);
    }
    if given_up {
        let _set = sys::sigaction(number, Some(&KernelAction::DEFAULT));
    }
}

/// Whether the calling thread is the one to run the hooks. If another does, waits for it.
fn is_first(arrival: &Arrival<'_>) -> bool {
    let last = &engine::get().faults.last;
    let me = dispatch::tid(arrival.record) as u32;
    match last.compare_exchange(0, me, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => true,
        Err(other) if other == me => false,
        Err(other) => {
            // If it is gone, or was never here, it ran hooks in the process that this one was forked from.
            // What a hook has forked has had them.
            !waited_for(other)
                && super::guarded::nesting(arrival.record) == 0
                && last.compare_exchange(other, me, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        }
    }
}

/// Waits while thread `other` runs hooks, for as long as patience lasts. False when there is no such thread.
fn waited_for(other: u32) -> bool {
    let end = sys::now().saturating_add(PATIENCE);
    while sys::is_own_thread(other as i32) {
        let now = sys::now();
        if now >= end {
            return true;
        }
        // Nobody wakes it: it is looked whether the thread is still there.
        let soon = now.saturating_add(Duration::from_millis(50));
        sys::futex_wait(&engine::get().faults.last, other, Some(soon.min(end)));
    }
    false
}

/// Before a fault goes to handlers that may give up: if another thread runs hooks, waits for it.
#[inline(always)]
pub(super) fn wait(arrival: &Arrival<'_>) {
    let other = engine::get().faults.last.load(Ordering::Relaxed);
    if other != 0 {
        wait_for(other, arrival);
    }
}

#[cold]
#[inline(never)]
fn wait_for(other: u32, arrival: &Arrival<'_>) {
    if other != dispatch::tid(arrival.record) as u32 && concerns(arrival.record, arrival.number) {
        let _is_there = waited_for(other);
    }
}

fn run_each(arrival: &Arrival<'_>, frame: &mut Frame) {
    let stamp = arrival.stamped.unwrap_or_else(|| Stamp::now(dispatch::tid(arrival.record)));
    let context = frame.context().map(|context| &*context);
    let words = context.filter(|_| arrival.fault).map(|context| Words::of(arrival.info, context));
    let fatal = Fatal { info: arrival.info, context, words, stamp };
    let reading = dispatch::enter(arrival.record);
    // SAFETY: `enter` made this a reader until `exit`.
    if let Some(hooks) = unsafe { engine::get().faults.hooks.get() } {
        let concerned = |hook: &&Arc<Hook>| {
            hook.armed.load(Ordering::Relaxed) && hook.set.bits() & sys::bit(arrival.number) != 0
        };
        for hook in hooks.0.iter().filter(concerned) {
            let _faulted = super::contain(arrival.record, || (hook.call)(&fatal));
        }
    }
    dispatch::exit(arrival.record, reading);
}
