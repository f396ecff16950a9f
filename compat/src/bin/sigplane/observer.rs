//! What the reporter does: it looks at the program's journal and its `/proc` until the program has ended, and
//! writes the report then.
//!
//! # Safety
//! One system call, on a structure of its own.
#![allow(unsafe_code)]

use crate::exhibit::{self, Counts};
use crate::findings::Sampled;
use crate::history::Reader;
use crate::remote::Remote;
use crate::reporter::Wanted;
use crate::run::Format;
use crate::trace::Trace;
use crate::{report, status};
use sigplane_compat::journal::FAULTS;
use sigplane_compat::journal::layout::Journal;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Acquire;

/// Who looks.
pub struct Observer {
    journal: &'static Journal,
    reader: Reader,
    trace: Option<Trace>,
    sampled: Sampled,
    /// Whether deliveries are counted.
    own: bool,
    /// Where the counts are, in the program that began then.
    remote: Option<(u64, Remote)>,
    /// As last seen, by signal number.
    delivered: Vec<Counts>,
}

impl Observer {
    pub fn new(journal: &'static Journal, wanted: &Wanted, trace: Option<File>) -> Self {
        Self {
            journal,
            reader: Reader::default(),
            trace: trace.map(Trace::new),
            sampled: Sampled::default(),
            own: wanted.own,
            remote: None,
            delivered: Vec::new(),
        }
    }

    /// Waits for the end of the process, and looks at the journal meanwhile.
    pub fn follow(&mut self, pid: i32, process: &OwnedFd) {
        // The ring must not go round between two looks; without a trace only samples are taken.
        let pause = if self.trace.is_some() { 10 } else { 100 };
        loop {
            let mut wait =
                libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure.
            let ended = unsafe { libc::poll(&raw mut wait, 1, pause) } > 0;
            // The program has not begun, or never loads the library.
            if self.journal.pid.load(Acquire) != 0 {
                if let Some(trace) = &mut self.trace {
                    trace.changes(self.journal, &mut self.reader, ended);
                }
                self.sample(pid);
                self.count(pid);
            }
            if ended {
                return;
            }
        }
    }

    /// Deliveries since the last look. What happens between the last look and the end is not seen: the
    /// counts are the program's memory, and go with it.
    fn count(&mut self, pid: i32) {
        let began = self.journal.started.load(Acquire);
        if !self.own || began == 0 {
            return;
        }
        if self.remote.is_none_or(|(of, _)| of != began) {
            self.remote = Remote::find(pid).ok().flatten().map(|remote| (began, remote));
            self.delivered.clear();
        }
        let Some((_, remote)) = self.remote else { return };
        let Ok(Some(seen)) = exhibit::look(&remote) else { return };
        if let Some(trace) = &mut self.trace {
            trace.deliveries(&self.delivered, &seen.counts);
        }
        self.delivered = seen.counts;
    }

    /// What only the kernel knows: masks, and the queue.
    fn sample(&mut self, pid: i32) {
        for thread in status::threads(pid) {
            let (used, limit) = thread.queued;
            if limit > 0 && used >= limit {
                self.sampled.full = self.sampled.full.max(Some((used, limit)));
            }
            // A thread that is inside a handler blocks what the handler asked for; that is no news.
            if thread.blocked.count_ones() > 50 {
                continue;
            }
            for signal in crate::names::members(thread.blocked & FAULTS) {
                let found = (signal, thread.id);
                if !self.sampled.blocked.contains(&found) {
                    self.sampled.blocked.push(found);
                }
            }
        }
    }

    /// Writes the report, if there is to be one.
    pub fn report(&mut self, wanted: &Wanted, output: Option<File>) -> std::io::Result<()> {
        let Some(format) = wanted.report else { return Ok(()) };
        let history = self.reader.history(self.journal);
        let report = report::Report::new(history, &wanted.command, &self.sampled, &self.delivered);
        let text = match format {
            Format::Text => report.to_string(),
            Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        };
        match output {
            Some(mut file) => file.write_all(text.as_bytes()),
            None => std::io::stderr().write_all(text.as_bytes()),
        }
    }
}
