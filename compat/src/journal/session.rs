//! A reporter's journal: how the program under `sigplane run` finds it.
//!
//! The reporter is a process of its own that holds a memory file open; the environment names it as
//! `SIGPLANE_SESSION=<pid>:<descriptor>`. The program maps that file and keeps no descriptor, so that
//! its own begin at 3 as ever, and the variable is taken out of its environment. So the journal outlives
//! the program, however that ends. When the program executes another one in its place, the variable is
//! put back for that one alone ([`with_session`]).
//!
//! A forked child has a journal of its own (`fork`).

use super::fork::{clear, copy, forked};
use super::layout::{Journal, MAGIC, VERSION, mode};
use super::{MODE, OWN, SESSION, object, sigplane0_journal, write};
use core::ffi::{CStr, c_char};
use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

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
    write::here(&OWN);
    // What constructors before this one have set was noted without it.
    object::put_program(&OWN.executable);
    if OWN.magic.load(Acquire) == 0 {
        // Now, and not with the first change: the program may forbid itself system calls before that.
        write::begin(&OWN, write::getpid());
    }
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
        write::begin(session, pid);
        MODE.store(session.mode.load(Relaxed), Relaxed);
        let active = &sigplane0_journal.active;
        // What constructors before this one have set is in the own journal.
        copy(&OWN, session, pid);
        active.store(ptr::from_ref(session).cast_mut(), Release);
    }
    write::started(session);
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
    if session.is_null() {
        return execute(environment);
    }
    let active = sigplane0_journal.active.load(Acquire);
    // SAFETY: not null: a mapping that stays, by the invariant of `journal`.
    let reporters = unsafe { &*session };
    let mode = reporters.mode.load(Relaxed);
    // SAFETY: as above; never null.
    let owner = unsafe { &*active }.pid.load(Relaxed);
    let pid = write::getpid();
    // Who follows has it in the environment already; a forked child is not what the report is about.
    if mode & mode::FOLLOW != 0 || session != active || owner != pid || environment.is_null() {
        return execute(environment);
    }
    let mut count = 0;
    let (mut preloads, mut leaves) = (false, false);
    // SAFETY: an array that ends with a null pointer, by the caller's promise.
    while let entry = unsafe { *environment.wrapping_add(count) }
        && !entry.is_null()
    {
        // SAFETY: a C string, by the caller's promise.
        let entry = unsafe { CStr::from_ptr(entry) };
        preloads |= entry.to_bytes().starts_with(b"LD_PRELOAD=");
        leaves |= entry.to_bytes().starts_with(VARIABLE);
        count += 1;
    }
    if leaves {
        // Another `sigplane run` in this process has a reporter of its own.
        reporters.mode.fetch_or(mode::LEFT, Relaxed);
        let failed = execute(environment);
        reporters.mode.fetch_and(!mode::LEFT, Relaxed);
        return failed;
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
