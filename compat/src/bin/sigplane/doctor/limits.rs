//! What there is enough of, or not: queued signals, stacks, thread-local storage, core dumps.
//!
//! # Safety
//! As in `doctor`.
#![allow(unsafe_code)]

use super::{Finding, Verdict, finding};
use std::fs;

pub fn queue_limit() -> Finding {
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

pub fn stacks() -> Vec<Finding> {
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
pub fn static_tls() -> Finding {
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

pub fn core_dumps() -> Finding {
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
