//! Faults in this shared object, for the programs of `tests/fault_neighbours.rs` that are not Rust's:
//! Python finds the functions by name, Java by the names that JNI gives them.

use sigplane::{FaultKind, Signal, fault, table};
use std::ptr;

/// Makes the signals of faults sigplane's, or again. 0, or -1.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_enable() -> i32 {
    if fault::enable().is_ok() { 0 } else { -1 }
}

/// Tries safe access and a guarded call: 0, or the number of what went wrong.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_probe() -> i32 {
    let good = 7u64;
    if fault::try_read(&raw const good).ok() != Some(7) {
        return 1;
    }
    let at = |address: usize| ptr::without_provenance::<u64>(address);
    if fault::try_read(at(16)).map_err(|fault| fault.kind()) != Err(FaultKind::Unmapped) {
        return 2;
    }
    // SAFETY: it is not sound where nothing guards it.
    let read = || unsafe { at(24).read_volatile() };
    // SAFETY: it holds nothing where it faults.
    let guarded = unsafe { fault::guarded(read) };
    match guarded {
        Err(fault) if fault.address() == Some(24) => 0,
        _ => 3,
    }
}

/// Whether somebody has taken SIGSEGV from sigplane: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_taken_over() -> i32 {
    table().row(Signal::SEGV).is_some_and(|row| row.taken_over).into()
}

/// `plugin_enable` for the Java class `Neighbour`: the environment and the class are not used.
#[unsafe(no_mangle)]
pub extern "C" fn Java_Neighbour_enable() -> i32 {
    plugin_enable()
}

/// `plugin_probe` for it.
#[unsafe(no_mangle)]
pub extern "C" fn Java_Neighbour_probe() -> i32 {
    plugin_probe()
}
