//! Stack overflows, on every kind of stack; and what lies near a stack and is none.

use sigplane::fault::{self, Fault};
use sigplane::{FaultKind, Signal};
use sigplane_tests::{Running, quick, victim};
use std::hint::black_box;

/// Uses up the stack, a little at a time.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 16]);
    recurse(depth + 1) + frame[depth % 16]
}

/// A frame of two megabytes at once.
#[inline(never)]
fn huge(seed: u8) -> u8 {
    let frame = black_box([seed; 2 << 20]);
    frame[usize::from(seed)]
}

/// Has a call overflow the stack; the fault.
fn overflow() -> Fault {
    // SAFETY: the frames hold numbers.
    unsafe { fault::guarded(|| black_box(recurse(0))) }.unwrap_err()
}

/// Address and stack of an overflow are near each other; what the kernel said depends on the guard.
#[track_caller]
fn check(fault: &Fault) {
    assert_eq!(
        (fault.kind(), fault.signal()),
        (FaultKind::StackOverflow, Signal::SEGV),
        "{fault:?}"
    );
    assert!(fault.address().is_some() && fault.access().is_some(), "{fault:?}");
    assert_eq!(fault.to_string().split(',').next(), Some("stack overflow"));
}

fn on_thread(size: usize, attached: bool, work: fn() -> Fault) -> Fault {
    let run = move || {
        if attached {
            sigplane::thread::current();
        }
        work()
    };
    std::thread::Builder::new().stack_size(size).spawn(run).unwrap().join().unwrap()
}

/// The stack's limit is that of growth: the main thread's has no guard page.
pub fn of_the_main_thread() {
    let here = black_box(0u8);
    let fault = overflow();
    check(&fault);
    assert!(fault.address().unwrap() < (&raw const here).addr());
    for _ in 0..10 {
        check(&overflow());
    }
}

pub fn of_threads() {
    for attached in [true, false] {
        for size in [64 << 10, 1 << 20, 8 << 20] {
            check(&on_thread(size, attached, overflow));
        }
        // SAFETY: numbers.
        let one = || unsafe { fault::guarded(|| black_box(huge(1))) }.unwrap_err();
        check(&on_thread(256 << 10, attached, one));
    }
}

/// A thread of C's, with a guard of the size it wants.
fn with_guard(guard: usize) -> Fault {
    extern "C" fn run(result: *mut libc::c_void) -> *mut libc::c_void {
        sigplane::thread::current(); // Otherwise it would have no alternate stack.
        // SAFETY: the place of the waiting thread.
        unsafe { result.cast::<Option<Fault>>().write(Some(overflow())) };
        std::ptr::null_mut()
    }
    let mut result: Option<Fault> = None;
    // SAFETY: pthread's own calls, with valid arguments.
    unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        assert_eq!(libc::pthread_attr_init(&raw mut attributes), 0);
        assert_eq!(libc::pthread_attr_setstacksize(&raw mut attributes, 256 << 10), 0);
        assert_eq!(libc::pthread_attr_setguardsize(&raw mut attributes, guard), 0);
        let (mut thread, at) = (0, (&raw mut result).cast());
        assert_eq!(libc::pthread_create(&raw mut thread, &raw const attributes, run, at), 0);
        assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
    }
    result.expect("the thread has written it")
}

pub fn of_guards_of_any_size() {
    for guard in [4096, 64 << 10, 3 << 20] {
        check(&with_guard(guard));
    }
}

/// Memory with a guard page below it, of one of two makes.
fn stack(size: usize, light: bool) -> usize {
    const MADV_GUARD_INSTALL: i32 = 102;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, of which the lowest page is made a guard.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), size + 4096, protection, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        if light {
            if libc::madvise(at, 4096, MADV_GUARD_INSTALL) != 0 {
                return 0;
            }
        } else {
            assert_eq!(libc::mprotect(at, 4096, libc::PROT_NONE), 0);
        }
        at as usize + 4096
    }
}

/// Calls `recurse` on another stack, as a coroutine does.
fn overflow_on(base: usize, size: usize) -> Fault {
    extern "C" fn run() {
        black_box(recurse(0));
    }
    // SAFETY: the memory is a stack; the fault leaves it.
    let result = unsafe {
        fault::guarded(|| {
            std::arch::asm!(
                "mov r12, rsp",
                "mov rsp, {top}",
                "call {run}",
                "mov rsp, r12",
                top = in(reg) base + size,
                run = sym run,
                out("r12") _,
                clobber_abi("C"),
            );
        })
    };
    result.unwrap_err()
}

// A stack that nobody told sigplane of; it may be above the thread's own.
pub fn of_a_hand_made_stack() {
    sigplane::thread::current();
    let size = 128 << 10;
    // On the thread's own stack the frame of the guard is above, in the address space, or below.
    for light in [false, true] {
        let base = stack(size, light);
        if base == 0 {
            println!("no MADV_GUARD_INSTALL");
            continue;
        }
        let fault = overflow_on(base, size);
        check(&fault);
        assert!((base - 4096..base).contains(&fault.address().unwrap()), "{fault:?}");
    }
}

// The alternate stack lies directly above a small stack: a fault of that is no overflow of the other.
#[allow(clippy::disallowed_methods, reason = "plays a program with a stack of its own")]
pub fn below_an_alternate_stack() {
    let memory = stack(1 << 20, false);
    let middle = memory + (512 << 10);
    let alternate = libc::stack_t { ss_sp: middle as *mut _, ss_flags: 0, ss_size: 512 << 10 };
    // SAFETY: a stack of its own.
    #[allow(clippy::disallowed_methods, reason = "a stack made by hand")]
    unsafe {
        assert_eq!(libc::sigaltstack(&raw const alternate, std::ptr::null_mut()), 0)
    };
    extern "C" fn run() {
        let fault = fault::try_read(16 as *const u64).unwrap_err();
        assert_eq!((fault.kind(), fault.address()), (FaultKind::Unmapped, Some(16)));
    }
    // SAFETY: as above; it comes back.
    unsafe {
        std::arch::asm!(
            "mov r12, rsp",
            "mov rsp, {top}",
            "call {run}",
            "mov rsp, r12",
            top = in(reg) middle,
            run = sym run,
            out("r12") _,
            clobber_abi("C"),
        );
    }
}

// Another thread's guard page, and wild pointers around the own stack.
pub fn what_is_none() {
    let theirs = std::thread::Builder::new().stack_size(16 << 10).spawn(|| {
        // SAFETY: pthread's own calls.
        let guard = unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes), 0);
            let (mut at, mut size) = (std::ptr::null_mut(), 0);
            libc::pthread_attr_getstack(&raw const attributes, &raw mut at, &raw mut size);
            at as usize - 8
        };
        // Alive for as long as others look.
        std::sync::mpsc::channel::<()>().1.recv_timeout(std::time::Duration::ZERO).unwrap_err();
        let other = std::thread::Builder::new()
            .stack_size(16 << 10)
            .spawn(move || fault::try_read(guard as *const u64).map(drop).unwrap_err());
        (other.unwrap().join().unwrap(), fault::try_read((guard - 2000) as *const u8))
    });
    let (fault, _own) = theirs.unwrap().join().unwrap();
    assert_eq!(fault.kind(), FaultKind::Protected, "{fault:?}");
    // The main thread's stack grows to where it is touched, as long as its limit allows.
    let here = (&raw const fault).addr();
    let below = fault::try_read((here - (300 << 10)) as *const u64);
    assert_eq!(below.ok(), Some(0));
    // Protected memory that is not below the stack.
    let closed = stack(4096, false) - 4096;
    assert_eq!(fault::try_read(closed as *const u8).unwrap_err().kind(), FaultKind::Protected);
}

// After a recovered overflow the stack is as good as before.
pub fn again_and_again() {
    let rounds = quick(10_000);
    let run = move || {
        sigplane::thread::current();
        for _ in 0..rounds {
            check(&overflow());
        }
        recurse_to(100)
    };
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(run).unwrap();
    assert_eq!(thread.join().unwrap(), 100);
}

#[inline(never)]
fn recurse_to(depth: usize) -> usize {
    if depth == 0 { 0 } else { 1 + recurse_to(black_box(depth - 1)) }
}

// When nobody takes it, Rust says what it always says, and aborts; on the main thread and others.
pub fn nobody_takes() {
    for name in ["overflows", "overflows_on_a_thread", "overflows_attached"] {
        let mut command = victim(name);
        command.stderr(std::process::Stdio::piped());
        let (mut reader, writer) = std::io::pipe().unwrap();
        command.stderr(writer);
        let child = Running::start(command);
        let (exit, output) = child.finish();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut reader, &mut said).unwrap();
        assert_eq!(exit.signal(), Some(libc::SIGABRT), "{name}: {output} {said}");
        assert!(said.contains("has overflowed its stack"), "{name}: {said}");
    }
}

pub fn overflows() {
    fault::enable().unwrap();
    black_box(recurse(0));
}

pub fn overflows_on_a_thread() {
    fault::enable().unwrap();
    std::thread::spawn(|| recurse(0)).join().unwrap();
}

pub fn overflows_attached() {
    fault::enable().unwrap();
    let run = || {
        sigplane::thread::current();
        recurse(0)
    };
    std::thread::spawn(run).join().unwrap();
}
