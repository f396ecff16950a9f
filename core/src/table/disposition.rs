//! What stands behind the entries of one signal: the legacy action, or what was in the kernel before us.
//! One word, changed by compare-and-swap.
//!
//! **Read and changed inside signal handlers.**
//!
//! | bits | meaning |
//! |---|---|
//! | 0 – 21 | the number of the action (`interned`) |
//! | `OWNED` | the action is virtual: this word is the truth, and the kernel has what follows from it |
//! | `HANDLER` | the action is neither `SIG_DFL` nor `SIG_IGN` |
//! | `ASKED` | somebody asks the kernel what it has, to begin with that |
//! | 32 – 63 | how many changes there have been |
//!
//! A signal that is not owned belongs to the kernel, and the number is that of the action which it was last
//! given up with. Who makes a signal owned without the table's lock marks the word (`ASKED`), asks the
//! kernel, and exchanges the word if it is still the same. Who changes the kernel's action removes such a
//! mark *before*, and looks again *afterwards*: if the word is the same, nobody has asked in between, and
//! those who ask now will see the new action. So a change costs no locked instruction.
//!
//! A mark whose owner never comes back (a handler has interrupted it and left by `siglongjmp`) stays until
//! the next change.
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
const OWNED: u64 = 1 << 23;
const HANDLER: u64 = 1 << 24;
const ASKED: u64 = 1 << 25;
const CHANGE: u64 = 1 << 32;

const _: () = assert!(INDEX < OWNED);

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

    #[inline(always)]
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

    fn without_mark(self) -> Self {
        Self(self.0 & !ASKED)
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
    #[inline(always)]
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
        self.update(|word| word.with(index).owned(true).without_mark().changed()).0
    }

    /// As `adopt`, if the word is still `seen`.
    pub(crate) fn adopt_after(&self, seen: Word, index: u32) -> bool {
        self.replace(seen, seen.with(index).owned(true).without_mark().changed())
    }

    /// Ends that: the kernel gets what this returns, and is the truth from here on.
    pub(crate) fn disown(&self) -> Word {
        self.update(|word| word.owned(false).without_mark().changed()).1
    }

    /// Sets the virtual action, if the word is still `seen`, which is owned. The word that is there then.
    pub(crate) fn set(&self, seen: Word, index: u32) -> Option<Word> {
        let new = seen.with(index).changed();
        self.replace(seen, new).then_some(new)
    }

    /// As `set`, where the actions before and after are both handlers.
    #[inline(always)]
    pub(crate) fn set_handler(&self, seen: Word, index: u32) -> bool {
        self.replace(seen, Word(seen.0 & !INDEX | u64::from(index)).changed())
    }

    /// Before a change of the kernel's action, if the word is still `seen`, which is not owned.
    #[inline(always)]
    pub(crate) fn begin(&self, seen: Word) -> Option<Word> {
        if seen.0 & ASKED == 0 { Some(seen) } else { self.unmark(seen) }
    }

    #[cold]
    fn unmark(&self, seen: Word) -> Option<Word> {
        let new = seen.without_mark().changed();
        self.replace(seen, new).then_some(new)
    }

    /// After it. The word, if that has changed meanwhile.
    #[inline(always)]
    pub(crate) fn end(&self, begun: Word) -> Option<Word> {
        if self.get() == begun { None } else { Some(self.end_among_others()) }
    }

    #[cold]
    fn end_among_others(&self) -> Word {
        let remove =
            |word: Word| if word.is_owned() { word } else { word.without_mark().changed() };
        self.update(remove).1
    }

    /// Marks the word before a query of the kernel, if it is still `seen`, which is not owned.
    pub(crate) fn ask(&self, seen: Word) -> Option<Word> {
        let new = Word(seen.0 | ASKED).changed();
        self.replace(seen, new).then_some(new)
    }
}
