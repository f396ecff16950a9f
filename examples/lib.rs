//! The examples of sigplane; each file beside this one is a program of its own.
//!
//! In reading order: `tour` shows what sigplane does, on live signals; `graceful_shutdown` is a TCP
//! server that drains; `event_loop` waits for signals and other things with epoll; `profiler` samples
//! threads in the immediate context. Run one with `cargo run --release --example NAME`.

/// The README's code is compiled and run as documentation tests of this package.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
