//! What a row is, and the table in which all of them end.

use crate::measure::{Effort, Estimate, Round, Series, over};
use comfy_table::{Cell, Table, presets};
use serde_json::{Value, json};

/// Rows whose figures come from the same processes.
pub struct Group {
    pub name: &'static str,
    pub rows: &'static [Row],
    /// Each is run in a process of its own, because what is measured belongs to the process.
    pub children: &'static [(&'static str, Measure)],
}

/// All that one child measures.
pub type Measure = fn(Effort) -> Vec<Series>;

/// One line of the table. `base`, `ours` and the peers' keys name what a round has entered.
pub struct Row {
    pub name: &'static str,
    pub series: &'static str,
    pub base: &'static str,
    pub ours: &'static str,
    pub peers: &'static [Peer],
    pub figure: Figure,
    /// The figure has to be at most this: a ratio, nanoseconds or KiB. `None`: for information.
    pub target: Option<f64>,
}

pub struct Peer {
    pub name: &'static str,
    pub key: &'static str,
    /// What it is divided by; empty: the row's base.
    pub base: &'static str,
}

impl Peer {
    /// A peer that is shown under the name it is measured under, against the row's base.
    pub const fn of(name: &'static str) -> Self {
        Self { name, key: name, base: "" }
    }
}

/// How two measurements become a figure.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Figure {
    /// Time over the base's time.
    Ratio,
    /// The same, of a consumer that has also to receive every event, in order, with its value.
    Lossless,
    /// The time itself, in nanoseconds.
    Time,
    /// What exceeds the base, in KiB.
    Excess,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Verdict {
    Met,
    /// Missed, but the interval reaches down to the target.
    MissedWithinNoise,
    Missed,
    NotAllReceived,
    Information,
    Failed,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::MissedWithinNoise => "missed (within noise)",
            Self::Missed => "missed",
            Self::NotAllReceived => "missed (events lost)",
            Self::Information => "-",
            Self::Failed => "did not run",
        }
    }
}

impl Figure {
    fn estimate(self, series: &Series, key: &str, base: &str) -> Option<Estimate> {
        over(series, |round| {
            let value = *round.get(key)?;
            match self {
                Self::Time => Some(value),
                Self::Ratio | Self::Lossless => Some(value / round.get(base)?),
                Self::Excess => Some(value - round.get(base)?),
            }
        })
    }

    fn show(self, value: f64) -> String {
        match self {
            Self::Ratio | Self::Lossless => significant(value),
            Self::Time => time(value),
            Self::Excess => format!("{} KiB", significant(value)),
        }
    }
}

/// Three digits that say something, and always the third decimal near 1.
fn significant(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        magnitude if magnitude < 0.1 => format!("{value:.4}"),
        magnitude if magnitude < 2.0 => format!("{value:.3}"),
        magnitude if magnitude < 20.0 => format!("{value:.2}"),
        magnitude if magnitude < 200.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        small if small < 1e3 => format!("{} ns", significant(small)),
        middle if middle < 1e6 => format!("{} µs", significant(middle / 1e3)),
        large => format!("{} ms", significant(large / 1e6)),
    }
}

/// Which part of what was sent arrived; `None` where nothing can be lost.
fn share(series: &Series, key: &str) -> Option<f64> {
    let name = format!("{key}, share");
    over(series, |round| round.get(&name).copied()).map(|estimate| estimate.median)
}

fn lost_nothing(series: &Series, key: &str) -> bool {
    let complete = |round: &Round| {
        let is_one = |what: &str| round.get(&format!("{key}, {what}")) == Some(&1.0);
        is_one("share") && is_one("in order")
    };
    series.rounds.iter().filter(|round| round.contains_key(key)).all(complete)
}

/// A row with its figures.
pub struct Line {
    row: &'static Row,
    base: Option<f64>,
    ours: Option<Estimate>,
    peers: Vec<(&'static Peer, Estimate, Option<f64>)>,
    verdict: Verdict,
}

impl Line {
    pub fn new(row: &'static Row, measured: &[Series]) -> Self {
        let empty = Series::default();
        let series = measured.iter().find(|series| series.name == row.series).unwrap_or(&empty);
        let base = over(series, |round| round.get(row.base).copied());
        let ours = row.figure.estimate(series, row.ours, row.base);
        let figures = row.peers.iter().filter_map(|peer| {
            let base = if peer.base.is_empty() { row.base } else { peer.base };
            let estimate = row.figure.estimate(series, peer.key, base)?;
            Some((peer, estimate, share(series, peer.key)))
        });
        let peers = figures.collect();
        let verdict = match (ours, row.target) {
            (None, _) => Verdict::Failed,
            _ if row.figure == Figure::Lossless && !lost_nothing(series, row.ours) => {
                Verdict::NotAllReceived
            }
            (_, None) => Verdict::Information,
            (Some(ours), Some(target)) if ours.median <= target => Verdict::Met,
            (Some(ours), Some(target)) if ours.low <= target => Verdict::MissedWithinNoise,
            _ => Verdict::Missed,
        };
        Self { row, base: base.map(|base| base.median), ours, peers, verdict }
    }

    pub fn ran(&self) -> bool {
        self.verdict != Verdict::Failed
    }

    fn base_value(&self) -> String {
        match (self.base, self.row.figure) {
            (None, _) => "-".to_owned(),
            (Some(base), Figure::Excess) => self.row.figure.show(base),
            (Some(base), _) => time(base),
        }
    }

    fn ours_cell(&self) -> String {
        let Some(ours) = self.ours else { return "-".to_owned() };
        let show = |value| self.row.figure.show(value);
        format!("{} ({} … {})", show(ours.median), show(ours.low), show(ours.high))
    }

    fn peers_cell(&self) -> String {
        let lines = self.peers.iter().map(|(peer, estimate, share)| {
            let figure = self.row.figure.show(estimate.median);
            match share {
                Some(share) => format!("{} {figure}, got {:.2} %", peer.name, share * 100.0),
                None => format!("{} {figure}", peer.name),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn target_cell(&self) -> String {
        let Some(target) = self.row.target else { return "-".to_owned() };
        let bound = match self.row.figure {
            Figure::Time => time(target),
            Figure::Excess => format!("{target} KiB"),
            Figure::Ratio | Figure::Lossless => target.to_string(),
        };
        let all = if self.row.figure == Figure::Lossless { ", all, in order" } else { "" };
        format!("≤ {bound}{all}")
    }

    fn json(&self) -> Value {
        let peers = self.peers.iter().map(|(peer, estimate, share)| {
            json!({ "name": peer.name, "figure": estimate, "share_received": share })
        });
        json!({
            "row": self.row.name,
            "base": self.row.base,
            "base_median": self.base,
            "figure_kind": format!("{:?}", self.row.figure).to_lowercase(),
            "sigplane": self.ours,
            "peers": peers.collect::<Vec<_>>(),
            "target": self.row.target,
            "verdict": self.verdict.text(),
        })
    }
}

pub fn print(lines: &[Line]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "row",
        "base",
        "base's",
        "sigplane (95 %)",
        "peers, limits",
        "target",
        "verdict",
    ]);
    for line in lines {
        table.add_row([
            Cell::new(line.row.name),
            Cell::new(line.row.base),
            Cell::new(line.base_value()),
            Cell::new(line.ours_cell()),
            Cell::new(line.peers_cell()),
            Cell::new(line.target_cell()),
            Cell::new(line.verdict.text()),
        ]);
    }
    println!("{table}");
    println!(
        "Ratios to the base of the same round, medians over all rounds; in brackets the median's \
         95 % confidence interval."
    );
}

/// The same for machines, with what the figures depend on.
pub fn to_json(lines: &[Line], quick: bool) -> Value {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "kernel": kernel.trim(),
        "cpus": crate::kernel::cpus().len(),
        "quick": quick,
        "rows": lines.iter().map(Line::json).collect::<Vec<_>>(),
    })
}
