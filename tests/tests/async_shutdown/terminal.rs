//! `with_stop_and_continue`: under a parent that does job control, in an orphaned group, and on a real
//! terminal, where Ctrl-Z is typed and the modes are looked at from the other end.

use crate::stop::wait_status;
use crate::{observe, runtime};
use sigplane::{Signal, send};
use sigplane_async::with_stop_and_continue;
use sigplane_tests::{Exit, Running, mask, raw, victim};
use std::fs::File;
use std::io::{BufRead, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

// ---- under job control

/// A job in a group of its own, of this session: not orphaned.
fn start() -> Running {
    let mut command = victim("job");
    command.process_group(0);
    let mut child = Running::start(command);
    child.expect("ready");
    child
}

/// What has been called so far, when all that has arrived has been dealt with.
fn calls(child: &mut Running) -> (u32, u32) {
    child.tell("calls");
    loop {
        let line = child.line().expect("it answers");
        let mut words = line.split(' ');
        if words.next() == Some("calls") {
            let mut number = || words.next().unwrap().parse().unwrap();
            return (number(), number());
        }
    }
}

fn stopped_by(pid: i32) -> i32 {
    let status = wait_status(pid, libc::WUNTRACED);
    assert!(libc::WIFSTOPPED(status), "{status:#x}");
    libc::WSTOPSIG(status)
}

fn goes_on(child: &mut Running) {
    send::to_process(child.pid(), Signal::CONT).unwrap();
    assert!(libc::WIFCONTINUED(wait_status(child.pid(), libc::WCONTINUED)));
    child.expect("saw 18");
}

// `before_stop` has run when the parent sees the stop, by the true signal; `after_continue` runs once for
// each stop, also for one that no program sees, and for a SIGCONT without any. In the end both signals are
// given back.
pub fn around_a_stop() {
    let mut child = start();
    for stops in 1..=3 {
        send::to_process(child.pid(), Signal::TSTP).unwrap();
        assert_eq!(stopped_by(child.pid()), libc::SIGTSTP);
        child.expect("before"); // It is stopped: the line has been written before.
        goes_on(&mut child);
        assert_eq!(calls(&mut child), (stops, stops));
    }
    send::to_process(child.pid(), Signal::STOP).unwrap();
    assert_eq!(stopped_by(child.pid()), libc::SIGSTOP);
    goes_on(&mut child);
    assert_eq!(calls(&mut child), (3, 4));
    send::to_process(child.pid(), Signal::CONT).unwrap();
    child.expect("saw 18");
    assert_eq!(calls(&mut child), (3, 5));
    child.tell("end");
    child.expect("given back");
    assert_eq!(child.finish().0, Exit::Code(0));
}

// While the task has no time: several SIGTSTP are one stop, and one that a SIGCONT has undone is none.
pub fn stops_merge() {
    let mut child = start();
    let arrive = |child: &mut Running, signals: &[Signal]| {
        child.tell("busy");
        child.expect("busy");
        for signal in signals {
            send::to_process(child.pid(), *signal).unwrap();
            child.expect(&format!("saw {}", signal.number()));
        }
        child.tell("go on");
    };
    arrive(&mut child, &[Signal::TSTP; 3]);
    assert_eq!(stopped_by(child.pid()), libc::SIGTSTP);
    goes_on(&mut child);
    assert_eq!(calls(&mut child), (1, 1));

    arrive(&mut child, &[Signal::TSTP, Signal::CONT]);
    assert_eq!(calls(&mut child), (2, 2), "and it answers: it is not stopped");

    arrive(&mut child, &[Signal::TSTP, Signal::CONT, Signal::TSTP]);
    assert_eq!(stopped_by(child.pid()), libc::SIGTSTP);
    goes_on(&mut child);
    assert_eq!(calls(&mut child), (3, 3));
    child.tell("end");
    assert_eq!(child.finish().0, Exit::Code(0));
}

// The group of a session's leader is orphaned, and does not stop.
pub fn an_orphan_does_not_stop() {
    let mut command = victim("job");
    command.env("ORPHAN", "yes");
    let mut child = Running::start(command);
    child.expect("ready");
    for times in 1..=3 {
        send::to_process(child.pid(), Signal::TSTP).unwrap();
        child.expect("saw 20");
        assert_eq!(calls(&mut child), (times, times), "it answers: it is not stopped");
    }
    child.tell("end");
    assert_eq!(child.finish().0, Exit::Code(0));
}

/// The job: answers the lines that it reads.
pub fn job() {
    static CALLS: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];
    if std::env::var_os("ORPHAN").is_some() {
        // SAFETY: takes no argument.
        assert!(unsafe { libc::setsid() } > 0);
    }
    let signals = [libc::SIGTSTP, libc::SIGCONT];
    let actions = signals.map(raw::action);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (release, busy) = std::sync::mpsc::channel();
    runtime(false).block_on(async {
        let _observed = observe([Signal::TSTP, Signal::CONT]);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                match &line[..] {
                    "go on" => drop(release.send(())),
                    _ => drop(tell.send(line)),
                }
            }
        });
        let future = async move {
            // Signals are subscribed when this is polled.
            println!("ready");
            while let Some(line) = told.recv().await {
                // So that signals that have arrived before the line go first.
                tokio::task::yield_now().await;
                match &line[..] {
                    "busy" => {
                        println!("busy");
                        busy.recv().unwrap();
                    }
                    "calls" => {
                        let [before, after] = CALLS.each_ref().map(|calls| calls.load(SeqCst));
                        println!("calls {before} {after}");
                    }
                    _ => return 42,
                }
            }
            0
        };
        let count = |which: usize, name| {
            move |_: &sigplane::Event| {
                CALLS[which].fetch_add(1, SeqCst);
                println!("{name}");
            }
        };
        let answer =
            with_stop_and_continue(count(0, "before"), count(1, "after"), future).await.unwrap();
        assert_eq!(answer, 42);
    });
    assert_eq!(signals.map(raw::action), actions);
    println!("given back");
}

// ---- on a terminal

fn modes(terminal: &File) -> libc::termios {
    // SAFETY: all zero bytes are a valid `termios`.
    let mut modes = unsafe { std::mem::zeroed() };
    // SAFETY: `modes` is valid.
    assert_eq!(unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut modes) }, 0);
    modes
}

fn set_modes(terminal: &File, modes: &libc::termios) {
    // SAFETY: `modes` is valid.
    assert_eq!(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSANOW, modes) }, 0);
}

const COOKED: libc::tcflag_t = libc::ICANON | libc::ECHO;

fn is_cooked(terminal: &File) -> bool {
    modes(terminal).c_lflag & COOKED == COOKED
}

// Ctrl-Z on the keyboard: the shell finds its terminal as it left it, and the job has its own modes again
// when it is in the foreground again. Twice, and then Ctrl-C.
pub fn on_a_terminal() {
    let (mut master, mut slave) = (0, 0);
    // SAFETY: both are valid; the rest may be null.
    let opened = unsafe {
        libc::openpty(
            &raw mut master,
            &raw mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            std::ptr::null(),
        )
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both have just been opened.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), File::from_raw_fd(slave)) };
    assert!(is_cooked(&master));
    let mut command = victim("shell");
    command.stderr(slave);
    let mut shell = Running::start(command);
    for _ in 0..2 {
        shell.expect("own modes");
        assert!(!is_cooked(&master));
        master.write_all(b"\x1a").unwrap();
        shell.expect("before");
        shell.expect("stopped 20");
        assert!(is_cooked(&master));
        shell.tell("fg");
    }
    shell.expect("own modes");
    master.write_all(b"\x03").unwrap();
    shell.expect("killed 2");
    let (exit, output) = shell.finish();
    assert_eq!((exit, &output[..]), (Exit::Code(0), ""));
}

/// What a shell does: it leads the session, gives a job the terminal (its standard error), and waits.
pub fn shell() {
    let foreground = |group: i32| {
        // SAFETY: takes numbers.
        assert_eq!(unsafe { libc::tcsetpgrp(2, group) }, 0);
    };
    // SAFETY: both take numbers. Standard error is the terminal.
    unsafe {
        assert!(libc::setsid() > 0);
        assert_eq!(libc::ioctl(2, libc::TIOCSCTTY, 0), 0);
    }
    mask::block(Signal::TTOU); // It takes the terminal back from the background.
    let mut command = victim("terminal_job");
    // SAFETY: the calls are async-signal-safe. The job is in the foreground before it begins.
    unsafe {
        command.process_group(0).stdin(Stdio::null()).pre_exec(|| {
            libc::tcsetpgrp(2, libc::getpid());
            Ok(())
        });
    }
    let job = command.spawn().unwrap().id() as i32;
    loop {
        let status = wait_status(job, libc::WUNTRACED);
        // SAFETY: takes no argument.
        foreground(unsafe { libc::getpgrp() });
        if libc::WIFSIGNALED(status) {
            println!("killed {}", libc::WTERMSIG(status));
            return;
        }
        println!("stopped {}", libc::WSTOPSIG(status));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        foreground(job);
        send::to_process(job, Signal::CONT).unwrap();
    }
}

/// The job: a full-screen program, so to speak. Its standard error is the terminal.
pub fn terminal_job() {
    let mut terminal = File::open("/dev/tty").unwrap();
    let cooked = modes(&terminal);
    let mut own = cooked;
    own.c_lflag &= !COOKED;
    let enter = || {
        set_modes(&terminal, &own);
        println!("own modes");
    };
    let leave = || {
        set_modes(&terminal, &cooked);
        println!("before");
    };
    runtime(false).block_on(async {
        let entered = async {
            enter();
            std::future::pending::<()>().await;
        };
        with_stop_and_continue(|_| leave(), |_| enter(), entered).await.unwrap();
    });
    let _never = terminal.read(&mut [0]);
}
