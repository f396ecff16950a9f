//! The process that crashes, as its helper sees it: `/proc` and process_vm_readv(2). It stands still
//! while its hook waits, at least the thread that matters.

use std::fs;
use std::io;
use std::ops::Range;

/// One line of `/proc/PID/maps`.
pub struct Mapping {
    pub range: Range<u64>,
    pub offset: u64,
    /// The file, or a name in brackets, or nothing.
    pub path: String,
    /// The line.
    pub line: String,
}

/// A thread and its name.
pub struct Thread {
    pub tid: i32,
    pub name: String,
}

/// What is known of it.
pub struct Process {
    pub pid: i32,
    pub name: String,
    pub command: String,
    pub maps: Vec<Mapping>,
    pub threads: Vec<Thread>,
}

impl Process {
    /// Looks at it.
    pub fn look(pid: i32) -> io::Result<Self> {
        let text = |name: &str| -> io::Result<String> {
            let bytes = fs::read(format!("/proc/{pid}/{name}"))?;
            Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\0']).to_owned())
        };
        let mut threads = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let file = entry?.file_name();
            let Some(tid) = file.to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may be gone by now.
            let name = text(&format!("task/{tid}/comm")).unwrap_or_default();
            threads.push(Thread { tid, name });
        }
        Ok(Self {
            pid,
            name: text("comm")?,
            command: text("cmdline")?.replace('\0', " "),
            maps: text("maps")?.lines().filter_map(mapping).collect(),
            threads,
        })
    }

    /// The mapping that an address is in.
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        self.maps.iter().find(|mapping| mapping.range.contains(&address))
    }

    /// The name of a thread.
    pub fn thread_name(&self, tid: i32) -> &str {
        self.threads.iter().find(|thread| thread.tid == tid).map_or("?", |thread| &thread.name)
    }

    /// A word of its memory.
    pub fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(address, &mut bytes) == 8).then(|| u64::from_ne_bytes(bytes))
    }

    /// As many bytes of its memory as there are.
    pub fn read(&self, address: u64, into: &mut [u8]) -> usize {
        let length = into.len();
        let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: length };
        let at = std::ptr::without_provenance_mut(address as usize);
        let remote = libc::iovec { iov_base: at, iov_len: length };
        // SAFETY: the local buffer is borrowed for writing; the other process's is only read.
        let read = unsafe {
            libc::process_vm_readv(self.pid, &raw const local, 1, &raw const remote, 1, 0)
        };
        read.try_into().unwrap_or(0)
    }
}

/// `start-end perms offset device inode   path`: proc(5).
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.split_ascii_whitespace();
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = words.next()?.split_once('-')?;
    let range = hexadecimal(start)?..hexadecimal(end)?;
    let offset = hexadecimal(words.nth(1)?)?;
    // Everything behind device and inode, which may have spaces.
    let path = words.nth(1).and_then(|_| words.next());
    let path =
        path.and_then(|word| line.find(&format!(" {word}")).map(|at| line[at + 1..].to_owned()));
    Some(Mapping { range, offset, path: path.unwrap_or_default(), line: line.to_owned() })
}
