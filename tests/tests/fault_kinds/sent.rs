//! The signals of faults, sent by somebody: `kill`, `tgkill`, `sigqueue`, from outside and from inside. They
//! go the asynchronous way: no fixup, no guard, no region and no code range is asked, not even while the
//! thread is in one; subscribers see the sender; the default kills, with the sender in the core dump.
//! Issue 5, line 7.

use sigplane::fault::{self, CodeRanges, Region};
use sigplane::send;
use sigplane::{Signal, Verdict, subscribe};
use sigplane_tests::observer::{WAYS, numbers, observer, say, send_as_told};
use sigplane_tests::{Exit, Running, eventually, victim};
use std::sync::atomic::{AtomicUsize, Ordering};

const SIGNALS: [Signal; 6] =
    [Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL, Signal::TRAP, Signal::SYS];

static SEEN: AtomicUsize = AtomicUsize::new(0);
static ASKED: AtomicUsize = AtomicUsize::new(0);
static ROUNDS: AtomicUsize = AtomicUsize::new(0);

/// Rust's own take a sent SIGSEGV for a fault that will repeat, and give the default back.
fn without_rusts_handlers() {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        sigplane_tests::raw::install(signal, libc::SIG_DFL, 0, &[]);
    }
}

/// Takes sent signals and counts them; whoever is asked as for a fault says so.
fn take_all() -> impl Sized {
    without_rusts_handlers();
    let subs = SIGNALS.map(|signal| {
        // SAFETY: an atomic.
        let sub = unsafe {
            subscribe(signal).immediate(|delivery| {
                if delivery.is_fault() || delivery.info().si_code > 0 {
                    return Verdict::Pass;
                }
                assert_eq!(delivery.info().si_pid(), libc::getpid());
                SEEN.fetch_add(1, Ordering::Relaxed);
                Verdict::Handled
            })
        };
        sub.unwrap()
    });
    // SAFETY: an atomic.
    let region = unsafe {
        Region::new(0..usize::MAX, |_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            Verdict::Pass
        })
    };
    // SAFETY: as above.
    let traps = unsafe {
        CodeRanges::new(|_| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            Verdict::Pass
        })
    };
    let traps = traps.unwrap();
    (subs, region.unwrap(), traps.insert(0..usize::MAX).unwrap())
}

// Sent by the thread itself in a guarded call: the call goes on to its end.
pub fn sent_from_inside() {
    let _taken = take_all();
    let (pid, tid) = (std::process::id() as i32, unsafe { libc::gettid() });
    for signal in SIGNALS {
        for (way, _) in WAYS {
            let before = SEEN.load(Ordering::Relaxed);
            // SAFETY: a system call.
            let done = unsafe {
                fault::guarded(|| {
                    send_as_told(pid, tid, signal, way);
                    7
                })
            };
            assert_eq!(done.ok(), Some(7), "{signal} by {way}");
            eventually("the delivery", || SEEN.load(Ordering::Relaxed) == before + 1);
        }
    }
    assert_eq!(ASKED.load(Ordering::Relaxed), 0);
}

// Another thread sends them while this one does nothing but sit in fixup ranges, that do not fault and that
// do, and in guarded calls: nothing of it is disturbed, and each signal is seen once.
pub fn sent_to_a_thread_in_fixup_ranges() {
    let _taken = take_all();
    let count = 3000;
    let tid = unsafe { libc::gettid() };
    let sender = std::thread::spawn(move || {
        let pid = std::process::id() as i32;
        for round in 0..count {
            let signal = SIGNALS[round % SIGNALS.len()];
            // The kernel takes one that comes while a fault of the same signal is pending for the same
            // (kernel/signal.c, `legacy_queue`): then it is sent again.
            while SEEN.load(Ordering::Relaxed) <= round {
                send::to_thread_of(pid, tid, signal).unwrap();
                let then = ROUNDS.load(Ordering::Relaxed) + 2;
                while SEEN.load(Ordering::Relaxed) <= round && ROUNDS.load(Ordering::Relaxed) < then
                {
                    std::hint::spin_loop();
                }
            }
        }
    });
    let (from, mut to) = (vec![7u8; 1 << 20], vec![0u8; 1 << 20]);
    let mut inside = 0;
    while SEEN.load(Ordering::Relaxed) < count {
        to.fill(0);
        let before = SEEN.load(Ordering::Relaxed);
        assert!(fault::try_copy_from(from.as_ptr(), &mut to).is_ok());
        inside += usize::from(SEEN.load(Ordering::Relaxed) != before);
        assert!(to == from);
        assert_eq!(fault::try_read(16 as *const u32).unwrap_err().address(), Some(16));
        // SAFETY: nothing is held.
        let guarded = unsafe { fault::guarded(|| (16 as *const u32).read_volatile()) };
        assert_eq!(guarded.unwrap_err().address(), Some(16));
        ROUNDS.fetch_add(1, Ordering::Relaxed);
    }
    sender.join().unwrap();
    assert!(inside > 0, "no signal came while a copy ran");
    assert_eq!(ASKED.load(Ordering::Relaxed), 0);
}

// The default: the process ends by the signal, an observer sees the sender, and nobody is asked who is for
// faults. (tests/core_dump.rs reads the dumps; here the status, with the fault machinery on.)
pub fn sent_from_outside() {
    for signal in SIGNALS {
        for (way, code) in WAYS {
            let mut command = victim("receives");
            command.env("SIGPLANE_SIGNAL", signal.number().to_string());
            let mut child = Running::start(command);
            child.expect("ready");
            send_as_told(child.pid(), child.pid(), signal, way);
            let (exit, output) = child.finish();
            let told = format!("{signal} by {way}: {exit:?} {output}");
            assert_eq!(exit.signal(), Some(signal.number()), "{told}");
            let saw = output.lines().find(|line| line.starts_with("saw")).expect(&told);
            let saw = numbers(saw);
            assert_eq!(saw[..2], [signal.number().into(), code.into()], "{told}");
            assert_eq!(saw[2], std::process::id().into(), "{told}");
            assert!(!output.contains("asked"), "{told}");
            let hook = output.lines().find(|line| line.starts_with("hook")).expect(&told);
            assert_eq!(numbers(hook), [signal.number().into(), code.into(), 0], "{told}");
            assert!(matches!(exit, Exit::Signal { .. }));
        }
    }
}

pub fn receives() {
    let number: i32 = std::env::var("SIGPLANE_SIGNAL").unwrap().parse().unwrap();
    let signal = Signal::try_from(number).unwrap();
    without_rusts_handlers();
    let _sub = observer(signal);
    // SAFETY: writes a line.
    let _region = unsafe {
        Region::new(0..usize::MAX, |_| {
            say("asked", &[]);
            Verdict::Pass
        })
    };
    // SAFETY: as above.
    let hook = unsafe {
        fault::last_chance(signal, 0, |fatal| {
            let info = fatal.info();
            let fault = i64::from(fatal.fault().is_some());
            say("hook", &[info.si_signo.into(), info.si_code.into(), fault]);
        })
    };
    hook.unwrap().detach();
    println!("ready");
    // SAFETY: reads memory of its own, over and over.
    let result = unsafe {
        fault::guarded(|| {
            let (from, mut to) = ([1u8; 4096], [0u8; 4096]);
            loop {
                fault::try_copy_from(from.as_ptr(), &mut to).unwrap();
            }
        })
    };
    let _: Result<(), _> = result;
    println!("survived");
}

// Behind the subscribers stands Rust's own handler, which takes a sent SIGSEGV for a fault that will repeat:
// it gives the default back and returns. As without sigplane, the next one kills.
pub fn sent_in_front_of_rusts_handler() {
    let mut child = Running::start(victim("waits"));
    child.expect("ready");
    let pid = child.pid();
    eventually("its end", || {
        let _gone = send::to_process(pid, Signal::SEGV);
        // SAFETY: looks only.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: as above.
        unsafe { libc::waitid(libc::P_PID, pid as u32, &raw mut info, flags) };
        info.si_signo != 0
    });
    let (exit, output) = child.finish();
    assert_eq!(exit.signal(), Some(libc::SIGSEGV), "{output}");
}

pub fn waits() {
    fault::enable().unwrap();
    println!("ready");
    loop {
        std::hint::spin_loop();
    }
}
