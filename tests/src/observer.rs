//! What victims and tests of the default action share: an observer that says what it sees, and the ways
//! to send a signal.

use sigplane::send::{self, PidFd, Value};
use sigplane::{Signal, Subscription, Verdict, subscribe};

/// Writes `word number number …` to standard output; for handlers.
pub fn say(word: &str, numbers: &[i64]) {
    let (mut line, mut length) = ([b' '; 160], word.len());
    line[..length].copy_from_slice(word.as_bytes());
    for &number in numbers {
        let (mut digits, mut rest, mut count) = ([0; 20], number.unsigned_abs(), 0);
        while count == 0 || rest > 0 {
            digits[count] = b'0' + (rest % 10) as u8;
            (rest, count) = (rest / 10, count + 1);
        }
        length += 1;
        if number < 0 {
            line[length] = b'-';
            length += 1;
        }
        for digit in digits[..count].iter().rev() {
            line[length] = *digit;
            length += 1;
        }
    }
    line[length] = b'\n';
    // SAFETY: `line` is valid for `length + 1` bytes.
    unsafe { libc::write(1, line.as_ptr().cast(), length + 1) };
}

/// An immediate observer that says `saw`, the signal, its code, sender (or fault address) and value,
/// and the program counter that was interrupted.
pub fn observer(signal: Signal) -> Subscription {
    // SAFETY: the handler makes a system call.
    let subscribed = unsafe {
        subscribe(signal).observe().immediate(|delivery| {
            let (info, fault) = (*delivery.info(), delivery.is_fault());
            let at = delivery
                .machine_context()
                .map_or(0, |m| m.uc_mcontext.gregs[libc::REG_RIP as usize]);
            let (who, value) = if fault {
                (info.si_addr() as i64, 0)
            } else {
                (i64::from(info.si_pid()), info.si_value().sival_ptr as i32 as i64)
            };
            say("saw", &[info.si_signo.into(), info.si_code.into(), who, value, at]);
            Verdict::Handled
        })
    };
    subscribed.expect("subscribed")
}

/// The numbers of a line of `say`.
pub fn numbers(line: &str) -> Vec<i64> {
    line.split(' ').skip(1).map(|word| word.parse().expect("a number")).collect()
}

/// Sends itself, or has sent to it, the signal in the way it is told.
pub fn send_as_told(pid: i32, tid: i32, signal: Signal, how: &str) {
    match how {
        "kill" => send::to_process(pid, signal),
        "sigqueue" => send::to_process_with(pid, signal, Value::from_int(77)),
        "tgkill" => send::to_thread_of(pid, tid, signal),
        "tgsigqueue" => send::to_thread_with(pid, tid, signal, Value::from_int(77)),
        "pidfd" => PidFd::open(pid).and_then(|process| process.send(signal)),
        other => panic!("{other:?}"),
    }
    .expect("sent");
}

/// The ways, and the `si_code` of each.
pub const WAYS: [(&str, i32); 5] = [
    ("kill", libc::SI_USER),
    ("sigqueue", libc::SI_QUEUE),
    ("tgkill", libc::SI_TKILL),
    ("tgsigqueue", libc::SI_QUEUE),
    ("pidfd", libc::SI_USER),
];
