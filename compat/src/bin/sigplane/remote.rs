//! The journal of another process, read from outside.
//!
//! # Safety
//! A journal is atomics of integers: any bytes are a valid one. What is copied from the other process is
//! copied by the kernel into memory of that size.
#![allow(unsafe_code)]

use crate::failure::{Failure, Result};
use crate::symbols;
use sigplane_compat::journal::layout::{Journal, MAGIC, VERSION};
use std::io;
use std::path::{Path, PathBuf};

/// Where the journal of a process is, and what else sigplane shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    pub pid: i32,
    /// The address of `sigplane0_journal`, if the process is under the shim.
    door: Option<u64>,
    /// The addresses of `sigplane0_exhibit` in the shim and in the executable, which may have sigplane
    /// linked in.
    pub exhibits: [Option<u64>; 2],
}

/// The first words of `sigplane0_journal`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Door {
    magic: u64,
    version: u32,
    size: u32,
    active: u64,
}

/// A mapped file: the first address of it, and its path as we can open it.
struct Mapped {
    start: u64,
    path: PathBuf,
    name: String,
}

impl Remote {
    /// Finds them; `None` when there is no sigplane in the process that could be seen.
    pub fn find(pid: i32) -> Result<Option<Self>> {
        let mut found = Self { pid, door: None, exhibits: [None; 2] };
        let maps = match std::fs::read_to_string(format!("/proc/{pid}/maps")) {
            Ok(maps) => maps,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::NoProcess(pid));
            }
            // Then nobody knows whether it is.
            Err(_) => return Ok(None),
        };
        let executable = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let executable = executable.as_ref().and_then(|path| path.file_name());
        for mapped in files(pid, &maps) {
            let is_shim = mapped.name.starts_with("libsigplane_compat");
            if !is_shim && executable.is_none_or(|name| name != mapped.name.as_str()) {
                continue;
            }
            let [door, exhibit] =
                symbols::addresses_of(&mapped.path, ["sigplane0_journal", "sigplane0_exhibit"]);
            let bias = symbols::bias(&mapped.path, mapped.start).unwrap_or(mapped.start);
            let there = |address: Option<u64>| address.map(|address| bias.wrapping_add(address));
            if is_shim {
                found.door = found.door.or(there(door));
            }
            let place = &mut found.exhibits[usize::from(!is_shim)];
            *place = place.or(there(exhibit));
        }
        let is_any = found.door.is_some() || found.exhibits != [None; 2];
        Ok(is_any.then_some(found))
    }

    /// A copy of the journal. Its writers go on meanwhile; each record tells whether it is complete.
    pub fn read(&self) -> Result<Option<Box<Journal>>> {
        let Some(at) = self.door else { return Ok(None) };
        let mut door = Door::default();
        let to = (&raw mut door).cast::<u8>();
        // SAFETY: integers only, and its own size.
        unsafe { copy(self.pid, at, to, size_of::<Door>()) }?;
        if door.magic != MAGIC
            || door.version != VERSION
            || door.size as usize != size_of::<Journal>()
        {
            return Err(Failure::OtherVersion { pid: self.pid, version: door.version });
        }
        let journal = Box::into_raw(Box::<Journal>::new_uninit());
        // SAFETY: allocated above, of this size.
        let copied = unsafe { copy(self.pid, door.active, journal.cast(), size_of::<Journal>()) };
        // SAFETY: from `into_raw` above, not used since.
        let journal = unsafe { Box::from_raw(journal) };
        copied?;
        // SAFETY: every byte was written, and any bytes are valid.
        Ok(Some(unsafe { journal.assume_init() }))
    }
}

/// Copies memory of another process.
///
/// # Safety
/// `to` has room for `length` bytes of which any are valid.
pub unsafe fn copy(pid: i32, from: u64, to: *mut u8, length: usize) -> Result<()> {
    let mut done = 0;
    while done < length {
        let local = libc::iovec { iov_base: to.wrapping_add(done).cast(), iov_len: length - done };
        let remote = libc::iovec {
            iov_base: (from as usize).wrapping_add(done) as *mut _,
            iov_len: length - done,
        };
        // SAFETY: the caller's promise about `to`; the kernel checks `from`.
        let copied =
            unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        if copied <= 0 {
            let source = io::Error::last_os_error();
            return Err(match source.raw_os_error() {
                Some(libc::ESRCH) => Failure::NoProcess(pid),
                Some(libc::EPERM) => Failure::NotPermitted { pid, source },
                _ => Failure::System { what: "reading the other process", source },
            });
        }
        done += copied as usize;
    }
    Ok(())
}

/// Whether the kernel does not let this user see what is in the process.
pub fn is_closed(pid: i32) -> bool {
    let maps = std::fs::read(format!("/proc/{pid}/maps"));
    maps.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// The path of the mapped file of this name, as the process has it.
pub fn file_of(pid: i32, name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut paths = maps.lines().filter_map(|line| line.split_ascii_whitespace().nth(5));
    let of_name = |path: &&str| path.rsplit('/').next() == Some(name) && path.starts_with('/');
    paths.find(of_name).map(PathBuf::from)
}

/// The files that are mapped from their first byte on.
fn files(pid: i32, maps: &str) -> Vec<Mapped> {
    maps.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (range, _, offset) = (fields.next()?, fields.next()?, fields.next()?);
            let path = fields.nth(2)?;
            if u64::from_str_radix(offset, 16) != Ok(0) || !path.starts_with('/') {
                return None;
            }
            let start = u64::from_str_radix(range.split_once('-')?.0, 16).ok()?;
            let name = Path::new(path).file_name()?.to_string_lossy().into_owned();
            // Through its own root and its own mapping: right in a container, and after an upgrade.
            let mapping = PathBuf::from(format!("/proc/{pid}/map_files/{range}"));
            let root = PathBuf::from(format!("/proc/{pid}/root{path}"));
            let usable = [mapping, root, PathBuf::from(path)];
            let path = usable.into_iter().find(|path| std::fs::File::open(path).is_ok())?;
            Some(Mapped { start, path, name })
        })
        .collect()
}
