//! `sigplane doctor`: what the system is like, and what follows.
//!
//! # Safety
//! System calls that only ask; the structures they fill are of the size they are told.
#![allow(unsafe_code)]

use crate::failure::{Failure, Result};
use crate::{library, names};
use clap::Args;
use serde_json::json;
use std::fs;

/// Check kernel, libc, limits and stacks; say what follows for programs under sigplane.
///
/// Each line says what was found and, where it matters, what it means and what to do.
///
/// Exit status: 0 if all is well, 1 if something will not work or not well, 2 if sigplane cannot be used.
#[derive(Args)]
pub struct Doctor {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Verdict {
    Good,
    Note,
    Bad,
    Fatal,
}

struct Finding {
    verdict: Verdict,
    what: &'static str,
    found: String,
    follows: String,
}

fn finding(
    verdict: Verdict,
    what: &'static str,
    found: impl Into<String>,
    follows: impl Into<String>,
) -> Finding {
    Finding { verdict, what, found: found.into(), follows: follows.into() }
}

impl Doctor {
    pub fn run(self) -> Result<i32> {
        let findings: Vec<Finding> = [
            vec![kernel(), libc_version(), find_object()],
            vec![membarrier(), pidfd(), queue_limit()],
            stacks(),
            vec![static_tls(), ptrace_scope(), shadow_stacks(), protection_keys(), core_dumps()],
            vec![inherited(), shim(), own_preload()],
        ]
        .into_iter()
        .flatten()
        .collect();
        let worst = findings.iter().map(|finding| finding.verdict).max();
        if self.json {
            let list = findings.iter().map(|finding| {
                json!({
                    "check": finding.what, "verdict": word(finding.verdict), "found": finding.found,
                    "follows": finding.follows,
                })
            });
            println!("{:#}", json!({ "version": 1, "checks": list.collect::<Vec<_>>() }));
        } else {
            for finding in &findings {
                println!("{:<5} {:<22} {}", word(finding.verdict), finding.what, finding.found);
                if !finding.follows.is_empty() {
                    println!("{:28} → {}", "", finding.follows);
                }
            }
        }
        Ok(match worst {
            Some(Verdict::Fatal) => 2,
            Some(Verdict::Bad) => 1,
            _ => 0,
        })
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Note => "note",
        Verdict::Bad => "bad",
        Verdict::Fatal => "FATAL",
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn kernel() -> Finding {
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

fn libc_version() -> Finding {
    // SAFETY: a C string that the library owns.
    let at = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: a string of libc's own.
    let name = unsafe { std::ffi::CStr::from_ptr(at) };
    let name = name.to_string_lossy().into_owned();
    finding(Verdict::Good, "C library", format!("glibc {name}"), "")
}

fn find_object() -> Finding {
    // SAFETY: the name is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
    if found.is_null() {
        let follows = "reports and tables show addresses instead of objects and functions";
        return finding(Verdict::Note, "_dl_find_object", "missing (glibc 2.35 has it)", follows);
    }
    finding(Verdict::Good, "_dl_find_object", "there: handlers get the names of their objects", "")
}

fn membarrier() -> Finding {
    const PRIVATE_EXPEDITED: i64 = 1 << 3;
    // SAFETY: a query.
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0, 0) };
    if commands >= 0 && commands & PRIVATE_EXPEDITED != 0 {
        return finding(Verdict::Good, "membarrier", "private expedited", "");
    }
    let follows = "deliveries to subscribers execute a fence: a few nanoseconds each";
    finding(Verdict::Note, "membarrier", "not available (a seccomp filter?)", follows)
}

fn pidfd() -> Finding {
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

fn queue_limit() -> Finding {
    let status = crate::status::of(std::process::id() as i32);
    let (used, limit) = status.map(|status| status.queued).unwrap_or_default();
    let found = format!("{used} of {limit} (RLIMIT_SIGPENDING, per user)");
    if limit < 1024 {
        let follows = "queued real-time signals fail with EAGAIN early; `ulimit -i 8192` or more";
        return finding(Verdict::Bad, "queued signals", found, follows);
    }
    if used * 10 > limit * 9 {
        let follows = "nearly used up: sigqueue() and timers are about to fail with EAGAIN";
        return finding(Verdict::Bad, "queued signals", found, follows);
    }
    finding(Verdict::Good, "queued signals", found, "")
}

fn stacks() -> Vec<Finding> {
    // SAFETY: a query.
    let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let usual = libc::SIGSTKSZ;
    let what = "alternate stacks";
    let found = format!("the kernel's frame needs {least} bytes, SIGSTKSZ is {usual}");
    let of_sizes = if least == 0 {
        let follows = "handlers' frames are assumed to be 2048 bytes (Linux 5.14 tells)";
        finding(Verdict::Note, what, "the kernel does not tell how large", follows)
    } else if least + 1024 > usual {
        let follows = format!(
            "programs with alternate stacks of SIGSTKSZ bytes cannot take a signal on this processor; \
             sigplane's own are larger; {} bytes or more are safe",
            least + 8192
        );
        finding(Verdict::Bad, what, found, follows)
    } else if usual - least < 4096 {
        let follows = format!(
            "a program's stack of SIGSTKSZ bytes leaves {} for its handler: a backtrace needs more",
            usual - least
        );
        finding(Verdict::Note, what, found, follows)
    } else {
        finding(Verdict::Good, what, found, "")
    };
    vec![of_sizes]
}

/// The loader's reserve for thread-local words of libraries that are loaded late.
fn static_tls() -> Finding {
    let what = "static TLS surplus";
    let tunables = std::env::var("GLIBC_TUNABLES").unwrap_or_default();
    let set =
        tunables.split(':').find_map(|one| one.strip_prefix("glibc.rtld.optional_static_tls="));
    match set.map(|value| value.parse::<u64>().unwrap_or(u64::MAX)) {
        None => finding(Verdict::Good, what, "glibc's default (512 bytes and more)", ""),
        Some(bytes) if bytes >= 64 => finding(Verdict::Good, what, format!("{bytes} bytes"), ""),
        Some(bytes) => {
            let follows =
                "a plugin with sigplane in it may fail to load by dlopen(); preloading works";
            finding(Verdict::Note, what, format!("{bytes} bytes (GLIBC_TUNABLES)"), follows)
        }
    }
}

fn ptrace_scope() -> Finding {
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

fn shadow_stacks() -> Finding {
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

fn protection_keys() -> Finding {
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

fn core_dumps() -> Finding {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a query with a place for its result.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let pattern = pattern.trim();
    if limit.rlim_cur == 0 && !pattern.starts_with('|') {
        let follows = "crashes leave no core dump; `ulimit -c unlimited` before the program";
        return finding(Verdict::Note, "core dumps", "limit is 0", follows);
    }
    finding(Verdict::Good, "core dumps", format!("to {pattern:?}"), "")
}

/// What every program that is started from here inherits.
fn inherited() -> Finding {
    let what = "inherited";
    let Ok(status) = crate::status::of(std::process::id() as i32) else {
        return finding(Verdict::Note, what, "unknown", "");
    };
    if status.ignored == 0 && status.blocked == 0 {
        return finding(Verdict::Good, what, "no signal ignored or blocked", "");
    }
    let found = format!(
        "ignored: {}; blocked: {}",
        names::mask(status.ignored),
        names::mask(status.blocked)
    );
    let follows =
        "programs started from here begin like that (nohup, a job in the background, a service)";
    finding(Verdict::Note, what, found, follows)
}

fn shim() -> Finding {
    match library::find() {
        Ok(path) => finding(Verdict::Good, "library", path.display().to_string(), ""),
        Err(failure @ Failure::PathNotUsable(_)) => {
            finding(Verdict::Bad, "library", "found", failure.to_string().replace('\n', " "))
        }
        Err(failure) => {
            let text = failure.to_string();
            let follows = format!("`sigplane run` cannot be used: {}", text.replace('\n', " "));
            finding(Verdict::Fatal, "library", "not found", follows)
        }
    }
}

fn own_preload() -> Finding {
    match std::env::var("LD_PRELOAD") {
        Ok(list) if list.contains("libjsig") => finding(
            Verdict::Note,
            "LD_PRELOAD",
            list,
            "libjsig.so wraps the same functions; with sigplane it is not needed",
        ),
        Ok(list) if !list.is_empty() => {
            finding(Verdict::Note, "LD_PRELOAD", list, "`run` puts the shim in front of these")
        }
        _ => finding(Verdict::Good, "LD_PRELOAD", "empty", ""),
    }
}
