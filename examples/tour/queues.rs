//! Queues: what happens when events come faster than they are taken.

use crate::report::{Outcome, Report, duration, grouped, patiently, within};
use crate::roles;
use sigplane::send::{self, Value};
use sigplane::{Overflow, Signal};
use std::io::Read;
use std::time::{Duration, Instant};

const EVENTS: usize = 10_000;
const CAPACITY: usize = 64;
/// What the consumer takes for each event; the sender needs a few microseconds.
const WORK: Duration = Duration::from_micros(50);

pub fn back_pressure(report: &mut Report) -> Outcome {
    let signal = Signal::rt(4)?;
    let inbox = sigplane::subscribe(signal).name("slow consumer").capacity(CAPACITY).inbox()?;
    let arguments = [std::process::id().to_string(), EVENTS.to_string()];
    let mut sender = roles::start("--flood", &arguments)?;

    let full = within(|| inbox.len() >= CAPACITY);
    report.claim(
        "another process floods an inbox nobody reads yet, until it is full",
        full,
        format!("{} waiting, capacity {CAPACITY}", inbox.len()),
    );

    let began = Instant::now();
    let mut in_order = 0;
    let mut deepest = 0;
    for expected in 0..EVENTS {
        let Some(event) = inbox.recv_timeout(Duration::from_secs(30)) else { break };
        in_order += usize::from(event.value() == Some(Value::from_int(expected as i32)));
        deepest = deepest.max(inbox.len());
        let busy = Instant::now();
        while busy.elapsed() < WORK {
            std::hint::spin_loop();
        }
    }
    let time = began.elapsed();
    let mut refusals = String::new();
    sender.stdout.take().ok_or("no output")?.read_to_string(&mut refusals)?;
    let sent = sender.wait()?.success();
    report.claim(
        "every event arrives, once, in order, with its value",
        sent && in_order == EVENTS && inbox.try_recv().is_none(),
        format!("{} of {} in {}", grouped(in_order), grouped(EVENTS), duration(time)),
    );
    let stats = inbox.stats();
    let lost = sigplane::table().row(signal).map_or(usize::MAX, |row| row.lost);
    report.claim(
        "nothing is dropped on the way",
        stats.dropped == 0 && lost == 0,
        format!("dropped {}, lost {lost}", stats.dropped),
    );
    report.claim(
        "the surplus waits in the kernel, not in memory of ours",
        stats.deepest < 2 * CAPACITY + 16,
        format!(
            "at most {} queued; {} sends had to be repeated",
            stats.deepest.max(deepest),
            refusals.trim()
        ),
    );
    Ok(())
}

/// The other process: sends values 0, 1, 2, … as fast as the kernel takes them.
pub fn flood(arguments: &[String]) -> Outcome {
    let [target, count] = arguments else { return Err("flood whom, with how many?".into()) };
    let (target, count): (i32, i32) = (target.parse()?, count.parse()?);
    let signal = Signal::rt(4)?;
    let mut refusals = 0;
    for value in 0..count {
        // A full kernel queue is an error to try again, and the only place that says "slower".
        while let Err(error) = send::to_process_with(target, signal, Value::from_int(value)) {
            if !error.is_retryable() {
                return Err(error.into());
            }
            refusals += 1;
            std::thread::yield_now();
        }
    }
    println!("{refusals}");
    Ok(())
}

pub fn policies(report: &mut Report) -> Outcome {
    let merged = sigplane::subscribe(Signal::USR2).overflow(Overflow::Coalesce).inbox()?;
    for _ in 0..1_000 {
        send::raise(Signal::USR2)?;
    }
    let event = merged.recv();
    report.claim(
        "Coalesce: one event stands for all, and says for how many",
        event.instances() == 1_000 && merged.is_empty(),
        format!("{} instances", grouped(event.instances() as usize)),
    );

    let signal = Signal::rt(5)?;
    let latest = sigplane::subscribe(signal).capacity(4).overflow(Overflow::DropOldest).inbox()?;
    for value in 0..10 {
        patiently(|| send::raise_with(signal, Value::from_int(value)))?;
    }
    let kept: Vec<i32> =
        latest.try_iter().filter_map(|event| event.value()).map(Value::int).collect();
    let dropped = latest.stats().dropped;
    report.claim(
        "DropOldest: the latest are kept, the others counted",
        kept == [6, 7, 8, 9] && dropped == 6,
        format!("10 sent, kept {kept:?}, dropped {dropped}"),
    );
    Ok(())
}
