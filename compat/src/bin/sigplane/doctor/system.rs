//! What the kernel, the C library and the processor can do.
//!
//! # Safety
//! As in `doctor`.
#![allow(unsafe_code)]

use super::{Finding, Verdict, finding};
use std::fs;

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

pub fn kernel() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let what = "kernel";
    match version(release) {
        found if found >= (5, 3) => finding(Verdict::Good, what, format!("Linux {release}"), ""),
        found if found >= (4, 14) => finding(
            Verdict::Bad,
            what,
            format!("Linux {release}"),
            "no pidfd_open (5.3): `sigplane run` works, without --report and --trace",
        ),
        _ => finding(
            Verdict::Fatal,
            what,
            if release.is_empty() { "/proc is not there".to_owned() } else { release.to_owned() },
            "Linux 4.14 or later with /proc is needed",
        ),
    }
}

pub fn libc_version() -> Finding {
    // SAFETY: a C string that the library owns.
    let at = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: a string of libc's own.
    let name = unsafe { std::ffi::CStr::from_ptr(at) };
    let name = name.to_string_lossy().into_owned();
    finding(Verdict::Good, "C library", format!("glibc {name}"), "")
}

pub fn find_object() -> Finding {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
    if found.is_null() {
        let follows = "reports and tables show addresses instead of objects and functions";
        return finding(Verdict::Note, "_dl_find_object", "missing (glibc 2.35 has it)", follows);
    }
    finding(Verdict::Good, "_dl_find_object", "there: handlers get the names of their objects", "")
}

pub fn membarrier() -> Finding {
    const PRIVATE_EXPEDITED: i64 = 1 << 3;
    // SAFETY: a query.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    if commands >= 0 && commands & PRIVATE_EXPEDITED != 0 {
        return finding(Verdict::Good, "membarrier", "private expedited", "");
    }
    let follows = "deliveries to subscribers execute a fence: a few nanoseconds each";
    finding(Verdict::Note, "membarrier", "not available (a seccomp filter?)", follows)
}

pub fn pidfd() -> Finding {
    // SAFETY: an id and no flags.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, std::process::id(), 0) };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        let follows = "`sigplane run --report` and --trace cannot wait for the program";
        return finding(Verdict::Bad, "pidfd", error.to_string(), follows);
    }
    // SAFETY: opened above.
    unsafe { libc::close(fd as i32) };
    finding(Verdict::Good, "pidfd", "there", "")
}

pub fn ptrace_scope() -> Finding {
    let what = "looking into others";
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
    let scope = scope.and_then(|scope| scope.trim().parse::<u32>().ok()).unwrap_or(0);
    // SAFETY: it takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    match scope {
        0 => finding(Verdict::Good, what, "processes of the same user (no yama restriction)", ""),
        1 | 2 if is_root => finding(Verdict::Good, what, "yama restricts it, but not for root", ""),
        1 | 2 => finding(
            Verdict::Note,
            what,
            format!("kernel.yama.ptrace_scope is {scope}"),
            "`table` and `top` show handlers only as root; `run --report` needs no permission",
        ),
        _ => finding(
            Verdict::Note,
            what,
            format!("kernel.yama.ptrace_scope is {scope}: nobody may"),
            "`table` and `top` show what /proc tells only; use `run --report`",
        ),
    }
}

pub fn shadow_stacks() -> Finding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let features = status.lines().find_map(|line| line.strip_prefix("x86_Thread_features:"));
    let what = "shadow stacks";
    match features.map(str::trim) {
        Some(features) if features.contains("shstk") => finding(
            Verdict::Note,
            what,
            "on",
            "fixups land in their own frame, which is safe; guarded calls leave outer frames",
        ),
        Some(_) => finding(Verdict::Good, what, "known to the kernel, off in this process", ""),
        None => finding(Verdict::Good, what, "unknown to this kernel", ""),
    }
}

pub fn protection_keys() -> Finding {
    let what = "protection keys";
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| {
        info.lines()
            .find(|line| line.starts_with("flags"))
            .is_some_and(|line| line.split_ascii_whitespace().any(|word| word == flag))
    };
    if has("ospke") {
        let follows =
            "handlers start with the default key rights: one that reads protected memory faults";
        return finding(Verdict::Note, what, "in use by the kernel (pku)", follows);
    }
    finding(Verdict::Good, what, "not available", "")
}
