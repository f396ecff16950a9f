//! The other process: sends every channel's values, in turn, as fast as the receiver gives credit.

use crate::Options;
use crate::value::Sample;
use sigplane::send::{self, SendError};
use sigplane::{Inbox, Overflow, Signal, SignalSet};
use std::error::Error;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A receiver that has taken nothing for so long has gone away.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mistake that the sender makes on purpose.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Spoil {
    /// Leaves a value out.
    Skip,
    /// Sends one twice.
    Double,
    /// Sends one after its successor.
    Swap,
}

impl fmt::Display for Spoil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skip => "skip",
            Self::Double => "double",
            Self::Swap => "swap",
        })
    }
}

pub fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let mut channels: Vec<Outgoing> = options.channels().enumerate().map(Outgoing::new).collect();
    if let (Some(mistake), Some(last)) = (options.spoil, channels.last_mut()) {
        last.spoil(mistake);
    }
    let signals: SignalSet = channels.iter().map(|channel| channel.signal).collect();
    // Credit counts from the beginning, so of several messages only the last is of interest. The room
    // for as many as may be on their way is never used up.
    let credit =
        sigplane::subscribe(signals).name("credit").overflow(Overflow::DropOldest).inbox()?;
    let pid = options.pid.unwrap_or_else(|| std::os::unix::process::parent_id() as i32);
    let mut receiver = Receiver { pid, window: options.window, credit, refused: 0, waited: 0 };

    let began = Instant::now();
    if options.window > 0 {
        for channel in &channels {
            receiver.send(channel.signal, Sample::Hello { window: options.window })?;
        }
    }
    let turns = channels.iter().map(|channel| channel.order.len()).max().unwrap_or(0);
    for turn in 0..turns {
        for index in 0..channels.len() {
            if let Some(sequence) = channels[index].order.get(turn).copied() {
                receiver.wait_for_credit(&mut channels, index)?;
                receiver.send(channels[index].signal, Sample::simulated(index, sequence))?;
                channels[index].sent += 1;
            }
        }
    }
    for channel in &channels {
        receiver.send(channel.signal, Sample::End { count: channel.count })?;
    }
    println!(
        "the sender took {:.1?} for {} values; it waited {} times for credit, {} times for the kernel",
        began.elapsed(),
        channels.iter().map(|channel| channel.sent).sum::<u32>(),
        receiver.waited,
        receiver.refused
    );
    // Not by returning: credit that is still to come would kill us when nobody takes it any more.
    std::process::exit(0)
}

/// One channel, as the sender sees it.
struct Outgoing {
    signal: Signal,
    /// How many values there are.
    count: u32,
    /// Their sequence numbers, in the order in which they are sent.
    order: Vec<u32>,
    sent: u32,
    /// How many the receiver has taken.
    taken: u32,
}

impl Outgoing {
    fn new((_, (signal, count)): (usize, (Signal, u32))) -> Self {
        Self { signal, count, order: (0..count).collect(), sent: 0, taken: 0 }
    }

    fn spoil(&mut self, mistake: Spoil) {
        let middle = self.order.len() / 2;
        match (mistake, self.order.get(middle).copied()) {
            (Spoil::Skip, Some(_)) => drop(self.order.remove(middle)),
            (Spoil::Double, Some(value)) => self.order.insert(middle, value),
            (Spoil::Swap, Some(_)) if middle > 0 => self.order.swap(middle - 1, middle),
            _ => {} // Too few values to make it.
        }
    }
}

struct Receiver {
    pid: i32,
    /// How many values of a channel may be on their way; 0 for no limit.
    window: u32,
    credit: Inbox,
    refused: u64,
    waited: u64,
}

impl Receiver {
    /// Waits until there is room in the channel's window.
    fn wait_for_credit(
        &mut self,
        channels: &mut [Outgoing],
        index: usize,
    ) -> Result<(), Box<dyn Error>> {
        while self.window > 0 && channels[index].sent - channels[index].taken >= self.window {
            self.waited += 1;
            let event = self.credit.recv_timeout(PATIENCE).ok_or("the receiver gives no credit")?;
            let channel = channels.iter_mut().find(|channel| channel.signal == event.signal());
            if let (Some(channel), Some(taken)) = (channel, event.value()) {
                channel.taken = channel.taken.max(taken.addr() as u32);
            }
        }
        Ok(())
    }

    /// Sends one; as often as it takes when the receiver's queue in the kernel is full.
    fn send(&mut self, signal: Signal, sample: Sample) -> Result<(), SendError> {
        loop {
            match send::to_process_with(self.pid, signal, sample.into()) {
                Err(error) if error.is_retryable() => {
                    self.refused += 1;
                    std::thread::sleep(Duration::from_micros(100));
                }
                result => return result,
            }
        }
    }
}
