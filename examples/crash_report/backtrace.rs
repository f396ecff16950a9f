//! The frames of the thread that crashed, with names.
//!
//! Frames are found by the tables that compilers write for exceptions (`.eh_frame`), which every Rust
//! program has, optimised or not; where there are none, by frame pointers.

use crate::image::Image;
use crate::process::{Mapping, Process};
use crate::record::Record;
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{FrameAddress, Unwinder};
use std::fmt::Write;

/// Of a recursion, a large stack holds so many.
const FRAMES: usize = 1 << 20;

/// The backtrace, a line or more for each frame.
pub fn text(process: &Process, record: &Record) -> String {
    let (Some(pc), Some(sp), Some(fp)) = (record.pc(), record.sp(), record.fp()) else {
        return "  unknown: the signal had been deferred\n".to_owned();
    };
    let files = files(process);
    let mut unwinder = UnwinderX86_64::<Vec<u8>>::new();
    let mut images: Vec<Image<'_>> = Vec::new();
    for (mapping, data) in &files {
        if let Some((image, module)) = Image::of(process, mapping, data) {
            unwinder.add_module(module);
            images.push(image);
        }
    }
    let mut cache = CacheX86_64::new();
    let mut read = |address| process.word(address).ok_or(());
    let registers = UnwindRegsX86_64::new(pc, sp, fp);
    let mut frames = unwinder.iter_frames(pc, registers, &mut cache, &mut read);
    let (mut text, mut last, mut repeated) = (String::new(), 0, 0);
    for count in 0..FRAMES {
        let next = frames.next();
        let address = next.as_ref().ok().and_then(|frame| Some(frame.as_ref()?.address()));
        if address == Some(last) {
            repeated += 1;
            continue;
        }
        if repeated > 0 {
            let _infallible = writeln!(text, "        … the same, {repeated} times more");
            repeated = 0;
        }
        match next {
            Ok(Some(frame)) => {
                last = frame.address();
                let _infallible = write!(text, "{count:6}  {last:#018x}  ");
                // Of a call, what counts is the instruction before the one it returns to.
                let of_call = matches!(frame, FrameAddress::ReturnAddress(_));
                name(process, &images, last - u64::from(of_call), &mut text);
            }
            Ok(None) => return text,
            Err(error) => {
                let _infallible = writeln!(text, "        … broken off: {error}");
                return text;
            }
        }
    }
    text.push_str("        … and more\n");
    text
}

/// The object files in the process, read as it sees them: it may live in another root directory.
fn files(process: &Process) -> Vec<(&Mapping, Vec<u8>)> {
    let mut files: Vec<(&Mapping, Vec<u8>)> = Vec::new();
    for mapping in process.maps.iter().filter(|it| it.offset == 0 && it.path.starts_with('/')) {
        if files.iter().any(|(other, _)| other.path == mapping.path) {
            continue;
        }
        let path = format!("/proc/{}/root{}", process.pid, mapping.path);
        // What is gone, or not to be read, has no names.
        files.extend(std::fs::read(path).ok().map(|data| (mapping, data)));
    }
    files
}

fn name(process: &Process, images: &[Image<'_>], address: u64, text: &mut String) {
    let image = images.iter().find(|image| image.range.contains(&address));
    if image.is_some_and(|image| image.name(address, text)) {
        return;
    }
    let _infallible = match process.mapping(address) {
        Some(mapping) => writeln!(text, "in {}", mapping.path),
        None => writeln!(text, "where nothing is mapped"),
    };
}
