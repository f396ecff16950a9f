//! Code ranges: machine code that is made at run time, whose traps become values.

use crate::Stop;
use crate::memory::{Memory, PAGE};
use sigplane::fault::{CodeRange, CodeRanges, FaultContext};
use sigplane::{Error, FaultKind, Verdict, thread};
use sigplane_tests::{Dice, eventually, quick};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

type Two = extern "C" fn(usize, usize) -> usize;

/// `mov rax, [rdi]; ret`
const READ: [u8; 4] = [0x48, 0x8b, 0x07, 0xc3];
/// `mov rax, rdi; xor edx, edx; div rsi; ret`
const DIVIDE: [u8; 9] = [0x48, 0x89, 0xf8, 0x31, 0xd2, 0x48, 0xf7, 0xf6, 0xc3];
/// `ud2; ret`
const TRAP: [u8; 3] = [0x0f, 0x0b, 0xc3];

const NULL: usize = 0xe0;
const ZERO: usize = 0xe1;
const ILLEGAL: usize = 0xe2;

fn function(at: usize) -> Two {
    unsafe { std::mem::transmute::<usize, Two>(at) }
}

/// Turns a fault into what the function returns, and goes on at its `ret`.
fn into_value(context: &mut FaultContext<'_>) -> Verdict {
    let (value, length) = match context.fault().kind() {
        FaultKind::Unmapped => (NULL, READ.len() - 1),
        FaultKind::IntegerDivision => (ZERO, 3),
        FaultKind::Instruction => (ILLEGAL, 2),
        _ => return Verdict::Pass,
    };
    context.set_return_value(value);
    context.skip(length);
    Verdict::Handled
}

// "machine code generated at run time whose null dereference and division by zero become errors".
pub(crate) fn generated_code() {
    let mut code = vec![0xcc; 3 * 64];
    for (at, body) in [&READ[..], &DIVIDE, &TRAP].into_iter().enumerate() {
        code[at * 64..][..body.len()].copy_from_slice(body);
    }
    let memory = Memory::of_code(&code);
    let [read, divide, trap] = [0, 64, 128].map(|offset| function(memory.page(0) + offset));
    let traps = unsafe { CodeRanges::new(into_value) }.unwrap();
    let range = traps.insert(memory.range()).unwrap();
    let word = 77usize;
    for _ in 0..1000 {
        assert_eq!(read(&raw const word as usize, 0), 77);
        assert_eq!(read(0, 0), NULL);
        assert_eq!((divide(42, 6), divide(42, 0)), (7, ZERO));
        assert_eq!(trap(0, 0), ILLEGAL);
    }
    let faults = sigplane::table().faults;
    assert_eq!((faults.by_code, faults.code_ranges), (3000, 1));
    drop(range);
    assert_eq!(sigplane::table().faults.code_ranges, 0);
}

// The names of arguments, results, stack and program counter.
pub(crate) fn accessors() {
    static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    type Six = extern "C" fn(usize, usize, usize, usize, usize, usize) -> usize;
    // push rbp; mov rbp, rsp; mov eax, 5; mov r11, [r10 = 0]; lea rax, [rax + rdi]; pop rbp; ret
    let code = [
        0x55, 0x48, 0x89, 0xe5, 0xb8, 5, 0, 0, 0, 0x45, 0x31, 0xd2, 0x4d, 0x8b, 0x1a, 0x48, 0x8d,
        0x04, 0x38, 0x5d, 0xc3,
    ];
    let memory = Memory::of_code(&code);
    let start = memory.page(0);
    SEEN.lock().unwrap().reserve(32);
    let traps = unsafe {
        CodeRanges::new(move |context| {
            let Ok(mut seen) = SEEN.try_lock() else { return Verdict::Pass };
            seen.extend((0..8).map(|index| context.argument(index).unwrap_or(usize::MAX)));
            let (first, second) = context.return_values();
            seen.extend([first, second, context.pc() - start, context.fp() - context.sp()]);
            seen.push(context.info().si_signo as usize);
            seen.push(context.raw().uc_mcontext.gregs[libc::REG_RIP as usize] as usize - start);
            seen.push(
                usize::from(context.set_argument(0, 100)) + usize::from(context.set_argument(6, 1)),
            );
            context.set_return_value(20);
            context.set_pc(start + 15);
            Verdict::Handled
        })
    }
    .unwrap();
    let _range = traps.insert(memory.range()).unwrap();
    let six = unsafe { std::mem::transmute::<usize, Six>(start) };
    assert_eq!(six(1, 2, 3, 4, 5, 6), 120, "the changed argument and the changed result");
    let seen = SEEN.lock().unwrap();
    assert_eq!(seen[..8], [1, 2, 3, 4, 5, 6, usize::MAX, usize::MAX]);
    assert_eq!(seen[8..], [5, 3, 12, 0, libc::SIGSEGV as usize, 12, 1]);
}

// 100,000 come and go, one by one and many at once, while four threads fault in some of them.
pub(crate) fn code_comes_and_goes() {
    const FUNCTIONS: usize = 256;
    let mut code = Vec::new();
    for _ in 0..FUNCTIONS {
        code.extend(READ);
        code.resize(code.len().next_multiple_of(16), 0xcc);
    }
    let memory = Memory::of_code(&code);
    let of = |number: usize| -> Range<usize> {
        let start = memory.page(0) + number * 16;
        start..start + 16
    };
    // Where the threads fault: in the one that is about to change.
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    // How many handlers are running for each.
    static RUNNING: [AtomicUsize; FUNCTIONS] = [const { AtomicUsize::new(0) }; FUNCTIONS];
    let start = memory.page(0);
    let traps = unsafe {
        CodeRanges::new(move |context| {
            let running = &RUNNING[(context.pc() - start) / 16];
            running.fetch_add(1, SeqCst);
            let verdict = into_value(context);
            (0..30).for_each(|_| std::hint::spin_loop()); // Long enough to be seen running.
            running.fetch_sub(1, SeqCst);
            verdict
        })
    }
    .unwrap();
    // The first stays; those who come to one that is not there go to somebody else, a region.
    let first = traps.insert(of(0)).unwrap();
    let missing = unsafe {
        sigplane::fault::Region::new(0..PAGE, |context| {
            context.set_return_value(1);
            context.skip(3);
            Verdict::Handled
        })
    }
    .unwrap();
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut dice = Dice::new();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (stop, taken, of) = (&stop, &taken, &of);
            scope.spawn(move || {
                if number % 2 == 0 {
                    thread::current();
                }
                while !stop.load(SeqCst) {
                    assert_eq!(function(of(0).start)(0, 0), NULL);
                    let value = function(of(NEXT.load(SeqCst)).start)(8, 0);
                    assert!(value == NULL || value == 1, "{value:#x}");
                    taken.fetch_add(u64::from(value == NULL), SeqCst);
                }
            });
        }
        let _stop = Stop(&stop);
        let mut there: Vec<Option<CodeRange>> = (0..FUNCTIONS).map(|_| None).collect();
        let (mut changes, full) = (0, quick(100_000));
        while changes < full {
            let number = 1 + dice.roll(FUNCTIONS as u64 - 1) as usize;
            changes += 1;
            NEXT.store(number, SeqCst);
            match there[number].take() {
                None => there[number] = Some(traps.insert(of(number)).unwrap()),
                // Mostly in one go.
                Some(range) if dice.roll(12) == 0 => {
                    if dice.roll(16) == 0 {
                        eventually("it runs", || RUNNING[number].load(SeqCst) > 0);
                    }
                    drop(range);
                    assert_eq!(RUNNING[number].load(SeqCst), 0);
                }
                Some(range) => there[number] = Some(range),
            }
            if there.iter().flatten().count() > 200 {
                let all: Vec<CodeRange> = there.iter_mut().filter_map(Option::take).collect();
                changes += all.len() as u64;
                CodeRange::remove_all(all);
                assert!(RUNNING[1..].iter().all(|running| running.load(SeqCst) == 0));
                assert_eq!(sigplane::table().faults.code_ranges, 1);
            }
        }
        let _all: Vec<CodeRange> = (1..FUNCTIONS)
            .filter(|number| there[*number].is_none())
            .map(|number| traps.insert(of(number)).unwrap())
            .collect();
        let before = taken.load(SeqCst);
        eventually("faults in them", || taken.load(SeqCst) > before + 100);
    });
    drop((first, missing));
    assert_eq!(sigplane::table().faults.code_ranges, 0);
}

pub(crate) fn taken_ranges() {
    let one = unsafe { CodeRanges::new(into_value) }.unwrap();
    let two = unsafe { CodeRanges::new(|_| Verdict::Pass) }.unwrap();
    let range = one.insert(1000..2000).unwrap();
    let others = [two.insert(500..1000).unwrap(), two.insert(2000..2001).unwrap()];
    for taken in [1000..2000, 999..1001, 1999..2000, 1200..1300, 1000..1001, 0..usize::MAX] {
        match two.insert(taken.clone()) {
            Err(Error::RangeTaken { start, end }) => {
                let names = [500..1000, 1000..2000, 2000..2001].contains(&(start..end));
                assert!(
                    names && start < taken.end && taken.start < end,
                    "{taken:?}: {start}..{end}"
                );
            }
            other => panic!("{taken:?}: {other:?}"),
        }
    }
    assert_eq!(sigplane::table().faults.code_ranges, 3, "nothing has changed");
    drop(range);
    drop(two.insert(1000..2000).unwrap());
    drop(others);
    CodeRange::remove_all([]);
    assert_eq!(sigplane::table().faults.code_ranges, 0);
}

// Dropped by its own handler, it is not asked again, and its place is free.
pub(crate) fn dropped_in_its_handler() {
    static OWN: Mutex<Option<CodeRange>> = Mutex::new(None);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let memory = Memory::of_code(&READ);
    let read = function(memory.page(0));
    let traps = unsafe {
        CodeRanges::new(|context| {
            CALLS.fetch_add(1, SeqCst);
            if let Ok(mut own) = OWN.try_lock() {
                drop(own.take());
            }
            into_value(context)
        })
    }
    .unwrap();
    let missing = unsafe {
        sigplane::fault::Region::new(0..PAGE, |context| {
            context.set_return_value(1);
            context.skip(3);
            Verdict::Handled
        })
    }
    .unwrap();
    for round in 1..=10 {
        *OWN.lock().unwrap() = Some(traps.insert(memory.range()).unwrap());
        assert_eq!((read(0, 0), read(0, 0), CALLS.load(SeqCst)), (NULL, 1, round));
    }
    drop(missing);
}
