//! Alertable waits: no wake-up is lost, and nothing but work, readiness and the deadline ends one.
//!
//! Issue "Core", what must be shown, 7; BRIEF §7 (the wait that loses a wake-up).

use sigplane::thread::{self, FdWake, Interest, ThreadHandle, alertable_syscall, wait, wait_fd};
use sigplane::{Signal, SignalSet, Verdict, Wake, send};
use sigplane_tests::{Running, Suite, eventually, mask, quick, victim};
use std::io::{self, BufRead, ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// read(2) of one byte that never comes.
fn read(pipe: &PipeReader) -> io::Result<usize> {
    let mut byte = 0u8;
    let arguments = [pipe.as_raw_fd() as usize, &raw mut byte as usize, 1, 0, 0, 0];
    // SAFETY: reads at most one byte into `byte`.
    unsafe { alertable_syscall(libc::SYS_read, arguments) }
}

/// Instants: a few instructions to a few microseconds apart.
struct Random(u32);

impl Random {
    fn pause(&mut self) {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Mostly short, so that the post meets the way into the system call, not the sleep.
        let length = (self.0 >> 24) >> (self.0 >> 20 & 7);
        (0..length).for_each(|_| std::hint::spin_loop());
    }
}

/// What the posted closures have counted; the poster posts the next one when the last one has run.
static RUN: AtomicU64 = AtomicU64::new(0);

fn spin_until(count: u64) {
    let mut spins = 0u32;
    while RUN.load(Ordering::Acquire) < count {
        spins += 1;
        // The two processors are enough for both, unless somebody else wants one.
        if spins.is_multiple_of(4096) { std::thread::yield_now() } else { std::hint::spin_loop() }
    }
}

/// Posts so many closures to `reader`, each at a random instant after the one before has run.
fn poster(reader: ThreadHandle, rounds: u64) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut random = Random(7);
        for round in 0..rounds {
            spin_until(round);
            random.pause();
            let posted = reader.post(|| RUN.fetch_add(1, Ordering::Release));
            assert!(posted.is_ok(), "the reader lives");
        }
    })
}

/// Reads until so many closures have run. Each read ends because of one: a lost wake-up would hang.
fn reads(rounds: u64) {
    let (pipe, _writer) = io::pipe().expect("a pipe");
    while RUN.load(Ordering::Relaxed) < rounds {
        let before = RUN.load(Ordering::Relaxed);
        let result = read(&pipe);
        assert_eq!(result.expect_err("nothing to read").kind(), ErrorKind::Interrupted);
        assert!(RUN.load(Ordering::Relaxed) > before, "a read ended without any work");
    }
}

/// Issue, line 7: a million posts at random instants to a thread that reads an empty pipe.
fn read_against_posts() {
    let rounds = quick(1_000_000);
    let poster = poster(thread::current(), rounds);
    reads(rounds);
    poster.join().expect("no panic");
    assert_eq!(RUN.load(Ordering::Relaxed), rounds);
}

/// The same with the doorbell's signal blocked in the reader, and its mask as it was afterwards.
fn read_with_bell_blocked() {
    mask::block(Signal::URG);
    let before = mask::blocked();
    let rounds = quick(50_000);
    let poster = poster(thread::current(), rounds);
    reads(rounds);
    poster.join().expect("no panic");
    assert_eq!(mask::blocked(), before);
}

/// The same with `wait` and with `wait_fd`.
fn waits_against_posts() {
    let rounds = quick(50_000);
    let poster = poster(thread::current(), 2 * rounds);
    while RUN.load(Ordering::Relaxed) < rounds {
        assert_eq!(wait(None), Wake::Work);
    }
    let (pipe, _writer) = io::pipe().expect("a pipe");
    while RUN.load(Ordering::Relaxed) < 2 * rounds {
        assert_eq!(wait_fd(pipe.as_fd(), Interest::READABLE, None).expect("open"), FdWake::Work);
    }
    poster.join().expect("no panic");
}

/// The victim that sends one signal for each line it reads: to the process given first.
fn signaller() {
    let mut random = Random(3);
    let mut lines = io::stdin().lock().lines().map_while(Result::ok);
    let pid = lines.next().and_then(|line| line.parse().ok()).expect("a process");
    for _ in lines {
        random.pause();
        send::to_process(pid, Signal::USR1).expect("it lives");
    }
}

/// Signals of a thread-context subscription, from another process, instead of posts: to this thread,
/// and forwarded to it by another one that receives them.
fn read_against_signals() {
    let sub = sigplane::subscribe(Signal::USR1).thread(|_| {
        RUN.fetch_add(1, Ordering::Release);
    });
    let _sub = sub.expect("subscribed");
    let (pipe, _writer) = io::pipe().expect("a pipe");
    let mut signaller = Running::start(victim("signaller"));
    signaller.tell(&std::process::id().to_string());
    let rounds = quick(10_000);
    for round in 0..rounds {
        if round == rounds / 2 {
            // From now on another thread gets it, and must wake this one.
            std::thread::spawn(|| {
                loop {
                    std::thread::park()
                }
            });
            mask::block(Signal::USR1);
        }
        signaller.tell("");
        assert_eq!(read(&pipe).expect_err("nothing to read").kind(), ErrorKind::Interrupted);
        assert_eq!(RUN.load(Ordering::Relaxed), round + 1);
    }
}

/// What a system call returns comes through: data, and errors that are not interruptions.
fn results_come_through() {
    let (pipe, mut writer) = io::pipe().expect("a pipe");
    writer.write_all(b"x").expect("room");
    assert_eq!(read(&pipe).expect("a byte"), 1);
    // SAFETY: closes no descriptor.
    let closed = unsafe { alertable_syscall(libc::SYS_close, [usize::MAX, 0, 0, 0, 0, 0]) };
    assert_eq!(closed.expect_err("none is that high").raw_os_error(), Some(libc::EBADF));
    // Six arguments arrive: a page mapped at the offset given in the sixth.
    let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
    let file = std::fs::File::open(std::env::current_exe().expect("a path")).expect("this program");
    let arguments = [0, 4096, protection, flags, file.as_raw_fd() as usize, 4096];
    // SAFETY: a new mapping.
    let page = unsafe { alertable_syscall(libc::SYS_mmap, arguments) }.expect("mapped");
    let mut expected = [0u8; 4096];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut expected, 4096).expect("a page");
    // SAFETY: mapped above, never unmapped.
    assert_eq!(unsafe { std::slice::from_raw_parts(page as *const u8, 4096) }, expected);
    // Work that is there already is run instead of the call.
    let posted = thread::current().post(|| 5).expect("alive");
    writer.write_all(b"y").expect("room");
    assert_eq!(read(&pipe).expect_err("work first").kind(), ErrorKind::Interrupted);
    assert_eq!(posted.join().expect("run"), 5);
    assert_eq!(read(&pipe).expect("the byte is still there"), 1);
}

/// `wait_fd`: readable, writable, closed at the other end, time-outs, not open.
fn wait_fd_by_hand() {
    let (mut pipe, mut writer) = io::pipe().expect("a pipe");
    let now = || Some(Instant::now());
    let ready = |fd: BorrowedFd<'_>, interest| wait_fd(fd, interest, None).expect("open");
    let is = |readable, writable| FdWake::Ready { readable, writable };
    assert_eq!(ready(writer.as_fd(), Interest::WRITABLE), is(false, true));
    assert_eq!(wait_fd(pipe.as_fd(), Interest::READABLE, now()).expect("open"), FdWake::Timeout);
    let begin = Instant::now();
    let soon = Some(begin + Duration::from_millis(3));
    assert_eq!(wait_fd(pipe.as_fd(), Interest::READABLE, soon).expect("open"), FdWake::Timeout);
    assert!(begin.elapsed() >= Duration::from_millis(3), "not before the deadline");
    assert_eq!(wait(Some(begin + Duration::from_millis(6))), Wake::Timeout);
    assert!(begin.elapsed() >= Duration::from_millis(6), "not before the deadline");
    writer.write_all(b"z").expect("room");
    assert_eq!(ready(pipe.as_fd(), Interest::BOTH), is(true, false));
    pipe.read_exact(&mut [0]).expect("a byte");
    drop(writer);
    assert_eq!(ready(pipe.as_fd(), Interest::READABLE), is(true, false), "the end is readable");
    // SAFETY: a number that no descriptor has; only looked at by the kernel.
    let none = unsafe { BorrowedFd::borrow_raw(1 << 20) };
    let error = wait_fd(none, Interest::READABLE, None).expect_err("not open");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
}

/// Signals that bring no work for this thread (immediate entries, other threads' subscriptions, and a
/// SIGURG that is no bell) do not end a wait.
fn idle_signals_do_not_wake() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: adds to a number.
    let sub = unsafe {
        sigplane::subscribe(SignalSet::from([Signal::USR1, Signal::URG])).immediate(|_| {
            SEEN.fetch_add(1, Ordering::Relaxed);
            Verdict::Handled
        })
    };
    let _sub = sub.expect("subscribed");
    let me = thread::current();
    let storm = |rounds: usize| {
        std::thread::spawn(move || {
            for round in 0..rounds {
                let before = SEEN.load(Ordering::Relaxed);
                let signal = [Signal::USR1, Signal::URG][round % 2];
                send::to_thread(me.tid(), signal).expect("alive");
                eventually("the delivery", || SEEN.load(Ordering::Relaxed) > before);
            }
            assert!(me.post(|| ()).is_ok());
        })
    };
    let (pipe, _writer) = io::pipe().expect("a pipe");
    for kind in 0..3 {
        let before = SEEN.load(Ordering::Relaxed);
        let sender = storm(500);
        match kind {
            0 => assert_eq!(wait(None), Wake::Work),
            1 => assert_eq!(
                wait_fd(pipe.as_fd(), Interest::READABLE, None).expect("open"),
                FdWake::Work
            ),
            _ => assert_eq!(read(&pipe).expect_err("nothing").kind(), ErrorKind::Interrupted),
        }
        assert_eq!(SEEN.load(Ordering::Relaxed), before + 500, "the wait outlasted all signals");
        sender.join().expect("no panic");
    }
}

/// A wait that nothing could end is refused: inside a deferral, and in a handler at a safe point.
fn refused_where_it_would_hang() {
    let refused = |wait: fn()| std::panic::catch_unwind(wait).is_err();
    std::panic::set_hook(Box::new(|_| ()));
    let waits: [fn(); 3] = [
        || assert_eq!(wait(None), Wake::Work),
        || drop(wait_fd(io::stdin().as_fd(), Interest::READABLE, None)),
        || drop(read(&io::pipe().expect("a pipe").0)),
    ];
    let guard = sigplane::defer();
    let inside = waits.map(refused);
    drop(guard);
    let (tell, told) = mpsc::channel();
    let posted = thread::current().post(move || tell.send(waits.map(refused)).is_ok());
    assert_eq!(thread::poll(), 1);
    assert!(posted.expect("alive").is_finished());
    let _default = std::panic::take_hook();
    assert_eq!(inside, [true; 3]);
    assert_eq!(told.recv(), Ok([true; 3]));
    assert_eq!(wait(Some(Instant::now())), Wake::Timeout, "and works again afterwards");
}

fn main() {
    Suite {
        tests: &[
            ("read_against_posts", read_against_posts),
            ("read_with_bell_blocked", read_with_bell_blocked),
            ("waits_against_posts", waits_against_posts),
            ("read_against_signals", read_against_signals),
            ("results_come_through", results_come_through),
            ("wait_fd_by_hand", wait_fd_by_hand),
            ("idle_signals_do_not_wake", idle_signals_do_not_wake),
            ("refused_where_it_would_hang", refused_where_it_would_hang),
        ],
        victims: &[("signaller", signaller)],
    }
    .main()
}
