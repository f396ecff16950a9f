//! Several owners of one signal, and the table that lists them.

use crate::report::{Outcome, Report, within};
use sigplane::{Overflow, Place, Signal, SignalSet, Verdict, send};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

static FOREIGN_CALLS: AtomicUsize = AtomicUsize::new(0);

extern "C" fn foreign(_signal: i32) {
    FOREIGN_CALLS.fetch_add(1, Ordering::Relaxed);
}

/// The address of the handler that the kernel has for SIGHUP; sets it to `new` first, if given.
#[allow(clippy::disallowed_methods, reason = "plays a library that has never heard of sigplane")]
fn kernel_handler(new: Option<extern "C" fn(i32)>) -> usize {
    // SAFETY: all zeroes is a valid `sigaction`.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    if let Some(handler) = new {
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: a valid action whose handler adds to a number.
        unsafe { libc::sigaction(libc::SIGHUP, &raw const action, std::ptr::null_mut()) };
    }
    // SAFETY: a query into a local value.
    unsafe { libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut action) };
    action.sa_sigaction
}

pub fn shared(report: &mut Report) -> Outcome {
    let before = kernel_handler(Some(foreign));
    let (tell, told) = mpsc::channel();
    let owner = |name: &'static str, priority| {
        let tell = tell.clone();
        sigplane::subscribe(Signal::HUP).name(name).priority(priority).dispatcher(move |_| {
            let _closed = tell.send(name);
        })
    };
    let reload = owner("reload the configuration", 0)?;
    let rotate = owner("rotate the log", 10)?;

    send::to_process(std::process::id() as i32, Signal::HUP)?;
    let limit = Duration::from_secs(30);
    let order = [told.recv_timeout(limit)?, told.recv_timeout(limit)?];
    report.claim(
        "two owners of SIGHUP both hear of it, the higher priority first",
        order == ["rotate the log", "reload the configuration"],
        "one signal, two closures",
    );
    let calls = FOREIGN_CALLS.load(Ordering::Relaxed);
    report.claim(
        "the handler that sigaction had installed before still runs",
        calls == 1,
        format!("{calls} call"),
    );

    drop(rotate);
    send::to_process(std::process::id() as i32, Signal::HUP)?;
    let left = told.recv_timeout(limit)?;
    report.claim("one owner leaves, the other stays", left == "reload the configuration", left);

    drop(reload);
    let after = kernel_handler(None);
    report.claim(
        "the last one leaves, and the kernel has the old handler back",
        before == after,
        format!("at {after:#x}"),
    );
    send::raise(Signal::HUP)?;
    let calls = FOREIGN_CALLS.load(Ordering::Relaxed);
    report.claim(
        "which now is called directly",
        calls == 3 && told.try_recv().is_err(),
        format!("{calls} calls in all"),
    );
    Ok(())
}

pub fn table(report: &mut Report) -> Outcome {
    let reload = sigplane::subscribe(Signal::HUP)
        .name("reload")
        .place(Place::AfterLegacy)
        .dispatcher(|_| ())?;
    let drain = sigplane::subscribe(SignalSet::from([Signal::INT, Signal::TERM]))
        .name("drain")
        .priority(10)
        .inbox()?;
    // SAFETY: does nothing at all.
    let audit = unsafe {
        sigplane::subscribe(Signal::TERM).name("audit").observe().immediate(|_| Verdict::Pass)
    }?;
    let resize =
        sigplane::subscribe(Signal::WINCH).name("redraw").overflow(Overflow::Coalesce).inbox()?;
    for _ in 0..3 {
        send::raise(Signal::WINCH)?;
    }
    send::raise(Signal::TERM)?;

    let settled = within(|| drain.len() == 1);
    let table = sigplane::table();
    let term = table.row(Signal::TERM);
    let names: Vec<&str> =
        term.iter().flat_map(|row| &row.entries).map(|entry| entry.name.as_str()).collect();
    report.claim(
        "sigplane::table() lists owners in the order they are asked",
        settled && names == ["drain", "audit"],
        "SIGTERM: drain, audit",
    );
    let ours = [Signal::HUP, Signal::INT, Signal::TERM, Signal::WINCH]
        .map(|signal| table.row(signal).is_some_and(|row| row.ours));
    report.claim(
        "and whether the kernel's action is still sigplane's",
        ours == [true; 4],
        "asked of the kernel, 4 signals",
    );
    report.note(&table.to_string());
    drop((reload, drain, audit, resize));
    Ok(())
}
