//! Waits with a mask of their own that do not return: they are left by a jump, or cancelled.
//!
//! sigplane's handler cannot see the mask of such a wait, so the shim notes it; a note that is left behind must
//! not be taken for the mask of another system call. And libc unwinds a thread that is cancelled, or ends by
//! `pthread_exit`, through every frame of it, the shim's too.

use sigplane_tests::Suite;
use sigplane_tests_shim::compile;
use sigplane_tests_shim::program::{Scratch, alike, observe};
use std::process::Command;

/// sigsuspend, ppoll, pselect and epoll_pwait are left by `siglongjmp` out of a handler that the kernel enters;
/// then `read` is interrupted, at several depths of the stack, by a signal that somebody subscribes to.
fn left_by_a_jump() {
    let scratch = Scratch::new("waits");
    let left = compile::c("waits/left.c", scratch.path().join("left"), &["-pthread", "-ldl"]);
    let model = alike(|mode| observe(mode, Command::new(&left)));
    let good = "wait 0: 0 wrong\nwait 1: 0 wrong\nwait 2: 0 wrong\nwait 3: 0 wrong\nCode(0)\n";
    assert_eq!(model, good);
}

/// Threads that are cancelled in every call that waits, at once and when they sleep, or leave by `pthread_exit`:
/// their clean-up handlers run.
fn cancelled() {
    let scratch = Scratch::new("cancelled");
    let program = scratch.path().join("cancelled");
    let old_names = "-Wno-deprecated-declarations";
    let options = ["-pthread", "-fexceptions", "-ldl", old_names];
    let cancelled = compile::c("waits/cancelled.c", program, &options);
    let model = alike(|mode| observe(mode, Command::new(&cancelled)));
    let good = |way| format!("way {way}: 40 of 40 cancelled and cleaned\n");
    assert_eq!(model, (0..8).map(good).collect::<String>() + "exit: cleaned\nCode(0)\n");
}

/// Waits that are made by libc's `syscall` are waits as any others.
fn by_system_call() {
    let scratch = Scratch::new("raw-waits");
    let raw = compile::c("waits/raw.c", scratch.path().join("raw"), &[]);
    let model = alike(|mode| observe(mode, Command::new(&raw)));
    let good = |way| format!("way {way}: -1, nested 1\n");
    assert_eq!(model, (0..5).map(good).collect::<String>() + "Code(0)\n");
}

fn main() {
    Suite {
        tests: &[
            ("left_by_a_jump", left_by_a_jump),
            ("cancelled", cancelled),
            ("by_system_call", by_system_call),
        ],
        victims: &[],
    }
    .main()
}
