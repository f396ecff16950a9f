//! The POSIX shim, the C API and the `sigplane` command, on top of [`sigplane`]; and Rust with the semantics of
//! sigaction(2): [`posix`].
//!
//! * `shim` — what `libsigplane_compat.so` does where a program means libc. `capi` — `include/sigplane.h`.
//! * `journal` — who has set what, for the command's report. `posix` — over libc's types, and nix's.
//! * `guest` — registering through signal-hook-registry, where that owns the signals already.

pub mod capi;
#[cfg(feature = "guest")]
pub mod guest;
pub mod journal;
pub mod posix;
#[doc(hidden)]
pub mod shim;

#[cfg(feature = "nix")]
pub use posix::nix;
pub use posix::{pthread_sigmask, sigaction, sigaltstack, siginterrupt, signal};
