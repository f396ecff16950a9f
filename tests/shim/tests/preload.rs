//! The library can be preloaded, and a program does not notice.

use sigplane_tests::Suite;
use sigplane_tests_shim::program::{Scratch, alike, observe};
use sigplane_tests_shim::{Mode, compile};
use std::process::Command;

/// A program runs, says the same and nothing more, and ends in the same way.
fn says_nothing() {
    for mode in Mode::ALL {
        let mut command = Command::new("sh");
        mode.apply(command.args(["-c", "echo out; exit 7"]));
        let output = command.output().expect("sh runs");
        assert_eq!(output.status.code(), Some(7), "{mode:?}");
        assert_eq!(output.stdout, b"out\n", "{mode:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{mode:?}");
    }
}

/// Handlers that are set before the library's own constructor has run work as any others: by a library that the
/// program needs, by the program before all constructors, and by another preloaded library.
fn handlers_set_early() {
    let scratch = Scratch::new("early");
    let folder = scratch.path().to_str().expect("a path in UTF-8");
    let library = scratch.path().join("libearly.so");
    compile::shared("preload/early.c", library.clone(), &[]);
    let path = format!("-Wl,-rpath,{folder}");
    let linked = ["-Wl,--no-as-needed", "-L", folder, "-learly", &path];
    let program = compile::c("preload/early_main.c", scratch.path().join("early"), &linked);
    let model = alike(|mode| observe(mode, Command::new(&program)));
    assert_eq!(model, "handled\n".repeat(3) + "handled 2 of two\nCode(0)\n");

    for library_first in [false, true] {
        let model = alike(|mode| {
            let mut command = Command::new("true");
            mode.apply(&mut command);
            let ours = sigplane_tests_shim::library();
            let mut preloaded = vec![library.as_path()];
            if mode != Mode::Bare {
                preloaded.insert(usize::from(library_first), &ours);
            }
            let preloaded: Vec<_> = preloaded.iter().map(|path| path.to_string_lossy()).collect();
            command.env("LD_PRELOAD", preloaded.join(" "));
            sigplane_tests_shim::program::observe_as_it_is(command)
        });
        assert_eq!(model, "handled\nCode(0)\n", "{library_first}");
    }
}

/// Who has opened it and closes it has it stay.
fn stays_loaded() {
    let scratch = Scratch::new("unload");
    let options = ["-pthread", "-ldl"];
    let program = compile::c("preload/unload.c", scratch.path().join("unload"), &options);
    let mut command = Command::new(program);
    command.arg(sigplane_tests_shim::library());
    assert_eq!(observe(Mode::Bare, command), "closed: 0\nseen: 1\nCode(0)\n");
}

fn main() {
    Suite {
        tests: &[
            ("says_nothing", says_nothing),
            ("handlers_set_early", handlers_set_early),
            ("stays_loaded", stays_loaded),
        ],
        victims: &[],
    }
    .main()
}
