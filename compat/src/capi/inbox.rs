//! Reading inboxes.

use super::abi::*;
use super::handle::{self, Kind};
use super::memory;
use super::status::{self, contained, ordinary};
use core::ffi::c_int;
use core::time::Duration;
use std::os::fd::AsRawFd;

/// `sigplane_inbox_fd`
pub unsafe extern "C" fn fd(inbox: Subscription, fd: *mut c_int) -> c_int {
    contained(|| {
        ordinary()?;
        memory::probe(fd)?;
        let held = handle::hold(inbox.id, Kind::Subscription)?;
        let descriptor = held.inbox()?.try_as_fd().map_err(status::of)?;
        memory::write(fd, descriptor.as_raw_fd())
    })
}

/// `sigplane_inbox_read`
pub unsafe extern "C" fn read(inbox: Subscription, event: *mut Event, timeout_ns: i64) -> c_int {
    contained(|| {
        ordinary()?;
        memory::probe(event)?;
        let held = handle::hold(inbox.id, Kind::Subscription)?;
        let inbox = held.inbox()?;
        let found = match timeout_ns {
            0 => inbox.try_recv(),
            1.. => inbox.recv_timeout(Duration::from_nanos(timeout_ns as u64)),
            _ => loop {
                let found = inbox.recv_timeout(Duration::from_secs(3600));
                if found.is_some() || held.is_ending() {
                    break found;
                }
            },
        };
        match found {
            Some(found) => memory::write(event, Event::of(&found)),
            None if held.is_ending() => Err(E_CLOSED),
            None => Err(E_TIMEOUT),
        }
    })
}

/// `sigplane_inbox_drain`
pub unsafe extern "C" fn drain(
    inbox: Subscription,
    events: *mut Event,
    capacity: usize,
    count: *mut usize,
) -> c_int {
    contained(|| {
        ordinary()?;
        memory::probe(count)?;
        let held = handle::hold(inbox.id, Kind::Subscription)?;
        let inbox = held.inbox()?;
        if capacity > 0 && events.is_null() {
            return Err(E_NULL);
        }
        let mut taken = 0;
        while taken < capacity {
            let place = events.wrapping_add(taken);
            // An event that is taken has somewhere to go. The end of the memory ends the list.
            if let Err(error) = memory::probe(place) {
                if taken == 0 {
                    return Err(error);
                }
                break;
            }
            let Some(event) = inbox.try_recv() else { break };
            memory::write(place, Event::of(&event))?;
            taken += 1;
        }
        memory::write(count, taken)
    })
}
