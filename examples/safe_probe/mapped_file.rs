//! A file read through a mapping, although others may truncate it at any time.
//!
//! A plain access behind the end that a file has *now* raises SIGBUS (mmap(2), "ERRORS"), and no check of
//! the length beforehand helps, because the file may shrink right after it. Here that is the end of the
//! file, as read(2) would have it.

use sigplane::FaultKind;
use sigplane::fault::try_copy_from;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// A shared mapping of the length that the file had when it was opened.
pub struct MappedFile {
    base: *const u8,
    length: usize,
}

impl MappedFile {
    /// Maps a file, which may be closed afterwards.
    pub fn open(file: &File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let (protection, fd) = (libc::PROT_READ, file.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), length.max(1), protection, libc::MAP_SHARED, fd, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast_const().cast(), length })
    }

    /// Reads from `offset` on; how many bytes there were, which is less than asked for at the end that the
    /// file has by now.
    pub fn read_at(&self, offset: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(self.length.saturating_sub(offset));
        match try_copy_from(self.base.wrapping_add(offset), &mut buffer[..wanted]) {
            Ok(()) => Ok(wanted),
            // Nothing is behind the mapping there any more. What came before has been copied.
            Err(fault) if fault.kind() == FaultKind::NoMemory => Ok(fault.done()),
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length, and nobody has a reference into it.
        unsafe { libc::munmap(self.base.cast_mut().cast(), self.length.max(1)) };
    }
}
