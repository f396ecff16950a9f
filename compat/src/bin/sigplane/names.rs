//! Names of signals, flags and times.

use sigplane::{DefaultAction, Signal};

/// `SIGTERM`; the numbers that libc keeps for itself by number.
pub fn signal(number: i32) -> String {
    match Signal::try_from(number) {
        Ok(signal) => signal.to_string(),
        Err(_) => format!("signal {number}"),
    }
}

/// Without `SIG`.
pub fn short(number: i32) -> String {
    let name = signal(number);
    name.strip_prefix("SIG").map_or(name.clone(), str::to_owned)
}

/// The signals of a mask: bit n - 1 for signal n.
pub fn members(mask: u64) -> impl Iterator<Item = i32> {
    (1..=64).filter(move |number| mask >> (number - 1) & 1 == 1)
}

/// A mask in words: `-`, `all`, `INT QUIT`, `all but SEGV BUS`.
pub fn mask(mask: u64) -> String {
    // What no mask can hold, and what libc keeps for itself, does not count.
    let reserved = (1..=64).filter(|&number| Signal::try_from(number).is_err());
    let never = 1 << (libc::SIGKILL - 1) | 1 << (libc::SIGSTOP - 1);
    let every = !reserved.fold(never, |bits: u64, number| bits | 1 << (number - 1));
    let list = |bits: u64| members(bits).map(short).collect::<Vec<_>>().join(" ");
    match (mask & every).count_ones() {
        0 if mask & !never == 0 => "-".to_owned(),
        n if n == every.count_ones() => "all".to_owned(),
        n if n > 20 => format!("all but {}", list(every & !mask)),
        _ => list(mask),
    }
}

/// The flags of sigaction(2), without SA_RESTORER, which libc always sets.
pub fn flags(flags: u64) -> String {
    const NAMES: [(u64, &str); 9] = [
        (libc::SA_SIGINFO as u64, "SIGINFO"),
        (libc::SA_ONSTACK as u64, "ONSTACK"),
        (libc::SA_RESTART as u64, "RESTART"),
        (libc::SA_NODEFER as u64, "NODEFER"),
        (libc::SA_RESETHAND as u32 as u64, "RESETHAND"),
        (libc::SA_NOCLDSTOP as u64, "NOCLDSTOP"),
        (libc::SA_NOCLDWAIT as u64, "NOCLDWAIT"),
        (0x400, "UNSUPPORTED"),
        (0x800, "EXPOSE_TAGBITS"),
    ];
    let names = NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    let names = names.collect::<Vec<_>>().join(" ");
    if names.is_empty() { "-".to_owned() } else { names }
}

/// What the kernel does by itself.
pub fn default_action(number: i32) -> &'static str {
    match Signal::try_from(number).map(Signal::default_action) {
        Ok(DefaultAction::Terminate) => "ends the process",
        Ok(DefaultAction::Core) => "ends the process, core dump",
        Ok(DefaultAction::Stop) => "stops",
        Ok(DefaultAction::Continue) => "continues",
        Ok(DefaultAction::Ignore) => "nothing",
        Err(_) => "libc's own",
    }
}

/// Nanoseconds as seconds with three digits.
pub fn seconds(nanoseconds: u64) -> String {
    format!("{:.3} s", nanoseconds as f64 / 1e9)
}
