//! `sigplane run`: a program under the shim.
//!
//! The program takes this process over by `exec`: its id, parent, exit status, signals, job control and
//! descriptors are what they would be without. Whoever reports is a process apart (`reporter`), which
//! nobody waits for.
//!
//! # Safety
//! This part of the process has one thread, so that the environment may be changed and `fork` used.
#![allow(unsafe_code)]

use crate::failure::Result;
use crate::{library, reporter};
use clap::{Args, ValueEnum};
use object::{Object, ObjectSegment};
use std::ffi::{CString, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Exit status of a failure of this command, not of the program's.
pub const OWN_FAILURE: i32 = 125;
const CANNOT_EXECUTE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Run a program under the shim; tell afterwards who set which handler.
///
/// The program takes over this process: its process id, exit status, the signal that ends it, job
/// control and descriptors are unchanged. It sees POSIX as ever. With --report or --trace, a process
/// apart reads along in shared memory and writes when the program has ended, however that ends.
///
/// Exit status: the program's own; 125 if sigplane itself fails; 126 if the program was found but
/// cannot be executed; 127 if it was not found.
#[derive(Args)]
pub struct Run {
    /// Report who installed, replaced and lost which handler, when the program has ended
    #[arg(long, value_enum, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "text",
          require_equals = false)]
    report: Option<Format>,
    /// Write every change of an action to FILE as it happens, one JSON object a line; what is lost is counted
    /// there. With --own, also how often each signal was delivered since the last look, which is taken every
    /// 10 ms: a count, and not a line for each delivery
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Where the report goes [default: standard error]
    #[arg(long, value_name = "FILE", requires = "report")]
    output: Option<PathBuf>,
    /// Have sigplane's own handler entered first for every signal that the program handles, so that
    /// deliveries are counted, in the report and the trace; as exact, slightly slower
    #[arg(long)]
    own: bool,
    /// Report on the programs that it starts as well (they are under the shim in any case)
    #[arg(long)]
    follow: bool,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        required = true,
        value_name = "COMMAND",
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
}

/// How a report is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// For reading
    Text,
    /// For programs
    Json,
}

impl Run {
    /// Gives the exit status of a failure; otherwise it does not return.
    pub fn run(self) -> i32 {
        match self.prepare() {
            Ok(session) => self.execute(session),
            Err(failure) => {
                eprintln!("sigplane run: {failure}");
                OWN_FAILURE
            }
        }
    }

    fn prepare(&self) -> Result<Option<reporter::Session>> {
        let library = library::find()?;
        let mut preload = library.into_os_string();
        if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        if let Some(program) = resolve(&self.command[0])
            && let Some(obstacle) = obstacle(&program, 0)
        {
            eprintln!("sigplane run: warning: {}: {obstacle}", program.display());
        }
        let session = if self.report.is_some() || self.trace.is_some() {
            let wanted = reporter::Wanted {
                report: self.report,
                output: self.output.clone(),
                trace: self.trace.clone(),
                follow: self.follow,
                own: self.own,
                command: self.command.clone(),
            };
            Some(reporter::start(wanted)?)
        } else {
            None
        };
        set("LD_PRELOAD", &preload);
        if let Some(session) = &session {
            set("SIGPLANE_SESSION", session.name().as_ref());
        }
        if self.own {
            set("SIGPLANE_OWN", "1".as_ref());
        }
        Ok(session)
    }

    fn execute(&self, session: Option<reporter::Session>) -> i32 {
        let arguments = self.command.iter().map(|argument| CString::new(argument.as_bytes()));
        let Ok(arguments) = arguments.collect::<std::result::Result<Vec<_>, _>>() else {
            return OWN_FAILURE; // The kernel gives no argument with a zero byte in it.
        };
        let mut pointers: Vec<_> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        // SAFETY: an array of C strings with a null pointer at its end.
        unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
        let error = io::Error::last_os_error();
        if let Some(session) = session {
            session.cancel();
        }
        eprintln!("sigplane run: {}: {error}", self.command[0].display());
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => NOT_FOUND,
            _ => CANNOT_EXECUTE,
        }
    }
}

fn set(name: &str, value: &std::ffi::OsStr) {
    // SAFETY: one thread, by the module's invariant.
    unsafe { std::env::set_var(name, value) };
}

/// The file that `execvp` will take.
fn resolve(name: &std::ffi::OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| {
        file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

/// Why the loader will not load the shim into a program; it runs all the same, without it.
#[derive(Debug, PartialEq, Eq)]
enum Obstacle {
    Static,
    Privileged,
    OtherMachine,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => {
                "statically linked, so that nothing can be preloaded: it runs without the shim \
                 (`sigplane table` shows what /proc tells of it)"
            }
            Self::Privileged => {
                "set-user-id, set-group-id or with capabilities: the loader ignores LD_PRELOAD, it \
                 runs without the shim"
            }
            Self::OtherMachine => "not a program of this machine's kind: it runs without the shim",
        })
    }
}

fn obstacle(path: &Path, depth: u32) -> Option<Obstacle> {
    let mut bytes = Vec::new();
    let data = path.metadata().ok()?;
    std::fs::File::open(path).ok()?.take(1 << 16).read_to_end(&mut bytes).ok()?;
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|&byte| byte == b'\n').next()?;
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let interpreter = std::ffi::OsStr::from_bytes(words.next()?);
        return if depth < 4 { obstacle(Path::new(interpreter), depth + 1) } else { None };
    }
    // SAFETY: these take nothing and cannot fail.
    let (user, group) = (unsafe { libc::geteuid() }, unsafe { libc::getegid() });
    let mode = data.permissions().mode();
    if mode & libc::S_ISUID != 0 && data.uid() != user
        || mode & libc::S_ISGID != 0 && data.gid() != group
    {
        return Some(Obstacle::Privileged);
    }
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    // The interpreter is named in the program headers, at the beginning of the file.
    let whole = std::fs::read(path).ok()?;
    let file = object::File::parse(&*whole).ok()?;
    if !file.is_64() || file.architecture() != object::Architecture::X86_64 {
        return Some(Obstacle::OtherMachine);
    }
    let dynamic = file.section_by_name(".interp").is_some() || has_interpreter(&whole);
    (!dynamic && file.segments().any(|segment| segment.size() > 0)).then_some(Obstacle::Static)
}

/// Whether a program header asks for an interpreter, for files without sections.
fn has_interpreter(bytes: &[u8]) -> bool {
    use object::read::elf::{FileHeader, ProgramHeader};
    let Ok(header) = object::elf::FileHeader64::<object::Endianness>::parse(bytes) else {
        return false;
    };
    let endian = object::Endianness::Little;
    header.program_headers(endian, bytes).is_ok_and(|headers| {
        headers.iter().any(|header| header.p_type(endian) == object::elf::PT_INTERP)
    })
}
