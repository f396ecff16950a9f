//! Rust's own handler for stack overflows, which stands behind sigplane: its message is printed and it
//! aborts, as without sigplane, unless somebody takes the fault.

use super::probe;
use sigplane::{FaultKind, fault, thread};
use sigplane_tests::{Running, quick, victim};
use std::hint::black_box;

#[inline(never)]
#[allow(unconditional_recursion, reason = "this is what a stack overflow is")]
fn recurse(depth: usize) -> usize {
    let room = black_box([depth; 64]);
    recurse(room[0] + 1) + room[1]
}

/// On the main thread and on others, with and without sigplane, attached or not: the same end.
pub fn rust_overflow() {
    let end = |how: &str| {
        let mut command = victim("overflows");
        command.env("HOW", how);
        let (exit, output) = Running::start(command).finish();
        (exit.signal(), output.contains("has overflowed its stack"), output)
    };
    for how in ["main bare", "main", "main attached", "thread bare", "thread", "thread attached"] {
        let (signal, said, output) = end(how);
        assert_eq!((signal, said), (Some(libc::SIGABRT), true), "{how}: {output}");
        let name = if how.starts_with("main") { "main" } else { "deep" };
        assert!(output.contains(&format!("thread '{name}'")), "{how}: {output}");
        assert!(!output.contains("survived"), "{how}: {output}");
    }
}

pub fn overflows() {
    unsafe { libc::dup2(1, 2) };
    let how = std::env::var("HOW").expect("told how");
    let (bare, attached) = (how.contains("bare"), how.contains("attached"));
    let run = move || {
        if attached {
            thread::current();
        }
        if !bare {
            probe::everything();
        }
        println!("survived? {}", recurse(0));
        println!("survived");
    };
    if how.starts_with("main") {
        run();
    } else {
        let deep = std::thread::Builder::new().name("deep".into()).spawn(run).unwrap();
        deep.join().unwrap();
    }
}

/// A guard takes it, on four threads and the main thread, again and again, and everything goes on.
pub fn taken() {
    let round = || {
        for _ in 0..quick(100) {
            let overflow =
                unsafe { fault::guarded(|| recurse(0)) }.expect_err("no stack is so big");
            assert_eq!(overflow.kind(), FaultKind::StackOverflow);
            probe::access();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(round);
        }
        round();
    });
    probe::everything();
}
