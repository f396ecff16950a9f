//! The core dump of a victim: what it says of the death.

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use sigplane_tests::observer::numbers;
use sigplane_tests::{Exit, Running, skip, victim};
use std::path::{Path, PathBuf};

/// A directory for one core dump; removed afterwards.
pub struct Cores(PathBuf);

impl Cores {
    pub fn new() -> Self {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        if !pattern.starts_with("core") {
            skip(&format!("core dumps do not go to the working directory: {pattern}"));
        }
        let path = std::env::temp_dir().join(format!("sigplane-nesting-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Lets a victim die; how, what it printed, and its dump.
    pub fn dump(&self, name: &str) -> (Exit, Vec<String>, Dump) {
        let mut command = victim(name);
        command.current_dir(&self.0);
        let (exit, output) = Running::start(command).finish();
        let Some(file) = std::fs::read_dir(&self.0).unwrap().next() else {
            panic!("{name}: {exit:?} left no core dump; it said {output:?}")
        };
        let file = file.unwrap().path();
        let dump = Dump::read(&file);
        std::fs::remove_file(file).unwrap();
        (exit, output.lines().map(str::to_owned).collect(), dump)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// In the victim: lets it leave a dump.
pub fn allow() {
    // SAFETY: `limit` is valid.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
    }
}

/// NT_SIGINFO, and of NT_PRSTATUS the program counter.
#[derive(Debug)]
pub struct Dump {
    signo: i32,
    code: i32,
    address: i64,
    rip: i64,
}

impl Dump {
    fn read(file: &Path) -> Self {
        let data = &std::fs::read(file).unwrap()[..];
        let header = elf::FileHeader64::<Endianness>::parse(data).unwrap();
        let endian = header.endian().unwrap();
        let mut notes = Vec::new();
        for segment in header.program_headers(endian, data).unwrap() {
            let mut these = segment.notes(endian, data).unwrap().into_iter().flatten();
            while let Some(Ok(note)) = these.next() {
                notes.push((note.n_type(endian), note.desc()));
            }
        }
        let note = |wanted: elf::NoteType| {
            notes.iter().find(|(kind, _)| *kind == wanted).expect("the note").1
        };
        let (info, status) = (note(elf::NT_SIGINFO), note(elf::NT_PRSTATUS));
        let int = |at: usize| i32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
        let long =
            |note: &[u8], at: usize| i64::from_ne_bytes(note[at..at + 8].try_into().unwrap());
        // pr_reg is at 112 of struct elf_prstatus, rip its 17th word.
        Self { signo: int(0), code: int(8), address: long(info, 16), rip: long(status, 112 + 128) }
    }

    /// That it is of a signal that process `pid` sent.
    #[track_caller]
    pub fn is_sent(&self, signal: i32, code: i32, pid: i32) {
        assert_eq!((self.signo, self.code, self.address as i32), (signal, code, pid), "{self:x?}");
    }

    /// That it is of the fault that the victim announced, `at pc address`.
    #[track_caller]
    pub fn is_of(&self, line: &str, signal: i32, code: i32) {
        let told = numbers(line);
        let got = (self.signo, self.code, self.rip, self.address);
        assert_eq!(got, (signal, code, told[0], told[1]), "{self:x?}");
    }
}
