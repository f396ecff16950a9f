//! What the tour prints, and the count of what held.

use sigplane::send::SendError;
use std::fmt::Display;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What a section returns; an error is a claim that did not hold.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A part of the tour: its title, and what it does.
pub type Section = (&'static str, fn(&mut Report) -> Outcome);

/// The column where figures begin.
const FIGURES: usize = 68;

pub struct Report {
    colours: bool,
    sections: usize,
    held: usize,
    failed: usize,
    began: Instant,
}

impl Report {
    pub fn begin() -> Self {
        let colours = std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let report = Self { colours, sections: 0, held: 0, failed: 0, began: Instant::now() };
        println!(
            "{}",
            report.paint(
                "1",
                &format!("sigplane, on live signals of process {}", std::process::id())
            )
        );
        report
    }

    pub fn section(&mut self, title: &str) {
        self.sections += 1;
        println!();
        println!("{}", self.paint("1;36", &format!("{:>2}  {title}", self.sections)));
    }

    /// A claim that has just been checked, with a figure.
    pub fn claim(&mut self, what: &str, holds: bool, figure: impl Display) {
        *(if holds { &mut self.held } else { &mut self.failed }) += 1;
        let mark = if holds { self.paint("32", "✓") } else { self.paint("1;31", "✗") };
        let figure = figure.to_string();
        if figure.is_empty() {
            println!("  {mark} {what}");
        } else {
            println!("  {mark} {what:<FIGURES$} {}", self.paint("2", &figure));
        }
    }

    /// Text between claims, indented as they are.
    pub fn note(&self, text: &str) {
        for line in text.lines() {
            println!("    {}", self.paint("2", line));
        }
    }

    /// The last line, and the exit status that goes with it.
    pub fn end(self) -> ExitCode {
        let (held, failed) = (self.held, self.failed);
        let time = duration(self.began.elapsed());
        println!();
        if failed == 0 {
            println!(
                "{}",
                self.paint("1;32", &format!("Everything held: {held} claims, checked in {time}."))
            );
            ExitCode::SUCCESS
        } else {
            let line = format!(
                "Not everything held: {failed} of {} claims failed, in {time}.",
                held + failed
            );
            println!("{}", self.paint("1;31", &line));
            ExitCode::FAILURE
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `12,345`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three significant digits and a unit.
pub fn duration(time: Duration) -> String {
    let (value, unit) = match time.as_nanos() {
        ..1_000 => return format!("{} ns", time.as_nanos()),
        1_000..1_000_000 => (time.as_secs_f64() * 1e6, "µs"),
        1_000_000..1_000_000_000 => (time.as_secs_f64() * 1e3, "ms"),
        _ => (time.as_secs_f64(), "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// Sends again while the kernel's queue is full: its limit counts all processes of the user.
pub fn patiently<T>(send: impl Fn() -> Result<T, SendError>) -> Result<T, SendError> {
    loop {
        match send() {
            Err(error) if error.is_retryable() => std::thread::yield_now(),
            result => return result,
        }
    }
}

/// Waits until `condition` holds; false when it does not within half a minute.
pub fn within(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::park_timeout(Duration::from_micros(50));
    }
    true
}
