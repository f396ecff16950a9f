//! A checked signal number: its names, its default action, its number.
//!
//! It is not a disposition, and it knows nothing of the table; whether a signal can be
//! caught, blocked or subscribed to is decided elsewhere.
//!
//! Invariants:
//! - a [`Signal`] holds a number in `1..=SIGRTMAX` and never one that libc keeps for
//!   itself (32 up to, excluding, `SIGRTMIN()`), so it may index a table of 65 rows and
//!   be a bit of a `u64` without a check;
//! - no function here allocates, except that an error may carry the rejected name.
//!
//! # Safety
//! `from_raw_unchecked` is the one way round the check. Its callers prove the first
//! invariant, and every other unsafe block here cites it.
#![allow(unsafe_code)]

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use crate::error::Error;

/// A signal that this process may talk about: standard (1 to 31) or real-time.
///
/// The two or three real-time numbers that libc keeps for itself cannot be made. A value
/// says nothing about whether the signal can be caught: [`Signal::KILL`] and
/// [`Signal::STOP`] exist, because they can be sent.
///
/// `Display` and [`FromStr`] are inverse to each other. `FromStr` also takes the names
/// without `SIG`, in any case, `RTMAX-n`, and the aliases `SIGIOT`, `SIGCLD`, `SIGPOLL`.
///
/// # Async-signal safety
/// Every method is async-signal-safe. Parsing is not: a rejected name is copied.
///
/// # References
/// `signal(7)`
///
/// # Examples
/// ```
/// use sigplane::Signal;
///
/// assert_eq!("term".parse(), Ok(Signal::TERM));
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::try_from(15)?, Signal::TERM);
/// assert_eq!(Signal::rt(3)?, "SIGRTMIN+3".parse()?);
/// assert!(Signal::try_from(0).is_err());
/// # Ok::<(), sigplane::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Signal(NonZeroU8);

/// What the kernel does with a signal that nobody handles.
///
/// # References
/// `signal(7)`, "Standard signals"
///
/// # Examples
/// ```
/// use sigplane::{DefaultAction, Signal};
///
/// assert_eq!(Signal::TERM.default_action(), DefaultAction::Terminate);
/// assert_eq!(Signal::WINCH.default_action(), DefaultAction::Ignore);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultAction {
    /// The process ends.
    Terminate,
    /// The process ends and leaves a core dump, where limits allow one.
    Core,
    /// The process stops until it receives `SIGCONT`.
    Stop,
    /// The process continues, if it was stopped.
    Continue,
    /// Nothing happens.
    Ignore,
}

/// One row of the table of standard signals.
struct Standard {
    name: &'static str,
    action: DefaultAction,
    description: &'static str,
}

/// Names the standard signals once: constants and table come from the same list, which
/// is in the order of the numbers (asserted below).
macro_rules! standard {
    ($($name:ident = $number:ident, $action:ident, $description:literal;)*) => {
        /// The named signals.
        impl Signal {
            $(
                #[doc = concat!("`", stringify!($number), "`: ", $description, ".")]
                pub const $name: Signal = Signal(NonZeroU8::new(libc::$number as u8).unwrap());
            )*
            /// `SIGPOLL`, another name of [`Signal::IO`].
            #[doc(alias = "SIGPOLL")]
            pub const POLL: Signal = Signal::IO;
        }

        /// Row `n - 1` describes signal `n`.
        const STANDARD: [Standard; 31] = [$(Standard {
            name: stringify!($number),
            action: DefaultAction::$action,
            description: $description,
        },)*];

        const _: () = {
            let numbers = [$(libc::$number),*];
            let mut row = 0;
            while row < numbers.len() {
                assert!(numbers[row] as usize == row + 1, "in the order of the numbers");
                row += 1;
            }
        };
    };
}

standard! {
    HUP = SIGHUP, Terminate, "the controlling terminal or process went away";
    INT = SIGINT, Terminate, "interrupt from the keyboard";
    QUIT = SIGQUIT, Core, "quit from the keyboard";
    ILL = SIGILL, Core, "illegal instruction";
    TRAP = SIGTRAP, Core, "trace or breakpoint trap";
    ABRT = SIGABRT, Core, "abort() was called";
    BUS = SIGBUS, Core, "memory access with nothing behind it, or misaligned";
    FPE = SIGFPE, Core, "arithmetic error";
    KILL = SIGKILL, Terminate, "kill; cannot be caught, blocked or ignored";
    USR1 = SIGUSR1, Terminate, "first user-defined signal";
    SEGV = SIGSEGV, Core, "invalid memory reference";
    USR2 = SIGUSR2, Terminate, "second user-defined signal";
    PIPE = SIGPIPE, Terminate, "write to a pipe or socket without readers";
    ALRM = SIGALRM, Terminate, "the timer of alarm() expired";
    TERM = SIGTERM, Terminate, "request to terminate";
    STKFLT = SIGSTKFLT, Terminate, "coprocessor stack fault; not used";
    CHLD = SIGCHLD, Ignore, "a child ended, stopped or continued";
    CONT = SIGCONT, Continue, "continue if stopped";
    STOP = SIGSTOP, Stop, "stop; cannot be caught, blocked or ignored";
    TSTP = SIGTSTP, Stop, "stop typed at the terminal";
    TTIN = SIGTTIN, Stop, "a background process read from its terminal";
    TTOU = SIGTTOU, Stop, "a background process wrote to its terminal";
    URG = SIGURG, Ignore, "urgent data on a socket";
    XCPU = SIGXCPU, Core, "limit of processor time exceeded";
    XFSZ = SIGXFSZ, Core, "limit of file size exceeded";
    VTALRM = SIGVTALRM, Terminate, "virtual timer expired";
    PROF = SIGPROF, Terminate, "profiling timer expired";
    WINCH = SIGWINCH, Ignore, "the terminal window changed its size";
    IO = SIGIO, Terminate, "input or output is possible";
    PWR = SIGPWR, Terminate, "power failure";
    SYS = SIGSYS, Core, "bad or filtered system call";
}

/// Names of the real-time signals by distance from `SIGRTMIN`, so that naming one in a
/// handler needs no formatting. The kernel has 33 numbers from 32 on; libc takes some.
#[rustfmt::skip]
const REALTIME: [&str; 33] = [
    "SIGRTMIN", "SIGRTMIN+1", "SIGRTMIN+2", "SIGRTMIN+3", "SIGRTMIN+4", "SIGRTMIN+5",
    "SIGRTMIN+6", "SIGRTMIN+7", "SIGRTMIN+8", "SIGRTMIN+9", "SIGRTMIN+10", "SIGRTMIN+11",
    "SIGRTMIN+12", "SIGRTMIN+13", "SIGRTMIN+14", "SIGRTMIN+15", "SIGRTMIN+16", "SIGRTMIN+17",
    "SIGRTMIN+18", "SIGRTMIN+19", "SIGRTMIN+20", "SIGRTMIN+21", "SIGRTMIN+22", "SIGRTMIN+23",
    "SIGRTMIN+24", "SIGRTMIN+25", "SIGRTMIN+26", "SIGRTMIN+27", "SIGRTMIN+28", "SIGRTMIN+29",
    "SIGRTMIN+30", "SIGRTMIN+31", "SIGRTMIN+32",
];

impl Signal {
    /// The real-time signal `SIGRTMIN + n`, with `n` from 0 to [`rt_count`](Self::rt_count) - 1.
    ///
    /// # Errors
    /// [`Error::RealtimeOutOfRange`] if this system has no such signal.
    #[doc(alias = "SIGRTMIN")]
    pub fn rt(n: u8) -> Result<Signal, Error> {
        if n >= Self::rt_count() {
            return Err(Error::RealtimeOutOfRange(n));
        }
        Signal::try_from(libc::SIGRTMIN() + i32::from(n)).map_err(|_| Error::RealtimeOutOfRange(n))
    }

    /// How many real-time signals programs may use: 31 with glibc, 30 with musl.
    #[must_use]
    pub fn rt_count() -> u8 {
        u8::try_from(libc::SIGRTMAX() - libc::SIGRTMIN() + 1).unwrap_or(0)
    }

    /// The signal with this number, unchecked.
    ///
    /// # Safety
    /// `number` is in `1..=SIGRTMAX` and is not one of those that libc reserves.
    pub(crate) const unsafe fn from_raw_unchecked(number: u8) -> Signal {
        // SAFETY: the caller promises `number >= 1`.
        Signal(unsafe { NonZeroU8::new_unchecked(number) })
    }

    /// The number, as an index into a table of 65 rows (row 0 unused).
    pub(crate) const fn index(self) -> usize {
        self.0.get() as usize
    }

    /// The number, as the kernel and libc know it.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0.get() as i32
    }

    const fn standard(self) -> Option<&'static Standard> {
        if self.index() <= STANDARD.len() { Some(&STANDARD[self.index() - 1]) } else { None }
    }

    /// The full name: `"SIGTERM"`, `"SIGRTMIN+3"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.standard() {
            Some(row) => row.name,
            None => {
                let offset = self.index().wrapping_sub(libc::SIGRTMIN() as usize);
                REALTIME.get(offset).copied().unwrap_or("SIGRT")
            }
        }
    }

    /// What the signal is for, in one line without a full stop.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self.standard() {
            Some(row) => row.description,
            None => "real-time signal",
        }
    }

    /// Whether this is a real-time signal, which the kernel queues one by one instead of
    /// keeping a single pending instance.
    #[must_use]
    pub const fn is_realtime(self) -> bool {
        self.standard().is_none()
    }

    /// Whether the kernel also uses this signal to report a fault of the running code:
    /// `SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL`, `SIGTRAP`, `SIGSYS`.
    ///
    /// It may still be sent like any other; [`Event::fault`](crate::Event::fault) tells.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        crate::set::SignalSet::FAULTS.contains(self)
    }

    /// What happens if nobody handles the signal.
    #[must_use]
    pub const fn default_action(self) -> DefaultAction {
        match self.standard() {
            Some(row) => row.action,
            None => DefaultAction::Terminate,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> i32 {
        signal.number()
    }
}

impl TryFrom<i32> for Signal {
    type Error = Error;

    /// # Errors
    /// [`Error::OutOfRange`] outside `1..=SIGRTMAX`, [`Error::ReservedByLibc`] for the
    /// numbers between the standard signals and `SIGRTMIN`.
    fn try_from(number: i32) -> Result<Signal, Error> {
        if number < 1 || number > libc::SIGRTMAX() {
            return Err(Error::OutOfRange(number));
        }
        if number > STANDARD.len() as i32 && number < libc::SIGRTMIN() {
            return Err(Error::ReservedByLibc(number));
        }
        // SAFETY: 1..=SIGRTMAX (at most 64, so the cast keeps it), and not reserved.
        Ok(unsafe { Signal::from_raw_unchecked(number as u8) })
    }
}

impl FromStr for Signal {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownName`]; [`Error::RealtimeOutOfRange`] for an `n` in `SIGRTMIN+n`
    /// or `SIGRTMAX-n` that this system does not have.
    fn from_str(name: &str) -> Result<Signal, Error> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let unknown = || Error::UnknownName(name.to_owned());
        let offset = |digits: &str, sign: char| match digits.strip_prefix(sign) {
            None if digits.is_empty() => Ok(0),
            Some(n) if n.bytes().all(|b| b.is_ascii_digit()) => {
                n.parse::<u8>().map_err(|_| unknown())
            }
            _ => Err(unknown()),
        };
        if let Some(rest) = short.strip_prefix("RTMIN") {
            return Signal::rt(offset(rest, '+')?);
        }
        if let Some(rest) = short.strip_prefix("RTMAX") {
            let down = offset(rest, '-')?;
            let n = (Signal::rt_count() - 1).checked_sub(down);
            return n.map_or(Err(Error::RealtimeOutOfRange(down)), Signal::rt);
        }
        let short = match short {
            "IOT" => "ABRT",
            "CLD" => "CHLD",
            "POLL" => "IO",
            other => other,
        };
        let row = STANDARD.iter().position(|row| &row.name[3..] == short).ok_or_else(unknown)?;
        Signal::try_from(row as i32 + 1)
    }
}

#[cfg(feature = "nix")]
impl From<nix::sys::signal::Signal> for Signal {
    fn from(signal: nix::sys::signal::Signal) -> Signal {
        // SAFETY: nix's enumeration holds the standard signals, 1 to 31, and no other.
        unsafe { Signal::from_raw_unchecked(signal as u8) }
    }
}

#[cfg(feature = "nix")]
impl TryFrom<Signal> for nix::sys::signal::Signal {
    type Error = nix::errno::Errno;

    /// # Errors
    /// `EINVAL` for a real-time signal, which nix's enumeration lacks.
    fn try_from(signal: Signal) -> Result<Self, nix::errno::Errno> {
        Self::try_from(signal.number())
    }
}

/// As its name: `"SIGTERM"`.
#[cfg(feature = "serde")]
impl serde::Serialize for Signal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_round_trip() {
        let mut usable = 0;
        for number in -2..=70 {
            let Ok(signal) = Signal::try_from(number) else { continue };
            usable += 1;
            assert_eq!(i32::from(signal), number);
            let name = signal.to_string();
            assert_eq!(name.parse(), Ok(signal));
            assert_eq!(name[3..].to_lowercase().parse(), Ok(signal));
        }
        assert_eq!(usable, 31 + i32::from(Signal::rt_count()));
        assert_eq!(Signal::try_from(0), Err(Error::OutOfRange(0)));
        assert_eq!(Signal::try_from(-9), Err(Error::OutOfRange(-9)));
        assert_eq!(Signal::try_from(65), Err(Error::OutOfRange(65)));
        assert_eq!(Signal::try_from(32), Err(Error::ReservedByLibc(32)));
    }

    #[test]
    fn aliases_and_relative_names() {
        let last = Signal::rt_count() - 1;
        assert_eq!("SIGIOT".parse(), Ok(Signal::ABRT));
        assert_eq!("cld".parse(), Ok(Signal::CHLD));
        assert_eq!("SigPoll".parse(), Ok(Signal::POLL));
        assert_eq!("RTMIN".parse::<Signal>(), Signal::rt(0));
        assert_eq!("SIGRTMAX".parse::<Signal>(), Signal::rt(last));
        assert_eq!("sigrtmax-1".parse::<Signal>(), Signal::rt(last - 1));
        assert_eq!(Signal::rt(last + 1), Err(Error::RealtimeOutOfRange(last + 1)));
        assert_eq!("RTMAX-200".parse::<Signal>(), Err(Error::RealtimeOutOfRange(200)));
        for bad in
            ["", "SIG", "SIGSIGTERM", "TERM ", "RTMIN-1", "RTMIN++1", "RTMIN+", "RTMAX-999", "é"]
        {
            assert_eq!(bad.parse::<Signal>(), Err(Error::UnknownName(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn properties() {
        assert_eq!(format!("{:>8}|", Signal::HUP), "  SIGHUP|");
        assert_eq!(Signal::XCPU.default_action(), DefaultAction::Core);
        assert_eq!(Signal::CONT.default_action(), DefaultAction::Continue);
        assert!(Signal::SYS.is_fault() && !Signal::ABRT.is_fault());
        assert!(Signal::rt(0).is_ok_and(Signal::is_realtime) && !Signal::SYS.is_realtime());
        assert_eq!(Signal::rt(1).map(Signal::name), Ok("SIGRTMIN+1"));
    }

    #[cfg(feature = "nix")]
    #[test]
    fn nix_knows_the_same_standard_signals() {
        for signal in nix::sys::signal::Signal::iterator() {
            assert_eq!(Signal::from(signal).name(), signal.as_str());
            assert_eq!(nix::sys::signal::Signal::try_from(Signal::from(signal)), Ok(signal));
        }
        let rt = Signal::rt(0).unwrap();
        assert_eq!(nix::sys::signal::Signal::try_from(rt), Err(nix::errno::Errno::EINVAL));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serialises_as_its_name() {
        struct Serialised(Signal);
        impl fmt::Display for Serialised {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                serde::Serialize::serialize(&self.0, f)
            }
        }
        assert_eq!(Serialised(Signal::TERM).to_string(), "SIGTERM");
    }
}
