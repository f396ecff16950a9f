//! What `/proc` tells of any process: caught, ignored, blocked and pending signals.

use crate::failure::{Failure, Result};
use std::path::PathBuf;

/// One process, or one thread of it.
#[derive(Clone, Debug, Default)]
pub struct Status {
    pub id: i32,
    pub name: String,
    pub state: String,
    pub threads: usize,
    pub tracer: i32,
    /// Handlers are installed for these.
    pub caught: u64,
    pub ignored: u64,
    pub blocked: u64,
    /// For this thread.
    pub pending: u64,
    /// For the process.
    pub shared: u64,
    /// Queued instances of the user, and the limit.
    pub queued: (u64, u64),
}

/// Of a process.
pub fn of(pid: i32) -> Result<Status> {
    read(PathBuf::from(format!("/proc/{pid}/status"))).ok_or(Failure::NoProcess(pid))
}

/// Of all its threads that are there; those that end meanwhile are left out.
pub fn threads(pid: i32) -> Vec<Status> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut threads: Vec<_> =
        entries.flatten().filter_map(|entry| read(entry.path().join("status"))).collect();
    threads.sort_by_key(|thread| thread.id);
    threads
}

fn read(path: PathBuf) -> Option<Status> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut status = Status::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        let bits = || u64::from_str_radix(value, 16).unwrap_or(0);
        match key {
            "Name" => value.clone_into(&mut status.name),
            "State" => value.clone_into(&mut status.state),
            "Pid" => status.id = value.parse().unwrap_or(0),
            "Threads" => status.threads = value.parse().unwrap_or(0),
            "TracerPid" => status.tracer = value.parse().unwrap_or(0),
            "SigQ" => {
                let (queued, limit) = value.split_once('/').unwrap_or(("0", "0"));
                status.queued = (queued.parse().unwrap_or(0), limit.parse().unwrap_or(0));
            }
            "SigPnd" => status.pending = bits(),
            "ShdPnd" => status.shared = bits(),
            "SigBlk" => status.blocked = bits(),
            "SigIgn" => status.ignored = bits(),
            "SigCgt" => status.caught = bits(),
            _ => {}
        }
    }
    Some(status)
}
