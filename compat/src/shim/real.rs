//! libc's own functions, which ours stand in front of.
//!
//! They are looked up when the library is loaded: `dlsym` may allocate, and some of them are called in handlers.
//! A call that comes before that, from another library's constructor, looks up its own.

use core::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A function of libc by its name, and where it is.
pub struct Real {
    name: &'static CStr,
    at: AtomicUsize,
}

impl Real {
    const fn new(name: &'static CStr) -> Self {
        Self { name, at: AtomicUsize::new(0) }
    }

    /// Its address; 0 if this libc has none.
    pub fn address(&self) -> usize {
        match self.at.load(Ordering::Relaxed) {
            0 => self.find(),
            at => at,
        }
    }

    #[cold]
    fn find(&self) -> usize {
        // SAFETY: the name ends in a zero byte.
        let at = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) }.addr();
        self.at.store(at, Ordering::Relaxed);
        at
    }
}

macro_rules! real {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        $(
            pub static $name: Real = Real::new({
                // The statics are named as the functions are.
                const NAME: &str = concat!(stringify!($name), "\0");
                match CStr::from_bytes_with_nul(NAME.as_bytes()) {
                    Ok(name) => name,
                    Err(_) => unreachable!(),
                }
            });
        )*
        /// Looks all of them up.
        pub fn resolve() {
            $( $name.address(); )*
        }
        /// Their types.
        #[allow(non_camel_case_types)]
        pub mod kind {
            use super::*;
            $( pub type $name = unsafe extern "C-unwind" fn($($argument),*) -> $result; )*
        }
    };
}

/// Called through a type of its own, by `raw`.
pub static SYSCALL: Real = Real::new(c"syscall");
/// Jumped to, after `programs::clone_stub`.
pub static CLONE: Real = Real::new(c"clone");

#[allow(non_upper_case_globals)]
mod statics {
    use super::*;
    pub type Argv = *const *const c_char;
    real! {
        sigaction: fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
        sigsuspend: fn(*const libc::sigset_t) -> c_int;
        ppoll: fn(*mut libc::pollfd, libc::nfds_t, *const libc::timespec, *const libc::sigset_t) -> c_int;
        __ppoll_chk: fn(*mut libc::pollfd, libc::nfds_t, *const libc::timespec, *const libc::sigset_t, usize) -> c_int;
        pselect: fn(c_int, *mut libc::fd_set, *mut libc::fd_set, *mut libc::fd_set, *const libc::timespec, *const libc::sigset_t) -> c_int;
        epoll_pwait: fn(c_int, *mut libc::epoll_event, c_int, c_int, *const libc::sigset_t) -> c_int;
        epoll_pwait2: fn(c_int, *mut libc::epoll_event, c_int, *const libc::timespec, *const libc::sigset_t) -> c_int;
        execve: fn(*const c_char, Argv, Argv) -> c_int;
        execvpe: fn(*const c_char, Argv, Argv) -> c_int;
        fexecve: fn(c_int, Argv, Argv) -> c_int;
        execveat: fn(c_int, *const c_char, Argv, Argv, c_int) -> c_int;
        posix_spawn: fn(*mut libc::pid_t, *const c_char, *const libc::posix_spawn_file_actions_t, *const libc::posix_spawnattr_t, Argv, Argv) -> c_int;
        posix_spawnp: fn(*mut libc::pid_t, *const c_char, *const libc::posix_spawn_file_actions_t, *const libc::posix_spawnattr_t, Argv, Argv) -> c_int;
        system: fn(*const c_char) -> c_int;
        pthread_create: fn(*mut libc::pthread_t, *const libc::pthread_attr_t, extern "C-unwind" fn(*mut c_void) -> *mut c_void, *mut c_void) -> c_int;
        sigaltstack: fn(*const libc::stack_t, *mut libc::stack_t) -> c_int;
        sigqueue: fn(libc::pid_t, c_int, *mut c_void) -> c_int;
        pthread_sigqueue: fn(libc::pthread_t, c_int, *mut c_void) -> c_int;
        dlclose: fn(*mut c_void) -> c_int;
    }
}
pub use statics::*;

/// The function, to be called.
macro_rules! call {
    ($name:ident($($argument:expr),*)) => {{
        // SAFETY: what libc has under this name, which is of this type, or 0, which is none of its functions'.
        let function = unsafe {
            core::mem::transmute::<usize, Option<$crate::shim::real::kind::$name>>(
                $crate::shim::real::$name.address(),
            )
        };
        match function {
            // SAFETY: the caller of ours has given what it would have given libc.
            Some(function) => unsafe { function($($argument),*) },
            None => $crate::shim::fail(libc::ENOSYS) as _,
        }
    }};
}
pub(super) use call;

/// Gives a signal its default by libc's own `sigaction`.
pub fn set_default(signal: c_int) {
    // SAFETY: all zero bytes are an action: the default.
    let default: libc::sigaction = unsafe { core::mem::zeroed() };
    let _set: c_int = call!(sigaction(signal, &raw const default, core::ptr::null_mut()));
}
