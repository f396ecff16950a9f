//! Creating and joining a thread that attaches to sigplane, and so gets a record and an alternate
//! stack, against one that does neither. Peers: an alternate stack mapped per thread, one taken
//! from a pool by hand, and a thread of the standard library, which maps one too.

use crate::kernel;
use crate::measure::{Contender, Effort, Series, interleave};
use crate::report::{Figure, Group, Peer, Row};
use std::ffi::c_void;
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

pub const GROUP: Group = Group {
    name: "threads",
    rows: &[Row {
        name: "thread create + join, attached, with alternate stack",
        series: "threads",
        base: BASE,
        ours: "attached",
        peers: &[Peer::of("pooled by hand"), Peer::of("mmap per thread"), Peer::of("std")],
        figure: Figure::Ratio,
        target: Some(1.05),
    }],
    children: &[("threads", threads)],
};

const BASE: &str = "pthread_create + join";

pub type Start = extern "C" fn(*mut c_void) -> *mut c_void;

pub fn create(start: Start) -> libc::pthread_t {
    // SAFETY: `start` has the type that pthread_create(3) asks for and ignores its argument.
    unsafe {
        let mut thread = mem::zeroed();
        let result = libc::pthread_create(&mut thread, ptr::null(), start, ptr::null_mut());
        assert_eq!(result, 0, "pthread_create");
        thread
    }
}

fn create_and_join(start: Start) {
    let thread = create(start);
    // SAFETY: joined once.
    unsafe { libc::pthread_join(thread, ptr::null_mut()) };
}

extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
    ptr::null_mut()
}

extern "C" fn attached(_: *mut c_void) -> *mut c_void {
    std::hint::black_box(sigplane::thread::current());
    ptr::null_mut()
}

const SIZE: usize = 64 * 1024;
const PAGE: usize = 4096;

fn map_stack() -> *mut c_void {
    // SAFETY: a new mapping; its first page becomes the guard.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let base = libc::mmap(ptr::null_mut(), SIZE + PAGE, access, flags, -1, 0);
        assert!(base != libc::MAP_FAILED, "mmap");
        libc::mprotect(base, PAGE, libc::PROT_NONE);
        base
    }
}

fn set_stack(base: *mut c_void, ss_flags: i32) {
    let stack = libc::stack_t { ss_sp: base.wrapping_byte_add(PAGE), ss_flags, ss_size: SIZE };
    // SAFETY: the memory stays mapped until the stack is disabled again.
    unsafe { libc::sigaltstack(&stack, ptr::null_mut()) };
}

extern "C" fn mapped(_: *mut c_void) -> *mut c_void {
    let base = map_stack();
    set_stack(base, 0);
    set_stack(base, libc::SS_DISABLE);
    // SAFETY: disabled above, used by nobody else.
    unsafe { libc::munmap(base, SIZE + PAGE) };
    ptr::null_mut()
}

extern "C" fn pooled(_: *mut c_void) -> *mut c_void {
    static POOL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let pooled = POOL.swap(ptr::null_mut(), Ordering::Acquire);
    let base = if pooled.is_null() { map_stack() } else { pooled };
    set_stack(base, 0);
    set_stack(base, libc::SS_DISABLE);
    POOL.store(base, Ordering::Release);
    ptr::null_mut()
}

fn threads(effort: Effort) -> Vec<Series> {
    const BATCH: usize = 50;
    let _subscription = crate::delivery::immediate(kernel::rt_signal(1));
    let contenders = vec![
        Contender::batch(BASE, BATCH, || create_and_join(nothing)),
        Contender::batch("attached", BATCH, || create_and_join(attached)),
        Contender::batch("pooled by hand", BATCH, || create_and_join(pooled)),
        Contender::batch("mmap per thread", BATCH, || create_and_join(mapped)),
        Contender::batch("std", BATCH, || std::thread::spawn(|| {}).join().expect("a thread")),
    ];
    vec![interleave("threads", effort.pick(150, 5), contenders)]
}
