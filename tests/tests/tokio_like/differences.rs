//! Where the two differ: what the documentation's table says of each side, shown on that side.

use super::{current_thread, end_of, multi_thread, panics_in, send, within};
use futures::poll;
use sigplane_async::tokio_like;
use sigplane_tests::Exit;
use std::io::{Error, ErrorKind};
use std::pin::pin;
use std::task::{Context, Waker};
use tokio::runtime::{Builder, Runtime};
use tokio::signal as tokio_signal;

/// A runtime that can wait for time, and for nothing else.
fn without_io() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// tokio's `drop_then_get_a_signal` as far as the drop: with tokio the signal is thrown away, with
/// sigplane it has been given back.
pub fn last_listener_dropped() {
    assert_eq!(end_of("tokio::dropped"), Exit::Code(0));
    assert_eq!(end_of("sigplane::dropped").signal(), Some(libc::SIGUSR1));
}

/// A second Ctrl-C kills.
pub fn second_ctrl_c() {
    assert_eq!(end_of("tokio::completed"), Exit::Code(0));
    assert_eq!(end_of("sigplane::completed").signal(), Some(libc::SIGINT));
}

/// So does one in the gap between two rounds of a loop.
pub fn ctrl_c_that_lost() {
    assert_eq!(end_of("tokio::lost"), Exit::Code(0));
    assert_eq!(end_of("sigplane::lost").signal(), Some(libc::SIGINT));
}

/// The advice: a listener that nobody reads closes the gap.
pub fn ctrl_c_in_a_loop_with_one_held() {
    use tokio_like::{ctrl_c, unix};
    current_thread().block_on(async {
        let mut held = unix::signal(unix::SignalKind::interrupt()).expect("a listener");
        for _ in 0..300 {
            tokio::select! {
                biased;
                _ = ctrl_c() => unreachable!("it listens to what comes after its first poll"),
                () = tokio::task::yield_now() => {}
            }
            send(libc::SIGINT);
        }
        within(held.recv()).await.expect("all of them, merged");
        assert!(poll!(pin!(held.recv())).is_pending());
    });
}

/// tokio's `drop_then_get_a_signal` to its end: a signal that no runtime has passed on yet reaches a
/// listener made after it.
pub fn before_the_listener_on_tokio() {
    use tokio_signal::unix::{SignalKind, signal};
    current_thread().block_on(async {
        drop(signal(SignalKind::user_defined1()).expect("a listener"));
        send(libc::SIGUSR1);
        let mut late = signal(SignalKind::user_defined1()).expect("a listener");
        within(late.recv()).await.expect("what was before it");
    });
}

/// A listener is told of what comes after it was made. (Another one is held, or the signal would kill.)
pub fn before_the_listener_on_sigplane() {
    use tokio_like::unix::{SignalKind, signal};
    current_thread().block_on(async {
        let mut held = signal(SignalKind::user_defined1()).expect("a listener");
        send(libc::SIGUSR1);
        let mut late = signal(SignalKind::user_defined1()).expect("a listener");
        within(held.recv()).await.expect("the one that was there");
        assert!(poll!(pin!(late.recv())).is_pending(), "what was before it");
        send(libc::SIGUSR1);
        within(late.recv()).await.expect("what is after it");
    });
}

/// tokio's `no_runtime_panics_creating_signals`.
pub fn no_runtime_on_tokio() {
    use tokio_signal::unix::{SignalKind, signal};
    let place = panics_in(|| drop(signal(SignalKind::hangup())));
    assert_eq!(place.as_deref(), Some(file!()));
}

/// Made before there is a runtime, it misses nothing, and joins the one that polls it.
pub fn no_runtime_on_sigplane() {
    use tokio_like::unix::{SignalKind, signal};
    let mut listener = signal(SignalKind::hangup()).expect("a listener");
    send(libc::SIGHUP);
    for runtime in [current_thread(), multi_thread()] {
        runtime.block_on(async { within(listener.recv()).await }).expect("what was before");
        send(libc::SIGHUP);
    }
}

/// tokio asks for the driver first, sigplane for the kind.
pub fn no_driver_and_no_kind() {
    let runtime = without_io();
    let _guard = runtime.enter();
    let place = panics_in(|| drop(tokio_signal::unix::signal((-1).into())));
    assert_eq!(place.as_deref(), Some(file!()));
    assert!(tokio_like::unix::signal((-1).into()).is_err());
}

/// Any runtime that runs and has a driver wakes tokio's listeners, wherever they are polled.
pub fn polled_without_a_driver_on_tokio() {
    use tokio_signal::unix::{SignalKind, signal};
    let driver = multi_thread();
    let mut listener =
        driver.block_on(async { signal(SignalKind::user_defined1()).expect("a listener") });
    send(libc::SIGUSR1);
    without_io().block_on(async { within(listener.recv()).await }).expect("told by the other");
}

/// A listener of sigplane's belongs to the runtime that polls it, which has to have a driver.
pub fn polled_without_a_driver_on_sigplane() {
    use tokio_like::unix::{SignalKind, signal};
    let driver = multi_thread();
    let mut listener =
        driver.block_on(async { signal(SignalKind::user_defined1()).expect("a listener") });
    let without = without_io();
    let place = panics_in(|| {
        let _guard = without.enter();
        let _pending = listener.poll_recv(&mut Context::from_waker(Waker::noop()));
    });
    assert_eq!(place.as_deref(), Some(file!()));
    // It goes on where there is one.
    send(libc::SIGUSR1);
    driver.block_on(async { within(listener.recv()).await }).expect("told");
}

/// Nobody wakes the task: tokio's listener waits,
pub fn left_by_its_runtime_on_tokio() {
    use tokio_signal::unix::{SignalKind, signal};
    let runtime = current_thread();
    let mut listener =
        runtime.block_on(async { signal(SignalKind::user_defined1()).expect("a listener") });
    drop(runtime);
    assert!(listener.poll_recv(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// and sigplane's says so. What is there already can be had without anybody.
pub fn left_by_its_runtime_on_sigplane() {
    use tokio_like::unix::{SignalKind, signal};
    let runtime = current_thread();
    let mut listener =
        runtime.block_on(async { signal(SignalKind::user_defined1()).expect("a listener") });
    drop(runtime);
    let cx = &mut Context::from_waker(Waker::noop());
    send(libc::SIGUSR1);
    assert!(listener.poll_recv(cx).is_ready());
    let place = panics_in(|| assert!(listener.poll_recv(cx).is_pending()));
    assert_eq!(place.as_deref(), Some(file!()));
}

/// Every number: the same are refused, with the same kind of error, except for three.
pub fn refusals() {
    const FAULTS: [i32; 3] = [libc::SIGBUS, libc::SIGTRAP, libc::SIGSYS];
    let runtime = current_thread();
    let _guard = runtime.enter();
    let mut refused = 0;
    for number in (-2..=70).chain([i32::MIN, i32::MAX]) {
        let kind_of = |error: Error| error.kind();
        let theirs = tokio_signal::unix::signal(number.into()).map(drop).map_err(kind_of);
        let ours = tokio_like::unix::signal(number.into()).map(drop);
        if let Err(error) = &ours {
            refused += 1;
            assert!(!error.to_string().is_empty());
            let inner = error.get_ref().expect("it has a reason");
            assert!(inner.is::<sigplane::Error>(), "signal {number}: {error:?}");
        }
        let ours = ours.map_err(kind_of);
        if FAULTS.contains(&number) {
            assert_eq!((theirs, ours), (Ok(()), Err(ErrorKind::Other)), "signal {number}");
        } else {
            assert_eq!(theirs, ours, "signal {number}");
        }
    }
    assert!(refused > FAULTS.len());
}

/// A descriptor for each listener here, none in tokio.
pub fn descriptors() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let runtime = current_thread();
    let _guard = runtime.enter();
    let before = open();
    let theirs: Vec<_> = (0..10)
        .map(|_| tokio_signal::unix::signal(tokio_signal::unix::SignalKind::hangup()))
        .collect();
    assert_eq!(open(), before);
    let ours: Vec<_> =
        (0..10).map(|_| tokio_like::unix::signal(tokio_like::unix::SignalKind::hangup())).collect();
    assert_eq!(open(), before + 10);
    drop((theirs, ours));
    assert_eq!(open(), before);
}
