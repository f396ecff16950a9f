//! The system calls of a wake, counted by strace(1).
//!
//! Issue "Async": "no more system calls per wake than needed", and what must be shown, 3.
//!
//! The victim awaits a number of signals, each sent when it sleeps again. It says how far it is in
//! shared memory, which costs no system call. What it does once, at its start and end, is the same for
//! few signals and for many, and so subtracted away.

use super::rt;
use sigplane::send::{self, Value};
use sigplane_tests::{Running, eventually, quick, skip, victim};
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;

/// Names the descriptor of the shared page, which is inherited.
const PAGE: &str = "SIGPLANE_TEST_PAGE";
/// How many signals the victim awaits.
const COUNT: &str = "SIGPLANE_TEST_COUNT";

/// The page of shared memory behind a descriptor.
fn shared(fd: i32) -> &'static AtomicU64 {
    let (rights, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, kind, fd, 0) };
    assert_ne!(at, libc::MAP_FAILED);
    unsafe { &*at.cast() }
}

fn told(variable: &str) -> u64 {
    std::env::var(variable).expect("the test sets it").parse().expect("a number")
}

/// A runtime of the calling thread with nothing but a reactor.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime")
}

async fn count() {
    let (seen, count) = (shared(told(PAGE) as i32), told(COUNT));
    let mut stream = sigplane_async::signal(rt()).expect("subscribed");
    println!("{}", std::process::id());
    for expected in 0..count {
        assert_eq!(stream.recv().await.value(), Some(Value::from_int(expected as i32)));
        seen.store(expected + 1, Ordering::SeqCst);
    }
}

/// The victim whose runtime's thread receives the signals itself.
pub fn receiving() {
    runtime().block_on(count());
}

/// The victim whose runtime is on a shielded thread.
pub fn shielded() {
    std::thread::spawn(|| {
        sigplane::thread::shield();
        runtime().block_on(count());
        std::process::exit(0);
    });
    loop {
        unsafe { libc::pause() };
    }
}

/// Whether every thread of a process sleeps: in a system call, for a tracer's stop has another letter.
fn sleeps(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
    })
}

/// How often each system call was made, and how often it failed.
type Calls = BTreeMap<String, (i64, i64)>;

/// Runs a victim under strace with this many signals.
fn trace(name: &str, count: u64) -> Calls {
    let fd = unsafe { libc::memfd_create(c"page".as_ptr(), 0) };
    assert!(fd >= 0 && unsafe { libc::ftruncate(fd, 4096) } == 0);
    let seen = shared(fd);
    let bare = victim(name);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,errors,name", "-o", "/dev/stdout"]);
    strace.arg(bare.get_program());
    strace.envs(bare.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.env(PAGE, fd.to_string()).env(COUNT, count.to_string());
    let mut running = Running::start(strace);
    let pid = running.line().expect("it starts").parse().expect("its process id");
    for value in 0..count {
        eventually("the victim's sleep", || seen.load(Ordering::SeqCst) == value && sleeps(pid));
        send::to_process_with(pid, rt(), Value::from_int(value as i32)).expect("it lives");
    }
    let (exit, table) = running.finish();
    assert!(exit.success(), "{exit:?}");
    unsafe { libc::close(fd) };
    let calls = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (calls, errors) = match words[..] {
            [calls, errors, _] => (calls.parse().ok()?, errors.parse().ok()?),
            [calls, _] => (calls.parse().ok()?, 0),
            _ => return None,
        };
        Some((words.last()?.to_string(), (calls, errors)))
    });
    calls.filter(|(name, _)| name != "total").collect()
}

/// What `wakes` wakes cost, above what starting and ending cost: calls, and failed ones.
fn cost_of_wakes(name: &str, wakes: u64) -> Calls {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null());
    if !strace.status().is_ok_and(|status| status.success()) {
        skip("strace is not installed, or may not trace here");
    }
    let (few, many) = (trace(name, 20), trace(name, 20 + wakes));
    let mut calls: Calls = BTreeMap::new();
    for name in few.keys().chain(many.keys()) {
        let (few, many) = (few.get(name).unwrap_or(&(0, 0)), many.get(name).unwrap_or(&(0, 0)));
        calls.insert(name.clone(), (many.0 - few.0, many.1 - few.1));
    }
    println!("{wakes} wakes of {name}: {calls:?}");
    calls
}

/// What a handler of sigplane costs: it asks whether it is in a vfork child, writes the eventfd, and
/// returns. strace counts a return as failed when what was interrupted fails.
const HANDLER: [(&str, i64, i64); 3] = [("getpid", 1, 0), ("write", 1, 0), ("rt_sigreturn", 1, 1)];

/// Asserts how often per wake each of `expected` was made, and failed, and that nothing else was made at
/// all: the eventfd is never read. Start-up differs by a few calls from run to run.
fn assert_calls(mut calls: Calls, wakes: i64, expected: &[(&str, i64, i64)]) {
    let about = |got: i64, times: i64| (got - times * wakes).abs() <= 5;
    for &(name, each, failed) in expected.iter().chain(&HANDLER) {
        let (got, errors) = calls.remove(name).unwrap_or_default();
        assert!(about(got, each) && about(errors, failed), "{name}: {got} calls, {errors} failed");
    }
    for (name, (got, _)) in calls {
        assert!(about(got, 0), "{name}: {got} calls in {wakes} wakes");
    }
}

/// The runtime's thread receives: the signal ends its sleep, which fails with EINTR, and which the
/// runtime begins again: that is the kernel's way, whatever wakes it (signal(7), "Interruption of system
/// calls"). The handler writes the eventfd, so the sleep begun again ends at once.
pub fn of_a_receiving_runtime() {
    let wakes = quick(500);
    let calls = cost_of_wakes("receiving", wakes);
    assert_calls(calls, wakes as i64, &[("epoll_wait", 2, 1)]);
}

/// Another thread receives, and sleeps in pause(2): in the runtime's thread a wake is one epoll_wait. The
/// receiver has never used sigplane, so it may have to be asked for its id.
pub fn of_a_shielded_runtime() {
    let wakes = quick(500);
    let mut calls = cost_of_wakes("shielded", wakes);
    let asked = calls.remove("gettid").map_or(0, |(calls, _)| calls);
    assert!(asked <= wakes as i64 + 5, "gettid: {asked} calls");
    assert_calls(calls, wakes as i64, &[("epoll_wait", 1, 0), ("pause", 1, 1)]);
}
