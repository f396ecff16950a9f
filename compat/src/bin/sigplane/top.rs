//! `sigplane top`: a process's signals, live.
//!
//! The terminal is put back on every way out: by `q`, by an error, by a panic, and by the signals that end
//! a terminal program, which come through sigplane itself as ordinary events; so nothing is interrupted
//! in the middle of drawing. Stopped by ^Z, it lets go of the terminal and takes it again.

mod keys;
mod screen;
mod view;

use crate::failure::{Failure, Result};
use clap::Args;
use keys::{Key, keys, wait};
use screen::{Screen, give_back};
use sigplane::{Inbox, Signal, SignalSet};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};
use view::View;

/// Watch a process's signals live: owners, changes, pending and blocked.
///
/// Keys: q or ^C quits, arrow keys or j and k scroll, ^Z stops.
#[derive(Args)]
pub struct Top {
    /// The process
    pid: i32,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    interval: f64,
    /// Only what /proc tells, even if the process is under the shim
    #[arg(long)]
    proc: bool,
}

/// Why the loop ended.
enum End {
    Asked,
    Gone,
    By(Signal),
}

impl Top {
    pub fn run(self) -> Result<i32> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::NoTerminal);
        }
        let mut view = View::new(self.pid, self.proc);
        view.look()?;
        let ending = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
        let signals = inbox(ending.into_iter().chain([Signal::WINCH, Signal::CONT]).collect())?;
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            usual(panic);
        }));
        let end = self.watch(&mut view, &signals);
        drop(signals);
        match end? {
            End::Asked => {}
            End::Gone => println!("process {} has ended", self.pid),
            // As whoever sent it expects: the shell is to see that it was this signal.
            End::By(signal) => {
                let _ended = sigplane::send::raise(signal);
            }
        }
        Ok(0)
    }

    /// Draws until something ends it. When this returns, the terminal is as it was.
    fn watch(&self, view: &mut View, signals: &Inbox) -> Result<End> {
        let failed = |source| Failure::System { what: "the terminal", source };
        let interval = Duration::from_secs_f64(self.interval.clamp(0.05, 3600.0));
        let mut next = Instant::now();
        let mut stops = inbox(Signal::TSTP.into())?;
        let mut screen = Screen::take()?;
        loop {
            if Instant::now() >= next {
                match view.look() {
                    Ok(()) => {}
                    Err(Failure::NoProcess(_)) => return Ok(End::Gone),
                    Err(failure) => return Err(failure),
                }
                next = Instant::now() + interval;
            }
            screen.terminal.draw(|frame| view.draw(frame)).map_err(failed)?;
            let time = next.saturating_duration_since(Instant::now());
            wait([signals, &stops], time).map_err(failed)?;
            while let Some(event) = signals.try_recv() {
                match event.signal() {
                    Signal::WINCH => {}
                    // Somebody else has had the terminal.
                    Signal::CONT => {
                        drop(screen);
                        screen = Screen::take()?;
                    }
                    signal => return Ok(End::By(signal)),
                }
            }
            let mut stop = stops.try_recv().is_some();
            for key in keys() {
                match key {
                    Key::Quit => return Ok(End::Asked),
                    Key::Stop => stop = true,
                    Key::Up => view.scroll(-1),
                    Key::Down => view.scroll(1),
                }
            }
            if stop {
                drop(screen);
                // By its default action, so that the shell sees a stop by this signal.
                drop(stops);
                let _stopped = sigplane::send::raise(Signal::TSTP);
                stops = inbox(Signal::TSTP.into())?;
                screen = Screen::take()?;
            }
        }
    }
}

fn inbox(set: SignalSet) -> Result<Inbox> {
    let failed = |error| Failure::System { what: "subscribing", source: io::Error::other(error) };
    sigplane::subscribe(set).inbox().map_err(failed)
}
