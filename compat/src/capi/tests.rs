//! What can be seen without a signal: texts, handles, pointers.

use super::abi::*;
use super::{access, handle, memory, status};
use core::ffi::CStr;
use sigplane::FaultKind;

fn text(error: i32) -> &'static CStr {
    // SAFETY: takes any number.
    let at = unsafe { status::strerror(error) };
    // SAFETY: never null, never freed.
    unsafe { CStr::from_ptr(at) }
}

#[test]
fn every_error_has_its_own_text() {
    let errors = CONSTANTS.iter().filter(|(name, _)| name.starts_with("SIGPLANE_E_"));
    let mut texts: Vec<_> = errors.map(|(_, number)| text(*number as i32)).collect();
    let all = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), all);
    assert!(!texts.contains(&text(i32::MAX)), "{:?}", text(i32::MAX));
}

#[test]
fn kinds_of_faults_have_the_texts_of_the_rust_side() {
    for kind in
        [FaultKind::Unmapped, FaultKind::NoMemory, FaultKind::Step, FaultKind::StackOverflow]
    {
        let (_, text) = access::described(kind);
        assert_eq!(text.to_str().unwrap(), kind.to_string());
    }
}

#[test]
fn numbers_that_are_no_handles() {
    for id in [0, 1, 2, 1 << 32, 1 << 32 | 1, u64::MAX, u64::MAX >> 32] {
        assert_eq!(handle::hold(id, handle::Kind::Region).err(), Some(E_HANDLE), "{id:#x}");
    }
}

#[test]
fn pointers_to_nothing() {
    assert_eq!(memory::read::<u64>(core::ptr::null()), Err(E_NULL));
    for at in [1, 4096, 1 << 47, 1 << 63, usize::MAX - 3] {
        let at = core::ptr::without_provenance_mut::<u64>(at);
        assert_eq!(memory::read(at.cast_const()), Err(E_POINTER), "{at:?}");
        assert_eq!(memory::write(at, 1), Err(E_POINTER), "{at:?}");
        assert_eq!(memory::text(at.cast_const().cast()), Err(E_POINTER), "{at:?}");
    }
    let constant = c"in read-only memory";
    assert_eq!(memory::probe(constant.as_ptr().cast_mut().cast::<u8>()), Err(E_POINTER));
    assert_eq!(memory::text(constant.as_ptr()).as_deref(), Ok("in read-only memory"));
}
