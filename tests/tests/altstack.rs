//! Alternate stacks: who has which, who gets his own back, and that none is used after its end.

#![allow(
    clippy::disallowed_methods,
    reason = "the tests play a program that has stacks of its own"
)]

use sigplane::{Signal, Verdict, send, thread};
use sigplane_tests::{Suite, quick, victim};
use std::ffi::c_void;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};

/// The calling thread's alternate stack: where, how large, and whether there is one.
fn own() -> (usize, usize, bool) {
    let mut now = unsafe { std::mem::zeroed::<libc::stack_t>() };
    assert_eq!(unsafe { libc::sigaltstack(std::ptr::null(), &mut now) }, 0);
    (now.ss_sp as usize, now.ss_size, now.ss_flags & libc::SS_DISABLE == 0)
}

/// What the kernel's own frame may need on this processor, and some room to print.
fn enough() -> usize {
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    assert!(frame > 0, "the kernel tells the size of its frame");
    frame + 16 * 1024
}

fn assert_enough() {
    let (_, size, enabled) = own();
    assert!(enabled && size >= enough(), "{size} bytes, enabled: {enabled}");
}

/// Runs `body` on a raw thread, which Rust's runtime knows nothing of, to its end.
fn raw_thread(body: extern "C" fn(*mut c_void) -> *mut c_void) {
    let mut id = 0;
    assert_eq!(unsafe { libc::pthread_create(&mut id, std::ptr::null(), body, null_mut()) }, 0);
    let mut failed = null_mut();
    assert_eq!(unsafe { libc::pthread_join(id, &mut failed) }, 0);
    assert!(failed.is_null(), "it did not get to its end");
}

extern "C" fn attach(_: *mut c_void) -> *mut c_void {
    let _attached = thread::current();
    assert_enough();
    null_mut()
}

/// The main thread, threads of Rust (whose own stack is too small), and raw threads (which have
/// none): each has one that is large enough for this CPU once it is attached.
fn every_thread_has_one() {
    attach(null_mut());
    for _ in 0..10 {
        std::thread::spawn(|| attach(null_mut()) as usize).join().expect("it does not panic");
        raw_thread(attach);
    }
}

static BEFORE: AtomicUsize = AtomicUsize::new(0);
static FOUND: AtomicUsize = AtomicUsize::new(0);
static SEEN_AT_END: AtomicBool = AtomicBool::new(false);

/// A key's destructor after sigplane's: what does the thread have now?
unsafe extern "C" fn at_end(_: *mut c_void) {
    let (base, _, enabled) = own();
    FOUND.store(if enabled { base } else { 0 }, SeqCst);
    SEEN_AT_END.store(true, SeqCst);
}

/// Has `at_end` run on the calling thread after it has been detached.
fn look_at_end() {
    let mut key = 0;
    assert_eq!(unsafe { libc::pthread_key_create(&mut key, Some(at_end)) }, 0);
    let value = std::ptr::without_provenance::<c_void>(1);
    assert_eq!(unsafe { libc::pthread_setspecific(key, value) }, 0);
}

fn set_own(size: usize) -> usize {
    let memory = Vec::leak(vec![0u8; size]).as_mut_ptr();
    let stack = libc::stack_t { ss_sp: memory.cast(), ss_flags: 0, ss_size: size };
    assert_eq!(unsafe { libc::sigaltstack(&stack, null_mut()) }, 0);
    memory as usize
}

extern "C" fn with_a_large_one(_: *mut c_void) -> *mut c_void {
    let (size, base) = (1 << 20, set_own(1 << 20));
    let _attached = thread::current();
    assert_eq!(own(), (base, size, true));
    BEFORE.store(base, SeqCst);
    look_at_end();
    null_mut()
}

extern "C" fn with_a_small_one(_: *mut c_void) -> *mut c_void {
    let base = set_own(8 * 1024);
    let _attached = thread::current();
    assert_enough();
    assert_ne!(own().0, base);
    BEFORE.store(base, SeqCst);
    look_at_end();
    null_mut()
}

extern "C" fn with_none(_: *mut c_void) -> *mut c_void {
    attach(null_mut());
    BEFORE.store(0, SeqCst);
    look_at_end();
    null_mut()
}

extern "C" fn that_changes_it(_: *mut c_void) -> *mut c_void {
    attach(null_mut());
    BEFORE.store(set_own(256 * 1024), SeqCst);
    look_at_end();
    null_mut()
}

/// A thread keeps a stack that is large enough; a small one is replaced while it is attached and is
/// back afterwards; none is none again; and one set meanwhile is not touched. ("without taking away
/// the one it had"; BRIEF §7, "Never free or disable what you do not own".)
fn each_has_its_own_back() {
    let _attached = thread::current(); // Makes sigplane's key: its destructor comes before ours.
    for body in [with_a_large_one, with_a_small_one, with_none, that_changes_it] {
        SEEN_AT_END.store(false, SeqCst);
        raw_thread(body);
        assert!(SEEN_AT_END.load(SeqCst));
        assert_eq!(FOUND.load(SeqCst), BEFORE.load(SeqCst));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if depth == u64::MAX { frame[0] } else { recurse(depth + 1) + black_box(frame)[1] }
}

fn pass_on_faults() {
    let faults = sigplane::subscribe(Signal::SEGV);
    let faults = unsafe { faults.immediate(|_| Verdict::Pass) };
    faults.expect("SIGSEGV is taken in the immediate context").detach();
}

/// Overflows the stack of a Rust thread that is attached.
fn overflow_attached() {
    let thread = std::thread::Builder::new().name("deep".into());
    let deep = thread.spawn(|| {
        let _attached = thread::current();
        recurse(0)
    });
    let _never = deep.expect("a thread starts").join();
}

/// The same, with a subscriber of SIGSEGV in front of Rust's handler.
fn overflow_subscribed() {
    pass_on_faults();
    overflow_attached();
}

/// The same on the main thread.
fn overflow_main() {
    pass_on_faults();
    let _attached = thread::current();
    recurse(0);
}

/// Rust's own report of a stack overflow works on an attached thread: message and SIGABRT as
/// without sigplane. (BRIEF §7, "Alternate stacks are contested: Rust's runtime installs its own".)
fn rust_reports_its_overflow() {
    for (name, thread) in
        [("overflow_attached", "deep"), ("overflow_subscribed", "deep"), ("overflow_main", "main")]
    {
        let output = victim(name).stdin(Stdio::null()).output().expect("the victim starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.signal(),
            Some(libc::SIGABRT),
            "{name}: {:?} {text}",
            output.status
        );
        assert!(text.contains(&format!("thread '{thread}'")), "{name}: {text}");
        assert!(text.contains("has overflowed its stack"), "{name}: {text}");
    }
}

/// Ends the other threads of a scope, also when an assertion fails in it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

static TARGET: AtomicI32 = AtomicI32::new(0);
static ON_ALTERNATE: AtomicUsize = AtomicUsize::new(0);

/// A foreign handler that uses its stack.
extern "C" fn scribble(_: i32) {
    let frame = black_box([0x5au8; 4096]);
    let at = frame.as_ptr() as usize;
    let (base, size, _) = own();
    // A thread may be hit before it is attached, when it has none.
    if (base..base + size).contains(&at) {
        ON_ALTERNATE.fetch_add(1, SeqCst);
    }
}

extern "C" fn be_shot_at(_: *mut c_void) -> *mut c_void {
    let me = thread::current();
    TARGET.store(me.tid(), SeqCst);
    drop(sigplane::defer());
    send::raise(Signal::USR2).expect("to this thread");
    null_mut()
}

/// 10,000 threads end under a storm whose handlers all run on the alternate stack, sigplane's and a
/// foreign one: no handler ever runs on a stack that is gone, and no stack is left over. (BRIEF §7,
/// "Never free or disable what you do not own; disable before freeing what you do".)
fn nothing_dangles() {
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = scribble as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR2, &action, null_mut()) }, 0);
    // Sigplane stands in front of the foreign handler of one signal, and not of the other.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, null_mut()) }, 0);
    let front = sigplane::subscribe(Signal::USR1);
    let front = unsafe { front.immediate(|_| Verdict::Pass) }.expect("SIGUSR1 can be shared");
    let stop = AtomicBool::new(false);
    let maps =
        || std::fs::read_to_string("/proc/self/maps").expect("procfs is there").lines().count();
    std::thread::scope(|scope| {
        let _at_end = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let (target, seen) = (TARGET.load(SeqCst), ON_ALTERNATE.load(SeqCst));
                let _maybe_ended = send::to_thread(target, Signal::USR1);
                let _maybe_ended = send::to_thread(target, Signal::USR2);
                // As fast as they are handled, and no faster: the thread is to get on, too.
                let handled = || ON_ALTERNATE.load(SeqCst) != seen || TARGET.load(SeqCst) != target;
                (0..1000).take_while(|_| !handled()).for_each(|_| std::hint::spin_loop());
                std::thread::yield_now();
            }
        });
        let mut before = 0;
        for round in 0..quick(5_000) {
            raw_thread(be_shot_at);
            std::thread::spawn(|| be_shot_at(null_mut()) as usize)
                .join()
                .expect("it does not panic");
            if round == 100 {
                before = maps();
            }
        }
        assert!(maps() < before + 16, "{} mappings grew to {}", before, maps());
    });
    assert!(ON_ALTERNATE.load(SeqCst) >= quick(10_000) as usize, "each thread raised one");
    drop(front);
}

fn main() {
    Suite {
        tests: &[
            ("every_thread_has_one", every_thread_has_one),
            ("each_has_its_own_back", each_has_its_own_back),
            ("rust_reports_its_overflow", rust_reports_its_overflow),
            ("nothing_dangles", nothing_dangles),
        ],
        victims: &[
            ("overflow_attached", overflow_attached),
            ("overflow_subscribed", overflow_subscribed),
            ("overflow_main", overflow_main),
        ],
    }
    .main()
}
