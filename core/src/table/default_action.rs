//! What the kernel would have done, done truthfully: the same exit status, stop number, core dump.
//!
//! **Runs inside signal handlers.**
//!
//! Ending: the default is put back into the kernel, the signal is queued to this thread again with its
//! original information (`rt_tgsigqueueinfo` to oneself may carry any `si_code`), and taken out of the
//! interrupted mask, so that it strikes when the handler returns and the core dump shows the
//! interrupted code and the first sender. A synchronous fault that repeats needs no queueing: the
//! faulting instruction is executed again. SIGTRAP and SIGSYS do not repeat and are queued.
//!
//! Stopping: SIGSTOP would show the parent another number, so the signal itself is let through with
//! its default for the moment of the stop, and our action put in again when the process goes on.
//!
//! Process 1 of a pid namespace: the kernel drops signals with a default action that such a process
//! sends itself, even SIGKILL (kernel/signal.c, `sig_task_ignored`, `SIGNAL_UNKILLABLE`). It ends with
//! the status that shells and container runtimes report for the signal, 128 + n; a signal whose default
//! dumps core ends with a trapping instruction instead, because only that still leaves a core there.

use crate::engine;
use crate::frame::Frame;
use crate::signal::{DefaultAction, Signal};
use crate::sys::{self, KernelAction};

/// Does what the kernel would have done with a signal that nobody took. Returns for the actions that a
/// process survives, and for the deadly ones too: those strike when the handler returns.
pub(crate) fn perform(signal: Signal, info: &libc::siginfo_t, frame: &mut Frame, fault: bool) {
    match signal.default_action() {
        DefaultAction::Ignore | DefaultAction::Continue => {}
        DefaultAction::Stop => stop(signal, info),
        DefaultAction::Terminate => die(signal, info, frame, false),
        DefaultAction::Core => die(signal, info, frame, fault),
    }
}

/// As `perform`, for a synchronous fault.
pub(crate) fn perform_fault(number: i32, info: &libc::siginfo_t, frame: &mut Frame) {
    if let Ok(signal) = Signal::try_from(number) {
        perform(signal, info, frame, true);
    }
}

fn die(signal: Signal, info: &libc::siginfo_t, frame: &mut Frame, fault: bool) {
    let number = signal.number();
    if !engine::get().is_borrowed() {
        // A stop in progress on another thread must not put our action back.
        engine::get().slot(number).set_wanted(false);
    }
    let _set = sys::sigaction(number, Some(&KernelAction::DEFAULT));
    *frame.mask() &= !sys::bit(number);
    let repeats = fault && !matches!(signal, Signal::TRAP | Signal::SYS);
    if repeats {
        return;
    }
    let pid = sys::getpid();
    if pid == 1 {
        end_process_one(signal);
    }
    // Our handler does not block faults, and it is to strike behind it, not in it.
    sys::block(sys::bit(number));
    // At RLIMIT_SIGPENDING a real-time signal cannot be queued with its information, but sent without
    // (kernel/signal.c, `__send_signal_locked`: `SI_USER` is exempt).
    let queued = sys::queue_to_thread(pid, sys::gettid(), number, info);
    if queued.or_else(|_| sys::kill(pid, number)).is_err() {
        sys::exit_group(128 + number);
    }
    if frame.context().is_none() {
        // No handler to return from: let it strike here.
        sys::unblock(sys::bit(number));
    }
}

fn end_process_one(signal: Signal) {
    if signal.default_action() == DefaultAction::Core {
        let _set = sys::sigaction(libc::SIGILL, Some(&KernelAction::DEFAULT));
        sys::unblock(sys::bit(libc::SIGILL));
        sys::arch::trap();
    }
    sys::exit_group(128 + signal.number());
}

fn stop(signal: Signal, info: &libc::siginfo_t) {
    let number = signal.number();
    let slot = engine::get().slot(number);
    let Ok(before) = sys::sigaction(number, Some(&KernelAction::DEFAULT)) else {
        return;
    };
    if sys::queue_to_thread(sys::getpid(), sys::gettid(), number, info).is_ok() {
        // The process stops inside this call (an orphaned process group does not: the kernel then
        // drops the signal, as it would have), and goes on from here after SIGCONT.
        sys::unblock(sys::bit(number));
        sys::block(sys::bit(number));
    }
    let original = crate::dispatch::original_action(number);
    if before.is_ours() {
        slot.reinstall(number, &before, &original);
    } else if sys::sigaction(number, None).is_ok_and(|now| now == KernelAction::DEFAULT) {
        if slot.is_wanted() {
            // Another thread was here at the same time and has the real one.
            slot.reinstall(number, &KernelAction::ours(&original, number, true), &original);
        } else {
            // It is not ours: never was, or the last subscriber has just left.
            let _set = sys::sigaction(number, Some(&before));
        }
    }
}
