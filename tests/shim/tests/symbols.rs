//! Which names the shim puts in front of libc's: `design/libc-functions.md`, libc itself and the shared
//! object say the same (issue: "`design/` says for each libc function that touches signals why it is or
//! is not, checked by a test that lists the libc's dynamic symbols").

use object::Endianness;
use object::elf::{FileHeader64, SHN_UNDEF, SHT_DYNSYM, STB_LOCAL, STT_NOTYPE};
use object::read::elf::{FileHeader, Sym};
use sigplane_tests::{Suite, skip};
use sigplane_tests_shim::library;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// A function whose name contains one of these could concern signals. Too many are picked rather than too
/// few: what has nothing to do with them is said so in the document.
const WORDS: &str = "sig setjmp longjmp context fork exec spawn popen _IO_proc_ system abort assert chk_fail \
    raise kill timer timed alarm aio_ lio_listio mq_ gai_ getaddrinfo_a pthread_create thrd_create \
    pthread_cancel pthread_exit thrd_exit unwind poll select syscall clone daemon wordexp dlopen dlclose \
    dlmopen dlsym dlvsym profil mcount monst moncontrol _mcleanup pidfd prctl ptrace sleep pause wait \
    lckpwdf rcmd getpass getut pututline pututx updwtmp fcntl ioctl";

/// Defined dynamic symbols of a shared object, with their versions ("" for none).
fn exports(path: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let data = std::fs::read(path).expect("the object can be read");
    let data = data.as_slice();
    let header = FileHeader64::<Endianness>::parse(data).expect("an ELF header");
    let endian = header.endian().expect("a byte order");
    let sections = header.sections(endian, data).expect("sections");
    let versions = sections.versions(endian, data).expect("version sections");
    let symbols = sections.symbols(endian, data, SHT_DYNSYM).expect("dynamic symbols");
    let mut names = BTreeMap::<String, BTreeSet<String>>::new();
    for (index, symbol) in symbols.enumerate() {
        let binding = symbol.st_bind();
        if symbol.st_shndx(endian) == SHN_UNDEF || binding == STB_LOCAL {
            continue;
        }
        let name = symbol.name(endian, symbols.strings()).expect("a name");
        let name = String::from_utf8_lossy(name).into_owned();
        let version = versions.as_ref().and_then(|table| {
            let index = table.version_index(endian, index);
            table.version(index.into()).ok().flatten()
        });
        let version =
            version.map_or(String::new(), |v| String::from_utf8_lossy(v.name()).into_owned());
        // The names of the versions themselves are absolute symbols without a type.
        if symbol.st_type() == STT_NOTYPE && name == version {
            continue;
        }
        names.entry(name).or_default().insert(version);
    }
    names
}

/// The libc that this process runs with.
fn libc_path() -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("our mappings");
    let path = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6"));
    path.map_or_else(|| skip("libc is not glibc, or linked statically"), PathBuf::from)
}

/// One row's function in the document.
struct Row {
    wrapped: bool,
    versions: BTreeSet<String>,
}

/// The tables of the document: lines of four cells, the first with names in backquotes, each followed by
/// its versions in brackets where they are not 2.2.5 alone.
fn document() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../design/libc-functions.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "four cells: {line}");
        assert!(matches!(cells[1], "yes" | "no"), "wrapped, yes or no: {line}");
        assert!(!cells[2].is_empty(), "a reason: {line}");
        for entry in cells[0].split("`, ").flat_map(|part| part.split("), ")) {
            let (name, versions) =
                entry.trim_start_matches('`').split_once('`').unwrap_or((entry, ""));
            let name = name.trim_matches('`');
            let versions: BTreeSet<String> = versions
                .trim()
                .trim_matches(['(', ')'])
                .split(", ")
                .map(|version| if version.is_empty() { "2.2.5" } else { version })
                .map(|version| format!("GLIBC_{version}"))
                .collect();
            let row = Row { wrapped: cells[1] == "yes", versions };
            assert!(rows.insert(name.to_owned(), row).is_none(), "{name} is in the document twice");
        }
    }
    assert!(rows.len() > 100, "the tables of the document are found");
    rows
}

/// The words of the list pick every function that the document has as wrapped, so that a list with a hole
/// in it shows; what they pick in libc is in the document, with all its versions.
fn every_function_of_libc_is_in_the_document() {
    let rows = document();
    let picked = |name: &str| WORDS.split_whitespace().any(|word| name.contains(word));
    for (name, _) in rows.iter().filter(|(_, row)| row.wrapped) {
        assert!(picked(name), "the words do not pick {name}");
    }
    let mut missing = String::new();
    for (name, mut versions) in exports(&libc_path()) {
        versions.remove("GLIBC_PRIVATE");
        if versions.is_empty() || !picked(&name) {
            continue;
        }
        match rows.get(&name) {
            None => writeln!(missing, "{name} {versions:?} has no row"),
            Some(row) if !versions.is_subset(&row.versions) => {
                writeln!(missing, "{name}: libc has {versions:?}, the document {:?}", row.versions)
            }
            Some(_) => Ok(()),
        }
        .expect("to a string");
    }
    assert_eq!(missing, "", "to be added to design/libc-functions.md");
}

/// What is said to be wrapped is exported; what is exported and libc's is said to be wrapped.
fn the_document_and_the_shared_object_agree() {
    let rows = document();
    let ours = exports(&library());
    let libc = exports(&libc_path());
    let mut wrong = String::new();
    for (name, _) in rows.iter().filter(|(_, row)| row.wrapped) {
        if !ours.contains_key(name) {
            writeln!(wrong, "{name} is wrapped, says the document, and is not exported")
                .expect("to a string");
        }
    }
    for name in ours.keys().filter(|name| libc.contains_key(*name)) {
        if !rows.get(name).is_some_and(|row| row.wrapped) {
            writeln!(wrong, "{name} is exported, and not wrapped, says the document")
                .expect("to a string");
        }
    }
    assert_eq!(wrong, "");
}

/// Nothing else is exported than is committed: a name of Rust's or of a dependency's that slips out could
/// get in front of somebody else's. `SIGPLANE_BLESS=1` writes the list anew.
fn exports_are_those_committed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("exports.txt");
    let now: String = exports(&library()).into_keys().map(|name| name + "\n").collect();
    if std::env::var_os("SIGPLANE_BLESS").is_some() {
        std::fs::write(&path, &now).expect("the list can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("the list");
    let (now, committed): (BTreeSet<_>, BTreeSet<_>) =
        (now.lines().collect(), committed.lines().collect());
    let new: Vec<_> = now.difference(&committed).collect();
    let gone: Vec<_> = committed.difference(&now).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:?}, gone: {gone:?}");
}

fn main() {
    Suite {
        tests: &[
            (
                "every_function_of_libc_is_in_the_document",
                every_function_of_libc_is_in_the_document,
            ),
            ("the_document_and_the_shared_object_agree", the_document_and_the_shared_object_agree),
            ("exports_are_those_committed", exports_are_those_committed),
        ],
        victims: &[],
    }
    .main()
}
