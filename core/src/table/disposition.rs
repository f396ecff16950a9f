//! What stands behind the entries of one signal: the legacy action, or what was in the kernel before us.
//! One word, changed by compare-and-swap.
//!
//! **Read and changed inside signal handlers.**
//!
//! | bits | meaning |
//! |---|---|
//! | 0 – 21 | the number of the action (`interned`) |
//! | `KNOWN` | the number is what the kernel has, if the signal is not owned |
//! | `OWNED` | the action is virtual: this word is the truth, and the kernel has what follows from it |
//! | `HANDLER` | the action is neither `SIG_DFL` nor `SIG_IGN` |
//! | `NOTING` | somebody asks the kernel, to note the answer here |
//! | 32 – 63 | how many changes there have been |
//!
//! A signal that is not owned belongs to the kernel; the word only spares queries a system call. A query that
//! finds nothing known announces itself (`NOTING`), asks the kernel, and notes the answer if the word is
//! still the same. Who changes the kernel's action removes what is known or about to be noted *before*, and
//! looks again *afterwards*: if the word is the same, no query has begun in between, and those that begin
//! now will see the new action; otherwise whatever has been noted is removed once more. So changes that no
//! query comes between cost no locked instruction.
//!
//! A query that never comes back (a handler has interrupted it and left by `siglongjmp`) leaves its
//! announcement behind, which the next one replaces.
//!
//! The count of changes keeps a compare-and-swap from taking a word that has come back for one that never
//! left. It comes round after 2^32 changes, all of which would have to happen while one thread is between
//! two instructions.
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
const NOTING: u64 = 1 << 25;
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
        self.0 & KNOWN != 0
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

    /// Whether a change of the kernel's action has something to remove.
    #[inline(always)]
    fn is_noted(self) -> bool {
        self.0 & (KNOWN | NOTING) != 0
    }

    fn without_notes(self) -> Self {
        Self(self.0 & !(KNOWN | NOTING))
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
        self.update(|word| word.with(index).owned(true).without_notes().changed()).0
    }

    /// As `adopt`, if the word is still `seen`.
    pub(crate) fn adopt_after(&self, seen: Word, index: u32) -> bool {
        self.replace(seen, seen.with(index).owned(true).without_notes().changed())
    }

    /// Ends that: the kernel gets what this returns, and is the truth from here on.
    pub(crate) fn disown(&self) -> Word {
        self.update(|word| word.owned(false).without_notes().changed()).1
    }

    /// Sets the virtual action, if the word is still `seen`, which is owned. The word that is there then.
    pub(crate) fn set(&self, seen: Word, index: u32) -> Option<Word> {
        let new = seen.with(index).changed();
        self.replace(seen, new).then_some(new)
    }

    /// Before a change of the kernel's action, if the word is still `seen`, which is not owned.
    #[inline(always)]
    pub(crate) fn begin(&self, seen: Word) -> Option<Word> {
        if !seen.is_noted() {
            return Some(seen);
        }
        let new = seen.without_notes().changed();
        self.replace(seen, new).then_some(new)
    }

    /// After it. The word if the signal has become owned meanwhile.
    #[inline(always)]
    pub(crate) fn end(&self, begun: Word) -> Option<Word> {
        if self.get() == begun { None } else { self.end_among_others() }
    }

    #[cold]
    fn end_among_others(&self) -> Option<Word> {
        let remove =
            |word: Word| if word.is_owned() { word } else { word.without_notes().changed() };
        let (_, now) = self.update(remove);
        now.is_owned().then_some(now)
    }

    /// Announces a query of the kernel, if the word is still `seen`, which is not owned.
    pub(crate) fn ask(&self, seen: Word) -> Option<Word> {
        let new = Word(seen.without_notes().0 | NOTING).changed();
        self.replace(seen, new).then_some(new)
    }

    /// Notes what that has shown, if nothing has happened since.
    pub(crate) fn note(&self, asked: Word, index: u32) {
        let noted = Word(asked.without_notes().with(index).0 | KNOWN);
        self.replace(asked, noted);
    }
}
