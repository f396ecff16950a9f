//! Subscribing and unsubscribing, against setting an action with sigaction(2).
//!
//! The two halves are timed one by one as well: what subscribing costs is the publication, what
//! unsubscribing costs is the wait until no handler can still be running the removed entry. The
//! unavoidable part of that wait is one expedited membarrier(2), the base of those rows. The first
//! entry of a signal also installs the handler, and removing the last one gives the default back: a
//! sigaction set each, which the registry never pays twice because it never lets go.

use crate::delivery::{REGISTRY, immediate, register};
use crate::kernel::{self, Barrier, bare, now, rt, rt_signal, set_action};
use crate::measure::{Contender, Effort, Round, Series, interleave, per_operation};
use crate::report::{Figure, Group, Peer, Row};
use signal_hook_registry::unregister;
use std::hint::black_box;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

pub const GROUP: Group = Group {
    name: "subscribe",
    rows: &[
        row("subscribe, signal already owned", SET, "1 others, on", REGISTRY_1_ON, Some(1.0)),
        row("subscribe, first on its signal", SET, "0 others, on", REGISTRY_0_ON, Some(1.0)),
        row("subscribe + unsubscribe, first on its signal", SET, "0 others", REGISTRY_0, None),
        row("subscribe + unsubscribe, 1 other", SET, "1 others", REGISTRY_1, None),
        row("subscribe + unsubscribe, 100 others", SET, "100 others", REGISTRY_100, None),
        row("... 100 others against none", "0 others", "100 others", GROWTH, Some(2.0)),
        row("unsubscribe, nothing else runs", BARRIER, "1 others, off", REGISTRY_1_OFF, None),
        Row {
            name: "unsubscribe, another thread runs",
            series: "beside",
            base: BARRIER,
            ours: "1 others, off",
            peers: REGISTRY_1_OFF,
            figure: Figure::Ratio,
            target: Some(1.2),
        },
    ],
    children: &[("alone", alone), ("beside", beside)],
};

const SET: &str = "sigaction set";
const BARRIER: &str = "membarrier";

const REGISTRY_0: &[Peer] = &[Peer { name: REGISTRY, key: "registry 0", base: SET }];
const REGISTRY_0_ON: &[Peer] = &[
    Peer { name: REGISTRY, key: "registry 0, on", base: SET },
    Peer { name: "allocate + publish + set", key: "limit 0", base: SET },
];
const REGISTRY_1: &[Peer] = &[Peer { name: REGISTRY, key: "registry 1", base: SET }];
const REGISTRY_1_ON: &[Peer] = &[
    Peer { name: REGISTRY, key: "registry 1, on", base: SET },
    Peer { name: "allocate + publish", key: "limit 1", base: SET },
];
const REGISTRY_1_OFF: &[Peer] = &[Peer { name: REGISTRY, key: "registry 1, off", base: BARRIER }];
const REGISTRY_100: &[Peer] = &[Peer { name: REGISTRY, key: "registry 100", base: SET }];
const GROWTH: &[Peer] = &[Peer { name: REGISTRY, key: "registry 100", base: "registry 0" }];

const fn row(
    name: &'static str,
    base: &'static str,
    ours: &'static str,
    peers: &'static [Peer],
    target: Option<f64>,
) -> Row {
    Row { name, series: "alone", base, ours, peers, figure: Figure::Ratio, target }
}

const BATCH: usize = 100;

/// Times a pair as a whole and each half of it: `<key>`, `<key>, on` and `<key>, off`.
fn time<T>(round: &mut Round, key: &str, mut on: impl FnMut() -> T, mut off: impl FnMut(T)) {
    let whole = per_operation(BATCH, || off(on()));
    let clock = per_operation(BATCH, || {
        black_box(now());
    });
    let (mut first, mut second) = (0, 0);
    for _ in 0..BATCH {
        let start = now();
        let subscribed = on();
        let middle = now();
        off(subscribed);
        first += middle - start;
        second += now() - middle;
    }
    let half = |total: u64| (total as f64 / BATCH as f64 - clock).max(0.0);
    round.insert(key.to_owned(), whole);
    round.insert(format!("{key}, on"), half(first));
    round.insert(format!("{key}, off"), half(second));
}

/// sigplane, with `others` immediate entries on the same signal.
fn ours(others: usize, signal: u8) -> Contender<'static> {
    Contender::several(move |round| {
        let kept: Vec<_> = (0..others).map(|_| immediate(rt_signal(signal))).collect();
        time(round, &format!("{others} others"), || immediate(rt_signal(signal)), drop);
        drop(kept);
    })
}

/// The registry likewise. Its table is copied as a whole, so the others must not stay.
fn registry(others: usize, signal: u8) -> Contender<'static> {
    Contender::several(move |round| {
        let kept: Vec<_> = (0..others).map(|_| register(rt(signal))).collect();
        let key = format!("registry {others}");
        time(round, &key, || register(rt(signal)), |id| assert!(unregister(id)));
        kept.into_iter().for_each(|id| assert!(unregister(id)));
    })
}

fn bases() -> Vec<Contender<'static>> {
    let barrier = Barrier::register();
    let mut bases = vec![Contender::batch(SET, BATCH, || set_action(rt(1), bare))];
    if let Some(barrier) = barrier {
        bases.push(Contender::batch(BARRIER, BATCH, move || barrier.run()));
    }
    bases
}

/// The least that subscribing can be: a new list of entries, published; and, for the first entry of
/// a signal, the handler set, with which it cannot cost less than the base.
fn limits() -> [Contender<'static>; 2] {
    static LIST: AtomicPtr<[usize; 8]> = AtomicPtr::new(ptr::null_mut());
    let publish = |list: *mut [usize; 8]| {
        let old = LIST.swap(list, Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: made by `Box::into_raw` below, and no handler reads this list.
            drop(unsafe { Box::from_raw(old) });
        }
    };
    let allocate = || Box::into_raw(Box::new(black_box([0; 8])));
    [
        Contender::batch("limit 1", BATCH, move || publish(allocate())),
        Contender::batch("limit 0", BATCH, move || {
            publish(allocate());
            set_action(rt(1), bare);
        }),
    ]
}

fn alone(effort: Effort) -> Vec<Series> {
    kernel::pin(0, kernel::two_cpus().0);
    let mut contenders = bases();
    contenders.extend(limits());
    contenders.extend([ours(0, 2), ours(1, 3), ours(100, 4)]);
    contenders.extend([registry(0, 5), registry(1, 6), registry(100, 7)]);
    vec![interleave("alone", effort.pick(150, 5), contenders)]
}

/// A thread that never enters the kernel runs on the other CPU, so the barrier has to interrupt it.
fn beside(effort: Effort) -> Vec<Series> {
    let (here, there) = kernel::two_cpus();
    kernel::pin(0, here);
    std::thread::spawn(move || {
        kernel::pin(0, there);
        loop {
            std::hint::spin_loop();
        }
    });
    let mut contenders = bases();
    contenders.extend([ours(1, 3), registry(1, 6)]);
    vec![interleave("beside", effort.pick(60, 3), contenders)]
}
