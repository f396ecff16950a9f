//! Synchronous faults: an instruction of the interrupted code itself raised the signal.
//!
//! **Runs inside signal handlers.**
//!
//! A fault is never deferred and never queued: the instruction would only repeat. The order for one,
//! with what this version has:
//!
//! | step | what | here |
//! |---|---|---|
//! | 1 | fixup by the faulting program counter | not yet: the place is [`deliver`], before `dispatch::deliver` |
//! | 2 | guarded call on this thread | not yet, same place |
//! | 3 | code range | not yet, same place |
//! | 4 | region | not yet, same place |
//! | 5 | immediate entries, until one handles it | `dispatch::deliver` |
//! | 6, 7 | the legacy action, the foreign handler | `dispatch::deliver` |
//! | 8 | last-chance hooks | not yet: the place is `dispatch::settle`, before the default |
//! | 9 | the default action: restored, and the instruction repeats | `table::default_action` |

use crate::dispatch::{self, Arrival, Next};
use crate::frame::Frame;
use crate::sys;

/// Tells a fault of the interrupted instruction from a signal of the same number that somebody sent:
/// the kernel gives faults a positive `si_code` (sigaction(2)), and users cannot send one to others.
/// The report of a memory error that nobody has touched yet (`BUS_MCEERR_AO`) is no fault.
#[inline(always)]
pub(crate) fn is_synchronous(number: i32, info: &libc::siginfo_t) -> bool {
    sys::FAULT_BITS & sys::bit(number) != 0
        && info.si_code > 0
        && !(number == libc::SIGBUS && info.si_code == libc::BUS_MCEERR_AO)
}

/// The way of a fault through the steps above.
pub(crate) fn deliver(arrival: &mut Arrival<'_>, frame: &mut Frame) -> Next {
    dispatch::deliver(arrival, frame)
}
