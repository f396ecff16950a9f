//! The part in the process that crashes.
//!
//! **`on_fatal` and `on_overflow` run inside signal handlers**, of a process of which nothing may be
//! relied on: no allocation, no lock, no formatting. They copy what they are given, and make system calls.

use crate::record::Record;
use sigplane::fault::{Fatal, FaultContext, LastChance, Region, last_chance};
use sigplane::{FaultKind, Signal, SignalSet, Verdict};
use std::error::Error;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// How long a crash waits for its report.
const PATIENCE_MS: i32 = 20_000;

/// Reports crashes until it is dropped; the helper ends when the socket is closed.
pub struct Reporter {
    // In this order: the hooks use the socket.
    _hook: LastChance,
    _note: Region,
    _socket: UnixStream,
}

impl Reporter {
    /// Starts the helper, and installs the hook for every signal that means a crash.
    pub fn start(directory: &Path) -> Result<Self, Box<dyn Error>> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut helper = Command::new(std::env::current_exe()?);
        helper.arg("--helper").arg("--directory").arg(directory);
        helper.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        // Not ended by a Ctrl-C at the terminal before we are.
        let helper = helper.process_group(0).spawn()?;
        // Where only ancestors may look into a process (the Yama module), say who else may. The kernel
        // without that module refuses the question, not the access.
        // SAFETY: one number to and fro.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, helper.id() as libc::c_ulong) };

        let socket = ours.as_raw_fd();
        // SAFETY: the handler copies, and makes system calls.
        let note = unsafe {
            Region::with_priority(0..usize::MAX, i32::MIN, move |context| {
                on_overflow(socket, context);
                Verdict::Pass
            })
        }?;
        // Rust's runtime answers a stack overflow with SIGABRT.
        let deadly = SignalSet::FAULTS | Signal::ABRT;
        // SAFETY: as above.
        let hook = unsafe { last_chance(deadly, 0, move |fatal| on_fatal(socket, fatal)) }?;
        Ok(Self { _hook: hook, _note: note, _socket: ours })
    }
}

/// The process is about to end: tells the helper, and waits for its answer, or its end, or the limit.
fn on_fatal(socket: RawFd, fatal: &Fatal<'_>) {
    let context = fatal.machine_context();
    let (info, sender) = (fatal.info(), fatal.event().sender());
    let record = Record {
        fatal: true,
        pid: std::process::id() as i32,
        tid: fatal.thread(),
        signal: info.si_signo,
        code: info.si_code,
        sender: sender.map(|sender| sender.pid),
        fault: fatal.fault(),
        registers: context.map(|context| context.uc_mcontext.gregs),
        in_handler: context.is_some_and(is_in_handler),
    };
    if !send(socket, &record) {
        return; // There is no helper any more.
    }
    let mut answer = libc::pollfd { fd: socket, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry. A handler of sigplane's is not interrupted by other signals.
    unsafe { libc::poll(&raw mut answer, 1, PATIENCE_MS) };
}

/// A stack overflow that nobody has taken so far, and that somebody behind us may turn into SIGABRT.
fn on_overflow(socket: RawFd, context: &mut FaultContext<'_>) {
    let fault = context.fault();
    if fault.kind() != FaultKind::StackOverflow {
        return;
    }
    let info = context.info();
    let (signal, code) = (info.si_signo, info.si_code);
    // SAFETY: has no preconditions.
    let tid = unsafe { libc::gettid() };
    let record = Record {
        fatal: false,
        pid: std::process::id() as i32,
        tid,
        signal,
        code,
        sender: None,
        fault: Some(fault),
        registers: Some(context.raw().uc_mcontext.gregs),
        in_handler: false,
    };
    send(socket, &record);
}

/// Whether the signal interrupted code on the alternate stack.
fn is_in_handler(context: &libc::ucontext_t) -> bool {
    let (stack, sp) = (&context.uc_stack, context.uc_mcontext.gregs[libc::REG_RSP as usize]);
    stack.ss_flags & libc::SS_DISABLE == 0
        && (sp as usize).wrapping_sub(stack.ss_sp as usize) < stack.ss_size
}

fn send(socket: RawFd, record: &Record) -> bool {
    // No SIGPIPE, which would be the end by another signal; no waiting for room, as there always is some.
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the record is valid for its size.
    let sent = unsafe { libc::send(socket, record.as_ptr(), size_of::<Record>(), flags) };
    sent == size_of::<Record>() as isize
}
