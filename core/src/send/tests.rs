//! Real signals, received with `sigtimedwait`: no test installs a handler.
//!
//! What goes to a process as a whole is tested in a child of its own: this executable
//! again, with one test, started with the signals blocked so that every thread blocks them.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::{env, mem, ptr};

use super::*;
use crate::event::{Cause, Event, RawEvent};
use crate::set::SignalSet;

fn realtime(n: u8) -> Signal {
    Signal::rt(n).unwrap()
}

/// `rt_sigprocmask` of the calling thread.
fn change_mask(how: c_int, set: SignalSet) {
    let bits = set.bits();
    let (how, size, old) = (c_long::from(how), 8 as c_long, ptr::null_mut::<u64>());
    // SAFETY: the kernel reads eight bytes from `bits`, and writes nothing.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const bits, old, size) };
    assert_eq!(done, 0);
}

/// A pending signal of `set`, if any, taken without running a handler.
fn take(set: SignalSet) -> Option<Event> {
    let bits = set.bits();
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: all zeroes are a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    let (set, info_ptr, timeout) = (&raw const bits, &raw mut info, &raw const timeout);
    // SAFETY: three live locals, and the size of the first.
    let taken = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, set, info_ptr, timeout, 8) };
    let tid = own_pid();
    (taken > 0).then(|| Event::from_raw(RawEvent { info, arrival_ns: 0, tid, instances: 1 }))
}

fn gettid() -> i32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::gettid() }
}

/// Runs `body` in a fresh process in which every thread blocks `set`; `name` is the test's.
fn in_child(name: &str, set: SignalSet, body: impl FnOnce()) {
    const CHILD: &str = "SIGPLANE_SEND_TEST_CHILD";
    const DONE: i32 = 42; // tells a test that ran from one that the harness did not find
    if env::var_os(CHILD).is_some() {
        body();
        std::process::exit(DONE);
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", &format!("{module}::{name}"), "--nocapture"]).env(CHILD, "1");
    child.stdout(Stdio::null()).process_group(0);
    // SAFETY: between fork and exec only one system call is made.
    unsafe {
        child.pre_exec(move || {
            change_mask(libc::SIG_BLOCK, set);
            Ok(())
        })
    };
    assert_eq!(child.status().unwrap().code(), Some(DONE));
}

#[test]
fn targets_that_broadcast_are_refused() {
    let value = Value::from_int(0);
    for id in [0, -1, -2, i32::MIN] {
        let refused = Err(SendError::InvalidTarget(id));
        assert_eq!(to_process(id, Signal::WINCH), refused);
        assert_eq!(to_process_with(id, Signal::WINCH, value), refused);
        assert_eq!(to_thread(id, Signal::WINCH), refused);
        assert_eq!(to_thread_of(id, 1, Signal::WINCH), refused);
        assert_eq!(to_thread_of(1, id, Signal::WINCH), refused);
        assert_eq!(to_thread_with(own_pid(), id, Signal::WINCH, value), refused);
        assert_eq!(to_group(id, Signal::WINCH), refused);
        assert_eq!(PidFd::open(id).map(drop), refused);
    }
    assert_eq!(to_group(1, Signal::WINCH), Err(SendError::InvalidTarget(1)));
}

#[test]
fn no_such_target() {
    assert_eq!(to_process(i32::MAX, Signal::WINCH), Err(SendError::NoSuchProcess));
    assert_eq!(to_group(i32::MAX, Signal::WINCH), Err(SendError::NoSuchProcess));
    assert_eq!(to_thread(i32::MAX, Signal::WINCH), Err(SendError::NoSuchProcess));
    assert_eq!(PidFd::open(i32::MAX).map(drop), Err(SendError::NoSuchProcess));
    let not_a_process = PidFd::from(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
    let error = not_a_process.send(Signal::WINCH).unwrap_err();
    assert_eq!(error, SendError::Os { call: "pidfd_send_signal", errno: libc::EBADF });
}

#[test]
fn to_threads_and_oneself() {
    let (plain, queued) = (realtime(5), realtime(6));
    let set = plain | queued;
    change_mask(libc::SIG_BLOCK, set);
    to_thread(gettid(), plain).unwrap();
    let event = take(set).unwrap();
    assert_eq!((event.signal(), event.cause()), (plain, Cause::Thread));
    assert_eq!(event.sender().map(|sender| sender.pid), Some(own_pid()));

    assert_eq!(raise(plain), Ok(Raised::Blocked));
    assert_eq!(take(set).map(|event| event.cause()), Some(Cause::Thread));

    for n in 0..20 {
        assert_eq!(raise_with(queued, Value::from_int(n)), Ok(Raised::Blocked));
    }
    for n in 20..40 {
        to_thread_with(own_pid(), gettid(), queued, Value::from_addr(n)).unwrap();
    }
    for n in 0..40 {
        let event = take(set).unwrap();
        assert_eq!((event.signal(), event.cause()), (queued, Cause::Queue));
        assert_eq!(event.value(), Some(Value::from_addr(n)));
        assert_eq!(event.sender().map(|sender| sender.pid), Some(own_pid()));
    }
    assert!(take(set).is_none());
    change_mask(libc::SIG_UNBLOCK, set);
    assert_eq!(raise(Signal::WINCH), Ok(Raised::Delivered));
}

#[test]
fn to_processes_and_groups() {
    let set = realtime(0) | Signal::USR1;
    in_child("to_processes_and_groups", set, || {
        let pid = own_pid();
        let process = PidFd::open(pid).unwrap();
        to_process(pid, Signal::USR1).unwrap();
        assert_eq!(take(set).unwrap().cause(), Cause::User);
        to_own_group(Signal::USR1).unwrap();
        assert_eq!(take(set).unwrap().cause(), Cause::User);
        to_group(pid, Signal::USR1).unwrap();
        assert_eq!(take(set).unwrap().sender().unwrap().pid, pid);
        process.send(Signal::USR1).unwrap();
        assert_eq!(take(set).unwrap().cause(), Cause::User);
        let (one, two) = (Value::from_int(1), Value::from_ptr(&raw const process));
        to_process_with(pid, realtime(0), one).unwrap();
        process.send_with(realtime(0), two).unwrap();
        assert_eq!(take(set).unwrap().value(), Some(one));
        assert_eq!(take(set).unwrap().value(), Some(two));
        assert!(take(set).is_none());
    });
}

#[test]
fn a_full_queue_is_retryable() {
    let signal = realtime(0);
    in_child("a_full_queue_is_retryable", signal.into(), || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: reads one live local.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const none) }, 0);
        let full = Err(SendError::QueueFull);
        assert_eq!(to_process_with(own_pid(), signal, Value::from_int(1)), full);
        assert_eq!(to_thread(gettid(), signal), full);
        assert_eq!(raise(signal), Err(SendError::QueueFull));
        assert!(SendError::QueueFull.is_retryable());
        // As the module says: without a value it is sent, and what it carried is lost.
        to_process(own_pid(), signal).unwrap();
        assert_eq!(take(signal.into()).unwrap().sender().map(|sender| sender.pid), Some(0));
    });
}
