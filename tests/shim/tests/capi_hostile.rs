//! The C API with anything for arguments: wild pointers, numbers out of range, handles that were never given, from
//! two threads at once. The answer is an error number; never a crash, never the library's own defect.
//!
//! For issue 4, line 7: "Hostile input". What is called, and with what types, is read from the list of forwarders,
//! so a new function is in here by itself.

#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the calls are hostile on purpose; the memory is mapped here"
)]

#[allow(dead_code, reason = "the part that reads headers is for the other test")]
#[path = "capi_header/parse.rs"]
mod parse;

use parse::Forwarder;
use sigplane_compat::capi::abi;
use sigplane_tests::{Dice, Suite, quick};
use sigplane_tests_shim::library;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

type Function = unsafe extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64;

const PAGE: usize = 4096;
/// Pages that may be written, between some that may not be touched; then one that may be read.
const POOL: usize = 16 * PAGE;

/// Memory of every kind.
struct Pool {
    writable: usize,
    constant: usize,
    nothing: usize,
    /// Where options are: nothing is written there as a result, for a call believes the functions that
    /// valid options name.
    options: usize,
}

impl Pool {
    fn new() -> Self {
        let map = |length, protection| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let at = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, flags, -1, 0) };
            assert_ne!(at, libc::MAP_FAILED);
            at.expose_provenance()
        };
        let nothing = map(POOL + 5 * PAGE, libc::PROT_NONE);
        let allow = |at: usize, length, protection| {
            let at = std::ptr::with_exposed_provenance_mut::<c_void>(at);
            assert_eq!(unsafe { libc::mprotect(at, length, protection) }, 0);
        };
        let writable = nothing + PAGE;
        let constant = writable + POOL + PAGE;
        allow(writable, POOL, libc::PROT_READ | libc::PROT_WRITE);
        allow(constant, PAGE, libc::PROT_READ);
        let options = map(3 * PAGE, libc::PROT_READ | libc::PROT_WRITE);
        Self { writable, constant, nothing, options }
    }

    fn pointer(&self, dice: &mut Dice) -> usize {
        match dice.roll(16) {
            0 => 0,
            1 => dice.roll(PAGE as u64) as usize,
            2 => self.nothing + dice.roll(PAGE as u64) as usize,
            3 => self.constant + dice.roll(PAGE as u64) as usize,
            4 => self.writable + POOL - dice.roll(300) as usize,
            5 => usize::MAX - dice.roll(300) as usize,
            6 => (1 << 63) + dice.roll(1 << 20) as usize,
            7 => 0xffff_8000_0000_0000 + dice.roll(1 << 20) as usize,
            8 => self.writable + dice.roll(PAGE as u64) as usize,
            _ => self.writable + 8 * dice.roll(1000) as usize,
        }
    }

    fn value<T: Copy>(&self, at: usize) -> Option<T> {
        let inside = (self.writable..=self.writable + POOL - size_of::<T>()).contains(&at);
        let at = std::ptr::with_exposed_provenance::<T>(at);
        inside.then(|| unsafe { at.read_unaligned() })
    }
}

unsafe extern "C-unwind" fn nothing(_: *mut c_void) {}
unsafe extern "C-unwind" fn handler(_: *const abi::Event, _: *mut c_void) {}
unsafe extern "C-unwind" fn immediate(_: *mut abi::Delivery, _: *mut c_void) -> i32 {
    abi::PASS
}
unsafe extern "C-unwind" fn fault(_: *mut abi::FaultContext, _: *mut c_void) -> i32 {
    abi::PASS
}
unsafe extern "C-unwind" fn hook(_: *const abi::Fatal, _: *mut c_void) {}

fn choose<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.roll(of.len() as u64) as usize]
}

/// Options, most of them valid, somewhere in the pool.
fn options(pool: &Pool, dice: &mut Dice) -> usize {
    let name = pool.pointer(dice);
    let options = abi::Options {
        size: if dice.roll(8) == 0 {
            dice.roll(100) as u32
        } else {
            size_of::<abi::Options>() as u32
        },
        flags: dice.roll(9) as u32,
        priority: dice.roll(7) as i32 - 3,
        overflow: dice.roll(5) as u32,
        capacity: choose(dice, &[0, 1, 2, 128, u64::MAX]),
        name: if dice.roll(2) == 0 {
            std::ptr::null()
        } else {
            std::ptr::with_exposed_provenance(name)
        },
        destroy: if dice.roll(2) == 0 { None } else { Some(nothing) },
        reserved: u64::from(dice.roll(16) == 0),
    };
    let at = pool.options + 8 * dice.roll(1000) as usize;
    unsafe { std::ptr::with_exposed_provenance_mut::<abi::Options>(at).write(options) };
    at
}

/// An argument of the type, as one or two words.
fn argument(function: &str, name: &str, kind: &str, pool: &Pool, dice: &mut Dice) -> Vec<u64> {
    let callback = |dice: &mut Dice, at: usize| if dice.roll(8) == 0 { 0 } else { at as u64 };
    vec![match (name, kind) {
        ("timeout_ns", _) => choose(dice, &[0, 1, 1000]),
        ("number", _) => choose(dice, &[-1i64 as u64, 9999, libc::SYS_getpid as u64]),
        ("fd", "c_int") => choose(dice, &[-1, i32::MIN, i32::MAX, 1000]) as u64,
        ("pid" | "tid", "c_int") => choose(dice, &[0, -1, -2, i32::MIN, i32::MAX]) as u64,
        ("signo", _) => choose(dice, &[0, -1, 9999, i32::MIN, 32, 65, libc::SIGWINCH]) as u64,
        ("set", _) => match dice.roll(6) {
            0 => choose(dice, &[0, u64::MAX, 1 << 8, 1 << 18, 1 << 31, abi::SET_FAULTS]),
            1 => dice.roll(u64::MAX),
            _ => 1 << (libc::SIGWINCH - 1) | dice.roll(2) << (libc::SIGCHLD - 1),
        },
        (_, "*const Options") if dice.roll(4) != 0 => options(pool, dice) as u64,
        (_, "Option<Handler>") => callback(dice, handler as *const () as usize),
        (_, "Option<ImmediateHandler>") => callback(dice, immediate as *const () as usize),
        (_, "Option<FaultHandler>") => callback(dice, fault as *const () as usize),
        (_, "Option<FatalHook>") => callback(dice, hook as *const () as usize),
        (_, "Option<Call>") => callback(dice, nothing as *const () as usize),
        (_, "Subscription" | "Region" | "CodeRange" | "LastChance") => {
            dice.roll(6) << 32
                | choose(dice, &[dice_small(function), 0, 1, 2, 3, 1 << 20, u64::from(u32::MAX)])
        }
        (_, "Thread") => return vec![pool.pointer(dice) as u64, dice.roll(3)],
        (_, "usize") => {
            choose(dice, &[0, 1, 7, 48, 256, 4096, 70_000, isize::MAX as u64, u64::MAX])
        }
        (_, pointer) if pointer.starts_with('*') => pool.pointer(dice) as u64,
        (_, "c_int" | "u32" | "i64" | "u64" | "u16" | "u8" | "c_long") => {
            choose(dice, &[0, 1, 2, 3, 10, 42, 255, 1 << 31, u64::MAX])
        }
        other => panic!("no hostile values for {other:?}"),
    }]
}

/// Another small number for each function, so that the handles tried differ.
fn dice_small(function: &str) -> u64 {
    function.len() as u64
}

struct Loaded {
    forwarder: Forwarder,
    function: Function,
}

fn load() -> Vec<Loaded> {
    let path = CString::new(library().as_os_str().as_bytes()).expect("a path");
    let object = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    assert!(!object.is_null(), "the library can be opened");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../compat/shim/src/capi.rs");
    let list = parse::forwarders(&std::fs::read_to_string(list).expect("the list"));
    let loaded = list.into_iter().map(|forwarder| {
        let name = CString::new(forwarder.name.as_str()).expect("a name");
        let at = unsafe { libc::dlsym(object, name.as_ptr()) };
        assert!(!at.is_null(), "{}", forwarder.name);
        Loaded { forwarder, function: unsafe { std::mem::transmute::<*mut c_void, Function>(at) } }
    });
    loaded.collect()
}

/// Random calls; the error numbers that were seen.
fn storm(functions: &[Loaded], rounds: u64) -> BTreeSet<i32> {
    let (pool, mut dice, mut seen) = (Pool::new(), Dice::new(), BTreeSet::new());
    let trace = std::env::var_os("SIGPLANE_TEST_TRACE").is_some();
    let named =
        |name: &str| functions.iter().find(|one| one.forwarder.name == name).expect("it is there");
    let mut live: VecDeque<(&Loaded, u64)> = VecDeque::new();
    for _ in 0..rounds {
        let chosen = choose(&mut dice, &(0..functions.len()).collect::<Vec<_>>());
        let Loaded { forwarder, function } = &functions[chosen];
        let mut words = Vec::new();
        for (name, kind) in &forwarder.arguments {
            words.extend(argument(&forwarder.name, name, kind, &pool, &mut dice));
        }
        words.resize(6, 0);
        if trace {
            eprintln!("{}({words:#x?})", forwarder.name);
        }
        let result =
            unsafe { function(words[0], words[1], words[2], words[3], words[4], words[5]) };
        match forwarder.result.as_str() {
            "c_int" => seen.insert(result as i32),
            "*const c_char" => {
                !std::ptr::with_exposed_provenance::<u8>(result as usize).is_null() || panic!()
            }
            _ => true,
        };
        // What has been made is ended after a while, so that it does not grow for ever.
        let Some((_, kind)) = forwarder.arguments.last().filter(|(name, _)| name == "result")
        else {
            continue;
        };
        if result != 0 || kind == "*mut c_long" {
            continue;
        }
        let end = match kind.as_str() {
            "*mut Subscription" => "sigplane_unsubscribe",
            "*mut Region" => "sigplane_region_remove",
            "*mut CodeRange" => "sigplane_code_range_remove",
            _ => "sigplane_last_chance_remove",
        };
        let at = words[forwarder.arguments.len() - 1] as usize;
        live.push_back((named(end), pool.value::<u64>(at).expect("it was written")));
        if live.len() > 12
            && let Some((end, id)) = live.pop_front()
        {
            unsafe { (end.function)(id, 0, 0, 0, 0, 0) };
        }
    }
    for (end, id) in live {
        unsafe { (end.function)(id, 0, 0, 0, 0, 0) };
    }
    seen
}

// Both ways of looking at pointers: by the kernel before faults are sigplane's, by itself afterwards; and every
// error that arguments can bring about has been seen, so that the storm is known to have hit something.
fn any_arguments() {
    let mut functions = load();
    // This one takes sigplane's handlers away: of course nothing is safe then.
    functions.retain(|one| one.forwarder.name != "sigplane_restore_dispositions");
    let rounds = quick(100_000);
    let mut seen = BTreeSet::new();
    let enabling = |name: &str| {
        ["try_", "guarded", "faults_enable", "region_add", "code_range_add", "last_chance_add"]
            .iter()
            .any(|part| name.contains(part))
    };
    let (early, late): (Vec<_>, Vec<_>) =
        functions.into_iter().partition(|one| !enabling(&one.forwarder.name));
    seen.extend(storm(&early, rounds / 4));
    let all: Vec<_> = early.into_iter().chain(late).collect();
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(|| storm(&all, rounds))).collect();
        others.into_iter().for_each(|other| seen.extend(other.join().expect("no panic")));
    });
    println!("{seen:?}");
    let known: BTreeSet<_> = (0..=10).chain(16..42).collect();
    assert!(seen.is_subset(&known), "{seen:?}");
    for error in [
        abi::OK,
        abi::E_NULL,
        abi::E_POINTER,
        abi::E_HANDLE,
        abi::E_SIZE,
        abi::E_ARGUMENT,
        abi::E_SIGNAL,
        abi::E_EMPTY_SET,
        abi::E_UNCATCHABLE,
        abi::E_NEEDS_IMMEDIATE,
        abi::E_ZERO_CAPACITY,
        abi::E_EMPTY_RANGE,
        abi::E_THREAD_ENDED,
        abi::E_TIMEOUT,
        abi::E_CANNOT_WAIT,
        abi::E_FAULT,
        abi::E_NO_TARGET,
        abi::E_OS,
    ] {
        assert!(seen.contains(&error), "{error} was never the answer: {seen:?}");
    }
}

fn main() {
    Suite { tests: &[("any_arguments", any_arguments)], victims: &[] }.main()
}
