//! Looks at addresses of which nothing is known, and says what each is.
//!
//! A list of its own: good memory, address 0, a hole, a page without access, a page that may only be read,
//! an address that is none, one of the kernel's, and a mapping of a file that another process truncates
//! while it is being read. None of them ends the program: each access gives a value or a
//! `sigplane::fault::Fault`.
//!
//! ```sh
//! cargo run --release --example safe_probe                      # its own list
//! cargo run --release --example safe_probe -- 0x7ffff000 0x10   # yours
//! ```
//!
//! The exit status is 1 when an address of its own list is not what it was made to be. What to look at:
//! `probe`, which is all that reading unknown memory takes, and `mapped_file`, the way to read a file
//! through a mapping although others may shrink it.

#[path = "safe_probe/mapped_file.rs"]
mod mapped_file;

use clap::Parser;
use mapped_file::MappedFile;
use sigplane::FaultKind;
use sigplane::fault::{Access, Fault, try_read, try_write};
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::num::ParseIntError;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const PAGE: usize = 4096;

fn hexadecimal(text: &str) -> Result<usize, ParseIntError> {
    usize::from_str_radix(text.trim_start_matches("0x"), 16)
}

/// Looks at addresses of which nothing is known. Without any: a list of its own, checked.
#[derive(Parser)]
struct Options {
    /// Hexadecimal, with or without 0x.
    #[arg(value_parser = hexadecimal)]
    addresses: Vec<usize>,
    /// This is the other process, which truncates the file.
    #[arg(long, hide = true)]
    truncate: Option<PathBuf>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Options { addresses, truncate } = Options::parse();
    if let Some(path) = truncate {
        File::options().write(true).open(path)?.set_len(PAGE as u64)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !addresses.is_empty() {
        for address in addresses {
            println!("{address:#18x}  {}", describe(probe(address)));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut wrong = 0;
    for Sample { what, address, access, expected } in samples()? {
        let result = match access {
            Access::Write => write_back(address),
            _ => probe(address),
        };
        let kind = result.err().map(|fault| fault.kind());
        let mark = if kind == expected { "✓" } else { "✗" };
        println!("{mark} {what:<32} {address:#18x}  {}", describe(result));
        wrong += usize::from(kind != expected);
    }
    wrong += usize::from(!truncated_under_us()?);
    println!("{}", sigplane::table().faults);
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads eight bytes from anywhere.
fn probe(address: usize) -> Result<u64, Fault> {
    try_read(std::ptr::without_provenance(address))
}

/// Reads a byte and writes it back: says whether the memory may be written.
fn write_back(address: usize) -> Result<u64, Fault> {
    let byte: u8 = try_read(std::ptr::without_provenance(address))?;
    // SAFETY: the same byte, in pages that only this function touches.
    unsafe { try_write(std::ptr::without_provenance_mut(address), byte) }?;
    Ok(byte.into())
}

fn describe(result: Result<u64, Fault>) -> String {
    match result {
        Ok(value) => format!("readable, begins with {value:#018x}"),
        Err(fault) => format!("{fault} ({})", fault.signal()),
    }
}

struct Sample {
    what: &'static str,
    address: usize,
    access: Access,
    /// The fault, or none.
    expected: Option<FaultKind>,
}

fn samples() -> io::Result<Vec<Sample>> {
    static GOOD: u64 = 0x0123_4567_89ab_cdef;
    let (hole, none, read_only) =
        (map(libc::PROT_READ)?, map(libc::PROT_NONE)?, map(libc::PROT_READ)?);
    // SAFETY: the mapping was made just now, and nothing refers to it.
    unsafe { libc::munmap(std::ptr::without_provenance_mut(hole), PAGE) };
    let sample = |what, address, access, expected| Sample { what, address, access, expected };
    Ok(vec![
        sample("a constant of this program", (&raw const GOOD).addr(), Access::Read, None),
        sample("address 0", 0, Access::Read, Some(FaultKind::Unmapped)),
        sample("a hole", hole, Access::Read, Some(FaultKind::Unmapped)),
        sample("a page without access", none, Access::Read, Some(FaultKind::Protected)),
        sample("a page to be read", read_only, Access::Read, None),
        sample("the same, written", read_only, Access::Write, Some(FaultKind::Protected)),
        sample("no address at all", 1 << 63, Access::Read, Some(FaultKind::NonCanonical)),
        sample(
            "an address of the kernel's",
            0xffff_8000 << 32,
            Access::Read,
            Some(FaultKind::Unmapped),
        ),
    ])
}

/// A new page with this protection.
fn map(protection: i32) -> io::Result<usize> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.addr()) }
}

/// Reads a file through a mapping, has another process shrink it, and reads it again.
fn truncated_under_us() -> Result<bool, Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("sigplane-safe-probe-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    file.write_all(&[b'x'; 4 * PAGE])?;
    let mapped = MappedFile::open(&file)?;
    let mut buffer = vec![0; 4 * PAGE];
    let before = mapped.read_at(0, &mut buffer);
    let other = Command::new(std::env::current_exe()?).arg("--truncate").arg(&path).status()?;
    buffer.fill(0);
    let after = mapped.read_at(0, &mut buffer);
    let behind = mapped.read_at(2 * PAGE, &mut buffer);
    fs::remove_file(&path)?;
    println!("  a file of {} bytes, mapped and read: {before:?}", 4 * PAGE);
    println!("  after another process cut it to {PAGE}: {after:?}, and behind the cut: {behind:?}");
    let right = other.success()
        && before.is_ok_and(|length| length == 4 * PAGE)
        && after.is_ok_and(|length| length == PAGE)
        && behind.is_ok_and(|length| length == 0);
    println!("{} the mapping, cut under us", if right { "✓" } else { "✗" });
    Ok(right)
}
