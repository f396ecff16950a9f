//! Waits with a mask of their own that are left by a jump, and what is interrupted afterwards.
//!
//! sigplane's handler cannot see the mask of such a wait, so the shim notes it; a note that is left behind must
//! not be taken for the mask of another system call.

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

fn main() {
    Suite { tests: &[("left_by_a_jump", left_by_a_jump)], victims: &[] }.main()
}
