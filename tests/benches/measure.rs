//! How everything here is measured: contenders take turns, and only ratios within a turn count.
//!
//! The machines are shared and slow down for seconds at a time. So the base and every contender
//! are measured in short batches, one after the other, many times over; the figure of a contender
//! is the median, over all rounds, of its time divided by the base's time *of the same round*. The
//! interval beside it is the 95 % confidence interval of that median, read off the order
//! statistics: no distribution is assumed.
//!
//! Not here: what is measured (one module per group of rows), and the table (`report`).

use crate::kernel::now;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one round saw: contender → nanoseconds per operation (or KiB, or a share).
pub type Round = BTreeMap<String, f64>;

/// The rounds that belong together, in the order they were run.
#[derive(Serialize, Deserialize, Debug, Default)]
pub struct Series {
    pub name: String,
    pub rounds: Vec<Round>,
}

/// How much time a run may take.
#[derive(Clone, Copy)]
pub enum Effort {
    /// The figures are meant to be read.
    Full,
    /// Every row is run, to see that it runs.
    Quick,
}

impl Effort {
    pub fn pick(self, full: usize, quick: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// Something that is measured in turns with others: it enters its own figures into the round.
pub struct Contender<'a>(Box<dyn FnMut(&mut Round) + 'a>);

impl<'a> Contender<'a> {
    /// One figure per round: nanoseconds per operation.
    pub fn new(name: &'static str, mut run: impl FnMut() -> f64 + 'a) -> Self {
        Self::several(move |round| {
            round.insert(name.to_owned(), run());
        })
    }

    /// Several figures per round.
    pub fn several(run: impl FnMut(&mut Round) + 'a) -> Self {
        Self(Box::new(run))
    }

    /// `batch` calls of `operation` per round.
    pub fn batch(name: &'static str, batch: usize, mut operation: impl FnMut() + 'a) -> Self {
        Self::new(name, move || per_operation(batch, &mut operation))
    }
}

/// Nanoseconds per call of `operation`, over `batch` calls.
#[inline]
pub fn per_operation(batch: usize, mut operation: impl FnMut()) -> f64 {
    let start = now();
    for _ in 0..batch {
        operation();
    }
    (now() - start) as f64 / batch as f64
}

/// A series that has taken this many nanoseconds, on a busy machine, ends before its time.
const LONG_ENOUGH: u64 = 20_000_000_000;

/// Lets the contenders take turns for `rounds` rounds, after one that only warms up. Every round
/// begins with another of them, so that none always runs in the wake of the same neighbour.
pub fn interleave(name: &str, rounds: usize, mut contenders: Vec<Contender<'_>>) -> Series {
    let mut series = Series { name: name.to_owned(), rounds: Vec::with_capacity(rounds) };
    let start = now();
    for Contender(run) in &mut contenders {
        run(&mut Round::new());
    }
    for done in 0..rounds {
        if done >= 3 && now() - start > LONG_ENOUGH {
            break;
        }
        let mut round = Round::new();
        for Contender(run) in &mut contenders {
            run(&mut round);
        }
        series.rounds.push(round);
        contenders.rotate_left(1);
    }
    series
}

/// A median and how far it can be trusted.
#[derive(Serialize, Clone, Copy, Debug)]
pub struct Estimate {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    /// Half of all rounds lie between these.
    pub quartiles: (f64, f64),
    pub rounds: usize,
}

impl Estimate {
    /// `None` without values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let median = median_of_sorted(&values)?;
        // Ranks of the 95 % interval: the number of values below the median is binomial.
        let half = 0.98 * (count as f64).sqrt();
        let low = ((count as f64 / 2.0 - half).floor().max(0.0)) as usize;
        let high = ((count as f64 / 2.0 + half).ceil() as usize).min(count - 1);
        let quartiles = (values[count / 4], values[count * 3 / 4]);
        Some(Self { median, low: values[low], high: values[high], quartiles, rounds: count })
    }
}

fn median_of_sorted(values: &[f64]) -> Option<f64> {
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// The median of what one batch saw, one value per operation.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    median_of_sorted(values).expect("a batch is not empty")
}

/// Collects `figure(round)` over the rounds in which it exists.
pub fn over(series: &Series, figure: impl Fn(&Round) -> Option<f64>) -> Option<Estimate> {
    Estimate::of(series.rounds.iter().filter_map(figure).collect())
}
