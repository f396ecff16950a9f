//! What the tests of sigplane share: a process for each test, victims that die in named ways, and
//! waits with deadlines.
//!
//! Signals are process-global, so each test is a child process: the executable of a test file runs
//! itself once per test, and the test is the main function of that child, on its main thread, with no
//! other thread in the process. A *victim* is another function of the same file, run in a process of
//! its own whose end the test looks at.

mod child;
pub mod core_dump;
mod dice;
pub mod examples;
pub mod mask;
pub mod observer;
mod order;
pub mod raw;
mod storm;
mod suite;
mod wait;

pub use child::{Exit, Running, output_of, victim};
pub use dice::Dice;
pub use order::{InOrder, value};
pub use storm::{Storm, sender};
pub use suite::{Suite, quick, skip};
pub use wait::{DEADLINE, eventually};
