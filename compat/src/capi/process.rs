//! The table as text, sending, and what a process gives back before exec.

use super::abi::{E_POINTER, E_SIGNAL};
use super::memory;
use super::status::{Result, contained, of_send, ordinary, os};
use core::ffi::{c_char, c_int};
use sigplane::send::{self, Raised, SendError, Value};
use sigplane::{Signal, process};
use std::io;

/// `sigplane_table_dump`
pub unsafe extern "C" fn table_dump(fd: c_int) -> c_int {
    contained(|| {
        ordinary()?;
        let text = format!("{}\n", sigplane::table());
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: the text lives, and whatever the descriptor is, the kernel says.
            let written = unsafe { libc::write(fd, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(_) => match io::Error::last_os_error().raw_os_error().unwrap_or(0) {
                    libc::EINTR => {}
                    error => return Err(os(error)),
                },
            }
        }
        Ok(())
    })
}

/// `sigplane_table_text`
pub unsafe extern "C" fn table_text(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> c_int {
    contained(|| {
        ordinary()?;
        memory::probe_optional(needed)?;
        let text = sigplane::table().to_string();
        if let Some(room) = length.checked_sub(1) {
            let fits = text.len().min(room);
            memory::probe_bytes(buffer.cast(), fits + 1)?;
            let to = buffer.cast::<u8>();
            // SAFETY: all pages of it have been probed, and the caller says that it is a buffer.
            unsafe { to.copy_from_nonoverlapping(text.as_ptr(), fits) };
            memory::write(to.wrapping_add(fits), 0).map_err(|_| E_POINTER)?;
        }
        memory::write_optional(needed, text.len())
    })
}

fn sent(signo: c_int, send: impl FnOnce(Signal) -> core::result::Result<(), SendError>) -> c_int {
    contained(|| {
        let signal: Result<Signal> = Signal::try_from(signo).map_err(|_| E_SIGNAL);
        send(signal?).map_err(of_send)
    })
}

fn own_pid() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::getpid() }
}

fn value_of(value: u64) -> Value {
    Value::from_addr(value as usize)
}

/// `sigplane_send`
pub unsafe extern "C" fn to_process(pid: c_int, signo: c_int) -> c_int {
    sent(signo, |signal| send::to_process(pid, signal))
}

/// `sigplane_send_value`
pub unsafe extern "C" fn to_process_value(pid: c_int, signo: c_int, value: u64) -> c_int {
    sent(signo, |signal| send::to_process_with(pid, signal, value_of(value)))
}

/// `sigplane_send_thread`
pub unsafe extern "C" fn to_thread(tid: c_int, signo: c_int) -> c_int {
    sent(signo, |signal| send::to_thread(tid, signal))
}

/// `sigplane_send_thread_value`
pub unsafe extern "C" fn to_thread_value(tid: c_int, signo: c_int, value: u64) -> c_int {
    sent(signo, |signal| send::to_thread_with(own_pid(), tid, signal, value_of(value)))
}

/// `sigplane_raise`
pub unsafe extern "C" fn raise(signo: c_int) -> c_int {
    sent(signo, |signal| send::raise(signal).map(|_: Raised| ()))
}

/// `sigplane_raise_value`
pub unsafe extern "C" fn raise_value(signo: c_int, value: u64) -> c_int {
    sent(signo, |signal| send::raise_with(signal, value_of(value)).map(|_: Raised| ()))
}

/// `sigplane_restore_dispositions`
pub unsafe extern "C" fn restore_dispositions() {
    process::restore_dispositions();
}
