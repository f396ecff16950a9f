//! An epoll loop in which signals are one source of events among others: an inbox, a timer, and
//! standard input, all edge-triggered.
//!
//! ```sh
//! cargo run --release --example event_loop -- --tick 1000
//! ```
//!
//! Try it: type lines; and from a second terminal, with the process number that it prints first,
//! `kill -HUP`, `kill -USR1`, and `/usr/bin/kill -s RTMIN+1 -q 42 PID` (util-linux) for a signal with a
//! value. Ctrl-C or `kill` ends it. When standard input ends the loop goes on without it. `--tick 0`
//! means no timer.

use clap::Parser;
use sigplane::{Inbox, Signal, SignalSet};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What an epoll event says it is for.
const SIGNALS: u64 = 0;
const TIMER: u64 = 1;
const INPUT: u64 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let Options { tick } = Options::parse();
    let stop = SignalSet::from([Signal::INT, Signal::TERM]);
    let others =
        SignalSet::from([Signal::HUP, Signal::USR1, Signal::USR2, Signal::WINCH, Signal::rt(1)?]);
    let inbox = sigplane::subscribe(stop | others).name("event loop").inbox()?;
    let epoll = Epoll::new()?;
    epoll.add(inbox.as_fd(), SIGNALS)?;
    let timer = Timer::every(tick.into())?;
    epoll.add(timer.0.as_fd(), TIMER)?;
    println!("process {}: waiting for {}", std::process::id(), stop | others);

    let mut input = Input::open()?;
    // epoll refuses files and /dev/null, which are always readable: those are read at once.
    if epoll.add(input.descriptor.as_fd(), INPUT).is_err() {
        input.read()?;
    }

    loop {
        for source in epoll.wait()? {
            match source {
                SIGNALS => {
                    if let Some(last) = take_signals(&inbox, stop) {
                        println!("ended by {last}");
                        return Ok(());
                    }
                }
                TIMER => println!("timer: ticks: {}", timer.expirations()?),
                _ => {
                    if input.read()? {
                        epoll.remove(input.descriptor.as_fd())?;
                    }
                }
            }
        }
    }
}

/// Edge-triggered, so everything there is: until the inbox says that it is empty.
fn take_signals(inbox: &Inbox, stop: SignalSet) -> Option<Signal> {
    for event in inbox.try_iter() {
        match event.value() {
            Some(value) => println!("signal: {event}, value {}", value.int()),
            None => println!("signal: {event}"),
        }
        if stop.contains(event.signal()) {
            return Some(event.signal());
        }
    }
    None
}

/// Standard input, past the buffer of `std::io::stdin`, which would hide lines from epoll.
struct Input {
    descriptor: File,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

impl Input {
    fn open() -> io::Result<Self> {
        let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { descriptor: descriptor.into(), partial: Vec::new() })
    }

    /// Reads until it would block and prints what came; whether that was all there will ever be. The
    /// descriptor stays blocking, because it is shared with whoever started us.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        while is_readable(self.descriptor.as_fd()) {
            let count = self.descriptor.read(&mut buffer)?;
            self.partial.extend_from_slice(&buffer[..count]);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                println!("input: {}", String::from_utf8_lossy(&line).trim_end());
            }
            if count == 0 {
                if !self.partial.is_empty() {
                    println!("input: {}", String::from_utf8_lossy(&self.partial));
                }
                println!("input: ended; going on without it");
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd, no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

/// An epoll loop over signals, a timer and standard input.
#[derive(Parser)]
struct Options {
    /// Milliseconds between two ticks of the timer; 0 for none.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    tick: u32,
}

/// The result of a system call, or its error.
fn check(result: i32) -> io::Result<i32> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: takes flags.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: just made, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn add(&self, fd: BorrowedFd<'_>, source: u64) -> io::Result<()> {
        let mut event =
            libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: source };
        // SAFETY: open descriptors and a valid event.
        check(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let no_event = std::ptr::null_mut();
        // SAFETY: open descriptors; the event is not looked at.
        check(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), no_event)
        })?;
        Ok(())
    }

    /// The sources that have something new.
    fn wait(&self) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
        loop {
            // SAFETY: room for as many events as it is told.
            let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 8, -1) };
            match check(count) {
                Ok(count) => {
                    return Ok(events.iter().take(count as usize).map(|event| event.u64).collect());
                }
                // epoll_wait(2) is never restarted. What interrupted it is in the inbox.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

struct Timer(OwnedFd);

impl Timer {
    fn every(milliseconds: i64) -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: takes a clock and flags.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: just made, and nobody else's.
        let timer = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let time = libc::timespec {
            tv_sec: milliseconds / 1000,
            tv_nsec: milliseconds % 1000 * 1_000_000,
        };
        let times = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: an open timer and valid times.
        check(unsafe {
            libc::timerfd_settime(timer.0.as_raw_fd(), 0, &raw const times, std::ptr::null_mut())
        })?;
        Ok(timer)
    }

    /// How often it has expired since the last call.
    fn expirations(&self) -> io::Result<u64> {
        let mut count = 0u64;
        // SAFETY: reads at most eight bytes into eight.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
        check(read as i32)?;
        Ok(count)
    }
}
