//! Code that runs on a thread of the subscriber's choice.

use crate::report::{Outcome, Report, duration, grouped};
use sigplane::thread::{self, Interest, ThreadHandle, Wake};
use sigplane::{Signal, send};
use std::cell::RefCell;
use std::io::{ErrorKind, PipeReader};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

fn tid() -> i32 {
    // SAFETY: has no preconditions.
    unsafe { libc::gettid() }
}

pub fn context(report: &mut Report) -> Outcome {
    let (tell, told) = mpsc::channel::<Result<i32, String>>();
    let (begin, begun) = mpsc::channel();
    let worker = std::thread::spawn(move || -> Result<(i32, Wake), String> {
        // Not `Send`: the handler never leaves this thread.
        let seen = Rc::new(RefCell::new(Vec::new()));
        let handler = {
            let seen = Rc::clone(&seen);
            sigplane::subscribe(Signal::USR1).thread(move |_| seen.borrow_mut().push(tid()))
        };
        let _subscription = handler.map_err(|error| error.to_string())?;
        let _closed = begin.send(tid());
        let wake = thread::wait(Some(Instant::now() + Duration::from_secs(30)));
        let seen = seen.borrow();
        let first = seen.first().copied().unwrap_or(0);
        let _closed = tell.send(Ok(first));
        Ok((first, wake))
    });
    let worker_tid = begun.recv()?;
    let began = Instant::now();
    send::to_process(std::process::id() as i32, Signal::USR1)?;
    let ran_on = told.recv_timeout(Duration::from_secs(30))??;
    let time = began.elapsed();
    let (_, wake) = worker.join().map_err(|_| "the worker panicked")??;
    report.claim(
        "a signal sent to the process wakes the thread that subscribed",
        wake == Wake::Work,
        format!("after {}", duration(time)),
    );
    report.claim(
        "its handler runs there as ordinary code, and may own an Rc",
        ran_on == worker_tid && ran_on != tid(),
        format!("thread {ran_on}, not {}", tid()),
    );
    alertable_waits(report)
}

/// A thread sleeps in a system call on `pipe`; what it was woken with.
fn reader(pipe: PipeReader) -> (ThreadHandle, std::thread::JoinHandle<(ErrorKind, bool)>) {
    let (begin, begun) = mpsc::channel();
    let ran = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn(move || {
        let _closed = begin.send(thread::current());
        let mut byte = 0u8;
        let arguments = [pipe.as_raw_fd() as usize, &raw mut byte as usize, 1, 0, 0, 0];
        // SAFETY: read(2) of at most one byte into `byte`.
        let read = unsafe { thread::alertable_syscall(libc::SYS_read, arguments) };
        ran.store(true, Ordering::Relaxed);
        // The descriptor is still good, and a wait for it ends at its deadline.
        let soon = Instant::now() + Duration::from_millis(1);
        let timed_out = thread::wait_fd(pipe.as_fd(), Interest::READABLE, Some(soon));
        let timed_out = matches!(timed_out, Ok(thread::FdWake::Timeout));
        (read.err().map_or(ErrorKind::Other, |error| error.kind()), timed_out)
    });
    let handle =
        begun.recv().unwrap_or_else(|_| unreachable!("the thread sends before it can end"));
    (handle, thread)
}

fn alertable_waits(report: &mut Report) -> Outcome {
    let (pipe, writer) = std::io::pipe()?;
    let (handle, thread) = reader(pipe);
    let posted = handle.post(tid)?;
    let ran_on = posted.join()?;
    let (kind, timed_out) = thread.join().map_err(|_| "the reader panicked")?;
    report.claim(
        "a read of an empty pipe is interrupted by work, without a race",
        kind == ErrorKind::Interrupted && ran_on == handle.tid(),
        "alertable_syscall(SYS_read, …)",
    );
    report.claim("and a wait for a descriptor keeps its deadline", timed_out, "wait_fd, 1 ms");
    drop(writer);
    Ok(())
}

pub fn posting(report: &mut Report) -> Outcome {
    const CLOSURES: usize = 1_000;
    let (begin, begun) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let worker = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let _closed = begin.send(thread::current());
            while !stop.load(Ordering::Relaxed) {
                thread::wait(None);
            }
        })
    };
    let handle = begun.recv()?;
    let answer = handle.post(|| (tid(), 6 * 7))?.join()?;
    report.claim(
        "a closure runs on the other thread, its result comes back",
        answer == (handle.tid(), 42),
        format!("{}", answer.1),
    );

    let order = Arc::new(Mutex::new(Vec::with_capacity(CLOSURES)));
    let began = Instant::now();
    let mut last = None;
    for index in 0..CLOSURES {
        let order = Arc::clone(&order);
        last = Some(handle.post(move || order.lock().map(|mut order| order.push(index)).is_ok())?);
    }
    let all_ran = last.map(|posted| posted.join()).transpose()? == Some(true);
    let time = began.elapsed();
    let in_order = order.lock().is_ok_and(|order| order.iter().copied().eq(0..CLOSURES));
    report.claim(
        "closures run in the order in which they were posted",
        all_ran && in_order,
        format!("{} in {}", grouped(CLOSURES), duration(time)),
    );

    handle.post(move || stop.store(true, Ordering::Relaxed))?.join()?;
    worker.join().map_err(|_| "the worker panicked")?;
    let returned = handle.post(|| "mine again").err().map(|error| (error.0)());
    report.claim(
        "a thread that has ended gives the closure back",
        returned == Some("mine again"),
        returned.unwrap_or("no"),
    );
    Ok(())
}
