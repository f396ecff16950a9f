//! The access log: lines go through a channel to one thread that writes them, so that no request waits
//! for a disk. The thread ends, with everything written, when the last [`AccessLog`] is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Where requests leave their lines. Every request in flight has a clone.
#[derive(Clone)]
pub struct AccessLog(Option<mpsc::UnboundedSender<String>>);

impl AccessLog {
    /// Appends to a file; also returns what completes when all has been written.
    pub fn open(path: &Path) -> io::Result<(Self, JoinHandle<io::Result<()>>)> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (sender, lines) = mpsc::unbounded_channel();
        Ok((Self(Some(sender)), tokio::task::spawn_blocking(|| write(file, lines))))
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn line(&self, line: String) {
        if let Some(sender) = &self.0 {
            let _failed_and_reported = sender.send(line);
        }
    }
}

fn write(file: File, mut lines: mpsc::UnboundedReceiver<String>) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    while let Some(line) = lines.blocking_recv() {
        writeln!(file, "{line}")?;
        if lines.is_empty() {
            file.flush()?; // Nothing to do: whoever follows the file sees all of it.
        }
    }
    file.flush()
}
