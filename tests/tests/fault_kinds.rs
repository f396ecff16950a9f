//! Every kind of fault, provoked for real and classified: its kind, address, access, program counter and
//! signal. Issue 5, "What must be shown", lines 1 and 7.
//!
//! * here — each kind, seen by each party that can take one: a guarded call, a safe access, a code range, a
//!   region, an immediate entry, a last-chance hook. `fault_kinds/provoke.rs` has the faults.
//! * `fault_kinds/decoder.rs` — addresses that only the instruction tells, of random instructions.
//! * `fault_kinds/stacks.rs` — stack overflows, and what is none.
//! * `fault_kinds/sent.rs` — the same signals, sent by somebody.

#[path = "fault_kinds/decoder.rs"]
mod decoder;
#[path = "fault_kinds/provoke.rs"]
mod provoke;
#[path = "fault_kinds/sent.rs"]
mod sent;
#[path = "fault_kinds/stacks.rs"]
mod stacks;

use provoke::{Case, Places, RESUME, cases, filter};
use sigplane::fault::{self, Access, CodeRanges, Fault, FaultContext, Region};
use sigplane::{FaultKind, Signal, SignalSet, Verdict, subscribe};
use sigplane_tests::observer::{numbers, say};
use sigplane_tests::{Exit, Running, Suite, skip, victim};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

fn all() -> Vec<Case> {
    filter();
    cases(&Places::new())
}

// A guarded call gives the fault back as a value.
fn guarded_calls_see_every_kind() {
    for case in all() {
        // SAFETY: a few instructions that hold nothing.
        let fault = unsafe { fault::guarded(|| (case.go)(case.argument)) }.unwrap_err();
        case.check("guarded", &fault);
        assert_eq!(fault.done(), 0);
    }
}

// The single accesses and the leaves do, where there is an address; and they know the access where the
// processor does not tell.
fn safe_accesses_see_every_kind() {
    let places = Places::new();
    let of_memory =
        [FaultKind::Unmapped, FaultKind::Protected, FaultKind::NoMemory, FaultKind::NonCanonical];
    for case in cases(&places) {
        if !of_memory.contains(&case.kind) || case.access == Some(Access::Execute) {
            continue;
        }
        let at = case.address().unwrap();
        let what = |fault: Fault| (fault.kind(), fault.address(), fault.access(), fault.done());
        let want = |access| (case.kind, Some(at), Some(access), 0);
        // The byte at the edge is only unmapped; the eight from it on reach into the hole.
        let at_edge = case.name == "over the edge";
        if case.argument != places.read_only {
            let fault = fault::try_read(at as *const u64).unwrap_err();
            assert_eq!(what(fault), want(Access::Read), "{}", case.name);
            let mut buffer = [0; 100];
            let fault = fault::try_copy_from(at as *const u8, &mut buffer).unwrap_err();
            let kind = if at_edge { FaultKind::Unmapped } else { case.kind };
            let got = (fault.kind(), fault.address(), fault.access(), fault.done());
            assert_eq!(got, (kind, Some(at), Some(Access::Read), 0), "{}", case.name);
            assert!(fault::try_strlen(at as *const _, 4000).is_err(), "{}", case.name);
        }
        // SAFETY: nothing is there.
        let fault = unsafe { fault::try_write(at as *mut u64, 1) }.unwrap_err();
        assert_eq!(what(fault), want(Access::Write), "{}", case.name);
        // SAFETY: as above.
        let fault = unsafe { fault::try_fill(at as *mut u8, 1, 2000) }.unwrap_err();
        let kind = if at_edge { fault.kind() } else { case.kind };
        assert_eq!((fault.kind(), fault.access()), (kind, Some(Access::Write)), "{}", case.name);
    }
}

static SEEN: Mutex<Option<Fault>> = Mutex::new(None);

/// What a handler does: notes the fault and goes on behind it.
fn note(context: &mut FaultContext<'_>) -> Verdict {
    *SEEN.try_lock().expect("one at a time") = Some(context.fault());
    context.set_pc(RESUME.load(Ordering::Relaxed));
    Verdict::Handled
}

fn seen(case: &Case, way: &str) {
    // SAFETY: what faults is taken, and goes on behind it.
    unsafe { (case.go)(case.argument) };
    let fault = SEEN.lock().unwrap().take().unwrap_or_else(|| panic!("{} by {way}", case.name));
    case.check(way, &fault);
}

fn code_ranges_see_every_kind() {
    let cases = all();
    // SAFETY: the code expects to go on behind the fault.
    let traps = unsafe { CodeRanges::new(note) }.unwrap();
    let _everywhere = traps.insert(0..usize::MAX).unwrap();
    cases.iter().for_each(|case| seen(case, "a code range"));
}

// A single step is no fault of the instruction: neither guards nor code ranges are asked, and what is stepped
// through goes on. Entries are.
fn single_steps_go_to_entries() {
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    // SAFETY: counts, and ends the stepping.
    let sub = unsafe {
        subscribe(Signal::TRAP).immediate(|delivery| {
            let kind = delivery.event().fault().map(|fault| fault.kind);
            STEPS.fetch_add(usize::from(kind == Some(FaultKind::Step)), Ordering::Relaxed);
            let context = delivery.machine_context().expect("a fault has one");
            context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !0x100;
            Verdict::Handled
        })
    };
    let _sub = sub.unwrap();
    // SAFETY: the code expects to go on behind the fault.
    let traps = unsafe { CodeRanges::new(note) }.unwrap();
    let _everywhere = traps.insert(0..usize::MAX).unwrap();
    // SAFETY: as above.
    unsafe { provoke::step(0) };
    // SAFETY: nothing is held.
    assert!(unsafe { fault::guarded(|| provoke::step(0)) }.is_ok());
    assert_eq!(STEPS.load(Ordering::Relaxed), 2);
    assert!(SEEN.lock().unwrap().is_none());
}

fn regions_see_every_kind() {
    let cases = all();
    // SAFETY: as above.
    let _everywhere = unsafe { Region::new(0..usize::MAX, note) }.unwrap();
    for case in cases {
        let mut concerned = matches!(case.signal, Signal::SEGV | Signal::BUS);
        concerned &= case.address().is_some_and(|at| at != usize::MAX);
        if concerned || (case.kind == FaultKind::Privileged) {
            seen(&case, "a region");
        }
    }
}

// An immediate entry has the machine context, and of the kind what siginfo says.
fn immediate_entries_see_every_kind() {
    let cases = all();
    static INFO: Mutex<Option<(Signal, i32, usize)>> = Mutex::new(None);
    let signals: [Signal; 6] =
        [Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL, Signal::TRAP, Signal::SYS];
    let _subs = signals.map(|signal| {
        // SAFETY: as above.
        let sub = unsafe {
            subscribe(signal).immediate(|delivery| {
                assert!(delivery.is_fault() && !delivery.is_deferred());
                let (signal, code) = (delivery.signal(), delivery.info().si_code);
                let context = delivery.machine_context().expect("a fault has one");
                let pc = &mut context.uc_mcontext.gregs[libc::REG_RIP as usize];
                *INFO.try_lock().unwrap() = Some((signal, code, *pc as usize));
                *pc = RESUME.load(Ordering::Relaxed) as i64;
                Verdict::Handled
            })
        };
        sub.unwrap()
    });
    for case in cases {
        // SAFETY: as above.
        unsafe { (case.go)(case.argument) };
        let (signal, code, pc) = INFO.lock().unwrap().take().expect("the entry was asked");
        assert_eq!(signal, case.signal, "{}", case.name);
        assert!(code > 0, "{}: {code}", case.name);
        let after = matches!(signal, Signal::TRAP | Signal::SYS);
        assert!(after || pc == case.pc(), "{}: {pc:#x}", case.name);
        // (Virtual machines may report icebp where it is.)
        assert!(!after || (0..=2).contains(&(pc - case.pc())), "{}: {pc:#x}", case.name);
    }
}

/// Numbers for kinds, which two processes agree on.
fn number(kind: FaultKind) -> i64 {
    kind.to_string().bytes().fold(7, |hash: i64, byte| (hash * 31 + i64::from(byte)) & 0xffff_ffff)
}

// A last-chance hook sees it, and the process then ends with the fault's signal.
fn last_chance_hooks_see_every_kind() {
    for (index, case) in cases(&Places::new()).iter().enumerate() {
        let mut command = victim("hooked");
        command.env("SIGPLANE_CASE", index.to_string());
        let (exit, output) = Running::start(command).finish();
        let Exit::Signal { number: ended, .. } = exit else { panic!("{}: {exit:?}", case.name) };
        assert_eq!(ended, case.signal.number(), "{}: {output}", case.name);
        let lines: Vec<Vec<i64>> = output.lines().map(numbers).collect();
        let [want, got] = &lines[..] else { panic!("{}: {output}", case.name) };
        assert_eq!(want[..3], got[..3], "{}: {output}", case.name);
        // The address of memory differs from process to process; the victim says which it is.
        assert_eq!(got[3], got[4], "the address of {}: {output}", case.name);
        assert_eq!(got[5], got[6], "the pc of {}: {output}", case.name);
    }
}

fn hooked() {
    let index: usize = std::env::var("SIGPLANE_CASE").unwrap().parse().unwrap();
    let case = all().swap_remove(index);
    let access = |access: Option<Access>| access.map_or(0, |access| 1 + access as i64);
    // SAFETY: writes a line.
    let hook = unsafe {
        fault::last_chance(SignalSet::FAULTS, 0, move |fatal| {
            let fault = fatal.fault().expect("a fault");
            let address = |at: Option<usize>| at.map_or(-1, |at| at as i64);
            say(
                "got",
                &[
                    fault.signal().number().into(),
                    hash(fault.kind()),
                    access(fault.access()),
                    address(fault.address()),
                    address(case.address()),
                    fault.pc() as i64,
                    case.pc() as i64,
                ],
            );
        })
    };
    hook.unwrap().detach();
    KIND.store(number(case.kind), Ordering::Relaxed);
    println!("want {} {} {}", case.signal.number(), number(case.kind), access(case.access));
    MINE.lock().unwrap().replace(case.kind);
    // SAFETY: the end.
    unsafe { (case.go)(case.argument) };
    println!("survived");
}

static KIND: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
static MINE: Mutex<Option<FaultKind>> = Mutex::new(None);

/// In a handler nothing is formatted: the expected kind has its number, every other has none.
fn hash(kind: FaultKind) -> i64 {
    let same = *MINE.try_lock().unwrap() == Some(kind);
    if same { KIND.load(Ordering::Relaxed) } else { -1 }
}

// Where the processor has protection keys.
fn protection_keys() {
    // SAFETY: plain system calls.
    let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 1) };
    if key < 0 {
        skip("no protection keys (pkey_alloc fails)");
    }
    let places = Places::new();
    let (at, page) = (places.writable, 4096);
    let both = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a page of its own.
    assert_eq!(unsafe { libc::syscall(libc::SYS_pkey_mprotect, at, page, both, key) }, 0);
    let fault = fault::try_read(at as *const u8).unwrap_err();
    assert_eq!(fault.kind(), FaultKind::ProtectionKey(key as u32));
    assert_eq!((fault.address(), fault.access()), (Some(at), Some(Access::Read)));
}

fn main() {
    Suite {
        tests: &[
            ("guarded_calls_see_every_kind", guarded_calls_see_every_kind),
            ("safe_accesses_see_every_kind", safe_accesses_see_every_kind),
            ("code_ranges_see_every_kind", code_ranges_see_every_kind),
            ("single_steps_go_to_entries", single_steps_go_to_entries),
            ("regions_see_every_kind", regions_see_every_kind),
            ("immediate_entries_see_every_kind", immediate_entries_see_every_kind),
            ("last_chance_hooks_see_every_kind", last_chance_hooks_see_every_kind),
            ("protection_keys", protection_keys),
            ("random_instructions", decoder::addresses_that_only_the_instruction_tells),
            ("misaligned_addresses", decoder::misaligned_addresses),
            ("overflow_of_the_main_thread", stacks::of_the_main_thread),
            ("overflow_of_threads", stacks::of_threads),
            ("overflow_with_guards_of_any_size", stacks::of_guards_of_any_size),
            ("overflow_of_a_hand_made_stack", stacks::of_a_hand_made_stack),
            ("below_an_alternate_stack", stacks::below_an_alternate_stack),
            ("no_overflow", stacks::what_is_none),
            ("overflow_again_and_again", stacks::again_and_again),
            ("overflow_that_nobody_takes", stacks::nobody_takes),
            ("sent_from_inside", sent::sent_from_inside),
            ("sent_to_a_thread_in_fixup_ranges", sent::sent_to_a_thread_in_fixup_ranges),
            ("sent_from_outside", sent::sent_from_outside),
            ("sent_in_front_of_rusts_handler", sent::sent_in_front_of_rusts_handler),
        ],
        victims: &[
            ("hooked", hooked),
            ("receives", sent::receives),
            ("waits", sent::waits),
            ("overflows", stacks::overflows),
            ("overflows_on_a_thread", stacks::overflows_on_a_thread),
            ("overflows_attached", stacks::overflows_attached),
        ],
    }
    .main()
}
