//! Guarded calls: faults as values, nested, on any thread and inside handlers; what they leave as it was,
//! and which faults are not theirs. The point "Guarded calls", BRIEF §5 (step 2) and §8.

#[path = "fault_guarded/deaths.rs"]
mod deaths;
#[path = "fault_guarded/places.rs"]
mod places;

use sigplane::fault::{self, Fault, guarded};
use sigplane::{FaultKind, Signal, Verdict, send, subscribe, thread};
use sigplane_tests::{Suite, eventually, quick, raw};
use std::arch::asm;
use std::ffi::c_void;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// Reads where nothing is, near address 0.
fn fault_at(address: usize) -> u8 {
    unsafe { std::ptr::without_provenance::<u8>(address).read_volatile() }
}

fn divide_by_zero() {
    unsafe { asm!("div {z:e}", z = in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _) };
}

fn caught<R>(result: Result<R, Fault>) -> usize {
    result.err().expect("a fault").address().expect("its address")
}

// What comes back: any value, any kind of fault, and a panic as if there were no guard.
fn values() {
    assert_eq!(unsafe { guarded(|| 7) }.ok(), Some(7));
    assert_eq!(unsafe { guarded(|| ()) }.ok(), Some(()));
    let large: [u64; 512] = std::array::from_fn(|at| at as u64);
    assert_eq!(unsafe { guarded(|| large.map(|word| word + 1)) }.ok().unwrap()[511], 512);
    let text = String::from("moved in and out");
    assert_eq!(unsafe { guarded(move || text) }.ok().unwrap(), "moved in and out");

    let read = unsafe { guarded(|| fault_at(33)) }.unwrap_err();
    assert_eq!(
        (read.kind(), read.address(), read.access(), read.signal(), read.done()),
        (FaultKind::Unmapped, Some(33), Some(fault::Access::Read), Signal::SEGV, 0)
    );
    let write = || unsafe { std::ptr::without_provenance_mut::<u64>(48).write_volatile(1) };
    let write = unsafe { guarded(write) }.unwrap_err();
    assert_eq!((write.address(), write.access()), (Some(48), Some(fault::Access::Write)));
    let execute = || unsafe { std::mem::transmute::<usize, extern "C" fn()>(64)() };
    let execute = unsafe { guarded(execute) }.unwrap_err();
    assert_eq!((execute.pc(), execute.access()), (64, Some(fault::Access::Execute)));
    let kind = |call: fn()| unsafe { guarded(call) }.unwrap_err().kind();
    assert_eq!(kind(divide_by_zero), FaultKind::IntegerDivision);
    assert_eq!(kind(|| unsafe { asm!("ud2") }), FaultKind::Instruction);
    assert_eq!(kind(|| unsafe { asm!("int3") }), FaultKind::Breakpoint);
    assert_eq!(kind(|| unsafe { asm!("hlt") }), FaultKind::Privileged);

    std::panic::set_hook(Box::new(|_| ()));
    let call = || unsafe { guarded(|| std::panic::panic_any(5u8)) };
    let payload = std::panic::catch_unwind(call).expect_err("it goes on");
    let _default = std::panic::take_hook();
    assert_eq!(payload.downcast_ref::<u8>(), Some(&5));
    // Nothing of it is left: the next fault finds its own guard.
    assert_eq!(caught(unsafe { guarded(|| fault_at(1)) }), 1);
}

// The innermost takes it; when that has ended, the one around it does.
fn nesting() {
    let outer = unsafe {
        guarded(|| {
            assert_eq!(caught(guarded(|| fault_at(1))), 1);
            assert_eq!(guarded(|| 5).ok(), Some(5));
            assert_eq!(caught(guarded(|| fault_at(2))), 2);
            let panicked =
                std::panic::catch_unwind(|| guarded(|| std::panic::resume_unwind(Box::new(0))));
            assert!(panicked.is_err());
            fault_at(3)
        })
    };
    assert_eq!(caught(outer), 3);

    fn deep(level: usize) -> usize {
        if level == 0 {
            return 0;
        }
        let inner = unsafe { guarded(|| deep(level - 1)) };
        assert_eq!(inner.ok(), Some(level - 1));
        assert_eq!(caught(unsafe { guarded(|| fault_at(level)) }), level);
        level
    }
    assert_eq!(deep(200), 200);
    // Out of many at once, to the one that is left.
    fn dive(level: usize) -> Result<u8, Fault> {
        if level == 0 { Ok(fault_at(77)) } else { black_box(dive(level - 1)) }
    }
    assert_eq!(caught(unsafe { guarded(|| dive(300)) }), 77);
}

fn stack_pointer() -> usize {
    let at;
    unsafe { asm!("mov {}, rsp", out(reg) at, options(nomem, nostack)) };
    at
}

// Eight threads, with and without a record, a million faults, a signal now and then: each gets its own, and
// the stack is where it was.
fn a_million_on_eight_threads() {
    static SIGNALS: AtomicU64 = AtomicU64::new(0);
    let _sub = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            SIGNALS.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let (each, done) = (quick(1_000_000) / 8, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8usize)
            .map(|number| {
                scope.spawn(move || {
                    if number % 2 == 0 {
                        thread::current();
                    }
                    let (mut places, mut first) = (0, 0);
                    for turn in 0..each as usize {
                        let address = 8 + number * 64 + turn % 64;
                        let mut place = 0;
                        let result = unsafe {
                            guarded(|| {
                                place = stack_pointer();
                                fault_at(address)
                            })
                        };
                        assert_eq!(caught(result), address);
                        places += usize::from(place != first);
                        first = place;
                    }
                    assert_eq!(places, 1, "the stack grows");
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(SeqCst) {
                send::to_process(std::process::id() as i32, Signal::USR1).unwrap();
                std::thread::yield_now();
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        eventually("a signal", || SIGNALS.load(SeqCst) > 0);
        done.store(true, SeqCst);
    });
    let faults = sigplane::table().faults;
    assert_eq!((faults.by_guard, faults.in_handlers), (each as usize * 8, 0));
}

unsafe extern "C" {
    fn guarded_spoil();
    fn guarded_intact(call: extern "C" fn(*mut c_void), argument: *mut c_void) -> u64;
}

// After a fault, what a function preserves is as it was, whatever the call has done to it.
fn registers_are_intact() {
    extern "C" fn spoiled(caught: *mut c_void) {
        let result = unsafe { guarded(|| guarded_spoil()) };
        unsafe { *caught.cast::<bool>() = result.is_err() };
    }
    // Enabled before the control words are unusual.
    fault::enable().unwrap();
    for attached in [false, true] {
        if attached {
            thread::current();
        }
        let mut caught = false;
        let broken = unsafe { guarded_intact(spoiled, (&raw mut caught).cast()) };
        assert_eq!((caught, broken), (true, 0), "bits as in victims/guarded.c");
    }
}

#[allow(clippy::disallowed_methods, reason = "looks only")]
fn alternate_stack() -> (usize, usize, i32) {
    let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
    assert_eq!(unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) }, 0);
    (stack.ss_sp as usize, stack.ss_size, stack.ss_flags)
}

/// Gives the calling thread, which has no record, an alternate stack with room for a fault inside a handler
/// in a build without optimisation. That of Rust's runtime has not.
fn with_room() {
    let stack = vec![0u8; 128 << 10].leak();
    set_alternate_stack(libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    });
}

/// Takes it away: handlers run on the stack of the code that they interrupt.
fn without_room() {
    let none =
        libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    set_alternate_stack(none);
}

#[allow(clippy::disallowed_methods, reason = "plays the runtime")]
fn set_alternate_stack(stack: libc::stack_t) {
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) }, 0);
}

fn errno() -> &'static mut i32 {
    unsafe { &mut *libc::__errno_location() }
}

// Mask, alternate stack and errno; a mask that the call has changed stays as the call has left it.
fn the_thread_is_intact() {
    fault::enable().unwrap();
    let check = || {
        let before = (raw::mask(), alternate_stack(), stack_pointer());
        let kinds: [fn(); 4] = [
            || _ = black_box(fault_at(9)),
            divide_by_zero,
            || unsafe { asm!("ud2") },
            || unsafe { asm!("int3") },
        ];
        for call in kinds {
            *errno() = 77;
            assert!(unsafe { guarded(call) }.is_err());
            assert_eq!(*errno(), 77);
            assert_eq!((raw::mask(), alternate_stack(), stack_pointer()), before);
        }
        let usr2 = raw::bit(libc::SIGUSR2);
        let blocks = unsafe {
            guarded(|| {
                raw::set_mask(before.0 | usr2);
                fault_at(10)
            })
        };
        assert_eq!((caught(blocks), raw::mask()), (10, before.0 | usr2));
        raw::set_mask(before.0);
    };
    check();
    std::thread::scope(|scope| scope.spawn(check).join().unwrap());
    raw::set_mask(raw::bit(libc::SIGTERM));
    thread::current();
    check();
}

fn main() {
    Suite {
        tests: &[
            ("values", values),
            ("nesting", nesting),
            ("a_million_on_eight_threads", a_million_on_eight_threads),
            ("registers_are_intact", registers_are_intact),
            ("the_thread_is_intact", the_thread_is_intact),
            ("inside_a_region_handler", places::inside_a_region_handler),
            ("inside_an_immediate_handler", places::inside_an_immediate_handler),
            ("attached_in_the_middle", places::attached_in_the_middle),
            ("on_a_thread_of_c", places::on_a_thread_of_c),
            ("stack_overflow", places::stack_overflow),
            ("in_forked_and_vforked_children", places::in_forked_and_vforked_children),
            ("in_and_around_deferrals", places::in_and_around_deferrals),
            ("faults_of_handlers_are_not_the_calls", deaths::faults_of_handlers_are_not_the_calls),
            ("a_stale_frame_is_not_resumed", deaths::a_stale_frame_is_not_resumed),
        ],
        victims: deaths::VICTIMS,
    }
    .main()
}
