//! What stands behind the entries of one signal: the legacy action, or what was in the kernel before us.
//! One word, changed by compare-and-swap.
//!
//! **Read and changed inside signal handlers.**
//!
//! | bits | meaning |
//! |---|---|
//! | 0 – 21 | the number of the action (`interned`) |
//! | `KNOWN` | the number is what the kernel has, if the signal is not owned and no change is under way |
//! | `OWNED` | the action is virtual: this word is the truth, and the kernel has what follows from it |
//! | `HANDLER` | the action is neither `SIG_DFL` nor `SIG_IGN` |
//! | 26 – 31 | how many changes of the kernel's action are under way while the signal is not owned |
//! | 32 – 63 | how many changes there have been |
//!
//! A signal that is not owned belongs to the kernel: the word only spares queries a system call. Whoever
//! changes the kernel's action counts itself into the word before and out of it afterwards, and marks the
//! number as known only if the word has not changed in between, that is if nobody else was about. One that
//! never comes back (a handler has interrupted it and left by `siglongjmp`) leaves the count raised: then
//! queries ask the kernel from there on.
//!
//! The count of changes keeps a compare-and-swap from taking a word that has come back for one that never
//! left. It comes round after 2^32 changes, each a system call or a locked exchange: that many would have
//! to happen while one thread is between two instructions.
//!
//! # Atomic orderings
//! SeqCst throughout: the word, `Slot::wanted` and the kernel's action are read and written crosswise by
//! who subscribes, who sets, and handlers.

use super::interned::{self, INDEX_BITS};
use crate::sync::Ordering;
use crate::sys::KernelAction;
use core::sync::atomic::AtomicU64;

const INDEX: u64 = (1 << INDEX_BITS) - 1;
const KNOWN: u64 = 1 << 22;
const OWNED: u64 = 1 << 23;
const HANDLER: u64 = 1 << 24;
const CHANGING: u64 = 1 << 26;
const CHANGERS: u64 = 63 * CHANGING;
const CHANGE: u64 = 1 << 32;

const _: () = assert!(INDEX < KNOWN);

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    #[inline(always)]
    pub(crate) fn action(self) -> &'static KernelAction {
        interned::action((self.0 & INDEX) as u32)
    }

    #[inline(always)]
    pub(crate) fn is_owned(self) -> bool {
        self.0 & OWNED != 0
    }

    #[inline(always)]
    pub(crate) fn is_handler(self) -> bool {
        self.0 & HANDLER != 0
    }

    /// Whether the action is what the kernel has, as far as this word tells.
    #[inline(always)]
    pub(crate) fn is_known(self) -> bool {
        self.0 & KNOWN != 0 && self.0 & CHANGERS == 0
    }

    fn changed(self) -> Self {
        Self(self.0.wrapping_add(CHANGE))
    }

    fn with(self, index: u32) -> Self {
        let handler = if interned::action(index).is_handler() { HANDLER } else { 0 };
        Self(self.0 & !(INDEX | HANDLER) | u64::from(index) | handler)
    }

    fn owned(self, owned: bool) -> Self {
        Self(if owned { self.0 | OWNED } else { self.0 & !OWNED })
    }

    fn known(self, known: bool) -> Self {
        Self(if known { self.0 | KNOWN } else { self.0 & !KNOWN })
    }

    /// One more change under way. At the greatest count it stays there for good.
    fn begun(self) -> Self {
        Self(if self.0 & CHANGERS == CHANGERS { self.0 } else { self.0 + CHANGING })
    }

    fn ended(self) -> Self {
        let count = self.0 & CHANGERS;
        Self(if count == CHANGERS || count == 0 { self.0 } else { self.0 - CHANGING })
    }
}

pub(crate) struct Disposition(AtomicU64);

impl Disposition {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Word {
        Word(self.0.load(Ordering::SeqCst))
    }

    /// Replaces `seen`, if it is still there.
    fn replace(&self, seen: Word, new: Word) -> bool {
        self.0.compare_exchange(seen.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Changes the word by `change` however many others do so too; what was there, and what is now.
    fn update(&self, change: impl Fn(Word) -> Word) -> (Word, Word) {
        loop {
            let seen = self.get();
            let new = change(seen);
            if self.replace(seen, new) {
                return (seen, new);
            }
        }
    }

    /// Makes the action virtual, beginning with the one of this number. What was there before.
    pub(crate) fn adopt(&self, index: u32) -> Word {
        self.update(|word| word.with(index).owned(true).known(true).changed()).0
    }

    /// As `adopt`, if the word is still `seen`.
    pub(crate) fn adopt_after(&self, seen: Word, index: u32) -> bool {
        self.replace(seen, seen.with(index).owned(true).known(true).changed())
    }

    /// Ends that: the kernel gets what this returns, and is the truth from here on.
    pub(crate) fn disown(&self) -> Word {
        self.update(|word| word.owned(false).known(false).changed()).1
    }

    /// Sets the virtual action, if the word is still `seen`, which is owned. The word that is there then.
    pub(crate) fn set(&self, seen: Word, index: u32) -> Option<Word> {
        let new = seen.with(index).changed();
        self.replace(seen, new).then_some(new)
    }

    /// Begins a change of the kernel's action, if the word is still `seen`, which is not owned.
    pub(crate) fn begin(&self, seen: Word) -> Option<Word> {
        let new = seen.begun().known(false).changed();
        self.replace(seen, new).then_some(new)
    }

    /// Ends a change that has put the action of number `index` into the kernel. The word if the signal has
    /// become owned meanwhile.
    pub(crate) fn end(&self, begun: Word, index: Option<u32>) -> Option<Word> {
        let done = begun.ended();
        let done = match index {
            Some(index) => done.with(index).known(true),
            None => done,
        };
        if self.replace(begun, done) {
            return None;
        }
        let (_, now) = self.update(Word::ended);
        now.is_owned().then_some(now)
    }

    /// Notes what a query of the kernel has shown, if nothing has changed since `seen`.
    pub(crate) fn note(&self, seen: Word, index: u32) {
        if seen.0 & CHANGERS == 0 {
            self.replace(seen, seen.with(index).known(true));
        }
    }
}
