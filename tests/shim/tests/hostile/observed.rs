//! What a process sees of its own signal state, and how a call is tried in a child.

use super::memory;
use super::model::raw;
use sigplane_tests::raw as kernel;
use std::fmt::Write;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::ptr;

/// Actions, mask and alternate stack, as last seen.
#[derive(Clone, Default)]
pub struct State {
    raw: bool,
    actions: Vec<(u64, u64, u64)>,
    mask: u64,
    stack: (u64, i32, u64),
}

impl State {
    /// Asks the kernel, past libc.
    pub fn raw() -> Self {
        Self { raw: true, ..Self::default() }
    }

    fn action(&self, signal: i32) -> (u64, u64, u64) {
        if matches!(signal, 32 | 33) {
            return (0, 0, 0);
        }
        if self.raw {
            let action = kernel::action(signal);
            return (action.handler as u64, action.flags & 0xffff_ffff, action.mask);
        }
        // SAFETY: zero bytes are a sigaction; the pointer is to a local.
        let (result, old) = unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            (libc::sigaction(signal, ptr::null(), &raw mut old), old)
        };
        assert_eq!(result, 0, "a query of signal {signal}");
        // SAFETY: a sigset_t begins with the kernel's word.
        let mask = unsafe { (&raw const old.sa_mask).cast::<u64>().read() };
        (old.sa_sigaction as u64, u64::from(old.sa_flags as u32), mask)
    }

    fn mask(&self) -> u64 {
        if self.raw {
            return kernel::mask();
        }
        let mut mask = [0u64; 16];
        // SAFETY: as large as a sigset_t.
        unsafe { libc::sigprocmask(0, ptr::null(), (&raw mut mask).cast()) };
        mask[0]
    }

    fn stack(&self) -> (u64, i32, u64) {
        // SAFETY: zero bytes are a stack_t; the pointer is to a local.
        let stack = unsafe {
            let mut stack: libc::stack_t = std::mem::zeroed();
            match self.raw {
                true => drop(raw(libc::SYS_sigaltstack, [0, &raw mut stack as u64, 0, 0, 0, 0])),
                false => drop(libc::sigaltstack(ptr::null(), &raw mut stack)),
            }
            stack
        };
        (stack.ss_sp as u64, stack.ss_flags, stack.ss_size as u64)
    }

    /// What has changed since it was last asked.
    pub fn changes(&mut self) -> String {
        let actions: Vec<_> = (1..=64).map(|signal| self.action(signal)).collect();
        let (mask, stack) = (self.mask(), self.stack());
        let mut text = String::new();
        for (signal, action) in (1..).zip(&actions) {
            if self.actions.get(signal - 1) != Some(action) {
                let (handler, flags, mask) = action;
                let _to_a_string = write!(text, "; {signal}: {handler:#x} {flags:#x} {mask:#x}");
            }
        }
        if mask != self.mask {
            let _to_a_string = write!(text, "; mask {mask:#x}");
        }
        if stack != self.stack {
            let _to_a_string = write!(text, "; stack {stack:x?}");
        }
        *self = Self { raw: self.raw, actions, mask, stack };
        text
    }
}

/// The same beginning in each process: nothing is handled, blocked or on another stack; no core dumps.
pub fn prepare() {
    memory::prepare();
    // SAFETY: zero bytes are the default action, an empty mask and a limit of nothing; all pointers are
    // to locals. Nothing on this thread uses an alternate stack.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let empty: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, ptr::null_mut());
        let mut disabled: libc::stack_t = std::mem::zeroed();
        disabled.ss_flags = libc::SS_DISABLE;
        libc::sigaltstack(&raw const disabled, ptr::null_mut());
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
    }
}

/// Runs it in a child; `None` if that crashes or has no answer. No signal tells of the child's end.
pub fn in_a_child(run: &dyn Fn() -> Option<String>) -> Option<String> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    let child = raw(libc::SYS_clone, [0; 6]).expect("a child");
    if child == 0 {
        if let Some(text) = run() {
            let text = text + "\n";
            raw(
                libc::SYS_write,
                [ends[1] as u64, text.as_ptr() as u64, text.len() as u64, 0, 0, 0],
            )
            .expect("it is read");
        }
        let _never = raw(libc::SYS_exit_group, [0; 6]);
    }
    let _closed = raw(libc::SYS_close, [ends[1] as u64, 0, 0, 0, 0, 0]);
    // SAFETY: the reading end is ours.
    let mut reader = unsafe { std::fs::File::from_raw_fd(ends[0]) };
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    let all = libc::__WALL as u64;
    let _reaped = raw(libc::SYS_wait4, [child as u64, 0, all, 0, 0, 0]);
    text.strip_suffix('\n').map(str::to_owned)
}
