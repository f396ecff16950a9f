//! What is shown: a bar per channel while values come, a table and a verdict at the end.

use crate::{Shared, lock};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// A line per channel on standard error. indicatif draws nothing if that is no terminal.
pub struct Bars(MultiProgress, Vec<ProgressBar>);

impl Bars {
    pub fn new(channels: &[Shared]) -> Self {
        let template = "{prefix:>11} {bar:16} {human_pos:>9}/{human_len} {msg}";
        let style = ProgressStyle::with_template(template).expect("a valid template");
        let all = MultiProgress::new();
        let bars = channels.iter().map(|channel| {
            let channel = lock(channel);
            let bar = all.add(ProgressBar::new(channel.announced.into()));
            bar.set_style(style.clone());
            bar.set_prefix(channel.signal.name());
            bar
        });
        let bars = bars.collect();
        Self(all, bars)
    }

    pub fn update(&self, channels: &[Shared]) {
        for (bar, channel) in self.1.iter().zip(channels) {
            let channel = lock(channel);
            let [p50, p99] = [50, 99].map(|percent| channel.histogram.percentile(percent));
            bar.set_message(format!("{:.0}/s  p50 {p50}  p99 {p99} µs", channel.rate()));
            bar.set_position(channel.taken());
        }
    }

    /// Leaves the terminal to the table.
    pub fn clear(&self) {
        // A terminal that has gone away is nothing to report to.
        let _gone = self.0.clear();
    }
}

/// Prints the table.
pub fn table(channels: &[Shared]) {
    println!(
        "{:<11} {:>9} {:>5} {:>8} {:>6} {:>6} {:>6} {:>6} {:>9} {:>9} {:>5}",
        "CHANNEL", "VALUES", "MIN", "MEAN", "P50", "P90", "P99", "MAX", "RATE/s", "PAUSE", "DEEP"
    );
    for channel in channels {
        let channel = lock(channel);
        let [p50, p90, p99] = [50, 90, 99].map(|percent| channel.histogram.percentile(percent));
        println!(
            "{:<11} {:>9} {:>5} {:>8.1} {p50:>6} {p90:>6} {p99:>6} {:>6} {:>9.0} {:>9} {:>5}",
            channel.signal.name(),
            channel.taken(),
            if channel.taken() == 0 { 0 } else { channel.least },
            channel.mean(),
            channel.most,
            channel.rate(),
            format!("{:.1?}", channel.pause),
            channel.deepest
        );
    }
    println!("(measurements in µs; PAUSE: the longest between two values; DEEP: most that waited)");
}

/// Prints what is wrong, if anything is, and the last line; whether nothing was lost.
pub fn verdict(channels: &[Shared]) -> bool {
    let mut faults = 0;
    for channel in channels {
        let channel = lock(channel);
        for fault in channel.faults() {
            println!("{}: {fault}", channel.signal);
            faults += 1;
        }
    }
    let values = channels.iter().map(|channel| lock(channel).taken()).sum::<u64>();
    let plural = if channels.len() == 1 { "" } else { "s" };
    let came = format!("{values} values on {} channel{plural}", channels.len());
    match faults {
        0 => println!("nothing lost: {came}, every one once and in order"),
        _ => println!("not as sent: {came}, faults: {faults}, listed above"),
    }
    faults == 0
}
