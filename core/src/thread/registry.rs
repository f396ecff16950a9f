//! All thread records, and how a thread gets and leaves one.
//!
//! Records form a list that only grows; a record whose thread has ended is kept aside for the next
//! thread. So there are as many as threads were alive at once, and walking them needs no lock.
//!
//! The unused ones are a stack without a lock: a thread that attaches has no record yet in which to defer,
//! and a foreign handler that leaves by `siglongjmp` must not leave a lock behind. Its head carries a
//! count of changes in the 16 bits that x86_64 and aarch64 user addresses do not use, so that a head that
//! has come back to the same record is told from one that never left (ABA). As soon as a thread has its
//! record, and until it gives it up, a deferral guards the rest.
//!
//! # Safety
//! A record in the list is never freed. The thread-specific key's destructor runs on the thread that
//! set it, with the record it was given.
#![allow(unsafe_code)]

use super::record::{Record, state};
use crate::engine;
use crate::sync::{AtomicU32, Ordering, compiler_fence};
use crate::sys;
use core::ffi::c_void;
use core::sync::atomic::{AtomicPtr, AtomicU64};

pub(crate) struct Threads {
    pub(crate) first: AtomicPtr<Record>,
    /// The first of those that no thread uses, and a count; see the module.
    unused: AtomicU64,
    key: AtomicU32,
    /// How often a child of a child this process is, as far as it was made by `fork`.
    forks: AtomicU32,
}

/// The calling thread's record, which it gets if it has none.
#[inline]
pub(crate) fn attached() -> &'static Record {
    match Record::current() {
        Some(record) => record,
        None => attach(),
    }
}

#[cold]
fn attach() -> &'static Record {
    let engine = engine::started();
    if engine.is_borrowed() {
        return borrowed();
    }
    let record = loop {
        let forks = engine.threads.forks.load(Ordering::Relaxed);
        let record = engine.threads.take();
        prepare(record);
        // From here on handlers find it, and store what arrives.
        sys::arch::set_record(core::ptr::from_ref(record).cast_mut());
        compiler_fence(Ordering::SeqCst);
        if engine.threads.forks.load(Ordering::Relaxed) == forks {
            break record;
        }
        // A handler has forked in between, and this is the child: the record went back with the others.
        sys::arch::set_record(core::ptr::null_mut());
    };
    record.mailbox.lock().alive = true;
    // SAFETY: the record is this thread's, and no handler of ours touches its alternate stack's entry.
    unsafe { &mut *record.altstack.get() }.set_up();
    let key = engine.threads.key.load(Ordering::Acquire);
    let value = core::ptr::from_ref(record).cast::<c_void>();
    // SAFETY: the key was made by `make_key` when the engine started.
    let failed = unsafe { libc::pthread_setspecific(key, value) };
    assert!(failed == 0, "out of memory: a thread that is attached must be detached when it ends");
    crate::defer::leave_quietly(record);
    record
}

/// Makes a record the calling thread's, in a deferral.
fn prepare(record: &Record) {
    for word in [&record.attention, &record.state, &record.suspended, &record.at_safe_point] {
        word.store(0, Ordering::Relaxed);
    }
    record.blocked.store(0, Ordering::Relaxed);
    record.foreign_at.store(0, Ordering::Relaxed);
    record.tid.store(sys::gettid(), Ordering::Relaxed);
    record.errno.store(sys::Errno::location(), Ordering::Relaxed);
    record.depth.store(1, Ordering::Relaxed);
}

/// A record for a `vfork` child whose thread had none. It must not become the thread's: that is the
/// parent's memory, and the child's id and alternate stack are not the parent's. Handlers do not find
/// it, so nothing is deferred; the child is on its way to exec. All such children share one.
fn borrowed() -> &'static Record {
    static SCRATCH: std::sync::OnceLock<&'static Record> = std::sync::OnceLock::new();
    SCRATCH.get_or_init(|| Box::leak(Box::new(Record::new())))
}

/// Makes the key whose destructor detaches a thread that ends, once, when the engine starts.
pub(crate) fn make_key() {
    let mut key = 0;
    // SAFETY: `key` is valid, and the destructor has the signature that is asked for.
    let failed = unsafe { libc::pthread_key_create(&raw mut key, Some(detach)) };
    assert!(failed == 0, "no thread-specific key is left (PTHREAD_KEYS_MAX): sigplane needs one");
    engine::get().threads.key.store(key, Ordering::Release);
}

/// The key's destructor (pthread_key_create(3)): the thread is ending, after its C++ and Rust
/// thread-local destructors. One of a later round may attach it again, and this runs again.
unsafe extern "C" fn detach(value: *mut c_void) {
    // SAFETY: the value is the record that `attach` gave.
    let record = unsafe { &*value.cast::<Record>() };
    if !record.is_current() {
        return;
    }
    super::local::end_all(record);
    let jobs = {
        let mut mailbox = record.mailbox.lock();
        mailbox.alive = false;
        record.generation.fetch_add(1, Ordering::Release);
        core::mem::take(&mut mailbox.jobs)
    };
    for job in jobs {
        job.give_back();
    }
    // A guard that was forgotten ends here, and a deferral of our own begins.
    record.depth.store(1, Ordering::Relaxed);
    // SAFETY: this thread's own; a handler that is on the stack that goes has returned before this line.
    unsafe { &mut *record.altstack.get() }.tear_down();
    crate::defer::leave_quietly(record);
    // Only now: what that has delivered may have filled a queue, which then holds this thread.
    let tid = record.tid.load(Ordering::Relaxed);
    let holds = &engine::get().holds;
    if holds.held_on(tid) != 0 {
        let mask = sys::block(sys::ASYNC_BITS);
        super::estate::hand_over(holds.held_on(tid));
        holds.forget(tid);
        sys::set_mask(mask);
    }
    // A signal that comes before this is delivered with the record, one that comes after without.
    let threads = &engine::get().threads;
    let forks = threads.forks.load(Ordering::Relaxed);
    sys::arch::set_record(core::ptr::null_mut());
    threads.give_back(record, forks);
}

impl Threads {
    pub(crate) const fn new() -> Self {
        Self {
            first: AtomicPtr::new(core::ptr::null_mut()),
            unused: AtomicU64::new(0),
            key: AtomicU32::new(0),
            forks: AtomicU32::new(0),
        }
    }

    /// One that no thread uses, or a new one.
    fn take(&self) -> &'static Record {
        let mut head = self.unused.load(Ordering::Acquire);
        // SAFETY: 0 or a record, which is never freed: looking at one that another thread has just taken
        // is harmless, and the count makes the exchange fail.
        while let Some(record) = unsafe { record_of(head).as_ref() } {
            let next = record.next_unused.load(Ordering::Relaxed);
            let new = head_to(next, head);
            // ORDERING: Acquire pairs with the Release in `give_back`: what the last thread left in it.
            match self.unused.compare_exchange_weak(head, new, Ordering::Acquire, Ordering::Acquire)
            {
                Ok(_) => return record,
                Err(actual) => head = actual,
            }
        }
        let record: &'static Record = Box::leak(Box::new(Record::new()));
        let mut first = self.first.load(Ordering::Relaxed);
        loop {
            record.next.store(first, Ordering::Relaxed);
            let new = core::ptr::from_ref(record).cast_mut();
            // ORDERING: Release publishes the record; pairs with the Acquire in `iter`.
            match self.first.compare_exchange_weak(first, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return record,
                Err(actual) => first = actual,
            }
        }
    }

    /// `forks` is how often this process had been forked when the record was the thread's: in a child
    /// made since, by a handler of this very thread, it has been given back with all others. (A fork
    /// between the test and the exchange changes the head.)
    fn give_back(&self, record: &'static Record, forks: u32) {
        let mut head = self.unused.load(Ordering::Relaxed);
        loop {
            compiler_fence(Ordering::SeqCst);
            if self.forks.load(Ordering::Relaxed) != forks {
                return;
            }
            record.next_unused.store(record_of(head), Ordering::Relaxed);
            let new = head_to(core::ptr::from_ref(record).cast_mut(), head);
            match self.unused.compare_exchange_weak(head, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(actual) => head = actual,
            }
        }
    }

    /// Every record there is, in use or not.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'static Record> {
        let mut next = self.first.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            // SAFETY: null or a record, which is never freed.
            let record: &'static Record = unsafe { next.as_ref() }?;
            next = record.next.load(Ordering::Relaxed);
            Some(record)
        })
    }

    /// In a forked child: keeps the calling thread's record, and lays aside all others. Returns what a
    /// deferral that is in progress had blocked on the calling thread.
    ///
    /// # Safety
    /// Only one thread is left, with every asynchronous signal blocked.
    pub(crate) unsafe fn reset_after_fork(&self) -> u64 {
        let mut blocked = 0;
        // The list is made anew: the process is copied page by page, not at one instant. The count of
        // changes goes on, so that an exchange that this interrupts fails.
        let forks = self.forks.fetch_add(1, Ordering::Relaxed) + 1;
        let head = self.unused.load(Ordering::Relaxed);
        self.unused.store(head_to(core::ptr::null_mut(), head), Ordering::Relaxed);
        for record in self.iter() {
            // SAFETY: the caller's promise.
            unsafe { record.mailbox.reset_after_fork() };
            let mut mailbox = record.mailbox.lock();
            // The closures and the entries of threads that do not exist here are forgotten, not
            // dropped: what they refer to may be in any state.
            core::mem::forget(core::mem::take(&mut mailbox.jobs));
            record.attention.store(0, Ordering::Relaxed);
            // SAFETY: the caller's promise.
            unsafe { record.deferred() }.clear();
            let lifted = record.blocked.swap(0, Ordering::Relaxed);
            if record.is_current() {
                blocked = lifted;
                record.tid.store(sys::gettid(), Ordering::Relaxed);
                record.state.store(state::RUNNING, Ordering::Relaxed);
                continue;
            }
            mailbox.alive = false;
            record.generation.fetch_add(1, Ordering::Release);
            record.readers.reset_after_fork();
            // SAFETY: the caller's promise; the thread that owned them does not exist here.
            unsafe { &mut *record.locals.get() }.abandon();
            // SAFETY: as above. Its stack is left where it is: in this process nobody uses it, and a
            // frame on it may be what the forking handler returns through.
            unsafe { &mut *record.altstack.get() }.abandon();
            self.give_back(record, forks);
        }
        blocked
    }
}

const ADDRESS: u64 = (1 << 48) - 1;

fn record_of(head: u64) -> *mut Record {
    (head & ADDRESS) as *mut Record
}

/// The head that leads to `record` and follows `before`.
fn head_to(record: *mut Record, before: u64) -> u64 {
    record as u64 & ADDRESS | (before & !ADDRESS).wrapping_add(ADDRESS + 1)
}

impl Record {
    /// Whether the calling thread is in the middle of a chain: then the caller is an immediate entry.
    pub(crate) fn in_handler() -> bool {
        let reads = |record: &Self| !(record.readers.is_drained(0) && record.readers.is_drained(1));
        sys::arch::stranger_depth() != 0 || Self::current().is_some_and(reads)
    }
}
