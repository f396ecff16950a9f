//! A journal in shared memory, whose writers are killed again and again.

use super::{THREADS, check, note};
use sigplane_compat::journal;
use sigplane_compat::journal::layout::{CHANGES, Journal, MAGIC, VERSION};
use sigplane_compat::journal::read::Read;
use sigplane_tests::{Running, eventually, victim};
use sigplane_tests_shim::program::kill;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// How many processes write, one after the other.
const ROUNDS: u64 = 25;

/// Writes for ever, on several threads.
pub fn writers() {
    journal::start();
    println!("ready");
    std::thread::scope(|scope| {
        for who in 0..THREADS {
            scope.spawn(move || (0..u64::from(u32::MAX)).for_each(|count| note(who, count)));
        }
    });
}

/// The memory that a reporter would hold open.
fn shared() -> (File, &'static Journal) {
    // SAFETY: a C string and flags.
    let fd = unsafe { libc::memfd_create(c"journal".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0, "memfd_create: {}", std::io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    let file = unsafe { File::from_raw_fd(fd) };
    let size = size_of::<Journal>();
    file.set_len(size as u64).expect("there is room");
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, never undone.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), size, access, libc::MAP_SHARED, fd, 0) };
    assert!(at != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    // SAFETY: mapped, aligned to a page, of that size; zeroes are an empty journal.
    let journal = unsafe { &*at.cast::<Journal>() };
    journal.version.store(VERSION, Relaxed);
    journal.size.store(size as u32, Relaxed);
    journal.magic.store(MAGIC, Release);
    (file, journal)
}

/// SIGKILL ends a process in the middle of what its threads write. Every record that is there afterwards is whole;
/// at most one for each thread is not finished; and the next process goes on in the same ring.
pub fn killed_writers_leave_it_readable() {
    let (file, journal) = shared();
    for round in 1..=ROUNDS {
        // As if this process were the first.
        journal.pid.store(0, Relaxed);
        let mut process = victim("writers");
        process.env("SIGPLANE_SESSION", format!("{}:{}", std::process::id(), file.as_raw_fd()));
        let mut process = Running::start(process);
        process.expect("ready");
        let begun = journal.next.load(Acquire);
        eventually("a round of writing", || {
            journal.next.load(Acquire) > begun + CHANGES as u64 + 137 * round
        });
        kill(process.pid(), libc::SIGKILL);
        assert_eq!(process.wait().signal(), Some(libc::SIGKILL));
        assert_eq!(journal.pid.load(Relaxed), process.pid() as u32);

        let next = journal.next.load(Acquire);
        let mut missing = 0;
        for sequence in next - CHANGES as u64..next {
            match journal.read(sequence) {
                Read::Complete(record) => {
                    let (who, _) = check(&record);
                    assert!(who < THREADS && record.pid == process.pid() as u32, "{record:?}");
                }
                Read::Unfinished | Read::Gone => missing += 1,
            }
        }
        // Those left unfinished, now and before, and those that were being written when their place was wanted.
        let lost = journal.lost.load(Relaxed);
        assert!(missing <= THREADS * round + lost, "{missing} of the newest are missing");
        assert!(missing * 4 < CHANGES as u64, "{missing} of the newest are missing");
    }
    let unfinished = journal.ring.iter().filter(|place| place.stamp.load(Relaxed) % 2 == 1).count();
    let (next, lost) = (journal.next.load(Relaxed), journal.lost.load(Relaxed));
    println!("{next} written, {lost} lost, {unfinished} left unfinished by {ROUNDS} processes");
}
