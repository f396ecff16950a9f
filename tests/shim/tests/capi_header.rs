//! `sigplane.h` is what the library is: compared with the Rust side in every size, offset, constant and prototype,
//! and the library's exports with the prototypes. The comparison itself is tested with headers that have drifted.
//!
//! For issue 4, "C API … generated or checked against the Rust side so that it cannot drift".

#[path = "capi_header/parse.rs"]
mod parse;

use object::{Object, ObjectSymbol};
use parse::{Forwarder, Header};
use sigplane_compat::capi::{CONSTANTS, LAYOUTS};
use sigplane_tests::Suite;
use sigplane_tests_shim::library;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn header() -> String {
    std::fs::read_to_string(root().join("compat/include/sigplane.h")).expect("the header")
}

fn fixup_header() -> String {
    std::fs::read_to_string(root().join("core/include/sigplane/fixup.h")).expect("fixup.h")
}

fn forwarders() -> Vec<Forwarder> {
    let source = std::fs::read_to_string(root().join("compat/shim/src/capi.rs")).expect("capi.rs");
    parse::forwarders(&source)
}

/// What the Rust side says, as assertions in C.
fn assertions() -> String {
    let mut out = String::from("#include <sigplane.h>\n#include <stddef.h>\n");
    for layout in LAYOUTS {
        let name = layout.name;
        let _ = writeln!(out, "_Static_assert(sizeof({name}) == {}, \"{name}\");", layout.size);
        for (field, offset, size) in layout.fields {
            let _ = writeln!(
                out,
                "_Static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field} is elsewhere\");\n\
                 _Static_assert(sizeof((({name} *)0)->{field}) == {size}, \"{name}.{field} has another size\");"
            );
        }
    }
    for (name, value) in CONSTANTS {
        let _ = writeln!(out, "_Static_assert((long long){name} == {value}, \"{name}\");");
    }
    out
}

/// What the C compiler says of the assertions, with this text as the header.
fn compile(name: &str, header: &str) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("header-{name}"));
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("sigplane.h"), header).expect("written");
    let source = folder.join("check.c");
    std::fs::write(&source, assertions()).expect("written");
    let output = Command::new("cc")
        .args(["-std=c11", "-fsyntax-only", "-I"])
        .arg(&folder)
        .arg("-I")
        .arg(root().join("core/include"))
        .arg(&source)
        .output()
        .expect("a C compiler");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

/// Every way in which a header differs from the Rust side, in what the compiler cannot see.
fn differences(header: &str) -> Vec<String> {
    let header = Header::parse(header);
    let mut found = Vec::new();

    let known: BTreeSet<_> = CONSTANTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for name in header.constants.iter().filter(|name| !known.contains(*name)) {
        found.push(format!("{name} is not known to the Rust side"));
    }
    for (name, fields) in &header.structures {
        let layout =
            LAYOUTS.iter().find(|layout| layout.name.trim_start_matches("struct ") == name);
        let ours =
            layout.map(|layout| layout.fields.iter().map(|(field, ..)| *field).collect::<Vec<_>>());
        if ours.as_deref() != Some(&fields.iter().map(String::as_str).collect::<Vec<_>>()[..]) {
            found.push(format!("{name}: the header has {fields:?}, the Rust side {ours:?}"));
        }
    }
    for layout in LAYOUTS {
        let name = layout.name.trim_start_matches("struct ");
        if !header.structures.iter().any(|(other, _)| other == name) {
            found.push(format!("{name} is not in the header"));
        }
    }
    let forwarders = forwarders();
    for prototype in &header.prototypes {
        match forwarders.iter().find(|forwarder| forwarder.name == prototype.name) {
            None => found.push(format!("{} has no forwarder", prototype.name)),
            Some(forwarder) if forwarder != prototype => {
                found.push(format!("the header has {prototype:?}, the Rust side {forwarder:?}"));
            }
            Some(_) => {}
        }
    }
    for forwarder in &forwarders {
        if !header.prototypes.iter().any(|prototype| prototype.name == forwarder.name) {
            found.push(format!("{} is not in the header", forwarder.name));
        }
    }
    found
}

// Sizes, offsets and constants, by a C compiler; names and prototypes, by their text.
fn header_is_the_rust_side() {
    compile("as-it-is", &header()).unwrap();
    assert_eq!(differences(&header()), Vec::<String>::new());
    assert!(Header::parse(&header()).prototypes.len() >= 60, "the parser finds them");
    // The error numbers that fixup.h has are not in sigplane.h.
    let theirs = Header::parse(&fixup_header()).constants;
    assert!(theirs.iter().all(|name| CONSTANTS.iter().any(|(ours, _)| ours == name)), "{theirs:?}");
}

// The library exports exactly the functions that the header promises, under sigplane's prefix.
fn exports_are_the_prototypes() {
    let bytes = std::fs::read(library()).expect("the library");
    let file = object::File::parse(&*bytes).expect("an object");
    let exported: BTreeSet<_> = file
        .dynamic_symbols()
        .filter(|symbol| symbol.is_definition() && symbol.is_global())
        .filter_map(|symbol| symbol.name().ok().map(str::to_owned))
        .filter(|name| name.starts_with("sigplane_"))
        .collect();
    let promised: BTreeSet<_> =
        Header::parse(&header()).prototypes.into_iter().map(|prototype| prototype.name).collect();
    assert_eq!(exported, promised);
}

// Each of these is a header that somebody has changed on one side only.
fn drift_is_found() {
    let compiled: &[(&str, &str, &str)] = &[
        ("constant", "SIGPLANE_E_HANDLE = 18", "SIGPLANE_E_HANDLE = 19"),
        ("flag", "#define SIGPLANE_HAS_POLL 0x40u", "#define SIGPLANE_HAS_POLL 0x41u"),
        ("set", "UINT64_C(0x400004d8)", "UINT64_C(0x400004d0)"),
        ("order", "    int32_t signo;\n    int32_t code;", "    int32_t code;\n    int32_t signo;"),
        ("type", "    uint64_t capacity;", "    uint32_t capacity;"),
        ("abi", "#define SIGPLANE_ABI 1 ", "#define SIGPLANE_ABI 2 "),
        ("gone", "    uint32_t depth; ", "    uint32_t depth_; "),
    ];
    for (name, from, to) in compiled {
        let changed = header().replacen(from, to, 1);
        assert_ne!(changed, header(), "{name}");
        let said = compile(name, &changed).expect_err(name);
        assert!(
            said.contains("static assertion") || said.contains("has no member"),
            "{name}: {said}"
        );
    }
    let read: &[(&str, &str)] = &[
        ("int sigplane_wait(int64_t timeout_ns);", "int sigplane_wait(int timeout_ns);"),
        ("int sigplane_send(int pid, int signo);", "long sigplane_send(int pid, int signo);"),
        ("uint64_t sigplane_set_all(void);", "uint64_t sigplane_set_everything(void);"),
        ("(const void *from, uint8_t *value,", "(const void *from, const uint8_t *value,"),
        ("SIGPLANE_API int sigplane_raise(int signo);", ""),
        ("#define SIGPLANE_OBSERVE 0x1u", "#define SIGPLANE_OBSERVES 0x1u"),
        ("    uint64_t queued, taken,", "    uint64_t queued, lost, taken,"),
    ];
    for (from, to) in read {
        let changed = header().replacen(from, to, 1);
        assert_ne!(changed, header(), "{from}");
        assert_ne!(differences(&changed), Vec::<String>::new(), "{to}");
    }
}

fn main() {
    Suite {
        tests: &[
            ("header_is_the_rust_side", header_is_the_rust_side),
            ("exports_are_the_prototypes", exports_are_the_prototypes),
            ("drift_is_found", drift_is_found),
        ],
        victims: &[],
    }
    .main()
}
