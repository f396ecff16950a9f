//! Critical sections in which no handler runs.

use crate::report::{Outcome, Report, duration, grouped, patiently};
use crate::roles;
use sigplane::send::{self, Value};
use sigplane::{Signal, SignalSet, Verdict};
use std::hint::black_box;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::Instant;

const EVENTS: usize = 1_000;
const PAIRS: u32 = 1_000_000;

static SEEN: [AtomicI32; EVENTS] = [const { AtomicI32::new(-1) }; EVENTS];
static COUNT: AtomicUsize = AtomicUsize::new(0);

pub fn deferral(report: &mut Report) -> Outcome {
    let signals = [Signal::rt(2)?, Signal::rt(3)?];
    // SAFETY: stores numbers in a static array.
    let _recorder = unsafe {
        sigplane::subscribe(SignalSet::from(signals)).immediate(|delivery| {
            let index = COUNT.fetch_add(1, Ordering::Relaxed);
            if let (Some(seen), Some(value)) = (SEEN.get(index), delivery.event().value()) {
                seen.store(value.int(), Ordering::Relaxed);
            }
            Verdict::Handled
        })
    }?;

    let outer = sigplane::defer();
    for index in 0..EVENTS {
        let _inner = sigplane::defer();
        patiently(|| send::raise_with(signals[index % 2], Value::from_int(index as i32)))?;
    }
    let inside = COUNT.load(Ordering::Relaxed);
    drop(outer);
    let after = COUNT.load(Ordering::Relaxed);
    report.claim(
        "no handler runs inside, though two signals are sent in turn",
        inside == 0,
        format!("{} sent, {inside} delivered", grouped(EVENTS)),
    );
    report.claim(
        "all have run when the outermost section has been left",
        after == EVENTS,
        format!("{} delivered", grouped(after)),
    );
    let values: Vec<i32> = SEEN.iter().map(|seen| seen.load(Ordering::Relaxed)).collect();
    let of = |parity: i32| values.iter().copied().filter(move |value| value % 2 == parity);
    let in_order = [0, 1].map(|parity| of(parity).eq((parity..EVENTS as i32).step_by(2)));
    report.claim(
        "each signal's in the order in which they were sent",
        in_order == [true; 2],
        "values 0, 2, 4, … and 1, 3, 5, …",
    );

    let began = Instant::now();
    enter_and_leave();
    let each = began.elapsed() / PAIRS;
    report.claim(
        "a million sections, entered and left",
        !sigplane::is_deferred(),
        format!("{} each", precise(each, began.elapsed())),
    );
    without_system_calls(report)
}

fn precise(each: std::time::Duration, total: std::time::Duration) -> String {
    if each.as_nanos() < 100 {
        format!("{:.1} ns", total.as_secs_f64() * 1e9 / f64::from(PAIRS))
    } else {
        duration(each)
    }
}

fn enter_and_leave() {
    for _ in 0..PAIRS {
        drop(black_box(sigplane::defer()));
    }
}

/// The same in a process where the kernel kills for any system call but read, write and exit.
fn without_system_calls(report: &mut Report) -> Outcome {
    let mut child = roles::start("--pairs", &[])?;
    let mut said = String::new();
    child.stdout.take().ok_or("no output")?.read_to_string(&mut said)?;
    let status = child.wait()?;
    if said == "unavailable" {
        report
            .note("(seccomp is not available here, so that they make no system call is not shown)");
        return Ok(());
    }
    report.claim(
        "again where the kernel kills for a system call: none is made",
        said == "done" && status.success(),
        status.signal().map_or("seccomp's strict mode".to_owned(), |signal| {
            format!("killed by signal {signal}")
        }),
    );
    Ok(())
}

/// The other process: seccomp(2) in strict mode.
pub fn pairs() -> Outcome {
    drop(sigplane::defer()); // attaches this thread
    // SAFETY: changes what the kernel allows this thread, whose remaining code is below.
    if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } != 0 {
        print!("unavailable");
        return Ok(());
    }
    enter_and_leave();
    let said = b"done";
    // SAFETY: writes a live buffer.
    unsafe { libc::write(1, said.as_ptr().cast(), said.len()) };
    // SAFETY: ends the only thread. `exit_group`, which `std` would use, is not allowed any more.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Err("still there after exit".into())
}
