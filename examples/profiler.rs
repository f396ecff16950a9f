//! A sampling profiler: every thread has a timer on its own processor time, and an immediate handler
//! that writes down the program counter it interrupted.
//!
//! The timer's signal carries the address of the thread's own buffer as its value, so the handler
//! looks up nothing, allocates nothing and locks nothing. Names are found afterwards, in ordinary code.
//!
//! ```sh
//! cargo run --release --example profiler -- --seconds 2
//! ```
//!
//! It profiles a workload of three functions that do 60, 30 and 10 parts of the work on two threads,
//! and prints what it found beside that. The exit status is 1 when their order comes out wrong.

use clap::Parser;
use sigplane::{Delivery, Signal, Verdict};
use std::collections::HashMap;
use std::error::Error;
use std::ffi::c_void;
use std::hint::black_box;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Processor time between two samples. The kernel looks at such timers at its clock tick, so that it
/// may be a few milliseconds.
const INTERVAL: Duration = Duration::from_millis(1);
/// Samples that a thread's buffer holds.
const ROOM: usize = 1 << 16;
const THREADS: usize = 2;

/// The samples of one thread, written by its signal handler.
struct Samples {
    counters: Box<[AtomicUsize]>,
    /// How many were taken, stored or not.
    taken: AtomicUsize,
}

impl Samples {
    fn new() -> Self {
        Self {
            counters: (0..ROOM).map(|_| AtomicUsize::new(0)).collect(),
            taken: AtomicUsize::new(0),
        }
    }

    fn record(&self, program_counter: usize) {
        let index = self.taken.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.counters.get(index) {
            place.store(program_counter, Ordering::Relaxed);
        }
    }

    fn stored(&self) -> impl Iterator<Item = usize> {
        let stored = self.taken.load(Ordering::Relaxed).min(ROOM);
        self.counters.iter().take(stored).map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// The handler: runs at any instruction, on the thread it samples.
fn sample(delivery: &mut Delivery<'_>) -> Verdict {
    let event = delivery.event();
    if event.timer().is_none() {
        return Verdict::Pass; // Somebody else's SIGPROF.
    }
    if let (Some(value), Some(context)) = (event.value(), delivery.machine_context()) {
        let program_counter = context.uc_mcontext.gregs[libc::REG_RIP as usize];
        // SAFETY: only `Sampling::start` makes timers here, and what it points to outlives them.
        let samples = unsafe { &*value.ptr().cast::<Samples>() };
        samples.record(program_counter as usize);
    }
    Verdict::Handled
}

/// A timer on the calling thread's processor time; stopped when dropped.
struct Sampling(libc::timer_t);

impl Sampling {
    /// # Safety
    /// `samples` must live until this thread has ended or the subscription of SIGPROF is gone.
    unsafe fn start(samples: &Samples) -> io::Result<Self> {
        // SAFETY: all zeroes is a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = libc::SIGPROF;
        event.sigev_value.sival_ptr = std::ptr::from_ref(samples).cast_mut().cast();
        // SAFETY: has no preconditions.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer = std::ptr::null_mut();
        // A timer takes a place in the queue of signals; see RLIMIT_SIGPENDING.
        // SAFETY: a valid event, and room for the timer's id.
        check(unsafe {
            libc::timer_create(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut event, &raw mut timer)
        })?;
        let sampling = Self(timer);
        let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(INTERVAL.subsec_nanos()) };
        let times = libc::itimerspec { it_interval: time, it_value: time };
        // SAFETY: our timer and valid times.
        check(unsafe { libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut()) })?;
        Ok(sampling)
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // SAFETY: our timer, deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let limit = Options::parse().seconds;
    // SAFETY: `sample` stores numbers; the buffers live until `main` ends.
    let subscription =
        unsafe { sigplane::subscribe(Signal::PROF).name("profiler").immediate(sample) }?;
    let buffers: Vec<Arc<Samples>> = (0..THREADS).map(|_| Arc::new(Samples::new())).collect();
    let workers: Vec<_> = buffers
        .iter()
        .map(|samples| {
            let samples = Arc::clone(samples);
            std::thread::spawn(move || -> io::Result<()> {
                // SAFETY: `main` keeps the buffer until the subscription is gone.
                let _sampling = unsafe { Sampling::start(&samples) }?;
                work(limit);
                Ok(())
            })
        })
        .collect();
    for worker in workers {
        worker.join().map_err(|_| "a worker panicked")??;
    }
    drop(subscription); // No handler runs any more: the buffers are ours alone.
    Ok(if report(&buffers) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the histogram; tells whether the workload's functions came out in their order.
fn report(buffers: &[Arc<Samples>]) -> bool {
    let mut counts = HashMap::<String, usize>::new();
    for (index, samples) in buffers.iter().enumerate() {
        let taken = samples.taken.load(Ordering::Relaxed);
        println!(
            "thread {}: {taken} samples, {} beyond its buffer",
            index + 1,
            taken.saturating_sub(ROOM)
        );
        for counter in samples.stored() {
            *counts.entry(function_at(counter)).or_default() += 1;
        }
    }
    let total = counts.values().sum::<usize>().max(1) as f64;
    let mut rows: Vec<(String, usize)> = counts.into_iter().collect();
    rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    println!();
    println!("{:<36} {:>8} {:>7} {:>7}", "FUNCTION", "SAMPLES", "SHARE", "WORK");
    for (name, count) in &rows {
        let share = *count as f64 / total;
        let known = PARTS.iter().find(|(known, _)| known == name);
        let work = known.map_or(String::new(), |(_, parts)| format!("{} %", parts * 10));
        let bar = "█".repeat((share * 40.0).round() as usize);
        println!("{name:<36} {count:>8} {:>5.1} % {work:>7} {bar}", share * 100.0);
    }
    rows.iter().map(|(name, _)| name.as_str()).take(PARTS.len()).eq(PARTS.map(|(name, _)| name))
}

/// The function that an address is in: the outermost of those that were inlined there.
fn function_at(address: usize) -> String {
    let mut name = format!("{address:#x}");
    backtrace::resolve(address as *mut c_void, |symbol| {
        if let Some(symbol) = symbol.name() {
            name = format!("{symbol:#}");
        }
    });
    name
}

fn seconds(text: &str) -> Result<Duration, Box<dyn Error + Send + Sync>> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Samples two threads that work on three functions, and says where they were.
#[derive(Parser)]
struct Options {
    /// Processor time that each thread works.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,
}

/// The workload: who does how many parts of the work.
const PARTS: [(&str, u32); 3] =
    [("profiler::most_of_it", 6), ("profiler::some_of_it", 3), ("profiler::little_of_it", 1)];
/// Rounds of arithmetic that make one part.
const PART: u32 = 20_000;

/// Works until the calling thread has used `limit` of processor time.
fn work(limit: Duration) {
    while processor_time() < limit {
        black_box(most_of_it(black_box(1)));
        black_box(some_of_it(black_box(2)));
        black_box(little_of_it(black_box(3)));
    }
}

fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a local value.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The same arithmetic under three names, kept apart by a constant so that they are not made one. No
/// calls in it, so that an unoptimised build spends its time in them as well.
macro_rules! part {
    ($name:ident, $index:expr) => {
        #[inline(never)]
        fn $name(mut state: u64) -> u64 {
            let mut rounds = PARTS[$index].1 * PART;
            while rounds > 0 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state ^= $index + 1;
                rounds -= 1;
            }
            state
        }
    };
}

part!(most_of_it, 0);
part!(some_of_it, 1);
part!(little_of_it, 2);
