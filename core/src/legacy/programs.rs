//! What a process under the shim begins with, and what the programs that it starts find.
//!
//! **Runs inside signal handlers**, all but [`start`].

use super::FLAGS;
use super::owned::{settle, spend};
use crate::engine;
use crate::sync::Ordering;
use crate::sys::{self, KernelAction};
use crate::thread::Record;

/// What a process is told that has its signals owned by the shim from its very start.
///
/// * The kernel is asked which flags it knows, with a real-time signal whose action is then put back.
/// * Threads that attach keep the alternate stack that they have.
///
/// Called once, by the loading thread, before there is another. Returns the restorer that libc gives to the
/// kernel, if `set_default` (libc's own `sigaction`, which sets the action of a signal) can be used to see it.
#[doc(hidden)]
pub fn start(set_default: impl FnOnce(i32)) -> usize {
    let engine = engine::started();
    engine.set_posix();
    // A constructor that ran earlier may have set handlers, and the program may inherit ignored signals.
    let action_of = |signal| Some((signal, sys::sigaction(signal, None).ok()?));
    let is_default = |action: &KernelAction| action.handler == libc::SIG_DFL;
    let free = (35..=64).rev().filter_map(action_of).find(|(_, action)| is_default(action));
    let Some((signal, before)) = free else { return 0 };
    let all = KernelAction { flags: !sys::SA_RESTORER & 0xffff_ffff, ..KernelAction::DEFAULT };
    let _set = sys::sigaction(signal, Some(&all));
    if sys::sigaction(signal, None).is_ok_and(|kept| kept.flags == all.flags) {
        FLAGS.store(u64::MAX, Ordering::Relaxed);
    }
    set_default(signal);
    let libc = sys::sigaction(signal, None).map_or(0, |action| action.restorer);
    let _set = sys::sigaction(signal, Some(&before));
    libc
}

/// For `exec`: gives the kernel, for the new program, what the program has set where it was ignored and
/// somebody subscribes, since caught signals are reset and ignored ones are not (execve(2)). The signals
/// that were changed, for [`exec_failed`].
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn about_to_exec() -> u64 {
    let mut changed = 0;
    for signal in 1..=64 {
        let word = engine::get().slot(signal).behind.get();
        if word.is_owned()
            && word.action().handler == libc::SIG_IGN
            && sys::sigaction(signal, None).is_ok_and(|action| action.is_ours())
            && sys::sigaction(signal, Some(word.action())).is_ok()
        {
            changed |= sys::bit(signal);
        }
    }
    changed
}

/// Undoes [`about_to_exec`] in a process that goes on after all.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn exec_failed(changed: u64) {
    for signal in (1..=64).filter(|signal| sys::bit(*signal) & changed != 0) {
        let _replaced = settle(engine::get().slot(signal), signal);
    }
}

/// Gives the kernel the program's own action of an owned signal to which nobody subscribes, for a time in which
/// libc saves and restores what it finds there; [`recheck`] ends it.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn step_aside(signal: i32) {
    let slot = engine::get().slot(signal);
    let word = slot.behind.get();
    if word.is_owned() && !slot.is_wanted() && word.is_handler() {
        let _set = sys::set_action(signal, word.action());
    }
}

/// Puts the kernel right where libc has changed it without telling, and put it back with a restorer of its
/// own (`system`, for SIGINT and SIGQUIT).
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn recheck(signal: i32) {
    let slot = engine::get().slot(signal);
    let word = slot.behind.get();
    if !word.is_owned() || sys::arch::is_borrowed() {
        return;
    }
    // A handler that is to be called once may have been, by the kernel, while we stood aside.
    let once = word.is_handler() && word.action().has(libc::SA_RESETHAND) && !slot.is_wanted();
    let spent = |now: KernelAction| now.handler == libc::SIG_DFL && !now.was_ours();
    if once && sys::sigaction(signal, None).is_ok_and(spent) {
        spend(slot, signal, word);
    }
    let _replaced = settle(slot, signal);
}

/// Where a function is that does what vfork(2) does, and has sigplane know the child for one. It has to be
/// jumped to: it returns twice.
#[doc(hidden)]
pub fn vfork_stub() -> usize {
    sys::arch::sigplane0_vfork as *const () as usize
}

/// The calling thread's id. No system call on a thread that is attached.
///
/// # Async-signal safety
/// Yes.
#[doc(hidden)]
pub fn tid() -> i32 {
    let record = if sys::arch::is_borrowed() { None } else { Record::current() };
    crate::dispatch::tid(record)
}
