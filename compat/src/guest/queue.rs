//! The queue between the owner's handler and a guest: a pipe.
//!
//! **[`Queue::put`] runs inside signal handlers**, of any thread, nested to any depth, and possibly on top of
//! a reader of the same queue. A queue in memory would need a second mechanism to wake the reader, and care
//! for the reader that a handler interrupts; a pipe takes a record as a whole or not at all (pipe(7),
//! `PIPE_BUF`), in order, and is a descriptor to wait for.
//!
//! Refused: an unbounded queue, which would allocate; waiting for room, in a handler.

use sigplane::{Error, Event, Result, SubscriptionStats};
use std::io::{self, PipeReader, PipeWriter};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

/// What travels: an event, moved byte by byte within the process; or nothing, to wake the reader.
type Record = Option<Event>;

const RECORD: usize = size_of::<Record>();
const _: () = assert!(RECORD <= libc::PIPE_BUF);
// The bytes of an event that is never read own nothing.
const _: () = assert!(!std::mem::needs_drop::<Record>());

#[derive(Debug)]
pub(super) struct Queue {
    reader: PipeReader,
    writer: PipeWriter,
    /// The process that subscribed. A forked child has the same pipe, and must leave it alone.
    owner: u32,
    ended: AtomicBool,
    queued: AtomicUsize,
    taken: AtomicUsize,
    dropped: AtomicUsize,
    panics: AtomicUsize,
}

/// -1 is an error in errno, for all system calls that are used here.
fn checked(call: &'static str, result: i64) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::Os { call, source: io::Error::last_os_error() })
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Result<Self> {
        let (reader, writer) = io::pipe().map_err(|source| Error::Os { call: "pipe2", source })?;
        for end in [reader.as_raw_fd(), writer.as_raw_fd()] {
            // SAFETY: a descriptor of ours.
            let result = unsafe { libc::fcntl(end, libc::F_SETFL, libc::O_NONBLOCK) };
            checked("fcntl(F_SETFL)", result.into())?;
        }
        // SAFETY: takes a number.
        let page = checked("sysconf", unsafe { libc::sysconf(libc::_SC_PAGESIZE) })?;
        // The kernel fills a page with whole records and rounds the number of pages up.
        let bytes = capacity.div_ceil(page / RECORD).saturating_mul(page);
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: a descriptor of ours.
        let result = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) };
        checked("fcntl(F_SETPIPE_SZ)", result.into())?;
        Ok(Self {
            reader,
            writer,
            owner: std::process::id(),
            ended: AtomicBool::new(false),
            queued: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
        })
    }

    /// Queues an event; called in the handler. The owner keeps errno.
    pub(super) fn put(&self, info: &libc::siginfo_t) {
        if self.is_inherited() {
            return;
        }
        let Some(event) = Event::received(info) else { return };
        let counter = if self.write(&Some(event)) { &self.queued } else { &self.dropped };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, record: &Record) -> bool {
        let bytes = std::ptr::from_ref(record).cast();
        // SAFETY: `record` is valid for its size. The reading end is open as long as `self` is.
        let written = unsafe { libc::write(self.writer.as_raw_fd(), bytes, RECORD) };
        written == RECORD as isize
    }

    /// The next event, if there is one.
    pub(super) fn take(&self) -> Option<Event> {
        if self.is_inherited() {
            return None;
        }
        let mut record = MaybeUninit::<Record>::uninit();
        // SAFETY: `record` is valid for writing as many bytes.
        let read =
            unsafe { libc::read(self.reader.as_raw_fd(), record.as_mut_ptr().cast(), RECORD) };
        if read != RECORD as isize {
            return None; // Empty, or interrupted: the callers look again.
        }
        // SAFETY: the pipe holds whole records, each of which is read once.
        let event = unsafe { record.assume_init() }?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(event)
    }

    /// The next event. `None` at the deadline, and when something else than an event has ended the wait.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Option<Event> {
        loop {
            if let Some(event) = self.take() {
                return Some(event);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) || self.has_ended() {
                return None;
            }
            let limit = left.map_or(-1, |left| {
                i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX)
            });
            // In a forked child nothing will come: the readable end is not looked at.
            let fd = if self.is_inherited() { -1 } else { self.reader.as_raw_fd() };
            let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid element. Interrupted or not, the loop looks again.
            unsafe { libc::poll(&raw mut poll, 1, limit) };
        }
    }

    /// From now on nobody waits.
    pub(super) fn end(&self) {
        // Release pairs with the Acquire in `has_ended`; the pipe itself wakes the reader.
        self.ended.store(true, Ordering::Release);
        if !self.is_inherited() {
            // Should the pipe be full, the reader is awake anyway.
            self.write(&None);
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether this process is a forked child of the one that subscribed.
    pub(super) fn is_inherited(&self) -> bool {
        self.owner != std::process::id()
    }

    pub(super) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> SubscriptionStats {
        let mut stats = SubscriptionStats::default();
        stats.taken = self.taken.load(Ordering::Relaxed);
        stats.queued = self.queued.load(Ordering::Relaxed);
        stats.waiting = stats.queued.saturating_sub(stats.taken);
        stats.dropped = self.dropped.load(Ordering::Relaxed);
        stats.panics = self.panics.load(Ordering::Relaxed);
        stats
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
