//! The immediate context: code in the handler itself, with the interrupted registers.

use crate::report::{Outcome, Report, within};
use sigplane::{Signal, Verdict, send};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

static STOP: AtomicBool = AtomicBool::new(false);
static PROGRAM_COUNTER: AtomicUsize = AtomicUsize::new(0);
static REPAIRED: AtomicUsize = AtomicUsize::new(0);

#[inline(never)]
fn a_busy_function() {
    while !STOP.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

pub fn immediate(report: &mut Report) -> Outcome {
    // SAFETY: stores one number.
    let _sampler = unsafe {
        sigplane::subscribe(Signal::PROF).immediate(|delivery| {
            if let Some(context) = delivery.machine_context() {
                let counter = context.uc_mcontext.gregs[libc::REG_RIP as usize];
                PROGRAM_COUNTER.store(counter as usize, Ordering::Relaxed);
            }
            Verdict::Handled
        })
    }?;
    let (begin, begun) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        // SAFETY: has no preconditions.
        let _closed = begin.send(unsafe { libc::gettid() });
        a_busy_function();
    });
    let tid = begun.recv()?;
    let mut samples = 0;
    // The first may find the thread on its way there, or, unoptimised, in a function that it calls.
    let found = within(|| {
        PROGRAM_COUNTER.store(0, Ordering::Relaxed);
        samples += 1;
        send::to_thread(tid, Signal::PROF).is_ok()
            && within(|| PROGRAM_COUNTER.load(Ordering::Relaxed) != 0)
            && function_at(PROGRAM_COUNTER.load(Ordering::Relaxed)).contains("a_busy_function")
    });
    STOP.store(true, Ordering::Relaxed);
    worker.join().map_err(|_| "the worker panicked")?;
    let counter = PROGRAM_COUNTER.load(Ordering::Relaxed);
    report.claim(
        "the handler sees where it interrupted the thread",
        found,
        format!("{} at {counter:#x}, sample {samples}", function_at(counter)),
    );
    repair(report)
}

/// The function around an address, without its path.
fn function_at(address: usize) -> String {
    let mut name = String::from("?");
    backtrace::resolve(address as *mut std::ffi::c_void, |symbol| {
        if let Some(symbol) = symbol.name() {
            name = format!("{symbol:#}");
        }
    });
    name.rsplit("::").next().unwrap_or_default().to_owned()
}

/// An illegal instruction, stepped over by the handler.
fn repair(report: &mut Report) -> Outcome {
    // SAFETY: moves the program counter over `ud2`, which is two bytes long, and only for a fault.
    let subscription = unsafe {
        sigplane::subscribe(Signal::ILL).immediate(|delivery| {
            if !delivery.is_fault() {
                return Verdict::Pass;
            }
            let Some(context) = delivery.machine_context() else { return Verdict::Pass };
            context.uc_mcontext.gregs[libc::REG_RIP as usize] += 2;
            REPAIRED.fetch_add(1, Ordering::Relaxed);
            Verdict::Handled
        })
    }?;
    // SAFETY: the handler above goes on behind the instruction, which changes nothing.
    unsafe { std::arch::asm!("ud2", options(nomem, nostack, preserves_flags)) };
    let repaired = REPAIRED.load(Ordering::Relaxed);
    drop(subscription);
    report.claim(
        "and changes it: an illegal instruction is stepped over",
        repaired == 1,
        "ud2, program counter + 2",
    );
    Ok(())
}
