//! The examples, run as their users run them, and the tour's verdict: `BRIEF.md` §2 (`examples/`), the
//! issue's "Examples" and its first point, "the README's two commands".
//!
//! `cargo test --workspace` builds the executables, beside this one in `target/…/examples`.

use sigplane::Signal;
use sigplane::send::{self, Value};
use sigplane_tests::examples::{example, example_path, line_with, signal};
use sigplane_tests::{Exit, Running, Suite};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

/// The main job: exit status 0, every claim marked ✓, the last line says so, and no colours go into a
/// pipe. "a final line that says whether everything held; exit status accordingly".
fn tour() {
    let (exit, output) = Running::start(example("tour", &[])).finish();
    let last = output.lines().last().unwrap_or_default();
    assert!(exit.success(), "{exit:?}\n{output}");
    let held = last.strip_prefix("Everything held: ").and_then(|rest| rest.split(' ').next());
    let held: usize =
        held.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{output}"));
    let marks = output.lines().filter(|line| line.starts_with("  ✓ ")).count();
    assert_eq!(marks, held, "the count in the last line is that of the marks\n{output}");
    // seccomp may be refused in a container; that claim is then left out and said so.
    assert!(marks >= 33 && !output.contains('✗') && !output.contains('\x1b'), "{output}");
    let titles =
        output.lines().filter(|line| line.get(..2).is_some_and(|n| n.trim().parse::<u8>().is_ok()));
    assert_eq!(titles.count(), 10, "{output}");
}

/// A server on a port of the kernel's choice, and its address.
fn server(limit: &str) -> (Running, SocketAddr) {
    let mut server =
        Running::start(example("graceful_shutdown", &["--port", "0", "--limit", limit]));
    let address = line_with(&mut server, "listening on ").parse().expect("an address");
    (server, address)
}

struct Client(BufReader<TcpStream>);

impl Client {
    /// Connected, and served: one line has been echoed, and half of another is on its way.
    fn in_flight(address: SocketAddr) -> Self {
        let mut client =
            Self(BufReader::new(TcpStream::connect(address).expect("the server accepts")));
        client.say("first\nun");
        assert_eq!(client.line(), "first\n");
        client
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        line
    }
}

/// "first signal drains": 50 connections in the middle of a line finish after SIGTERM, while new ones
/// are refused, and the server ends by itself with status 0.
fn drains() {
    let (mut server, address) = server("200");
    let mut clients: Vec<Client> = (0..50).map(|_| Client::in_flight(address)).collect();
    signal(&server, Signal::TERM);
    let said = line_with(&mut server, "SIGTERM from process ");
    assert!(said.starts_with(&std::process::id().to_string()), "it says who sent it: {said}");
    assert!(said.contains("draining 50 connections"), "{said}");
    let refused = TcpStream::connect(address).map_err(|error| error.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
    for client in &mut clients {
        client.say("finished\n");
        assert_eq!(client.line(), "unfinished\n");
    }
    drop(clients);
    assert_eq!(
        server.finish(),
        (Exit::Code(0), "echoed 100 lines; connections cut: 0\n".to_owned())
    );
}

/// "second exits at once": by the signal itself, whichever of the two it is, with a connection open.
fn second_signal_ends() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)]
    {
        let (mut server, address) = server("200");
        let _client = Client::in_flight(address);
        signal(&server, first);
        line_with(&mut server, first.name());
        signal(&server, second);
        let (exit, rest) = server.finish();
        assert_eq!(exit.signal(), Some(second.number()), "{exit:?} {rest}");
        assert_eq!(rest, "");
    }
}

/// The limit of the draining: a connection that is not closed is cut, and the exit status tells.
fn limit_cuts() {
    let (mut server, address) = server("0");
    let mut client = Client::in_flight(address);
    signal(&server, Signal::INT);
    line_with(&mut server, "SIGINT");
    let (exit, rest) = server.finish();
    assert_eq!((exit, rest.as_str()), (Exit::Code(1), "echoed 1 lines; connections cut: 1\n"));
    let mut end = String::new();
    assert!(matches!(client.0.read_to_string(&mut end), Ok(_) | Err(_)) && end.is_empty());
}

/// Values that come by sigqueue are printed in order, beside lines, the timer, and after standard input
/// has been closed; it ends by SIGTERM with status 0.
fn event_loop() {
    let mut running = Running::start(example("event_loop", &["--tick", "10"]));
    let pid = running.pid();
    let waits = line_with(&mut running, &format!("process {pid}: waiting for "));
    assert!(waits.contains("SIGTERM"), "{waits}");
    let queued = Signal::rt(1).expect("libc has some");
    let values = |from: i32| {
        for value in from..from + 50 {
            while let Err(error) = send::to_process_with(pid, queued, Value::from_int(value)) {
                assert!(error.is_retryable(), "{error}");
                std::thread::yield_now();
            }
        }
    };
    let expect = |running: &mut Running, from: i32| {
        let prefix = format!("signal: {queued} from process {}", std::process::id());
        for value in from..from + 50 {
            let line = line_with(running, &prefix);
            assert!(line.ends_with(&format!(", value {value}")), "{value}: {line}");
        }
    };
    values(0);
    expect(&mut running, 0);
    running.tell("a line");
    running.expect("input: a line");
    line_with(&mut running, "timer: ");
    signal(&running, Signal::HUP);
    line_with(&mut running, "signal: SIGHUP");
    running.close();
    running.expect("input: ended; going on without it");
    values(50);
    expect(&mut running, 50);
    line_with(&mut running, "timer: ");
    signal(&running, Signal::TERM);
    running.expect("ended by SIGTERM");
    assert_eq!(running.wait(), Exit::Code(0));
}

/// A standard input that epoll refuses does not stop the loop.
fn event_loop_without_input() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" --tick 0 </dev/null"]).arg(example_path("event_loop"));
    let mut running = Running::start(command);
    running.expect("input: ended; going on without it");
    signal(&running, Signal::INT);
    running.expect("ended by SIGINT");
    assert_eq!(running.wait(), Exit::Code(0));
}

/// The histogram names the workload's functions in the order of the work they do, each sampled, and
/// together nearly all of it.
fn profiler() {
    let (exit, output) = Running::start(example("profiler", &["--seconds", "1"])).finish();
    assert!(exit.success(), "{exit:?}\n{output}");
    let rows: Vec<(&str, usize)> = output
        .lines()
        .skip_while(|line| !line.starts_with("FUNCTION"))
        .skip(1)
        .map(|line| line.split_whitespace())
        .map(|mut words| {
            (words.next().unwrap_or(""), words.next().and_then(|n| n.parse().ok()).unwrap_or(0))
        })
        .collect();
    let names: Vec<&str> = rows.iter().take(3).map(|row| row.0).collect();
    assert_eq!(
        names,
        ["profiler::most_of_it", "profiler::some_of_it", "profiler::little_of_it"],
        "{output}"
    );
    let all: usize = rows.iter().map(|row| row.1).sum();
    let known: usize = rows.iter().take(3).map(|row| row.1).sum();
    assert!(known * 10 >= all * 9, "{known} of {all} samples are in the workload\n{output}");
    for thread in ["thread 1: ", "thread 2: "] {
        let line = output.lines().find_map(|line| line.strip_prefix(thread)).unwrap_or_default();
        assert!(!line.is_empty() && !line.starts_with("0 samples"), "{output}");
    }
}

fn main() {
    Suite {
        tests: &[
            ("tour", tour),
            ("graceful_shutdown_drains", drains),
            ("graceful_shutdown_second_signal_ends", second_signal_ends),
            ("graceful_shutdown_limit_cuts", limit_cuts),
            ("event_loop", event_loop),
            ("event_loop_without_input", event_loop_without_input),
            ("profiler", profiler),
        ],
        victims: &[],
    }
    .main()
}
