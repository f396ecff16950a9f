//! What a thread that ends leaves behind: signals that a full queue made the kernel keep for it.
//!
//! Ordinary code, with every asynchronous signal blocked.
//!
//! What is pending for a thread is dropped with it (kernel/exit.c, where the task is released: `flush_sigqueue`).
//! While sigplane holds a signal back on a thread, that would be sigplane's loss: without it each
//! instance would have been delivered long ago. So they are moved to the process, in their order, with
//! their sender and value, where another thread receives them.

use crate::event::stamp;
use crate::sync::Ordering;
use crate::{engine, sys};

/// Moves what is pending for the calling thread, of the signals in `held`, to the process.
pub(crate) fn hand_over(held: u64) {
    let pid = engine::get().pid();
    for number in (1..=64).filter(|number| held & sys::bit(*number) != 0) {
        // sigtimedwait(2) takes what is pending for the thread before what is pending for the process
        // (kernel/signal.c, `dequeue_signal`), so only the former is taken.
        while pending_here() & sys::bit(number) != 0 {
            let Some(info) = sys::take_pending(sys::bit(number)) else { break };
            // How it was sent cannot always be kept: only a negative code other than SI_TKILL may be given
            // to another thread than the calling one. Who sent it, and the value, can.
            let plain = || sys::queue_to_process(pid, number, &stamp::as_queued(&info));
            if sys::queue_to_process(pid, number, &info).or_else(|_| plain()).is_err() {
                engine::get().slot(number).lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The signals pending for the calling thread alone: `SigPnd` in proc_pid_status(5).
fn pending_here() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
