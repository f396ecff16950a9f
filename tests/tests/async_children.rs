//! `child_events()`: every child's exit once, with its status, whatever the kernel merges and whoever
//! else waits for the children; and none reaped that is somebody else's.
//!
//! Issue "Async": "`child_events()` that reports every child's exit although SIGCHLD coalesces,
//! coexisting with `tokio::process` and with other owners of SIGCHLD, without reaping what is not its own".

use futures::{FutureExt, StreamExt};
use sigplane::{ChildStatus, Error, Signal, Subscription};
use sigplane_async::{ChildEvents, ChildExit, child_events};
use sigplane_tests::raw::{self, Action};
use sigplane_tests::{DEADLINE, Suite, eventually, mask, quick, skip};
use std::collections::HashMap;
use std::future::Future;
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Children, by pid, and how each ends.
type Expected = HashMap<i32, ChildStatus>;

/// How a forked child ends.
#[derive(Clone, Copy)]
enum End {
    Exit(i32),
    Kill(i32),
}

/// A pipe that holds children back until it is opened, all at once.
struct Gate(PipeReader, PipeWriter);

impl Gate {
    fn new() -> Self {
        let (reader, writer) = pipe().expect("a pipe");
        Self(reader, writer)
    }

    fn open(self) {}

    /// Forks a child that waits at the gate.
    fn fork(&self, end: End) -> i32 {
        let (reader, writer) = (self.0.as_raw_fd(), self.1.as_raw_fd());
        fork(move || {
            let mut byte = 0u8;
            // SAFETY: system calls on its own copies; the child has one thread.
            unsafe {
                libc::close(writer);
                libc::read(reader, (&raw mut byte).cast(), 1);
            }
            end
        })
    }

    /// A shell that waits at the gate. Two digits, so that no status is a signal's.
    fn shell(&self, code: i32) -> Command {
        let mut command = Command::new("/bin/sh");
        let stdin = Stdio::from(self.0.try_clone().expect("a descriptor"));
        command.args(["-c", &format!("read line; exit {code}")]).stdin(stdin);
        command
    }
}

/// Forks a child that does `body`, which must be async-signal-safe, and ends.
fn fork(body: impl FnOnce() -> End) -> i32 {
    // SAFETY: the child makes system calls only.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => match body() {
            End::Exit(code) => unsafe { libc::_exit(code) },
            End::Kill(number) => {
                raw_default(number);
                unsafe { libc::kill(libc::getpid(), number) };
                unsafe { libc::_exit(255) }
            }
        },
        child => child,
    }
}

fn raw_default(number: i32) {
    if number != libc::SIGKILL {
        raw::set_action(number, Action::default());
    }
}

/// Looks at a child, and reaps it if told to: `None` if it is no child, `Some(None)` if it lives.
fn wait_for(pid: i32, flags: i32) -> Option<Option<ChildStatus>> {
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | flags;
    match unsafe { libc::waitid(libc::P_PID, pid as u32, &mut info, flags) } {
        0 => Some(match (info.si_code, unsafe { info.si_status() }) {
            (libc::CLD_EXITED, code) => Some(ChildStatus::Exited(code)),
            (libc::CLD_KILLED, number) => Some(ChildStatus::Killed(number)),
            (libc::CLD_DUMPED, number) => Some(ChildStatus::Dumped(number)),
            _ => None,
        }),
        _ => None,
    }
}

/// Reaps each; they must be there, and have ended as expected.
fn reap(expected: &Expected) {
    for (&pid, &status) in expected {
        assert_eq!(wait_for(pid, libc::WNOHANG), Some(Some(status)), "{pid}");
    }
}

/// Waits until a child has ended, without reaping it.
fn ended(pid: i32) -> ChildStatus {
    wait_for(pid, libc::WNOWAIT).flatten().expect("a child of ours")
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).enable_all().build().expect("a runtime")
}

/// In time.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it comes")
}

/// Nothing is reported, also when the reactor has had its turns.
async fn assert_quiet(events: &mut ChildEvents) {
    for _ in 0..50 {
        assert_eq!(events.recv().now_or_never(), None);
        tokio::task::yield_now().await;
    }
}

/// Receives as many exits as are expected: each child once, with its status, and no other.
async fn assert_reported(events: &mut ChildEvents, expected: &Expected) {
    let mut seen = HashMap::new();
    while seen.len() < expected.len() {
        let ChildExit { pid, status, .. } = soon(events.recv()).await;
        assert_eq!(seen.insert(pid, status), None, "{pid} twice");
        let true_status = *expected.get(&pid).expect("one of these children");
        match status {
            Some(status) => assert_eq!(status, true_status, "{pid}"),
            None => assert!(!keeps_status(), "{pid}: the kernel has its status"),
        }
    }
    assert_quiet(events).await;
}

/// Whether the kernel keeps the status of reaped children: Linux 6.15.
fn keeps_status() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}

fn many() -> i32 {
    quick(500) as i32
}

/// Forks many that wait at a gate.
fn crowd(gate: &Gate, count: i32) -> Expected {
    let one = |n| (gate.fork(End::Exit(n % 256)), ChildStatus::Exited(n % 256));
    (0..count).map(one).collect()
}

fn all_at_once(runtime: &Runtime, change: fn(ChildEvents) -> ChildEvents) {
    let mut events = change(runtime.block_on(async { child_events() }).expect("subscribed"));
    let gate = Gate::new();
    let expected = crowd(&gate, many());
    gate.open();
    runtime.block_on(assert_reported(&mut events, &expected));
    reap(&expected); // None has been reaped.
    runtime.block_on(assert_quiet(&mut events));
}

fn zombies() {
    all_at_once(&runtime(), |events| events);
}

fn zombies_on_workers() {
    let runtime = workers();
    let gate = Gate::new();
    let (tell, told) = mpsc::channel();
    let expected = runtime.block_on(async {
        let mut events = child_events().expect("subscribed");
        let expected = crowd(&gate, many());
        let copy = expected.clone();
        tokio::spawn(async move {
            assert_reported(&mut events, &copy).await;
            tell.send(()).expect("the test waits");
        });
        expected
    });
    gate.open();
    told.recv_timeout(DEADLINE).expect("all are reported");
    reap(&expected);
}

fn zombies_without_children_files() {
    all_at_once(&runtime(), ChildEvents::sweeping_all_processes);
}

/// The kernel delivers a single SIGCHLD for all of them, and none had been seen before.
fn one_signal_for_all() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let signals = sigplane::subscribe(Signal::CHLD).inbox().expect("subscribed");
    mask::block(Signal::CHLD); // There is no other thread.
    let gate = Gate::new();
    let expected = crowd(&gate, many());
    gate.open();
    for &pid in expected.keys() {
        ended(pid);
    }
    mask::unblock(Signal::CHLD);
    assert_eq!(signals.try_iter().count(), 1);
    runtime.block_on(assert_reported(&mut events, &expected));
    reap(&expected);
}

/// Watched right after they have been spawned; tokio reaps them at the same time.
fn reaped_by_tokio() {
    workers().block_on(async {
        let mut events = child_events().expect("subscribed");
        let gate = Gate::new();
        let (mut expected, mut waits) = (Expected::new(), Vec::new());
        for n in 0..many() {
            let code = 10 + n % 90;
            let mut child = tokio::process::Command::from(gate.shell(code)).spawn().expect("sh");
            let pid = child.id().expect("not waited for") as i32;
            events.watch(pid).expect("a child of ours");
            expected.insert(pid, ChildStatus::Exited(code));
            waits.push(tokio::spawn(async move { (child.wait().await, code) }));
        }
        gate.open();
        assert_reported(&mut events, &expected).await;
        for wait in waits {
            let (status, code) = soon(wait).await.expect("no panic");
            assert_eq!(status.expect("tokio has reaped it").code(), Some(code));
        }
    });
}

/// Reaped by blocking `wait` in other threads.
fn reaped_by_threads() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let gate = Gate::new();
    let mut expected = Expected::new();
    let mut shares: [Vec<_>; 8] = Default::default();
    for n in 0..many() {
        let code = 10 + n % 90;
        let child = gate.shell(code).spawn().expect("sh");
        events.watch(child.id() as i32).expect("a child of ours");
        expected.insert(child.id() as i32, ChildStatus::Exited(code));
        shares[n as usize % 8].push((child, code));
    }
    let reapers = shares.map(|share| {
        thread::spawn(move || {
            for (mut child, code) in share {
                assert_eq!(child.wait().expect("not reaped by us").code(), Some(code));
            }
        })
    });
    gate.open();
    runtime.block_on(assert_reported(&mut events, &expected));
    for reaper in reapers {
        reaper.join().expect("no panic");
    }
}

/// Reaped by the test before anything could be looked at, and their signal lost: only their descriptors
/// know. Some had been watched, some seen in a sweep.
fn reaped_before_the_look() {
    let runtime = runtime();
    let gate = Gate::new();
    let mut expected = crowd(&gate, 20);
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let watched = crowd(&gate, 20);
    for &pid in watched.keys() {
        events.watch(pid).expect("a child of ours");
    }
    expected.extend(watched);
    mask::block(Signal::CHLD);
    gate.open();
    for (&pid, &status) in &expected {
        assert_eq!(wait_for(pid, 0), Some(Some(status)));
    }
    runtime.block_on(assert_reported(&mut events, &expected));
}

/// Reaped before the look, never seen: its siginfo is all there is.
fn only_the_siginfo() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    for n in 0..20 {
        let child = fork(|| End::Exit(n));
        assert_eq!(wait_for(child, 0), Some(Some(ChildStatus::Exited(n))));
        // This thread takes the signal when it leaves the call at the latest.
        runtime.block_on(assert_reported(&mut events, &[(child, ChildStatus::Exited(n))].into()));
    }
}

/// A siginfo that comes after its child has been seen, reported and reaped is not another exit.
fn late_siginfo() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    mask::block(Signal::CHLD);
    for n in 0..3 {
        let child = fork(|| End::Exit(n));
        events.watch(child).expect("a child of ours");
        runtime.block_on(assert_reported(&mut events, &[(child, ChildStatus::Exited(n))].into()));
        assert_eq!(wait_for(child, 0), Some(Some(ChildStatus::Exited(n))));
        runtime.block_on(assert_quiet(&mut events));
    }
    mask::unblock(Signal::CHLD); // It has the pid of the first.
    runtime.block_on(assert_quiet(&mut events));
}

/// Forks a child with this pid, which ends at once: `None` if that is not permitted.
fn fork_as(pid: i32, code: i32) -> Option<i32> {
    // SAFETY: zeroes are the defaults of clone3(2); the child makes one system call.
    unsafe {
        let mut arguments: libc::clone_args = std::mem::zeroed();
        arguments.exit_signal = libc::SIGCHLD as u64;
        arguments.set_tid = &raw const pid as u64;
        arguments.set_tid_size = 1;
        match libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of_val(&arguments)) {
            0 => libc::_exit(code),
            -1 => {
                let error = std::io::Error::last_os_error();
                let is_refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS));
                assert!(is_refused, "{error}");
                None
            }
            child => Some(child as i32),
        }
    }
}

/// A pid that is used again, without any look meanwhile, by a child that ends in the same way.
fn pid_used_again() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let pid = fork(|| End::Exit(7));
    let expected: Expected = [(pid, ChildStatus::Exited(7))].into();
    runtime.block_on(assert_reported(&mut events, &expected));
    let mut reuse = |is_reaped_first: bool, is_watched: bool| {
        if fork_as(pid, 7).is_none() {
            skip("a pid cannot be chosen here (clone3, set_tid)");
        }
        if is_watched {
            events.watch(pid).expect("a child of ours");
        }
        ended(pid);
        if is_reaped_first {
            reap(&expected);
        }
        runtime.block_on(assert_reported(&mut events, &expected));
        if !is_reaped_first {
            reap(&expected);
        }
    };
    reap(&expected);
    for (is_reaped_first, is_watched) in
        [(false, false), (false, true), (true, false), (true, true), (true, false), (false, false)]
    {
        reuse(is_reaped_first, is_watched);
    }
}

fn adopted() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let gate = Gate::new();
    let expected = crowd(&gate, 100);
    for &pid in expected.keys() {
        events.adopt(pid).expect("a child of ours");
    }
    gate.open();
    runtime.block_on(assert_reported(&mut events, &expected));
    for &pid in expected.keys() {
        assert_eq!(wait_for(pid, libc::WNOHANG), None, "{pid} has been reaped");
    }
    // Adopted after it has been reported; then a zombie that waits to be reported, and is dropped.
    let late = fork(|| End::Exit(1));
    runtime.block_on(assert_reported(&mut events, &[(late, ChildStatus::Exited(1))].into()));
    assert_eq!(ended(late), ChildStatus::Exited(1));
    events.adopt(late).expect("a child of ours");
    assert_eq!(wait_for(late, libc::WNOHANG), None);
    let unread = fork(|| End::Exit(2));
    ended(unread);
    events.adopt(unread).expect("a child of ours");
    assert_eq!(ended(unread), ChildStatus::Exited(2), "it has not been reported");
    drop(events);
    assert_eq!(wait_for(unread, libc::WNOHANG), None);
}

/// Exit codes, signals, and a core dump where the system makes one.
fn statuses() {
    let directory = std::env::temp_dir().join(format!("sigplane-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    std::env::set_current_dir(&directory).expect("it is there");
    let core = libc::rlimit { rlim_cur: 1 << 30, rlim_max: libc::RLIM_INFINITY };
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &core) };
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let gate = Gate::new();
    let ends = [End::Exit(0), End::Exit(255), End::Exit(77), End::Kill(libc::SIGKILL)]
        .into_iter()
        .chain([libc::SIGTERM, libc::SIGSEGV, libc::SIGABRT, libc::SIGRTMAX()].map(End::Kill));
    let children: Vec<_> = ends.map(|end| (gate.fork(end), end)).collect();
    gate.open();
    let expected: Expected = children.iter().map(|&(pid, _)| (pid, ended(pid))).collect();
    for (pid, end) in children {
        match (end, expected[&pid]) {
            (End::Exit(code), status) => assert_eq!(status, ChildStatus::Exited(code)),
            (End::Kill(wanted), ChildStatus::Killed(number) | ChildStatus::Dumped(number)) => {
                assert_eq!(number, wanted)
            }
            (_, status) => panic!("{status}"),
        }
    }
    runtime.block_on(assert_reported(&mut events, &expected));
    reap(&expected);
    // The same, reaped before the look.
    let gate = Gate::new();
    let segv = gate.fork(End::Kill(libc::SIGSEGV));
    events.watch(segv).expect("a child of ours");
    gate.open();
    let status = wait_for(segv, 0).flatten().expect("a child of ours");
    runtime.block_on(assert_reported(&mut events, &[(segv, status)].into()));
    println!("SIGSEGV: {status}");
    std::fs::remove_dir_all(directory).expect("ours");
}

static BEFORE: AtomicUsize = AtomicUsize::new(0);
static AFTER: AtomicUsize = AtomicUsize::new(0);
static BEHIND: AtomicUsize = AtomicUsize::new(0);

extern "C" fn before(_: i32) {
    BEFORE.fetch_add(1, SeqCst);
}

/// Chains to what it has replaced.
extern "C" fn after(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type Handler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);
    AFTER.fetch_add(1, SeqCst);
    // SAFETY: the address of sigplane's handler, which takes three arguments.
    let behind: Handler = unsafe { std::mem::transmute(BEHIND.load(SeqCst)) };
    behind(signal, info, context);
}

/// Counts the SIGCHLD that sigplane's dispatcher sees.
fn on_child() -> (Subscription, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let subscription = sigplane::on(Signal::CHLD, move |_| {
        count.fetch_add(1, SeqCst);
    });
    (subscription.expect("subscribed"), seen)
}

fn with_other_owners() {
    let handler: extern "C" fn(i32) = before;
    raw::install(libc::SIGCHLD, handler as usize, libc::SA_RESTART, &[]);
    let runtime = runtime();
    runtime.block_on(async {
        let mut first = child_events().expect("subscribed");
        let (_subscription, seen) = on_child();
        let mut second = child_events().expect("subscribed");
        let mut tokios =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).expect("tokio");
        BEHIND.store(raw::action(libc::SIGCHLD).handler, SeqCst);
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = after;
        let flags = libc::SA_RESTART | libc::SA_SIGINFO | libc::SA_ONSTACK;
        raw::install(libc::SIGCHLD, handler as usize, flags, &[]);

        let gate = Gate::new();
        let expected = crowd(&gate, 50);
        gate.open();
        assert_reported(&mut first, &expected).await;
        drop(first);
        assert_reported(&mut second, &expected).await;
        soon(tokios.recv()).await;
        eventually("the dispatcher's turn", || seen.load(SeqCst) > 0);
        assert!(BEFORE.load(SeqCst) > 0 && AFTER.load(SeqCst) > 0);
        reap(&expected);
    });
}

/// Somebody replaces the handler and chains to nobody: watched and seen children are reported all the
/// same, and cause a look that finds others.
fn with_a_usurper() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let handler: extern "C" fn(i32) = before;
    raw::install(libc::SIGCHLD, handler as usize, libc::SA_RESTART, &[]);
    let gate = Gate::new();
    let mut expected = crowd(&gate, 20);
    gate.open();
    expected.keys().for_each(|&pid| assert!(matches!(ended(pid), ChildStatus::Exited(_))));
    let watched = fork(|| End::Exit(3));
    events.watch(watched).expect("a child of ours");
    expected.insert(watched, ChildStatus::Exited(3));
    runtime.block_on(assert_reported(&mut events, &expected));
    assert!(BEFORE.load(SeqCst) > 0);
    reap(&expected);
}

/// `tokio::process` waits while child events exist, and after they have been dropped.
fn tokio_waits() {
    runtime().block_on(async {
        let mut events = Some(child_events().expect("subscribed"));
        for code in [21, 22, 23] {
            let gate = Gate::new();
            let mut child = tokio::process::Command::from(gate.shell(code)).spawn().expect("sh");
            let pid = child.id().expect("not waited for") as i32;
            gate.open();
            if let Some(mut events) = events.take_if(|_| code < 23) {
                let exit = soon(events.recv()).await;
                assert_eq!((exit.pid, exit.status), (pid, Some(ChildStatus::Exited(code))));
                drop(events);
            }
            assert_eq!(soon(child.wait()).await.expect("not reaped").code(), Some(code));
            if code == 21 {
                events = Some(child_events().expect("subscribed again"));
            }
        }
    });
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// `recv` dropped at random points while children end, forked by another thread.
fn cancelled() {
    let mut random = Random(u64::from(std::process::id()) << 20 | 1);
    println!("seed {}", random.0);
    workers().block_on(async {
        let mut events = child_events().expect("subscribed");
        let (tell, mut told) = tokio::sync::mpsc::channel(4);
        let parent = thread::spawn(move || {
            for n in 0..quick(400) as i32 {
                let child = fork(|| End::Exit(n % 256));
                tell.blocking_send((child, ChildStatus::Exited(n % 256))).expect("it is read");
            }
        });
        let (mut expected, mut seen, mut dropped) = (Expected::new(), HashMap::new(), 0);
        let rounds = quick(100_000);
        let every = rounds / quick(400);
        while dropped < rounds {
            // The children are spread over the rounds.
            if dropped % every == 0
                && let Ok((pid, status)) = told.try_recv()
            {
                expected.insert(pid, status);
            }
            let patience = random.below(4);
            tokio::select! {
                exit = events.recv() => {
                    assert_eq!(seen.insert(exit.pid, exit.status), None, "{} twice", exit.pid);
                }
                () = async { for _ in 0..patience { tokio::task::yield_now().await } } => dropped += 1,
            }
        }
        while let Some((pid, status)) = told.recv().await {
            expected.insert(pid, status);
        }
        parent.join().expect("no panic");
        while seen.len() < expected.len() {
            let exit = soon(events.recv()).await;
            assert_eq!(seen.insert(exit.pid, exit.status), None, "{} twice", exit.pid);
        }
        assert_quiet(&mut events).await;
        let expected_too: HashMap<_, _> =
            expected.iter().map(|(&pid, &status)| (pid, Some(status))).collect();
        assert_eq!(seen, expected_too);
        reap(&expected);
    });
}

/// Children of threads that end at once, so that their children move from list to list while they end.
fn forked_by_threads_that_end() {
    let runtime = workers();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let mut expected = Expected::new();
    for _ in 0..quick(20) {
        let parents: Vec<_> = (0..8)
            .map(|n| thread::spawn(move || [0, 1, 2].map(|m| (fork(|| End::Exit(n + m)), n + m))))
            .collect();
        let round: Expected = parents
            .into_iter()
            .flat_map(|parent| parent.join().expect("no panic"))
            .map(|(pid, code)| (pid, ChildStatus::Exited(code)))
            .collect();
        runtime.block_on(assert_reported(&mut events, &round));
        expected.extend(round);
    }
    reap(&expected);
}

/// What has been said of children that somebody reaps, which may leave no trace, and of others, which
/// nobody does.
#[derive(Default)]
struct Found {
    all: Expected,
    seen: HashMap<i32, Option<ChildStatus>>,
}

impl Found {
    /// Until all of `left` have been found: once each, with the true status.
    async fn all_of(&mut self, events: &mut ChildEvents, left: &Expected) {
        self.all.extend(left);
        while !left.keys().all(|pid| self.seen.contains_key(pid)) {
            let ChildExit { pid, status, .. } = soon(events.recv()).await;
            assert_eq!(self.seen.insert(pid, status), None, "{pid} twice");
            let truth = *self.all.get(&pid).expect("one of the children");
            assert!(status == Some(truth) || status.is_none() && !keeps_status(), "{status:?}");
        }
    }
}

/// One SIGCHLD for all, and while the children are listed half of them are reaped by another thread: the
/// kernel's list then skips some of the others.
fn reaped_while_listed() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let mut found = Found::default();
    for _ in 0..quick(12) {
        mask::block(Signal::CHLD);
        let gate = Gate::new();
        let mut left = crowd(&gate, 300);
        gate.open();
        left.keys().for_each(|&pid| _ = ended(pid));
        let reaped: Expected = left.extract_if(|pid, _| pid % 2 == 1).collect();
        let reaping = Arc::new(Barrier::new(2));
        let (copy, started) = (reaped.clone(), Arc::clone(&reaping));
        let reaper = thread::spawn(move || {
            started.wait();
            reap(&copy); // In no order.
        });
        reaping.wait();
        mask::unblock(Signal::CHLD);
        found.all.extend(&reaped);
        runtime.block_on(found.all_of(&mut events, &left));
        reaper.join().expect("no panic");
        reap(&left);
    }
}

/// The same, and while the children are listed the threads that made them end, and hand them over.
fn handed_over_while_listed() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let mut found = Found::default();
    for _ in 0..quick(100) {
        mask::block(Signal::CHLD); // The threads inherit it.
        let end = Arc::new(Barrier::new(7));
        let (tell, told) = mpsc::channel();
        let parents: [_; 6] = std::array::from_fn(|n| {
            let (tell, end) = (tell.clone(), Arc::clone(&end));
            thread::spawn(move || {
                let pid = fork(|| End::Exit(n as i32));
                tell.send((pid, ended(pid))).expect("the test waits");
                end.wait();
            })
        });
        let left: Expected = told.iter().take(parents.len()).collect();
        end.wait();
        mask::unblock(Signal::CHLD);
        runtime.block_on(found.all_of(&mut events, &left));
        parents.into_iter().for_each(|parent| parent.join().expect("no panic"));
        reap(&left);
    }
}

/// Somebody reaps each child in the moment in which it is looked at.
fn reaped_at_the_look() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    for _ in 0..quick(20) {
        let gate = Gate::new();
        let expected = crowd(&gate, 50);
        for &pid in expected.keys() {
            events.watch(pid).expect("a child of ours");
        }
        let reaper = thread::spawn(|| {
            let any = |_| unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
            (0..50).map(any).filter(|&pid| pid > 0).count()
        });
        gate.open();
        runtime.block_on(assert_reported(&mut events, &expected));
        assert_eq!(reaper.join().expect("no panic"), expected.len());
    }
}

fn stopped_and_continued() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let signals = sigplane::subscribe(Signal::CHLD).inbox().expect("subscribed");
    let gate = Gate::new();
    let child = gate.fork(End::Exit(5));
    events.watch(child).expect("a child of ours");
    for (signal, status) in [
        (libc::SIGSTOP, ChildStatus::Stopped(libc::SIGSTOP)),
        (libc::SIGCONT, ChildStatus::Continued(libc::SIGCONT)),
    ] {
        unsafe { libc::kill(child, signal) };
        let event = signals.recv_timeout(DEADLINE).expect("SIGCHLD");
        assert_eq!(event.child().map(|child| child.status), Some(status));
        runtime.block_on(assert_quiet(&mut events));
    }
    gate.open();
    let expected = [(child, ChildStatus::Exited(5))].into();
    runtime.block_on(assert_reported(&mut events, &expected));
    reap(&expected);
}

/// SIGCHLD is ignored when sigplane comes: children reap themselves.
fn ignored_before() {
    raw::set_action(libc::SIGCHLD, Action { handler: libc::SIG_IGN, ..Action::default() });
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let gate = Gate::new();
    let expected = crowd(&gate, 20);
    for &pid in expected.keys() {
        events.watch(pid).expect("a child of ours");
    }
    gate.open();
    runtime.block_on(assert_reported(&mut events, &expected));
    assert_eq!(unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) }, -1, "no zombies");
}

fn error_of(result: sigplane::Result<()>) -> (&'static str, i32) {
    match result {
        Err(Error::Os { call, source }) => (call, source.raw_os_error().expect("the kernel's")),
        other => panic!("{other:?}"),
    }
}

fn refused() {
    let runtime = runtime();
    let mut events = runtime.block_on(async { child_events() }).expect("subscribed");
    let reaped = fork(|| End::Exit(0));
    assert!(wait_for(reaped, 0).is_some());
    assert_eq!(error_of(events.watch(reaped)), ("pidfd_open", libc::ESRCH));
    assert_eq!(error_of(events.watch(-1)), ("pidfd_open", libc::EINVAL));
    let parent = std::os::unix::process::parent_id() as i32;
    for stranger in [std::process::id() as i32, parent] {
        assert_eq!(error_of(events.watch(stranger)), ("waitid", libc::ECHILD));
        assert_eq!(error_of(events.adopt(stranger)), ("waitid", libc::ECHILD));
    }
}

/// From runtime to runtime, one of them dropped; as a `Stream`; and what ended before it was made.
fn moved() {
    let early = fork(|| End::Exit(1));
    ended(early);
    let mut events = child_events().expect("subscribed, without a runtime");
    let mut expected: Expected = [(early, ChildStatus::Exited(1))].into();
    runtime().block_on(assert_reported(&mut events, &expected));
    let (one, other) = (runtime(), workers());
    for runtime in [&one, &other, &one] {
        let child = fork(|| End::Exit(2));
        runtime.block_on(async {
            let exit = soon(events.next()).await.expect("it never ends");
            assert_eq!((exit.pid, exit.status), (child, Some(ChildStatus::Exited(2))));
        });
        expected.insert(child, ChildStatus::Exited(2));
    }
    reap(&expected);
}

/// A forked child has its own children's exits and none of the parent's, which end while both have their
/// descriptors; the parent has all of its own and none of the child's.
fn forked() {
    let parents = runtime();
    let mut events = parents.block_on(async { child_events() }).expect("subscribed");
    let (gate, go) = (Gate::new(), Gate::new());
    let mut expected = crowd(&gate, 10);
    for &pid in expected.keys() {
        events.watch(pid).expect("a child of ours");
    }
    // SAFETY: there is one thread.
    let child = unsafe { libc::fork() };
    if child == 0 {
        gate.open();
        let Gate(mut told, writer) = go;
        drop(writer);
        assert_eq!(told.read(&mut [0]).expect("it can be read"), 0); // The parent's have ended.
        let theirs = Gate::new();
        let mine = crowd(&theirs, 10);
        theirs.open();
        runtime().block_on(assert_reported(&mut events, &mine));
        reap(&mine);
        drop(events);
        // SAFETY: what is left is the parent's.
        unsafe { libc::_exit(9) };
    }
    gate.open();
    expected.iter().for_each(|(&pid, &status)| assert_eq!(ended(pid), status));
    go.open();
    expected.insert(child, ChildStatus::Exited(9));
    assert_eq!(ended(child), ChildStatus::Exited(9));
    parents.block_on(assert_reported(&mut events, &expected));
    reap(&expected);
}

fn main() {
    Suite {
        tests: &[
            ("zombies", zombies),
            ("zombies_on_workers", zombies_on_workers),
            ("zombies_without_children_files", zombies_without_children_files),
            ("one_signal_for_all", one_signal_for_all),
            ("reaped_by_tokio", reaped_by_tokio),
            ("reaped_by_threads", reaped_by_threads),
            ("reaped_before_the_look", reaped_before_the_look),
            ("only_the_siginfo", only_the_siginfo),
            ("late_siginfo", late_siginfo),
            ("pid_used_again", pid_used_again),
            ("adopted", adopted),
            ("statuses", statuses),
            ("with_other_owners", with_other_owners),
            ("with_a_usurper", with_a_usurper),
            ("tokio_waits", tokio_waits),
            ("cancelled", cancelled),
            ("forked_by_threads_that_end", forked_by_threads_that_end),
            ("reaped_while_listed", reaped_while_listed),
            ("handed_over_while_listed", handed_over_while_listed),
            ("reaped_at_the_look", reaped_at_the_look),
            ("stopped_and_continued", stopped_and_continued),
            ("ignored_before", ignored_before),
            ("refused", refused),
            ("moved", moved),
            ("forked", forked),
        ],
        victims: &[],
    }
    .main()
}
