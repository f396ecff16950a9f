//! The look-up of a fixup among very many: what it adds to the handler's time.
//!
//! 1,000 lists of 10,000 entries each are made of one file of memory that is mapped 1,000 times: fixups
//! are relative to where they are. Each mapping has its list and, behind it, the code that it is for:
//! a load and its landing per entry.

use crate::fault::{Owner, difference};
use crate::kernel;
use crate::measure::{Contender, Effort, Round, Series, interleave, per_operation};
use sigplane::fault;
use std::ffi::c_void;
use std::hint::black_box;
use std::ptr::{null_mut, without_provenance};

const LISTS: usize = 1_000;
const ENTRIES: usize = 10_000;
const ENTRY: usize = 12;
/// `mov rax, [rdi]; ret` and, at 8, the landing: `xor eax, eax; ret`.
const SLOT: [u8; 16] = [
    0x48, 0x8b, 0x07, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x31, 0xc0, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x90,
];
const LOAD: usize = 3;
const LANDING: usize = 8;
const CODE: usize = 122_880;
const STRIDE: usize = 286_720;

fn image() -> Vec<u8> {
    assert!(ENTRIES * ENTRY <= CODE && CODE + ENTRIES * SLOT.len() <= STRIDE);
    let mut image = vec![0; STRIDE];
    for entry in 0..ENTRIES {
        let (line, code) = (entry * ENTRY, CODE + entry * SLOT.len());
        for (word, target) in [code, code + LOAD, code + LANDING].into_iter().enumerate() {
            let at = line + word * 4;
            image[at..at + 4].copy_from_slice(&((target - at) as i32).to_ne_bytes());
        }
        image[code..code + SLOT.len()].copy_from_slice(&SLOT);
    }
    image
}

/// Maps the image 1,000 times; where the first is.
fn map() -> usize {
    let image = image();
    // SAFETY: a file of its own, and addresses that the kernel has just given.
    unsafe {
        let fd = libc::memfd_create(c"fixups".as_ptr(), libc::MFD_CLOEXEC);
        assert_eq!(libc::write(fd, image.as_ptr().cast(), STRIDE), STRIDE as isize);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let base = libc::mmap(null_mut(), LISTS * STRIDE, libc::PROT_NONE, flags, -1, 0);
        assert_ne!(base, libc::MAP_FAILED);
        for list in 0..LISTS {
            let at = base.wrapping_byte_add(list * STRIDE);
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let mapped = libc::mmap(at, STRIDE, libc::PROT_READ | libc::PROT_EXEC, flags, fd, 0);
            assert_eq!(mapped, at);
        }
        base.expose_provenance()
    }
}

fn register(base: usize, entries: std::ops::Range<usize>) {
    // SAFETY: the list and its code stay for ever.
    unsafe { fault::register(base + entries.start * ENTRY..base + entries.end * ENTRY) }
        .expect("a good list");
}

fn unregister(base: usize, first: usize) {
    fault::unregister(base + first * ENTRY).expect("it is registered");
}

/// Faults at one entry of one list.
fn fault_at(base: usize, list: usize, entry: usize) {
    let code = base + list * STRIDE + CODE + entry * SLOT.len();
    // SAFETY: the code above is such a function, and a handler takes its fault to the landing.
    let zero = unsafe {
        let load = std::mem::transmute::<usize, extern "C" fn(*const c_void) -> u64>(code);
        black_box(load)(without_provenance(64))
    };
    assert_eq!(zero, 0);
}

pub fn look_up(effort: Effort) -> Vec<Series> {
    const BATCH: usize = 300;
    // The middle is no better than anywhere else: its last comparison finds it.
    const WHERE: (usize, usize) = (LISTS / 2 + 1, ENTRIES / 2 + 1);
    kernel::pin(0, kernel::two_cpus().0);
    sigplane::thread::current();
    let base = map();
    let here = base + WHERE.0 * STRIDE;
    let (ours, bare) = (Owner::ours(), Owner::skipping_eight());
    let anywhere = move |number: &mut usize| {
        *number =
            number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        fault_at(base, (*number >> 33) % LISTS, (*number >> 45) % ENTRIES);
    };
    let round = move |round: &mut Round| {
        let mut measure = |name: &str, owner: Owner, operation: &mut dyn FnMut()| {
            owner.put_in();
            round.insert(name.to_owned(), per_operation(BATCH, operation));
        };
        register(here, WHERE.1..WHERE.1 + 1);
        measure("one list of one", ours, &mut || fault_at(base, WHERE.0, WHERE.1));
        unregister(here, WHERE.1);
        (0..LISTS).for_each(|list| register(base + list * STRIDE, 0..ENTRIES));
        measure("all lists", ours, &mut || fault_at(base, WHERE.0, WHERE.1));
        let (mut first, mut second) = (1, 1);
        measure("anywhere, ours", ours, &mut || anywhere(&mut first));
        measure("anywhere, bare", bare, &mut || anywhere(&mut second));
        (0..LISTS).for_each(|list| unregister(base + list * STRIDE, 0));
        difference(round, "look-up", "all lists", "one list of one");
        difference(round, "all of the handler, anywhere", "anywhere, ours", "anywhere, bare");
    };
    vec![interleave("look-up", effort.pick(15, 3), vec![Contender::several(round)])]
}
