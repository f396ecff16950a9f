//! The aggregation of one channel, and the account of what came: which sequence numbers are missing,
//! came twice, or came after a later one.

use crate::histogram::Histogram;
use crate::value::Sample;
use sigplane::{Event, Signal};
use std::ops::Range;
use std::time::Duration;

pub struct Channel {
    pub signal: Signal,
    /// How many values are announced; only for the display, the sender's end marker is what counts.
    pub announced: u32,
    pub histogram: Histogram,
    pub least: u32,
    pub most: u32,
    /// The longest time between two values.
    pub pause: Duration,
    /// The most events that waited in the stream's queue.
    pub deepest: usize,
    sum: u64,
    taken: u64,
    times: Option<(Duration, Duration)>,
    /// How many values the sender keeps on their way, if it wants credit.
    window: Option<u32>,
    /// The number that comes next if nothing is lost.
    next: u32,
    missing: Vec<Range<u32>>,
    twice: Vec<u32>,
    late: Vec<u32>,
    ended: bool,
}

impl Channel {
    pub fn new(signal: Signal, announced: u32) -> Self {
        Self {
            signal,
            announced,
            histogram: Histogram::new(),
            least: u32::MAX,
            most: 0,
            pause: Duration::ZERO,
            deepest: 0,
            sum: 0,
            taken: 0,
            times: None,
            window: None,
            next: 0,
            missing: Vec::new(),
            twice: Vec::new(),
            late: Vec::new(),
            ended: false,
        }
    }

    pub fn take(&mut self, event: &Event) {
        // Somebody's plain `kill` has no value, and is none of ours.
        match event.value().map(Sample::from) {
            Some(Sample::Measured { sequence, microseconds }) => {
                self.account(sequence);
                self.measure(microseconds, event.arrival());
            }
            Some(Sample::Hello { window }) => self.window = Some(window),
            Some(Sample::End { count }) => {
                self.expect(count);
                self.ended = true;
            }
            None => {}
        }
    }

    fn measure(&mut self, microseconds: u32, arrival: Duration) {
        self.taken += 1;
        self.sum += u64::from(microseconds);
        self.least = self.least.min(microseconds);
        self.most = self.most.max(microseconds);
        self.histogram.add(microseconds);
        let (first, last) = self.times.unwrap_or((arrival, arrival));
        self.pause = self.pause.max(arrival.saturating_sub(last));
        self.times = Some((first, arrival));
    }

    fn account(&mut self, sequence: u32) {
        if sequence >= self.next {
            self.expect(sequence);
            self.next = sequence + 1;
        } else if let Some(gap) = self.missing.iter().position(|gap| gap.contains(&sequence)) {
            let Range { start, end } = self.missing.remove(gap);
            let rest = [start..sequence, sequence + 1..end];
            self.missing.extend(rest.into_iter().filter(|rest| !rest.is_empty()));
            self.late.push(sequence);
        } else {
            self.twice.push(sequence);
        }
    }

    /// Everything below `sequence` should have come.
    fn expect(&mut self, sequence: u32) {
        if sequence > self.next {
            self.missing.push(self.next..sequence);
            self.next = sequence;
        }
    }

    /// How many values have been taken, when it is time to tell the sender: four times in a window.
    pub fn credit(&self) -> Option<u32> {
        let step = u64::from((self.window? / 4).max(1));
        (self.taken > 0 && self.taken.is_multiple_of(step)).then_some(self.taken as u32)
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    pub fn taken(&self) -> u64 {
        self.taken
    }

    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.taken.max(1) as f64
    }

    /// Values per second, from the first to the last.
    pub fn rate(&self) -> f64 {
        match self.times {
            Some((first, last)) if last > first => {
                (self.taken - 1) as f64 / (last - first).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// What is wrong, a sentence each; nothing if every value came once and in order.
    pub fn faults(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|gap| match gap.len() {
            1 => format!("value {} is missing", gap.start),
            _ => format!("values {} to {} are missing", gap.start, gap.end - 1),
        });
        let twice = self.twice.iter().map(|value| format!("value {value} came twice"));
        let late = self.late.iter().map(|value| format!("value {value} came after a later one"));
        let unended = (!self.ended).then(|| format!("the sender fell silent before {}", self.next));
        missing.chain(twice).chain(late).chain(unended).collect()
    }
}
