//! Memory that a caller names, which may not be there: the kernel answers `EFAULT` for such an address, and
//! so do we.
//!
//! libc's own functions would fault in user space. Catching the fault would need SIGSEGV for ourselves, from
//! every program. Instead the kernel is asked whether it can read or write there, by a call that has no other
//! effect; and it is not asked when the memory is certainly there, on the caller's stack (`memory::is_near`), as
//! are most structures that are passed to sigaction(2).
//!
//! An address that another thread unmaps in between still faults, as it would in libc.

use core::ffi::c_void;
use sigplane::legacy::memory;

const PAGE: usize = 4096;

unsafe extern "C" {
    /// Where the main thread's stack began (glibc elf/dl-support.c, `GLIBC_2.2.5`).
    static __libc_stack_end: *mut c_void;
}

/// Called once, before anything else here.
pub fn prepare() {
    // SAFETY: the loader's own variable, set before any constructor runs.
    memory::set_main_stack(unsafe { __libc_stack_end }.addr());
}

/// Where the stack of a call begins: the address of its return address, which lies in mapped memory.
pub type Stack = *const usize;

/// Whether `ask` says yes to eight bytes in each page of the range, its first and its last bytes among them.
#[cold]
fn each_page(at: usize, length: usize, ask: impl Fn(usize) -> bool) -> bool {
    let Some(end) = at.checked_add(length.max(8)) else { return false };
    let mut all = ask(at);
    let mut next = (at & !(PAGE - 1)).wrapping_add(PAGE);
    while all && next < end {
        // The last eight bytes of the range, or the first of the next page.
        all = ask(next.min(end - 8));
        next = next.wrapping_add(PAGE);
    }
    all
}

/// Whether the value at `at` can be read.
#[inline(always)]
pub fn is_there<T>(at: *const T, stack: Stack) -> bool {
    is_near(at, stack) || each_page(at.addr(), size_of::<T>(), memory::is_readable)
}

#[inline(always)]
fn is_near<T>(at: *const T, stack: Stack) -> bool {
    memory::is_near(at.addr(), size_of::<T>(), stack.addr())
}

/// The value at `at`; `EFAULT` if it is not there.
///
/// # Safety
/// `T` may have any bytes. Nobody changes or unmaps the memory meanwhile.
#[inline(always)]
pub unsafe fn read<T: Copy>(at: *const T, stack: Stack) -> Result<T, i32> {
    if !is_there(at, stack) {
        return Err(libc::EFAULT);
    }
    // SAFETY: it can be read, and holds a `T` by the caller's promise.
    Ok(unsafe { at.read_unaligned() })
}

/// As `read`, of what may be null.
///
/// # Safety
/// As for `read`.
#[inline(always)]
pub unsafe fn read_if<T: Copy>(at: *const T, stack: Stack) -> Result<Option<T>, i32> {
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { read(at, stack) }.map(Some)
}

/// Writes `value` to `at`, if that is not null; `EFAULT` if it cannot be written.
///
/// # Safety
/// The caller's caller has given `at` for writing a `T`.
#[inline(always)]
pub unsafe fn write_if<T: Copy>(at: *mut T, value: T, stack: Stack) -> Result<(), i32> {
    // SAFETY: the caller's promise.
    unsafe { write_made_if(at, || value, stack) }
}

/// As `write_if`, of a value that is made where it is to be.
///
/// # Safety
/// As for `write_if`.
#[inline(always)]
pub unsafe fn write_made_if<T: Copy>(
    at: *mut T,
    make: impl FnOnce() -> T,
    stack: Stack,
) -> Result<(), i32> {
    if at.is_null() {
        return Ok(());
    }
    if !is_near(at, stack) && !each_page(at.addr(), size_of::<T>(), memory::is_writable) {
        return Err(libc::EFAULT);
    }
    // SAFETY: it can be written.
    unsafe { at.write_unaligned(make()) };
    Ok(())
}

/// Somewhere on the stack of the running function, for those that are not told their caller's.
macro_rules! here {
    () => {{
        let mut mark = 0usize;
        // Not to be taken for a constant, which would lie elsewhere.
        core::ptr::from_mut(core::hint::black_box(&mut mark)).cast_const()
    }};
}
pub(super) use here;
