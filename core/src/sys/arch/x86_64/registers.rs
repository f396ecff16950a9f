//! x86_64: the registers by what the System V calling convention uses them for.

use libc::ucontext_t;

pub(crate) const PC: i32 = libc::REG_RIP;
pub(crate) const SP: i32 = libc::REG_RSP;
pub(crate) const FP: i32 = libc::REG_RBP;
/// Integer arguments, in order (System V psABI, 3.2.3).
pub(crate) const ARGUMENTS: [i32; 6] =
    [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_RCX, libc::REG_R8, libc::REG_R9];
pub(crate) const RETURNED: [i32; 2] = [libc::REG_RAX, libc::REG_RDX];

/// Reads one of the constants above.
pub(crate) fn get(context: &ucontext_t, name: i32) -> usize {
    context.uc_mcontext.gregs.get(name as usize).map_or(0, |value| *value as usize)
}

/// Changes it.
pub(crate) fn set(context: &mut ucontext_t, name: i32, value: usize) {
    if let Some(register) = context.uc_mcontext.gregs.get_mut(name as usize) {
        *register = value as i64;
    }
}
