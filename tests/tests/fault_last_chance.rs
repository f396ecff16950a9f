//! Last-chance hooks: their order, their end, what they run for and what not, and what happens when they
//! fault, abort, or several threads crash at once. The process ends as it would have without them: by the
//! first crash's signal, with a core dump of it (tests/core_dump.rs, tests/fault_nesting.rs). Issue 5,
//! "Last-chance hooks" and line 6.
//!
//! Each victim says what its hooks saw; the tests look at that and at how it ended.

use sigplane::fault::{self, Fatal, LastChance};
use sigplane::{Signal, SignalSet, Verdict, send, subscribe};
use sigplane_tests::observer::{numbers, say};
use sigplane_tests::{Exit, Running, Suite, eventually, victim};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a victim printed and how it ended.
fn end_of(name: &str) -> (Exit, Vec<String>) {
    let (exit, output) = Running::start(victim(name)).finish();
    (exit, output.lines().map(str::to_owned).collect())
}

/// That it ended by `signal`, having printed exactly `expected`.
#[track_caller]
fn ends(name: &str, signal: i32, expected: &[&str]) {
    let (exit, lines) = end_of(name);
    assert_eq!(exit.signal(), Some(signal), "{name}: {exit:?} {lines:?}");
    assert_eq!(lines, expected, "{name}");
}

fn deadly() -> SignalSet {
    SignalSet::FAULTS | Signal::ABRT | Signal::TERM
}

fn hook(
    set: impl Into<SignalSet>,
    priority: i32,
    hook: impl Fn(&Fatal<'_>) + Send + Sync + 'static,
) -> LastChance {
    // SAFETY: the hooks of this file make system calls and fault on purpose, holding nothing.
    unsafe { fault::last_chance(set, priority, hook) }.unwrap()
}

/// A hook that says its name.
fn named(set: impl Into<SignalSet>, priority: i32, name: &'static str) -> LastChance {
    hook(set, priority, move |_| say(name, &[]))
}

fn crash() {
    // SAFETY: none: it is meant to fault.
    unsafe { black_box(0x1230 as *const u8).read_volatile() };
    println!("survived");
}

fn order_set_and_end() {
    // Rust's handler stands behind and gives the default back: only then the hooks run.
    ends("ordered", libc::SIGSEGV, &["ready", "high", "first", "second", "low"]);
}

fn ordered() {
    named(deadly(), 0, "first").detach();
    let gone = named(deadly(), 5, "gone");
    named(deadly(), -7, "low").detach();
    named(Signal::BUS, 100, "another signal").detach();
    named(deadly(), 0, "second").detach();
    let kept = named(Signal::SEGV, 10, "high");
    drop(gone);
    assert_eq!(sigplane::table().faults.hooks, 5);
    println!("ready");
    crash();
    drop(kept);
}

fn refused() {
    use sigplane::Error;
    let nothing = |_: &Fatal<'_>| ();
    // SAFETY: it does nothing.
    unsafe {
        let refused = fault::last_chance(SignalSet::EMPTY, 0, nothing).unwrap_err();
        assert!(matches!(refused, Error::EmptySet), "{refused:?}");
        let refused = fault::last_chance(Signal::KILL, 0, nothing).unwrap_err();
        assert!(matches!(refused, Error::Uncatchable(Signal::KILL)), "{refused:?}");
    }
}

// What each deadly signal tells: its fields, for a fault and for a signal that was sent.
fn fields() {
    for (name, signal) in [("faults", libc::SIGSEGV), ("aborts", libc::SIGABRT)] {
        let (exit, lines) = end_of(name);
        assert_eq!(exit.signal(), Some(signal), "{name}: {lines:?}");
        let [me, saw] = &lines[..] else { panic!("{name}: {lines:?}") };
        let (me, saw) = (numbers(me), numbers(saw));
        let (tid, is_fault) = (me[0], i64::from(name == "faults"));
        assert_eq!(saw[..5], [signal.into(), signal.into(), tid, is_fault, 1], "{name}: {lines:?}");
        let (pc, rip) = (saw[5], saw[6]);
        assert!(rip != 0 && (is_fault == 0 || pc == rip), "{name}: {lines:?}");
        let by = if is_fault == 1 { 0x1230 } else { tid };
        assert_eq!(saw[7], by, "{name}: {lines:?}");
    }
}

fn fields_hook() {
    hook(deadly(), 0, |fatal| {
        let (event, fault) = (fatal.event(), fatal.fault());
        let rip =
            fatal.machine_context().map_or(0, |c| c.uc_mcontext.gregs[libc::REG_RIP as usize]);
        let by = match fault {
            Some(fault) => fault.address().map_or(-1, |at| at as i64),
            None => event.sender().map_or(-1, |sender| sender.pid.into()),
        };
        say(
            "saw",
            &[
                fatal.signal().number().into(),
                event.signal().number().into(),
                fatal.thread().into(),
                fault.is_some().into(),
                (event.thread() == fatal.thread()).into(),
                fault.map_or(0, |fault| fault.pc() as i64),
                rip,
                by,
            ],
        );
    })
    .detach();
    // SAFETY: a system call.
    println!("me {}", unsafe { libc::gettid() });
}

fn faults() {
    fields_hook();
    crash();
}

fn aborts() {
    fields_hook();
    std::process::abort();
}

// With an observer only, hooks run for SIGTERM; with a handler they do not, nor when a region takes a fault.
fn terminate() {
    for (name, expected) in
        [("observed", &["ready", "observer", "hook"][..]), ("bare", &["ready", "hook"])]
    {
        let mut child = Running::start(victim(name));
        child.expect("ready");
        send::to_process(child.pid(), Signal::TERM).unwrap();
        let (exit, output) = child.finish();
        assert_eq!(exit, Exit::Signal { number: libc::SIGTERM, core: false }, "{output}");
        assert_eq!(output.lines().collect::<Vec<_>>(), expected[1..], "{name}");
    }
}

fn forever() {
    println!("ready");
    loop {
        std::thread::park();
    }
}

fn bare() {
    named(deadly(), 0, "hook").detach();
    forever();
}

fn observed() {
    named(deadly(), 0, "hook").detach();
    // SAFETY: a system call.
    let sub = unsafe {
        subscribe(Signal::TERM).observe().immediate(|_| {
            say("observer", &[]);
            Verdict::Handled
        })
    };
    sub.unwrap().detach();
    forever();
}

fn not_when_handled() {
    static RAN: AtomicUsize = AtomicUsize::new(0);
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    let _hook = hook(deadly() | Signal::CHLD | Signal::TSTP, 0, |_| {
        RAN.fetch_add(1, Ordering::Relaxed);
    });
    let _sub = sigplane::on(Signal::TERM, |_| {
        HANDLED.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    send::raise(Signal::TERM).unwrap();
    eventually("the delivery", || HANDLED.load(Ordering::Relaxed) == 1);
    // What does not end the process is no last chance.
    send::raise(Signal::CHLD).unwrap();
    assert!(fault::try_read(std::ptr::null::<u8>()).is_err());
    // SAFETY: nothing is held.
    assert!(unsafe { fault::guarded(|| (8 as *const u8).read_volatile()) }.is_err());
    assert_eq!(RAN.load(Ordering::Relaxed), 0);
}

// When `drop` returns, the hook does not run and will not; and what it holds is dropped.
fn removal() {
    static DROPPED: AtomicBool = AtomicBool::new(false);
    struct Mark;
    impl Drop for Mark {
        fn drop(&mut self) {
            DROPPED.store(true, Ordering::Relaxed);
        }
    }
    let mark = Mark;
    let hook = hook(deadly(), 0, move |_| {
        let _ = &mark;
        say("gone", &[]);
    });
    assert_eq!(sigplane::table().faults.hooks, 1);
    drop(hook);
    assert_eq!(sigplane::table().faults.hooks, 0);
    // The replaced list goes with the next change, at the latest.
    eventually("its drop", || {
        drop(named(deadly(), 0, "another"));
        DROPPED.load(Ordering::Relaxed)
    });
    ends("unhooked", libc::SIGSEGV, &[]);
}

fn unhooked() {
    drop(named(deadly(), 0, "gone"));
    crash();
}

// Many threads crash at the same time: the hooks run once, for the first, and take their time; the others
// wait; the process ends as the first did.
fn together() {
    for _ in 0..10 {
        let (exit, lines) = end_of("crowd");
        let [first, last] = &lines[..] else { panic!("{exit:?} {lines:?}") };
        assert!(last == "done" && first.starts_with("hook"), "{lines:?}");
        assert_eq!(exit.signal().map(i64::from), Some(numbers(first)[0]), "{lines:?}");
    }
    // With Rust's handler behind, which gives the default back: those that crash while the hooks run.
    for _ in 0..10 {
        ends("late_crowd", libc::SIGSEGV, &["hook 11", "done"]);
    }
}

static RUNNING: AtomicBool = AtomicBool::new(false);

fn crowd_of(crash_of: fn(usize)) {
    hook(deadly(), 0, |fatal| {
        say("hook", &[fatal.signal().number().into()]);
        RUNNING.store(true, Ordering::SeqCst);
        // Long enough that the others come; they are not waited for.
        for _ in 0..200 {
            // SAFETY: a system call.
            unsafe { libc::sched_yield() };
        }
        say("done", &[]);
    })
    .detach();
    let start = std::sync::Arc::new(std::sync::Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let start = std::sync::Arc::clone(&start);
            std::thread::spawn(move || {
                sigplane::thread::current();
                start.wait();
                crash_of(number);
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

fn crowd() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        sigplane_tests::raw::install(signal, libc::SIG_DFL, 0, &[]);
    }
    crowd_of(|number| {
        // SAFETY: the end, in one of two ways.
        unsafe {
            match number % 2 {
                0 => std::arch::asm!("ud2"),
                _ => drop((8 as *const u8).read_volatile()),
            }
        }
    });
}

fn late_crowd() {
    crowd_of(|number| {
        while number != 0 && !RUNNING.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
        crash();
    });
}

// A hook that faults ends there and the next runs; one that aborts ends the process by SIGABRT, and no hook
// runs twice; one that uses safe accesses is not disturbed by their faults.
fn bad_hooks() {
    ends("hook_faults", libc::SIGSEGV, &["before", "next", "faulted 2"]);
    ends("hook_overflows", libc::SIGSEGV, &["before"]);
    ends("hook_aborts", libc::SIGABRT, &["before"]);
    ends("hook_probes", libc::SIGSEGV, &["probed 1000", "next"]);
    let (exit, lines) = end_of("hook_exits");
    assert_eq!((exit, &lines[..]), (Exit::Code(9), &["exit".to_owned()][..]));
}

fn hook_faults() {
    hook(deadly(), 9, |_| {
        say("before", &[]);
        // SAFETY: it is meant to fault.
        unsafe { black_box(24 as *const u8).read_volatile() };
        say("after", &[]);
    })
    .detach();
    hook(deadly(), 8, |_| {
        say("next", &[]);
        // SAFETY: as above.
        unsafe { std::arch::asm!("ud2") };
    })
    .detach();
    hook(deadly(), 7, |_| {
        // The table cannot be had here; its count is looked at by way of what is left: this hook runs.
        say("faulted", &[2]);
    })
    .detach();
    crash();
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "it is meant to overflow")]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 16]);
    recurse(depth + 1) + frame[depth % 16]
}

fn hook_overflows() {
    sigplane::thread::current();
    named(deadly(), 9, "before").detach();
    hook(deadly(), 8, |_| {
        black_box(recurse(0));
    })
    .detach();
    crash();
}

fn hook_aborts() {
    named(deadly(), 9, "before").detach();
    // SAFETY: ends the process.
    hook(deadly(), 8, |_| unsafe { libc::abort() }).detach();
    crash();
}

fn hook_probes() {
    hook(deadly(), 9, |_| {
        let mut failed = 0;
        for at in 0..1000usize {
            failed += i64::from(fault::try_read((at * 8) as *const u64).is_err());
        }
        say("probed", &[failed]);
    })
    .detach();
    named(deadly(), 8, "next").detach();
    crash();
}

fn hook_exits() {
    named(deadly(), 9, "exit").detach();
    // SAFETY: ends the process.
    hook(deadly(), 8, |_| unsafe { libc::_exit(9) }).detach();
    crash();
}

// A child that a hook made, as crash reporters do, crashes itself: it ends, at once and without hooks.
fn hook_forks() {
    ends("forks_and_crashes", libc::SIGSEGV, &["hook", "child 11"]);
    ends("forks_and_aborts", libc::SIGSEGV, &["hook", "child 6"]);
}

fn reporter(crash_of_child: fn()) {
    hook(deadly(), 0, move |_| {
        say("hook", &[]);
        // SAFETY: the child ends without returning.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                crash_of_child();
                libc::_exit(0);
            }
            let mut status = 0;
            libc::waitpid(child, &raw mut status, 0);
            say("child", &[libc::WTERMSIG(status).into()]);
        }
    })
    .detach();
    crash();
}

fn forks_and_crashes() {
    // In the hook's own guard: contained, so the child falls out of the hook and into the original fault.
    reporter(|| {
        // SAFETY: it is meant to fault.
        unsafe { black_box(24 as *const u8).read_volatile() };
    });
}

fn forks_and_aborts() {
    // SAFETY: ends the child.
    reporter(|| unsafe { libc::abort() });
}

// A child that another thread forked while hooks ran is a process of its own: its crash has hooks.
fn forked_meanwhile() {
    let (exit, lines) = end_of("forks_meanwhile");
    assert_eq!(exit.signal(), Some(libc::SIGSEGV), "{lines:?}");
    assert_eq!(lines, ["hook", "hook", "child 11"]);
}

fn forks_meanwhile() {
    static INSIDE: AtomicBool = AtomicBool::new(false);
    static DONE: AtomicBool = AtomicBool::new(false);
    hook(Signal::SEGV, 0, |_| {
        say("hook", &[]);
        if INSIDE.swap(true, Ordering::SeqCst) {
            return;
        }
        while !DONE.load(Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    })
    .detach();
    std::thread::spawn(|| {
        while !INSIDE.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        // SAFETY: the child crashes.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                crash();
                libc::_exit(0);
            }
            let mut status = 0;
            libc::waitpid(child, &raw mut status, 0);
            say("child", &[libc::WTERMSIG(status).into()]);
        }
        DONE.store(true, Ordering::SeqCst);
    });
    crash();
}

fn main() {
    Suite {
        tests: &[
            ("order_set_and_end", order_set_and_end),
            ("refused", refused),
            ("fields", fields),
            ("terminate", terminate),
            ("not_when_handled", not_when_handled),
            ("removal", removal),
            ("together", together),
            ("bad_hooks", bad_hooks),
            ("hook_forks", hook_forks),
            ("forked_meanwhile", forked_meanwhile),
        ],
        victims: &[
            ("ordered", ordered),
            ("faults", faults),
            ("aborts", aborts),
            ("bare", bare),
            ("observed", observed),
            ("unhooked", unhooked),
            ("crowd", crowd),
            ("late_crowd", late_crowd),
            ("hook_faults", hook_faults),
            ("hook_overflows", hook_overflows),
            ("hook_aborts", hook_aborts),
            ("hook_probes", hook_probes),
            ("hook_exits", hook_exits),
            ("forks_and_crashes", forks_and_crashes),
            ("forks_and_aborts", forks_and_aborts),
            ("forks_meanwhile", forks_meanwhile),
        ],
    }
    .main()
}
