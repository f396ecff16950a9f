//! Servers that are driven by signals, under the shim: redis and nginx.
//!
//! Issue, what must be shown, 2: "redis and nginx control signals".

use sigplane_tests::{Exit, Suite};
use sigplane_tests_shim::Mode;
use sigplane_tests_shim::program::{
    Daemon, Scratch, alike, find_or_skip, kill, until, without_numbers,
};
use std::collections::BTreeSet;
use std::fs::{File, read_to_string, write};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

/// A port of the loopback that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}

/// Sends a request and reads the answer to its end; `None` when nobody answers.
fn ask(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

fn redis(mode: Mode, folder: &Path, port: u16) -> Daemon {
    let mut command = Command::new(find_or_skip("redis-server"));
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "3600 1"]);
    command.args(["--appendonly", "no", "--daemonize", "no"]);
    // That test writes to all memory while other threads use it: it ends where it will.
    command.args(["--crash-memcheck-enabled", "no", "--dir"]).arg(folder);
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("a log");
    command.stdout(log.try_clone().expect("a descriptor")).stderr(log).current_dir(folder);
    let server = Daemon::start(mode, command);
    until("redis answers", || tell(port, "PING").is_some_and(|answer| answer.contains("PONG")));
    server
}

/// One command in redis' line protocol, then QUIT, so that the answer has an end.
fn tell(port: u16, command: &str) -> Option<String> {
    ask(port, &format!("{command}\r\nQUIT\r\n"))
}

/// What redis' log says from its end backwards is of no order between parent and child: the messages
/// without numbers, each once, sorted.
fn messages(log: &str) -> String {
    let message = |line: &str| Some(without_numbers(line.split_once(['*', '#', '-'])?.1.trim(), 2));
    let unique: BTreeSet<String> = log.lines().filter_map(message).collect();
    let known = unique.iter().filter(|text| {
        ["signal", "SIG", "User requested", "DB saved", "Background sav", "bye bye", "Saving"]
            .iter()
            .any(|part| text.contains(part))
    });
    known.map(|text| format!("{text}\n")).collect()
}

/// SIGTERM saves and exits with 0, and what was saved is there again; SIGINT too; a background save is a
/// child; SIGHUP and SIGPIPE are ignored.
fn redis_saves() {
    find_or_skip("redis-server");
    let seen = alike(|mode| {
        let scratch = Scratch::new("redis");
        let port = free_port();
        let mut seen = String::new();
        for (round, signal) in [libc::SIGTERM, libc::SIGINT].into_iter().enumerate() {
            let mut server = redis(mode, scratch.path(), port);
            seen += &tell(port, "GET round").expect("an answer");
            seen += &tell(port, &format!("SET round {round}")).expect("an answer");
            server.signal(libc::SIGHUP);
            server.signal(libc::SIGPIPE);
            seen += &tell(port, "BGSAVE").expect("an answer");
            let saved = |info: String| info.contains("rdb_bgsave_in_progress:0");
            until("the save ends", || tell(port, "INFO persistence").is_some_and(saved));
            server.signal(signal);
            seen += &format!("{:?}\n", server.end());
        }
        seen + &messages(&read_to_string(scratch.path().join("log")).expect("a log"))
    });
    assert!(seen.contains("Code(0)\n"), "{seen}");
    assert!(seen.contains("Received SIGTERM scheduling shutdown"), "{seen}");
    assert!(seen.contains("Background saving terminated with success"), "{seen}");
}

/// SIGSEGV makes redis print its report, with the frames it was in and the memory test, and die of it;
/// the watchdog's SIGALRM prints a stack of a server that is stuck, which then goes on.
fn redis_crash_report() {
    find_or_skip("redis-server");
    let seen = alike(|mode| {
        let scratch = Scratch::new("redis-crash");
        let port = free_port();
        let mut server = redis(mode, scratch.path(), port);
        let log = || read_to_string(scratch.path().join("log")).expect("a log");
        tell(port, "CONFIG SET watchdog-period 200").expect("an answer");
        tell(port, "EVAL \"local i = 0 while i < 30000000 do i = i + 1 end return i\" 0");
        until("the watchdog", || log().contains("WATCHDOG TIMER EXPIRED"));
        tell(port, "CONFIG SET watchdog-period 0").expect("it goes on");
        // Its frames are then those of the wait for events.
        until("redis sleeps", || state_of(server.pid()) == Some('S'));
        server.signal(libc::SIGSEGV);
        let end = server.end();
        format!("{}{end:?}\n", report(&log()))
    });
    assert!(seen.contains("REDIS BUG REPORT START"), "{seen}");
    assert!(seen.contains("STACK TRACE"), "{seen}");
    assert!(seen.contains("Signal { number: 11"), "{seen}");
}

/// The report's headings and the functions of its stack, in order.
fn report(log: &str) -> String {
    let from = log.find("=== REDIS BUG REPORT START").expect("a report");
    let is_heading = |line: &&str| {
        line.contains("---")
            || line.contains("===")
            || line.contains("crashed by")
            || line.contains("Killed by")
    };
    let headings = log[from..].lines().filter(is_heading);
    let text: String = headings
        .map(|line| line.split_once('#').map_or(line, |(_, text)| text).trim().to_owned() + "\n")
        .collect();
    let start = log[from..].find("Backtrace:").map(|at| from + at);
    let frames = start.map_or("", |start| log[start..].split("\n\n").next().unwrap_or_default());
    let of = |line: &str| Some(line.split_once('(')?.1.split(['+', ')']).next()?.to_owned());
    let names: Vec<String> = frames.lines().filter_map(of).collect();
    without_numbers(&format!("{text}{}\n", names.join(" ")), 3)
}

struct Nginx {
    scratch: Scratch,
    port: u16,
    /// What the test started: the master, or what has made itself a daemon and ended.
    started: Daemon,
}

const CONFIGURATION: &str = "
master_process on; worker_processes 2; pid FOLDER/pid;
error_log FOLDER/error.log notice; lock_file FOLDER/lock;
events { worker_connections 64; }
http {
  access_log FOLDER/access.log;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  server { listen 127.0.0.1:PORT; location / { return 200 VERSION; } }
}
";

impl Nginx {
    fn start(mode: Mode, daemon: &str) -> Self {
        let (scratch, port) = (Scratch::new("nginx"), free_port());
        let mut command = Command::new(find_or_skip("nginx"));
        configure(scratch.path(), port, "one");
        command.arg("-c").arg(scratch.path().join("conf")).arg("-p").arg(scratch.path());
        command.arg("-e").arg(scratch.path().join("error.log")).args(["-g", daemon]);
        let started = Daemon::start(mode, command);
        let server = Self { scratch, port, started };
        server.until_answers("one");
        server
    }

    fn get(&self) -> Option<String> {
        let answer = ask(self.port, "GET / HTTP/1.0\r\n\r\n")?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    fn until_answers(&self, version: &str) {
        until(version, || self.get().as_deref() == Some(version));
    }

    fn file(&self, name: &str) -> Option<String> {
        read_to_string(self.scratch.path().join(name)).ok()
    }

    fn pid(&self, file: &str) -> Option<i32> {
        self.file(file)?.trim().parse().ok()
    }

    fn log(&self) -> String {
        self.file("error.log").unwrap_or_default() + &self.file("error.log.1").unwrap_or_default()
    }

    /// Who ran and said what is of no order between master and workers: the messages, each once, sorted.
    fn messages(&self) -> String {
        let message = |line: &str| Some(without_numbers(line.split_once(": ")?.1, 2));
        let log = self.log();
        let mut unique: BTreeSet<String> = log.lines().filter_map(message).collect();
        // Of the channel between master and worker: whether it comes before the end is a matter of time.
        unique.retain(|line| !line.contains("(SIGIO) received"));
        unique.into_iter().map(|text| text + "\n").collect()
    }
}

fn configure(folder: &Path, port: u16, version: &str) {
    let text = CONFIGURATION
        .replace("FOLDER", &folder.display().to_string())
        .replace("PORT", &port.to_string())
        .replace("VERSION", version);
    write(folder.join("conf"), text).expect("a folder of ours");
}

/// HUP: new workers with the new configuration. USR1: a new log. A worker that is killed is replaced. QUIT
/// and TERM end it with 0.
fn nginx_control() {
    find_or_skip("nginx");
    let seen = alike(|mode| {
        let mut seen = String::new();
        for signal in [libc::SIGQUIT, libc::SIGTERM] {
            let mut server = Nginx::start(mode, "daemon off;");
            configure(server.scratch.path(), server.port, "two");
            server.started.signal(libc::SIGHUP);
            server.until_answers("two");
            until("the old workers end", || {
                server.log().matches("exited with code 0").count() == 2
            });
            let worker = children_of(server.started.pid())[0];
            kill(worker, libc::SIGKILL);
            until("a new worker", || {
                let workers = children_of(server.started.pid());
                workers.len() == 2 && !workers.contains(&worker)
            });
            let log = server.scratch.path().join("error.log");
            std::fs::rename(&log, log.with_extension("log.1")).expect("a log");
            server.started.signal(libc::SIGUSR1);
            until("a new log", || log.exists());
            server.until_answers("two");
            server.started.signal(signal);
            seen += &format!("{:?}\n{}", server.started.end(), server.messages());
        }
        seen
    });
    assert!(seen.starts_with("Code(0)\n"), "{seen}");
    assert!(
        seen.contains("signal N (SIGHUP) received") || seen.contains("(SIGHUP) received"),
        "{seen}"
    );
    assert!(seen.contains("exited on signal 9"), "{seen}");
}

/// USR2 starts a new master beside the old one, WINCH ends the old one's workers, QUIT the old one; the
/// new one, an orphan then, goes on and ends on QUIT.
fn nginx_upgrade() {
    find_or_skip("nginx");
    // SAFETY: no memory is passed. Orphans become children of the test, so that their end is seen.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let seen = alike(|mode| {
        // A master that nobody has waited for to become a daemon would refuse to be replaced.
        let mut server = Nginx::start(mode, "daemon on;");
        let started = server.started.end();
        let old = server.pid("pid").expect("it answers, so it has written its number");
        configure(server.scratch.path(), server.port, "two");
        kill(old, libc::SIGUSR2);
        until("a second master", || {
            server.pid("pid.oldbin") == Some(old) && server.pid("pid").is_some_and(|new| new != old)
        });
        let new = server.pid("pid").expect("seen");
        until("its workers", || children_of(new).len() == 2);
        kill(old, libc::SIGWINCH);
        until("the old workers end", || children_of(old) == [new]);
        server.until_answers("two");
        kill(old, libc::SIGQUIT);
        let old_end = end_of_orphan(old);
        server.until_answers("two");
        kill(new, libc::SIGQUIT);
        format!("{started:?} {old_end} {}\n{}", end_of_orphan(new), server.messages())
    });
    assert!(seen.starts_with(&format!("{:?} 0 0\n", Exit::Code(0))), "{seen}");
    assert!(seen.contains("(SIGUSR2) received"), "{seen}");
}

/// Waits for a process that has become a child of the test; its status.
fn end_of_orphan(pid: i32) -> i32 {
    let mut status = 0;
    until("the orphan ends", || {
        // SAFETY: `status` is valid.
        unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) == pid }
    });
    status
}

/// Running, sleeping, stopped: the letter in `/proc/PID/stat`.
fn state_of(pid: i32) -> Option<char> {
    let status = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit(')').next()?.trim_start().chars().next()
}

/// The children of a process that has one thread, in the order of their birth.
fn children_of(pid: i32) -> Vec<i32> {
    let list = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn main() {
    Suite {
        tests: &[
            ("redis_saves", redis_saves),
            ("redis_crash_report", redis_crash_report),
            ("nginx_control", nginx_control),
            ("nginx_upgrade", nginx_upgrade),
        ],
        victims: &[],
    }
    .main()
}
