//! Random calls: which function, with what; how a call is made for real, and what is seen of it.

use super::memory::{self, FILLER, place, writable};
use super::model::{ACTION, Answer};
use sigplane_tests::Dice;
use std::ffi::{CStr, CString};
use std::fmt::Write;

/// What an argument is.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Signal,
    /// A number that `sigdelset` refuses: with another the call would wait.
    BadSignal,
    Handler,
    ActionIn,
    ActionOut,
    /// The kernel's structure.
    RawActionIn,
    VectorIn,
    VectorOut,
    How,
    SetIn,
    SetOut,
    /// A set that cannot be read: with another the call would wait.
    BadSet,
    Mask,
    StackIn,
    StackOut,
    /// Zero, or what is refused; never NULL, with which the call would wait.
    Timeout,
    Polls,
    PollCount,
    Descriptors,
    DescriptorCount,
    Descriptor,
    Events,
    EventCount,
    Zero,
    One,
    Number,
    SetSize,
    NoNumber,
    Call(i64),
}
use Kind::*;

/// A function, how many bits its result has, and what its arguments are.
pub struct Function {
    pub name: &'static str,
    wide: bool,
    kinds: &'static [Kind],
}

const fn narrow(name: &'static str, kinds: &'static [Kind]) -> Function {
    Function { name, wide: false, kinds }
}

const fn wide(name: &'static str, kinds: &'static [Kind]) -> Function {
    Function { name, wide: true, kinds }
}

/// What is called, as often as it stands here.
pub const FUNCTIONS: &[Function] = &[
    narrow("sigaction", &[Signal, ActionIn, ActionOut]),
    narrow("sigaction", &[Signal, ActionIn, ActionOut]),
    narrow("sigaction", &[Signal, ActionIn, ActionOut]),
    narrow("__sigaction", &[Signal, ActionIn, ActionOut]),
    wide("signal", &[Signal, Handler]),
    wide("ssignal", &[Signal, Handler]),
    wide("bsd_signal", &[Signal, Handler]),
    wide("sysv_signal", &[Signal, Handler]),
    wide("__sysv_signal", &[Signal, Handler]),
    wide("sigset", &[Signal, Handler]),
    narrow("sighold", &[Signal]),
    narrow("sigrelse", &[Signal]),
    narrow("sigignore", &[Signal]),
    narrow("siginterrupt", &[Signal, Number]),
    narrow("sigvec", &[Signal, VectorIn, VectorOut]),
    narrow("sigprocmask", &[How, SetIn, SetOut]),
    narrow("sigprocmask", &[How, SetIn, SetOut]),
    narrow("pthread_sigmask", &[How, SetIn, SetOut]),
    narrow("sigblock", &[Mask]),
    narrow("sigsetmask", &[Mask]),
    narrow("siggetmask", &[]),
    narrow("sigsuspend", &[BadSet]),
    narrow("__sigsuspend", &[BadSet]),
    narrow("__xpg_sigpause", &[BadSignal]),
    narrow("__sigpause", &[BadSignal, One]),
    narrow("sigaltstack", &[StackIn, StackOut]),
    narrow("sigaltstack", &[StackIn, StackOut]),
    narrow("ppoll", &[Polls, PollCount, Timeout, SetIn]),
    narrow("pselect", &[DescriptorCount, Descriptors, Descriptors, Descriptors, Timeout, SetIn]),
    narrow("epoll_pwait", &[Descriptor, Events, EventCount, Zero, SetIn]),
    narrow("epoll_pwait2", &[Descriptor, Events, EventCount, Timeout, SetIn]),
    wide("syscall", &[Call(libc::SYS_rt_sigaction), Signal, RawActionIn, ActionOut, SetSize]),
    wide("syscall", &[Call(libc::SYS_rt_sigprocmask), How, SetIn, SetOut, SetSize]),
    wide("syscall", &[Call(libc::SYS_sigaltstack), StackIn, StackOut]),
    wide("syscall", &[Call(libc::SYS_rt_sigsuspend), BadSet, SetSize]),
    wide("syscall", &[NoNumber, Number, Number, Number, Number]),
];

/// A call, the bytes that its arguments point to included.
pub struct Call {
    pub function: &'static Function,
    pub arguments: [u64; 6],
    contents: Vec<(u64, Vec<u8>)>,
}

fn pick(dice: &mut Dice, from: &[u64]) -> u64 {
    from[dice.roll(from.len() as u64) as usize]
}

fn bits(dice: &mut Dice) -> u64 {
    let random = dice.roll(1 << 32) << 32 | dice.roll(1 << 32);
    match dice.roll(4) {
        0 => 0,
        1 => u64::MAX,
        2 => 1 << (random % 64),
        _ => random,
    }
}

const HANDLERS: &[u64] =
    &[0, 0, 1, 1, 2, 3, u64::MAX, 0x5_0000_2000, 0x5_0000_2040, 0xdead_beef_dead_beef, 0x1000];
const FLAGS: &[u64] = &[
    0,
    1,
    2,
    4,
    8,
    0x400,
    0x800,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
    0x8000_0000,
    0xffff_ffff,
];

fn flags(dice: &mut Dice) -> u64 {
    pick(dice, FLAGS) ^ if dice.roll(2) == 0 { pick(dice, FLAGS) } else { 0 }
}

fn bytes(dice: &mut Dice, kind: Kind) -> Vec<u8> {
    let words: Vec<u64> = match kind {
        ActionIn => {
            let mut words = vec![pick(dice, HANDLERS), bits(dice)];
            words.resize(17, !0);
            words.extend([flags(dice) | 0xffff_ffff << 32, !0]);
            words
        }
        RawActionIn => vec![pick(dice, HANDLERS), flags(dice), 0x5_0000_2000, bits(dice)],
        VectorIn => vec![pick(dice, HANDLERS), bits(dice) & 0xffff_ffff | dice.roll(9) << 32],
        SetIn | BadSet => vec![bits(dice), !0],
        StackIn => {
            let size = pick(dice, &[0, 1, 2047, 2048, 4096, 8192, 65536, u64::MAX]);
            vec![bits(dice), pick(dice, &[0, 0, 0, 1, 2, 3, 0x8000_0000, 0xffff_ffff]), size]
        }
        Timeout => {
            vec![pick(dice, &[0, 0, 0, u64::MAX]), pick(dice, &[0, 0, 1_000_000_000, u64::MAX])]
        }
        // A descriptor of -1 is skipped.
        Polls => vec![0xffff_ffff; 4],
        Descriptors => vec![0; 16],
        Events => vec![0; 8],
        _ => Vec::new(),
    };
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn argument(dice: &mut Dice, kind: Kind, index: u64) -> (u64, Vec<u8>) {
    let size = match kind {
        ActionIn | ActionOut => ACTION,
        RawActionIn => 32,
        StackIn | StackOut => 24,
        VectorIn | VectorOut | Timeout => 16,
        SetIn | SetOut | BadSet => 8,
        Polls | Descriptors | Events => 64,
        _ => 0,
    };
    if size != 0 {
        let content = bytes(dice, kind);
        loop {
            let address = place(index, dice.roll(memory::KINDS) | dice.roll(1 << 20) << 8, size);
            let waits = match kind {
                BadSet => memory::readable(address, 8),
                // Zeros are a timeout of nothing.
                Timeout => address == 0,
                _ => false,
            };
            if !waits {
                return (address, content);
            }
        }
    }
    let value = match kind {
        Signal if dice.roll(3) != 0 => 1 + dice.roll(64),
        Signal => pick(
            dice,
            &[0, 32, 33, 65, 128, 256 + 15, 1 << 32 | 15, u64::MAX, i32::MIN as u64, 1 << 31],
        ),
        BadSignal => pick(dice, &[0, 32, 33, 65, 1000, u64::MAX, i32::MIN as u64]),
        Handler => pick(dice, HANDLERS),
        How => pick(dice, &[0, 1, 2, 0, 1, 2, 3, u64::MAX, i32::MIN as u64, 1 << 32]),
        Mask => bits(dice),
        PollCount => pick(dice, &[0, 1, 1, 8, 1 << 20, u64::MAX, 1 << 63]),
        DescriptorCount => pick(dice, &[0, 1, 64, 512, u64::MAX, i32::MIN as u64]),
        Descriptor => pick(dice, &[u64::MAX, 0, 1_000_000, i32::MIN as u64]),
        EventCount => pick(dice, &[0, 1, u64::MAX, i32::MAX as u64]),
        Zero => 0,
        One => 1,
        Number => pick(dice, &[0, 0, 1, u64::MAX]),
        SetSize => pick(dice, &[8, 8, 8, 0, 4, 16, 128, u64::MAX]),
        NoNumber => pick(dice, &[u64::MAX, 100_000, 1 << 31, 0xffff_ffff, 1_000]),
        Call(number) => number as u64,
        _ => unreachable!("a pointer"),
    };
    (value, Vec::new())
}

impl Call {
    /// Any.
    pub fn roll(dice: &mut Dice) -> Self {
        let function = &FUNCTIONS[dice.roll(FUNCTIONS.len() as u64) as usize];
        let mut call = Self { function, arguments: [0; 6], contents: Vec::new() };
        for (index, kind) in function.kinds.iter().enumerate() {
            let (value, content) = argument(dice, *kind, index as u64);
            call.arguments[index] = value;
            call.contents.push((value, content));
        }
        // Two pointers may be one.
        if matches!(call.function.kinds, [_, ActionIn, ActionOut]) && dice.roll(8) == 0 {
            call.arguments[2] = call.arguments[1];
        }
        call
    }

    /// Puts the bytes in place.
    pub fn fill(&self) {
        for (value, kind) in self.arguments.iter().zip(self.function.kinds) {
            if matches!(kind, ActionOut | SetOut | StackOut | VectorOut) {
                memory::store(*value, &[FILLER; ACTION as usize]);
            }
        }
        for (address, content) in &self.contents {
            memory::store(*address, content);
        }
    }

    /// Calls it by its name. `None` if this process has none of that name.
    pub fn perform(&self) -> Option<Answer> {
        let name = CString::new(self.function.name).expect("no zero in it");
        call_by_name(&name, self.arguments, self.function.wide)
    }

    /// What is seen of it: the answer, and what was written where the caller asked for it.
    pub fn describe(&self, answer: Answer) -> String {
        let mut text = format!("{}(", self.function.name);
        for (value, kind) in self.arguments.iter().zip(self.function.kinds) {
            let _to_a_string = match kind {
                Signal | BadSignal | How | Zero | One => write!(text, "{}, ", *value as i64),
                _ => write!(text, "{value:#x}, "),
            };
        }
        for (address, content) in self.contents.iter().filter(|(_, content)| !content.is_empty()) {
            let head: Vec<u8> = content.iter().copied().take(32).collect();
            let _to_a_string = write!(text, "*{address:#x}={head:02x?} ");
        }
        let _to_a_string = write!(text, ") = {answer:?}");
        for (value, kind) in self.arguments.iter().zip(self.function.kinds) {
            self.describe_result(&mut text, *value, *kind, answer);
        }
        text
    }

    fn describe_result(&self, text: &mut String, address: u64, kind: Kind, answer: Answer) {
        // Of results, the kernel may have copied a part before it met the bad page.
        if answer == Err(libc::EFAULT) {
            return;
        }
        let words: &[u64] = match kind {
            ActionOut if self.function.name == "syscall" => &[0, 8, 24],
            ActionOut => &[0, 8, 136],
            SetOut => &[0, 8],
            StackOut => &[0, 8, 16],
            VectorOut => &[0, 8],
            _ => return,
        };
        for offset in words {
            if writable(address, offset + 8) {
                let mut value = memory::word(address + offset);
                if *offset == 136 || (kind == StackOut && *offset == 8) {
                    value &= 0xffff_ffff; // The rest is nobody's.
                }
                let _to_a_string = write!(text, " {value:#x}");
            }
        }
    }
}

/// Calls the function that this process has by that name. `None` if it has none.
pub fn call_by_name(name: &CStr, arguments: [u64; 6], wide: bool) -> Option<Answer> {
    // SAFETY: a name that ends.
    let mut found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() {
        // A name for old binaries only.
        // SAFETY: as above.
        found = unsafe { libc::dlvsym(libc::RTLD_DEFAULT, name.as_ptr(), c"GLIBC_2.2.5".as_ptr()) };
    }
    if found.is_null() {
        return None;
    }
    type Any = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> i64;
    // SAFETY: a function that takes integers and pointers, up to six, in registers.
    let function = unsafe { std::mem::transmute::<*mut libc::c_void, Any>(found) };
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: the thread's errno.
    unsafe { *libc::__errno_location() = 0 };
    // SAFETY: that it does not crash whatever it is given is what is tested.
    let result = unsafe { function(a, b, c, d, e, f) };
    // SAFETY: as above.
    let errno = unsafe { *libc::__errno_location() };
    let result = if wide { result } else { i64::from(result as i32) };
    Some(if result == -1 && errno != 0 { Err(errno) } else { Ok(result) })
}
