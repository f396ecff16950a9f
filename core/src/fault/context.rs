//! The machine state of a fault, by names instead of register indexes.
//!
//! **Used inside signal handlers.**
//!
//! # Safety
//! It borrows what the kernel put on the handler's stack, for as long as the handler runs.

use super::error::Fault;
use super::words::Words;
use crate::sys::arch::{self, registers};
use core::fmt;
use libc::{siginfo_t, ucontext_t};

/// A fault in the hands of a handler for [regions](super::Region) or [code ranges](super::CodeRanges):
/// what it was, and the registers of the interrupted code. Changes take effect when the handler returns
/// [`Handled`](crate::Verdict::Handled): then the code goes on where [`pc`](Self::pc) points, which is the
/// faulting instruction unless it is changed.
///
/// The names are those of the System V calling convention, so that a handler for code that keeps to
/// it need not name registers.
///
/// # Async-signal safety
/// Every method, inside the handler it was given to.
///
/// # Examples
/// See [`Region`](super::Region) and [`CodeRanges`](super::CodeRanges).
pub struct FaultContext<'a> {
    words: Words,
    info: &'a siginfo_t,
    context: &'a mut ucontext_t,
}

impl<'a> FaultContext<'a> {
    pub(crate) fn new(words: Words, info: &'a siginfo_t, context: &'a mut ucontext_t) -> Self {
        Self { words, info, context }
    }

    /// What happened.
    pub fn fault(&self) -> Fault {
        Fault::new(self.words)
    }

    /// What the kernel said.
    pub fn info(&self) -> &siginfo_t {
        self.info
    }

    /// Where the code goes on.
    pub fn pc(&self) -> usize {
        registers::get(self.context, registers::PC)
    }

    /// Has it go on elsewhere: at a continuation of its own, or behind an instruction that the handler has
    /// done in its stead.
    pub fn set_pc(&mut self, pc: usize) {
        registers::set(self.context, registers::PC, pc);
    }

    /// Has it go on behind the faulting instruction, which is `length` bytes long.
    pub fn skip(&mut self, length: usize) {
        self.set_pc(self.words.pc.wrapping_add(length));
    }

    /// Has it go on at a landing, as a [fixup](crate::fixup!) does: the address, the code and the program
    /// counter of the fault are then in rax, rdx and r11.
    pub fn land(&mut self, landing: usize) {
        arch::land(self.context, landing, &self.words);
    }

    /// The stack pointer.
    pub fn sp(&self) -> usize {
        registers::get(self.context, registers::SP)
    }

    /// Changes the stack pointer.
    pub fn set_sp(&mut self, sp: usize) {
        registers::set(self.context, registers::SP, sp);
    }

    /// The frame pointer.
    pub fn fp(&self) -> usize {
        registers::get(self.context, registers::FP)
    }

    /// Changes the frame pointer.
    pub fn set_fp(&mut self, fp: usize) {
        registers::set(self.context, registers::FP, fp);
    }

    /// The register of integer argument `index`, counted from 0; `None` for those on the stack.
    pub fn argument(&self, index: usize) -> Option<usize> {
        registers::ARGUMENTS.get(index).map(|name| registers::get(self.context, *name))
    }

    /// Changes it; false for those on the stack.
    pub fn set_argument(&mut self, index: usize, value: usize) -> bool {
        let name = registers::ARGUMENTS.get(index);
        name.inspect(|name| registers::set(self.context, **name, value)).is_some()
    }

    /// The registers of a returned value.
    pub fn return_values(&self) -> (usize, usize) {
        let [first, second] = registers::RETURNED;
        (registers::get(self.context, first), registers::get(self.context, second))
    }

    /// Changes the register of a returned value.
    pub fn set_return_value(&mut self, value: usize) {
        let [first, _] = registers::RETURNED;
        registers::set(self.context, first, value);
    }

    /// Everything, as the kernel and libc lay it out for this processor.
    pub fn raw(&mut self) -> &mut ucontext_t {
        self.context
    }
}

impl fmt::Debug for FaultContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultContext")
            .field("fault", &self.fault())
            .field("sp", &self.sp())
            .finish()
    }
}
