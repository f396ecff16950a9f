//! The helper process: waits for records, writes a report of each that is fatal, answers.

use crate::process::Process;
use crate::record::Record;
use crate::report;
use std::collections::HashMap;
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Until the process, and whoever has inherited its socket, has closed it.
pub fn run(directory: &Path) -> Result<(), Box<dyn Error>> {
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut overflows: HashMap<i32, Record> = HashMap::new();
    while let Some(record) = Record::receive(&socket)? {
        if !record.fatal {
            overflows.insert(record.tid, record);
            continue;
        }
        // An abort in a handler, after a stack overflow of the same thread: that is why.
        let cause = overflows.get(&record.tid).filter(|_| {
            record.in_handler && record.signal == libc::SIGABRT && record.fault.is_none()
        });
        match write(directory, &record, cause) {
            Ok(path) => eprintln!("crash report: {}", path.display()),
            Err(error) => eprintln!("no crash report in {}: {error}", directory.display()),
        }
        // Nobody may be waiting any more.
        let _answered = socket.write_all(b"\n");
    }
    Ok(())
}

fn write(
    directory: &Path,
    record: &Record,
    cause: Option<&Record>,
) -> Result<PathBuf, Box<dyn Error>> {
    let process = Process::look(record.pid)?;
    let text = report::text(&process, record, cause);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let path = directory.join(format!("crash-{}-{}-{now}.txt", process.name, record.pid));
    // Registers and command lines are nobody else's business.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}
