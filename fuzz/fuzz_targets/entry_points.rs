//! The shim's entry points with wild pointers, numbers and sizes: `cargo +nightly fuzz run entry_points`.
//!
//! Each input is a list of calls. What a call answers is known from where its pointers point; what the kernel
//! has afterwards is asked by raw system calls. The signals that libFuzzer needs to report a crash are left
//! alone here; `tests/shim/tests/hostile.rs`, which compares whole processes, covers them.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/shim/tests/hostile/memory.rs"]
mod memory;

use libc::{EFAULT, EINVAL};
use libfuzzer_sys::fuzz_target;
use sigplane_compat::shim::{actions, masks};
use std::ptr;
use std::sync::Once;

/// One call: sixteen bytes of an input.
struct Call {
    function: u8,
    signal: i32,
    first: u64,
    second: u64,
    word: u64,
}

impl Call {
    fn read(bytes: &[u8; 16]) -> Self {
        let [function, signal, a, b, c, d, word @ .., flags, how] = *bytes;
        let kind = |low: u8, high: u8| u64::from(low % 32) | u64::from(high) << 8;
        let mut filled = [0; 8];
        filled.copy_from_slice(&word);
        Self {
            function: function % 6,
            signal: i32::from(signal as i8).wrapping_add(i32::from(flags & 0x80) << 3),
            first: kind(a, b),
            second: kind(c, d),
            word: u64::from_le_bytes(filled) ^ u64::from(how),
        }
    }
}

fn is_valid(signal: i32) -> bool {
    (1..=64).contains(&signal) && !matches!(signal, 32 | 33)
}

/// What libFuzzer reports crashes with.
fn is_needed(signal: i32) -> bool {
    use libc::{SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
    [SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP].contains(&signal)
}

const NEEDED: u64 = 0x20f8; // Bits of the signals above: 4, 5, 6, 7, 8, 14.
const SEGV: u64 = 1 << (libc::SIGSEGV - 1);

fn errno() -> i32 {
    // SAFETY: the thread's own.
    unsafe { *libc::__errno_location() }
}

/// Handler, flags, restorer, mask, as the kernel has them.
fn kernel(signal: i32) -> [u64; 4] {
    let mut action = [0u64; 4];
    // SAFETY: the kernel's structure is four words.
    unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, ptr::null::<u64>(), action.as_mut_ptr(), 8)
    };
    action
}

fn kernel_mask() -> u64 {
    let mut mask = 0u64;
    // SAFETY: one word.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, ptr::null::<u64>(), &raw mut mask, 8) };
    mask
}

fn sigaction(call: &Call) {
    let (new, old) = (memory::place(0, call.first, 152), memory::place(1, call.second, 152));
    let handler = call.word % 3; // 2 is an address that nothing enters.
    memory::store(new, &handler.to_le_bytes());
    memory::store(new.wrapping_add(8), &call.word.to_le_bytes());
    memory::store(new.wrapping_add(136), &(call.word as u32).to_le_bytes());
    let marker = 0usize;
    let before = kernel(call.signal);
    // SAFETY: wild pointers are what it is to stand.
    let result = unsafe {
        actions::sigaction(call.signal, new as *const _, old as *mut _, &raw const marker)
    };
    let wanted = if !is_valid(call.signal) {
        Err(EINVAL)
    } else if new != 0 && !memory::readable(new, 140) {
        Err(EFAULT)
    } else if new != 0 && matches!(call.signal, libc::SIGKILL | libc::SIGSTOP) {
        Err(EINVAL)
    } else if old != 0 && !memory::writable(old, 152) {
        Err(EFAULT)
    } else {
        Ok(())
    };
    assert_eq!(result, if wanted.is_ok() { 0 } else { -1 });
    assert!(wanted.is_ok() || wanted == Err(errno()));
    let is_set = new != 0 && is_valid(call.signal) && memory::readable(new, 140);
    if is_set && !matches!(call.signal, libc::SIGKILL | libc::SIGSTOP) {
        assert_eq!(
            kernel(call.signal)[0],
            handler_at(new),
            "it is set, whatever became of the old"
        );
    } else if is_valid(call.signal) {
        assert_eq!(kernel(call.signal), before, "nothing has changed");
    }
    if wanted.is_ok() && old != 0 && old != new {
        assert_eq!(memory::word(old), before[0]);
        assert_eq!(memory::word(old + 8), before[3]);
    }
}

fn handler_at(new: u64) -> u64 {
    memory::word(new)
}

fn mask(call: &Call) {
    let how = i32::from(call.signal as i8 % 4);
    let (new, old) = (memory::place(0, call.first, 8), memory::place(1, call.second, 8));
    let wanted = call.word & !NEEDED & !SEGV;
    memory::store(new, &wanted.to_le_bytes());
    let before = kernel_mask();
    let marker = 0usize;
    // SAFETY: wild pointers are what it is to stand.
    let result =
        unsafe { masks::pthread_sigmask(how, new as *const _, old as *mut _, &raw const marker) };
    let expected = if new != 0 && !memory::readable(new, 8) {
        EFAULT
    } else if new != 0 && !(0..=2).contains(&how) {
        EINVAL
    } else if old != 0 && !memory::writable(old, 8) {
        EFAULT
    } else {
        0
    };
    assert_eq!(result, expected);
    if expected == 0 && old != 0 {
        assert_eq!(memory::word(old), before);
    }
    if expected == EINVAL {
        assert_eq!(kernel_mask(), before);
    }
}

fn elders(call: &Call) {
    let marker = 0usize;
    let handler = [0, 1, 2, usize::MAX][call.word as usize % 4];
    let stack = &raw const marker;
    let bad = !is_valid(call.signal) || matches!(call.signal, libc::SIGKILL | libc::SIGSTOP);
    let failed = match call.function {
        2 => actions::signal(call.signal, handler, stack) == libc::SIG_ERR && errno() == EINVAL,
        3 => {
            actions::sysv_signal(call.signal, handler, stack) == libc::SIG_ERR && errno() == EINVAL
        }
        4 => actions::sigignore(call.signal, stack) == -1,
        _ => actions::siginterrupt(call.signal, (call.word & 1) as i32, stack) == -1,
    };
    let refused = matches!(call.function, 2 | 3) && handler == usize::MAX;
    assert!(!(bad || refused) || failed, "{} of {} is refused", call.function, call.signal);
}

fuzz_target!(|data: &[u8]| {
    static ONCE: Once = Once::new();
    ONCE.call_once(memory::prepare);
    let (calls, _) = data.as_chunks::<16>();
    for call in calls.iter().map(Call::read) {
        if is_needed(call.signal) {
            continue;
        }
        match call.function {
            0 => sigaction(&call),
            1 => mask(&call),
            _ => elders(&call),
        }
    }
    // The next input finds what this one did.
    let (none, marker) = (0u64, 0usize);
    // SAFETY: two words.
    unsafe {
        masks::pthread_sigmask(
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut(),
            &raw const marker,
        )
    };
    let default = [0u64; 19];
    for signal in (1..=64).filter(|signal| !is_needed(*signal)) {
        // SAFETY: zero bytes are the default action.
        unsafe {
            actions::sigaction(signal, default.as_ptr().cast(), ptr::null_mut(), &raw const marker)
        };
    }
});
