//! pthread_create(3): a new thread inherits the mask of its creator, also the part of it that the kernel does
//! not know: the signals of faults that the creator has asked to be blocked (`sigplane::masks`).

use super::masks;
use super::real::call;
use super::user::Stack;
use core::ffi::{c_int, c_void};
use libc::{pthread_attr_t, pthread_t, sigset_t};

type Start = extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// What the new thread needs to become the one that was asked for.
struct Beginning {
    start: Start,
    argument: *mut c_void,
    asked: u64,
}

unsafe extern "C" {
    fn pthread_attr_getsigmask_np(attr: *const pthread_attr_t, set: *mut sigset_t) -> c_int;
}

/// The mask that the attributes give the thread.
fn mask_of(attr: *const pthread_attr_t) -> Option<u64> {
    /// glibc's answer where none is set (pthread.h, `PTHREAD_ATTR_NO_SIGMASK_NP`).
    const NONE: c_int = -1;
    if attr.is_null() {
        return None;
    }
    // SAFETY: all zero bytes are a set.
    let mut set: sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: attributes that the caller gives pthread_create.
    let answer = unsafe { pthread_attr_getsigmask_np(attr, &raw mut set) };
    // SAFETY: a set is longer than a word.
    (answer != NONE).then(|| unsafe { (&raw const set).cast::<u64>().read() })
}

/// pthread_create(3).
///
/// # Safety
/// As libc's. `stack` is where the caller's return address is.
pub unsafe extern "C-unwind" fn pthread_create(
    thread: *mut pthread_t,
    attr: *const pthread_attr_t,
    start: Start,
    argument: *mut c_void,
    stack: Stack,
) -> c_int {
    let given = mask_of(attr);
    masks::note_blocked(libc::SIG_SETMASK, given, stack);
    let kept = sigplane::masks::kept_out();
    let inherited = sigplane::masks::asked_for();
    if kept == 0 && inherited == 0 {
        return call!(pthread_create(thread, attr, start, argument));
    }
    let asked = given.map_or(inherited, |mask| mask & kept);
    if asked == 0 {
        return call!(pthread_create(thread, attr, start, argument));
    }
    let beginning = Box::into_raw(Box::new(Beginning { start, argument, asked }));
    let failed: c_int = call!(pthread_create(thread, attr, begin, beginning.cast()));
    if failed != 0 {
        // SAFETY: no thread has been made that would take it.
        drop(unsafe { Box::from_raw(beginning) });
    }
    failed
}

extern "C-unwind" fn begin(beginning: *mut c_void) -> *mut c_void {
    // Freed here: `start` may never return (pthread_exit(3)).
    // SAFETY: made by `pthread_create` for this thread.
    let Beginning { start, argument, asked } =
        *unsafe { Box::from_raw(beginning.cast::<Beginning>()) };
    sigplane::masks::set_asked_for(asked);
    // What the attributes have blocked for real.
    let _mask = sigplane::masks::change(libc::SIG_BLOCK, Some(asked));
    sigplane::masks::open();
    start(argument)
}
