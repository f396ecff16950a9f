//! Faults that belong to no guarded call, although one is in progress: they end the process as they would
//! without it.

use crate::{caught, divide_by_zero, fault_at, with_room, without_room};
use sigplane::fault::{self, guarded};
use sigplane::{Signal, Subscription, Verdict, send, subscribe, thread};
use sigplane_tests::{Running, raw, victim};
use std::ffi::{c_int, c_void};
use std::hint::black_box;

pub(crate) const VICTIMS: &[(&str, fn())] = &[
    ("handler_faults", handler_faults),
    ("jumped_over", jumped_over),
    ("jumped_over_and_called_again", jumped_over_and_called_again),
];

// A handler that interrupted the call faults: one of sigplane's, or somebody else's on the alternate stack,
// in the kernel or behind sigplane.
pub(crate) fn faults_of_handlers_are_not_the_calls() {
    for handler in ["immediate", "foreign", "behind"] {
        for (fault, expected) in
            [("read", libc::SIGSEGV), ("divide", libc::SIGFPE), ("trap", libc::SIGTRAP)]
        {
            for thread in ["main", "attached", "other", "bare"] {
                // Somebody else's handler on the stack of the call is the exception that is documented.
                if handler != "immediate" && thread == "bare" {
                    continue;
                }
                let mut command = victim("handler_faults");
                command.env("SIGPLANE_TEST_WHAT", format!("{handler} {fault} {thread}"));
                let (exit, output) = Running::start(command).finish();
                let what = format!("{handler} {fault} {thread}: {output}");
                assert_eq!(exit.signal(), Some(expected), "{what}");
                assert_eq!(output, "guarded\n", "{what}");
            }
        }
    }
}

static mut FAULT: fn() = || ();

extern "C" fn foreign(_: c_int) {
    unsafe { FAULT() };
}

const FOREIGN: extern "C" fn(c_int) = foreign;

fn in_handler() -> Subscription {
    let subscribed = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            FAULT();
            Verdict::Handled
        })
    };
    subscribed.unwrap()
}

fn handler_faults() {
    let what = std::env::var("SIGPLANE_TEST_WHAT").unwrap();
    let words: Vec<&str> = what.split(' ').collect();
    let fault: fn() = match words[1] {
        "read" => || _ = black_box(fault_at(1)),
        "divide" => divide_by_zero,
        _ => || unsafe { std::arch::asm!("int3") },
    };
    unsafe { FAULT = fault };
    fault::enable().unwrap();
    if words[0] != "immediate" {
        raw::install(libc::SIGUSR1, FOREIGN as usize, libc::SA_ONSTACK, &[]);
    }
    let _sub = match words[0] {
        "immediate" => Some(in_handler()),
        "behind" => Some(unsafe { subscribe(Signal::USR1).immediate(|_| Verdict::Pass) }.unwrap()),
        _ => None,
    };
    let run = || {
        let result = unsafe {
            guarded(|| {
                println!("guarded");
                send::raise(Signal::USR1).unwrap();
            })
        };
        println!("survived: {result:?}");
    };
    match words[2] {
        "main" => run(),
        "attached" => {
            thread::current();
            run();
        }
        _ => std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                if words[2] == "bare" {
                    without_room();
                } else {
                    with_room();
                }
                run();
            });
            thread.join().unwrap();
        }),
    }
}

unsafe extern "C" {
    fn guarded_land(call: extern "C" fn(*mut c_void), argument: *mut c_void) -> c_int;
    fn guarded_jump();
}

extern "C" fn jump_out(_: *mut c_void) {
    let _never = unsafe { guarded(|| guarded_jump()) };
}

// A frame that was left by a jump, against the contract, is not resumed; the next call is none the worse.
pub(crate) fn a_stale_frame_is_not_resumed() {
    let (exit, output) = Running::start(victim("jumped_over")).finish();
    assert_eq!((exit.signal(), &output[..]), (Some(libc::SIGSEGV), "jumping\n"), "{exit:?}");
    let (exit, output) = Running::start(victim("jumped_over_and_called_again")).finish();
    assert!(exit.success(), "{exit:?} {output}");
}

static mut REACHED: u64 = 0;

fn jumped_over() {
    fault::enable().unwrap();
    println!("jumping");
    let landed = unsafe { guarded_land(jump_out, std::ptr::null_mut()) };
    // At once, without a call: the stale frame is still whole. Were it resumed, this would be reached
    // again, and end otherwise.
    let mut reached = &raw mut REACHED;
    unsafe {
        std::arch::asm!(
            "inc qword ptr [{r}]",
            "cmp qword ptr [{r}], 1",
            "je 2f",
            "ud2",
            "2: xor {r:e}, {r:e}",
            "mov {r}, [{r}]",
            r = inout(reg) reached,
        )
    };
    black_box(reached);
    println!("survived {landed}");
}

fn jumped_over_and_called_again() {
    for address in 1..100 {
        assert_eq!(unsafe { guarded_land(jump_out, std::ptr::null_mut()) }, 1);
        assert_eq!(caught(unsafe { guarded(|| fault_at(address)) }), address);
        assert_eq!(unsafe { guarded(|| 5) }.ok(), Some(5));
    }
}
