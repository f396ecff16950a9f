//! The POSIX shim, the C API and the `sigplane` command, on top of [`sigplane`]. This package has its
//! place in the workspace; its contents are the subject of an issue of their own.

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
