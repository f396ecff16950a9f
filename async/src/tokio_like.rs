//! `tokio::signal` as it is called, sigplane underneath: change the `use` line, and the program is moved.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // was: use tokio::signal::{self, unix::SignalKind};
//! use sigplane_async::tokio_like::{self as signal, unix::SignalKind};
//!
//! let mut hangups = signal::unix::signal(SignalKind::hangup())?;
//! # sigplane::send::raise(sigplane::Signal::HUP)?;
//! tokio::select! {
//!     _ = hangups.recv() => println!("reload"),
//!     result = signal::ctrl_c() => result?,
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Names, signatures and constants are those of tokio 1.54 on Linux. As there, a listener merges the
//! instances that it has not been asked about yet, every listener of a kind is told of every signal, and
//! a signal that comes while `recv` is not awaited is not lost. What a signal carries (sender, value,
//! count) is not to be had through this module: [`crate::signal`] gives whole events, and is a `Stream`
//! (tokio's `Signal` is none, and neither is this one; `poll_recv` is what an adapter needs).
//!
//! # Differences
//! | | `tokio::signal` | here |
//! |---|---|---|
//! | The last listener of a signal is dropped | it stays caught until the process ends; what comes is thrown away | it is given back: what comes has its default action |
//! | `ctrl_c()` has completed or was dropped | Ctrl-C stays caught and does nothing | Ctrl-C kills, unless somebody listens: see [below](#ctrl_c-in-a-loop) |
//! | A signal just before `signal(kind)` | reaches the new listener, if it was caught already and no runtime has parked since | does not reach it |
//! | `signal(kind)` outside of any runtime | panics | makes a listener, which joins the runtime that first polls it |
//! | `signal` of no valid kind, in a runtime without an I/O driver | panics | an error; a valid kind panics on both sides |
//! | Who wakes the task | any runtime with an I/O driver that runs, whichever task it is | the runtime that the task is in; for a task in none, the last one that polled the listener |
//! | A listener is polled in a runtime without an I/O driver, or in none after its own was shut down | waits | panics, because nobody would wake it |
//! | SIGBUS, SIGTRAP, SIGSYS | accepted; a real SIGBUS then comes again for ever, because the handler returns to what caused it | refused: these are for [`sigplane::Builder::immediate`] |
//! | Errors | kind `Other` with a text; `EINVAL` for what libc reserves | the same kinds (`InvalidInput` for the reserved); inside is a [`sigplane::Error`], which says what to do |
//! | Descriptors | two for the process, and one more for each runtime | one for each listener; `signal` panics when none is left |
//! | Which runtimes wake up for a signal | all with an I/O driver, listener or not | those with a listener of this signal |
//! | A forked child | its handler writes into the socket that it shares with the parent: either may be woken | its listeners work in a runtime of its own, and get the child's signals only |
//!
//! The first two rows are meant to be so: a program that no longer listens can be stopped. To have what
//! tokio has, keep a listener that nobody reads. It merges, so it never fills:
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! use sigplane_async::tokio_like::unix::{SignalKind, signal};
//! let _caught = signal(SignalKind::interrupt())?; // until it is dropped; `mem::forget`: for ever
//! # sigplane::send::raise(sigplane::Signal::INT).unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! # ctrl_c in a loop
//! `loop { select! { _ = ctrl_c() => …, … } }` makes a new listener each time round. In between nobody
//! listens. There tokio throws a SIGINT away or passes it on to the next listener, depending on when the
//! runtime looks; here it kills. Await one listener, with which nothing is lost in either module:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # use sigplane_async::tokio_like::unix::{SignalKind, signal};
//! # use std::time::Duration;
//! let mut interrupts = signal(SignalKind::interrupt())?; // before the loop, not in it
//! # sigplane::send::raise(sigplane::Signal::INT).unwrap();
//! loop {
//!     tokio::select! {
//!         _ = interrupts.recv() => break,
//!         _ = tokio::time::sleep(Duration::from_millis(10)) => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod unix;

use std::io;
use unix::SignalKind;

/// Completes with the first SIGINT after its first poll: see `tokio::signal::ctrl_c`.
///
/// As there, it listens from its first poll on, not from the call: in `select!`, a disabled branch is
/// called all the same, and must not catch anything. [`crate::ctrl_c`] listens from the call on.
///
/// When it has completed or is dropped, Ctrl-C kills again unless somebody else listens: in a loop, hold
/// a listener, as shown [above](self#ctrl_c-in-a-loop).
///
/// # Errors
/// Those of [`unix::signal`].
///
/// # Panics
/// When it is polled outside of any runtime, or in one without an I/O driver.
///
/// # Examples
/// ```
/// use sigplane_async::tokio_like as signal; // was: use tokio::signal;
///
/// #[tokio::main(flavor = "current_thread")]
/// async fn main() -> std::io::Result<()> {
/// #   tokio::spawn(async { sigplane::send::raise(sigplane::Signal::INT).unwrap() });
///     signal::ctrl_c().await?;
///     println!("stopping");
///     Ok(())
/// }
/// ```
pub async fn ctrl_c() -> io::Result<()> {
    // The place of this call is in no file of the program: in a table, a name says more.
    unix::listen(SignalKind::interrupt(), "tokio_like::ctrl_c")?.recv().await;
    Ok(())
}
