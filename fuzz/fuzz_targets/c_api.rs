//! The C API with wild pointers, numbers, sizes and handles: `cargo +nightly fuzz run c_api`.
//!
//! Each input is a list of calls. The answer must be one of the API's error numbers, whatever the arguments;
//! what has been made is ended before the next input. Faults stay libFuzzer's: what enables them
//! (safe copies, guards, regions) is left to `tests/shim/tests/capi_hostile.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/shim/tests/hostile/memory.rs"]
mod memory;

use core::ffi::{c_int, c_void};
use libfuzzer_sys::fuzz_target;
use sigplane_compat::capi::abi::{Delivery, Event, OK, PASS, Subscription};
use sigplane_compat::capi::{inbox, process, status, subscribe, thread};
use std::ptr;
use std::sync::Once;

/// One call: sixteen bytes of an input.
struct Call {
    function: u8,
    first: u64,
    second: u64,
    third: u64,
    word: u64,
}

impl Call {
    fn read(bytes: &[u8; 16]) -> Self {
        let [function, a, b, c, d, e, f, callback, word @ ..] = *bytes;
        let kind = |low: u8, high: u8| u64::from(low % 32) | u64::from(high) << 8;
        let word = u64::from_le_bytes(word) ^ u64::from(callback) << 56;
        Self {
            function: function % 14,
            first: kind(a, b),
            second: kind(c, d),
            third: kind(e, f),
            word,
        }
    }

    /// A pointer of the kind that argument `n` asks for, to `size` bytes.
    fn pointer<T>(&self, n: u64, size: usize) -> *mut T {
        let kind = match n {
            0 => self.first,
            1 => self.second,
            _ => self.third,
        };
        ptr::with_exposed_provenance_mut(memory::place(n, kind, size as u64) as usize)
    }
}

unsafe extern "C-unwind" fn handler(_: *const Event, _: *mut c_void) {}
unsafe extern "C-unwind" fn immediate(_: *mut Delivery, _: *mut c_void) -> c_int {
    PASS
}

/// Signals that libFuzzer does not need: the rest is told by the set's other bits, which make it invalid.
fn set(word: u64) -> u64 {
    const HARMLESS: u64 =
        1 << (libc::SIGWINCH - 1) | 1 << (libc::SIGURG - 1) | 1 << (libc::SIGUSR1 - 1);
    match word % 8 {
        0 => 0,
        1 => 1 << (libc::SIGKILL - 1),
        2 => 1 << 31, // libc's own.
        _ => HARMLESS & (word >> 3) | 1 << (libc::SIGWINCH - 1),
    }
}

fn make(call: &Call, made: &mut Vec<u64>) -> c_int {
    let (options, result) = (call.pointer(0, 48), call.pointer::<u64>(1, 8));
    let (user, set) = (call.pointer(2, 8), set(call.word));
    let some = call.word >> 60 != 0;
    // SAFETY: the API answers for any pointers; the handlers touch nothing.
    let answer = unsafe {
        match call.function {
            0 => subscribe::dispatcher(set, options, some.then_some(handler), user, result.cast()),
            1 => subscribe::thread(set, options, some.then_some(handler), user, result.cast()),
            2 => subscribe::inbox(set, options, result.cast()),
            _ => subscribe::immediate(set, options, some.then_some(immediate), user, result.cast()),
        }
    };
    if answer == OK {
        // SAFETY: it has just been written.
        made.push(unsafe { result.read_unaligned() });
    }
    answer
}

/// A handle that has been given, or any number.
fn some_handle(call: &Call, made: &[u64]) -> u64 {
    let given = made.get(call.word as usize % (made.len() + 1));
    given.copied().unwrap_or(call.word >> 8)
}

fn one(call: &Call, made: &mut Vec<u64>) -> c_int {
    let handle = Subscription { id: some_handle(call, made) };
    // SAFETY: the API answers for any pointers.
    unsafe {
        match call.function {
            0..4 => make(call, made),
            4 => subscribe::unsubscribe(handle, call.pointer(0, 4)),
            5 => subscribe::disarm(handle),
            6 => subscribe::stats(handle, call.pointer(0, 64)),
            7 => inbox::fd(handle, call.pointer(0, 4)),
            8 => inbox::read(handle, call.pointer(0, size_of::<Event>()), 0),
            9 => {
                let room = call.word as usize % 5;
                let events = call.pointer(0, room * size_of::<Event>());
                inbox::drain(handle, events, room, call.pointer(1, 8))
            }
            10 => thread::current(call.pointer(0, 16)),
            11 => process::table_text(
                call.pointer(0, 4096),
                call.word as usize % 4096,
                call.pointer(1, 8),
            ),
            12 => process::raise([libc::SIGWINCH, 0, -1, 9999][call.word as usize % 4]),
            _ => {
                assert!(!status::strerror(call.word as c_int).is_null());
                OK
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    static ONCE: Once = Once::new();
    ONCE.call_once(memory::prepare);
    let (calls, _) = data.as_chunks::<16>();
    let mut made = Vec::new();
    for call in calls.iter().map(Call::read) {
        let answer = one(&call, &mut made);
        assert!((OK..64).contains(&answer), "{} answered {answer}", call.function);
    }
    for handle in made {
        // SAFETY: given, and perhaps ended already, which is an answer too.
        unsafe { subscribe::unsubscribe(Subscription { id: handle }, ptr::null_mut()) };
    }
});
