//! The two services of `examples/`, driven from outside: the axum example by a real HTTP client with
//! hundreds of requests in flight, the telemetry example with its proof and the ways that it fails.
//!
//! Issue "Async", what must be shown, 6: "driven … through HUP, TERM and a second TERM: no request in
//! flight is dropped in the graceful path; exit status as expected"; and its "Examples".
//!
//! A request is in flight when the server has begun to handle it, which `/status` counts; every test
//! waits for that before it sends the signal. What has only reached the kernel when the server stops
//! accepting is refused, and nothing has been done for it; the example says so.

#[path = "async_services/server.rs"]
mod server;

use server::{Answer, Connections, Server, Web};
use sigplane::Signal;
use sigplane::send::{self, Value};
use sigplane_tests::examples::{example, line_with, signal};
use sigplane_tests::{Exit, Running, Suite, eventually, quick};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Half on kept connections, half on fresh ones.
fn kind(index: u64) -> Connections {
    if index.is_multiple_of(2) { Connections::Kept } else { Connections::Fresh }
}

/// Sends so many requests at once.
fn launch(runtime: &Runtime, web: &Web, count: u64, path: &str) -> Vec<JoinHandle<Answer>> {
    let start = |index| {
        let (web, path) = (web.clone(), path.to_owned());
        runtime.spawn(async move { web.get(kind(index), &path).await })
    };
    (0..count).map(start).collect()
}

fn answers(runtime: &Runtime, flights: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let wait = |flight: JoinHandle<Answer>| runtime.block_on(flight).expect("no panic");
    flights.into_iter().map(wait).collect()
}

/// HUP and USR1 under load: every new configuration is seen by the requests that follow, none goes back
/// to an older one, none of hundreds in flight fails; a bad file changes nothing; the table is printed.
fn reload_under_load() {
    let count = quick(300);
    let (runtime, mut server) = (runtime(), Server::start(&["--limit", "200"]));
    let web = Web::new(server.address);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..count)
        .map(|index| runtime.spawn(visit(web.clone(), index, Arc::clone(&stop))))
        .collect();

    for version in 1..=5 {
        // Others are between two requests, but most are in flight when the signal comes.
        web.until(&runtime, "in_flight", count * 2 / 3);
        server.configure(&format!("greeting = v{version}\n"));
        // One request to reload, or two if the machine pauses in between.
        signal(&server.running, Signal::HUP);
        signal(&server.running, Signal::HUP);
        eventually("the new configuration", || {
            web.status(&runtime)["config"]["greeting"] == format!("v{version}")
        });
        for connections in [Connections::Kept, Connections::Fresh] {
            let answer = runtime.block_on(web.get(connections, "/greet/Ada"));
            assert_eq!(answer, Ok((200, format!("v{version}, Ada!\n"))));
        }
        let said = line_with(&mut server.running, "SIGHUP from process ");
        assert!(said.starts_with(&std::process::id().to_string()), "{said}");
    }

    server.configure("# so far, so good\nlongest_ms = soon\n");
    signal(&server.running, Signal::HUP);
    web.until(&runtime, "failed_reloads", 1);
    let said = server.errors_until("the old configuration stays");
    assert!(said.contains("line 2: \"soon\""), "{said}");
    let status = web.status(&runtime);
    assert_eq!(status["config"], serde_json::json!({ "greeting": "v5", "longest_ms": 60_000 }));
    assert_eq!(status["draining"], false);
    assert!(status["reloads"].as_u64() >= Some(5), "{status}");
    for (row, name) in [("SIGHUP", "reload"), ("SIGTERM", "shutdown"), ("SIGUSR1", "dump")] {
        let rows = status["signals"].as_array().expect("rows");
        let row = rows.iter().find(|it| it["signal"] == row).expect("a row");
        let mut entries = row["entries"].as_array().expect("entries").iter();
        assert!(row["ours"] == true && entries.any(|entry| entry["name"] == name), "{row}");
    }

    signal(&server.running, Signal::USR1);
    let table = server.errors_until("threads attached");
    assert!(table.contains("  shutdown  [") && table.contains("  reload  ["), "{table}");

    stop.store(true, Ordering::Relaxed);
    let visits: u64 =
        load.into_iter().map(|visitor| runtime.block_on(visitor).expect("no failure")).sum();
    signal(&server.running, Signal::TERM);
    let (exit, last) = server.end();
    assert_eq!(exit, Exit::Code(0), "{last}");
    assert!(visits >= 2 * count);
    all_is_logged(&server, web.answered(), &last);
}

/// Works and greets until it is stopped; returns how many requests it made. Panics if one fails.
async fn visit(web: Web, index: u64, stop: Arc<AtomicBool>) -> u64 {
    let (mut latest, mut requests) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let worked = web.get(kind(index), "/work?ms=300").await;
        assert_eq!(worked, Ok((200, "worked for 300 ms\n".to_owned())));
        let (status, greeting) = web.get(kind(index), "/greet/Bo").await.expect("an answer");
        let version = greeting.strip_prefix('v').and_then(|it| it.strip_suffix(", Bo!\n"));
        let version: u32 = version.and_then(|it| it.parse().ok()).expect("a version");
        assert!(status == 200 && version >= latest, "{greeting} after {latest}");
        latest = version;
        requests += 2;
    }
    requests
}

/// As many lines in the log as whole responses that clients got, and as the server says.
fn all_is_logged(server: &Server, answers: usize, last: &str) {
    let log = server.log();
    assert!(log.iter().all(|line| line.contains(" 200 ")), "{log:?}");
    assert_eq!(log.len(), answers);
    let me = std::process::id();
    assert!(last.starts_with(&format!("drained: {} requests in ", log.len())), "{last}");
    assert!(
        last.contains(&format!(", 0 cut by clients; asked by process {me} of user ")),
        "{last}"
    );
    assert!(last.ends_with(" with SIGTERM"), "{last}");
}

/// "No request in flight is dropped in the graceful path": 400 that have begun when TERM comes are all
/// answered, while the server refuses others; then it ends by itself with status 0.
fn drains() {
    // If the machine is so slow that the first have finished before TERM comes, they have to take longer.
    for ms in [3_000, 12_000, 48_000] {
        if drained_in_flight(ms) {
            return;
        }
    }
    panic!("never were all requests in flight at the same time");
}

/// Whether all requests were still in flight when the signal came. They are answered in any case.
fn drained_in_flight(ms: u64) -> bool {
    let count = quick(400);
    let (runtime, mut server) = (runtime(), Server::start(&["--limit", "200"]));
    let web = Web::new(server.address);
    // Connections are accepted in their order, so these two are when the requests are in flight.
    let mut silent = TcpStream::connect(server.address).expect("accepted");
    let mut idle = idle(server.address);
    // Leaves connections that are kept.
    for answer in answers(&runtime, launch(&runtime, &web, count, "/work?ms=100")) {
        assert_eq!(answer, Ok((200, "worked for 100 ms\n".to_owned())));
    }
    let flights = launch(&runtime, &web, count, &format!("/work?ms={ms}"));
    eventually("the beginning of all requests", || {
        // Looked at first, so that none is counted twice. The request for the status counts too.
        let finished = flights.iter().filter(|flight| flight.is_finished()).count() as u64;
        web.status(&runtime)["in_flight"].as_u64().expect("a number") + finished > count
    });
    signal(&server.running, Signal::TERM);
    let said = line_with(&mut server.running, "SIGTERM from process ");
    let (_, in_flight) = said.split_once(": draining, ").expect("what it does");
    let in_flight: u64 =
        in_flight.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");

    signal(&server.running, Signal::HUP); // Still taken: its default would kill.
    line_with(&mut server.running, "SIGHUP from process ");
    eventually("refusal", || {
        let refused = TcpStream::connect(server.address).map_err(|error| error.kind());
        refused.err() == Some(ErrorKind::ConnectionRefused)
    });
    for connection in [&mut silent, &mut idle] {
        let mut rest = Vec::new();
        // Whether it sees the end or a reset is up to the kernel.
        let _reset = connection.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    for answer in answers(&runtime, flights) {
        assert_eq!(answer, Ok((200, format!("worked for {ms} ms\n"))));
    }
    let (exit, last) = server.end();
    assert_eq!(exit, Exit::Code(0), "{last}");
    all_is_logged(&server, web.answered() + 1, &last); // The idle connection had an answer too.
    in_flight == count
}

/// A connection on which one request has been answered, and which is kept alive.
fn idle(address: SocketAddr) -> TcpStream {
    let mut stream = BufReader::new(TcpStream::connect(address).expect("accepted"));
    stream.get_mut().write_all(b"GET /greet/Cy HTTP/1.1\r\nhost: here\r\n\r\n").expect("sent");
    let mut line = String::new();
    while line != "v0, Cy!\n" {
        line.clear();
        assert!(stream.read_line(&mut line).expect("an answer") > 0);
    }
    stream.into_inner()
}

/// With `--notice` it serves on while `/status` says that it drains. The second signal then ends it at
/// once, by that signal, whichever of the two it is, with requests in flight.
fn second_signal_ends() {
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::TERM, Signal::INT)]
    {
        let (runtime, count) = (runtime(), quick(100));
        let mut server = Server::start(&["--limit", "0", "--notice", "1000"]);
        let web = Web::new(server.address);
        let flights = launch(&runtime, &web, count, "/work?ms=60000");
        web.until(&runtime, "in_flight", count + 1);
        signal(&server.running, first);
        line_with(&mut server.running, first.name());
        let status = web.status(&runtime);
        assert_eq!(
            (&status["draining"], &status["in_flight"]),
            (&true.into(), &(count + 1).into())
        );
        let answer = runtime.block_on(web.get(Connections::Fresh, "/greet/Di"));
        assert_eq!(answer, Ok((200, "v0, Di!\n".to_owned())));
        signal(&server.running, second);
        let (exit, rest) = server.end();
        assert_eq!((exit.signal(), rest.as_str()), (Some(second.number()), ""), "{exit:?}");
        assert!(answers(&runtime, flights).iter().all(Result::is_err));
    }
}

/// The limit ends it as a second SIGTERM would, also when SIGINT has asked.
fn limit_ends() {
    for first in [Signal::TERM, Signal::INT] {
        let (runtime, mut server) = (runtime(), Server::start(&["--limit", "0.2"]));
        let web = Web::new(server.address);
        let flights = launch(&runtime, &web, 10, "/work?ms=60000");
        web.until(&runtime, "in_flight", 11);
        signal(&server.running, first);
        assert_eq!(server.end().0.signal(), Some(Signal::TERM.number()));
        assert!(answers(&runtime, flights).iter().all(Result::is_err));
    }
}

/// A hook that fails is named in the last line and in the exit status.
fn log_that_fails() {
    let mut running =
        Running::start(example("axum_service", &["--port", "0", "--log", "/dev/full"]));
    let address = line_with(&mut running, "listening on ").parse().expect("an address");
    let (runtime, web) = (runtime(), Web::new(address));
    let answer = runtime.block_on(web.get(Connections::Fresh, "/greet/Eve"));
    assert_eq!(answer, Ok((200, "Hello, Eve!\n".to_owned())));
    signal(&running, Signal::TERM);
    let (exit, output) = running.finish();
    let last = output.lines().last().unwrap_or_default();
    assert!(exit == Exit::Code(1) && last.ends_with("; failed: access log"), "{exit:?} {output}");
}

fn telemetry(arguments: &[&str]) -> (Exit, String) {
    Running::start(example("rt_telemetry", arguments)).finish()
}

/// 100,000 values by four signals from another process: every one once and in order, in the example's
/// own account, whose table adds up. It draws nothing into a pipe.
fn telemetry_loses_nothing() {
    let count = quick(100_000);
    let mut command =
        example("rt_telemetry", &["--count", &count.to_string(), "--patience", "200"]);
    let (mut errors, writer) = std::io::pipe().expect("a pipe");
    command.stderr(writer);
    let (exit, output) = Running::start(command).finish();
    let last = output.lines().last().unwrap_or_default();
    assert_eq!((exit, last), (Exit::Code(0), &*nothing_lost(count, 4)), "{output}");
    let rows = output.lines().filter(|line| line.starts_with("SIGRTMIN+"));
    let values: Vec<u64> =
        rows.filter_map(|row| row.split_whitespace().nth(1)?.parse().ok()).collect();
    assert_eq!((values.len(), values.iter().sum()), (4, count), "{output}");
    let mut drawn = String::new();
    errors.read_to_string(&mut drawn).expect("text");
    assert_eq!(drawn, "");
}

fn nothing_lost(count: u64, channels: usize) -> String {
    format!("nothing lost: {count} values on {channels} channels, every one once and in order")
}

/// Its proof can fail: a value that is left out, sent twice or out of turn is named.
fn telemetry_notices() {
    for (mistake, finding) in [
        ("skip", "SIGRTMIN+3: value 500 is missing"),
        ("double", "SIGRTMIN+3: value 500 came twice"),
        ("swap", "SIGRTMIN+3: value 499 came after a later one"),
    ] {
        let (exit, output) = telemetry(&["--count", "3000", "--channels", "3", "--spoil", mistake]);
        assert_eq!(exit, Exit::Code(1), "{output}");
        let lines: Vec<&str> = output.lines().rev().take(2).collect();
        assert_eq!(lines[1], finding, "{output}");
        let last = lines[0];
        assert!(last.starts_with("not as sent: ") && last.ends_with("faults: 1, listed above"));
    }
}

/// A sender that is started by hand, with the command that is printed; and one that falls silent.
fn telemetry_listens() {
    let mut running = Running::start(example(
        "rt_telemetry",
        &["--listen", "--count", "1000", "--channels", "2"],
    ));
    let waits = format!("process {} waits for: ", running.pid());
    let command = line_with(&mut running, &waits);
    let arguments: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(telemetry(&arguments).0, Exit::Code(0), "{command}");
    let (exit, output) = running.finish();
    assert_eq!(output.lines().last(), Some(&*nothing_lost(1000, 2)), "{exit:?} {output}");

    let arguments = ["--listen", "--patience", "1", "--channels", "1"];
    let mut running = Running::start(example("rt_telemetry", &arguments));
    line_with(&mut running, "process ");
    // Number 0, and no more.
    let channel = Signal::rt(1).expect("libc has some");
    send::to_process_with(running.pid(), channel, Value::from_addr(7)).expect("sent");
    let (exit, output) = running.finish();
    let found = output.contains("SIGRTMIN+1: the sender fell silent before 1\n");
    assert!(exit == Exit::Code(1) && found, "{exit:?} {output}");
}

fn main() {
    Suite {
        tests: &[
            ("reload_under_load", reload_under_load),
            ("drains", drains),
            ("second_signal_ends", second_signal_ends),
            ("limit_ends", limit_ends),
            ("log_that_fails", log_that_fails),
            ("telemetry_loses_nothing", telemetry_loses_nothing),
            ("telemetry_notices", telemetry_notices),
            ("telemetry_listens", telemetry_listens),
        ],
        victims: &[],
    }
    .main()
}
