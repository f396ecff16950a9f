//! The examples of sigplane; each file beside this one is a program of its own.
//!
//! In reading order: `tour` shows what sigplane does, on live signals; `graceful_shutdown` is a TCP
//! server that drains; `event_loop` waits for signals and other things with epoll; `profiler` samples
//! threads in the immediate context.
//!
//! With tokio and `sigplane-async`: `axum_service` is an HTTP service that drains, reloads its
//! configuration and explains itself; `rt_telemetry` takes a stream of values from another process, and
//! proves that none is lost.
//!
//! Faults: `safe_probe` looks at memory of which nothing is known, a truncated mapping included; `paging`
//! shows a file larger than memory as memory; `jit_trap` leaves the checks of generated code to the
//! processor; `crash_report` writes a report from a helper process and keeps the core dump true.
//!
//! Run one with `cargo run --release --example NAME`.

/// The README's code is compiled and run as documentation tests of this package.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
