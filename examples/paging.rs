//! Paging in user space: a sparse file larger than memory appears as memory, of which a limited part is
//! resident, and the program decides what is brought in and what goes.
//!
//! The file's range of addresses has no access at first. A region handler brings in the block that is
//! touched, and throws out the one that has been there longest. Plain code reads the memory; it does not
//! know. The same walks over the same file are done through a plain `mmap`, for comparison.
//!
//! ```sh
//! cargo run --release --example paging -- --blocks 20000
//! ```
//!
//! It checks what it reads: marks that were written into the file beforehand are all found, in both ways.
//! The exit status is 1 otherwise. What to look at: `bring_in`, which runs in the signal handler and uses
//! nothing but system calls and atomics.

use clap::Parser;
use sigplane::Verdict;
use sigplane::fault::{FaultContext, Region};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What is brought in at a time.
const BLOCK: usize = 64 << 10;
/// How many blocks are resident at most.
const RESIDENT: usize = 256;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Options { blocks } = Options::parse();
    let size = (2 * memory()?).next_multiple_of(BLOCK);
    let path = std::env::temp_dir().join(format!("sigplane-paging-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?; // It lives as long as it is open.
    file.set_len(size as u64)?;
    let walk = Walk::over(size / BLOCK, blocks);
    let expected = walk.mark(&file)?;
    println!(
        "a sparse file of {} GiB, memory is {} GiB, at most {} MiB resident; {blocks} blocks touched",
        size >> 30,
        memory()? >> 30,
        (RESIDENT * BLOCK) >> 20
    );

    let paged = Paged::new(&file, size)?;
    let (sum, time) = walk.run(paged.base());
    let pager = &paged.pager;
    let (brought_in, thrown_out) =
        (pager.brought_in.load(Ordering::Relaxed), pager.thrown_out.load(Ordering::Relaxed));
    println!(
        "  paged here:  {} a block, {brought_in} brought in, {thrown_out} thrown out",
        per(time, blocks)
    );
    let mapped = Mapping::of(size, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd())?;
    let (plain_sum, plain_time) = walk.run(mapped.0);
    println!("  plain mmap:  {} a block", per(plain_time, blocks));
    println!("  ratio:       {:.2}", time.as_secs_f64() / plain_time.as_secs_f64());

    let right = sum == expected && plain_sum == expected;
    let limited = brought_in - thrown_out <= RESIDENT;
    println!(
        "{} every mark was found in both, and the limit was kept",
        if right && limited { "✓" } else { "✗" }
    );
    Ok(if right && limited { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn per(time: Duration, blocks: usize) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6 / blocks as f64)
}

/// A fixed sequence of blocks, far from each other and some of them twice.
struct Walk {
    blocks: Vec<usize>,
}

impl Walk {
    fn over(range: usize, count: usize) -> Self {
        let mut at = 0x9e37_79b9_7f4a_7c15_usize;
        let mut next = || {
            at ^= at << 13;
            at ^= at >> 7;
            at ^= at << 17;
            at % range
        };
        let mut blocks: Vec<usize> = (0..count.max(2)).map(|_| next()).collect();
        for index in (7..blocks.len()).step_by(8) {
            blocks[index] = blocks[index - 7]; // Still resident.
        }
        Self { blocks }
    }

    /// Writes a mark into each block; what a walk over all of them adds up to.
    fn mark(&self, file: &File) -> io::Result<u64> {
        for &block in &self.blocks {
            file.write_all_at(&(block as u64 + 1).to_le_bytes(), (block * BLOCK) as u64 + 8)?;
        }
        Ok(self.blocks.iter().map(|&block| block as u64 + 1).sum())
    }

    /// Reads each mark, and the end of each block, through memory.
    fn run(&self, base: *const u8) -> (u64, Duration) {
        let start = Instant::now();
        let mut sum = 0;
        for &block in &self.blocks {
            let at = base.wrapping_add(block * BLOCK);
            let (mark, end) = (at.wrapping_add(8).cast::<u64>(), at.wrapping_add(BLOCK - 1));
            // SAFETY: within the mapping, which is as long as the file; a fault brings it in.
            sum += unsafe { mark.read_volatile() };
            // SAFETY: as above.
            sum += u64::from(unsafe { end.read_volatile() });
        }
        (sum, start.elapsed())
    }
}

/// A range of addresses, unmapped when dropped.
struct Mapping(*mut u8, usize);

impl Mapping {
    fn of(size: usize, protection: i32, flags: i32, fd: RawFd) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(null_mut(), size, protection, flags | libc::MAP_NORESERVE, fd, 0) };
        if base == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self(base.cast(), size))
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `of`, and nobody has a reference into it.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

/// The file as memory.
struct Paged {
    // Before the mapping: no handler runs when that goes.
    _region: Region,
    mapping: Mapping,
    pager: Arc<Pager>,
}

impl Paged {
    fn new(file: &File, size: usize) -> Result<Self, Box<dyn Error>> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let mapping = Mapping::of(size, libc::PROT_NONE, flags, -1)?;
        let base = mapping.0.addr();
        let pager = Arc::new(Pager {
            base,
            fd: file.as_raw_fd(),
            resident: (0..RESIDENT).map(|_| AtomicUsize::new(0)).collect(),
            next: AtomicUsize::new(0),
            brought_in: AtomicUsize::new(0),
            thrown_out: AtomicUsize::new(0),
        });
        let handler = Arc::clone(&pager);
        // SAFETY: `bring_in` uses system calls and atomics, and makes the memory accessible.
        let region =
            unsafe { Region::new(base..base + size, move |fault| handler.bring_in(fault)) }?;
        Ok(Self { _region: region, mapping, pager })
    }

    fn base(&self) -> *const u8 {
        self.mapping.0
    }
}

struct Pager {
    base: usize,
    fd: RawFd,
    /// The resident blocks' addresses, in a circle; 0 where there is none yet.
    resident: Vec<AtomicUsize>,
    next: AtomicUsize,
    brought_in: AtomicUsize,
    thrown_out: AtomicUsize,
}

impl Pager {
    /// The region's handler. **Runs in the signal handler.**
    fn bring_in(&self, context: &mut FaultContext<'_>) -> Verdict {
        let Some(address) = context.fault().address() else { return Verdict::Pass };
        let offset = (address - self.base) / BLOCK * BLOCK;
        // Elsewhere first: other threads must not see a block that is half read.
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let block = unsafe {
            libc::mmap(null_mut(), BLOCK, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if block == libc::MAP_FAILED {
            return Verdict::Pass;
        }
        // SAFETY: the block is ours until it is moved.
        let read = unsafe { libc::pread(self.fd, block, BLOCK, offset as libc::off_t) };
        let place = without_provenance_mut::<libc::c_void>(self.base + offset);
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: in place of a part of our own range, at once.
        let moved = unsafe { libc::mremap(block, BLOCK, BLOCK, how, place) };
        if read < 0 || moved == libc::MAP_FAILED {
            return Verdict::Pass;
        }
        self.brought_in.fetch_add(1, Ordering::Relaxed);
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % RESIDENT;
        let oldest = self.resident[slot].swap(self.base + offset, Ordering::Relaxed);
        if oldest != 0 {
            self.throw_out(oldest);
        }
        Verdict::Handled // The access is done again.
    }

    fn throw_out(&self, block: usize) {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        let place = without_provenance_mut::<libc::c_void>(block);
        // SAFETY: in place of a block of our own range; whoever touches it again brings it in again.
        unsafe { libc::mmap(place, BLOCK, libc::PROT_NONE, flags, -1, 0) };
        self.thrown_out.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes of memory in this machine.
fn memory() -> io::Result<usize> {
    // SAFETY: only reads a setting.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    // SAFETY: as above.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let bytes = usize::try_from(pages).ok().zip(usize::try_from(page).ok()).map(|(a, b)| a * b);
    bytes.ok_or_else(|| io::Error::other("the size of memory is not known"))
}

/// Reads a sparse file larger than memory, paged in by a region's handler, and checks what it reads.
#[derive(Parser)]
struct Options {
    /// How many blocks of 64 KiB are touched.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    blocks: usize,
}
