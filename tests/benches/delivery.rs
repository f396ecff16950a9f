//! Delivery of a signal that a thread sends to itself, through the kernel, to one immediate entry
//! and to a hundred. What is measured besides the library is the kernel's own delivery.

use crate::kernel::{self, expect_hits, hit, rt, rt_signal};
use crate::measure::{Contender, Effort, Series, interleave, per_operation};
use crate::report::{Figure, Group, Peer, Row};
use sigplane::{Signal, Subscription, Verdict};
use std::hint::black_box;

pub const GROUP: Group = Group {
    name: "delivery",
    rows: &[
        Row {
            name: "delivery to one immediate entry",
            series: "alone",
            base: BARE,
            ours: OURS,
            peers: &[Peer::of(REGISTRY)],
            figure: Figure::Ratio,
            target: Some(1.01),
        },
        Row {
            name: "delivery to one immediate entry, 30 signals registered",
            series: "one of 30",
            base: BARE,
            ours: OURS,
            peers: &[Peer::of(REGISTRY)],
            figure: Figure::Ratio,
            target: Some(1.01),
        },
        Row {
            name: "delivery to 100 immediate entries, 30 signals registered",
            series: "hundred of 30",
            base: BARE,
            ours: OURS,
            peers: &[Peer::of(REGISTRY)],
            figure: Figure::Ratio,
            target: Some(1.05),
        },
    ],
    children: &[
        ("alone", |effort| alone(effort)),
        // There are too few signals for 30 of each library's own in one process.
        ("ours", |effort| many(effort, OURS, enter_ours)),
        ("registry", |effort| many(effort, REGISTRY, enter_registry)),
    ],
};

pub const BARE: &str = "bare sigaction handler";
pub const OURS: &str = "sigplane";
pub const REGISTRY: &str = "registry";

const BASE_SIGNAL: u8 = 1;
const OURS_SIGNAL: u8 = 2;
const REGISTRY_SIGNAL: u8 = 3;

/// An immediate entry that handles `signal` and does what the bare handler does.
pub fn immediate(signal: Signal) -> Subscription {
    // SAFETY: the closure adds to a word of static TLS: no allocation, no lock, no panic.
    unsafe {
        sigplane::subscribe(signal).immediate(|_| {
            hit();
            Verdict::Handled
        })
    }
    .expect("an immediate subscription")
}

/// The same with signal-hook-registry.
pub fn register(signal: i32) -> signal_hook_registry::SigId {
    // SAFETY: as above.
    unsafe { signal_hook_registry::register(signal, hit) }.expect("a registered action")
}

/// Registers on 29 signals besides the measured one, with one `add` each.
pub fn on_29_others(mut add: impl FnMut(i32)) {
    // From the upper end: real-time signals first, then ordinary ones that nothing here uses.
    let realtime = (0..24).map(|n| libc::SIGRTMAX() - n);
    let ordinary = [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH, libc::SIGTERM];
    realtime.chain(ordinary).for_each(&mut add);
}

/// Self-directed signals, each of which makes `hits` deliveries that count.
fn raise(name: &'static str, signal: u8, hits: usize) -> Contender<'static> {
    const BATCH: usize = 400;
    let (pid, tid, signal) = (kernel::pid(), kernel::tid(), rt(signal));
    let batch = move || per_operation(BATCH, || kernel::signal_self(pid, tid, signal));
    Contender::new(name, move || expect_hits((BATCH * hits) as u64, batch))
}

fn alone(effort: Effort) -> Vec<Series> {
    kernel::pin(0, kernel::two_cpus().0);
    kernel::set_action(rt(BASE_SIGNAL), kernel::bare);
    let _ours = immediate(rt_signal(OURS_SIGNAL));
    register(rt(REGISTRY_SIGNAL));
    let contenders = vec![
        raise(BARE, BASE_SIGNAL, 1),
        raise(OURS, OURS_SIGNAL, 1),
        raise(REGISTRY, REGISTRY_SIGNAL, 1),
    ];
    vec![interleave("alone", effort.pick(400, 10), contenders)]
}

/// Adds an entry that does nothing.
type Enter = fn(i32);

fn enter_ours(signal: i32) {
    let signal = Signal::try_from(signal).expect("a signal");
    // SAFETY: the closure does nothing.
    unsafe { sigplane::subscribe(signal).immediate(|_| black_box(Verdict::Handled)) }
        .expect("an immediate subscription")
        .detach();
}

fn enter_registry(signal: i32) {
    // SAFETY: the closure does nothing.
    unsafe { signal_hook_registry::register(signal, || black_box(())) }.expect("an action");
}

fn many(effort: Effort, who: &'static str, enter: Enter) -> Vec<Series> {
    kernel::pin(0, kernel::two_cpus().0);
    kernel::set_action(rt(BASE_SIGNAL), kernel::bare);
    let signal = if who == OURS { OURS_SIGNAL } else { REGISTRY_SIGNAL };
    on_29_others(enter);
    let add_counting = || {
        if who == OURS {
            immediate(rt_signal(signal)).detach();
        } else {
            register(rt(signal));
        }
    };
    let rounds = effort.pick(200, 5);
    add_counting();
    let contenders = vec![raise(BARE, BASE_SIGNAL, 1), raise(who, signal, 1)];
    let one = interleave("one of 30", rounds, contenders);
    // 98 that do nothing between two that count: all have run when the first and last did.
    (0..98).for_each(|_| enter(rt(signal)));
    add_counting();
    let contenders = vec![raise(BARE, BASE_SIGNAL, 1), raise(who, signal, 2)];
    let hundred = interleave("hundred of 30", rounds, contenders);
    vec![one, hundred]
}
