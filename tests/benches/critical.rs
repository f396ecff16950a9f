//! A critical section in which no handler runs, and a safe point with nothing to do. The base is
//! what programs do today: two system calls that change the thread's mask. The limits are a
//! thread-local counter and one load.

use crate::measure::{Contender, Effort, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use std::cell::Cell;
use std::hint::black_box;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};

pub const GROUP: Group = Group {
    name: "critical",
    rows: &[
        Row {
            name: "critical section (defer, both ends)",
            series: "critical",
            base: MASK,
            ours: "defer",
            peers: &[Peer::of("counter")],
            figure: Figure::Ratio,
            target: Some(0.01),
        },
        Row {
            name: "safe point with nothing to do (poll)",
            series: "critical",
            base: MASK,
            ours: "poll",
            peers: &[Peer::of("one load")],
            figure: Figure::Ratio,
            target: Some(0.005),
        },
    ],
    children: &[("critical", critical)],
};

const MASK: &str = "pthread_sigmask pair";

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static WORK: AtomicU32 = const { AtomicU32::new(0) };
}

fn critical(effort: Effort) -> Vec<Series> {
    const FEW: usize = 1_000;
    const MANY: usize = 50_000;
    crate::kernel::pin(0, crate::kernel::two_cpus().0);
    // The thread has a record and something that could interrupt it.
    let _subscription = crate::delivery::immediate(crate::kernel::rt_signal(1));
    sigplane::thread::current();
    // SAFETY: `sigfillset` initialises the set.
    let everything: libc::sigset_t = unsafe {
        let mut set = mem::zeroed();
        libc::sigfillset(&mut set);
        set
    };
    let contenders = vec![
        Contender::batch(MASK, FEW, move || {
            // SAFETY: all sets are valid; what is blocked is unblocked again.
            unsafe {
                let mut old = mem::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, &everything, &mut old);
                libc::pthread_sigmask(libc::SIG_SETMASK, &old, ptr::null_mut());
            }
        }),
        Contender::batch("defer", MANY, || {
            let guard = sigplane::defer();
            black_box(&guard);
            drop(guard);
        }),
        Contender::batch("counter", MANY, || {
            DEPTH.with(|depth| {
                depth.set(black_box(depth.get() + 1));
                compiler_fence(Ordering::SeqCst);
                depth.set(black_box(depth.get() - 1));
            });
        }),
        Contender::batch("poll", MANY, || {
            black_box(sigplane::thread::poll());
        }),
        Contender::batch("one load", MANY, || {
            black_box(WORK.with(|work| work.load(Ordering::Relaxed)));
        }),
    ];
    vec![interleave("critical", effort.pick(300, 5), contenders)]
}
