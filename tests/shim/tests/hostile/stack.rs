//! Pointers next to the stack of the caller, which ends where other memory begins: a stack of the program's
//! own, as coroutines have. What is near a stack is not always writable, and not always there.

use super::cases::call_by_name;
use super::say;
use std::ptr;

const PAGE: usize = 4096;
const PAGES: usize = 32;

/// Where the memory is: pages of stack, one that can be read only, one that cannot be accessed.
static mut MEMORY: usize = 0;

fn page(number: usize) -> u64 {
    // SAFETY: one thread.
    (unsafe { MEMORY } + number * PAGE) as u64
}

fn ask(what: &str, arguments: [u64; 6]) {
    say(&format!("{what}: {:?}", call_by_name(c"sigaction", arguments, false)));
}

extern "C" fn on_the_stack() {
    let signal = libc::SIGUSR1 as u64;
    for round in 0..3 {
        ask("ask, into a page that can be read", [signal, 0, page(PAGES) + 8, 0, 0, 0]);
        ask("ask, across the end", [signal, 0, page(PAGES) - 16, 0, 0, 0]);
        ask("ask, into no page", [signal, 0, page(PAGES + 1), 0, 0, 0]);
        ask("set, from a page of zeros", [signal, page(PAGES), 0, 0, 0, 0]);
        ask("set, across into no page", [signal, page(PAGES + 1) - 16, 0, 0, 0, 0]);
        let (address, protection) = (page(PAGES) as *mut _, [libc::PROT_NONE, libc::PROT_READ]);
        // SAFETY: a page of ours that nothing refers to.
        unsafe { libc::mprotect(address, PAGE, protection[round % 2]) };
        ask("set, from that page after a change", [signal, page(PAGES), 0, 0, 0, 0]);
    }
}

/// Says what the calls answer, on such a stack.
pub fn run() {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, its last two pages protected; contexts that live as long as they are used.
    unsafe {
        let memory = libc::mmap(ptr::null_mut(), (PAGES + 2) * PAGE, writable, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        MEMORY = memory.addr();
        libc::mprotect(memory.byte_add(PAGES * PAGE), PAGE, libc::PROT_READ);
        libc::mprotect(memory.byte_add((PAGES + 1) * PAGE), PAGE, libc::PROT_NONE);
        let mut back: libc::ucontext_t = std::mem::zeroed();
        let mut there: libc::ucontext_t = std::mem::zeroed();
        assert_eq!(libc::getcontext(&raw mut there), 0);
        (there.uc_stack.ss_sp, there.uc_stack.ss_size) = (memory, PAGES * PAGE);
        there.uc_link = &raw mut back;
        libc::makecontext(&raw mut there, on_the_stack, 0);
        assert_eq!(libc::swapcontext(&raw mut back, &raw const there), 0);
    }
}
