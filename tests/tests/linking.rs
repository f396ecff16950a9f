//! The linking forms: linked in, opened after start, and preloaded; two copies in one process.
//!
//! The shared object is that of the package `sigplane-test-plugin`, which cargo puts beside the test.

use object::read::elf::{ElfFile64, FileHeader, SectionHeader};
use sigplane::{Handler, Signal, Verdict, send};
use sigplane_tests::{Exit, Running, Suite, eventually, victim};
use std::collections::VecDeque;
use std::ffi::{CStr, CString, c_void};
use std::hint::black_box;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Barrier, Mutex, mpsc};

fn plugin() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let beside = test.with_file_name("libsigplane_test_plugin.so");
    assert!(beside.exists(), "cargo has put the plugin at {}", beside.display());
    beside
}

fn signal() -> Signal {
    Signal::rt(5).expect("there are real-time signals")
}

/// The plugin's functions, found by name.
struct Plugin {
    subscribe: extern "C" fn(i32) -> i32,
    count: extern "C" fn() -> usize,
    dispatched: extern "C" fn() -> usize,
    unsubscribe: extern "C" fn(),
    defer: extern "C" fn(i32) -> usize,
}

impl Plugin {
    /// In an object that is there already: `RTLD_DEFAULT`, or a handle.
    fn find(object: *mut c_void) -> Self {
        let find = |name: &CStr| {
            let address = unsafe { libc::dlsym(object, name.as_ptr()) };
            assert!(!address.is_null(), "{name:?} is exported");
            address
        };
        unsafe {
            Self {
                subscribe: std::mem::transmute::<*mut c_void, extern "C" fn(i32) -> i32>(find(
                    c"plugin_subscribe",
                )),
                count: std::mem::transmute::<*mut c_void, extern "C" fn() -> usize>(find(
                    c"plugin_count",
                )),
                dispatched: std::mem::transmute::<*mut c_void, extern "C" fn() -> usize>(find(
                    c"plugin_dispatched",
                )),
                unsubscribe: std::mem::transmute::<*mut c_void, extern "C" fn()>(find(
                    c"plugin_unsubscribe",
                )),
                defer: std::mem::transmute::<*mut c_void, extern "C" fn(i32) -> usize>(find(
                    c"plugin_defer",
                )),
            }
        }
    }

    fn open() -> Self {
        let path = CString::new(plugin().as_os_str().as_bytes()).expect("no zero in a path");
        let object = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!object.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        Self::find(object)
    }
}

fn this_thread() -> i32 {
    unsafe { libc::gettid() }
}

/// Keeps the allocator's locks taken, so that a handler that allocates is found out.
fn stress_malloc(stop: &AtomicBool) {
    let mut blocks = VecDeque::new();
    while !stop.load(SeqCst) {
        blocks.push_back(black_box(vec![1u8; 16 + blocks.len() * 32]));
        if blocks.len() > 50 {
            blocks.clear();
        }
    }
}

/// Signals each of 64 threads 100 times while they allocate; then each uses the plugin's copy itself.
fn shoot_at_64_threads(load: impl FnOnce() -> Plugin) {
    const THREADS: usize = 64;
    static TURN: Mutex<()> = Mutex::new(());
    // Nobody handles it: what it has by default is ignored, not deadly.
    sigplane_tests::raw::install(signal().number(), libc::SIG_IGN, 0, &[]);
    let (stop, start) = (AtomicBool::new(false), Barrier::new(THREADS + 1));
    let (tell, told) = mpsc::channel();
    let (hand_over, deferred) = (std::sync::OnceLock::new(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let tell = tell.clone();
            let (stop, start, hand_over, deferred) = (&stop, &start, &hand_over, &deferred);
            scope.spawn(move || {
                tell.send(this_thread()).expect("the test waits");
                stress_malloc(stop);
                start.wait();
                let defer: extern "C" fn(i32) -> usize = *hand_over.get().expect("set before");
                // One after the other: the plugin counts over all threads.
                let _turn = TURN.lock().expect("no panic while held");
                assert_eq!(defer(signal().number()), 1, "held back in the deferral, run after it");
                deferred.fetch_add(1, SeqCst);
            });
        }
        let threads: Vec<i32> = told.iter().take(THREADS).collect();
        let plugin = load();
        hand_over.get_or_init(|| plugin.defer);
        assert_eq!((plugin.subscribe)(signal().number()), 0);
        for _ in 0..100 {
            for &thread in &threads {
                while send::to_thread(thread, signal()) == Err(send::SendError::QueueFull) {}
            }
        }
        eventually("every signal in the handler", || (plugin.count)() == THREADS * 100);
        eventually("every signal on the dispatcher", || (plugin.dispatched)() == THREADS * 100);
        stop.store(true, SeqCst);
        start.wait();
    });
    assert_eq!(deferred.into_inner(), THREADS);
}

/// A copy of sigplane that is opened when 64 threads exist already finds their records, or that they
/// have none, without allocating, in the middle of `malloc`. (BRIEF §6.1, "safe when `dlopen`ed".)
fn opened_after_start() {
    shoot_at_64_threads(Plugin::open);
}

fn preloaded_victim() {
    shoot_at_64_threads(|| Plugin::find(libc::RTLD_DEFAULT));
}

/// The same for a copy that is preloaded. (BRIEF §6.1, "preloaded".)
fn preloaded() {
    let mut command = victim("preloaded_victim");
    command.env("LD_PRELOAD", plugin());
    assert_eq!(Running::start(command).wait(), Exit::Code(0));
}

static HERE: AtomicUsize = AtomicUsize::new(0);

/// Two copies in one process, each with a subscriber of the same signal: the later stands in front of
/// the earlier, both see each signal once, and when the later one leaves the earlier one is the
/// kernel's again. (BRIEF §6.1, "linked into the executable"; §10 will make them one owner.)
fn two_copies_chain() {
    let count = sigplane::subscribe(signal());
    let count = unsafe {
        count.immediate(|_| {
            HERE.fetch_add(1, SeqCst);
            Verdict::Handled
        })
    };
    let count = count.expect("it is free");
    let plugin = Plugin::open();
    assert_eq!((plugin.subscribe)(signal().number()), 0);
    for n in 1..=1_000 {
        send::raise(signal()).expect("to this thread");
        // Not at once while the other copy's queue is full: then it holds the signal back.
        eventually("both copies", || (HERE.load(SeqCst), (plugin.count)()) == (n, n));
    }
    eventually("the other copy's dispatcher", || (plugin.dispatched)() == 1_000);
    let kernel = || sigplane::table().row(signal()).expect("it is subscribed").kernel.handler;
    assert!(matches!(kernel(), Handler::At(_)), "the other copy's: {:?}", kernel());
    (plugin.unsubscribe)();
    assert_eq!(kernel(), Handler::Sigplane);
    send::raise(signal()).expect("to this thread");
    assert_eq!((HERE.load(SeqCst), (plugin.count)()), (1_001, 1_000));
    drop(count);
    assert_eq!(kernel(), Handler::Default);
}

/// The record of a thread is initial-exec storage in the shared object too: the loader is asked for
/// an offset from the thread pointer (`R_X86_64_TPOFF64`) and told so (`DF_STATIC_TLS`), and no
/// module-and-offset pair (`__tls_get_addr`) is there for the same word. (BRIEF §6.1 and §7.)
fn the_record_is_initial_exec() {
    let data = std::fs::read(plugin()).expect("the plugin can be read");
    let file = ElfFile64::<object::Endianness>::parse(&*data).expect("it is an ELF file");
    let endian = file.endian();
    let header = file.elf_header();
    let sections = header.sections(endian, &*data).expect("it has sections");
    let mut offsets = 0;
    for section in sections.iter() {
        let Some((relocations, _)) = section.rela(endian, &*data).expect("it is well formed")
        else {
            continue;
        };
        let is_tpoff = |rela: &&object::elf::Rela64<object::Endianness>| {
            rela.r_type(endian, false) == object::elf::R_X86_64_TPOFF64
        };
        offsets += relocations.iter().filter(is_tpoff).count();
    }
    assert!(offsets >= 1, "no initial-exec relocation");
    let mut flags = 0;
    for section in sections.iter() {
        if let Some((entries, _)) = section.dynamic(endian, &*data).expect("it is well formed") {
            use object::read::elf::Dyn;
            let flag = entries.iter().find(|entry| entry.tag(endian) == object::elf::DT_FLAGS);
            flags |= flag.map_or(0, |entry| entry.d_val(endian));
        }
    }
    assert_ne!(flags & object::elf::DF_STATIC_TLS.0, 0, "flags {flags:#x}");
}

fn main() {
    Suite {
        tests: &[
            ("opened_after_start", opened_after_start),
            ("preloaded", preloaded),
            ("two_copies_chain", two_copies_chain),
            ("the_record_is_initial_exec", the_record_is_initial_exec),
        ],
        victims: &[("preloaded_victim", preloaded_victim)],
    }
    .main()
}
