//! The process that reads along and reports, when the program has ended.
//!
//! It is no child of the program's: made by two forks, in a session of its own, so that neither the
//! program's `wait` nor the terminal's signals meet it. The first of the two sends no SIGCHLD, which
//! would stay pending over the `exec` where it is blocked. The journal is a memory file that only this
//! process holds open; the program maps it and closes it again (`journal::session`).
//!
//! # Safety
//! Forked from a process with one thread, it may do everything. Its journal is a mapping of a memory
//! file of that size, of which any bytes are valid, and stays until the process ends.
#![allow(unsafe_code)]

use crate::exhibit::{self, Counts};
use crate::failure::{Failure, Result};
use crate::history::Reader;
use crate::remote::Remote;
use crate::run::Format;
use crate::{names, report, status};
use sigplane_compat::journal::layout::{Journal, MAGIC, VERSION, mode};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What it is to do.
pub struct Wanted {
    pub report: Option<Format>,
    pub output: Option<PathBuf>,
    pub trace: Option<PathBuf>,
    pub follow: bool,
    /// Count deliveries.
    pub own: bool,
    pub command: Vec<OsString>,
}

/// As the program's side sees it, before it executes.
pub struct Session {
    journal: &'static Journal,
    name: String,
}

impl Session {
    /// What the program is to open: `<pid>:<descriptor>`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// There will be no program; nothing is to be reported.
    pub fn cancel(self) {
        self.journal.version.store(0, Release);
    }
}

/// Starts the reporter. When this returns, it waits for the end of the calling process.
pub fn start(wanted: Wanted) -> Result<Session> {
    // What cannot be written is said before the program runs.
    let output = wanted.output.as_ref().map(create).transpose()?;
    let trace = wanted.trace.as_ref().map(create).transpose()?;
    let (memory, journal) = shared(&wanted)?;
    // SAFETY: it takes an id and no flags.
    let us = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) } as i32;
    if us < 0 {
        return Err(Failure::last("pidfd_open (Linux 5.3 has it)"));
    }
    // SAFETY: a descriptor of our own.
    let us = unsafe { OwnedFd::from_raw_fd(us) };
    let (mut ready, mut tell) =
        std::io::pipe().map_err(|source| Failure::System { what: "pipe", source })?;
    let pid = std::process::id() as i32;
    // SAFETY: `fork` without SIGCHLD at the child's end; one thread.
    match unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) } {
        -1 => return Err(Failure::last("fork")),
        0 => {}
        child => {
            drop(tell);
            let mut number = [0; 4];
            let told = ready.read_exact(&mut number);
            // SAFETY: our child, which ends at once.
            unsafe { libc::waitpid(child as i32, std::ptr::null_mut(), libc::__WALL) };
            told.map_err(|source| Failure::System { what: "starting the reporter", source })?;
            let name = format!("{}:{}", i32::from_ne_bytes(number), memory.as_raw_fd());
            // What the program inherits is what there was: all of these are closed on exec.
            return Ok(Session { journal, name });
        }
    }
    // SAFETY: the child, which goes on alone.
    unsafe { libc::setsid() };
    // SAFETY: as above.
    match unsafe { libc::fork() } {
        0 => {}
        // SAFETY: nothing is left to be done.
        _ => unsafe { libc::_exit(0) },
    }
    drop(ready);
    let kept = [
        Some(memory.as_raw_fd()),
        Some(us.as_raw_fd()),
        Some(tell.as_raw_fd()),
        output.as_ref().map(File::as_raw_fd),
        trace.as_ref().map(File::as_raw_fd),
    ];
    let standard_error = wanted.report.is_some() && output.is_none();
    close_others(&kept, standard_error);
    let _told = tell.write_all(&(std::process::id() as i32).to_ne_bytes());
    drop(tell);
    let mut reporter = Reporter {
        journal,
        reader: Reader::default(),
        seen: 0,
        blocked: Vec::new(),
        own: wanted.own,
        remote: None,
        delivered: Vec::new(),
    };
    let mut trace = trace.map(BufWriter::new);
    reporter.follow(pid, &us, trace.as_mut());
    if journal.version.load(Acquire) == VERSION {
        reporter.trace(trace.as_mut());
        let _written = reporter.report(&wanted, output);
    }
    // SAFETY: nothing is left to be done, and what other code registered for the exit is the program's.
    unsafe { libc::_exit(0) }
}

fn create(path: &PathBuf) -> Result<File> {
    File::create(path).map_err(|source| Failure::Output { path: path.clone(), source })
}

/// The memory that both sides map.
fn shared(wanted: &Wanted) -> Result<(OwnedFd, &'static Journal)> {
    // SAFETY: a C string and flags.
    let fd = unsafe { libc::memfd_create(c"sigplane-journal".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(Failure::last("memfd_create"));
    }
    // SAFETY: a descriptor of our own.
    let memory = unsafe { OwnedFd::from_raw_fd(fd) };
    let size = size_of::<Journal>();
    // SAFETY: our descriptor.
    if unsafe { libc::ftruncate(fd, size as i64) } != 0 {
        return Err(Failure::last("ftruncate"));
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, never undone.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(Failure::last("mmap"));
    }
    // SAFETY: mapped, aligned to a page, of that size; zeroes are an empty journal.
    let journal = unsafe { &*at.cast::<Journal>() };
    journal.version.store(VERSION, Relaxed);
    journal.size.store(size as u32, Relaxed);
    let trace = if wanted.trace.is_some() { mode::TRACE } else { 0 };
    let follow = if wanted.follow { mode::FOLLOW } else { 0 };
    journal.mode.store(trace | follow, Relaxed);
    journal.magic.store(MAGIC, Release);
    Ok((memory, journal))
}

/// Closes what the program's pipes and files must not be held open by. Standard input and output become
/// the null device; standard error stays if the report goes there.
fn close_others(kept: &[Option<i32>], standard_error: bool) {
    let null = File::options().read(true).write(true).open("/dev/null");
    if let Ok(null) = null {
        for standard in 0..if standard_error { 2 } else { 3 } {
            // SAFETY: nobody here uses the standard descriptors by number but through their names.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
        std::mem::forget(null); // One of those closed below, or a standard one.
    }
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for fd in open {
        if fd > 2 && !kept.contains(&Some(fd)) {
            // SAFETY: inherited, and owned by no value here.
            unsafe { libc::close(fd) };
        }
    }
}

struct Reporter {
    journal: &'static Journal,
    reader: Reader,
    /// The next change to be traced.
    seen: u64,
    /// Signals of faults that were seen blocked, and by which thread.
    blocked: Vec<(i32, i32)>,
    /// Whether deliveries are counted.
    own: bool,
    /// Where the counts are, in the program that began then.
    remote: Option<(u64, Remote)>,
    /// As last seen, by signal number.
    delivered: Vec<Counts>,
}

impl Reporter {
    /// Waits for the end of the process, and looks at the journal meanwhile.
    fn follow(&mut self, pid: i32, process: &OwnedFd, mut trace: Option<&mut BufWriter<File>>) {
        // The ring must not go round between two looks; without a trace only masks are looked at.
        let pause = if trace.is_some() { 10 } else { 100 };
        loop {
            let mut wait =
                libc::pollfd { fd: process.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one structure.
            let ended = unsafe { libc::poll(&raw mut wait, 1, pause) } > 0;
            self.trace(trace.as_deref_mut());
            self.look_at_masks(pid);
            self.count(pid, trace.as_deref_mut());
            if ended {
                return;
            }
        }
    }

    fn trace(&mut self, trace: Option<&mut BufWriter<File>>) {
        let Some(trace) = trace else { return };
        if self.journal.pid.load(Acquire) == 0 {
            return;
        }
        let next = self.journal.next.load(Acquire);
        if next == self.seen {
            return;
        }
        let (changes, missing) = self.reader.changes(self.journal, self.seen);
        if missing > 0 {
            let _written = writeln!(trace, "{{\"event\":\"missing\",\"changes\":{missing}}}");
        }
        self.seen = changes.last().map_or(next, |last| last.sequence + 1).max(next);
        for change in changes {
            if serde_json::to_writer(&mut *trace, &change).is_err() {
                return;
            }
            let _written = trace.write_all(b"\n");
        }
        let _written = trace.flush();
    }

    /// Deliveries since the last look. What happens between the last look and the end is not seen: the
    /// counts are the program's memory, and go with it.
    fn count(&mut self, pid: i32, trace: Option<&mut BufWriter<File>>) {
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
        if let Some(trace) = trace {
            for (number, now) in seen.counts.iter().enumerate() {
                let before = self.delivered.get(number).map_or(0, |counts| counts.delivered);
                if now.delivered > before {
                    let line = serde_json::json!({
                        "event": "delivered", "signal": names::signal(number as i32),
                        "count": now.delivered - before, "total": now.delivered,
                    });
                    let _written = writeln!(trace, "{line}");
                }
            }
            let _written = trace.flush();
        }
        self.delivered = seen.counts;
    }

    fn look_at_masks(&mut self, pid: i32) {
        const FAULTS: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];
        if self.journal.pid.load(Acquire) == 0 {
            return;
        }
        for thread in status::threads(pid) {
            for signal in FAULTS {
                let found = (signal, thread.id);
                let is_blocked = thread.blocked >> (signal - 1) & 1 == 1;
                // A thread that is inside a handler blocks what the handler asked for; that is no news.
                let is_all = thread.blocked.count_ones() > 50;
                if is_blocked && !is_all && !self.blocked.contains(&found) {
                    self.blocked.push(found);
                }
            }
        }
    }

    fn report(&mut self, wanted: &Wanted, output: Option<File>) -> std::io::Result<()> {
        let Some(format) = wanted.report else { return Ok(()) };
        let history = self.reader.history(self.journal);
        let report = report::Report::new(history, &wanted.command, &self.blocked, &self.delivered);
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
