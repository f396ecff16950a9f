//! Calls that start programs and fail, in a process with every kind of disposition: nothing has changed.

use super::cases::call_by_name;
use super::observed::{self, State};
use super::say;
use std::ffi::CStr;

const UNMAPPED: u64 = super::memory::BASE + 0x3000;
const KERNEL: u64 = 0xffff_8000_0000_0000;
const NOWHERE: &CStr = c"/nonexistent/program";
const SCRIPTLESS: &CStr = c"/etc";

fn at(text: &CStr) -> u64 {
    text.as_ptr() as u64
}

/// Says what each call answers, and what has changed afterwards.
pub fn run() {
    observed::prepare();
    // SAFETY: fixed addresses that are never entered: nothing sends signals here.
    unsafe {
        libc::signal(libc::SIGUSR1, 0x5_0000_2000);
        libc::signal(libc::SIGINT, libc::SIG_IGN);
        libc::signal(libc::SIGQUIT, libc::SIG_IGN);
        libc::signal(libc::SIGTERM, 0x5_0000_2040);
        libc::signal(libc::SIGRTMIN() + 1, libc::SIG_IGN);
    }
    let mut state = State::default();
    say(&state.changes());
    let program = [at(c"program"), 0];
    let argv = program.as_ptr() as u64;
    let bad = [at(c"program"), UNMAPPED, 0];
    let bad = bad.as_ptr() as u64;
    let empty = [0u64];
    let envp = empty.as_ptr() as u64;
    let minus = u64::MAX;
    let mut pid = 77i32;
    let pid_at = &raw mut pid as u64;
    let calls: &[(&CStr, [u64; 6])] = &[
        (c"execve", [UNMAPPED, argv, envp, 0, 0, 0]),
        (c"execve", [KERNEL, argv, envp, 0, 0, 0]),
        (c"execve", [0, argv, envp, 0, 0, 0]),
        (c"execve", [minus, minus, minus, 0, 0, 0]),
        (c"execve", [at(NOWHERE), argv, envp, 0, 0, 0]),
        (c"execve", [at(SCRIPTLESS), argv, envp, 0, 0, 0]),
        (c"execve", [at(c""), argv, envp, 0, 0, 0]),
        (c"execve", [at(c"/bin/true"), UNMAPPED, envp, 0, 0, 0]),
        (c"execve", [at(c"/bin/true"), bad, envp, 0, 0, 0]),
        (c"execve", [at(c"/bin/true"), argv, KERNEL, 0, 0, 0]),
        (c"execve", [at(c"/bin/true"), argv, bad, 0, 0, 0]),
        (c"execv", [UNMAPPED, argv, 0, 0, 0, 0]),
        (c"execv", [at(c"/bin/true"), bad, 0, 0, 0, 0]),
        (c"execv", [at(NOWHERE), argv, 0, 0, 0, 0]),
        (c"execvp", [at(c""), argv, 0, 0, 0, 0]),
        (c"execvp", [at(NOWHERE), argv, 0, 0, 0, 0]),
        (c"execvp", [at(c"no-such-program-anywhere"), argv, 0, 0, 0, 0]),
        (c"execvp", [at(c"true"), bad, 0, 0, 0, 0]),
        (c"execvpe", [at(c"no-such-program-anywhere"), argv, envp, 0, 0, 0]),
        (c"execvpe", [at(c"/bin/true"), argv, UNMAPPED, 0, 0, 0]),
        (c"fexecve", [minus, argv, envp, 0, 0, 0]),
        (c"fexecve", [0, 0, envp, 0, 0, 0]),
        (c"fexecve", [0, argv, 0, 0, 0, 0]),
        (c"fexecve", [9999, argv, envp, 0, 0, 0]),
        (c"fexecve", [1, argv, UNMAPPED, 0, 0, 0]),
        (c"execveat", [minus, at(c"x"), argv, envp, 0, 0]),
        (c"execveat", [minus, at(NOWHERE), argv, envp, 0, 0]),
        (c"execveat", [minus, UNMAPPED, argv, envp, 0, 0]),
        (c"execveat", [0, at(c""), argv, envp, 0xffff, 0]),
        (c"execveat", [0, at(c""), UNMAPPED, envp, 0x1000, 0]),
        (c"syscall", [libc::SYS_execve as u64, UNMAPPED, argv, envp, 0, 0]),
        (c"syscall", [libc::SYS_execve as u64, at(NOWHERE), argv, envp, 0, 0]),
        (c"syscall", [libc::SYS_execveat as u64, minus, at(c"x"), argv, envp, 0]),
        (c"posix_spawn", [pid_at, UNMAPPED, 0, 0, argv, envp]),
        (c"posix_spawn", [pid_at, at(NOWHERE), 0, 0, argv, envp]),
        (c"posix_spawn", [0, at(SCRIPTLESS), 0, 0, argv, envp]),
        (c"posix_spawn", [pid_at, at(c"/bin/true"), 0, 0, argv, UNMAPPED]),
        (c"posix_spawnp", [pid_at, at(c"no-such-program-anywhere"), 0, 0, argv, envp]),
        (c"posix_spawnp", [pid_at, at(c""), 0, 0, argv, envp]),
        (c"system", [UNMAPPED, 0, 0, 0, 0, 0]),
        (c"system", [KERNEL, 0, 0, 0, 0, 0]),
        (c"system", [0; 6]),
        (c"system", [at(c"exit 7"), 0, 0, 0, 0, 0]),
        (c"system", [at(c"kill -9 $$"), 0, 0, 0, 0, 0]),
        (c"popen", [at(c"true"), at(c"wild"), 0, 0, 0, 0]),
        (c"popen", [UNMAPPED, at(c"r"), 0, 0, 0, 0]),
    ];
    for (name, arguments) in calls {
        let what = name.to_str().expect("text");
        // Some answer with an error's number, and addresses of functions differ from run to run.
        let answer = call_by_name(name, *arguments, false);
        say(&format!("{what}: {answer:?}, pid {pid}{}", state.changes()));
    }
}

/// Says what is read of an action that libc has set behind the wrappers: profil(3) handles SIGPROF.
pub fn behind() {
    observed::prepare();
    let mut state = State::default();
    state.changes();
    let buffer = [0u64; 16];
    let arguments = [buffer.as_ptr() as u64, size_of_val(&buffer) as u64, 0, 0, 0, 0];
    let answer = call_by_name(c"profil", arguments, false);
    let seen = state.changes();
    let is_seen = seen.starts_with(&format!("; {}: ", libc::SIGPROF));
    say(&format!("profil: {answer:?}, SIGPROF has changed: {is_seen}"));
    // Off again: libc puts back what was there.
    let answer = call_by_name(c"profil", [0; 6], false);
    say(&format!("profil: {answer:?}{}", State::default().changes()));
}
