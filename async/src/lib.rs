//! Signals awaited in tokio, on top of [`sigplane`]: full events, nothing lost, several listeners, and
//! the signal given back when the last one leaves.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> sigplane::Result<()> {
//! use sigplane::{Signal, send};
//!
//! let mut hangups = sigplane_async::signal(Signal::HUP)?;
//! # send::raise(Signal::HUP).unwrap();
//! let event = hangups.recv().await;
//! println!("reload, says {:?}", event.sender());
//! drop(hangups); // SIGHUP kills again, as before
//! # Ok(())
//! # }
//! ```
//!
//! * [`signal`] and [`signals`]: a [`SignalStream`] of events. [`BuilderExt::stream`] takes every setting
//!   of [`sigplane::Builder`]: name, capacity, overflow policy, priority, observing.
//! * [`ctrl_c`] and [`terminate`]: the first SIGINT, the first SIGTERM.
//! * [`Shutdown`]: the first signal cancels a token, a second one or a time limit ends the process.
//! * [`reload`]: a burst of SIGHUP as one request. [`child_events`]: every child's exit, although the
//!   kernel merges SIGCHLD. [`with_stop_and_continue`]: the terminal restored around SIGTSTP.
//! * [`alertable`]: closures posted to a task.
//! * [`tokio_like`]: the names and signatures of `tokio::signal`.
//!
//! # The way of a signal
//! The handler queues the event and, if the queue was at rest, writes an eventfd; the runtime's reactor
//! (`tokio::io::unix::AsyncFd`, edge-triggered) wakes the task. No thread of sigplane's is involved, and
//! the eventfd is never read.
//!
//! # Threads and order
//! The events of a stream are in the order in which one thread received them. The kernel gives a
//! process's signals to any thread that does not block them, the main thread by preference, and while
//! that one is in a handler to another: two threads that receive at the same time queue in either order.
//! Where the order of a burst of real-time signals matters, let one thread receive, by keeping the
//! signals off the others: build the runtime in [`sigplane::thread::shielded`], or give
//! `Builder::on_thread_start` the function [`sigplane::thread::shield`] (a worker may then receive a signal
//! before it has come to that). Programs
//! that such threads start need [`sigplane::thread::unshield`]. A sender that is far ahead costs: the kernel
//! searches its list of pending signals for each one (kernel/signal.c, `collect_signal`), so that several
//! real-time signals with tens of thousands pending take milliseconds each.
//!
//! # Not here: waking a worker
//! [`sigplane::thread::post`](sigplane::thread::ThreadHandle::post) and alertable waits belong to threads
//! that are yours. A runtime's worker waits in its reactor, in a call of the runtime's own, and runs
//! whichever task is ready: a closure posted to it would wait for a safe point that never comes, or run in
//! the middle of another task. Post to the task instead: [`alertable`].
#![deny(unsafe_code)]

mod children;
mod first;
mod reactor;
mod reload;
mod shutdown;
mod stream;
mod task;
mod terminal;
pub mod tokio_like;
mod trace;

pub use children::{ChildEvents, ChildExit, child_events};
pub use first::{First, ctrl_c, terminate};
pub use reload::{Reload, reload};
pub use shutdown::{Ending, Outcome, Shutdown, ShutdownBuilder};
pub use stream::{BuilderExt, SignalStream, signal, signals};
pub use task::{Alertable, Gone, Posted, TaskHandle, alertable};
pub use terminal::with_stop_and_continue;
/// Re-exported from `tokio-util`, because [`Shutdown::token`] gives one.
pub use tokio_util::sync::CancellationToken;
