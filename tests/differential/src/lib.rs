//! The differential test of the shim: random programs over signal operations, run as they are and under the
//! shim; the kernel is the model, and everything that a program can observe must be the same.
//!
//! [`generate`] writes programs that are deterministic by construction, `victim/` interprets them with plain
//! libc calls, [`server`] runs them, [`check`] compares, [`shrink`] makes a failing one small and
//! [`listing`] prints it. `design/differential.md` says why it is built so.

pub mod check;
pub mod generate;
pub mod listing;
pub mod opcode;
pub mod options;
pub mod program;
pub mod server;
pub mod shrink;
