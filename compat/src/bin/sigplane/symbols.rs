//! Which function of which file an address is in.

use cpp_demangle::DemangleOptions;
use object::{Object, ObjectSymbol, SymbolKind};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The functions of files, read when first asked for.
#[derive(Default)]
pub struct Symbols {
    files: HashMap<PathBuf, Vec<Function>>,
    /// Where the paths begin, if not here: the root of a process in a container.
    root: Option<PathBuf>,
}

struct Function {
    start: u64,
    size: u64,
    /// As the linker has it.
    name: String,
}

impl Symbols {
    /// Of files as a process sees them.
    pub fn of(pid: i32) -> Self {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        Self { root: root.is_dir().then_some(root), ..Self::default() }
    }

    /// The function at `address` of the file (load address already subtracted), and the distance.
    pub fn function(&mut self, path: &Path, address: u64) -> Option<(String, u64)> {
        if !self.files.contains_key(path) {
            let seen = self.root.as_ref().zip(path.strip_prefix("/").ok());
            let seen = seen.and_then(|(root, rest)| read(&root.join(rest)));
            self.files.insert(path.to_owned(), seen.or_else(|| read(path)).unwrap_or_default());
        }
        let functions = self.files.get(path)?;
        let behind = functions.partition_point(|function| function.start <= address);
        // Several names of one function: the shortest of those that reach so far.
        let candidates = functions[..behind].iter().rev().take(16);
        let found =
            candidates
                .filter(|function| address < function.start + function.size.max(1))
                .max_by_key(|function| (function.start, core::cmp::Reverse(function.name.len())))?;
        Some((demangled(&found.name), address - found.start))
    }
}

fn read(path: &Path) -> Option<Vec<Function>> {
    let bytes = std::fs::read(path).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    let mut functions: Vec<_> = file
        .symbols()
        .chain(file.dynamic_symbols())
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
        .filter_map(|symbol| {
            let name = symbol.name().ok()?.to_owned();
            Some(Function { start: symbol.address(), size: symbol.size(), name })
        })
        .collect();
    functions.sort_by_key(|function| function.start);
    Some(functions)
}

/// As the source has it, without Rust's hashes, and without C++'s parameters and results, which are longer than
/// a table is wide. Names of C stay as they are.
fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    let options = DemangleOptions::new().no_params().no_return_type();
    let symbol = cpp_demangle::Symbol::new(name).ok();
    let cxx = symbol.and_then(|symbol| symbol.demangle_with_options(&options).ok());
    cxx.unwrap_or_else(|| name.to_owned())
}

/// The load address of the file that begins at `start` in memory: what to subtract from an address.
pub fn bias(path: &Path, start: u64) -> Option<u64> {
    let bytes = std::fs::read(path).ok()?;
    let file = object::File::parse(&*bytes).ok()?;
    use object::ObjectSegment;
    let first = file.segments().map(|segment| segment.address()).min()?;
    Some(start.wrapping_sub(first & !0xfff))
}

/// The addresses of symbols of the file, load address not added.
pub fn addresses_of<const N: usize>(path: &Path, names: [&str; N]) -> [Option<u64>; N] {
    let Ok(bytes) = std::fs::read(path) else { return [None; N] };
    let Ok(file) = object::File::parse(&*bytes) else { return [None; N] };
    names.map(|name| {
        let mut symbols =
            file.dynamic_symbols().chain(file.symbols()).filter(|symbol| symbol.is_definition());
        symbols.find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address())
    })
}
