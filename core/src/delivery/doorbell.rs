//! The doorbell: how one thread makes another run a handler of sigplane.
//!
//! **Runs inside signal handlers.**
//!
//! Two things need it: a thread in an alertable system call has work waiting, and a thread with a
//! held signal may go on. The signal is SIGURG. Its default is to be ignored, so one that arrives
//! when nobody listens harms nothing; and being a standard signal it is delivered even when
//! `RLIMIT_SIGPENDING` is used up, which is just when back-pressure works (kernel/signal.c,
//! `__send_signal_locked`: without memory for the information it is still made pending). Coalescing
//! does no harm: the bell only says *look*.
//!
//! It is told from other SIGURGs by its value, and, when the kernel dropped the information, by
//! there being something to do. Subscribers of SIGURG never see it.

use crate::engine;
use crate::event::stamp;
use crate::sys;
use crate::thread::Record;

/// The signal used.
pub(crate) const SIGNAL: i32 = libc::SIGURG;

/// What the value of a bell is: the address of something of ours, which no other sender has.
fn mark() -> usize {
    core::ptr::from_ref(engine::get()) as usize
}

/// Rings the bell of a thread of this process. A thread that has ended does not hear it.
pub(crate) fn ring(tid: i32) {
    let engine = engine::get();
    let pid = engine.pid();
    let info = stamp::queued_info(SIGNAL, pid, mark());
    let _ended = sys::queue_to_thread(pid, tid, SIGNAL, &info);
}

/// Answers a bell. Returns whether this delivery was one.
pub(crate) fn answer(info: &libc::siginfo_t, record: Option<&Record>, mask: &mut u64) -> bool {
    let ours = info.si_code == libc::SI_QUEUE && stamp::value_of(info) == mark();
    let bare = info.si_code == libc::SI_USER && stamp::pid_of(info) == 0;
    if !ours && !bare {
        return false;
    }
    let tid =
        record.map_or_else(sys::gettid, |record| record.tid.load(crate::sync::Ordering::Relaxed));
    let lifted = engine::get().holds.lift_on_this_thread(tid, mask);
    let alerted =
        record.is_some_and(|record| record.attention.load(crate::sync::Ordering::SeqCst) != 0);
    ours || lifted || alerted
}
