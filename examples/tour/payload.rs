//! What a signal carries besides its number.

use crate::report::{Outcome, Report, patiently};
use crate::roles;
use sigplane::send::{self, Value};
use sigplane::{Cause, ChildStatus, Signal};
use std::time::Duration;

const VALUE: i32 = 2018;

pub fn payloads(report: &mut Report) -> Outcome {
    let queued = Signal::rt(1)?;
    // Two inboxes: when both signals wait in the kernel, it delivers SIGCHLD first.
    let inbox = sigplane::subscribe(queued).inbox()?;
    let children = sigplane::subscribe(Signal::CHLD).inbox()?;
    let mut sender = roles::start("--send", &[std::process::id().to_string()])?;

    let limit = Duration::from_secs(30);
    let event = inbox.recv_timeout(limit).ok_or("no signal came")?;
    let from = event.sender().ok_or("the event has no sender")?;
    report.claim(
        "the process that sent it is known",
        event.signal() == queued && from.pid == sender.id() as i32,
        format!("process {}, user {}", from.pid, from.uid),
    );
    let value = event.value().ok_or("the event has no value")?.int();
    report.claim(
        "and so is the value it sent",
        value == VALUE && event.cause() == Cause::Queue,
        value,
    );

    sender.wait()?;
    let event = children.recv_timeout(limit).ok_or("no SIGCHLD came")?;
    let child = event.child().ok_or("SIGCHLD without a child")?;
    report.claim(
        "SIGCHLD tells which child, and how it ended",
        child.pid == sender.id() as i32 && child.status == ChildStatus::Exited(0),
        format!("child {} {}", child.pid, child.status),
    );
    Ok(())
}

/// The other process: sends one value to the process named.
pub fn send(arguments: &[String]) -> Outcome {
    let target: i32 = arguments.first().ok_or("send to whom?")?.parse()?;
    let signal = Signal::rt(1)?;
    patiently(|| send::to_process_with(target, signal, Value::from_int(VALUE)))?;
    Ok(())
}
