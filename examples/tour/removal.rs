//! Removal, and what observers do not change: shown on processes that are to die.

use crate::report::{Outcome, Report};
use crate::roles;
use sigplane::{Delivery, Removal, Signal, Verdict, send};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;

fn ending(status: std::process::ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("child: ended by signal {signal}"),
        None => format!("child: {status}"),
    }
}

pub fn removal(report: &mut Report) -> Outcome {
    let mut child = roles::start("--give-back", &[])?;
    let alive = roles::keep_alive(&mut child);
    let pid = child.id() as i32;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut says =
        |expected: &str| lines.next().is_some_and(|line| line.is_ok_and(|line| line == expected));

    let subscribed = says("subscribed");
    send::to_process(pid, Signal::TERM)?;
    report.claim(
        "a child that subscribes SIGTERM survives it",
        subscribed && says("seen"),
        "child: seen",
    );
    let given_back = says("given back");
    report.claim(
        "it drops the subscription: the kernel has the default again",
        given_back,
        "child: Removal::Restored",
    );
    send::to_process(pid, Signal::TERM)?;
    let status = child.wait()?;
    report.claim(
        "and dies by the next SIGTERM, as it would have",
        status.signal() == Some(libc::SIGTERM),
        ending(status),
    );
    drop(alive);

    let mut child = roles::start("--observe", &[])?;
    let alive = roles::keep_alive(&mut child);
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
    let mut says =
        |expected: &str| lines.next().is_some_and(|line| line.is_ok_and(|line| line == expected));
    let subscribed = says("subscribed");
    send::to_process(child.id() as i32, Signal::TERM)?;
    let seen = says("seen");
    let status = child.wait()?;
    report.claim(
        "a child that only observes SIGTERM sees it, and dies by it",
        subscribed && seen && status.signal() == Some(libc::SIGTERM),
        ending(status),
    );
    drop(alive);
    Ok(())
}

/// A child: subscribes, sees one, gives the signal back, waits for the end.
pub fn give_back() -> Outcome {
    let (tell, told) = mpsc::channel();
    let subscription = sigplane::on(Signal::TERM, move |_| {
        let _closed = tell.send(());
    })?;
    println!("subscribed");
    told.recv()?;
    println!("seen");
    println!(
        "{}",
        if subscription.unsubscribe() == Removal::Restored { "given back" } else { "kept" }
    );
    roles::until_abandoned();
    Ok(())
}

/// A child: observes, waits for the end.
pub fn observe() -> Outcome {
    // SAFETY: `write_seen` is async-signal-safe.
    let _observer = unsafe { sigplane::subscribe(Signal::TERM).observe().immediate(write_seen) }?;
    println!("subscribed");
    roles::until_abandoned();
    Ok(())
}

fn write_seen(_delivery: &mut Delivery<'_>) -> Verdict {
    let text = b"seen\n";
    // SAFETY: writes a static text.
    unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    Verdict::Pass
}
