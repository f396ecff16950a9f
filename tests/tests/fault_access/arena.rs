//! Memory whose pages are in known states, with a second mapping of the same file through which all of
//! it can be seen, and a copy of what it should contain.

use sigplane::FaultKind;
use sigplane::fault::{Access, Fault};
use sigplane_tests::Dice;

pub const PAGE: usize = 4096;
/// Pages of an arena; the first and the last are never accessible.
pub const PAGES: usize = 514;
pub const SIZE: usize = PAGES * PAGE;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Good,
    ReadOnly,
    /// `PROT_NONE`.
    Blocked,
    Unmapped,
    /// Mapped, beyond the end of a file that was truncated.
    Truncated,
}

use State::{Blocked, Good, ReadOnly, Truncated, Unmapped};

impl State {
    fn allows(self, access: Access) -> bool {
        self == Good || (self == ReadOnly && access == Access::Read)
    }

    fn kind(self) -> FaultKind {
        match self {
            Blocked | ReadOnly => FaultKind::Protected,
            Unmapped => FaultKind::Unmapped,
            Truncated => FaultKind::NoMemory,
            Good => unreachable!("a good page does not fault"),
        }
    }
}

/// What a fault should be: its kind, address, access and count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expected {
    pub kind: FaultKind,
    pub at: usize,
    pub access: Access,
    pub done: usize,
}

impl Expected {
    pub fn is(&self, fault: &Fault) -> bool {
        fault.kind() == self.kind
            && fault.address() == Some(self.at)
            && fault.access() == Some(self.access)
            && fault.done() == self.done
            && fault.pc() != 0
    }
}

pub struct Arena {
    fd: i32,
    base: usize,
    view: *mut u8,
    states: Vec<State>,
    /// For each page the first one from there on that does not allow reading, or writing.
    next: [Vec<u32>; 2],
    /// For each page the last one up to there.
    last: [Vec<u32>; 2],
    pub shadow: Vec<u8>,
    pool: Vec<u8>,
}

fn index(access: Access) -> usize {
    usize::from(access == Access::Write)
}

/// Maps pages of the file; at `at` exactly, if that is not 0.
pub fn map(fd: i32, at: usize, length: usize, offset: usize, protection: i32) -> usize {
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED | libc::MAP_POPULATE };
    let hint = at as *mut _;
    let flags = libc::MAP_SHARED | fixed;
    let mapped = unsafe { libc::mmap(hint, length, protection, flags, fd, offset as i64) };
    assert_ne!(mapped, libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    mapped as usize
}

/// A file in memory.
pub fn file(length: usize) -> i32 {
    let fd = unsafe { libc::memfd_create(c"arena".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    assert_eq!(unsafe { libc::ftruncate(fd, length as i64) }, 0);
    fd
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

impl Arena {
    /// The `number`th of the process. Its holes lie far below everything that the kernel places by itself,
    /// so that nothing is put into them.
    pub fn new(number: usize, dice: &mut Dice) -> Self {
        let fd = file(2 * SIZE);
        let view = map(fd, 0, 2 * SIZE, 0, RW) as *mut u8;
        // The upper half is there, and then is no more.
        unsafe { view.write_bytes(1, 2 * SIZE) };
        assert_eq!(unsafe { libc::ftruncate(fd, SIZE as i64) }, 0);
        let hint = 0x2000_0000_0000 + number * (1 << 32);
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
            libc::mmap(hint as *mut _, SIZE, libc::PROT_NONE, flags, -1, 0)
        } as usize;
        assert_eq!(base, hint, "nothing is there");
        let pool = (0..2 * SIZE / 4).flat_map(|_| (dice.roll(1 << 32) as u32).to_ne_bytes());
        let empty = || vec![0; PAGES];
        Self {
            fd,
            base,
            view,
            states: vec![Blocked; PAGES],
            next: [empty(), empty()],
            last: [empty(), empty()],
            shadow: vec![0; SIZE],
            pool: pool.collect(),
        }
    }

    pub fn at(&self, offset: usize) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.base + offset)
    }

    /// What the file contains, whatever the states of the pages.
    pub fn seen(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.view, SIZE) }
    }

    /// Gives every page a state: runs of good pages, and between them bad ones, about one in `rarity`.
    pub fn shuffle(&mut self, rarity: u64, dice: &mut Dice) {
        for page in 1..PAGES - 1 {
            let bad = [ReadOnly, Blocked, Unmapped, Truncated];
            let state = if dice.roll(rarity) == 0 { bad[dice.roll(4) as usize] } else { Good };
            self.set(page, state);
        }
        for access in [Access::Read, Access::Write] {
            let allows = |page: usize| self.states[page].allows(access);
            let mut bad = PAGES - 1;
            for page in (0..PAGES).rev() {
                bad = if allows(page) { bad } else { page };
                self.next[index(access)][page] = bad as u32;
            }
            for page in 0..PAGES {
                bad = if allows(page) { bad } else { page };
                self.last[index(access)][page] = bad as u32;
            }
        }
    }

    fn set(&mut self, page: usize, state: State) {
        if self.states[page] == state {
            return;
        }
        self.states[page] = state;
        let (at, offset) = (self.base + page * PAGE, page * PAGE);
        match state {
            Good => map(self.fd, at, PAGE, offset, RW),
            ReadOnly => map(self.fd, at, PAGE, offset, libc::PROT_READ),
            Blocked => map(self.fd, at, PAGE, offset, libc::PROT_NONE),
            Truncated => map(self.fd, at, PAGE, SIZE + offset, RW),
            Unmapped => unsafe { libc::munmap(at as *mut _, PAGE) as usize },
        };
    }

    /// New contents, with a zero every 256 bytes or so, or only as many as are asked for.
    pub fn fill(&mut self, zeros: Option<u64>, dice: &mut Dice) {
        let from = dice.roll(SIZE as u64) as usize;
        self.shadow.copy_from_slice(&self.pool[from..from + SIZE]);
        if let Some(zeros) = zeros {
            self.shadow.iter_mut().for_each(|byte| *byte |= 1);
            for _ in 0..zeros {
                self.shadow[dice.roll(SIZE as u64) as usize] = 0;
            }
        }
        unsafe { self.view.copy_from_nonoverlapping(self.shadow.as_ptr(), SIZE) };
    }

    /// The first byte of a range upwards that does not allow the access, and what is then reported.
    pub fn first_bad(&self, from: usize, length: usize, access: Access) -> Option<Expected> {
        let page = self.next[index(access)][(from / PAGE).min(PAGES - 1)] as usize;
        let done = (page * PAGE).saturating_sub(from);
        (done < length).then(|| self.expected(page, from + done, access, done))
    }

    /// The same downwards from the end.
    pub fn last_bad(&self, from: usize, length: usize, access: Access) -> Option<Expected> {
        let end = from + length;
        let page = self.last[index(access)][(end - 1) / PAGE] as usize;
        let done = end.saturating_sub((page + 1) * PAGE);
        (done < length).then(|| self.expected(page, end - 1 - done, access, done))
    }

    fn expected(&self, page: usize, offset: usize, access: Access, done: usize) -> Expected {
        Expected { kind: self.states[page].kind(), at: self.base + offset, access, done }
    }

    /// Whether the file has what it should, near a range or everywhere.
    pub fn check_near(&self, from: usize, length: usize) -> bool {
        let near = from.saturating_sub(80)..(from + length + 80).min(SIZE);
        self.seen()[near.clone()] == self.shadow[near]
    }

    pub fn check(&self) -> bool {
        self.seen() == self.shadow
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        unsafe {
            libc::munmap(self.base as *mut _, SIZE);
            libc::munmap(self.view.cast(), 2 * SIZE);
            libc::close(self.fd);
        }
    }
}

// The view is a mapping of this arena's own.
unsafe impl Send for Arena {}

/// A length from 0 to 1 MiB, by its logarithm, small ones preferred.
pub fn length(dice: &mut Dice) -> usize {
    let sort = dice.roll(1000);
    let bits = match sort {
        0 => 15 + dice.roll(6),
        1..20 => 10 + dice.roll(5),
        _ => dice.roll(10),
    };
    dice.roll((1 << bits) + 1) as usize
}

/// A place for `length` bytes: half of them near the boundary of two pages.
pub fn place(length: usize, dice: &mut Dice) -> usize {
    let at = if dice.roll(2) == 0 {
        let boundary = dice.roll(PAGES as u64) as usize * PAGE;
        let before = dice.roll(length.min(300) as u64 + 40) as usize;
        (boundary + 20).saturating_sub(before)
    } else {
        dice.roll(SIZE as u64) as usize
    };
    at.min(SIZE - length)
}
