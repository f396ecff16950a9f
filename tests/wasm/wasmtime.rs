//! wasmtime, the runtime that relies most on faults, in the same process: made before and after sigplane
//! handles them, its own trap scenarios all still trap, and sigplane's safe access, guards and regions work.
//! Issue "Faults", line 5.

mod guest;
#[path = "../tests/fault_neighbours/probe.rs"]
mod probe;
mod traps;

fn main() {
    sigplane_tests::Suite {
        tests: &[
            ("first", traps::wasm_first),
            ("last", traps::wasm_last),
            ("before_a_subscription", traps::before_a_subscription),
            ("after_a_subscription", traps::after_a_subscription),
            ("inside_a_guard", traps::inside_a_guard),
        ],
        victims: &[("guards_wasm", traps::guards_wasm)],
    }
    .main()
}
