//! What the process that crashes sends to its helper: a plain copy of the facts.
//!
//! Both are the same executable, so the bytes mean the same in both; nothing in it is a pointer.

use libc::{REG_RBP, REG_RIP, REG_RSP, c_int};
use sigplane::fault::Fault;
use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
use std::io::{self, Read};
use std::mem::MaybeUninit;

/// One message.
#[derive(Clone, Copy)]
pub struct Record {
    /// Whether the process is about to end; otherwise this is the note of a stack overflow.
    pub fatal: bool,
    /// The process and the thread.
    pub pid: i32,
    pub tid: i32,
    pub signal: c_int,
    pub code: c_int,
    /// Who sent it, if somebody did.
    pub sender: Option<i32>,
    /// The fault, if it is one.
    pub fault: Option<Fault>,
    /// The registers of the thread, as in `ucontext_t`; none if the signal had been deferred.
    pub registers: Option<[i64; 23]>,
    /// Whether the thread was on its alternate stack: in a handler.
    pub in_handler: bool,
}

impl Record {
    /// Its bytes, for `send`.
    pub fn as_ptr(&self) -> *const libc::c_void {
        std::ptr::from_ref(self).cast()
    }

    /// The next one; none at the end.
    pub fn receive(mut from: impl Read) -> io::Result<Option<Self>> {
        let mut bytes = [0; size_of::<Self>()];
        match from.read_exact(&mut bytes) {
            Ok(()) => {}
            // Its end may have come before it had read our answer.
            Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let mut record = MaybeUninit::<Self>::uninit();
        let to = record.as_mut_ptr().cast::<u8>();
        // SAFETY: as many bytes as there is room for.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        // SAFETY: written by the same executable, from a valid record.
        Ok(Some(unsafe { record.assume_init() }))
    }

    /// One register.
    pub fn register(&self, index: c_int) -> Option<u64> {
        let registers = self.registers.as_ref()?;
        registers.get(index as usize).map(|value| *value as u64)
    }

    pub fn pc(&self) -> Option<u64> {
        self.register(REG_RIP)
    }

    pub fn sp(&self) -> Option<u64> {
        self.register(REG_RSP)
    }

    pub fn fp(&self) -> Option<u64> {
        self.register(REG_RBP)
    }
}
