//! A set of signals: one bit for each, as the kernel keeps it.
//!
//! It is not libc's `sigset_t` (128 bytes, most of them unused) and not a mask: holding a
//! signal here blocks nothing.
//!
//! Invariants:
//! - bit `n - 1` stands for signal `n`, as in the kernel's own 64-bit sets;
//! - only bits of signals that [`Signal`] can hold are ever set, so the members come out
//!   without a check;
//! - plain integer arithmetic: everything but formatting is async-signal-safe.
//!
//! # Safety
//! One unsafe block makes a [`Signal`] from a bit, on the strength of the second invariant.
#![allow(unsafe_code)]

use std::fmt;
use std::iter::FusedIterator;
use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not, Sub, SubAssign};

use crate::signal::Signal;

/// A set of signals, eight bytes large.
///
/// It can be built from one signal, from an array, with `|`, or by collecting. `SIGKILL`
/// and `SIGSTOP` may be members; who needs catchable signals refuses them by name.
///
/// # Async-signal safety
/// Everything but `Display` and `Debug` is async-signal-safe.
///
/// # Examples
/// ```
/// use sigplane::{Signal, SignalSet};
///
/// let stop = Signal::INT | Signal::TERM;
/// assert!(stop.contains(Signal::TERM));
/// assert_eq!(stop, SignalSet::from([Signal::TERM, Signal::INT]));
/// assert_eq!(stop.to_string(), "SIGINT SIGTERM");
/// assert_eq!((SignalSet::all() - stop).len(), SignalSet::all().len() - 2);
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SignalSet(u64);

impl SignalSet {
    /// The set without members.
    pub const EMPTY: SignalSet = SignalSet(0);

    /// The signals by which the kernel reports faults of the running code.
    pub const FAULTS: SignalSet = SignalSet::EMPTY
        .with(Signal::ILL)
        .with(Signal::TRAP)
        .with(Signal::BUS)
        .with(Signal::FPE)
        .with(Signal::SEGV)
        .with(Signal::SYS);

    /// Every signal that can be caught: all but `SIGKILL`, `SIGSTOP` and those that libc
    /// keeps for itself.
    #[must_use]
    pub fn all() -> SignalSet {
        SignalSet(supported()).without(Signal::KILL).without(Signal::STOP)
    }

    /// The set with these bits, as the kernel writes them: bit `n - 1` for signal `n`.
    /// Bits that stand for no [`Signal`] are dropped.
    #[must_use]
    pub fn from_bits(bits: u64) -> SignalSet {
        SignalSet(bits & supported())
    }

    /// The set as the kernel writes it: bit `n - 1` for signal `n`.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    const fn bit(signal: Signal) -> u64 {
        1 << (signal.index() - 1)
    }

    /// This set and `signal`.
    #[must_use]
    pub const fn with(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 | Self::bit(signal))
    }

    /// This set but `signal`.
    #[must_use]
    pub const fn without(self, signal: Signal) -> SignalSet {
        SignalSet(self.0 & !Self::bit(signal))
    }

    /// Whether `signal` is a member.
    #[must_use]
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    /// Whether every member of `other` is one of this set.
    #[must_use]
    pub const fn contains_all(self, other: SignalSet) -> bool {
        other.0 & !self.0 == 0
    }

    /// Adds `signal`; whether it was new.
    pub const fn insert(&mut self, signal: Signal) -> bool {
        let new = !self.contains(signal);
        *self = self.with(signal);
        new
    }

    /// Removes `signal`; whether it was a member.
    pub const fn remove(&mut self, signal: Signal) -> bool {
        let found = self.contains(signal);
        *self = self.without(signal);
        found
    }

    /// How many members the set has.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set has no member.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members of either set; the `const` form of `|`.
    #[must_use]
    pub const fn union(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 | other.0)
    }

    /// The members of both sets; the `const` form of `&`.
    #[must_use]
    pub const fn intersection(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & other.0)
    }

    /// The members of this set that `other` lacks; the `const` form of `-`.
    #[must_use]
    pub const fn difference(self, other: SignalSet) -> SignalSet {
        SignalSet(self.0 & !other.0)
    }

    /// The members, in the order of their numbers.
    #[must_use]
    pub const fn iter(self) -> SignalSetIter {
        SignalSetIter(self)
    }
}

/// The bits of every number that [`Signal`] accepts: 1 to 31, and `SIGRTMIN..=SIGRTMAX`.
fn supported() -> u64 {
    let standard = u64::MAX >> 33;
    let realtime = (u64::MAX << (libc::SIGRTMIN() - 1)) & (u64::MAX >> (64 - libc::SIGRTMAX()));
    standard | realtime
}

/// The members of a [`SignalSet`], in the order of their numbers.
///
/// # Examples
/// ```
/// use sigplane::{Signal, SignalSet};
///
/// let mut members = SignalSet::from([Signal::TERM, Signal::INT]).iter();
/// assert_eq!(members.len(), 2);
/// assert_eq!(members.next(), Some(Signal::INT));
/// ```
#[derive(Clone, Debug)]
pub struct SignalSetIter(SignalSet);

impl Iterator for SignalSetIter {
    type Item = Signal;

    fn next(&mut self) -> Option<Signal> {
        if self.0.is_empty() {
            return None;
        }
        let number = self.0.0.trailing_zeros() as u8 + 1;
        self.0.0 &= self.0.0 - 1;
        // SAFETY: the bit was set, and sets hold bits of valid signals only (invariant).
        Some(unsafe { Signal::from_raw_unchecked(number) })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl ExactSizeIterator for SignalSetIter {}
impl FusedIterator for SignalSetIter {}

impl IntoIterator for SignalSet {
    type Item = Signal;
    type IntoIter = SignalSetIter;

    fn into_iter(self) -> SignalSetIter {
        self.iter()
    }
}

impl IntoIterator for &SignalSet {
    type Item = Signal;
    type IntoIter = SignalSetIter;

    fn into_iter(self) -> SignalSetIter {
        self.iter()
    }
}

impl From<Signal> for SignalSet {
    fn from(signal: Signal) -> SignalSet {
        SignalSet::EMPTY.with(signal)
    }
}

impl<const N: usize> From<[Signal; N]> for SignalSet {
    fn from(signals: [Signal; N]) -> SignalSet {
        signals.into_iter().collect()
    }
}

impl From<&[Signal]> for SignalSet {
    fn from(signals: &[Signal]) -> SignalSet {
        signals.iter().copied().collect()
    }
}

impl FromIterator<Signal> for SignalSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> SignalSet {
        signals.into_iter().fold(SignalSet::EMPTY, SignalSet::with)
    }
}

impl Extend<Signal> for SignalSet {
    fn extend<I: IntoIterator<Item = Signal>>(&mut self, signals: I) {
        *self |= signals.into_iter().collect::<SignalSet>();
    }
}

impl<T: Into<SignalSet>> BitOr<T> for SignalSet {
    type Output = SignalSet;

    fn bitor(self, other: T) -> SignalSet {
        self.union(other.into())
    }
}

impl<T: Into<SignalSet>> BitOr<T> for Signal {
    type Output = SignalSet;

    fn bitor(self, other: T) -> SignalSet {
        SignalSet::from(self) | other
    }
}

impl<T: Into<SignalSet>> BitAnd<T> for SignalSet {
    type Output = SignalSet;

    fn bitand(self, other: T) -> SignalSet {
        self.intersection(other.into())
    }
}

impl<T: Into<SignalSet>> Sub<T> for SignalSet {
    type Output = SignalSet;

    fn sub(self, other: T) -> SignalSet {
        self.difference(other.into())
    }
}

impl<T: Into<SignalSet>> BitOrAssign<T> for SignalSet {
    fn bitor_assign(&mut self, other: T) {
        *self = *self | other;
    }
}

impl<T: Into<SignalSet>> BitAndAssign<T> for SignalSet {
    fn bitand_assign(&mut self, other: T) {
        *self = *self & other;
    }
}

impl<T: Into<SignalSet>> SubAssign<T> for SignalSet {
    fn sub_assign(&mut self, other: T) {
        *self = *self - other;
    }
}

/// Every signal that can be caught and is not a member; never `SIGKILL` or `SIGSTOP`.
impl Not for SignalSet {
    type Output = SignalSet;

    fn not(self) -> SignalSet {
        SignalSet::all() - self
    }
}

/// The names, separated by one space; nothing for the empty set.
impl fmt::Display for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, signal) in self.iter().enumerate() {
            let separator = if position == 0 { "" } else { " " };
            write!(f, "{separator}{}", signal.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(*self).finish()
    }
}

/// As the sequence of its members' names.
#[cfg(feature = "serde")]
impl serde::Serialize for SignalSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_what_can_be_caught() {
        let expected: SignalSet = (1..=64)
            .filter_map(|number| Signal::try_from(number).ok())
            .filter(|signal| ![Signal::KILL, Signal::STOP].contains(signal))
            .collect();
        assert_eq!(SignalSet::all(), expected);
        assert_eq!(!SignalSet::EMPTY, expected);
        assert_eq!(!expected, SignalSet::EMPTY);
        assert_eq!(!SignalSet::from(Signal::KILL), expected);
    }

    #[test]
    fn bits_round_trip_and_unsupported_ones_go() {
        let set = SignalSet::from_bits(u64::MAX);
        assert_eq!(set, SignalSet::all() | Signal::KILL | Signal::STOP);
        assert_eq!(SignalSet::from_bits(set.bits()), set);
        assert_eq!(SignalSet::from_bits(1 << 31), SignalSet::EMPTY);
        assert_eq!(SignalSet::from(Signal::HUP).bits(), 1);
        for signal in set {
            assert_eq!(SignalSet::from(signal).iter().collect::<Vec<_>>(), [signal]);
            assert_eq!(SignalSet::from(signal).bits(), 1 << (signal.number() - 1));
        }
    }

    #[test]
    fn operations() {
        let mut set = SignalSet::EMPTY;
        assert!(set.insert(Signal::INT) && !set.insert(Signal::INT));
        set.extend([Signal::TERM, Signal::HUP]);
        set |= Signal::USR1;
        assert_eq!(set.to_string(), "SIGHUP SIGINT SIGUSR1 SIGTERM");
        assert_eq!(format!("{:?}", set & (Signal::INT | Signal::SEGV)), "{SIGINT}");
        assert!(set.remove(Signal::INT) && !set.remove(Signal::INT));
        set -= Signal::HUP;
        set &= SignalSet::all();
        assert_eq!((set.len(), set.iter().len()), (2, 2));
        assert!(SignalSet::all().contains_all(set) && !set.contains_all(SignalSet::FAULTS));
        assert_eq!(SignalSet::FAULTS.len(), 6);
        assert_eq!(SignalSet::EMPTY.to_string(), "");
    }
}
