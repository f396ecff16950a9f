//! What the shim costs a program that was never rebuilt: `sigaction` and delivery in processes without a
//! preloaded library, with the shim, with the shim as the owner of all, and with OpenJDK's libjsig.
//!
//! Each variant is a process for the whole run; they take turns, one batch per round each. Where no
//! libjsig is installed its figures are missing. libjsig remembers instead of asking the kernel for
//! signals that "the JVM" has set: those are its figures in the second and third row.

use crate::kernel::{self, expect_hits, rt};
use crate::measure::{Contender, Effort, Round, Series, interleave, per_operation};
use crate::report::{Figure, Group, Peer, Row};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{mem, ptr};

pub const GROUP: Group = Group {
    name: "shim",
    rows: &[
        Row {
            name: "sigaction sets, under the shim",
            series: "set",
            base: NONE,
            ours: SHIM,
            peers: &[Peer::of(JSIG)],
            figure: Figure::Ratio,
            target: Some(1.05),
        },
        Row {
            name: "sigaction asks, under the shim",
            series: "query",
            base: NONE,
            ours: SHIM,
            peers: &[Peer::of(OWN), Peer::of(JSIG)],
            figure: Figure::Ratio,
            target: Some(0.1),
        },
        Row {
            name: "sigaction sets what the kernel need not hear of",
            series: "virtual set",
            base: NONE,
            ours: OWN,
            peers: &[Peer::of(JSIG)],
            figure: Figure::Ratio,
            target: Some(0.1),
        },
        Row {
            name: "delivery to a lone legacy handler under the shim",
            series: "delivery",
            base: NONE,
            ours: SHIM,
            peers: &[Peer::of(OWN), Peer::of(MASK), Peer::of(JSIG)],
            figure: Figure::Ratio,
            target: Some(1.01),
        },
    ],
    children: &[("shim", shim)],
};

const NONE: &str = "none";
const SHIM: &str = "shim";
const OWN: &str = "shim that owns all";
const JSIG: &str = "libjsig";
/// What a handler costs that is entered with everything blocked, and puts its mask on: the least for an owned one.
const MASK: &str = "limit of an owned one";
const OPERATIONS: [&str; 4] = ["set", "query", "virtual set", "delivery"];

fn shim(effort: Effort) -> Vec<Series> {
    let shim = std::env::current_exe().expect("this executable");
    let shim = shim.with_file_name("libsigplane_compat.so");
    let mut variants = vec![(NONE, None, false), (SHIM, Some(shim.clone()), false)];
    variants.push((OWN, Some(shim), true));
    variants.extend(libjsig().map(|library| (JSIG, Some(library), false)));
    let measure = |operation: &'static str| {
        let contenders = variants
            .iter()
            .map(|(name, library, own)| actor(name, operation, library.as_ref(), *own));
        let mut contenders: Vec<_> = contenders.collect();
        if operation == "delivery" {
            contenders.push(actor(MASK, "delivery with a mask", None, false));
        }
        interleave(operation, effort.pick(300, 5), contenders)
    };
    OPERATIONS.map(measure).into()
}

fn libjsig() -> Option<PathBuf> {
    let machines = std::fs::read_dir("/usr/lib/jvm").ok()?.flatten();
    let mut found: Vec<_> = machines.map(|jvm| jvm.path().join("lib/libjsig.so")).collect();
    found.retain(|library| library.is_file());
    found.sort();
    found.pop()
}

#[allow(clippy::zombie_processes, reason = "it ends with its input, when this process ends")]
fn actor(
    name: &'static str,
    operation: &str,
    library: Option<&PathBuf>,
    own: bool,
) -> Contender<'static> {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command
        .args(["--actor", "shim", operation])
        .env_remove("LD_PRELOAD")
        .env_remove("SIGPLANE_OWN");
    if let Some(library) = library {
        command.env("LD_PRELOAD", library);
    }
    if own {
        command.env("SIGPLANE_OWN", "1");
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
    let mut requests = child.stdin.expect("piped");
    let mut answers = BufReader::new(child.stdout.expect("piped"));
    // It ends with its input.
    Contender::several(move |round: &mut Round| {
        writeln!(requests, "go").expect("it lives");
        let mut line = String::new();
        answers.read_line(&mut line).expect("it answers");
        let time = line.trim().parse().unwrap_or_else(|_| panic!("{name}: {line:?}"));
        round.insert(name.to_owned(), time);
    })
}

/// The measured process.
pub fn act(operation: &str) {
    kernel::deadline(std::time::Duration::from_secs(150));
    kernel::pin(0, kernel::two_cpus().0);
    let signal = rt(1);
    let as_the_jvm = |name: &std::ffi::CStr| {
        // SAFETY: a name; libjsig's functions take nothing and return nothing.
        unsafe {
            let found = libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr());
            if !found.is_null() {
                mem::transmute::<*mut libc::c_void, extern "C" fn()>(found)();
            }
        }
    };
    if matches!(operation, "query" | "virtual set") {
        as_the_jvm(c"JVM_begin_signal_setting");
    }
    if operation == "delivery with a mask" {
        set_masked(signal);
    } else {
        kernel::set_action(signal, kernel::bare);
    }
    if matches!(operation, "query" | "virtual set") {
        as_the_jvm(c"JVM_end_signal_setting");
    }
    let (pid, tid) = (kernel::pid(), kernel::tid());
    for _ in std::io::stdin().lock().lines() {
        let time = match operation {
            "set" | "virtual set" => set(signal),
            "query" => per_operation(2_000, || query(signal)),
            _ => {
                const BATCH: u64 = 400;
                let raise = || kernel::signal_self(pid, tid, signal);
                expect_hits(BATCH, || per_operation(BATCH as usize, raise))
            }
        };
        println!("{time}");
    }
}

/// Has the signal handled with everything blocked, by `masked`.
fn set_masked(signal: i32) {
    // SAFETY: all-zero is a valid `sigaction`; the handler is what `SA_SIGINFO` promises.
    let result = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = masked as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigfillset(&mut action.sa_mask);
        libc::sigaction(signal, &action, ptr::null_mut())
    };
    assert!(result == 0, "sigaction");
}

/// Puts on the mask that a handler without one of its own would have, and goes on to that.
unsafe extern "C" fn masked(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut std::ffi::c_void,
) {
    // SAFETY: the kernel passes its context, and reads eight bytes; nothing else is touched.
    unsafe {
        let interrupted: *const u64 =
            (&raw const (*context.cast::<libc::ucontext_t>()).uc_sigmask).cast();
        let mask = *interrupted | 1 << (signal - 1);
        let none = ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, none, 8);
        kernel::bare(signal, info, context);
    }
}

/// Two actions in turns, so that each is a change.
fn set(signal: i32) -> f64 {
    // SAFETY: all-zero is a valid `sigaction`; the handler is what `SA_SIGINFO` promises.
    let actions = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = kernel::bare as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        let mut other = action;
        other.sa_flags |= libc::SA_NODEFER;
        [action, other]
    };
    let mut turn = 0;
    per_operation(2_000, || {
        turn ^= 1;
        // SAFETY: a valid action.
        let result = unsafe { libc::sigaction(signal, &actions[turn], ptr::null_mut()) };
        assert!(result == 0, "sigaction");
    })
}

fn query(signal: i32) {
    // SAFETY: a query into a valid place.
    let result = unsafe {
        let mut old: libc::sigaction = mem::zeroed();
        libc::sigaction(signal, ptr::null(), std::hint::black_box(&mut old))
    };
    assert!(result == 0, "sigaction");
}
