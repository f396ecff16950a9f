//! Fixup tables: where a faulting instruction goes on, per shared object.
//!
//! An entry of the ELF section `sigplane_fixups` is three 32-bit words, each relative to its own address:
//! where the range of instructions starts, where it ends, and the landing. So a table needs no relocation,
//! is shared between processes, and costs nothing until a fault. Every object (the executable, a library, a
//! plugin) has its own, which its constructor registers and its destructor removes.
//!
//! The look-up, **inside signal handlers**, is a binary search over the registered tables and then in one
//! of them: wait-free, without a lock or an allocation.
//!
//! A linker keeps the order of the sections it is given, and so the tables are normally sorted by
//! address. Where it moves functions (`.text.unlikely`), the registration makes a sorted index.
//!
//! # Safety
//! A registered table, and the code it names, stay loaded until it has been removed; the removal waits for
//! handlers that may still read it.
#![allow(unsafe_code)]

use crate::engine;
use crate::error::{Error, Result};
use crate::sync::Ordering;
use crate::table;
use crate::thread::Record;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::AtomicUsize;

/// One line of a table, as it is in the object.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    start: i32,
    end: i32,
    landing: i32,
}

impl Entry {
    fn word(&self, index: usize, value: i32) -> usize {
        let at = core::ptr::from_ref(self) as usize + index * size_of::<i32>();
        at.wrapping_add_signed(value as isize)
    }

    fn start(&self) -> usize {
        self.word(0, self.start)
    }

    fn end(&self) -> usize {
        self.word(1, self.end)
    }

    fn landing(&self) -> usize {
        self.word(2, self.landing)
    }
}

/// The registered table of one object.
pub(crate) struct List {
    /// From the first start to the last end.
    span: Range<usize>,
    entries: &'static [Entry],
    /// The entries by address, where they are not so themselves.
    index: Option<Box<[u32]>>,
    /// The file of the object.
    object: String,
    /// Faults that went to a landing of it.
    used: AtomicUsize,
}

impl List {
    fn entry(&self, at: usize) -> Option<&Entry> {
        match &self.index {
            None => self.entries.get(at),
            Some(index) => self.entries.get(*index.get(at)? as usize),
        }
    }

    /// The entry whose range contains `pc`.
    fn find(&self, pc: usize) -> Option<&Entry> {
        let (mut low, mut high) = (0, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.end() <= pc {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.entry(low).filter(|entry| entry.start() <= pc)
    }
}

/// Every registered table, by address.
pub(crate) struct Lists(Vec<std::sync::Arc<List>>);

impl Lists {
    fn find(&self, pc: usize) -> Option<(&List, &Entry)> {
        let at = self.0.partition_point(|list| list.span.end <= pc);
        let list = self.0.get(at).filter(|list| list.span.start <= pc)?;
        Some((list, list.find(pc)?))
    }

    /// For `table()`.
    pub(super) fn report(&self) -> Vec<super::FixupTable> {
        let of = |list: &std::sync::Arc<List>| super::FixupTable {
            object: list.object.clone(),
            entries: list.entries.len(),
            used: list.used.load(Ordering::Relaxed),
        };
        self.0.iter().map(of).collect()
    }
}

/// Why a table of fixups was refused.
///
/// # Examples
/// See [`register`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FixupError {
    /// The bounds are not those of a section of whole entries.
    Misshapen {
        /// The file of the object.
        object: String,
    },
    /// An entry covers no instruction.
    Empty {
        /// The file of the object.
        object: String,
        /// The entry, counted from 0 in the order of the section.
        entry: usize,
    },
    /// An entry ends before it starts.
    OutOfOrder {
        /// The file of the object.
        object: String,
        /// The entry.
        entry: usize,
    },
    /// Two entries cover the same instruction.
    Overlapping {
        /// The file of the object.
        object: String,
        /// The entry.
        entry: usize,
        /// The other one.
        other: usize,
        /// The instruction.
        pc: usize,
    },
    /// The landing is an instruction whose own fixups lead back to it: a fault there would go on for ever.
    Cycle {
        /// The file of the object.
        object: String,
        /// The entry.
        entry: usize,
    },
    /// The range belongs to a table that is registered already.
    Registered {
        /// The file of the object.
        object: String,
        /// The file of the object that has it.
        by: String,
    },
    /// No table is registered there.
    Unknown,
}

impl fmt::Display for FixupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misshapen { object } => write!(
                f,
                "fixups of {object}: not a list of whole entries; pass the linker's \
                 __start_sigplane_fixups and __stop_sigplane_fixups of that object"
            ),
            Self::Empty { object, entry } => write!(
                f,
                "fixups of {object}: entry {entry} covers no instruction; put its end label behind one"
            ),
            Self::OutOfOrder { object, entry } => write!(
                f,
                "fixups of {object}: entry {entry} ends before it starts; exchange its labels"
            ),
            Self::Overlapping { object, entry, other, pc } => write!(
                f,
                "fixups of {object}: entries {entry} and {other} both cover the instruction at {pc:#x}; \
                 make the ranges disjoint"
            ),
            Self::Cycle { object, entry } => write!(
                f,
                "fixups of {object}: the landing of entry {entry} leads back to the entry; a landing must \
                 be outside the ranges that lead to it"
            ),
            Self::Registered { object, by } => {
                write!(f, "fixups of {object}: their range is registered already, by {by}")
            }
            Self::Unknown => f.write_str("no fixups are registered at this address"),
        }
    }
}

impl std::error::Error for FixupError {}

/// How many landings lead from one to the next at most.
const CHAIN: usize = 8;

fn check(entries: &'static [Entry], object: &str) -> core::result::Result<List, FixupError> {
    let object = || object.to_owned();
    for (entry, words) in entries.iter().enumerate() {
        match words.start().cmp(&words.end()) {
            core::cmp::Ordering::Less => {}
            core::cmp::Ordering::Equal => {
                return Err(FixupError::Empty { object: object(), entry });
            }
            core::cmp::Ordering::Greater => {
                return Err(FixupError::OutOfOrder { object: object(), entry });
            }
        }
    }
    let index = (!entries.is_sorted_by_key(Entry::start)).then(|| {
        let mut index: Vec<u32> = (0..entries.len() as u32).collect();
        index.sort_by_key(|at| entries.get(*at as usize).map(Entry::start));
        index.into_boxed_slice()
    });
    let mut list = List { span: 0..0, entries, index, object: object(), used: AtomicUsize::new(0) };
    let position = |at: usize| list.index.as_ref().map_or(at, |index| index[at] as usize);
    for at in 1..entries.len() {
        let (before, entry) = (position(at - 1), position(at));
        // A linker that folds identical functions leaves each one's line, of the same instructions.
        let words = |at: usize| (entries[at].start(), entries[at].end(), entries[at].landing());
        if words(before) != words(entry) && entries[before].end() > entries[entry].start() {
            let pc = entries[entry].start();
            return Err(FixupError::Overlapping { object: object(), entry, other: before, pc });
        }
    }
    for (entry, words) in entries.iter().enumerate() {
        let mut landing = words.landing();
        let mut steps = 0;
        while let Some(next) = list.find(landing) {
            landing = next.landing();
            steps += 1;
            if steps == CHAIN || core::ptr::eq(next, words) {
                return Err(FixupError::Cycle { object: object(), entry });
            }
        }
    }
    let (first, last) = (list.entry(0), list.entry(entries.len() - 1));
    list.span = first.map_or(0, Entry::start)..last.map_or(0, Entry::end);
    Ok(list)
}

/// The file of the object that contains an address, for messages. Not for handlers: `dladdr` takes the
/// loader's lock.
fn object_of(address: usize) -> String {
    // SAFETY: all zero bytes are a valid `Dl_info`.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: `info` is valid; any address may be asked for.
    let found = unsafe { libc::dladdr(address as *const _, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return format!("the object at {address:#x}");
    }
    // SAFETY: a string of the loader's, which stays while the object is loaded.
    let name = unsafe { core::ffi::CStr::from_ptr(info.dli_fname) };
    name.to_string_lossy().into_owned()
}

/// Registers the fixups of one object: `bounds` are the linker's `__start_sigplane_fixups` and
/// `__stop_sigplane_fixups` of that object. The object in which sigplane itself is linked is registered
/// when it is loaded; a C object by the macro of `sigplane/fixup.h`. So this is for loaders and JITs that
/// do it by hand. An empty list is registered as nothing.
///
/// It does not [enable](super::enable) the handling of faults.
///
/// # Errors
/// [`FixupError`] names the object and the entry. [`Error::VforkChild`].
///
/// # Safety
/// The list and the code that it names stay loaded until [`unregister`] has returned, and every landing
/// is code that is prepared to be entered from anywhere in its range, with rax, rdx and r11 changed.
///
/// # Async-signal safety
/// No.
///
/// # Examples
/// ```
/// use sigplane::fault;
/// let none = [0i32; 0].as_ptr_range();
/// // SAFETY: an empty list names nothing.
/// unsafe { fault::register(none.start.addr()..none.end.addr()) }?;
/// assert!(fault::unregister(none.start.addr()).is_err());
/// # Ok::<(), sigplane::Error>(())
/// ```
pub unsafe fn register(bounds: Range<usize>) -> Result<()> {
    if bounds.start == bounds.end {
        return Ok(());
    }
    let object = object_of(bounds.start);
    let length = bounds.end.wrapping_sub(bounds.start);
    if bounds.is_empty()
        || !length.is_multiple_of(size_of::<Entry>())
        || !bounds.start.is_multiple_of(align_of::<Entry>())
    {
        return Err(FixupError::Misshapen { object }.into());
    }
    // SAFETY: the caller's promise: a list of entries that stays.
    let entries = unsafe {
        core::slice::from_raw_parts(bounds.start as *const Entry, length / size_of::<Entry>())
    };
    let list = std::sync::Arc::new(check(entries, &object)?);
    table::edit(|engine, retired| {
        // SAFETY: the table's lock is held.
        let current = unsafe { engine.faults.lists.get() }.map_or(&[][..], |lists| &lists.0);
        let at = current.partition_point(|other| other.span.end <= list.span.start);
        if let Some(other) = current.get(at)
            && other.span.start < list.span.end
        {
            let by = other.object.clone();
            return Err(FixupError::Registered { object: list.object.clone(), by }.into());
        }
        let mut lists = current.to_vec();
        lists.insert(at, std::sync::Arc::clone(&list));
        retired.extend(engine.faults.lists.publish(Lists(lists)));
        Ok(())
    })
}

/// Removes the fixups whose list starts at `start`. When it returns, no handler reads the list.
///
/// # Errors
/// [`FixupError::Unknown`] when none is registered there. [`Error::VforkChild`].
///
/// # Async-signal safety
/// No: it waits for handlers.
///
/// # Examples
/// See [`register`].
pub fn unregister(start: usize) -> Result<()> {
    table::edit(|engine, retired| {
        // SAFETY: the table's lock is held.
        let current = unsafe { engine.faults.lists.get() }.map_or(&[][..], |lists| &lists.0);
        let is_it = |list: &std::sync::Arc<List>| list.entries.as_ptr() as usize == start;
        if !current.iter().any(is_it) {
            return Err(Error::from(FixupError::Unknown));
        }
        let rest = current.iter().filter(|list| !is_it(list)).cloned().collect();
        retired.extend(engine.faults.lists.publish(Lists(rest)));
        Ok(())
    })?;
    table::quiesce();
    Ok(())
}

/// The landing for a fault at `pc`.
///
/// **Runs inside signal handlers.**
#[inline]
pub(crate) fn landing(record: Option<&Record>, pc: usize) -> Option<usize> {
    let reading = crate::dispatch::enter(record);
    // SAFETY: `enter` made this a reader until `exit`.
    let found = unsafe { engine::get().faults.lists.get() }.and_then(|lists| lists.find(pc));
    let landing = found.map(|(list, entry)| {
        list.used.fetch_add(1, Ordering::Relaxed);
        entry.landing()
    });
    crate::dispatch::exit(record, reading);
    landing
}

/// One line of the fixup table of the object that it is compiled into, for inline assembly: the labels of
/// the first instruction that may fault, of the first one behind it, and of the landing. It expands to a
/// string that is one of the lines of `asm!` or `global_asm!`.
///
/// At the landing every register is as it was at the fault, but for three: rax has the address, rdx a
/// code that is never 0, r11 the program counter. So they are outputs of the assembly; [`Fault::from_landing`]
/// reads them. The assembly may not change the stack pointer between the range and the landing.
///
/// The executable's own entries are found once [`enable`](crate::fault::enable) has been called (or any of
/// the `try_` functions).
///
/// # Examples
/// ```
/// use sigplane::fault::{self, Fault};
/// use std::arch::asm;
///
/// /// Divides; `Err` where the processor traps.
/// fn divide(dividend: u32, divisor: u32) -> Result<u32, Fault> {
///     let (mut code, address, pc, quotient);
///     code = 0u64;
///     // SAFETY: a trap lands at 3, with code not 0.
///     unsafe {
///         asm!(
///             "mov {t:e}, edx",
///             "mov eax, {dividend:e}",
///             "xor edx, edx",
///             "2: div {divisor:e}",
///             "mov {q:e}, eax",
///             "xor edx, edx",
///             "3:",
///             sigplane::fixup!("2b", "2b + 2", "3b"),
///             t = out(reg) _,
///             q = out(reg) quotient,
///             dividend = in(reg) dividend,
///             divisor = in(reg) divisor,
///             inout("rdx") code,
///             out("rax") address,
///             out("r11") pc,
///         )
///     };
///     if code == 0 { Ok(quotient) } else { Err(Fault::from_landing(address, code, pc)) }
/// }
///
/// fault::enable()?;
/// assert_eq!(divide(42, 6).ok(), Some(7));
/// assert_eq!(divide(1, 0).unwrap_err().kind(), sigplane::FaultKind::IntegerDivision);
/// # Ok::<(), sigplane::Error>(())
/// ```
///
/// [`Fault::from_landing`]: crate::fault::Fault::from_landing
#[macro_export]
macro_rules! fixup {
    ($start:literal, $end:literal, $landing:literal) => {
        concat!(
            // R: kept though nothing refers to it. ?: in the group of the code, and dropped with it.
            ".pushsection sigplane_fixups,\"aR?\",@progbits\n.p2align 2\n",
            ".long ", $start, " - ., ", $end, " - ., ", $landing, " - .\n",
            ".popsection"
        )
    };
}
