//! What each function does on a bare kernel: glibc 2.36's source, with the kernel's copying of arguments
//! in the place of libc's, so that a bad pointer is EFAULT where libc would crash.

use super::memory::{half, readable, store, word, writable};
use libc::{EFAULT, EINVAL, SIG_BLOCK, SIG_SETMASK, SIG_UNBLOCK};
use sigplane_tests::raw::Action;
use std::arch::asm;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a call returns, and errno if that says so.
pub type Answer = Result<i64, i32>;

const SA_RESTORER: u64 = 0x0400_0000;
/// `struct sigaction` of libc: handler, 128 bytes of mask, flags, four bytes of nothing, restorer.
pub const ACTION: u64 = 152;
/// As far as libc reads it.
const ACTION_READ: u64 = 140;
const HOLD: u64 = 2;

/// A system call, past everybody.
pub fn raw(number: i64, arguments: [u64; 6]) -> Answer {
    let [a, b, c, d, e, f] = arguments;
    let result: i64;
    // SAFETY: what is wrong with the arguments is for the kernel to say; memory that it may write to is
    // the caller's.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result) }
}

/// The restorer that libc gives: any address does, nothing returns by it.
const RESTORER: usize = 0x5_0000_2000;
static INTERRUPTING: AtomicU64 = AtomicU64::new(0);

fn usable(signal: u64) -> bool {
    let signal = signal as i32;
    (1..=64).contains(&signal) && !matches!(signal, 32 | 33)
}

fn bit(signal: u64) -> u64 {
    1 << (signal as i32 - 1)
}

fn kernel_action(signal: u64, new: Option<Action>) -> Result<Action, i32> {
    if !usable(signal) {
        return Err(EINVAL);
    }
    let mut old = Action::default();
    let new = new.map(|new| Action { flags: new.flags | SA_RESTORER, restorer: RESTORER, ..new });
    let pointer = new.as_ref().map_or(0, |new| &raw const *new as u64);
    raw(libc::SYS_rt_sigaction, [signal, pointer, &raw mut old as u64, 8, 0, 0])?;
    Ok(old)
}

fn action_at(address: u64) -> Action {
    Action {
        handler: word(address) as usize,
        flags: half(address + 136) as i32 as u64,
        restorer: 0,
        mask: word(address + 8),
    }
}

fn sigaction(signal: u64, new: u64, old: u64) -> Answer {
    if !usable(signal) {
        return Err(EINVAL);
    }
    if new != 0 && !readable(new, ACTION_READ) {
        return Err(EFAULT);
    }
    let before = kernel_action(signal, (new != 0).then(|| action_at(new)))?;
    if old != 0 {
        if !writable(old, ACTION) {
            return Err(EFAULT);
        }
        store(old, &before.handler.to_le_bytes());
        store(old + 8, &before.mask.to_le_bytes());
        store(old + 136, &(before.flags as u32).to_le_bytes());
        store(old + 144, &before.restorer.to_le_bytes());
    }
    Ok(0)
}

fn set(signal: u64, handler: u64, flags: i32, mask: u64) -> Answer {
    let handler = handler as usize;
    let new = Action { handler, flags: flags as u64, restorer: 0, mask };
    kernel_action(signal, Some(new)).map(|old| old.handler as i64)
}

fn bsd_signal(signal: u64, handler: u64) -> Answer {
    if handler == u64::MAX || !usable(signal) {
        return Err(EINVAL);
    }
    let interrupts = INTERRUPTING.load(Ordering::Relaxed) & bit(signal) != 0;
    set(signal, handler, if interrupts { 0 } else { libc::SA_RESTART }, bit(signal))
}

fn siginterrupt(signal: u64, interrupt: u64) -> Answer {
    let mut action = kernel_action(signal, None)?;
    if interrupt as i32 != 0 {
        INTERRUPTING.fetch_or(bit(signal), Ordering::Relaxed);
        action.flags &= !(libc::SA_RESTART as u64);
    } else {
        INTERRUPTING.fetch_and(!bit(signal), Ordering::Relaxed);
        action.flags |= libc::SA_RESTART as u64;
    }
    kernel_action(signal, Some(action)).map(|_| 0)
}

/// Libc's, which takes 32 and 33 out; `old` is the kernel's to write.
fn mask(how: i32, new: Option<u64>, old: u64) -> Answer {
    let new = new.map(|new| new & !(bit(32) | bit(33)));
    let pointer = new.as_ref().map_or(0, |new| &raw const *new as u64);
    raw(libc::SYS_rt_sigprocmask, [how as u64, pointer, old, 8, 0, 0])
}

fn sigprocmask(how: u64, new: u64, old: u64) -> Answer {
    if new != 0 && !readable(new, 8) {
        return Err(EFAULT);
    }
    mask(how as i32, (new != 0).then(|| word(new)), old)
}

fn changed_mask(how: i32, new: u64) -> Result<u64, i32> {
    let mut old = 0u64;
    mask(how, Some(new), &raw mut old as u64)?;
    Ok(old)
}

fn old_style(how: i32, new: u64) -> Answer {
    changed_mask(how, u64::from(new as u32)).map(|old| i64::from(old as i32))
}

fn sigset(signal: u64, handler: u64) -> Answer {
    if !usable(signal) {
        return Err(EINVAL);
    }
    let hold = handler == HOLD;
    let before = match hold {
        true => None,
        false => Some(set(signal, handler, 0, 0)?),
    };
    let how = if hold { SIG_BLOCK } else { SIG_UNBLOCK };
    if changed_mask(how, bit(signal))? & bit(signal) != 0 {
        return Ok(HOLD as i64);
    }
    Ok(before.unwrap_or(kernel_action(signal, None)?.handler as i64))
}

fn one_bit(how: i32, signal: u64) -> Answer {
    if !usable(signal) {
        return Err(EINVAL);
    }
    changed_mask(how, bit(signal)).map(|_| 0)
}

/// Waits that copy their timeout before the kernel sees it.
fn timed(number: i64, mut arguments: [u64; 6], timeout: usize) -> Answer {
    let address = arguments[timeout];
    if address != 0 && !readable(address, 16) {
        return Err(EFAULT);
    }
    let copy = (address != 0).then(|| [word(address), word(address + 8)]);
    arguments[timeout] = copy.as_ref().map_or(0, |copy| copy.as_ptr() as u64);
    raw(number, arguments)
}

fn pselect(arguments: [u64; 6]) -> Answer {
    let [nfds, read, write, except, timeout, mask] = arguments;
    let mask = [mask, 8];
    let arguments = [nfds, read, write, except, timeout, mask.as_ptr() as u64];
    timed(libc::SYS_pselect6, arguments, 4)
}

fn sigvec(signal: u64, new: u64, old: u64) -> Answer {
    let vector = |address| (word(address), half(address + 8), half(address + 12));
    if !usable(signal) {
        return Err(EINVAL);
    }
    if new != 0 && !readable(new, 16) {
        return Err(EFAULT);
    }
    let new = (new != 0).then(|| vector(new)).map(|(handler, mask, flags)| {
        let mut translated = if flags & 1 != 0 { libc::SA_ONSTACK } else { 0 };
        translated |= if flags & 2 != 0 { 0 } else { libc::SA_RESTART };
        translated |= if flags & 4 != 0 { libc::SA_RESETHAND } else { 0 };
        Action {
            handler: handler as usize,
            flags: translated as u64,
            restorer: 0,
            mask: u64::from(mask),
        }
    });
    let before = kernel_action(signal, new)?;
    if old != 0 {
        if !writable(old, 16) {
            return Err(EFAULT);
        }
        let has = |flag: i32| before.flags as i32 & flag != 0;
        let mut flags = u32::from(has(libc::SA_ONSTACK));
        flags |= if has(libc::SA_RESTART) { 0 } else { 2 };
        flags |= if has(libc::SA_RESETHAND) { 4 } else { 0 };
        store(old, &before.handler.to_le_bytes());
        store(old + 8, &(before.mask as u32).to_le_bytes());
        store(old + 12, &flags.to_le_bytes());
    }
    Ok(0)
}

/// What the function does.
pub fn call(function: &str, arguments: [u64; 6]) -> Answer {
    let [a, b, c, d, e, _] = arguments;
    match function {
        "sigaction" | "__sigaction" => sigaction(a, b, c),
        "signal" | "ssignal" | "bsd_signal" => bsd_signal(a, b),
        "sysv_signal" | "__sysv_signal" if b == u64::MAX => Err(EINVAL),
        "sysv_signal" | "__sysv_signal" => {
            set(a, b, libc::SA_RESETHAND | libc::SA_NODEFER | 0x2000_0000, 0)
        }
        "sigset" => sigset(a, b),
        "sighold" => one_bit(SIG_BLOCK, a),
        "sigrelse" => one_bit(SIG_UNBLOCK, a),
        "sigignore" => set(a, libc::SIG_IGN as u64, 0, 0).map(|_| 0),
        "siginterrupt" => siginterrupt(a, b),
        "sigvec" => sigvec(a, b, c),
        "sigprocmask" => sigprocmask(a, b, c),
        // Returns the error.
        "pthread_sigmask" => Ok(sigprocmask(a, b, c).map_or_else(i64::from, |_| 0)),
        "sigblock" => old_style(SIG_BLOCK, a),
        "sigsetmask" => old_style(SIG_SETMASK, a),
        "siggetmask" => old_style(SIG_BLOCK, 0),
        "sigsuspend" | "__sigsuspend" => raw(libc::SYS_rt_sigsuspend, [a, 8, 0, 0, 0, 0]),
        // Called with numbers that `sigdelset` refuses.
        "__xpg_sigpause" | "__sigpause" => Err(EINVAL),
        "sigaltstack" => raw(libc::SYS_sigaltstack, arguments),
        "ppoll" => timed(libc::SYS_ppoll, [a, b, c, d, 8, 0], 2),
        "pselect" => pselect(arguments),
        "epoll_pwait" => raw(libc::SYS_epoll_pwait, [a, b, c, d, e, 8]),
        "epoll_pwait2" => raw(libc::SYS_epoll_pwait2, [a, b, c, d, e, 8]),
        "syscall" => raw(a as i64, [b, c, d, e, arguments[5], 0]),
        other => unreachable!("no model of {other}"),
    }
}
