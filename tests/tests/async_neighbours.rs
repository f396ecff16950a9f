//! `tokio::signal`, `signal-hook-tokio` and sigplane-async on one signal, in every order of arrival: each
//! gets what it would get alone, and none notices when another leaves.
//!
//! Issue "Async", what must be shown, 2. The two others share one handler (signal-hook-registry's), which
//! calls what was in the kernel before it, is never taken back, and merges what has not been read: of
//! paced signals they report each. A fourth party, a signal-hook handler that counts, shows that none
//! is reported twice.

use futures::{FutureExt, StreamExt};
use sigplane::send::{self, Value};
use sigplane::{Removal, Signal};
use sigplane_async::SignalStream;
use sigplane_tests::raw::{Action, action};
use sigplane_tests::{Suite, quick};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;

fn rt() -> Signal {
    Signal::rt(5).expect("a real-time signal")
}

fn number() -> i32 {
    rt().number()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Who arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Party {
    Tokio,
    SignalHook,
    Sigplane,
}

use Party::{SignalHook, Sigplane, Tokio};

/// Those who are there, and what has been sent.
#[derive(Default)]
struct Guests {
    tokio: Option<tokio::signal::unix::Signal>,
    hook: Option<signal_hook_tokio::Signals>,
    ours: Option<SignalStream>,
    /// How often signal-hook's own counting handler, which comes with its stream, has run.
    counted: Arc<AtomicU64>,
    sent: i32,
}

impl Guests {
    fn arrive(&mut self, party: Party) {
        match party {
            Tokio => {
                let kind = SignalKind::from_raw(number());
                self.tokio = Some(tokio::signal::unix::signal(kind).expect("registered"));
            }
            SignalHook => {
                let counted = Arc::clone(&self.counted);
                let count = move || _ = counted.fetch_add(1, Ordering::SeqCst);
                // SAFETY: an atomic addition.
                unsafe { signal_hook::low_level::register(number(), count) }.expect("registered");
                let stream = signal_hook_tokio::Signals::new([number()]);
                self.hook = Some(stream.expect("registered"));
            }
            Sigplane => self.ours = Some(sigplane_async::signal(rt()).expect("subscribed")),
        }
    }

    /// Sends signals, the next when all have had the last; ours with value and sender.
    async fn paced(&mut self, signals: u64) {
        for _ in 0..signals {
            let counted = self.counted.load(Ordering::SeqCst);
            let value = Value::from_int(self.sent);
            send::to_process_with(std::process::id() as i32, rt(), value).expect("there is room");
            self.sent += 1;
            if let Some(tokio) = &mut self.tokio {
                assert_eq!(tokio.recv().await, Some(()));
            }
            if let Some(hook) = &mut self.hook {
                assert_eq!(hook.next().await, Some(number()));
                assert_eq!(self.counted.load(Ordering::SeqCst), counted + 1, "twice");
            }
            if let Some(ours) = &mut self.ours {
                let event = ours.recv().await;
                assert_eq!((event.signal(), event.value()), (rt(), Some(value)));
                assert_eq!(
                    event.sender().map(|sender| sender.pid),
                    Some(std::process::id() as i32)
                );
            }
        }
        self.nothing_more().await;
    }

    async fn nothing_more(&mut self) {
        // The reactor has had turns enough to report anything.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(self.tokio.as_mut().is_none_or(|tokio| tokio.recv().now_or_never().is_none()));
        assert!(self.hook.as_mut().is_none_or(|hook| hook.next().now_or_never().is_none()));
        assert!(self.ours.as_mut().is_none_or(|ours| ours.try_recv().is_none()));
    }

    /// What ours has of a burst that nobody reads meanwhile: all of it. The others: at least one.
    async fn burst(&mut self, signals: i32) {
        let first = self.sent;
        for _ in 0..signals {
            send::raise_with(rt(), Value::from_int(self.sent)).expect("there is room");
            self.sent += 1;
        }
        if let Some(ours) = &mut self.ours {
            for value in first..first + signals {
                assert_eq!(ours.recv().await.value(), Some(Value::from_int(value)));
            }
        }
        if let Some(tokio) = &mut self.tokio {
            assert_eq!(tokio.recv().await, Some(()));
        }
        if let Some(hook) = &mut self.hook {
            assert_eq!(hook.next().await, Some(number()));
        }
        self.nothing_more().await;
    }
}

/// What the kernel has when the two others are alone, in this address space: as a forked child sees it.
fn action_without_us() -> Action {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1);
    if child == 0 {
        runtime().block_on(async {
            let mut guests = Guests::default();
            guests.arrive(Tokio);
            guests.arrive(SignalHook);
            let Action { handler, flags, restorer, mask } = action(number());
            for word in [handler as u64, flags, restorer as u64, mask] {
                writer.write_all(&word.to_ne_bytes()).expect("the parent reads");
            }
        });
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut words = [0; 32];
    reader.read_exact(&mut words).expect("the child writes");
    assert_eq!(unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) }, child);
    let mut words = words.chunks_exact(8).map(|word| word.try_into().expect("eight bytes"));
    let mut word = || u64::from_ne_bytes(words.next().expect("four words"));
    Action { handler: word() as usize, flags: word(), restorer: word() as usize, mask: word() }
}

/// One order of arrival: signals as each arrives, when all are there, and when ours has left; then ours
/// once more, which theirs leave.
fn in_order(order: [Party; 3]) {
    let before = action(number());
    let alone = action_without_us();
    runtime().block_on(async {
        let mut guests = Guests::default();
        for party in order {
            guests.arrive(party);
            guests.paced(quick(50)).await;
        }
        guests.burst(30).await;

        let ours = guests.ours.take().expect("it has arrived");
        let taken = action(number());
        let last = order[2] == Sigplane;
        let removal = ours.unsubscribe();
        if order[0] == Sigplane {
            // Theirs came on top: it is theirs to keep.
            assert_eq!((removal, action(number())), (Removal::TakenOver, taken), "{before:?}");
        }
        assert!(!last || removal == Removal::Restored, "{removal:?}");
        assert_eq!(action(number()), alone, "byte for byte what it would be without us");
        guests.paced(quick(200)).await;
        guests.burst(30).await;
        assert_eq!(action(number()), alone, "and it stays so");

        guests.arrive(Sigplane);
        guests.paced(quick(50)).await;
        drop(guests.tokio.take());
        guests.paced(quick(50)).await;
        drop(guests.hook.take());
        guests.paced(quick(200)).await;
        guests.burst(100).await;
    });
}

fn tokio_hook_ours() {
    in_order([Tokio, SignalHook, Sigplane]);
}

fn hook_tokio_ours() {
    in_order([SignalHook, Tokio, Sigplane]);
}

fn tokio_ours_hook() {
    in_order([Tokio, Sigplane, SignalHook]);
}

fn hook_ours_tokio() {
    in_order([SignalHook, Sigplane, Tokio]);
}

fn ours_tokio_hook() {
    in_order([Sigplane, Tokio, SignalHook]);
}

fn ours_hook_tokio() {
    in_order([Sigplane, SignalHook, Tokio]);
}

fn main() {
    Suite {
        tests: &[
            ("tokio_hook_ours", tokio_hook_ours),
            ("hook_tokio_ours", hook_tokio_ours),
            ("tokio_ours_hook", tokio_ours_hook),
            ("hook_ours_tokio", hook_ours_tokio),
            ("ours_tokio_hook", ours_tokio_hook),
            ("ours_hook_tokio", ours_hook_tokio),
        ],
        victims: &[],
    }
    .main()
}
