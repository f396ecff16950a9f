//! Sending, from one process to another, to groups, threads and oneself, and what the receiver sees.

#![allow(
    clippy::disallowed_methods,
    reason = "the test blocks a signal to fill the kernel's queue"
)]

use sigplane::send::{self, PidFd, Raised, SendError, Value};
use sigplane::{Event, Signal, SignalSet, Verdict, thread};
use sigplane_tests::{Running, Suite, eventually, victim};
use std::os::unix::process::CommandExt;
use std::process::id;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn rt() -> Signal {
    Signal::rt(4).expect("there are real-time signals")
}

fn describe(event: &Event) -> String {
    let sender = event.sender().map_or(0, |sender| sender.pid);
    let value = event.value().map_or("none".into(), |value| value.addr().to_string());
    format!(
        "{} {:?} from {sender} value {value} on {}",
        event.signal(),
        event.cause(),
        event.thread()
    )
}

/// Prints its process id and the id of a second thread, then every event, until SIGTERM.
fn reporter() {
    let all = SignalSet::from([Signal::USR1, Signal::TERM, rt()]);
    let inbox = sigplane::subscribe(all).inbox().expect("they are free");
    let (tell, told) = std::sync::mpsc::channel();
    let _second = std::thread::spawn(move || {
        tell.send(thread::current().tid()).expect("the main thread waits");
        loop {
            thread::wait(None);
        }
    });
    println!("threads {} {}", id(), told.recv().expect("it starts"));
    for event in &inbox {
        if event.signal() == Signal::TERM {
            return;
        }
        println!("{}", describe(&event));
    }
}

fn start(group: bool) -> (Running, i32) {
    let mut command = victim("reporter");
    if group {
        command.process_group(0);
    }
    let mut running = Running::start(command);
    let line = running.line().expect("it says who it is");
    let second = line.rsplit(' ').next().and_then(|id| id.parse().ok()).expect("a thread id");
    (running, second)
}

fn end(reporter: Running) {
    send::to_process(reporter.pid(), Signal::TERM).expect("it runs");
    let (exit, rest) = reporter.finish();
    assert!(exit.success() && rest.is_empty(), "{exit:?} {rest}");
}

/// Each way to send to another process arrives there once, with its cause, sender, value and thread.
/// ("Sending. To a process, thread, process group and pidfd; with and without a value".)
fn each_way_arrives() {
    let (mut there, second) = start(false);
    let (me, pid, value) = (id(), there.pid(), Value::from_int(-5));
    let mut expect = |sent: Result<(), SendError>, signal, cause, value: &str, thread| {
        sent.expect("it runs");
        let expected = format!("{signal} {cause} from {me} value {value} on {thread}");
        assert_eq!(there.line(), Some(expected));
    };
    let minus_five = "4294967291";
    let usr1 = Signal::USR1;
    expect(send::to_process(pid, usr1), usr1, "User", "none", pid);
    expect(send::to_process_with(pid, rt(), value), rt(), "Queue", minus_five, pid);
    expect(send::to_process_with(pid, usr1, Value::from_addr(0)), usr1, "Queue", "0", pid);
    for thread in [pid, second] {
        expect(send::to_thread_of(pid, thread, usr1), usr1, "Thread", "none", thread);
        expect(send::to_thread_of(pid, thread, rt()), rt(), "Thread", "none", thread);
        expect(send::to_thread_with(pid, thread, rt(), value), rt(), "Queue", minus_five, thread);
    }
    let process = PidFd::open(pid).expect("it runs");
    expect(process.send(usr1), usr1, "User", "none", pid);
    expect(process.send_with(rt(), value), rt(), "Queue", minus_five, pid);
    let most = Value::from_addr(usize::MAX);
    expect(process.send_with(rt(), most), rt(), "Queue", &usize::MAX.to_string(), pid);
    end(there);
    assert_eq!(process.send(usr1), Err(SendError::NoSuchProcess));
    assert_eq!(send::to_process(pid, usr1), Err(SendError::NoSuchProcess));
    assert_eq!(send::to_thread_of(pid, second, usr1), Err(SendError::NoSuchProcess));
}

/// A group gets it, and nobody else does: another group of the same program, and the sender, see
/// nothing. Identifiers that mean "everybody" are refused.
fn a_group_gets_it() {
    let mine = sigplane::subscribe(Signal::USR1).inbox().expect("it is free");
    let (mut group, _) = start(true);
    let (other, _) = start(true);
    for _ in 0..3 {
        send::to_group(group.pid(), Signal::USR1).expect("it runs");
        let expected = format!("SIGUSR1 User from {} value none on {}", id(), group.pid());
        assert_eq!(group.line(), Some(expected));
    }
    for everybody in [-1, 0, 1] {
        let refused = Err(SendError::InvalidTarget(everybody));
        assert_eq!(send::to_group(everybody, Signal::USR1), refused);
    }
    assert_eq!(send::to_process(-1, Signal::USR1), Err(SendError::InvalidTarget(-1)));
    end(group);
    end(other); // It printed nothing.
    assert!(mine.try_recv().is_none());
}

static RAN: AtomicUsize = AtomicUsize::new(0);

/// A signal to oneself has been acted upon when the call returns, or the result says what it waits
/// for. ("a self-send that is synchronous".)
fn raising_is_synchronous() {
    let count = sigplane::subscribe(rt());
    let count = unsafe {
        count.immediate(|_| {
            RAN.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let _count = count.expect("it is free");
    for n in 0..1_000 {
        assert_eq!(send::raise(rt()), Ok(Raised::Delivered));
        assert_eq!(send::raise_with(rt(), Value::from_int(n)), Ok(Raised::Delivered));
        assert_eq!(RAN.load(SeqCst), 2 * n as usize + 2);
    }
    let critical = sigplane::defer();
    assert_eq!(send::raise(rt()), Ok(Raised::Deferred));
    assert_eq!(RAN.load(SeqCst), 2_000);
    drop(critical);
    assert_eq!(RAN.load(SeqCst), 2_001);
    mask(libc::SIG_BLOCK);
    assert_eq!(send::raise(rt()), Ok(Raised::Blocked));
    assert_eq!(RAN.load(SeqCst), 2_001);
    mask(libc::SIG_UNBLOCK);
    assert_eq!(RAN.load(SeqCst), 2_002);
}

fn mask(how: i32) {
    let mut set = unsafe { std::mem::zeroed() };
    unsafe { libc::sigemptyset(&mut set) };
    unsafe { libc::sigaddset(&mut set, rt().number()) };
    assert_eq!(unsafe { libc::pthread_sigmask(how, &set, std::ptr::null_mut()) }, 0);
}

/// At the receiver's limit of queued signals the sender is told, by an error that says "again"; what
/// was accepted arrives, in order, and sending works again afterwards. ("`EAGAIN` as a typed,
/// retryable error"; BRIEF §6.6, "What cannot be kept is the sender's `EAGAIN`".)
fn a_full_queue_is_told() {
    let inbox = sigplane::subscribe(rt()).capacity(8).inbox().expect("it is free");
    let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &limit) }, 0);
    // Nobody reads: the queue pushes back, the kernel keeps the rest, until it has enough.
    let mut accepted = 0;
    let error = loop {
        match send::raise_with(rt(), Value::from_int(accepted)) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1_000, "the limit is 200");
    };
    assert_eq!((error, error.is_retryable()), (SendError::QueueFull, true));
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(
        send::to_process_with(id() as i32, rt(), Value::from_int(0)),
        Err(SendError::QueueFull)
    );
    assert!(!SendError::NoSuchProcess.is_retryable());
    let mut seen = Vec::new();
    eventually("what was accepted", || {
        seen.extend(inbox.try_iter().filter_map(|event| event.value()).map(Value::int));
        seen.len() as i32 >= accepted
    });
    assert!(seen.into_iter().eq(0..accepted));
    eventually("room in the kernel", || send::raise_with(rt(), Value::from_int(-1)).is_ok());
    assert_eq!(inbox.recv().value(), Some(Value::from_int(-1)));
    assert!(inbox.try_recv().is_none());
}

fn main() {
    Suite {
        tests: &[
            ("each_way_arrives", each_way_arrives),
            ("a_group_gets_it", a_group_gets_it),
            ("raising_is_synchronous", raising_is_synchronous),
            ("a_full_queue_is_told", a_full_queue_is_told),
        ],
        victims: &[("reporter", reporter)],
    }
    .main()
}
