//! Memory without access, and instructions of a known length that access it.

use std::ops::Range;

pub const PAGE: usize = 4096;

/// The length of the instruction in [`load`] and [`store`].
pub const LENGTH: usize = 3;

/// Some pages.
pub struct Memory(Range<usize>);

impl Memory {
    /// Without any access.
    pub fn new(pages: usize) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(pages, libc::PROT_NONE, flags, -1)
    }

    /// A shared mapping of a file, to be read and written.
    pub fn of_file(file: i32, pages: usize) -> Self {
        Self::map(pages, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file)
    }

    /// For machine code.
    pub fn of_code(code: &[u8]) -> Self {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let memory = Self::map(code.len().div_ceil(PAGE), access, flags, -1);
        let at = memory.0.start as *mut u8;
        unsafe { at.copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        memory
    }

    fn map(pages: usize, access: i32, flags: i32, file: i32) -> Self {
        let length = pages * PAGE;
        let at = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, file, 0) };
        assert_ne!(at, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self(at as usize..at as usize + length)
    }

    pub fn range(&self) -> Range<usize> {
        self.0.clone()
    }

    pub fn page(&self, number: usize) -> usize {
        self.0.start + number * PAGE
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        unsafe { libc::munmap(self.0.start as *mut _, self.0.len()) };
    }
}

/// Changes the access to some pages; for handlers too.
pub fn protect(start: usize, length: usize, access: i32) {
    unsafe { libc::mprotect(start as *mut _, length, access) };
}

/// Reads a word at rdi into rax.
#[inline(never)]
pub unsafe fn load(at: usize) -> u64 {
    let value;
    unsafe { std::arch::asm!("mov rax, [rdi]", in("rdi") at, out("rax") value, options(nostack)) };
    value
}

/// Writes rsi at rdi.
#[inline(never)]
pub unsafe fn store(at: usize, value: u64) {
    unsafe { std::arch::asm!("mov [rdi], rsi", in("rdi") at, in("rsi") value, options(nostack)) };
}
