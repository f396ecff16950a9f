//! Core dumps of victims: a directory for them, and what one says of the death.

use crate::child::{Exit, Running};
use crate::observer::numbers;
use crate::suite::skip;
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lets the calling process leave a core dump, as large as may be. May run between fork and exec.
pub fn allow() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) }, 0);
}

/// Why a process that dies leaves no core dump in its working directory, if it does not.
pub fn unavailable() -> Option<String> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if !pattern.starts_with("core") {
        return Some(format!("core dumps do not go to the working directory: {pattern}"));
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid.
    unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
    (limit.rlim_max < 1 << 30)
        .then(|| "the hard limit RLIMIT_CORE is too small for a core dump".to_owned())
}

/// A directory for one core dump at a time; removed when dropped.
#[derive(Debug)]
pub struct Cores(PathBuf);

impl Cores {
    /// Makes it, or skips the test where no core dumps are left.
    pub fn new_or_skip() -> Self {
        if let Some(reason) = unavailable() {
            skip(&reason);
        }
        let path = std::env::temp_dir().join(format!("sigplane-core-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for core dumps");
        Self(path)
    }

    /// Lets a victim die, which has called [`allow`]: how, what it still printed after `before`, and its dump.
    #[track_caller]
    pub fn dump(
        &self,
        mut victim: Command,
        before: impl FnOnce(&mut Running),
    ) -> (Exit, String, Dump) {
        victim.current_dir(&self.0);
        let mut child = Running::start(victim);
        before(&mut child);
        let (exit, output) = child.finish();
        let Some(file) = std::fs::read_dir(&self.0).expect("the directory").next() else {
            panic!("{exit:?} left no core dump; it said {output:?}")
        };
        let file = file.expect("the directory").path();
        let dump = Dump::read(&file);
        std::fs::remove_file(file).expect("a file of the test's");
        (exit, output, dump)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// What a core dump says of the death: NT_SIGINFO, and NT_PRSTATUS of the thread that died.
#[derive(Debug)]
pub struct Dump {
    /// The signal of the information.
    pub signo: i32,
    /// Its `si_code`.
    pub code: i32,
    /// The sender's process id and user id, or the halves of the fault address.
    pub words: [i32; 2],
    /// The value that was sent.
    pub value: i64,
    /// The signal by which the thread died.
    pub cursig: i16,
    /// Its program counter.
    pub rip: i64,
}

impl Dump {
    fn read(file: &Path) -> Self {
        let data = &std::fs::read(file).expect("the dump can be read")[..];
        let header = elf::FileHeader64::<Endianness>::parse(data).expect("an ELF file");
        let endian = header.endian().expect("an ELF file");
        assert_eq!(header.e_type(endian), elf::ET_CORE);
        let mut notes = Vec::new();
        for segment in header.program_headers(endian, data).expect("program headers") {
            let mut these = segment.notes(endian, data).expect("notes").into_iter().flatten();
            while let Some(Ok(note)) = these.next() {
                notes.push((note.n_type(endian), note.desc()));
            }
        }
        let note = |wanted: elf::NoteType| {
            notes.iter().find(|(kind, _)| *kind == wanted).expect("the note").1
        };
        let (info, status) = (note(elf::NT_SIGINFO), note(elf::NT_PRSTATUS));
        Self {
            // siginfo_t: signo, errno, code, padding; pid, uid and value, or the address.
            signo: i32::from_ne_bytes(bytes(info, 0)),
            code: i32::from_ne_bytes(bytes(info, 8)),
            words: [i32::from_ne_bytes(bytes(info, 16)), i32::from_ne_bytes(bytes(info, 20))],
            value: i64::from_ne_bytes(bytes(info, 24)),
            // struct elf_prstatus: pr_info (12 bytes), pr_cursig; pr_reg at 112, rip its 17th word.
            cursig: i16::from_ne_bytes(bytes(status, 12)),
            rip: i64::from_ne_bytes(bytes(status, 112 + 16 * 8)),
        }
    }

    /// Where the fault was.
    pub fn address(&self) -> i64 {
        i64::from(self.words[1]) << 32 | i64::from(self.words[0] as u32)
    }

    /// Checks that it is of a signal that process `pid` sent.
    #[track_caller]
    pub fn is_sent(&self, signal: i32, code: i32, pid: i32) {
        let got = (self.signo, i32::from(self.cursig), self.code, self.words[0]);
        assert_eq!(got, (signal, signal, code, pid), "{self:x?}");
    }

    /// Checks that it is of the fault that the victim has announced, as `at pc address`.
    #[track_caller]
    pub fn is_of(&self, line: &str, signal: i32, code: i32) {
        let told = numbers(line);
        let got = (self.signo, i32::from(self.cursig), self.code, self.rip, self.address());
        assert_eq!(got, (signal, signal, code, told[0], told[1]), "{self:x?}");
    }
}

fn bytes<const N: usize>(note: &[u8], at: usize) -> [u8; N] {
    note[at..at + N].try_into().expect("as many as there are")
}
