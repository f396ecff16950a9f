//! Threads: deferral, safe points, posting, alertable waits.

use super::abi::{self, *};
use super::memory;
use super::status::{Result, contained, of as error_of, ordinary, os, own_process};
use core::ffi::{c_int, c_long, c_void};
use core::sync::atomic::{AtomicBool, Ordering};
use sigplane::capi;
use sigplane::thread::{self, FdWake, Interest, JoinError, PostError, Wake};
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `sigplane_thread_offset`
pub unsafe extern "C" fn offset() -> isize {
    capi::thread_offset()
}

/// For functions that have no error to return: there is nothing in them that panics.
fn quiet<T: Default>(call: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        core::mem::forget(payload);
        T::default()
    })
}

/// `sigplane_defer_slow`
pub unsafe extern "C" fn defer_slow() {
    quiet(capi::defer);
}

/// `sigplane_undefer_slow`
pub unsafe extern "C" fn undefer_slow() {
    quiet(capi::undefer);
}

/// `sigplane_poll_slow`
pub unsafe extern "C" fn poll_slow() -> usize {
    quiet(thread::poll)
}

/// When a time-out passes; `None`: never.
fn deadline(timeout_ns: i64) -> Option<Instant> {
    let timeout = Duration::from_nanos(u64::try_from(timeout_ns).ok()?);
    Instant::now().checked_add(timeout)
}

fn may_wait() -> Result {
    own_process()?;
    if capi::can_wait() { Ok(()) } else { Err(E_CANNOT_WAIT) }
}

fn woken(wake: Wake) -> Result {
    match wake {
        Wake::Work => Ok(()),
        Wake::Timeout => Err(E_TIMEOUT),
    }
}

/// `sigplane_defer_wait`
pub unsafe extern "C" fn defer_wait(timeout_ns: i64) -> c_int {
    contained(|| {
        own_process()?;
        if !sigplane::is_deferred() || capi::in_handler() {
            return Err(E_CANNOT_WAIT);
        }
        woken(sigplane::defer().wait(deadline(timeout_ns)))
    })
}

/// `sigplane_wait`
pub unsafe extern "C" fn wait(timeout_ns: i64) -> c_int {
    contained(|| {
        may_wait()?;
        woken(thread::wait(deadline(timeout_ns)))
    })
}

/// `sigplane_wait_fd`
pub unsafe extern "C" fn wait_fd(
    fd: c_int,
    interest: u32,
    timeout_ns: i64,
    ready: *mut u32,
) -> c_int {
    contained(|| {
        may_wait()?;
        memory::probe(ready)?;
        let interest = match interest {
            READABLE => Interest::READABLE,
            WRITABLE => Interest::WRITABLE,
            3 => Interest::BOTH,
            _ => return Err(E_ARGUMENT),
        };
        if fd < 0 {
            return Err(os(libc::EBADF));
        }
        // SAFETY: not -1; whether it is open is the kernel's to say.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        match thread::wait_fd(fd, interest, deadline(timeout_ns)) {
            Ok(FdWake::Ready { readable, writable }) => {
                let bits =
                    if readable { READABLE } else { 0 } | if writable { WRITABLE } else { 0 };
                memory::write(ready, bits)
            }
            Ok(FdWake::Work) => memory::write(ready, 0),
            Ok(FdWake::Timeout) => Err(E_TIMEOUT),
            Err(error) => Err(os(error.raw_os_error().unwrap_or(0))),
        }
    })
}

/// `sigplane_syscall`
pub unsafe extern "C" fn syscall(
    number: c_long,
    arguments: *const usize,
    result: *mut i64,
) -> c_int {
    contained(|| {
        may_wait()?;
        memory::probe(result)?;
        let arguments = memory::read(arguments.cast::<[usize; 6]>())?;
        // SAFETY: the header's contract: the call and its arguments are the caller's.
        match unsafe { thread::alertable_syscall(number, arguments) } {
            Ok(value) => memory::write(result, value as i64),
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                libc::EINTR => Err(E_INTERRUPTED),
                error => Err(os(error)),
            },
        }
    })
}

/// `sigplane_thread_current`
pub unsafe extern "C" fn current(thread: *mut abi::Thread) -> c_int {
    contained(|| {
        ordinary()?;
        own_process()?;
        memory::write(thread, abi::Thread { words: capi::current_thread() })
    })
}

/// `sigplane_thread_id`
pub unsafe extern "C" fn id(thread: abi::Thread, tid: *mut c_int) -> c_int {
    contained(|| {
        let thread = capi::thread(thread.words).ok_or(E_THREAD_ENDED)?;
        memory::write(tid, thread.tid())
    })
}

/// A call on its way to another thread: exactly one of the two is called, or none if it was called off.
struct Message {
    call: Call,
    argument: *mut c_void,
    ended: Option<Call>,
    /// Set when it has been called, or was never accepted.
    settled: Arc<AtomicBool>,
}

// SAFETY: the header says that the argument goes to another thread.
unsafe impl Send for Message {}

impl Message {
    fn run(&self) {
        self.settled.store(true, Ordering::Relaxed);
        // SAFETY: the header's contract of a posted call.
        unsafe { (self.call)(self.argument) };
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if !self.settled.load(Ordering::Relaxed)
            && let Some(ended) = self.ended
        {
            // SAFETY: as above.
            unsafe { ended(self.argument) };
        }
    }
}

/// `sigplane_post`
pub unsafe extern "C" fn post(
    thread: abi::Thread,
    call: Option<Call>,
    argument: *mut c_void,
    ended: Option<Call>,
) -> c_int {
    contained(|| {
        ordinary()?;
        own_process()?;
        let call = call.ok_or(E_NULL)?;
        let thread = capi::thread(thread.words).ok_or(E_THREAD_ENDED)?;
        let settled = Arc::new(AtomicBool::new(false));
        let message = Message { call, argument, ended, settled: Arc::clone(&settled) };
        match thread.post(move || message.run()) {
            Ok(_posted) => Ok(()),
            Err(PostError(message)) => {
                settled.store(true, Ordering::Relaxed);
                drop(message);
                Err(E_THREAD_ENDED)
            }
        }
    })
}

/// `sigplane_post_wait`
pub unsafe extern "C" fn post_wait(
    thread: abi::Thread,
    call: Option<Call>,
    argument: *mut c_void,
) -> c_int {
    contained(|| {
        ordinary()?;
        own_process()?;
        let call = call.ok_or(E_NULL)?;
        let thread = capi::thread(thread.words).ok_or(E_THREAD_ENDED)?;
        let message =
            Message { call, argument, ended: None, settled: Arc::new(AtomicBool::new(false)) };
        // SAFETY: takes nothing, cannot fail.
        if thread.tid() == unsafe { libc::gettid() } {
            message.run();
            return Ok(());
        }
        let posted = thread.post(move || message.run()).map_err(|_| E_THREAD_ENDED)?;
        posted.join().map_err(|error| match error {
            JoinError::Ended(_) => E_THREAD_ENDED,
            JoinError::Panicked(_) => E_PANIC,
        })
    })
}

/// `sigplane_faults_enable`
pub unsafe extern "C" fn faults_enable() -> c_int {
    contained(|| sigplane::fault::enable().map_err(error_of))
}
