//! What a fault is to the code that made it: an error.

use super::words::Words;
use crate::event::FaultKind;
use crate::signal::Signal;
use core::fmt;

/// What the faulting instruction wanted to do with the memory.
///
/// # Examples
/// ```
/// use sigplane::fault::{self, Access};
/// let fault = fault::try_read::<u64>(8 as *const u64).unwrap_err();
/// assert_eq!(fault.access(), Some(Access::Read));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// To read it.
    Read,
    /// To write it.
    Write,
    /// To execute it.
    Execute,
}

/// A fault that has been survived: what, where, and how much had been done before.
///
/// # Async-signal safety
/// Every method; not formatting.
///
/// # Examples
/// ```
/// use sigplane::{FaultKind, fault};
/// let fault = fault::try_read::<u32>(std::ptr::null()).unwrap_err();
/// assert_eq!((fault.kind(), fault.address()), (FaultKind::Unmapped, Some(0)));
/// assert_eq!(fault.to_string(), "address not mapped, reading 0x0");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    words: Words,
    access: Option<Access>,
    done: usize,
}

impl Fault {
    pub(crate) fn new(words: Words) -> Self {
        // The page fault's error code: bit 1 a write, bit 4 an instruction fetch (Intel SDM volume 3, 4.7).
        let access = words.page_fault().map(|error| match error & 0x12 {
            0 => Access::Read,
            2 => Access::Write,
            _ => Access::Execute,
        });
        Self { words, access, done: 0 }
    }

    /// As `new`, for an instruction that is known to do `access`, after `done` bytes.
    pub(crate) fn of_leaf(words: Words, access: Access, done: usize) -> Self {
        let fault = Self::new(words);
        Self { access: fault.access.or(Some(access)), done, ..fault }
    }

    /// The fault of a landing of your own: what it found in rax, rdx and r11. See
    /// [`fixup!`](crate::fixup!).
    pub fn from_landing(address: usize, code: u64, pc: usize) -> Self {
        Self::new(Words { address, code, pc })
    }

    /// What kind of fault.
    pub fn kind(&self) -> FaultKind {
        self.words.kind()
    }

    /// The memory that was accessed; for faults of arithmetic, instructions and system calls the
    /// instruction. `None` where neither the processor nor the instruction tells. `Some(0)` is address 0.
    pub fn address(&self) -> Option<usize> {
        self.words.address()
    }

    /// What was to be done with the memory; `None` where it is not known, or not about memory.
    pub fn access(&self) -> Option<Access> {
        self.access
    }

    /// The instruction.
    pub fn pc(&self) -> usize {
        self.words.pc
    }

    /// How many bytes had been copied, filled or searched before: exactly so many. Of a copy downwards
    /// ([`try_copy`](super::try_copy) to an overlapping destination above) they are the last ones. 0 for
    /// faults of other code.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The signal by which the kernel reported it.
    pub fn signal(&self) -> Signal {
        self.words.signal()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind())?;
        match (self.access, self.address()) {
            (Some(Access::Read), Some(at)) => write!(f, ", reading {at:#x}")?,
            (Some(Access::Write), Some(at)) => write!(f, ", writing {at:#x}")?,
            (Some(Access::Execute), Some(at)) => write!(f, ", executing {at:#x}")?,
            (_, Some(at)) => write!(f, " at {at:#x}")?,
            (_, None) => write!(f, " in the instruction at {:#x}", self.pc())?,
        }
        if self.done > 0 {
            write!(f, ", after {} bytes", self.done)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.kind())
            .field("address", &self.address())
            .field("access", &self.access)
            .field("pc", &self.words.pc)
            .field("done", &self.done)
            .finish()
    }
}

impl core::error::Error for Fault {}

/// `UnexpectedEof` for a mapping whose file has shrunk, `InvalidInput` otherwise; the fault is its source.
impl From<Fault> for std::io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match fault.kind() {
            FaultKind::NoMemory => std::io::ErrorKind::UnexpectedEof,
            _ => std::io::ErrorKind::InvalidInput,
        };
        Self::new(kind, fault)
    }
}
