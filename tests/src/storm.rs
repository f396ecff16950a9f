//! A storm of queued signals from another process: the victim that sends it, and how a test starts it.

use crate::child::{Running, victim};
use sigplane::Signal;
use sigplane::send::{self, SendError, Value};
use std::io::BufRead;

/// What a storm consists of: each of the `signals` gets the values 0, 1, … `count - 1`, in turn.
#[derive(Clone, Debug)]
pub struct Storm {
    /// The receiving process.
    pub pid: i32,
    /// The receiving thread, or 0 for the process.
    pub tid: i32,
    /// Which signals.
    pub signals: Vec<Signal>,
    /// How many of each.
    pub count: u64,
    /// How long to spin between two values; 0 sends as fast as the kernel takes them.
    pub gap: u32,
}

impl Storm {
    /// A storm on the calling process.
    pub fn here(signal: Signal, count: u64) -> Self {
        Self { pid: std::process::id() as i32, tid: 0, signals: vec![signal], count, gap: 0 }
    }

    /// Starts sending. The test's victims must include `("sender", sigplane_tests::sender)`. The process
    /// prints `full` when the kernel first refuses a signal, and `done` after the last.
    pub fn start(&self) -> Running {
        let mut sender = Running::start(victim("sender"));
        let Self { pid, tid, count, gap, signals } = self;
        let signals: String =
            signals.iter().map(|signal| format!(" {}", signal.number())).collect();
        sender.tell(&format!("{pid} {tid} {count} {gap}{signals}"));
        sender
    }
}

/// The victim: sends the storm that it is told of, as fast as the kernel takes it.
pub fn sender() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("what to send");
    let numbers: Vec<i64> =
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [pid, tid, count, gap, signals @ ..] = &numbers[..] else {
        panic!("not a storm: {line:?}")
    };
    let signals: Vec<Signal> =
        signals.iter().map(|&number| Signal::try_from(number as i32).expect("a signal")).collect();
    let mut refused = 0u64;
    for value in 0..*count {
        (0..*gap).for_each(|_| std::hint::spin_loop());
        for &signal in &signals {
            while let Err(error) = send_one(*pid as i32, *tid as i32, signal, value as i32) {
                assert!(error.is_retryable(), "{error}");
                refused += 1;
                if refused == 1 {
                    println!("full");
                }
                std::thread::yield_now();
            }
        }
    }
    println!("done");
}

fn send_one(pid: i32, tid: i32, signal: Signal, value: i32) -> Result<(), SendError> {
    match tid {
        0 => send::to_process_with(pid, signal, Value::from_int(value)),
        _ => send::to_thread_with(pid, tid, signal, Value::from_int(value)),
    }
}
