//! The process that reads along (`observer`) and reports, when the program has ended.
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

use crate::failure::{Failure, Result};
use crate::observer::Observer;
use crate::run::Format;
use sigplane_compat::journal::layout::{Journal, MAGIC, VERSION, mode};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
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
    let mut observer = Observer::new(journal, &wanted, trace);
    observer.follow(pid, &us);
    if journal.version.load(Acquire) == VERSION {
        let _written = observer.report(&wanted, output);
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
