//! The report's text.

use crate::backtrace;
use crate::process::Process;
use crate::record::Record;
use libc::c_int;
use sigplane::Signal;
use std::fmt::Write;

/// The registers, four to a line.
const REGISTERS: [(&str, c_int); 18] = [
    ("rax", libc::REG_RAX),
    ("rbx", libc::REG_RBX),
    ("rcx", libc::REG_RCX),
    ("rdx", libc::REG_RDX),
    ("rsi", libc::REG_RSI),
    ("rdi", libc::REG_RDI),
    ("rbp", libc::REG_RBP),
    ("rsp", libc::REG_RSP),
    ("r8", libc::REG_R8),
    ("r9", libc::REG_R9),
    ("r10", libc::REG_R10),
    ("r11", libc::REG_R11),
    ("r12", libc::REG_R12),
    ("r13", libc::REG_R13),
    ("r14", libc::REG_R14),
    ("r15", libc::REG_R15),
    ("rip", libc::REG_RIP),
    ("eflags", libc::REG_EFL),
];

/// All of it: of `cause`, if the signal is only what became of that, and of `record` otherwise.
pub fn text(process: &Process, record: &Record, cause: Option<&Record>) -> String {
    let origin = cause.unwrap_or(record);
    let mut text = String::new();
    let mut line = |what: &str, value: String| {
        let _infallible = writeln!(text, "{what:<10}{value}");
    };
    line("process", format!("{} ({})", record.pid, process.name));
    line("thread", format!("{} ({})", record.tid, process.thread_name(record.tid)));
    line("command", process.command.clone());
    line("signal", signal(record));
    if let Some(cause) = cause {
        line("cause", format!("{}, whose handler called abort", signal(cause)));
    }
    if let Some(fault) = origin.fault {
        line("kind", format!("{}", fault.kind()));
        line("address", fault.address().map_or("unknown".to_owned(), |at| format!("{at:#x}")));
        let access = fault.access().map(|access| format!("{access:?}").to_lowercase());
        line("access", access.unwrap_or_else(|| "not to memory, or unknown".to_owned()));
    }
    text.push_str("\nbacktrace\n");
    text.push_str(&backtrace::text(process, origin));
    text.push_str("\nregisters\n");
    registers(origin, &mut text);
    code(process, origin, &mut text);
    text.push_str("\nmappings\n");
    mappings(process, origin, &mut text);
    text.push_str("\nthreads\n");
    for thread in &process.threads {
        let mark = if thread.tid == record.tid { "  <- this one" } else { "" };
        let _infallible = writeln!(text, "{:8}  {}{mark}", thread.tid, thread.name);
    }
    text
}

fn signal(record: &Record) -> String {
    let signal = Signal::try_from(record.signal);
    let name = signal.map_or_else(|_| "?".to_owned(), |signal| signal.to_string());
    let mut text = format!("{name} ({}), code {}", record.signal, record.code);
    if let Some(sender) = record.sender {
        let who = if sender == record.pid { " (itself)" } else { "" };
        let _infallible = write!(text, ", sent by process {sender}{who}");
    }
    text
}

fn registers(record: &Record, text: &mut String) {
    for four in REGISTERS.chunks(4) {
        for (name, index) in four {
            let value = record.register(*index).unwrap_or(0);
            let _infallible = write!(text, "  {name:>6} {value:016x}");
        }
        text.push('\n');
    }
}

/// The bytes at the program counter.
fn code(process: &Process, record: &Record, text: &mut String) {
    let mut bytes = [0; 16];
    let read = record.pc().map_or(0, |pc| process.read(pc, &mut bytes));
    text.push_str("    code");
    for byte in bytes.iter().take(read) {
        let _infallible = write!(text, " {byte:02x}");
    }
    text.push_str(if read == 0 { " cannot be read\n" } else { "\n" });
}

/// The mappings that program counter, stack pointer and address are in, with their neighbours.
fn mappings(process: &Process, record: &Record, text: &mut String) {
    let address = record.fault.and_then(|fault| fault.address()).map(|at| at as u64);
    let marks = [("pc", record.pc()), ("sp", record.sp()), ("address", address)];
    let holds = |index: usize| process.maps.get(index).map(|mapping| &mapping.range);
    let near = |index: usize, at: u64| {
        let next = index + 1;
        let inside = |index| holds(index).is_some_and(|range| range.contains(&at));
        let gap_above = holds(index).is_some_and(|range| range.end <= at)
            && holds(next).is_none_or(|range| at < range.start);
        let gap_below = holds(index).is_some_and(|range| at < range.start)
            && (index == 0 || holds(index - 1).is_some_and(|range| range.end <= at));
        inside(index) || inside(next) || (index > 0 && inside(index - 1)) || gap_above || gap_below
    };
    for (index, mapping) in process.maps.iter().enumerate() {
        if !marks.iter().any(|(_, at)| at.is_some_and(|at| near(index, at))) {
            continue;
        }
        let mut names = String::new();
        for (name, at) in marks {
            if at.is_some_and(|at| mapping.range.contains(&at)) {
                let _infallible = write!(names, "  <- {name}");
            }
        }
        let _infallible = writeln!(text, "  {}{names}", mapping.line);
    }
    if let Some(at) = address.filter(|at| process.mapping(*at).is_none()) {
        let _infallible = writeln!(text, "  nothing is mapped at the address {at:#x}");
    }
}
