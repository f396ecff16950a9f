//! Stopping and going on, for programs that own the terminal.

use crate::stream::signals;
use crate::trace::event;
use sigplane::{Event, Result, Signal, process};
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long after a stop of ours a SIGCONT is taken for the one that ended it. Another thread's handler
/// may be a little late with it; that one `after_continue` too many can come of it is harmless.
const SAME: Duration = Duration::from_secs(1);

/// Runs `future`, and around every stop of the process `before_stop` and `after_continue`: for programs
/// that have put the terminal into another mode and must restore it for the shell.
///
/// On SIGTSTP (Ctrl-Z) `before_stop` is called, then the process stops as if nobody had handled the
/// signal: the parent sees a child stopped by SIGTSTP. When SIGCONT lets it go on, `after_continue` is
/// called. It is also called for a SIGCONT after a stop that no program can see (SIGSTOP) or without any
/// stop, because the terminal may have been changed meanwhile. A process whose group is orphaned does not
/// stop; `after_continue` then follows at once.
///
/// Stops merge as they do in the kernel: a SIGTSTP that arrives before the process goes on belongs to the
/// same stop, and a SIGCONT that arrives before the process has stopped undoes it; then `after_continue`
/// follows at once.
///
/// A program that was continued in the background does not own the terminal: where that matters,
/// `after_continue` compares tcgetpgrp(3) with its own group, or setting a mode stops it by SIGTTOU.
///
/// The whole process stops, all its threads and tasks. Both closures run in the task that awaits this,
/// between two polls of `future`, and hold up the task while they run. Both signals are given back when
/// this completes or is dropped.
///
/// # Errors
/// Those of [`signals`].
///
/// # Panics
/// As [`signals`].
///
/// # References
/// signal(7), setpgid(2) on orphaned process groups; termios(3).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # fn leave_raw_mode() {} fn enter_raw_mode() {}
/// let answer = sigplane_async::with_stop_and_continue(
///     |_stop| leave_raw_mode(),
///     |_continued| enter_raw_mode(),
///     async { 42 }, // the program's main loop
/// )
/// .await?;
/// assert_eq!(answer, 42);
/// # Ok(())
/// # }
/// ```
pub async fn with_stop_and_continue<F: Future>(
    mut before_stop: impl FnMut(&Event),
    mut after_continue: impl FnMut(&Event),
    future: F,
) -> Result<F::Output> {
    let mut stream = signals([Signal::TSTP, Signal::CONT])?;
    let mut future = pin!(future);
    // When the last stop of ours ended. What was sent to stop the process before has been undone.
    let mut resumed: Option<Instant> = None;
    // Whether the SIGCONT that ended it is still to come: it has had its `after_continue`.
    let mut expected = false;
    let step = |cx: &mut Context<'_>| {
        while let Poll::Ready(event) = stream.poll_recv(cx) {
            let arrival = arrival(&event);
            if event.signal() == Signal::TSTP {
                if resumed.is_some_and(|at| arrival < at) {
                    continue;
                }
                before_stop(&event);
                // Several Ctrl-Z are one stop, and a SIGCONT after the last of them is its end.
                let last = std::iter::from_fn(|| stream.try_recv()).last();
                if let Some(undone) = last.filter(|last| last.signal() == Signal::CONT) {
                    event!(debug, %undone, "not stopping");
                    after_continue(&undone);
                    continue;
                }
                event!(debug, %event, "stopping");
                process::take_default(&event);
                (resumed, expected) = (Some(Instant::now()), true);
                event!(debug, "going on");
                after_continue(&event);
            } else {
                let same = expected && resumed.is_some_and(|at| arrival < at + SAME);
                expected = false;
                if !same {
                    after_continue(&event);
                }
            }
        }
        Pin::as_mut(&mut future).poll(cx)
    };
    Ok(std::future::poll_fn(step).await)
}

fn arrival(event: &Event) -> Instant {
    let age = event.age();
    Instant::now().checked_sub(age).unwrap_or_else(Instant::now)
}
