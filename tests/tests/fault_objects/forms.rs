//! The ways in which an object with fixups can be made, and come into a process.

use crate::object::{FIXUPS, FIXUPS_O0, NULL, Object, count, find, listed, unmapped};
use sigplane::{Signal, fault};
use sigplane_tests::{Exit, Running, raw, skip, victim};
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

const UNSORTED: &str = env!("SIGPLANE_TEST_FIXUPS_UNSORTED");
const CXX: &str = env!("SIGPLANE_TEST_FIXUPS_CXX");
const STARTER: &str = env!("SIGPLANE_TEST_STARTER");

fn works(probe: extern "C" fn(usize) -> i32) {
    let byte = 7u8;
    assert_eq!(probe(&raw const byte as usize), 1, "it reads what can be read");
    for at in [NULL, unmapped(), 0x8000_0000_0000_0000, usize::MAX] {
        assert_eq!(probe(at), 0, "at {at:#x}");
    }
}

/// The starts in a table, in its order.
fn starts(object: &Object) -> Vec<usize> {
    let words = object.table().step_by(12);
    words.map(|at| at.wrapping_add_signed(unsafe { *(at as *const i32) } as isize)).collect()
}

// With and without optimisation; and with functions in sections that the linker moves, so that the
// table is not sorted.
pub(crate) fn compiled_in_many_ways() {
    fault::enable().unwrap();
    for (path, sorted) in [(FIXUPS, true), (FIXUPS_O0, true), (UNSORTED, false)] {
        let object = Object::open(path);
        assert_eq!(((object.state)(), count(path)), (0, 1), "{path}");
        works(object.probe);
        assert_eq!(starts(&object).is_sorted(), sorted, "{path}: {:x?}", starts(&object));
        assert!(starts(&object).contains(&(object.instruction)()));
        if !sorted {
            for name in [c"object_cold", c"object_hot", c"object_cold_too"] {
                works(unsafe { object.function(name) });
            }
        }
        object.close();
        assert_eq!(count(path), 0);
    }
}

unsafe extern "C" {
    /// victims/fixup.c
    safe fn fixup_probe(at: usize) -> i32;
}

// C code in the executable that sigplane is in: its lines are in the executable's own table, which nobody
// has to attach, and the linker's garbage collection has kept them.
pub(crate) fn linked_into_the_executable() {
    fault::enable().unwrap();
    works(fixup_probe_here);
}

extern "C" fn fixup_probe_here(at: usize) -> i32 {
    fixup_probe(at)
}

// The line of an inline function that two translation units have is there once.
pub(crate) fn inline_in_two_units_of_cxx() {
    if CXX.is_empty() {
        skip("no compiler for C++");
    }
    fault::enable().unwrap();
    let object = Object::open(CXX);
    assert_eq!((object.state)(), 0);
    assert!(listed().contains(&(CXX.to_owned(), 1)), "{:?}", listed());
    works(object.probe);
    works(unsafe { object.function(c"object_probe_too") });
    object.close();
}

// Its constructor finds nobody; it asks again when sigplane is there.
pub(crate) fn opened_before_sigplane_is_enabled() {
    let object = Object::open(FIXUPS);
    assert_eq!(
        ((object.state)(), object.attach(), (object.detach)()),
        (-1, (-1, String::new()), 7)
    );
    fault::enable().unwrap();
    assert_eq!((object.attach(), count(FIXUPS)), ((0, String::new()), 1));
    works(object.probe);
    let (code, message) = object.attach();
    assert_eq!((code, count(FIXUPS)), (6, 1), "{message}");
    object.close();
    assert_eq!(count(FIXUPS), 0);

    // One of the signals is enough to find it, and attaching takes the others.
    raw::set_action(libc::SIGSEGV, raw::Action::default());
    let object = Object::open(FIXUPS);
    assert_eq!((object.state)(), 0);
    assert!(sigplane::table().row(Signal::SEGV).unwrap().ours, "taken back");
    works(object.probe);
    object.close();
}

pub(crate) fn preloaded() {
    let mut command = victim("preloaded_victim");
    command.env("LD_PRELOAD", FIXUPS);
    assert_eq!(Running::start(command).wait(), Exit::Code(0));
}

pub(crate) fn preloaded_victim() {
    let object = Object::at(libc::RTLD_DEFAULT);
    assert_eq!((object.state)(), -1, "long before sigplane is enabled");
    fault::enable().unwrap();
    assert_eq!((object.attach(), count(FIXUPS)), ((0, String::new()), 1));
    works(object.probe);
}

fn plugin() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.with_file_name("libsigplane_test_plugin.so")
}

// An executable in C that is linked with the object and has fixups itself; sigplane comes with a plugin.
pub(crate) fn linked_at_start() {
    let mut command = std::process::Command::new(STARTER);
    command.arg(plugin());
    let (exit, output) = Running::start(command).finish();
    assert_eq!(
        (exit, &output[..]),
        (Exit::Code(0), "states -1 -1\nattach 0 0 \nprobes 0 0 1 1\n"),
        "{output}"
    );
}

/// A directory that goes away.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn copies<const N: usize>() -> (Directory, [String; N]) {
    let path = std::env::temp_dir().join(format!("sigplane-objects-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    let copies = std::array::from_fn(|number| {
        let copy = path.join(format!("copy{number}.so"));
        std::fs::copy(FIXUPS, &copy).unwrap();
        copy.display().to_string()
    });
    (Directory(path), copies)
}

// The same object under several names: each has its own code and its own table.
pub(crate) fn two_copies() {
    fault::enable().unwrap();
    let (_directory, [first, second]) = copies();
    let objects = [&first, &second].map(|path| Object::open(path));
    let [one, two] = objects;
    assert_ne!(one.probe as usize, two.probe as usize);
    assert_eq!((count(&first), count(&second)), (1, 1));
    works(one.probe);
    works(two.probe);
    one.close();
    assert_eq!((count(&first), count(&second)), (0, 1));
    works(two.probe);
    two.close();
    assert_eq!((count(&first), count(&second)), (0, 0));
}

// A namespace of its own, with a C library of its own.
pub(crate) fn another_namespace() {
    fault::enable().unwrap();
    let here = Object::open(FIXUPS);
    let there = Object::open_in_a_namespace(FIXUPS);
    assert_eq!(((here.state)(), (there.state)()), (0, 0));
    assert_ne!(here.probe as usize, there.probe as usize);
    works(there.probe);
    assert_eq!(listed().len(), 3, "{:?}", listed());
    there.close();
    assert_eq!(listed().len(), 2, "{:?}", listed());
    works(here.probe);
    here.close();
}

// A child has what its parent had, and its own from then on.
pub(crate) fn in_a_forked_child() {
    fault::enable().unwrap();
    let (_directory, [copy]) = copies();
    let object = Object::open(FIXUPS);
    let in_child = |work: fn(&Object, &str)| {
        let child = unsafe { libc::fork() };
        if child == 0 {
            work(&object, &copy);
            unsafe { libc::_exit(7) };
        }
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 7, "{status:#x}");
    };
    in_child(|object, copy| {
        works(object.probe);
        let other = Object::open(copy);
        assert_eq!(((other.state)(), count(copy)), (0, 1));
        works(other.probe);
        other.close();
        assert_eq!((object.detach)(), 0);
        assert_eq!(count(FIXUPS), 0);
        assert_eq!(object.attach().0, 0);
        works(object.probe);
        // And a child of the child.
        let child = unsafe { libc::fork() };
        if child == 0 {
            works(object.probe);
            unsafe { libc::_exit(9) };
        }
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 9);
        assert_eq!((object.detach)(), 0);
    });
    assert_eq!((count(FIXUPS), count(&copy)), (1, 0), "what the child did is the child's");
    works(object.probe);
    object.close();
}

// Closed, but never unloaded: it keeps its fixups.
pub(crate) fn never_unloaded() {
    fault::enable().unwrap();
    let object = Object::open_with(FIXUPS, libc::RTLD_NOW | libc::RTLD_NODELETE);
    let probe = object.probe;
    object.close();
    assert_eq!(count(FIXUPS), 1);
    works(probe);
    let again = Object::open(FIXUPS);
    assert_eq!((again.probe as usize, (again.state)(), count(FIXUPS)), (probe as usize, 0, 1));
    again.close();
    works(probe);
}

extern "C" fn of_somebody(_: i32) {}

const OF_SOMEBODY: extern "C" fn(i32) = of_somebody;

// BRIEF §7: after the unloading nothing of the object is reachable; also when others have taken every
// signal from sigplane meanwhile, and the object could not find it any more.
pub(crate) fn closed_when_others_have_the_signals() {
    fault::enable().unwrap();
    let object = Object::open(FIXUPS);
    for number in
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS]
    {
        raw::install(number, OF_SOMEBODY as usize, 0, &[]);
    }
    assert_eq!(count(FIXUPS), 1);
    object.close();
    assert_eq!(count(FIXUPS), 0);
    fault::enable().unwrap();
    let again = Object::open(FIXUPS);
    works(again.probe);
    again.close();
}

/// The plugin in Rust, with its copy of sigplane.
struct Plugin {
    handle: *mut c_void,
    enable: extern "C" fn() -> i32,
    probe: extern "C" fn(usize) -> i32,
}

impl Plugin {
    fn open() -> Self {
        let path = CString::new(plugin().as_os_str().as_bytes()).unwrap();
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null());
        unsafe {
            Self {
                handle,
                enable: find(handle, c"plugin_enable"),
                probe: find(handle, c"plugin_fixup"),
            }
        }
    }
}

// Fixups by `sigplane::fixup!` in a plugin, whose copy of sigplane is enabled before or after ours.
pub(crate) fn a_plugin_in_rust() {
    for ours_first in [true, false] {
        let child = unsafe { libc::fork() };
        if child == 0 {
            let plugin = Plugin::open();
            let ours = || assert!(fault::try_read::<u8>(std::ptr::null()).is_err());
            let theirs = || {
                assert_eq!((plugin.enable)(), 0);
                works(plugin.probe);
            };
            if ours_first {
                ours();
                theirs();
            } else {
                theirs();
                ours();
            }
            let object = Object::open(FIXUPS);
            assert_eq!((object.state)(), 0, "to whichever has the signals now");
            for _ in 0..1000 {
                works(plugin.probe);
                works(object.probe);
                ours();
            }
            object.close();
            works(plugin.probe);
            ours();
            assert!(!plugin.handle.is_null());
            unsafe { libc::_exit(0) };
        }
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "ours first: {ours_first}");
    }
}
