//! What a new program inherits: signals that are ignored, and the mask.
//!
//! A program that ignores a signal which somebody subscribes to has a caught one in the kernel, and exec(2)
//! would reset that to the default. And the kernel's mask is without the signals of faults that a thread has
//! asked to be blocked. Both are put right just before, and undone if the program could not be executed.
//!
//! A `vfork` child has actions of its own, so it changes nobody's but its own.

use super::real::{Argv, call};
use crate::journal;
use core::ffi::{c_char, c_int};
use core::ptr;
use libc::{pid_t, posix_spawn_file_actions_t, posix_spawnattr_t, sigset_t};
use sigplane::{legacy, masks};

/// Executes, with everything as the new program is to find it. Returns only if that has failed.
fn executing(env: Argv, execute: impl FnOnce(Argv) -> c_int) -> c_int {
    let ignored = legacy::about_to_exec();
    let blocked = masks::about_to_exec();
    // SAFETY: an environment, as the caller promises.
    let failed = unsafe { journal::with_session(env, execute) };
    masks::exec_failed(blocked);
    if ignored != 0 {
        legacy::exec_failed(ignored);
    }
    failed
}

unsafe extern "C" {
    static environ: Argv;
}

fn environment() -> Argv {
    // SAFETY: libc's own variable.
    unsafe { environ }
}

/// execve(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execve(path: *const c_char, argv: Argv, env: Argv) -> c_int {
    executing(env, |env| call!(execve(path, argv, env)))
}

/// execv(3).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execv(path: *const c_char, argv: Argv) -> c_int {
    executing(environment(), |env| call!(execve(path, argv, env)))
}

/// execvpe(3).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execvpe(file: *const c_char, argv: Argv, env: Argv) -> c_int {
    executing(env, |env| call!(execvpe(file, argv, env)))
}

/// execvp(3).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execvp(file: *const c_char, argv: Argv) -> c_int {
    executing(environment(), |env| call!(execvpe(file, argv, env)))
}

/// fexecve(3).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn fexecve(fd: c_int, argv: Argv, env: Argv) -> c_int {
    executing(env, |env| call!(fexecve(fd, argv, env)))
}

/// execveat(2).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execveat(
    fd: c_int,
    path: *const c_char,
    argv: Argv,
    env: Argv,
    flags: c_int,
) -> c_int {
    executing(env, |env| call!(execveat(fd, path, argv, env, flags)))
}

/// execl(3): `list` is the path and then the arguments up to a null pointer.
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execl(list: Argv) -> c_int {
    // SAFETY: the path comes first.
    let path = unsafe { list.read() };
    // SAFETY: the caller's promise.
    unsafe { execv(path, list.wrapping_add(1)) }
}

/// execlp(3), in the same way.
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execlp(list: Argv) -> c_int {
    // SAFETY: the file comes first.
    let file = unsafe { list.read() };
    // SAFETY: the caller's promise.
    unsafe { execvp(file, list.wrapping_add(1)) }
}

/// execle(3): the environment follows the null pointer.
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn execle(list: Argv) -> c_int {
    let mut at = list.wrapping_add(1);
    // SAFETY: the list has an end.
    while !unsafe { at.read() }.is_null() {
        at = at.wrapping_add(1);
    }
    // SAFETY: the path comes first.
    let path = unsafe { list.read() };
    // SAFETY: the environment comes after the end.
    let env = unsafe { at.wrapping_add(1).read() };
    // SAFETY: the caller's promise.
    unsafe { execve(path, list.wrapping_add(1), env.cast()) }
}

/// The caller's attributes with a mask, if they have none and the kernel's is not what the thread asked for.
///
/// # Safety
/// `attr` is null or attributes that the caller gives `posix_spawn`.
unsafe fn with_mask(attr: *const posix_spawnattr_t) -> Option<posix_spawnattr_t> {
    let asked = masks::asked_for();
    if asked == 0 {
        return None;
    }
    let mut flags = 0;
    if !attr.is_null() {
        // SAFETY: the caller's promise.
        unsafe { libc::posix_spawnattr_getflags(attr, &raw mut flags) };
    }
    if c_int::from(flags) & libc::POSIX_SPAWN_SETSIGMASK != 0 {
        return None;
    }
    // SAFETY: all zero bytes are attributes without any (glibc posix/spawnattr_init.c).
    let mut copy: posix_spawnattr_t = unsafe { core::mem::zeroed() };
    if !attr.is_null() {
        // SAFETY: the caller's promise; they are plain data.
        copy = unsafe { attr.read() };
    }
    let mask = masks::change(libc::SIG_BLOCK, None).unwrap_or(asked);
    // SAFETY: all zero bytes are a set.
    let mut set: sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: a set is longer than a word.
    unsafe { (&raw mut set).cast::<u64>().write(mask) };
    // SAFETY: attributes and a set of our own.
    unsafe { libc::posix_spawnattr_setsigmask(&raw mut copy, &raw const set) };
    let flags = c_int::from(flags) | libc::POSIX_SPAWN_SETSIGMASK;
    // SAFETY: attributes of our own.
    unsafe { libc::posix_spawnattr_setflags(&raw mut copy, flags as _) };
    Some(copy)
}

/// posix_spawn(3).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn posix_spawn(
    pid: *mut pid_t,
    path: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attr: *const posix_spawnattr_t,
    argv: Argv,
    env: Argv,
) -> c_int {
    // SAFETY: the caller's promise.
    let copy = unsafe { with_mask(attr) };
    let attr = copy.as_ref().map_or(attr, ptr::from_ref);
    call!(posix_spawn(pid, path, actions, attr, argv, env))
}

/// posix_spawnp(3).
///
/// # Safety
/// As libc's.
pub unsafe extern "C" fn posix_spawnp(
    pid: *mut pid_t,
    file: *const c_char,
    actions: *const posix_spawn_file_actions_t,
    attr: *const posix_spawnattr_t,
    argv: Argv,
    env: Argv,
) -> c_int {
    // SAFETY: the caller's promise.
    let copy = unsafe { with_mask(attr) };
    let attr = copy.as_ref().map_or(attr, ptr::from_ref);
    call!(posix_spawnp(pid, file, actions, attr, argv, env))
}

/// system(3). libc ignores SIGINT and SIGQUIT meanwhile, behind the table's back, and then sets again what it
/// has found (sysdeps/posix/system.c). Of our stub that would be with libc's restorer, and we would take what
/// the kernel delivers for a call of somebody who chains to it; and of a virtual action, libc has set it once
/// more, with its restorer.
///
/// # Safety
/// As libc's.
pub unsafe extern "C-unwind" fn system(command: *const c_char) -> c_int {
    let concerned =
        |signal: &c_int| !command.is_null() && legacy::is_owned(*signal) && !legacy::is_borrowed();
    let owned = || [libc::SIGINT, libc::SIGQUIT].into_iter().filter(concerned);
    for signal in owned() {
        // Not afterwards: a handler of SIGCHLD may leave libc's function by siglongjmp.
        if let Ok(now) = legacy::sigaction(signal, None) {
            let again =
                super::libc_action::with_restorer(now.handler, now.flags as c_int, now.mask);
            let _set = legacy::set(signal, &again);
        }
        legacy::step_aside(signal);
    }
    let status = call!(system(command));
    owned().for_each(legacy::recheck);
    status
}

/// Where libc's `clone` is, to be jumped to with the arguments as they came. A child that shares the memory and the
/// thread pointer, but neither thread nor actions, is to be known for one.
pub extern "C" fn clone_stub(_start: usize, _stack: usize, flags: c_int) -> usize {
    let shared = libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_SETTLS;
    if flags & shared == libc::CLONE_VM {
        legacy::lend();
    }
    super::real::CLONE.address()
}

/// Where the function is that vfork(2) is here.
pub extern "C" fn vfork_stub() -> usize {
    legacy::vfork_stub()
}
