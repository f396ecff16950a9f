//! A shared object with its own copy of sigplane, as a plugin or a preloaded library has one.
//!
//! Its functions are for the victims of `tests/linking.rs`, which find them by name.

mod faults;

use sigplane::{Signal, Subscription, Verdict, thread};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

static IMMEDIATE: AtomicUsize = AtomicUsize::new(0);
static DISPATCHED: AtomicUsize = AtomicUsize::new(0);
static SUBSCRIPTIONS: Mutex<Vec<Subscription>> = Mutex::new(Vec::new());

fn subscribe(number: i32) -> sigplane::Result<[Subscription; 2]> {
    let signal = Signal::try_from(number)?;
    let count = |counter: &'static AtomicUsize| counter.fetch_add(1, Ordering::Relaxed);
    let immediate = sigplane::subscribe(signal).name("plugin").priority(1);
    // SAFETY: the handler adds to a number.
    let first = unsafe {
        immediate.immediate(move |_| {
            count(&IMMEDIATE);
            Verdict::Pass
        })
    }?;
    let second = sigplane::subscribe(signal).observe().dispatcher(move |_| {
        count(&DISPATCHED);
    })?;
    Ok([first, second])
}

/// Subscribes the signal twice, in the handler and on the dispatcher; neither handles it. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_subscribe(number: i32) -> i32 {
    match subscribe(number) {
        Ok(both) => {
            SUBSCRIPTIONS.lock().expect("no panic while held").extend(both);
            0
        }
        Err(_) => -1,
    }
}

/// How often the handler has been called.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_count() -> usize {
    IMMEDIATE.load(Ordering::Relaxed)
}

/// How often the closure on this copy's dispatcher has been called.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_dispatched() -> usize {
    DISPATCHED.load(Ordering::Relaxed)
}

/// Ends what `plugin_subscribe` began.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_unsubscribe() {
    SUBSCRIPTIONS.lock().expect("no panic while held").clear();
}

/// Attaches the calling thread, and tells how many handlers ran inside a deferral in which it got the
/// signal (0 is right), and after it (1 is right), as two decimal digits.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_defer(number: i32) -> usize {
    let Ok(signal) = Signal::try_from(number) else { return usize::MAX };
    let _attached = thread::current();
    let before = plugin_count();
    let critical = sigplane::defer();
    if sigplane::send::raise(signal).is_err() {
        return usize::MAX;
    }
    let inside = plugin_count() - before;
    drop(critical);
    inside * 10 + plugin_count() - before
}

/// Reads a byte with an instruction that has a fixup of the plugin's own: 1 if it can be read, 0 if not.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_fixup(at: usize) -> i32 {
    let mut code = 0u64;
    // SAFETY: reads one byte into a register; a fault lands behind the instruction with code not 0.
    unsafe {
        core::arch::asm!(
            "2: mov {v}, byte ptr [{at}]",
            "3:",
            sigplane::fixup!("2b", "3b", "3b"),
            at = in(reg) at,
            v = out(reg_byte) _,
            inout("rdx") code,
            out("rax") _,
            out("r11") _,
            options(nostack, readonly),
        )
    };
    i32::from(code == 0)
}
