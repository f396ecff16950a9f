//! A reporter's journal: how the program under `sigplane run` finds it, and what a fork makes of it.
//!
//! The reporter is a process of its own that holds a memory file open; the environment names it as
//! `SIGPLANE_SESSION=<pid>:<descriptor>`. The program maps that file and keeps no descriptor, so that
//! its own begin at 3 as ever, and the variable is taken out of its environment. So the journal outlives
//! the program, however that ends. When the program executes another one in its place, the variable is
//! put back for that one alone ([`with_session`]).
//!
//! A forked child goes on with a journal of its own, which begins as a copy. A `vfork` child is told by
//! its process id.

use super::layout::{Journal, MAGIC, Object, Owners, VERSION, mode};
use super::{MODE, OWN, SESSION, object, sigplane0_journal, write};
use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

const VARIABLE: &[u8] = b"SIGPLANE_SESSION=";

/// The variable as it was in the environment.
static NAME: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// Prepares the journal, and finds the reporter if there is one. To be called once, in the constructor
/// of the library, before the program has a second thread.
pub fn start() {
    object::prepare();
    // SAFETY: the handler takes nothing, and stays as long as the library, which is never unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    let Some((place, value)) = variable() else { return };
    let Some(session) = open(value) else {
        remove(place);
        return;
    };
    if session.mode.load(Relaxed) & mode::FOLLOW == 0 {
        // SAFETY: an entry of `environ`. The string itself stays where it is.
        NAME.store(unsafe { *place }, Release);
        remove(place);
    }
    adopt(session);
}

fn adopt(session: &'static Journal) {
    // SAFETY: it takes nothing and cannot fail.
    let pid = unsafe { libc::getpid() } as u32;
    let first = session.pid.compare_exchange(0, pid, Relaxed, Relaxed);
    SESSION.store(ptr::from_ref(session).cast_mut(), Release);
    if first.is_ok() || first == Err(pid) {
        // The process that the report is about; the second time, after an `exec`, with a new table.
        session.owners.iter().for_each(clear);
        name_executable(session);
        write::begin(session, pid);
        MODE.store(session.mode.load(Relaxed), Relaxed);
        let active = &sigplane0_journal.active;
        // What constructors before this one have set is in the own journal.
        copy(&OWN, session, pid);
        active.store(ptr::from_ref(session).cast_mut(), Release);
    }
    write::started(session);
}

/// Gives objects of an executable that this process was before its `exec` the name they had by default.
fn name_executable(session: &Journal) {
    for object in &session.objects {
        if object.state.load(Acquire) == 2 && object.path[0].load(Relaxed) == 0 {
            let name = session.executable.iter().map(|byte| byte.load(Relaxed));
            object::put(&object.path, name.take_while(|&byte| byte != 0));
        }
    }
}

/// Calls `execute` with `environment`, to which the session's name is added if the process that the report
/// is about executes another program: the report goes on there. `execute` is an `exec`, and comes back
/// when that fails.
///
/// # Async-signal safety
/// Yes.
///
/// # Safety
/// `environment` is null or an array of C strings that ends with a null pointer.
pub unsafe fn with_session(
    environment: *const *const c_char,
    execute: impl FnOnce(*const *const c_char) -> i32,
) -> i32 {
    let session = SESSION.load(Acquire);
    let active = sigplane0_journal.active.load(Acquire);
    // SAFETY: by the invariant of `journal`.
    let mode =
        unsafe { session.as_ref() }.map_or(mode::FOLLOW, |session| session.mode.load(Relaxed));
    // SAFETY: as above; never null.
    let owner = unsafe { &*active }.pid.load(Relaxed);
    // SAFETY: it takes nothing and cannot fail. Raw, because a `vfork` child is told by it.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) } as u32;
    // Who follows has it in the environment already; a forked child is not what the report is about.
    if mode & mode::FOLLOW != 0 || session != active || owner != pid || environment.is_null() {
        return execute(environment);
    }
    let mut count = 0;
    let mut preloads = false;
    // SAFETY: an array that ends with a null pointer, by the caller's promise.
    while let entry = unsafe { *environment.wrapping_add(count) }
        && !entry.is_null()
    {
        // SAFETY: a C string, by the caller's promise.
        let entry = unsafe { CStr::from_ptr(entry) };
        preloads |= entry.to_bytes().starts_with(b"LD_PRELOAD=");
        count += 1;
    }
    let size = (count + 2) * size_of::<*const c_char>();
    let name = NAME.load(Acquire);
    if !preloads || name.is_null() {
        return execute(environment);
    }
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    let longer = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
    if longer == libc::MAP_FAILED {
        return execute(environment);
    }
    let entries = longer.cast::<*const c_char>();
    // SAFETY: `count` entries there, and room for two more here; what follows is null already.
    unsafe { ptr::copy_nonoverlapping(environment, entries, count) };
    let last = entries.wrapping_add(count);
    // SAFETY: within the mapping.
    unsafe { last.write(name) };
    let failed = execute(entries);
    // SAFETY: mapped above, and no longer used.
    unsafe { libc::syscall(libc::SYS_munmap, longer, size) };
    failed
}

/// The place in the environment, and the value.
fn variable() -> Option<(*mut *mut c_char, &'static CStr)> {
    // SAFETY: the pointer itself is read, before there is a second thread.
    let mut place = unsafe { environ };
    while !place.is_null() {
        // SAFETY: `environ` is an array that ends with a null pointer.
        let entry = unsafe { *place };
        if entry.is_null() {
            break;
        }
        // SAFETY: its entries are C strings.
        let entry = unsafe { CStr::from_ptr(entry) };
        if let Some(value) = entry.to_bytes_with_nul().strip_prefix(VARIABLE)
            && let Ok(value) = CStr::from_bytes_with_nul(value)
        {
            return Some((place, value));
        }
        place = place.wrapping_add(1);
    }
    None
}

/// Takes an entry out: what follows it moves up.
fn remove(mut place: *mut *mut c_char) {
    loop {
        let behind = place.wrapping_add(1);
        // SAFETY: `place` is an entry of `environ`, not the null pointer at its end.
        let next = unsafe { *behind };
        // SAFETY: as above; nobody else uses the environment yet.
        unsafe { *place = next };
        if next.is_null() {
            return;
        }
        place = behind;
    }
}

/// Maps the journal that `<pid>:<descriptor>` names, if it is one of this layout.
fn open(value: &CStr) -> Option<&'static Journal> {
    let (pid, fd) = value.to_str().ok()?.split_once(':')?;
    let (pid, fd) = (pid.parse::<u32>().ok()?, fd.parse::<u32>().ok()?);
    let path = std::ffi::CString::new(format!("/proc/{pid}/fd/{fd}")).ok()?;
    // SAFETY: a C string, and flags without a mode.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    if fd < 0 {
        return None;
    }
    let journal = map(fd);
    // SAFETY: opened above, and used no more.
    unsafe { libc::close(fd) };
    let journal = journal?;
    let is_ours = journal.magic.load(Acquire) == MAGIC
        && journal.version.load(Relaxed) == VERSION
        && journal.size.load(Relaxed) as usize == size_of::<Journal>();
    is_ours.then_some(journal)
}

fn map(fd: i32) -> Option<&'static Journal> {
    let size = size_of::<Journal>();
    // SAFETY: all zeroes are a valid `stat`.
    let mut stat = unsafe { core::mem::zeroed::<libc::stat>() };
    // SAFETY: a descriptor, and a place for the result.
    if unsafe { libc::fstat(fd, &raw mut stat) } != 0 || (stat.st_size as usize) < size {
        return None;
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping; it is replaced by nobody, and never undone.
    let address = unsafe { libc::mmap(ptr::null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
    if address == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: mapped, page-aligned, large enough, and any bytes are a valid journal.
    Some(unsafe { &*address.cast::<Journal>() })
}

/// In the child of a fork: a journal of its own, which begins as its parent's.
extern "C" fn forked() {
    // SAFETY: it takes nothing and cannot fail.
    let pid = unsafe { libc::getpid() } as u32;
    let active = sigplane0_journal.active.load(Acquire);
    if !ptr::eq(active, &raw const OWN) {
        // SAFETY: by the invariant of `journal`.
        let parents = unsafe { &*active };
        OWN.owners.iter().for_each(clear);
        for object in &OWN.objects {
            object.state.store(0, Relaxed);
        }
        copy(parents, &OWN, pid);
        MODE.store(0, Relaxed);
        sigplane0_journal.active.store((&raw const OWN).cast_mut(), Release);
    }
    if OWN.magic.load(Acquire) == 0 {
        if !ptr::eq(active, &raw const OWN) {
            write::begin(&OWN, pid);
        }
    } else {
        OWN.pid.store(pid, Relaxed);
    }
}

fn word(to: &AtomicU64, from: &AtomicU64) {
    to.store(from.load(Relaxed), Relaxed);
}

fn half(to: &AtomicU32, from: &AtomicU32) {
    to.store(from.load(Relaxed), Relaxed);
}

fn clear(owners: &Owners) {
    owners.current.store(0, Relaxed);
    owners.crowded.store(0, Relaxed);
    for owner in &owners.list {
        owner.state.store(0, Relaxed);
    }
}

/// Copies objects and owners, which name them by index, unless there are others already.
fn copy(from: &Journal, to: &Journal, pid: u32) {
    let known = from.objects.iter().take_while(|object| object.state.load(Acquire) != 0);
    if to.objects.first().is_some_and(|object| object.state.load(Acquire) != 0)
        || known.clone().count() == 0
    {
        return;
    }
    for (from, to) in known.zip(&to.objects) {
        copy_object(from, to, pid);
    }
    for (from, to) in from.owners.iter().zip(&to.owners) {
        for (from, to) in from.list.iter().zip(&to.list) {
            for (from, to) in [
                (&from.handler, &to.handler),
                (&from.caller, &to.caller),
                (&from.flags, &to.flags),
                (&from.mask, &to.mask),
                (&from.time, &to.time),
                (&from.count, &to.count),
            ] {
                word(to, from);
            }
            for (from, to) in [
                (&from.call, &to.call),
                (&from.tid, &to.tid),
                (&from.caller_object, &to.caller_object),
                (&from.handler_object, &to.handler_object),
                (&from.state, &to.state),
            ] {
                half(to, from);
            }
        }
        half(&to.crowded, &from.crowded);
        half(&to.current, &from.current);
    }
}

fn copy_object(from: &Object, to: &Object, pid: u32) {
    to.pid.store(pid, Relaxed);
    for (from, to) in [(&from.bias, &to.bias), (&from.start, &to.start), (&from.end, &to.end)] {
        word(to, from);
    }
    let byte = |from: &AtomicU8, to: &AtomicU8| to.store(from.load(Relaxed), Relaxed);
    from.path.iter().zip(&to.path).for_each(|(from, to)| byte(from, to));
    half(&to.state, &from.state);
}
