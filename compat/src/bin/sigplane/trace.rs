//! The file of `sigplane run --trace`: one JSON object a line.
//!
//! Every change of an action, in order; what else the journal notes; and with `--own` how often each signal was
//! delivered since the last line about it.

use crate::exhibit::Counts;
use crate::history::Reader;
use crate::names;
use crate::place::Objects;
use serde_json::{Value, json};
use sigplane_compat::journal::layout::Journal;
use sigplane_compat::journal::read::Read;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::atomic::Ordering::Acquire;

/// The file, and how far it is.
pub struct Trace {
    file: BufWriter<File>,
    /// The next record to be written.
    next: u64,
    /// How often that was found unfinished.
    waited: u32,
    /// Records that are not there, and have not been told of.
    missing: u64,
}

/// A writer that was interrupted finishes its record when it goes on; one that was left by `siglongjmp` never
/// does. After so many looks it is given up.
const PATIENCE: u32 = 10;

impl Trace {
    pub fn new(file: File) -> Self {
        Self { file: BufWriter::new(file), next: 0, waited: 0, missing: 0 }
    }

    /// Writes what the journal has since; `is_last` when nobody writes it any more.
    pub fn changes(&mut self, journal: &Journal, reader: &mut Reader, is_last: bool) {
        let end = journal.next.load(Acquire);
        if self.next == end {
            return;
        }
        let objects = Objects::of(journal);
        while self.next < end {
            match journal.read(self.next) {
                Read::Complete(record) => {
                    self.tell_missing();
                    let change = reader.change(&objects, &record);
                    let written = serde_json::to_writer(&mut self.file, &change);
                    if written.is_err() || self.file.write_all(b"\n").is_err() {
                        return;
                    }
                }
                Read::Unfinished if !is_last && self.waited < PATIENCE => {
                    self.waited += 1;
                    break;
                }
                Read::Unfinished | Read::Gone => self.missing += 1,
            }
            self.next += 1;
            self.waited = 0;
        }
        if is_last {
            self.tell_missing();
        }
        let _written = self.file.flush();
    }

    fn tell_missing(&mut self) {
        if self.missing > 0 {
            self.line(&json!({ "event": "missing", "changes": self.missing }));
            self.missing = 0;
        }
    }

    /// Writes how often each signal was delivered since.
    pub fn deliveries(&mut self, before: &[Counts], now: &[Counts]) {
        for (number, now) in now.iter().enumerate() {
            let before = before.get(number).map_or(0, |counts| counts.delivered);
            if now.delivered > before {
                self.line(&json!({
                    "event": "delivered", "signal": names::signal(number as i32),
                    "count": now.delivered - before, "total": now.delivered,
                }));
            }
        }
        let _written = self.file.flush();
    }

    fn line(&mut self, value: &Value) {
        let _written = writeln!(self.file, "{value}");
    }
}
