//! The edges of a shutdown's life: its beginning and its end, between which no signal may fall; what it
//! leaves behind; and its copy in a forked child.

use crate::{HOUR, runtime};
use sigplane::{Signal, send};
use sigplane_async::Shutdown;
use sigplane_tests::{DEADLINE, Dice, quick, raw};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

fn actions() -> [raw::Action; 2] {
    [raw::action(libc::SIGINT), raw::action(libc::SIGTERM)]
}

/// How many timers of the kernel's this process has; 0 where the kernel does not say.
fn timers() -> usize {
    let timers = std::fs::read_to_string("/proc/self/timers").unwrap_or_default();
    timers.lines().filter(|line| line.starts_with("ID:")).count()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn is_untouched() -> bool {
    sigplane::table().rows.iter().all(|row| row.entries.is_empty())
}

fn with_limit() -> Shutdown {
    Shutdown::builder().limit(HOUR).start().unwrap()
}

// At once, and not when the runtime next has time: the program may be about to hang. The timer goes too,
// whether it has been started or not; so the limit cannot strike afterwards.
pub fn dropping_gives_the_signals_back() {
    let kernel_tells = std::path::Path::new("/proc/self/timers").exists();
    extern "C" fn foreign(_: i32) {}
    raw::install(libc::SIGINT, foreign as *const () as usize, libc::SA_RESTART, &[libc::SIGHUP]);
    let before = actions();
    for multi_thread in [false, true] {
        let runtime = runtime(multi_thread);
        runtime.block_on(async {
            for asked in ["", "by the program", "by a signal", "by two at once"] {
                let shutdown = with_limit();
                let token = shutdown.token();
                assert_ne!(actions(), before);
                assert_eq!(timers(), usize::from(kernel_tells));
                match asked {
                    "by the program" => shutdown.request(),
                    "by a signal" => _ = send::raise(Signal::TERM).unwrap(),
                    "by two at once" => {
                        send::raise(Signal::TERM).unwrap();
                        shutdown.request();
                        assert_eq!(shutdown.first().map(|e| e.signal()), Some(Signal::TERM));
                    }
                    _ => {}
                }
                drop(shutdown);
                assert_eq!((actions(), timers()), (before, 0), "{asked}");
                assert_eq!(token.is_cancelled(), !asked.is_empty(), "no signal is forgotten");
            }
            let shutdown = with_limit();
            send::raise(Signal::TERM).unwrap();
            let outcome = shutdown.finished().await;
            assert_eq!(outcome.first.map(|event| event.signal()), Some(Signal::TERM));
            assert_eq!((actions(), timers()), (before, 0));
        });
        // Outside of its runtime, and after it.
        let outside = runtime.block_on(async { with_limit() });
        drop(outside);
        assert_eq!((actions(), timers()), (before, 0));
        let orphan = runtime.block_on(async { with_limit() });
        drop(runtime);
        let token = orphan.token();
        send::raise(Signal::TERM).unwrap();
        drop(orphan);
        assert_eq!((actions(), timers()), (before, 0));
        assert!(token.is_cancelled());
    }
    assert!(is_untouched());
}

// Thousands of them leave no timer, no descriptor and no entry, even when the runtime has had no time to
// clear its tasks away.
pub fn nothing_is_left_behind() {
    for multi_thread in [false, true] {
        let runtime = runtime(multi_thread);
        let before = descriptors();
        runtime.block_on(async {
            for round in 0..quick(1500) {
                let shutdown = with_limit();
                match round % 4 {
                    0 => shutdown.request(),
                    1 => _ = send::raise(Signal::TERM).unwrap(),
                    _ => {}
                }
                drop(shutdown);
            }
            assert_eq!((descriptors(), timers()), (before, 0));
        });
        assert!(is_untouched());
    }
}

/// Runs it in a forked child, whose end it must be; the child's status.
fn forked(child: impl FnOnce()) -> i32 {
    // SAFETY: the child does nothing that depends on other threads of its parent.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: takes a number. SIGALRM ends a child that hangs.
        unsafe { libc::alarm(DEADLINE.as_secs() as u32 / 2) };
        let _reported = catch_unwind(AssertUnwindSafe(child));
        // SAFETY: ends the child.
        unsafe { libc::_exit(101) };
    }
    status_of(pid)
}

fn status_of(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is valid.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

fn end(code: i32) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

fn killed_by(status: i32) -> Option<i32> {
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

// A process that starts and drops shutdowns all the time gets one SIGTERM, or many, at a random moment.
// Either it dies of it, or the token is cancelled: it never goes on as if nothing had been.
pub fn no_signal_falls_into_a_gap() {
    let mut dice = Dice::new();
    let mut ends = [0, 0];
    for trial in 0..quick(400) {
        let (mut ready, mut tell) = std::io::pipe().unwrap();
        // SAFETY: this process has one thread.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: takes a number.
            unsafe { libc::alarm(DEADLINE.as_secs() as u32 / 2) };
            runtime(trial % 4 == 3).block_on(async {
                tell.write_all(b"!").unwrap();
                for round in 0u64.. {
                    let shutdown = with_limit();
                    let token = shutdown.token();
                    if (round + trial) % 2 == 0 {
                        tokio::task::yield_now().await;
                    }
                    drop(shutdown);
                    if token.is_cancelled() {
                        end(0);
                    }
                }
            });
        }
        drop(tell);
        ready.read_exact(&mut [0]).unwrap();
        (0..dice.roll(100_000)).for_each(|_| std::hint::spin_loop());
        send::to_process(pid, Signal::TERM).unwrap();
        if trial % 2 == 1 {
            let mut status = 0;
            let ended = |status| {
                // SAFETY: `status` is valid; the child is reaped below.
                unsafe { libc::waitid(libc::P_PID, pid as u32, status, STILL_THERE) }
            };
            // SAFETY: all zero bytes are a valid `siginfo_t`.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            while status == 0 {
                send::to_process(pid, Signal::TERM).unwrap();
                assert_eq!(ended(&raw mut info), 0);
                status = info.si_signo;
            }
        }
        let status = status_of(pid);
        let drained = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
        assert!(drained || killed_by(status) == Some(libc::SIGTERM), "{trial}: {status:#x}");
        ends[usize::from(drained)] += 1;
    }
    println!("killed, drained: {ends:?}");
}

const STILL_THERE: i32 = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;

// In the child the copy counts signals: a second one ends the child. Dropped there, it gives the signals
// back; another can be made. The parent notices nothing of it, and still has its timer.
pub fn in_a_forked_child() {
    for multi_thread in [false, true] {
        let runtime = runtime(multi_thread);
        let shutdown = runtime.block_on(async { with_limit() });
        let hook = || shutdown.hook("the parent's", std::future::pending());
        runtime.block_on(async { hook() });
        let raise = || {
            send::raise(Signal::TERM).unwrap();
        };
        // SAFETY: in the child, where the original is not used again.
        let take = || unsafe { ptr::read(&raw const shutdown) };
        for _ in 0..quick(20) {
            let status = forked(|| {
                raise();
                assert!(!shutdown.is_requested());
                raise();
            });
            assert_eq!(killed_by(status), Some(libc::SIGTERM), "{status:#x}");
            let status = forked(|| {
                drop(take());
                assert_eq!(actions()[1].handler, libc::SIG_DFL);
                raise();
            });
            assert_eq!(killed_by(status), Some(libc::SIGTERM), "{status:#x}");
            let status = forked(|| {
                drop(take());
                crate::runtime(multi_thread).block_on(async {
                    let own = with_limit();
                    raise();
                    let first = own.finished().await.first.unwrap();
                    assert_eq!(first.sender().unwrap().pid as u32, std::process::id());
                });
                end(42);
            });
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status:#x}");
            let status = forked(|| {
                shutdown.request();
                end(i32::from(timers() > 0));
            });
            assert_eq!(status, 0, "{status:#x}");
        }
        assert!(!shutdown.is_requested());
        drop(shutdown);
        let shutdown = runtime.block_on(async { with_limit() });
        raise();
        let outcome = runtime.block_on(shutdown.finished());
        assert_eq!(outcome.first.map(|event| event.signal()), Some(Signal::TERM));
    }
}
