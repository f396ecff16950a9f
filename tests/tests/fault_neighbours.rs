//! Others that handle faults in the same process: Rust's own stack-overflow handler, CPython's
//! faulthandler, a Java VM, C crash handlers; each first, last, and last with sigplane in front again.
//! Issue line 5 and "Coexistence"; and the example `crash_report`, which is one itself. For wasmtime
//! see the package `tests/wasm`.

#[path = "fault_neighbours/c_handler.rs"]
mod c_handler;
#[path = "fault_neighbours/crash_report.rs"]
mod crash_report;
#[path = "fault_neighbours/other_runtimes.rs"]
mod other_runtimes;
#[path = "fault_neighbours/probe.rs"]
mod probe;
#[path = "fault_neighbours/rust_overflow.rs"]
mod rust_overflow;

fn main() {
    sigplane_tests::Suite {
        tests: &[
            ("rust_overflow", rust_overflow::rust_overflow),
            ("rust_overflow_taken", rust_overflow::taken),
            ("c_handler_first", c_handler::first),
            ("c_handler_last", c_handler::last),
            ("c_handler_behind_again", c_handler::behind_again),
            ("python_faulthandler", other_runtimes::python),
            ("java", other_runtimes::java),
            ("crash_report", crash_report::reports),
            ("crash_report_leaves_nothing", crash_report::leaves_nothing),
        ],
        victims: &[("overflows", rust_overflow::overflows), ("has_c_handler", c_handler::victim)],
    }
    .main()
}
