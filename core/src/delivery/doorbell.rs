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
use crate::sync::Ordering;
use crate::sys;
use crate::thread::Record;

/// The signal used.
pub(crate) const SIGNAL: i32 = libc::SIGURG;

/// What the value of a bell is: the address of something of ours, which no other sender has.
fn mark() -> usize {
    core::ptr::from_ref(engine::get()) as usize
}

/// Rings the bell of a thread of this process. False when there is no such thread.
pub(crate) fn ring(tid: i32) -> bool {
    let engine = engine::get();
    let pid = engine.pid();
    let info = stamp::queued_info(SIGNAL, pid, mark());
    sys::queue_to_thread(pid, tid, SIGNAL, &info) != Err(libc::ESRCH)
}

/// Answers a bell. Returns whether this delivery was one, and nothing else.
///
/// The kernel merges a bell into a SIGURG that is already pending for the thread, so every SIGURG is
/// taken for one that may hide a bell; only what carries our mark, or came without information and had
/// something to do, ends here.
pub(crate) fn answer(info: &libc::siginfo_t, record: Option<&Record>, mask: &mut u64) -> bool {
    let lifted = engine::get().holds.lift_on_this_thread(crate::dispatch::tid(record), mask);
    if info.si_code == libc::SI_QUEUE && stamp::value_of(info) == mark() {
        return true;
    }
    let bare = info.si_code == libc::SI_USER && stamp::pid_of(info) == 0;
    let alerted = || record.is_some_and(|record| record.attention.load(Ordering::SeqCst) != 0);
    bare && (lifted || alerted())
}
