//! `sigplane::process::take_default`: what a program that took a signal does in the end to have it take its
//! usual effect. What the parent sees is what it would have seen without sigplane.

use sigplane::process::take_default;
use sigplane::send::{self, Value};
use sigplane::{Event, Signal, Verdict, subscribe};
use sigplane_tests::observer::say;
use sigplane_tests::{Exit, Running, core_dump, mask, raw, skip, victim};
use std::os::unix::process::CommandExt;
use std::ptr;

/// What `waitpid` says of a child's next change of state.
pub fn wait_status(pid: i32, options: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, options) }, pid);
    status
}

fn start(how: &str, signal: Signal) -> Running {
    let mut command = victim("defaults");
    command.env("HOW", how).env("SIGNAL", signal.number().to_string());
    // A group whose leader's parent is of another group of the session is not orphaned.
    command.process_group(0);
    if signal == Signal::QUIT {
        command.current_dir(std::env::temp_dir());
    }
    Running::start(command)
}

fn ptrace(request: u32, pid: i32, data: usize) {
    // SAFETY: the callers pass what the request asks for.
    let result = unsafe { libc::ptrace(request, pid, 0usize, data) };
    if result < 0 && request == libc::PTRACE_SEIZE {
        skip(&format!("ptrace is refused: {}", std::io::Error::last_os_error()));
    }
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
}

/// The information of the child's next signal of this kind, seen as a debugger sees it.
fn next_delivery(pid: i32, number: i32) -> (i32, i32, u32, usize) {
    loop {
        let status = wait_status(pid, libc::__WALL);
        assert!(libc::WIFSTOPPED(status), "{status:#x}");
        let stopped_by = libc::WSTOPSIG(status);
        if stopped_by != number {
            ptrace(libc::PTRACE_CONT, pid, stopped_by as usize);
            continue;
        }
        // SAFETY: all zero bytes are a valid `siginfo_t`.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        ptrace(libc::PTRACE_GETSIGINFO, pid, &raw mut info as usize);
        ptrace(libc::PTRACE_CONT, pid, number as usize);
        // SAFETY: signals that are sent carry all of these.
        return unsafe {
            (info.si_code, info.si_pid(), info.si_uid(), info.si_value().sival_ptr.addr())
        };
    }
}

// The process dies by the signal, which strikes with the sender's own information: in ordinary code, in an
// immediate handler, with the subscription there or gone, and where the thread blocks the signal.
pub fn default_kills() {
    let rt = Signal::rt(3).unwrap();
    for how in ["inbox", "dropped", "handler", "masked", "ignored", "foreign"] {
        for signal in [Signal::TERM, Signal::INT, rt] {
            let mut child = start(how, signal);
            child.expect("send");
            ptrace(libc::PTRACE_SEIZE, child.pid(), 0);
            send::to_process_with(child.pid(), signal, Value::from_int(77)).unwrap();
            let number = signal.number();
            let (arrived, struck) =
                (next_delivery(child.pid(), number), next_delivery(child.pid(), number));
            assert_eq!(arrived, struck, "{how}, {signal}");
            assert_eq!(struck.1, std::process::id() as i32);
            let (exit, output) = child.finish();
            assert_eq!(exit, Exit::Signal { number, core: false }, "{how}, {signal}: {output}");
        }
    }
}

pub fn default_dumps_core() {
    if let Some(reason) = core_dump::unavailable() {
        skip(&reason);
    }
    for how in ["inbox", "handler"] {
        let mut child = start(how, Signal::QUIT);
        child.expect("send");
        send::to_process(child.pid(), Signal::QUIT).unwrap();
        let core = std::env::temp_dir().join("core");
        let with_pid = core.with_extension(child.pid().to_string());
        let (exit, output) = child.finish();
        assert_eq!(exit, Exit::Signal { number: libc::SIGQUIT, core: true }, "{how}: {output}");
        for file in [core, with_pid] {
            let _there = std::fs::remove_file(file);
        }
    }
}

// The process stops, and the parent sees by what; when it goes on, the action and the mask are what they
// were, byte for byte, whoever owns the action.
pub fn default_stops() {
    let ways = ["inbox", "dropped", "handler", "masked", "ignored", "foreign", "foreign and inbox"];
    for how in ways {
        for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
            let mut child = start(how, signal);
            for _ in 0..2 {
                if child.line().as_deref() == Some("send") {
                    send::to_process(child.pid(), signal).unwrap();
                }
                let status = wait_status(child.pid(), libc::WUNTRACED);
                assert!(libc::WIFSTOPPED(status), "{how}, {signal}: {status:#x}");
                assert_eq!(libc::WSTOPSIG(status), signal.number());
                send::to_process(child.pid(), Signal::CONT).unwrap();
                assert_eq!(child.line().as_deref(), Some("same"), "{how}, {signal}");
            }
            assert_eq!(child.finish(), (Exit::Code(0), String::new()), "{how}, {signal}");
        }
    }
}

// Signals whose default is to do nothing, and the one that goes on, do nothing.
pub fn default_does_nothing() {
    for signal in [Signal::WINCH, Signal::CHLD, Signal::CONT] {
        let inbox = subscribe(signal).inbox().unwrap();
        let before = (raw::action(signal.number()), raw::mask());
        for _ in 0..3 {
            send::raise(signal).unwrap();
            take_default(&inbox.recv());
            assert_eq!((raw::action(signal.number()), raw::mask()), before);
            assert!(inbox.is_empty(), "it is not sent again");
        }
    }
}

// ---- the victim

/// The default action of `event`; says whether the action and the mask are what they were.
fn performed(event: &Event) {
    let number = event.signal().number();
    let before = (raw::action(number), raw::mask());
    take_default(event);
    let same = (raw::action(number), raw::mask()) == before;
    say(if same { "same" } else { "differs" }, &[]);
}

extern "C" fn foreign(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Takes SIGNAL, twice, as HOW says, and then lets it have its way.
pub fn defaults() {
    let number: i32 = std::env::var("SIGNAL").unwrap().parse().unwrap();
    let signal = Signal::try_from(number).unwrap();
    let how = std::env::var("HOW").unwrap();
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    if signal == Signal::QUIT {
        // SAFETY: `limit` is valid. Where it is refused, the test sees it.
        unsafe { libc::setrlimit(libc::RLIMIT_CORE, ptr::from_ref(&limit)) };
    }
    if how.contains("foreign") {
        let flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_NODEFER;
        raw::install(number, foreign as *const () as usize, flags, &[libc::SIGUSR1]);
    }
    if how == "handler" {
        return in_a_handler(signal);
    }
    let inbox = subscribe(signal).inbox().unwrap();
    println!("send");
    let event = inbox.recv();
    if how.contains("inbox") {
        performed(&event);
        println!("send");
        performed(&inbox.recv());
        return;
    }
    drop(inbox);
    match &how[..] {
        "masked" => mask::block([signal, Signal::USR2]),
        "ignored" => raw::install(number, libc::SIG_IGN, libc::SA_RESTART, &[]),
        _ => {}
    }
    performed(&event);
    println!("stops by itself");
    performed(&event);
}

fn in_a_handler(signal: Signal) {
    static TIMES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    // SAFETY: the handler makes system calls.
    let subscribed = unsafe {
        subscribe(signal).immediate(|delivery| {
            performed(&delivery.event());
            TIMES.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Verdict::Handled
        })
    };
    let _subscribed = subscribed.unwrap();
    for times in 1.. {
        println!("send");
        while TIMES.load(std::sync::atomic::Ordering::SeqCst) < times {
            std::thread::yield_now();
        }
        if times == 2 {
            return;
        }
    }
}
