//! `Shutdown`: the first signal asks, the second one and the limit end the process, whatever the runtime
//! does; and what it stands on, the default action taken by a program that had taken the signal
//! (`stop.rs`). The "What to build", third and fourth point, and its line 6.
//!
//! The victims print `saw n` from the handler, after the shutdown's own entry has had its turn: so the
//! test knows that a signal has arrived before it sends the next, and nothing depends on how fast anybody
//! is. Limits that are to be reached are short, those that are not are an hour.

#[path = "async_shutdown/gaps.rs"]
mod gaps;
#[path = "async_shutdown/stop.rs"]
mod stop;
#[path = "async_shutdown/terminal.rs"]
mod terminal;

use sigplane::{Signal, SignalSet, Subscription, Verdict, send, subscribe};
use sigplane_async::{BuilderExt, Ending, Shutdown, ShutdownBuilder};
use sigplane_tests::observer::say;
use sigplane_tests::{Exit, Running, Suite, mask, victim};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Barrier, Notify};

const HOUR: Duration = Duration::from_secs(3600);

/// Says `saw` and the number, after all other entries.
pub fn observe(set: impl Into<SignalSet>) -> Subscription {
    // SAFETY: the handler makes a system call.
    let observed = unsafe {
        subscribe(set).observe().priority(-2).immediate(|delivery| {
            say("saw", &[delivery.signal().number().into()]);
            Verdict::Pass
        })
    };
    observed.unwrap()
}

pub fn runtime(multi_thread: bool) -> Runtime {
    let mut builder = match multi_thread {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    builder.worker_threads(2).enable_all().build().unwrap()
}

// ---- the victim

/// A service, configured by the words in HOW.
fn service() {
    let how = std::env::var("HOW").unwrap();
    let has = |wanted| how.split(' ').any(|word| word == wanted);
    let set = match () {
        () if has("int") => SignalSet::from([Signal::INT]),
        () if has("winch") => SignalSet::from([Signal::WINCH]),
        () => SignalSet::from([Signal::INT, Signal::TERM]),
    };
    let _observed = observe(set);
    let _neighbours = neighbours(&how);
    if has("shielded") {
        // Some other thread receives; those of the runtime inherit the mask.
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
        sigplane::thread::shield();
    }
    let runtime = runtime(has("multi"));
    runtime.block_on(async {
        let shutdown = configured(&how, set).start().unwrap();
        let go = Arc::new(Notify::new());
        hooks(&shutdown, &how, &go);
        let told = Arc::clone(&go);
        std::thread::spawn(move || {
            while std::io::stdin().read_line(&mut String::new()).is_ok_and(|read| read > 0) {
                told.notify_one();
            }
        });
        println!("ready");
        if has("request") {
            shutdown.request();
            assert!(shutdown.is_requested());
        }
        if has("cancel") {
            shutdown.token().cancel();
        }
        if has("hangs") {
            hang(has("multi"));
        }
        shutdown.requested().await;
        println!("requested");
        if has("hangs-later") {
            hang(has("multi"));
        }
        if has("later") {
            shutdown.hook("added later", async { println!("added later") });
        }
        let outcome = shutdown.finished().await;
        let first = outcome.first.map_or(0, |event| event.signal().number());
        println!("finished {first} {:?}", outcome.panicked);
    });
    println!("end");
}

fn configured(how: &str, set: SignalSet) -> ShutdownBuilder {
    how.split(' ').fold(Shutdown::builder().signals(set), |builder, word| match word {
        "soon" => builder.limit(Duration::from_millis(30)),
        "later-on" => builder.limit(Duration::from_millis(300)),
        "at-once" => builder.limit(Duration::ZERO),
        "in-an-hour" => builder.limit(HOUR),
        "never" => builder.limit(Duration::MAX),
        "forgiving" => builder.forgive(HOUR),
        "exit75" => builder.ending(Ending::Exit(75)),
        _ => builder,
    })
}

/// Hooks that wait for each other, so that they must run at the same time, and then to be told; one that
/// runs at once; and some that panic.
fn hooks(shutdown: &Shutdown, how: &str, go: &Arc<Notify>) {
    let barrier = Arc::new(Barrier::new(3));
    for name in ["one", "two", "three"] {
        let (barrier, go) = (Arc::clone(&barrier), Arc::clone(go));
        shutdown.hook(name, async move {
            if barrier.wait().await.is_leader() {
                println!("together");
                go.notified().await;
            }
        });
    }
    if how.contains("panics") {
        shutdown.hook("breaks at once", async { panic!("at once") });
        shutdown.hook("breaks later", async {
            tokio::task::yield_now().await;
            panic!("later")
        });
    }
}

/// Never gives the runtime's threads back.
fn hang(multi_thread: bool) -> ! {
    fn here() -> ! {
        loop {
            std::thread::park();
        }
    }
    if multi_thread {
        let all = Arc::new(std::sync::Barrier::new(3));
        for _ in 0..2 {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                all.wait();
                here()
            });
        }
        all.wait();
    }
    println!("hangs");
    here()
}

/// Others that take or see the same signals, unread.
fn neighbours(how: &str) -> Vec<Box<dyn std::any::Any>> {
    let set = || subscribe([Signal::INT, Signal::TERM]);
    let mut neighbours: Vec<Box<dyn std::any::Any>> = Vec::new();
    for word in how.split(' ') {
        match word {
            "stream" => neighbours.push(Box::new(set().stream().unwrap())),
            "dispatcher" => neighbours.push(Box::new(set().dispatcher(|_| ()).unwrap())),
            "first-stream" => neighbours.push(Box::new(set().priority(9).stream().unwrap())),
            "blocked" => drop(std::thread::spawn(|| {
                mask::block([Signal::INT, Signal::TERM]);
                std::thread::park();
            })),
            _ => {}
        }
    }
    neighbours
}

// ---- its tests

fn start(how: &str) -> Running {
    let mut command = victim("service");
    command.env("HOW", how);
    let mut child = Running::start(command);
    child.expect("ready");
    if how.split(' ').any(|word| word == "hangs") {
        child.expect("hangs");
    }
    child
}

fn by(signal: Signal) -> Exit {
    Exit::Signal { number: signal.number(), core: false }
}

/// Sends it and waits until it has arrived.
fn arrives(child: &mut Running, signal: Signal) {
    send::to_process(child.pid(), signal).unwrap();
    child.expect(&format!("saw {}", signal.number()));
}

/// Expects these lines, in whatever order: threads print them. Others may come in between.
fn all_of(child: &mut Running, lines: &[&str]) {
    let mut missing = lines.to_vec();
    while !missing.is_empty() {
        let line = child.line().unwrap_or_else(|| panic!("ended without {missing:?}"));
        missing.retain(|expected| *expected != line);
    }
}

const BOTH: [Signal; 2] = [Signal::INT, Signal::TERM];

// The first signal cancels the token, the hooks run at the same time, `finished` says which one it was, and
// the process ends by itself.
fn the_first_signal_asks() {
    for how in ["", "multi", "in-an-hour", "multi never", "stream dispatcher", "blocked shielded"] {
        for signal in BOTH {
            let mut child = start(how);
            send::to_process(child.pid(), signal).unwrap();
            all_of(&mut child, &[&format!("saw {}", signal.number()), "requested", "together"]);
            child.tell("go");
            child.expect(&format!("finished {} []", signal.number()));
            assert_eq!(child.finish(), (Exit::Code(0), "end\n".to_owned()), "{how:?} {signal}");
        }
    }
}

// The second one ends the process by itself, whichever it is, whatever the runtime does, whoever else is
// subscribed, and whichever thread receives it.
fn the_second_signal_ends() {
    let cases = [
        "",
        "multi",
        "hangs",
        "hangs multi",
        "hangs-later",
        "hangs-later multi",
        "stream dispatcher first-stream",
        "stream dispatcher first-stream hangs",
        "blocked",
        "blocked hangs",
        "shielded hangs",
        "shielded hangs-later multi",
        "in-an-hour",
    ];
    for how in cases {
        for (first, second) in BOTH.into_iter().flat_map(|a| BOTH.map(|b| (a, b))) {
            let mut child = start(how);
            send::to_process(child.pid(), first).unwrap();
            let saw = format!("saw {}", first.number());
            match how.contains("hangs-later") {
                true => all_of(&mut child, &[&saw, "requested", "hangs"]),
                false => child.expect(&saw),
            }
            send::to_process(child.pid(), second).unwrap();
            assert_eq!(child.finish().0, by(second), "{how:?}, {first} and then {second}");
        }
    }
}

// The limit ends it by SIGTERM, or by what is nearest to it in the set, with nobody's help.
fn the_limit_ends() {
    let cases = [
        ("soon", Signal::TERM, by(Signal::TERM)),
        ("soon multi", Signal::INT, by(Signal::TERM)),
        ("soon hangs", Signal::INT, by(Signal::TERM)),
        ("soon hangs multi", Signal::TERM, by(Signal::TERM)),
        ("soon hangs-later", Signal::INT, by(Signal::TERM)),
        ("soon shielded hangs", Signal::INT, by(Signal::TERM)),
        ("soon stream dispatcher hangs", Signal::INT, by(Signal::TERM)),
        ("soon int", Signal::INT, by(Signal::INT)),
        ("soon int hangs", Signal::INT, by(Signal::INT)),
        ("soon winch", Signal::WINCH, Exit::Code(128 + libc::SIGWINCH)),
        ("soon forgiving hangs", Signal::TERM, by(Signal::TERM)),
        ("at-once hangs", Signal::INT, by(Signal::TERM)),
        ("soon exit75", Signal::INT, Exit::Code(75)),
        ("soon exit75 hangs", Signal::TERM, Exit::Code(75)),
    ];
    for (how, signal, exit) in cases {
        let child = start(how);
        send::to_process(child.pid(), signal).unwrap();
        assert_eq!(child.finish().0, exit, "{how:?}");
    }
}

// Many forgiven signals before a runtime that hangs, more than a queue takes, hold nothing back: the limit
// still ends it.
fn the_limit_ends_under_a_storm() {
    let child = start("later-on forgiving hangs shielded");
    let pid = child.pid();
    let storm = std::thread::spawn(move || while send::to_process(pid, Signal::INT).is_ok() {});
    // Its output is read, so that the observer does not block in its handler. A signal that arrives after
    // the limit is as good as the timer's.
    let (exit, _) = child.finish();
    assert!([by(Signal::TERM), by(Signal::INT)].contains(&exit), "{exit:?}");
    storm.join().unwrap();
}

fn another_status() {
    for how in ["exit75", "exit75 hangs", "exit75 multi hangs-later"] {
        let mut child = start(how);
        arrives(&mut child, Signal::TERM);
        send::to_process(child.pid(), Signal::INT).unwrap();
        assert_eq!(child.finish().0, Exit::Code(75), "{how:?}");
    }
    let mut child = start("winch");
    arrives(&mut child, Signal::WINCH);
    send::to_process(child.pid(), Signal::WINCH).unwrap();
    assert_eq!(child.finish().0, Exit::Code(128 + 28), "its default action would end nothing");
}

// Within the time that is forgiven, signals are one request, more of them than any queue takes; the first
// one counts.
fn forgiven() {
    for how in ["forgiving", "forgiving multi", "forgiving in-an-hour"] {
        let mut child = start(how);
        arrives(&mut child, Signal::TERM);
        for _ in 0..200 {
            arrives(&mut child, Signal::INT);
        }
        child.tell("go");
        child.expect("finished 15 []");
        assert_eq!(child.finish().0, Exit::Code(0), "{how:?}");
    }
}

// The program asks: nobody is named, the limit runs, the next signal ends it. The same when somebody
// cancels the token.
fn the_program_asks() {
    for how in ["request", "request multi", "request in-an-hour", "cancel", "cancel multi"] {
        let mut child = start(how);
        child.expect("together");
        child.tell("go");
        child.expect("finished 0 []");
        assert_eq!(child.finish().0, Exit::Code(0), "{how:?}");

        let mut child = start(how);
        child.expect("together");
        send::to_process(child.pid(), Signal::INT).unwrap();
        assert_eq!(child.finish().0, by(Signal::INT), "{how:?}");
    }
    for how in ["request soon", "request soon hangs", "request at-once", "cancel soon"] {
        assert_eq!(Running::start(service_command(how)).finish().0, by(Signal::TERM), "{how:?}");
    }
    let mut child = start("request forgiving");
    child.expect("together");
    arrives(&mut child, Signal::TERM);
    child.tell("go");
    child.expect("finished 0 []");
    assert_eq!(child.finish().0, Exit::Code(0));
}

fn service_command(how: &str) -> std::process::Command {
    let mut command = victim("service");
    command.env("HOW", how);
    command
}

// Panics are reported by name, and hinder neither the other hooks nor one that is added while it drains.
fn hooks_that_panic_or_come_late() {
    for how in ["panics later", "panics later multi"] {
        let mut child = start(how);
        send::to_process(child.pid(), Signal::TERM).unwrap();
        child.tell("go");
        let (exit, output) = child.finish();
        assert_eq!(exit, Exit::Code(0), "{output}");
        assert!(output.contains("together\n") && output.contains("added later\n"), "{output}");
        let line = output.lines().find(|line| line.starts_with("finished 15")).expect("finished");
        let mut names: Vec<_> = line.split('"').skip(1).step_by(2).collect();
        names.sort_unstable();
        assert_eq!(names, ["breaks at once", "breaks later"], "{output}");
    }
}

// A hook that never ends, and a hook of a shutdown that is dropped: the former is waited for until the
// second signal, the latter does not run.
fn hooks_are_dropped_with_it() {
    let (tell, told) = mpsc::channel::<()>();
    runtime(false).block_on(async {
        let shutdown = Shutdown::new().unwrap();
        shutdown.hook("never begun", async move { tell.send(()).unwrap() });
        drop(shutdown);
        while told.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
            tokio::task::yield_now().await;
        }
    });
}

fn main() {
    Suite {
        tests: &[
            ("the_first_signal_asks", the_first_signal_asks),
            ("the_second_signal_ends", the_second_signal_ends),
            ("the_limit_ends", the_limit_ends),
            ("the_limit_ends_under_a_storm", the_limit_ends_under_a_storm),
            ("another_status", another_status),
            ("forgiven", forgiven),
            ("the_program_asks", the_program_asks),
            ("hooks_that_panic_or_come_late", hooks_that_panic_or_come_late),
            ("hooks_are_dropped_with_it", hooks_are_dropped_with_it),
            ("dropping_gives_the_signals_back", gaps::dropping_gives_the_signals_back),
            ("nothing_is_left_behind", gaps::nothing_is_left_behind),
            ("no_signal_falls_into_a_gap", gaps::no_signal_falls_into_a_gap),
            ("in_a_forked_child", gaps::in_a_forked_child),
            ("default_kills", stop::default_kills),
            ("default_dumps_core", stop::default_dumps_core),
            ("default_stops", stop::default_stops),
            ("default_does_nothing", stop::default_does_nothing),
            ("around_a_stop", terminal::around_a_stop),
            ("stops_merge", terminal::stops_merge),
            ("an_orphan_does_not_stop", terminal::an_orphan_does_not_stop),
            ("on_a_terminal", terminal::on_a_terminal),
        ],
        victims: &[
            ("service", service),
            ("defaults", stop::defaults),
            ("job", terminal::job),
            ("shell", terminal::shell),
            ("terminal_job", terminal::terminal_job),
        ],
    }
    .main()
}
