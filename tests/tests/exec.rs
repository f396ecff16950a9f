//! What a program started from a process that uses sigplane finds: dispositions and mask.

#![allow(clippy::disallowed_methods, reason = "the test plays nohup")]

use sigplane::send::{self, Value};
use sigplane::{Handler, Signal, SignalSet, process};
use sigplane_tests::Suite;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::null;

/// What `/proc/self/status` says of a process.
#[derive(Debug)]
struct Status {
    ignored: SignalSet,
    caught: SignalSet,
    blocked: SignalSet,
}

impl Status {
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)).expect("the field is there");
            let bits = line.trim_start_matches(':').trim();
            SignalSet::from_bits(u64::from_str_radix(bits, 16).expect("it is a hexadecimal number"))
        };
        Self { ignored: field("SigIgn"), caught: field("SigCgt"), blocked: field("SigBlk") }
    }
}

/// Forks, calls `before_exec` in the child, and has it execute `cat /proc/self/status`. Not by
/// `Command`, which puts the mask and SIGPIPE in order by itself.
fn status_after_exec(before_exec: fn()) -> Status {
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1);
    if child == 0 {
        before_exec();
        let arguments = [c"cat".as_ptr(), c"/proc/self/status".as_ptr(), null()];
        unsafe { libc::dup2(writer.as_raw_fd(), 1) };
        unsafe { libc::execvp(c"cat".as_ptr(), arguments.as_ptr()) };
        unsafe { libc::_exit(127) };
    }
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("it is text");
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "cat ended well");
    Status::parse(&text)
}

/// As `nohup` leaves it to the program that it starts.
fn ignore_hangup() {
    assert_ne!(unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) }, libc::SIG_ERR);
}

/// A signal that was ignored (`nohup`) and is subscribed now is ignored again in the new program, one
/// that had its default has its default, nothing is caught or blocked, and the parent goes on.
/// (BRIEF §7: "`exec` keeps ignored signals ignored and resets caught ones: the new program would see
/// the wrong disposition".)
fn restored_dispositions_survive_exec() {
    ignore_hangup();
    let both = SignalSet::from([Signal::HUP, Signal::TERM]);
    let inbox = sigplane::subscribe(both).inbox().expect("they are free");
    let (tell, _told) = std::sync::mpsc::channel();
    let ended = sigplane::on(Signal::USR1, move |_| {
        let _told = tell.send(());
    });
    drop(ended.expect("SIGUSR1 is free"));
    // What happens to whoever forgets: the reason for the call, and the proof that this test can tell.
    assert!(!status_after_exec(|| ()).ignored.contains(Signal::HUP));
    let status = status_after_exec(process::restore_dispositions);
    assert!(status.ignored.contains(Signal::HUP), "{status:?}");
    assert!(!status.ignored.contains(Signal::TERM), "{status:?}");
    assert!(!status.ignored.contains(Signal::URG), "the doorbell's: {status:?}");
    assert!(status.caught.is_empty(), "{status:?}");
    assert!(status.blocked.is_empty(), "{status:?}");
    let table = sigplane::table();
    for signal in [Signal::HUP, Signal::TERM] {
        assert!(table.row(signal).is_some_and(|row| row.ours), "{table}");
        send::raise(signal).expect("to this thread");
        assert_eq!(inbox.try_recv().map(|event| event.signal()), Some(signal));
    }
    drop(inbox);
    let kernel = |signal| sigplane::table().row(signal).expect("it was subscribed").kernel.handler;
    assert_eq!((kernel(Signal::HUP), kernel(Signal::TERM)), (Handler::Ignore, Handler::Default));
}

/// The same through `std::process::Command`, as the documentation shows it.
fn works_as_documented() {
    ignore_hangup();
    let _sub =
        sigplane::on(SignalSet::from([Signal::HUP, Signal::INT]), |_| ()).expect("they are free");
    let mut command = Command::new("cat");
    command.arg("/proc/self/status");
    unsafe {
        command.pre_exec(|| {
            process::restore_dispositions();
            Ok(())
        })
    };
    let output = command.output().expect("cat starts");
    let status = Status::parse(&String::from_utf8_lossy(&output.stdout));
    assert!(
        status.ignored.contains(Signal::HUP) && !status.ignored.contains(Signal::INT),
        "{status:?}"
    );
    assert!(status.caught.is_empty() && status.blocked.is_empty(), "{status:?}");
}

/// What sigplane blocks for its own purposes is not inherited: not what a full queue holds, nor what
/// the end of a deferral's store does. (BRIEF §6.6 and §7, "the mask".)
fn the_mask_is_clean() {
    let rt = Signal::rt(2).expect("there are real-time signals");
    let inbox = sigplane::subscribe(rt).capacity(2).inbox().expect("it is free");
    for value in 0..6 {
        send::raise_with(rt, Value::from_int(value)).expect("there is room");
    }
    let mine =
        || Status::parse(&std::fs::read_to_string("/proc/thread-self/status").expect("procfs"));
    assert!(mine().blocked.contains(rt), "the queue holds it: {:?}", mine());
    let status = status_after_exec(process::restore_dispositions);
    assert!(status.blocked.is_empty(), "{status:?}");
    assert!(mine().blocked.contains(rt), "the parent's is as it was");
    let values: Vec<i32> =
        std::iter::from_fn(|| inbox.try_recv()?.value()).map(Value::int).collect();
    assert_eq!(values, [0, 1, 2, 3, 4, 5]);

    let critical = sigplane::defer();
    for value in 0..20 {
        send::raise_with(rt, Value::from_int(value)).expect("there is room");
    }
    assert!(mine().blocked.contains(Signal::TERM), "the store is full: {:?}", mine());
    let status = status_after_exec(process::restore_dispositions);
    assert!(status.blocked.is_empty(), "{status:?}");
    drop(critical);
    let values: Vec<i32> =
        std::iter::from_fn(|| inbox.try_recv()?.value()).map(Value::int).collect();
    assert!(values.into_iter().eq(0..20));
    assert!(mine().blocked.is_empty());
}

fn main() {
    Suite {
        tests: &[
            ("restored_dispositions_survive_exec", restored_dispositions_survive_exec),
            ("works_as_documented", works_as_documented),
            ("the_mask_is_clean", the_mask_is_clean),
        ],
        victims: &[],
    }
    .main()
}
