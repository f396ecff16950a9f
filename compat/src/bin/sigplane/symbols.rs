//! Which function of which file an address is in.

use object::{Object, ObjectSymbol, SymbolKind};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The functions of files, read when first asked for.
#[derive(Default)]
pub struct Symbols {
    files: HashMap<PathBuf, Vec<Function>>,
}

struct Function {
    start: u64,
    size: u64,
    name: String,
}

impl Symbols {
    /// The function at `address` of the file (load address already subtracted), and the distance.
    pub fn function(&mut self, path: &Path, address: u64) -> Option<(String, u64)> {
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), read(path).unwrap_or_default());
        }
        let functions = self.files.get(path)?;
        let behind = functions.partition_point(|function| function.start <= address);
        // Several names of one function: the first one that reaches so far.
        let candidates = functions[..behind].iter().rev().take(16);
        let found =
            candidates
                .filter(|function| address < function.start + function.size.max(1))
                .max_by_key(|function| (function.start, core::cmp::Reverse(function.name.len())))?;
        Some((found.name.clone(), address - found.start))
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
            let name = demangled(symbol.name().ok()?);
            Some(Function { start: symbol.address(), size: symbol.size(), name })
        })
        .collect();
    functions.sort_by_key(|function| function.start);
    Some(functions)
}

/// The old Rust scheme, read well enough for a table; other names stay as they are.
fn demangled(name: &str) -> String {
    let plain = || name.to_owned();
    let Some(mut rest) = name.strip_prefix("_ZN").and_then(|rest| rest.strip_suffix('E')) else {
        return plain();
    };
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (Ok(length), after) = (rest[..digits].parse::<usize>(), &rest[digits..]) else {
            return plain();
        };
        let Some(part) = after.get(..length) else { return plain() };
        parts.push(part);
        rest = &after[length..];
    }
    let is_hash = |part: &&str| part.len() == 17 && part.starts_with('h');
    if parts.last().is_some_and(is_hash) {
        parts.pop();
    }
    parts.join("::").replace("$LT$", "<").replace("$GT$", ">").replace("$u20$", " ")
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
