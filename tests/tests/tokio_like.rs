//! `sigplane_async::tokio_like` beside `tokio::signal`: where they shall be equal, one program text is
//! compiled and run against each of them, so that equality is shown; where they differ, each side shows
//! what the documentation says of it.
//!
//! * `tokio_like/signatures.rs`: names, signatures, constants and traits, checked by compiling.
//! * `tokio_like/scenarios.rs`: what tokio tests of its own signals (its `tests/signal_*.rs`), and what
//!   else programs rely on. Each in a process of its own, on both kinds of runtime.
//! * `tokio_like/differences.rs`: each row of the documentation's table that can be shown in a process.
//!
//! Issue "Async", what must be shown, 7.

use sigplane_tests::{DEADLINE, Exit, Running, Suite, victim};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use tokio::runtime::{Builder, Runtime};

/// The one line that changes, and a name for victims. The two modules that follow a definition see it.
macro_rules! under_test {
    () => {
        use tokio::signal;
        #[allow(dead_code, reason = "not every file has victims")]
        const SIDE: &str = "tokio";
    };
}
#[path = "tokio_like/signatures.rs"]
mod signatures_of_tokio;
#[path = "tokio_like/scenarios.rs"]
mod with_tokio;

macro_rules! under_test {
    () => {
        use sigplane_async::tokio_like as signal;
        #[allow(dead_code, reason = "not every file has victims")]
        const SIDE: &str = "sigplane";
    };
}
#[allow(clippy::duplicate_mod, reason = "that is the test: the same text with another `use`")]
#[path = "tokio_like/signatures.rs"]
mod signatures_of_sigplane;
#[allow(clippy::duplicate_mod, reason = "that is the test: the same text with another `use`")]
#[path = "tokio_like/scenarios.rs"]
mod with_sigplane;

#[path = "tokio_like/differences.rs"]
mod differences;

/// Makes the runtime of a scenario.
type Build = fn() -> Runtime;

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn multi_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Sends this process a signal, by neither library's means.
fn send(signal: i32) {
    assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0, "signal {signal}");
}

/// Awaits what has to happen.
async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("it did not happen before the deadline")
}

/// The file in which `body` panics.
fn panics_in(body: impl FnOnce()) -> Option<String> {
    static FILE: Mutex<Option<String>> = Mutex::new(None);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| {
        *FILE.lock().unwrap() = panic.location().map(|place| place.file().to_owned());
    }));
    let panicked = catch_unwind(AssertUnwindSafe(body)).is_err();
    std::panic::set_hook(hook);
    panicked.then(|| FILE.lock().unwrap().take().expect("a panic has a place"))
}

/// How the victim of this name ends.
fn end_of(name: &str) -> Exit {
    Running::start(victim(name)).wait()
}

/// Scenarios for each side and each kind of runtime, those for each side, and the tests of one side.
macro_rules! tests {
    ($($scenario:ident)*; $($alone:ident)*; $($single:ident)*) => {
        &[
            $(
                (concat!(stringify!($scenario), "::tokio::current_thread"),
                    || with_tokio::$scenario(current_thread)),
                (concat!(stringify!($scenario), "::tokio::multi_thread"),
                    || with_tokio::$scenario(multi_thread)),
                (concat!(stringify!($scenario), "::sigplane::current_thread"),
                    || with_sigplane::$scenario(current_thread)),
                (concat!(stringify!($scenario), "::sigplane::multi_thread"),
                    || with_sigplane::$scenario(multi_thread)),
            )*
            $(
                (concat!(stringify!($alone), "::tokio"), with_tokio::$alone),
                (concat!(stringify!($alone), "::sigplane"), with_sigplane::$alone),
            )*
            $((concat!("differences::", stringify!($single)), differences::$single),)*
        ]
    };
}

fn main() {
    Suite {
        tests: tests! {
            ctrl_c ctrl_c_in_a_task ctrl_c_again
            one two twice both_are_told others_are_dropped dropped_and_made_anew
            runtime_dropped many_runtimes moved_to_another_runtime awaited_outside
            realtime cancelled by_hand while_nobody_awaits ignored_before children a_task_panics;

            ctrl_c_listens_when_polled merged panics_at_the_caller kinds;

            last_listener_dropped second_ctrl_c ctrl_c_that_lost ctrl_c_in_a_loop_with_one_held
            before_the_listener_on_tokio before_the_listener_on_sigplane
            no_runtime_on_tokio no_runtime_on_sigplane
            no_driver_and_no_kind
            polled_without_a_driver_on_tokio polled_without_a_driver_on_sigplane
            left_by_its_runtime_on_tokio left_by_its_runtime_on_sigplane
            refusals descriptors
        },
        victims: &[
            ("tokio::unpolled", with_tokio::unpolled),
            ("sigplane::unpolled", with_sigplane::unpolled),
            ("tokio::dropped", with_tokio::dropped),
            ("sigplane::dropped", with_sigplane::dropped),
            ("tokio::completed", with_tokio::completed),
            ("sigplane::completed", with_sigplane::completed),
            ("tokio::lost", with_tokio::lost),
            ("sigplane::lost", with_sigplane::lost),
        ],
    }
    .main()
}
