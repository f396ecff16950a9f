//! An object file that is mapped into the process: its tables for unwinding, and its names.
//!
//! Names and lines are those of the debug information if there is some, and of the symbol table otherwise.

use crate::process::{Mapping, Process};
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use addr2line::{Context, demangle_auto};
use framehop::{ExplicitModuleSectionInfo, Module};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol, SymbolKind};
use std::convert::Infallible;
use std::fmt::Write;
use std::ops::Range;

type Bytes<'data> = EndianSlice<'data, LittleEndian>;

/// What is in the file of a mapping.
pub struct Image<'data> {
    /// What its addresses in the file are lower by than those in memory.
    base: u64,
    /// Where it is.
    pub range: Range<u64>,
    debug: Option<Context<Bytes<'data>>>,
    symbols: Vec<(Range<u64>, &'data str)>,
}

impl<'data> Image<'data> {
    /// Understands the `data` of the file that begins with `mapping`.
    pub fn of(
        process: &Process,
        mapping: &Mapping,
        data: &'data [u8],
    ) -> Option<(Self, Module<Vec<u8>>)> {
        let path = &mapping.path;
        let file = object::File::parse(data).ok()?;
        let first = file.segments().map(|segment| segment.address()).min()? & !0xfff;
        let start = mapping.range.start;
        let same = process.maps.iter().filter(|other| other.path == *path);
        let range = start..same.map(|other| other.range.end).max()?;
        let module = Module::new(path.clone(), range.clone(), start, sections(&file, first));
        let base = start.wrapping_sub(first);
        Some((Self { base, range, debug: debug(&file), symbols: symbols(&file) }, module))
    }

    /// Writes the functions at an address, inlined ones first, and where they are. Whether there are any.
    pub fn name(&self, address: u64, text: &mut String) -> bool {
        let probe = address.wrapping_sub(self.base);
        let mut found = false;
        let frames = self.debug.as_ref().map(|debug| debug.find_frames(probe).skip_all_loads());
        if let Some(Ok(mut frames)) = frames {
            while let Ok(Some(frame)) = frames.next() {
                let Some(function) = &frame.function else { continue };
                let Ok(function) = function.demangle() else { continue };
                let indent = if found { "                            " } else { "" };
                let _infallible = writeln!(text, "{indent}{function}");
                if let Some((file, line)) = frame.location.and_then(|at| Some((at.file?, at.line?)))
                {
                    let _infallible =
                        writeln!(text, "                              at {file}:{line}");
                }
                found = true;
            }
        }
        let symbol = || self.symbols.iter().find(|(range, _)| range.contains(&probe));
        if !found && let Some((_, name)) = symbol() {
            let _infallible = writeln!(text, "{}", demangle_auto((*name).into(), None));
            found = true;
        }
        found
    }
}

/// What the unwinder needs.
fn sections(file: &object::File<'_>, base_svma: u64) -> ExplicitModuleSectionInfo<Vec<u8>> {
    let section = |name: &str| {
        let section = file.section_by_name(name)?;
        let range = section.address()..section.address() + section.size();
        Some((range, section.data().ok()?.to_vec()))
    };
    let (text_svma, text) = section(".text").unzip();
    let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
    let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
    let got_svma = section(".got").map(|(range, _)| range);
    ExplicitModuleSectionInfo {
        base_svma,
        text_svma,
        text,
        got_svma,
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        ..Default::default()
    }
}

fn debug<'data>(file: &object::File<'data>) -> Option<Context<Bytes<'data>>> {
    let load = |id: SectionId| -> Result<Bytes<'data>, Infallible> {
        let section = file.section_by_name(id.name());
        let data = section.and_then(|section| section.data().ok()).unwrap_or_default();
        Ok(EndianSlice::new(data, LittleEndian))
    };
    let Ok(sections) = Dwarf::load(load);
    Context::from_dwarf(sections).ok()
}

fn symbols<'data>(file: &object::File<'data>) -> Vec<(Range<u64>, &'data str)> {
    let all = file.symbols().chain(file.dynamic_symbols());
    let functions = all.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() != 0);
    functions
        .filter_map(|symbol| {
            let range = symbol.address()..symbol.address() + symbol.size();
            Some((range, symbol.name().ok()?))
        })
        .collect()
}
