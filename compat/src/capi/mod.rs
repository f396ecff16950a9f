//! The C API: what `include/sigplane.h` says, in Rust over sigplane's public interface.
//!
//! Three layers: the functions here, forwarders that only give them their C names (`sigplane-shim`), and the
//! header, which is checked against both (`tests/shim/tests/capi_header.rs`): sizes, offsets and constants
//! against [`LAYOUTS`] and [`CONSTANTS`], prototypes against the forwarders.
//!
//! * `abi` — structures and constants. `status` — error numbers. `memory` — pointers that may be anything.
//! * `handle` — objects behind numbers. `user` — a callback's data and its destructor.
//! * `subscribe`, `inbox`, `thread`, `access`, `fault`, `process` — the functions, as the header's parts.
//!
//! Invariants: no panic crosses the boundary (`status::contained`); a pointer is checked before anything
//! is changed; errno is left alone unless the answer is `E_OS`.
//!
//! # Safety
//! Every function has the contract that the header gives it. Besides what that asks of callbacks and of
//! memory that the caller asks to have written, there is none: numbers and pointers may be anything.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc, reason = "the contract of each function is the header's")]

pub mod abi;
pub mod access;
mod event;
pub mod fault;
mod handle;
pub mod inbox;
mod memory;
pub mod process;
pub mod status;
pub mod subscribe;
pub mod thread;
mod user;

pub use abi::{CONSTANTS, LAYOUTS, Layout};
pub(crate) use handle::prepare;

#[cfg(test)]
mod tests;
