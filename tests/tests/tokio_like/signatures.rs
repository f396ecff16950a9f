//! What a program may say of the module under test. It is compiled against both, and never run.

use std::future::Future;
use std::io::Result;
use std::os::raw::c_int;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::{Context, Poll};

under_test!();
use signal::unix::{Signal, SignalKind, signal};

// As functions of exactly these types.
const _: fn(SignalKind) -> Result<Signal> = signal;
const _: fn(&mut Signal, &mut Context<'_>) -> Poll<Option<()>> = Signal::poll_recv;
const _: fn(c_int) -> SignalKind = SignalKind::from_raw;
const _: fn(&SignalKind) -> c_int = SignalKind::as_raw_value;
const _: fn(c_int) -> SignalKind = <SignalKind as From<c_int>>::from;
const _: fn(SignalKind) -> c_int = <c_int as From<SignalKind>>::from;

// In constants, and as patterns of a `match`.
const KINDS: [SignalKind; 12] = [
    SignalKind::alarm(),
    SignalKind::child(),
    SignalKind::hangup(),
    SignalKind::interrupt(),
    SignalKind::io(),
    SignalKind::pipe(),
    SignalKind::quit(),
    SignalKind::terminate(),
    SignalKind::user_defined1(),
    SignalKind::user_defined2(),
    SignalKind::window_change(),
    SignalKind::from_raw(1),
];
const _: [(); 14] = [(); KINDS[0].as_raw_value() as usize];
const HANGUP: SignalKind = SignalKind::hangup();
const _: () = assert!(matches!(KINDS[11], HANGUP));

const fn kind<T: std::fmt::Debug + Copy + Eq + std::hash::Hash + Send + Sync + 'static>() {}
const _: () = kind::<SignalKind>();

const fn listener<T: std::fmt::Debug + Send + Sync + Unpin + 'static>() {}
const _: () = listener::<Signal>();

const fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
const _: () = unwind_safe::<SignalKind>();

/// The futures: what they give, and that a task may have them.
#[allow(dead_code, reason = "compiling it is the test")]
fn futures(mut listener: Signal) {
    fn a_task<T>(_: impl Future<Output = T> + Send + Sync) {}
    a_task::<Option<()>>(listener.recv());
    fn a_long_task<T, F: Future<Output = T> + Send + Sync + 'static>(_: fn() -> F) {}
    a_long_task::<Result<()>, _>(signal::ctrl_c);
}

/// Moved by inference: a number for a kind, `?` in a function of `io::Result`.
#[allow(dead_code, reason = "compiling it is the test")]
fn inferred() -> Result<(Signal, c_int)> {
    let kind: SignalKind = 10.into();
    Ok((signal(kind)?, kind.into()))
}
