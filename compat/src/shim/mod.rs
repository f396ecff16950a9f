//! What `libsigplane_compat.so` does where a program means libc. The names are in the package
//! `sigplane-shim`; here is what is behind them.
//!
//! * `actions` — dispositions: `sigaction`, `signal` and their elder relatives. `libc_action` — their structure.
//! * `masks` — what threads block. `waits` — calls that have a mask for the time of a wait.
//! * `programs` — `exec`, `posix_spawn`, `system`: what a new program inherits. `threads` — `pthread_create`.
//! * `sends` — `sigqueue`. `objects` — `dlclose`. `stacks` — `sigaltstack`. `raw` — `syscall`.
//! * `jvm` — what HotSpot asks of a library that shares signals with it.
//! * `real` — libc's own functions. `user` — memory that a caller names, which may not be there.
//!
//! `design/shim.md` says how it fits together, `design/libc-functions.md` why each function is here or is not.
//!
//! Nothing here prints, and nothing allocates, except `threads` and `objects`.
//!
//! # Async-signal safety
//! As libc's functions of the same names (signal-safety(7)): everything in `actions`, `masks`, `sends`
//! and `waits`, and of `programs` the `exec` family.

pub mod actions;
pub mod jvm;
mod libc_action;
pub mod masks;
pub mod objects;
pub mod programs;
pub mod raw;
mod real;
pub mod sends;
pub mod stacks;
pub mod threads;
mod user;
pub mod waits;

use crate::journal::{self, Kind};
use crate::posix::restorer;
use sigplane::legacy;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What libc gives the kernel for handlers to return to.
static RESTORER: AtomicUsize = AtomicUsize::new(0);

/// The restorer of actions that are set through libc's names. The constructors of the libraries that a program
/// needs run before those of a preloaded one: until `start` has asked libc for its own, that of `posix` serves, which
/// is the same two instructions.
#[inline(always)]
fn restorer() -> usize {
    match RESTORER.load(Ordering::Relaxed) {
        0 => restorer::address(),
        libc => libc,
    }
}

/// Called by the loader before the constructors of this object that have no priority, and before `main`.
#[doc(hidden)]
pub extern "C" fn start() {
    real::resolve();
    real::SYSCALL.address();
    real::CLONE.address();
    crate::capi::prepare();
    let restorer = legacy::start(|signal| {
        real::set_default(signal);
    });
    RESTORER.store(restorer, Ordering::Relaxed);
    user::prepare();
    journal::start();
    legacy::on_taken_over(|signal, handler| journal::note(Kind::TakenOver, signal, handler, 0));
    // SAFETY: the loading thread is the only one, and the name ends in a zero byte.
    let own = unsafe { libc::getenv(c"SIGPLANE_OWN".as_ptr()) };
    // SAFETY: what getenv returns is null or a string of at least its end.
    if !own.is_null() && unsafe { own.read() } != b'0' as libc::c_char {
        legacy::own_handlers();
    }
}

/// Sets `errno`, and is what libc's functions return then.
fn fail(errno: i32) -> i32 {
    // SAFETY: only computes an address.
    let at = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's own.
    unsafe { at.write(errno) };
    -1
}

/// What libc's functions return for a result in numbers.
fn answer(result: Result<(), i32>) -> i32 {
    result.map_or_else(fail, |()| 0)
}

/// libc keeps these for itself and says that they do not exist (glibc internal-signals.h).
fn is_internal(signal: i32) -> bool {
    (32..=33).contains(&signal)
}

/// Whether libc takes the number for a signal.
fn is_valid(signal: i32) -> bool {
    (1..=64).contains(&signal) && !is_internal(signal)
}
