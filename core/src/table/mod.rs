//! The process table: one slot per signal, changed by writers, read by handlers.
//!
//! * `slot` — a signal's row. `chain` — its immutable list of entries. `published` — the pointer to one.
//! * `grace` — how a replaced chain's readers are waited for. `counters` — what was delivered.
//! * here — a writer's way: lock, make a new chain, publish, retire the old one.
//! * `install` — the kernel's action: taking the signal, giving it back exactly.
//! * `disposition` — the action behind the entries, as one word. `interned` — what its numbers stand for.
//! * `graveyard` — subscriptions dropped inside a handler, ended by the next writer.
//! * `default_action` — what the kernel would have done.
//!
//! A writer holds the lock in a deferral, so no handler of sigplane runs on top of it, and never waits
//! for readers while it holds it: `fork` takes the same lock, possibly inside a handler.

pub(crate) mod chain;
pub(crate) mod counters;
pub(crate) mod default_action;
pub(crate) mod disposition;
pub(crate) mod grace;
mod graveyard;
mod install;
pub(crate) mod interned;
pub(crate) mod published;
pub(crate) mod slot;

pub(crate) use graveyard::Graveyard;
pub use install::Removal;

use crate::defer::Critical;
use crate::delivery::entry::Entry;
use crate::engine::{self, Engine};
use crate::error::{Error, Result};
use crate::set::SignalSet;
use crate::signal::Signal;
use crate::sync::Ordering;
use crate::sys;
use crate::thread::Record;
use published::Retired;
use std::sync::Arc;

/// What the writer's lock protects besides the slots.
pub(crate) struct Writer {
    /// Replaced chains that no grace period has passed for yet.
    retired: Vec<Retired>,
    /// The signals whose kernel action is ours.
    pub(crate) installed: u64,
    /// Signals that are ours for good: the doorbell's, and those of faults once they are enabled.
    pinned: u64,
    /// Signals that somebody took from us behind our back, until we take them again.
    pub(crate) usurped: u64,
    /// Those that somebody has ever taken: there may be handlers that hold our stub as what they found.
    pub(crate) exposed: u64,
}

/// Replaced chains kept until a removal waits anyway; more than this many and a subscription waits.
const RETIRED_LIMIT: usize = 64;

impl Writer {
    pub(crate) const fn new() -> Self {
        Self { retired: Vec::new(), installed: 0, pinned: 0, usurped: 0, exposed: 0 }
    }
}

/// Adds an entry to the chains of its signals, and takes those signals that are not ours yet.
pub(crate) fn add(entry: &Arc<Entry>) -> Result<()> {
    let engine = engine::started();
    reap();
    pin_doorbell()?;
    if entry.queue().is_some() {
        doorbell_is_ours(engine)?;
    }
    // The table's own count, for the chains; see `Link`.
    entry.linked.store(true, Ordering::Relaxed);
    core::mem::forget(Arc::clone(entry));
    let added = {
        let _critical = Critical::enter();
        let mut writer = engine.writer.lock();
        let take = |signal| install::take(engine, &mut writer, signal, Some(entry));
        let added = entry.set.iter().try_for_each(take);
        added.map(|()| writer.retired.len() > RETIRED_LIMIT)
    };
    match added {
        Ok(false) => {}
        Ok(true) => {
            synchronize(engine);
        }
        Err(error) => {
            entry.disarm();
            let _removal = remove_now(engine, entry);
            return Err(error);
        }
    }
    Ok(())
}

/// Takes the doorbell's signal again if somebody has taken it since: without it, nothing that is held
/// would ever be released.
fn doorbell_is_ours(engine: &Engine) -> Result<()> {
    let number = Signal::URG.number();
    if sys::sigaction(number, None).is_ok_and(|action| !action.is_ours()) {
        let _critical = Critical::enter();
        install::take(engine, &mut engine.writer.lock(), Signal::URG, None)?;
    }
    Ok(())
}

/// Makes the doorbell's signal ours for as long as the process lives.
pub(crate) fn pin_doorbell() -> Result<()> {
    use crate::sync::AtomicBool;
    static PINNED: AtomicBool = AtomicBool::new(false);
    if PINNED.load(Ordering::Acquire) {
        return Ok(());
    }
    let engine = engine::started();
    let _critical = Critical::enter();
    let mut writer = engine.writer.lock();
    install::take(engine, &mut writer, Signal::URG, None)?;
    writer.pinned |= sys::bit(Signal::URG.number());
    PINNED.store(true, Ordering::Release);
    Ok(())
}

fn may_write(engine: &Engine) -> Result<()> {
    if engine.is_borrowed() {
        return Err(Error::VforkChild);
    }
    if Record::in_handler() { Err(Error::InHandler) } else { Ok(()) }
}

/// Makes signals ours for as long as the process lives, without an entry; those that somebody has taken
/// since, again.
pub(crate) fn pin(signals: u64) -> Result<()> {
    let engine = engine::started();
    may_write(engine)?;
    let _critical = Critical::enter();
    let mut writer = engine.writer.lock();
    for signal in SignalSet::from_bits(signals).iter() {
        install::take(engine, &mut writer, signal, None)?;
        writer.pinned |= sys::bit(signal.number());
    }
    Ok(())
}

/// Changes something that handlers read and that is not a chain: `change` publishes it and gives what it
/// replaced to be retired.
pub(crate) fn edit<R>(
    change: impl FnOnce(&'static Engine, &mut Vec<Retired>) -> Result<R>,
) -> Result<R> {
    let engine = engine::started();
    may_write(engine)?;
    let (result, full) = {
        let _critical = Critical::enter();
        let mut writer = engine.writer.lock();
        let result = change(engine, &mut writer.retired);
        (result, writer.retired.len() > RETIRED_LIMIT)
    };
    if full {
        synchronize(engine);
    }
    result
}

/// Returns when no handler uses anything that has been replaced before. Ordinary code only.
pub(crate) fn quiesce() {
    synchronize(engine::get());
}

/// Ends a subscription: takes the entry out of the chains, gives back signals that nobody wants any
/// more, and returns when no handler runs the entry's code and none will.
///
/// Inside an immediate handler nothing may be locked or freed: there the entry is disarmed and left to
/// the next writer.
pub(crate) fn remove(entry: Arc<Entry>) -> Removal {
    entry.disarm();
    let engine = engine::started();
    if engine.is_borrowed() {
        // A vfork child: its parent's table is not its own to change.
        core::mem::forget(entry);
        return Removal::Deferred;
    }
    if Record::in_handler() {
        engine.graveyard.bury(entry);
        return Removal::Deferred;
    }
    reap();
    remove_now(engine, &entry)
}

fn remove_now(engine: &Engine, entry: &Arc<Entry>) -> Removal {
    let mut removal = Removal::Restored;
    {
        let _critical = Critical::enter();
        let mut writer = engine.writer.lock();
        for signal in entry.set.iter() {
            removal = removal.and(install::remove(engine, &mut writer, signal, entry));
        }
    }
    if synchronize(engine) {
        unlink(entry);
    }
    if let Some(runner) = entry.runner() {
        engine.dispatcher.forget(entry);
        runner.end();
    }
    if let Some(queue) = entry.queue() {
        queue.discard();
    }
    removal
}

/// Gives up the table's count of an entry that no chain names and no reader can reach any more.
#[allow(unsafe_code)]
fn unlink(entry: &Arc<Entry>) {
    if entry.linked.swap(false, Ordering::Relaxed) {
        // SAFETY: `add` has forgotten this count, and `linked` says that it has not been given up yet.
        unsafe { Arc::decrement_strong_count(Arc::as_ptr(entry)) };
    }
}

/// Ends the subscriptions that were dropped inside a handler since the last time.
pub(crate) fn reap() {
    let engine = engine::get();
    while let Some(entry) = engine.graveyard.exhume() {
        let _removal = remove_now(engine, &entry);
    }
}

/// Returns when every handler that was running has let go of what it read, and frees the chains that
/// had been replaced before. False when that is not certain: then nothing that they name may be freed.
fn synchronize(engine: &Engine) -> bool {
    let retired = {
        let _critical = Critical::enter();
        core::mem::take(&mut engine.writer.lock().retired)
    };
    let mut sure = true;
    {
        // A handler that left from here by siglongjmp would leave the lock behind.
        let _critical = Critical::enter();
        let _one_at_a_time = engine.grace.lock();
        let drained = |phase| {
            engine.strangers.is_drained(phase)
                && engine.threads.iter().all(|record| record.readers.is_drained(phase))
        };
        engine.phase.synchronize(|| sure = barrier(engine), drained, pause());
    }
    if !sure {
        // Readers of a moment ago may have used no fence, and nothing made them execute one.
        core::mem::forget(retired);
        return false;
    }
    drop(retired);
    true
}

/// The writer's side of the barrier; see `grace`. False when the kernel no longer makes it for us (a
/// seccomp filter may come at any time): readers use fences from now on, and to those that have not yet
/// the writer gives time instead, far more than a store buffer needs.
fn barrier(engine: &Engine) -> bool {
    if !engine.expedited() {
        crate::sync::fence(Ordering::SeqCst);
        return true;
    }
    if sys::membarrier() {
        return true;
    }
    engine.set_expedited(false);
    sys::pause(core::time::Duration::from_millis(20));
    false
}

/// How a writer waits for readers: they are short, so it spins first; it gives them its processor; and
/// it sleeps, because a real-time thread that only yields lets nobody of lower priority run.
fn pause() -> impl FnMut() {
    let mut rounds = 0u32;
    move || {
        rounds = rounds.saturating_add(1);
        match rounds {
            0..64 => core::hint::spin_loop(),
            64..1000 => sys::yield_now(),
            _ => sys::pause(core::time::Duration::from_micros(50)),
        }
    }
}
