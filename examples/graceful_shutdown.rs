//! A TCP server that shuts down gracefully: lines are echoed, one thread per connection.
//!
//! The first SIGINT or SIGTERM closes the listening socket and lets open connections finish, for a
//! limited time. The second ends the process at once, by that signal, so that a shell sees status 130
//! or 143: after the first one the subscription is dropped and the kernel has its default back, which
//! works even if the draining hangs.
//!
//! The main thread owns the subscription and waits for connections with `thread::wait_fd`, which a
//! signal interrupts without a race: no self-pipe, no global flag, no polling.
//!
//! ```sh
//! cargo run --release --example graceful_shutdown -- --port 7878 --limit 10
//! ```
//!
//! Try it: `nc 127.0.0.1 7878` in a second terminal, type lines; `kill` the server or press Ctrl-C and
//! go on typing; close `nc`, and the server ends with status 0. Ctrl-C twice ends it at once. With
//! `--port 0` the kernel chooses a port; the first line of output tells it. The exit status is 1 when
//! the limit passed and connections were cut.

use clap::Parser;
use sigplane::thread::{self, FdWake, Interest};
use sigplane::{Event, Signal, SignalSet, send};
use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

const STOP: [Signal; 2] = [Signal::INT, Signal::TERM];

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Options { port, limit } = Options::parse();
    let first = Rc::new(RefCell::new(None::<Event>));
    let subscription = sigplane::subscribe(SignalSet::from(STOP)).name("drain").thread({
        let first = Rc::clone(&first); // ordinary code on this thread: no Send, no lock
        move |event| {
            first.borrow_mut().get_or_insert_with(|| event.clone());
        }
    })?;

    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);
    let connections = Arc::new(Connections::default());
    let event = loop {
        if let Some(event) = first.take() {
            break event;
        }
        if let FdWake::Ready { .. } = thread::wait_fd(listener.as_fd(), Interest::READABLE, None)? {
            accept(&listener, &connections)?;
        }
    };

    drop(listener); // new connections are refused from here on
    let _removal = subscription.unsubscribe(); // and the next signal takes the default action
    if let Some(signal) = second_came_early(&event) {
        send::raise(signal)?;
    }
    println!("{event}: draining {} connections for at most {limit:?}", connections.open());
    let cut = connections.drain(limit);
    println!("echoed {} lines; connections cut: {cut}", connections.lines.load(Ordering::Relaxed));
    Ok(if cut == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The second signal, if it came while the subscription still stood: it has been discarded with it, but
/// not without being counted.
fn second_came_early(first: &Event) -> Option<Signal> {
    let table = sigplane::table();
    let delivered = |signal: Signal| table.row(signal).map_or(0, |row| row.delivered);
    STOP.into_iter().find(|signal| delivered(*signal) > usize::from(*signal == first.signal()))
}

fn accept(listener: &TcpListener, connections: &Arc<Connections>) -> io::Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => connections.serve(stream)?,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            // The client has gone already: the next one, please.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The open connections, by number.
#[derive(Default)]
struct Connections {
    open: Mutex<HashMap<usize, TcpStream>>,
    closed: Condvar,
    next: AtomicUsize,
    lines: AtomicUsize,
}

impl Connections {
    fn serve(self: &Arc<Self>, stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(number, stream.try_clone()?);
        let connections = Arc::clone(self);
        let served = std::thread::Builder::new().spawn(move || {
            if let Err(error) = connections.echo(&stream) {
                eprintln!("connection {number}: {error}");
            }
            connections.lock().remove(&number);
            connections.closed.notify_all();
        });
        if let Err(error) = served {
            self.lock().remove(&number);
            eprintln!("connection {number} is refused: {error}");
        }
        Ok(())
    }

    fn echo(&self, stream: &TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            (&mut &*stream).write_all(&line)?;
            self.lines.fetch_add(1, Ordering::Relaxed);
            line.clear();
        }
        Ok(())
    }

    fn open(&self) -> usize {
        self.lock().len()
    }

    /// Waits until all are closed, but not longer than `limit`; cuts the rest and returns how many.
    fn drain(&self, limit: Duration) -> usize {
        let waited = self.closed.wait_timeout_while(self.lock(), limit, |open| !open.is_empty());
        let (open, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for stream in open.values() {
            let _gone_already = stream.shutdown(Shutdown::Both);
        }
        open.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}

/// Echoes lines over TCP, and drains when it is told to stop.
#[derive(Parser)]
struct Options {
    /// The port on 127.0.0.1; 0 lets the kernel choose, and the first line of output tells it.
    #[arg(long, default_value_t = 7878)]
    port: u16,
    /// How long open connections may take to finish after the first signal.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    limit: Duration,
}
