//! The core dump of a death that sigplane let happen: it carries the sender's information, or the
//! fault's, and the interrupted code. Acceptance line 5 of the issue, and BRIEF §5 and §7.

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use sigplane::Signal;
use sigplane_tests::observer::{WAYS, numbers, observer, send_as_told};
use sigplane_tests::{Exit, Running, Suite, skip, victim};
use std::path::{Path, PathBuf};

/// A directory for one core dump; removed afterwards.
struct Cores(PathBuf);

impl Cores {
    fn new() -> Self {
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        if !pattern.starts_with("core") {
            skip(&format!("core dumps do not go to the working directory: {pattern}"));
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is valid.
        unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) };
        if limit.rlim_max < 1 << 30 {
            skip("the hard limit RLIMIT_CORE is too small for a core dump");
        }
        let path = std::env::temp_dir().join(format!("sigplane-core-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Lets a victim die; what it printed, and its dump.
    fn dump(&self, name: &str, sent: impl Fn(i32)) -> (Exit, String, Dump) {
        let mut command = victim(name);
        command.current_dir(&self.0);
        let mut child = Running::start(command);
        child.expect("ready");
        sent(child.pid());
        let (exit, output) = child.finish();
        let mut files = std::fs::read_dir(&self.0).unwrap();
        let Some(file) = files.next() else {
            panic!("{exit:?} left no core dump; it said {output:?}")
        };
        let file = file.unwrap().path();
        let dump = Dump::read(&file);
        std::fs::remove_file(file).unwrap();
        (exit, output, dump)
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

/// What a core dump says about the death: NT_SIGINFO, and NT_PRSTATUS of the thread that died.
#[derive(Debug)]
struct Dump {
    signo: i32,
    code: i32,
    /// The sender's process id and value, or the halves of the fault address.
    words: [i32; 2],
    value: i64,
    cursig: i16,
    rip: i64,
}

impl Dump {
    fn read(file: &Path) -> Self {
        let data = &std::fs::read(file).unwrap()[..];
        let header = elf::FileHeader64::<Endianness>::parse(data).unwrap();
        let endian = header.endian().unwrap();
        assert_eq!(header.e_type(endian), elf::ET_CORE);
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
        let int = |note: &[u8], at: usize| i32::from_ne_bytes(note[at..at + 4].try_into().unwrap());
        let long =
            |note: &[u8], at: usize| i64::from_ne_bytes(note[at..at + 8].try_into().unwrap());
        Self {
            // siginfo_t: signo, errno, code, padding; pid, uid and value, or the address.
            signo: int(info, 0),
            code: int(info, 8),
            words: [int(info, 16), int(info, 20)],
            value: long(info, 24),
            // struct elf_prstatus: pr_info (12 bytes), pr_cursig; pr_reg at 112, rip its 17th word.
            cursig: i16::from_ne_bytes(status[12..14].try_into().unwrap()),
            rip: long(status, 112 + 16 * 8),
        }
    }

    fn address(&self) -> i64 {
        i64::from(self.words[1]) << 32 | i64::from(self.words[0] as u32)
    }
}

fn allow_cores() {
    // SAFETY: `limit` is valid.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_CORE, &raw const limit), 0);
    }
}

// Issue line 5: the core dump of a defaulted SIGQUIT carries the sender's siginfo, whichever way it was
// sent, and shows the code that was interrupted.
fn a_core_dump_carries_the_sender() {
    let cores = Cores::new();
    for (way, code) in WAYS {
        let (exit, output, dump) =
            cores.dump("dumps", |pid| send_as_told(pid, pid, Signal::QUIT, way));
        assert_eq!(exit, Exit::Signal { number: 3, core: true }, "{way}: {output}");
        let saw = numbers(output.trim_end());
        assert_eq!((dump.signo, dump.cursig, dump.code), (3, 3, code), "{way}: {dump:?}");
        assert_eq!(dump.words[0], std::process::id() as i32, "{way}: {dump:?}");
        if code == libc::SI_QUEUE {
            assert_eq!(dump.value as i32, 77, "{way}");
        }
        assert_eq!((saw[2], saw[4]), (dump.words[0].into(), dump.rip), "{way}: {dump:?}");
    }
}

fn dumps() {
    allow_cores();
    let _sub = observer(Signal::QUIT);
    println!("ready");
    loop {
        std::hint::spin_loop();
    }
}

// BRIEF §5, a synchronous fault that an immediate entry only observed: exit status, dump and fault
// address are those of the original fault; the same for an int3, which does not repeat.
fn a_fault_keeps_its_core_dump() {
    let cores = Cores::new();
    let (exit, output, dump) = cores.dump("segv", |_| ());
    assert_eq!(exit, Exit::Signal { number: libc::SIGSEGV, core: true }, "{output}");
    let saw = numbers(output.trim_end());
    assert_eq!((dump.signo, dump.cursig, dump.code), (11, 11, 1), "SEGV_MAPERR: {dump:?}");
    assert_eq!((dump.address(), dump.rip), (0x1234_5678, saw[4]), "{dump:?}");
    assert_eq!(saw[..3], [11, 1, 0x1234_5678], "seen once: {output}");

    let (exit, output, dump) = cores.dump("int3", |_| ());
    assert_eq!(exit, Exit::Signal { number: libc::SIGTRAP, core: true }, "{output}");
    let saw = numbers(output.trim_end());
    assert_eq!((dump.signo, dump.cursig, dump.code), (5, 5, 0x80), "SI_KERNEL: {dump:?}");
    assert_eq!((saw[0], saw[1], saw[4]), (5, 0x80, dump.rip), "{output}");
}

fn segv() {
    allow_cores();
    // In front of the default, not of Rust's own handler, which would report the fault otherwise.
    sigplane_tests::raw::install(libc::SIGSEGV, libc::SIG_DFL, 0, &[]);
    let _sub = observer(Signal::SEGV);
    println!("ready");
    // SAFETY: none: it is meant to fault.
    unsafe { std::ptr::with_exposed_provenance::<u8>(0x1234_5678).read_volatile() };
    println!("survived");
}

fn int3() {
    allow_cores();
    let _sub = observer(Signal::TRAP);
    println!("ready");
    // SAFETY: a breakpoint.
    unsafe { std::arch::asm!("int3") };
    println!("survived");
}

fn main() {
    Suite {
        tests: &[
            ("a_core_dump_carries_the_sender", a_core_dump_carries_the_sender),
            ("a_fault_keeps_its_core_dump", a_fault_keeps_its_core_dump),
        ],
        victims: &[("dumps", dumps), ("segv", segv), ("int3", int3)],
    }
    .main()
}
