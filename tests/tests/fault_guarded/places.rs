//! Where guarded calls can be made.

use crate::{caught, fault_at, with_room};
use sigplane::fault::{self, Region, guarded};
use sigplane::{FaultKind, Signal, Verdict, defer, send, subscribe, thread};
use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const PAGE: usize = 4096;

// The handler's own guard takes its own fault, and the guard of the code that it interrupts waits.
pub(crate) fn inside_a_region_handler() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let base = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_NONE, flags, -1, 0) };
    let start = base as usize;
    let region = unsafe {
        Region::new(start..start + PAGE, move |_| {
            let inner = guarded(|| fault_at(11));
            SEEN.store(inner.err().and_then(|fault| fault.address()).unwrap_or(0), SeqCst);
            libc::mprotect(start as *mut c_void, PAGE, libc::PROT_READ);
            Verdict::Handled
        })
    };
    let on_thread = |attached: bool| {
        if attached {
            thread::current();
        } else {
            with_room();
        }
        assert_eq!(fault_at(start), 0, "the region's");
        assert_eq!(SEEN.swap(0, SeqCst), 11);
        unsafe { libc::mprotect(start as *mut c_void, PAGE, libc::PROT_NONE) };
        // A guard comes before a region.
        assert_eq!(caught(unsafe { guarded(|| fault_at(start + 1)) }), start + 1);
        assert_eq!(SEEN.load(SeqCst), 0);
    };
    std::thread::scope(|scope| scope.spawn(|| on_thread(false)).join().unwrap());
    on_thread(true);
    drop(region);
}

// The same in a handler of a signal that interrupts a guarded call, which then faults itself.
pub(crate) fn inside_an_immediate_handler() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    fault::enable().unwrap();
    let _sub = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            let inner = guarded(|| {
                let _innermost = guarded(|| fault_at(21));
                fault_at(22)
            });
            SEEN.fetch_add(inner.err().and_then(|fault| fault.address()).unwrap_or(0), SeqCst);
            Verdict::Handled
        })
    };
    let on_thread = || {
        let outer = unsafe {
            guarded(|| {
                send::raise(Signal::USR1).unwrap();
                fault_at(23)
            })
        };
        assert_eq!((caught(outer), SEEN.swap(0, SeqCst)), (23, 22));
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            with_room();
            on_thread();
        });
        thread.join().unwrap();
    });
    thread::current();
    on_thread();
}

// A thread gets its record inside the call.
pub(crate) fn attached_in_the_middle() {
    let call = || {
        let result = unsafe {
            guarded(|| {
                thread::current();
                fault_at(31)
            })
        };
        assert_eq!(caught(result), 31);
        assert_eq!(caught(unsafe { guarded(|| fault_at(32)) }), 32);
    };
    fault::enable().unwrap();
    std::thread::scope(|scope| scope.spawn(call).join().unwrap());
}

// A thread that was made by C, without an alternate stack.
pub(crate) fn on_a_thread_of_c() {
    extern "C" fn run(seen: *mut c_void) -> *mut c_void {
        for address in 41..50 {
            let result =
                unsafe { guarded(|| guarded(|| fault_at(address)).map(|_| fault_at(address))) };
            let inner = result.ok().and_then(Result::err).and_then(|fault| fault.address());
            unsafe { *seen.cast::<usize>() += usize::from(inner == Some(address)) };
        }
        std::ptr::null_mut()
    }
    fault::enable().unwrap();
    let (mut id, mut seen) = (0, 0usize);
    let argument = (&raw mut seen).cast();
    assert_eq!(unsafe { libc::pthread_create(&raw mut id, std::ptr::null(), run, argument) }, 0);
    assert_eq!(unsafe { libc::pthread_join(id, std::ptr::null_mut()) }, 0);
    assert_eq!(seen, 9);
}

#[allow(unconditional_recursion, reason = "that is the point")]
fn endless(depth: u64) -> u64 {
    black_box(endless(black_box(depth) + 1)) + 1
}

// Where the thread has an alternate stack, an overflow is a value too, again and again.
pub(crate) fn stack_overflow() {
    let check = || {
        for _ in 0..5 {
            let fault = unsafe { guarded(|| endless(0)) }.unwrap_err();
            assert_eq!(fault.kind(), FaultKind::StackOverflow, "{fault}");
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::Builder::new().stack_size(256 << 10);
        let thread = threads.spawn_scoped(scope, move || {
            thread::current();
            check();
        });
        thread.unwrap().join().unwrap();
    });
    check();
}

unsafe extern "C" {
    fn victim_vfork(call: extern "C" fn(*mut c_void) -> c_int, argument: *mut c_void) -> c_int;
}

pub(crate) fn in_forked_and_vforked_children() {
    fn wait(child: i32) -> i32 {
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        status
    }
    for attached in [false, true] {
        if attached {
            thread::current();
        }
        // The guard is the child's as well as the parent's.
        let mut child = -1;
        let result = unsafe {
            guarded(|| {
                child = libc::fork();
                fault_at(if child == 0 { 51 } else { 52 })
            })
        };
        let address = caught(result);
        if child == 0 {
            let again = caught(unsafe { guarded(|| fault_at(53)) });
            unsafe { libc::_exit(if (address, again) == (51, 53) { 0 } else { 1 }) };
        }
        assert_eq!((address, wait(child)), (52, 0));

        extern "C" fn in_vfork(_: *mut c_void) -> c_int {
            let result = unsafe { guarded(|| fault_at(54)) };
            c_int::from(result.err().and_then(|fault| fault.address()) != Some(54))
        }
        let around = unsafe {
            guarded(|| {
                assert_eq!(victim_vfork(in_vfork, std::ptr::null_mut()), 0);
                fault_at(55)
            })
        };
        assert_eq!(caught(around), 55, "the child has shared the stack");
    }
}

// Inside a deferral a fault is not deferred, and the deferral goes on. One that a call leaves by a fault
// does not end: the contract says that nothing is given back.
pub(crate) fn in_and_around_deferrals() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let _sub = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            SEEN.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let deferral = defer();
    let result = unsafe {
        guarded(|| {
            send::raise(Signal::USR1).unwrap();
            fault_at(61)
        })
    };
    assert_eq!((caught(result), SEEN.load(SeqCst)), (61, 0), "still held back");
    drop(deferral);
    assert_eq!(SEEN.load(SeqCst), 1);

    let left = unsafe {
        guarded(|| {
            let _deferral = defer();
            fault_at(62)
        })
    };
    assert_eq!(caught(left), 62);
    send::raise(Signal::USR1).unwrap();
    assert_eq!(SEEN.load(SeqCst), 1, "the thread is in that deferral for ever");
    assert_eq!(caught(unsafe { guarded(|| fault_at(63)) }), 63, "faults go on");
}
