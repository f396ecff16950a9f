//! Everything sigplane asks of the kernel: the contract, and the selector of what fulfils it.
//!
//! All system calls here are raw: they neither read nor write `errno`, so that the handler path
//! needs no save and restore, and no preloaded library can stand between us and the kernel.
//! Above this module, only `send` and `thread::wait` name system calls, and only `frame` a layout of the
//! kernel's.
//!
//! * `linux` — signal actions, masks, futexes, descriptors, barriers. Every function may be called
//!   inside a handler unless it says otherwise.
//! * `arch` — the entry stub, the restorer, the thread pointer, the restartable system call.
//! * `lock` — a futex lock that a forked child can reset.

#[cfg(not(target_os = "linux"))]
compile_error!("sigplane supports Linux only: it is built on rt_sigaction, futex and membarrier");

pub(crate) mod altstack;
pub(crate) mod arch;
mod linux;
pub(crate) mod lock;

pub(crate) use linux::*;
