//! Resident memory: of a process that subscribes, against one that does not, and per thread.
//!
//! Every figure is a process of its own, which reads its `smaps_rollup` (exact, unlike the batched
//! counters in `status`) after a delivery, so that code and stacks which a subscriber needs count.
//! All of them, the base included, have first done what ordinary programs do: a thread, a handler,
//! some text. Pages of files come in windows of 16, which makes the resident figure coarse; the
//! rows called "private" count only what no other process shares.

use crate::delivery::{immediate, register};
use crate::kernel::{self, rt, rt_signal};
use crate::measure::{Contender, Effort, Round, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use crate::threads::create;
use std::ffi::c_void;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "memory",
    rows: &[
        row("one subscription, dispatcher: resident", "nothing", "dispatcher", RESIDENT, 256.0),
        row("one subscription, inbox: resident", "nothing", "inbox", RESIDENT, 256.0),
        row("one subscription, immediate: resident", "nothing", "immediate", RESIDENT, 256.0),
        Row {
            target: None,
            ..row(
                "one subscription, dispatcher: private",
                "nothing, private",
                "dispatcher, private",
                PRIVATE,
                0.0,
            )
        },
        row("each attached thread: resident", "threads", "attached threads", STD, 4.0),
    ],
    children: &[("memory", memory)],
};

const RESIDENT: &[Peer] = &[
    Peer { name: "registry", key: "registry", base: "nothing" },
    Peer { name: "signal-hook forever", key: "signal-hook", base: "nothing" },
];
const PRIVATE: &[Peer] = &[
    Peer { name: "registry", key: "registry, private", base: "nothing, private" },
    Peer { name: "signal-hook forever", key: "signal-hook, private", base: "nothing, private" },
];
const STD: &[Peer] = &[Peer { name: "std", key: "std threads", base: "threads" }];

const fn row(
    name: &'static str,
    base: &'static str,
    ours: &'static str,
    peers: &'static [Peer],
    target: f64,
) -> Row {
    let figure = Figure::Excess;
    Row { name, series: "memory", base, ours, peers, figure, target: Some(target) }
}

const PROCESSES: [&str; 6] =
    ["nothing", "dispatcher", "inbox", "immediate", "registry", "signal-hook"];
const THREADS: [&str; 3] = ["threads", "attached threads", "std threads"];

/// Enough that what the first thread costs once does not show.
const COUNT: u32 = 64;

fn memory(effort: Effort) -> Vec<Series> {
    let process = PROCESSES.map(|who| contender(who, 1.0));
    let threads = THREADS.map(|who| contender(who, f64::from(COUNT)));
    let contenders = process.into_iter().chain(threads).collect();
    vec![interleave("memory", effort.pick(30, 2), contenders)]
}

fn contender(who: &'static str, share: f64) -> Contender<'static> {
    Contender::several(move |round: &mut Round| {
        let mut command = Command::new(std::env::current_exe().expect("this executable"));
        let output = command.args(["--actor", "memory", who]).output().expect("a process");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut fields = text.split_whitespace().map(|word| word.parse::<f64>());
        let (Some(Ok(resident)), Some(Ok(private))) = (fields.next(), fields.next()) else {
            panic!("{who}: {output:?}");
        };
        round.insert(who.to_owned(), resident / share);
        round.insert(format!("{who}, private"), private / share);
    })
}

/// The measured process.
pub fn act(who: &str) {
    kernel::deadline(Duration::from_secs(20));
    let seen: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
    let deliver = |wanted| {
        kernel::signal_process(kernel::pid(), rt(1));
        while seen.load(Ordering::Acquire) < wanted {
            kernel::yield_now();
        }
    };
    live_a_little();
    let note = move || {
        seen.fetch_add(1, Ordering::Release);
    };
    match who {
        "nothing" => {}
        "dispatcher" => {
            sigplane::on(rt_signal(1), move |_| note()).expect("a subscription").detach();
            deliver(1);
        }
        "inbox" => {
            let inbox = sigplane::subscribe(rt_signal(1)).inbox().expect("an inbox");
            kernel::signal_process(kernel::pid(), rt(1));
            black_box(inbox.recv());
            report();
            return;
        }
        "immediate" => {
            immediate(rt_signal(1)).detach();
            deliver(0);
        }
        "registry" => {
            register(rt(1));
            deliver(0);
        }
        "signal-hook" => {
            let mut signals = signal_hook::iterator::Signals::new([rt(1)]).expect("signal-hook");
            std::thread::spawn(move || signals.forever().for_each(|_| note()));
            deliver(1);
        }
        "threads" => start_all(|| _ = create(bare_thread)),
        "attached threads" => {
            immediate(rt_signal(1)).detach();
            start_all(|| _ = create(attached_thread));
        }
        _ => start_all(|| {
            std::thread::spawn(|| {
                touch_stack();
                idle()
            });
        }),
    }
    report();
}

/// A thread, a signal that is handled, memory, text: resident in any program.
fn live_a_little() {
    kernel::set_action(rt(2), kernel::bare);
    kernel::signal_process(kernel::pid(), rt(2));
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || sender.send(vec![1u8; 100]));
    let numbers = receiver.recv().expect("the thread");
    black_box(format!("{numbers:?} {:?}", thread.join()));
}

static STARTED: AtomicU32 = AtomicU32::new(0);

fn start_all(start: impl Fn()) {
    (0..COUNT).for_each(|_| start());
    while STARTED.load(Ordering::Acquire) < COUNT {
        kernel::yield_now();
    }
}

extern "C" fn bare_thread(_: *mut c_void) -> *mut c_void {
    touch_stack();
    idle()
}

extern "C" fn attached_thread(_: *mut c_void) -> *mut c_void {
    touch_stack();
    black_box(sigplane::thread::current());
    idle()
}

/// Every real thread uses two pages of stack: what attaching needs of them is not its cost.
#[inline(never)]
fn touch_stack() {
    black_box(&mut [0u8; 8192]);
}

/// Until the process ends.
fn idle() -> ! {
    STARTED.fetch_add(1, Ordering::Release);
    loop {
        // SAFETY: no memory is passed.
        unsafe { libc::pause() };
    }
}

fn report() {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    let kib = |name: &str| -> f64 {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let numbers = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        numbers.sum()
    };
    let private = kib("Private_Dirty:") + kib("Private_Clean:");
    println!("{} {private}", kib("Rss:"));
}
