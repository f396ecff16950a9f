//! Regions and code ranges: what their handlers can do, in which order they are asked, how they are
//! removed. The points "Regions" and "Code ranges", BRIEF §5 (steps 3 and 4) and §8.

#[path = "fault_regions/code.rs"]
mod code;
#[path = "fault_regions/map.rs"]
mod map;
#[path = "fault_regions/memory.rs"]
mod memory;
#[path = "fault_regions/removal.rs"]
mod removal;

use memory::{LENGTH, Memory, PAGE, load, protect, store};
use sigplane::fault::{self, FaultContext, Region};
use sigplane::{FaultKind, Signal, Verdict, subscribe, thread};
use sigplane_tests::{Dice, Suite, eventually, quick};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

static CALLS: AtomicUsize = AtomicUsize::new(0);
static WORDS: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

fn calls() -> usize {
    CALLS.swap(0, SeqCst)
}

/// Ends the threads of a test, also when it fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Makes the page that was accessed readable and writable.
fn open_page(context: &mut FaultContext<'_>) -> Verdict {
    CALLS.fetch_add(1, SeqCst);
    let Some(address) = context.fault().address() else { return Verdict::Pass };
    protect(address & !(PAGE - 1), PAGE, libc::PROT_READ | libc::PROT_WRITE);
    Verdict::Handled
}

// "fix the mapping and retry": demand paging by four threads at once.
fn pages_on_demand() {
    let pages = quick(1000) as usize;
    let memory = Memory::new(pages);
    let region = unsafe { Region::new(memory.range(), open_page) }.unwrap();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                if number % 2 == 0 {
                    thread::current();
                }
                for step in 0..pages {
                    // Two threads upwards, two downwards.
                    let page = if number < 2 { step } else { pages - 1 - step };
                    let word = memory.page(page) + 8 * (page % 512);
                    unsafe { &*(word as *const AtomicU64) }.fetch_add(1 << (8 * number), SeqCst);
                }
            });
        }
    });
    for page in 0..pages {
        let word = unsafe { load(memory.page(page) + 8 * (page % 512)) };
        assert_eq!(word, 0x0101_0101, "page {page}: each thread once");
    }
    let calls = calls();
    assert!((pages..=4 * pages).contains(&calls), "{calls}");
    let faults = sigplane::table().faults;
    assert_eq!((faults.by_region, faults.regions), (calls, 1));
    drop(region);
    assert_eq!(sigplane::table().faults.regions, 0);
}

// "emulate and skip": memory that is not there at all.
fn emulate_and_skip() {
    let memory = Memory::new(1);
    let start = memory.page(0);
    let region = unsafe {
        Region::new(memory.range(), move |context| {
            let fault = context.fault();
            let offset = fault.address().map_or(0, |address| address - start);
            if fault.access() == Some(fault::Access::Write) {
                WORDS[0].store(offset * 1000 + context.argument(1).unwrap_or(0), SeqCst);
            } else {
                context.set_return_value(offset * 2);
            }
            context.skip(LENGTH);
            Verdict::Handled
        })
    };
    for offset in [0, 8, 123, 4088] {
        assert_eq!(unsafe { load(start + offset) }, 2 * offset as u64);
        unsafe { store(start + offset, 7) };
        assert_eq!(WORDS[0].load(SeqCst), offset * 1000 + 7);
    }
    drop(region);
}

// "go to a landing", and anywhere else.
fn land_and_set_pc() {
    let memory = Memory::new(1);
    let start = memory.page(0);
    let region = unsafe {
        Region::new(memory.range(), |context| {
            let elsewhere = context.argument(1).unwrap_or(0); // rsi
            if context.argument(2) == Some(1) {
                context.land(elsewhere);
            } else {
                context.set_pc(elsewhere);
            }
            Verdict::Handled
        })
    };
    for land in [1u64, 0] {
        let (rax, rdx, r11, rip, went): (usize, u64, usize, usize, u64);
        unsafe {
            std::arch::asm!(
                "lea rsi, [rip + 4f]",
                "lea r8, [rip + 2f]",
                "mov eax, 1234",
                "mov r11d, 5678",
                "mov ecx, 1",
                "2: mov r9, [rdi]",
                "mov ecx, 2", // Not executed.
                "4:",
                inout("rdi") start + 16 => _, out("rsi") _, inout("rdx") land => rdx,
                out("rcx") went, out("rax") rax, out("r11") r11, out("r8") rip, out("r9") _,
            )
        };
        assert_eq!(went, 1);
        if land == 1 {
            let fault = fault::Fault::from_landing(rax, rdx, r11);
            assert_eq!((fault.address(), fault.pc()), (Some(start + 16), rip));
            assert_eq!(
                (fault.kind(), fault.access()),
                (FaultKind::Protected, Some(fault::Access::Read))
            );
        } else {
            assert_eq!((rax, rdx, r11), (1234, 0, 5678), "nothing but the program counter");
        }
    }
    drop(region);
}

// "or pass": the next region by priority, then by age, then the immediate entries; and what one that
// passes has done to the registers is undone.
fn pass_to_the_next() {
    fn note(number: usize) -> impl Fn(&mut FaultContext<'_>) -> Verdict + Send + Sync {
        move |context| {
            let at = CALLS.fetch_add(1, SeqCst);
            WORDS[at].store(number, SeqCst);
            // None of this is to last.
            for argument in 0..6 {
                context.set_argument(argument, 0xbad);
            }
            context.set_return_value(0xbad);
            context.set_pc(0xbad);
            context.set_sp(0xbad);
            // The kernel's mask is the first word of libc's.
            unsafe { (&raw mut context.raw().uc_sigmask).cast::<u64>().write(!0) };
            if number == 3 {
                unsafe { std::ptr::null::<u8>().read_volatile() }; // Passes by faulting.
            }
            Verdict::Pass
        }
    }
    let memory = Memory::new(1);
    let (range, start) = (memory.range(), memory.page(0));
    let regions = [(0, 4), (5, 2), (0, 5), (i32::MAX, 1), (5, 3), (i32::MIN, 6)].map(
        |(priority, number)| unsafe {
            Region::with_priority(range.clone(), priority, note(number)).unwrap()
        },
    );
    let taker = unsafe {
        subscribe(Signal::SEGV).immediate(move |delivery| {
            let at = CALLS.fetch_add(1, SeqCst);
            WORDS[at].store(7, SeqCst);
            protect(start, PAGE, libc::PROT_READ);
            assert_eq!(delivery.info().si_signo, libc::SIGSEGV);
            Verdict::Handled
        })
    };
    let faults = sigplane::table().faults;
    assert_eq!(unsafe { load(start) }, 0);
    assert_eq!(calls(), 7);
    let order = WORDS.each_ref().map(|word| word.load(SeqCst));
    assert_eq!(order[..7], [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(sigplane_tests::raw::mask(), 0);
    let after = sigplane::table().faults;
    assert_eq!((after.in_handlers, after.by_region), (faults.in_handlers + 1, faults.by_region));
    drop((regions, taker));
}

// "Works for SIGSEGV and SIGBUS": the mapping of a file that has been truncated.
fn truncated_mappings() {
    let file = unsafe { libc::memfd_create(c"truncated".as_ptr(), 0) };
    assert!(file >= 0);
    assert_eq!(unsafe { libc::ftruncate(file, 8 * PAGE as i64) }, 0);
    let memory = Memory::of_file(file, 8);
    unsafe { store(memory.page(0), 5) };
    unsafe { store(memory.page(7), 6) };
    assert_eq!(unsafe { libc::ftruncate(file, PAGE as i64) }, 0);
    let region = unsafe {
        Region::new(memory.range(), |context| {
            let fault = context.fault();
            if fault.kind() != FaultKind::NoMemory || fault.signal() != Signal::BUS {
                return Verdict::Pass;
            }
            CALLS.fetch_add(1, SeqCst);
            let page = fault.address().unwrap_or(0) & !(PAGE - 1);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(page as *mut _, PAGE, access, flags, -1, 0);
            Verdict::Handled
        })
    };
    let values: Vec<u64> = (0..8).map(|page| unsafe { load(memory.page(page)) }).collect();
    assert_eq!((values, calls()), (vec![5, 0, 0, 0, 0, 0, 0, 0], 7));
    unsafe { store(memory.page(7), 9) };
    assert_eq!((unsafe { load(memory.page(7)) }, calls()), (9, 0));
    drop(region);
}

// A garbage collector's write barrier: which pages have been written, exactly.
fn write_barrier() {
    const PAGES: usize = 256;
    static DIRTY: [AtomicBool; PAGES] = [const { AtomicBool::new(false) }; PAGES];
    let memory = Memory::new(PAGES);
    let (mut dice, start) = (Dice::new(), memory.page(0));
    let region = unsafe {
        Region::new(memory.range(), move |context| {
            if context.fault().access() != Some(fault::Access::Write) {
                return Verdict::Pass;
            }
            let page = (context.fault().address().unwrap_or(0) - start) / PAGE;
            DIRTY[page].store(true, SeqCst);
            protect(start + page * PAGE, PAGE, libc::PROT_READ | libc::PROT_WRITE);
            Verdict::Handled
        })
    };
    for _cycle in 0..20 {
        protect(start, PAGES * PAGE, libc::PROT_READ);
        let mut written = [false; PAGES];
        for _ in 0..200 {
            let at = dice.roll((PAGES * PAGE - 8) as u64) as usize;
            if dice.roll(2) == 0 {
                unsafe { load(start + at) };
            } else {
                unsafe { store(start + at, at as u64) };
                assert_eq!(unsafe { load(start + at) }, at as u64);
                written[at / PAGE] = true;
                written[(at + 7) / PAGE] = true;
            }
        }
        let dirty: Vec<bool> = DIRTY.iter().map(|page| page.swap(false, SeqCst)).collect();
        assert_eq!(dirty, written);
    }
    drop(region);
}

// "for the kernel touching the memory in a system call it documents EFAULT".
fn system_calls_fail() {
    let memory = Memory::new(2);
    let region = unsafe { Region::new(memory.range(), open_page) }.unwrap();
    let at = memory.page(0) as *mut libc::c_void;
    let (reader, writer) = std::io::pipe().unwrap();
    use std::os::fd::AsRawFd;
    let errno = || std::io::Error::last_os_error().raw_os_error();
    assert_eq!(
        (unsafe { libc::write(writer.as_raw_fd(), at, 8) }, errno()),
        (-1, Some(libc::EFAULT))
    );
    assert_eq!(unsafe { libc::write(writer.as_raw_fd(), [1u8; 8].as_ptr().cast(), 8) }, 8);
    assert_eq!(
        (unsafe { libc::read(reader.as_raw_fd(), at, 8) }, errno()),
        (-1, Some(libc::EFAULT))
    );
    assert_eq!((unsafe { libc::stat(at.cast(), at.cast()) }, errno()), (-1, Some(libc::EFAULT)));
    // Neither does safe access call it, nor a guarded call: they come first.
    assert!(fault::try_read(at.cast::<u64>()).is_err());
    assert!(unsafe { fault::guarded(|| load(at as usize)) }.is_err());
    assert_eq!(calls(), 0);
    // Touched first, it works.
    unsafe { store(at as usize, 1) };
    assert_eq!(unsafe { libc::read(reader.as_raw_fd(), at, 8) }, 8);
    assert_eq!((unsafe { load(at as usize) }, calls()), (0x0101_0101_0101_0101, 1));
    drop(region);
}

// Handlers of regions and of asynchronous signals on the same thread at the same time.
fn under_a_storm() {
    static SIGNALS: AtomicU64 = AtomicU64::new(0);
    let _sub = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            SIGNALS.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    }
    .unwrap();
    let pages = 64;
    let memory = Memory::new(pages);
    let region = unsafe { Region::new(memory.range(), open_page) }.unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for attached in [true, false] {
            let (stop, (tell, told)) = (&stop, std::sync::mpsc::channel());
            let (range, half) = (memory.range(), pages / 2 * PAGE);
            let worker = scope.spawn(move || {
                if attached {
                    thread::current();
                }
                tell.send(unsafe { libc::gettid() }).unwrap();
                let start = range.start + if attached { 0 } else { half };
                let signals = SIGNALS.load(SeqCst);
                for round in 0..quick(300) {
                    protect(start, half, libc::PROT_NONE);
                    for at in (start..start + half).step_by(PAGE) {
                        unsafe { store(at + 8, round) };
                        assert_eq!(unsafe { load(at + 8) }, round);
                    }
                }
                eventually("some signals", || SIGNALS.load(SeqCst) > signals + 10);
            });
            let tid = told.recv().unwrap();
            scope.spawn(move || {
                while !stop.load(SeqCst) && !worker.is_finished() {
                    // A standard signal: the kernel keeps one at a time.
                    let _ended = sigplane::send::to_thread(tid, Signal::USR1);
                    std::thread::yield_now();
                }
                worker.join().unwrap();
            });
        }
    });
    assert_eq!(calls(), 2 * 32 * quick(300) as usize);
    drop(region);
}

// A child has its parent's regions and removes its own copies.
fn in_a_forked_child() {
    let memory = Memory::new(4);
    let region = unsafe { Region::new(memory.range(), open_page) }.unwrap();
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe { store(memory.page(1), 7) };
        assert_eq!(calls(), 1);
        drop(region);
        assert_eq!(sigplane::table().faults.regions, 0);
        let own = unsafe { Region::new(memory.range(), open_page) }.unwrap();
        unsafe { store(memory.page(2), 7) };
        assert_eq!(calls(), 1);
        drop(own);
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    unsafe { store(memory.page(2), 7) };
    assert_eq!(calls(), 1);
    drop(region);
}

fn main() {
    Suite {
        tests: &[
            ("pages_on_demand", pages_on_demand),
            ("emulate_and_skip", emulate_and_skip),
            ("land_and_set_pc", land_and_set_pc),
            ("pass_to_the_next", pass_to_the_next),
            ("truncated_mappings", truncated_mappings),
            ("write_barrier", write_barrier),
            ("system_calls_fail", system_calls_fail),
            ("under_a_storm", under_a_storm),
            ("in_a_forked_child", in_a_forked_child),
            ("random_overlaps", map::random_overlaps),
            ("a_hundred_thousand", map::a_hundred_thousand),
            ("removal_is_quiescent", removal::removal_is_quiescent),
            ("dropped_in_its_own_handler", removal::dropped_in_its_own_handler),
            ("empty_ranges_are_refused", map::empty_ranges_are_refused),
            ("generated_code", code::generated_code),
            ("accessors", code::accessors),
            ("code_comes_and_goes", code::code_comes_and_goes),
            ("taken_ranges", code::taken_ranges),
            ("code_range_dropped_in_its_handler", code::dropped_in_its_handler),
        ],
        victims: &[],
    }
    .main()
}
