//! The handler called directly, as the kernel would call it but without the kernel: what is left is
//! the library's own path, a few nanoseconds that the delivery rows cannot resolve.
//!
//! The address called is the one that the kernel holds, asked for with a raw `rt_sigaction`. The
//! limit, "plain table", is the least that any library with a table of entries must do: find the
//! signal's row, walk its entries, call each through a pointer.

use crate::call::Call;
use crate::delivery::{BARE, OURS, REGISTRY, immediate, on_29_others, register};
use crate::kernel::{self, hit, rt, rt_signal};
use crate::measure::{Contender, Effort, Round, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

pub const GROUP: Group = Group {
    name: "direct",
    rows: &[
        Row {
            name: "handler called directly",
            series: "alone",
            base: BARE,
            ours: OURS,
            peers: &[Peer::of(REGISTRY), Peer::of(TABLE)],
            figure: Figure::Time,
            target: Some(8.0),
        },
        Row {
            name: "handler called directly, 30 signals registered",
            series: "one of 30",
            base: BARE,
            ours: OURS,
            peers: &[Peer::of(REGISTRY), Peer::of(TABLE)],
            figure: Figure::Time,
            target: Some(8.0),
        },
        Row {
            name: "handler called directly, thread without a record",
            series: "no record",
            base: BARE,
            ours: OURS,
            peers: &[Peer::of(REGISTRY), Peer::of(TABLE)],
            figure: Figure::Time,
            target: None,
        },
        Row {
            name: "handler called directly, 2 threads at once",
            series: "threads",
            base: "sigplane, 1 thread",
            ours: "sigplane, 2 threads",
            peers: &[
                Peer { name: REGISTRY, key: "registry, 2 threads", base: "registry, 1 thread" },
                Peer { name: BARE, key: "bare, 2 threads", base: "bare, 1 thread" },
            ],
            figure: Figure::Ratio,
            target: Some(1.05),
        },
    ],
    children: &[
        ("alone", |effort| one_thread(effort, "alone", &[OURS, REGISTRY])),
        ("ours", |effort| one_thread(effort, "one of 30", &[OURS])),
        ("registry", |effort| one_thread(effort, "one of 30", &[REGISTRY])),
        ("no-record", |effort| one_thread(effort, "no record", &[OURS, REGISTRY])),
        ("threads", two_threads),
    ],
};

const TABLE: &str = "plain table";
const BASE_SIGNAL: u8 = 1;
const OURS_SIGNAL: u8 = 2;
const REGISTRY_SIGNAL: u8 = 3;
const TABLE_SIGNAL: u8 = 4;

/// The limit's table: per signal a list of function and argument, published as one pointer.
type Entry = (fn(*const c_void, &libc::siginfo_t), *const c_void);
static ROWS: [AtomicPtr<Vec<Entry>>; 65] = [const { AtomicPtr::new(ptr::null_mut()) }; 65];

unsafe extern "C" fn plain_table(signal: i32, info: *mut libc::siginfo_t, _: *mut c_void) {
    // SAFETY: rows are published once, leaked, and never changed; `info` is valid.
    let (row, info) =
        unsafe { (ROWS[signal as usize & 63].load(Ordering::Acquire).as_ref(), &*info) };
    for (run, argument) in row.into_iter().flatten() {
        run(*argument, info);
    }
}

fn enter_plain_table(signal: i32) {
    let row: Vec<Entry> = vec![(|_, _| hit(), ptr::null())];
    ROWS[signal as usize & 63].store(Box::into_raw(Box::new(row)), Ordering::Release);
    kernel::set_action(signal, plain_table);
}

fn one_thread(effort: Effort, series: &str, who: &[&str]) -> Vec<Series> {
    kernel::pin(0, kernel::two_cpus().0);
    kernel::set_action(rt(BASE_SIGNAL), kernel::bare);
    enter_plain_table(rt(TABLE_SIGNAL));
    let mut calls =
        vec![(BARE, Call::installed(BASE_SIGNAL)), (TABLE, Call::installed(TABLE_SIGNAL))];
    let crowded = series == "one of 30";
    if who.contains(&OURS) {
        if crowded {
            on_29_others(|signal| immediate(signal.try_into().expect("a signal")).detach());
        }
        immediate(rt_signal(OURS_SIGNAL)).detach();
        calls.push((OURS, Call::sigplane(OURS_SIGNAL)));
    }
    if who.contains(&REGISTRY) {
        if crowded {
            on_29_others(|signal| _ = register(signal));
        }
        register(rt(REGISTRY_SIGNAL));
        calls.push((REGISTRY, Call::installed(REGISTRY_SIGNAL)));
    }
    let measure = || {
        let contenders = calls.iter().map(|(name, call)| call.contender(name, 20_000));
        interleave(series, effort.pick(200, 5), contenders.collect())
    };
    if series == "no record" {
        // This thread may have been attached when it subscribed.
        return vec![std::thread::scope(|scope| scope.spawn(measure).join()).expect("figures")];
    }
    sigplane::thread::current();
    vec![measure()]
}

/// A second thread on a CPU of its own that runs the batch it is told to, beside the first one.
struct Beside {
    work: AtomicPtr<Call>,
    /// Threads that stand ready; each spins until both do.
    ready: AtomicU32,
    result: std::sync::Mutex<f64>,
    done: AtomicU32,
}

static BESIDE: Beside = Beside {
    work: AtomicPtr::new(ptr::null_mut()),
    ready: AtomicU32::new(0),
    result: std::sync::Mutex::new(0.0),
    done: AtomicU32::new(0),
};

/// Long enough that both threads' batches overlap but for a small part.
const LONG_BATCH: usize = 100_000;

impl Beside {
    fn serve(&self, cpu: usize) {
        kernel::pin(0, cpu);
        sigplane::thread::current();
        loop {
            let work = self.work.swap(ptr::null_mut(), Ordering::AcqRel);
            if work.is_null() {
                std::thread::park();
                continue;
            }
            // SAFETY: `start` made the box and gave it away.
            let call = *unsafe { Box::from_raw(work) };
            self.meet();
            *self.result.lock().expect("the lock") = call.time(LONG_BATCH);
            self.done.store(1, Ordering::Release);
        }
    }

    fn meet(&self) {
        self.ready.fetch_add(1, Ordering::AcqRel);
        while self.ready.load(Ordering::Acquire) < 2 {
            std::hint::spin_loop();
        }
    }

    fn start(&self, helper: &std::thread::Thread, call: Call) {
        self.ready.store(0, Ordering::Release);
        self.done.store(0, Ordering::Release);
        self.work.store(Box::into_raw(Box::new(call)), Ordering::Release);
        helper.unpark();
    }

    fn finish(&self) -> f64 {
        while self.done.load(Ordering::Acquire) == 0 {
            kernel::yield_now();
        }
        *self.result.lock().expect("the lock")
    }

    /// Time per call on each CPU alone, and on both at once: the mean of the two CPUs each time, so
    /// that a CPU which is slower by itself does not look like contention.
    fn measure(&self, helper: &std::thread::Thread, call: Call) -> (f64, f64) {
        let here = call.time(LONG_BATCH);
        self.start(helper, call);
        self.ready.fetch_add(1, Ordering::AcqRel);
        let there = self.finish();
        self.start(helper, call);
        self.meet();
        let here_too = call.time(LONG_BATCH);
        let there_too = self.finish();
        (f64::midpoint(here, there), f64::midpoint(here_too, there_too))
    }
}

fn two_threads(effort: Effort) -> Vec<Series> {
    let (here, there) = kernel::two_cpus();
    kernel::pin(0, here);
    kernel::set_action(rt(BASE_SIGNAL), kernel::bare);
    immediate(rt_signal(OURS_SIGNAL)).detach();
    register(rt(REGISTRY_SIGNAL));
    sigplane::thread::current();
    let helper = std::thread::spawn(move || BESIDE.serve(there)).thread().clone();
    let contender = |one: &'static str, two: &'static str, call: Call| {
        let helper = helper.clone();
        Contender::several(move |round: &mut Round| {
            let (alone, together) = BESIDE.measure(&helper, call);
            round.insert(one.to_owned(), alone);
            round.insert(two.to_owned(), together);
        })
    };
    let contenders = vec![
        contender("bare, 1 thread", "bare, 2 threads", Call::installed(BASE_SIGNAL)),
        contender("sigplane, 1 thread", "sigplane, 2 threads", Call::sigplane(OURS_SIGNAL)),
        contender("registry, 1 thread", "registry, 2 threads", Call::installed(REGISTRY_SIGNAL)),
    ];
    vec![interleave("threads", effort.pick(40, 3), contenders)]
}
