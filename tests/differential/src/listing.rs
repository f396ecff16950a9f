//! Prints a program as C would say it.

use std::fmt::Write as _;

use crate::program::{HANDLERS, Op, Program};

/// The listing; procedures that do nothing and are not asked for are left out.
pub fn listing(program: &Program) -> String {
    let mut text = String::new();
    if program.fresh {
        text += "/* in a freshly executed process */\n";
    }
    for (which, procedure) in program.procedures.iter().enumerate() {
        if procedure.ops.is_empty() && which != 0 {
            continue;
        }
        let head = match which {
            0 => "int main(void)".to_string(),
            1..=HANDLERS => format!("void handler{}(int signal)", which - 1),
            _ => format!("void procedure{which}(void)"),
        };
        let jumps = if procedure.save_mask { "" } else { "  /* jumps to here leave the mask */" };
        writeln!(text, "{head} {{{jumps}").expect("a string can be written to");
        for op in &procedure.ops {
            writeln!(text, "  {}", statement(op)).expect("a string can be written to");
        }
        text += "}\n";
    }
    text
}

fn signal(number: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    match number {
        1..=31 => format!("SIG{}", NAMES[number as usize - 1]),
        34..=64 => format!("SIGRTMIN+{}", number - 34),
        _ => number.to_string(),
    }
}

fn set(low: i32, high: i32) -> String {
    let mask = u64::from(low as u32) | u64::from(high as u32) << 32;
    if mask.count_ones() > 12 {
        return format!("{mask:#x}");
    }
    let names: Vec<_> = (1..=64).filter(|bit| mask >> (bit - 1) & 1 == 1).map(signal).collect();
    format!("{{{}}}", names.join(", "))
}

fn flags(flags: i32) -> String {
    let known = [
        (libc::SA_SIGINFO, "SA_SIGINFO"),
        (libc::SA_ONSTACK, "SA_ONSTACK"),
        (libc::SA_RESTART, "SA_RESTART"),
        (libc::SA_NODEFER, "SA_NODEFER"),
        (libc::SA_RESETHAND, "SA_RESETHAND"),
        (libc::SA_NOCLDSTOP, "SA_NOCLDSTOP"),
        (libc::SA_NOCLDWAIT, "SA_NOCLDWAIT"),
    ];
    let mut names: Vec<String> =
        known.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| (*name).into()).collect();
    let rest = flags & !known.iter().fold(0, |all, (bit, _)| all | bit);
    if rest != 0 || names.is_empty() {
        names.push(format!("{rest:#x}"));
    }
    names.join("|")
}

fn handler(kind: i32, id: i32) -> String {
    match kind {
        0 => "SIG_DFL".into(),
        1 => "SIG_IGN".into(),
        2 => format!("handler{id}"),
        3 => format!("handler{id} /* with info */"),
        4 => "SIG_HOLD".into(),
        _ => "SIG_ERR".into(),
    }
}

fn call(names: &[&'static str], which: i32) -> &'static str {
    names.get(which as usize).copied().unwrap_or("?")
}

const SENDERS: &[&str] = &[
    "kill",
    "tgkill",
    "pthread_kill",
    "sigqueue",
    "pthread_sigqueue",
    "SYS_tgkill",
    "SYS_tkill",
    "raise",
    "setitimer",
    "timer to the process",
    "timer to the thread",
];
const BLOCKING: &[&str] = &[
    "read",
    "nanosleep",
    "pause",
    "sigsuspend",
    "ppoll",
    "pselect",
    "epoll_pwait",
    "epoll_wait",
    "epoll_pwait2",
    "poll",
    "select",
    "sigwaitinfo",
    "sigtimedwait",
    "sigwait",
    "sem_wait",
    "futex",
    "sigpause_mask",
    "sigpause_signal",
    "recv",
    "clock_nanosleep",
    "usleep",
    "read_signalfd",
    "ppoll_without_mask",
];

/// One operation.
pub fn statement(op: &Op) -> String {
    let a = op.a;
    match op.name() {
        "SIGACTION" => format!(
            "{}({}, {{{}, {}, {}}});{}",
            if a[6] == 3 { "__sigaction" } else { "sigaction" },
            signal(a[0]),
            handler(a[1], a[2]),
            flags(a[3]),
            set(a[4], a[5]),
            call(&["", " /* old: NULL */", " /* old: the same struct */", ""], a[6])
        ),
        "QUERY" => format!("sigaction({}, NULL, &old);", signal(a[0])),
        "SIGNAL" => format!(
            "{}({}, {});",
            call(
                &["signal", "bsd_signal", "sysv_signal", "__sysv_signal", "ssignal", "sigset"],
                a[0]
            ),
            signal(a[1]),
            handler(a[2], a[3])
        ),
        "HOLD" => {
            format!("{}({});", call(&["sighold", "sigrelse", "sigignore"], a[0]), signal(a[1]))
        }
        "INTERRUPT" => format!("siginterrupt({}, {});", signal(a[0]), a[1]),
        "BLOCK" => {
            let names = [
                "sigprocmask",
                "pthread_sigmask",
                "sigblock",
                "sigsetmask",
                "pthread_sigmask /* into (void*)8 */",
            ];
            let how = call(&["SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"], a[1]);
            format!(
                "{}({how}, {});",
                call(&names, a[0]),
                set(a[2], if (2..4).contains(&a[0]) { 0 } else { a[3] })
            )
        }
        "GETMASK" => format!(
            "{};",
            call(
                &[
                    "siggetmask()",
                    "sigprocmask(SIG_SETMASK, NULL, &old)",
                    "pthread_sigmask(99, NULL, &old)"
                ],
                a[0]
            )
        ),
        "PENDING" => "sigpending(&set);".into(),
        "SEND" => format!("{}(self, {}, value {});", call(SENDERS, a[0] & 7), signal(a[1]), a[2]),
        "ALTSTACK" => match a[0] {
            0 => format!("sigaltstack(stack{}, flags {:#x});", a[1] % 3, a[2]),
            1 => "sigaltstack(SS_DISABLE);".into(),
            2 => "sigaltstack(of 1024 bytes);".into(),
            _ => "sigaltstack(NULL, &old);".into(),
        },
        "POLL" => format!(
            "{}({}, no time);",
            call(&["sigtimedwait", "sigtimedwait /* no info */"], a[0]),
            set(a[1], a[2])
        ),
        "BLOCKING" => {
            let sender = if a[1] < 0 {
                "nobody".into()
            } else {
                format!("{}({}, value {})", call(SENDERS, a[1]), signal(a[2]), a[3])
            };
            format!(
                "{}(set {}); /* interrupted by {sender} */",
                call(BLOCKING, a[0] % 23),
                set(a[4], a[5])
            )
        }
        "SIGNALFD" => format!("read all of signalfd({});", set(a[0], a[1])),
        "TIMER" => format!(
            "{}({}, value {}); /* fires while blocked, then unblocked */",
            call(&["timer to the process", "timer to the thread", "setitimer"], a[0]),
            signal(a[1]),
            a[2]
        ),
        "THREAD" => {
            let mask = if a[1] != 0 {
                format!("mask {}", set(a[2], a[3]))
            } else {
                "everything blocked".into()
            };
            format!("join(pthread_create(procedure{}, {mask}));", a[0])
        }
        "FORK" => format!(
            "if (!fork()) {{ procedure{}(); _exit({}); }} waitpid();{}",
            a[0],
            a[1],
            if a[2] != 0 { " /* SIGCHLD blocked */" } else { "" }
        ),
        "VFORK" => format!(
            "if (!vfork()) {{ procedure{}(); {}; }} waitpid();",
            a[0],
            if a[1] != 0 { "exec(report)" } else { "_exit(5)" }
        ),
        "SPAWN" => format!(
            "posix_spawn(report, flags {:#x}, default {}, mask {});",
            a[0],
            set(a[1], a[2]),
            set(a[3], a[4])
        ),
        "SYSTEM" => format!("{}(report);", if a[0] != 0 { "popen" } else { "system" }),
        "FAULT" => format!(
            "{};",
            call(
                &[
                    "*(int *)0 = 1",
                    "read of a PROT_NONE page",
                    "1 / 0",
                    "ud2",
                    "int3",
                    "write past the end of a file",
                    "write to a non-canonical address"
                ],
                a[0] % 7
            )
        ),
        "ABORT" => "abort();".into(),
        "JUMP" => format!(
            "{}(out of {} more); /* if a handler runs */",
            if a[1] != 0 { "setcontext" } else { "siglongjmp" },
            a[0]
        ),
        "CONTEXT" => format!("swapcontext(to procedure{});", a[0]),
        "TELLPARENT" => format!("kill(getppid(), {}); /* if a child */", signal(a[0])),
        "EXIT" => format!("_exit({});", a[0]),
        _ => ";".into(),
    }
}
