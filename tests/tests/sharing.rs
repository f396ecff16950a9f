//! Several owners of one signal: their order, who handles and who observes, panics, and errors.
#![allow(clippy::disallowed_methods, reason = "queries masks and plays the foreign party")]

use sigplane::send::raise;
use sigplane::{Builder, Context, Error, Handler, Place, Removal, Signal, SignalSet, Verdict};
use sigplane::{dispatcher, subscribe, table};
use sigplane_tests::{Exit, Running, Suite, eventually, raw, victim};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

/// A log that handlers can write to.
static LOG: [AtomicUsize; 64] = [const { AtomicUsize::new(0) }; 64];
static LENGTH: AtomicUsize = AtomicUsize::new(0);

fn log(what: usize) {
    LOG[LENGTH.fetch_add(1, SeqCst)].store(what, SeqCst);
}

fn logged() -> Vec<usize> {
    LOG[..LENGTH.swap(0, SeqCst)].iter().map(|entry| entry.load(SeqCst)).collect()
}

fn logging(builder: Builder, what: usize, verdict: Verdict) -> sigplane::Subscription {
    // SAFETY: the handler writes to atomics.
    let subscribed = unsafe {
        builder.immediate(move |_| {
            log(what);
            verdict
        })
    };
    subscribed.expect("subscribed")
}

// BRIEF §4: entries have a priority, and within one the order of subscription holds; in the handler
// and on the dispatcher alike, and in `table`.
fn priority_then_order_of_subscription() {
    let priorities = [0, 10, -5, 10, 0];
    let expected = [1, 3, 0, 4, 2];
    let immediate: Vec<_> = (0..5)
        .map(|n| logging(subscribe(Signal::USR1).priority(priorities[n]), n, Verdict::Handled))
        .collect();
    raise(Signal::USR1).unwrap();
    assert_eq!(logged(), expected);
    drop(immediate);

    let (tell, told) = mpsc::channel();
    let _queued: Vec<_> = (0..5)
        .map(|n| {
            let tell = tell.clone();
            let builder = subscribe(Signal::USR1).priority(priorities[n]).name(n.to_string());
            builder.dispatcher(move |_| tell.send(n).unwrap()).unwrap()
        })
        .collect();
    let table = table();
    let names: Vec<_> =
        table.row(Signal::USR1).unwrap().entries.iter().map(|e| &e.name[..]).collect();
    assert_eq!(names, ["1", "3", "0", "4", "2"]);
    for _ in 0..1000 {
        raise(Signal::USR1).unwrap();
        assert_eq!([(); 5].map(|()| told.recv().unwrap()), expected);
    }
}

// BRIEF §4, issue "The table": one signal, an owner in every context at once; each sees every instance.
fn an_owner_in_every_context() {
    let ((tell, told), rt) = (mpsc::channel(), Signal::rt(3).unwrap());
    let here = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&here);
    let _immediate = logging(subscribe(rt), 1, Verdict::Pass);
    let _dispatcher = sigplane::on(rt, move |event| tell.send(event.value()).unwrap()).unwrap();
    let _thread = subscribe(rt).thread(move |_| _ = counted.fetch_add(1, SeqCst)).unwrap();
    let inbox = subscribe(rt).inbox().unwrap();
    let (_channel, receiver) = subscribe(rt).channel().unwrap();
    for n in 0..50 {
        sigplane::send::raise_with(rt, sigplane::send::Value::from_int(n)).unwrap();
        assert_eq!(told.recv().unwrap().unwrap().int(), n);
        assert_eq!(inbox.recv().value().unwrap().int(), n);
        assert_eq!(receiver.recv().unwrap().value().unwrap().int(), n);
    }
    sigplane::thread::poll();
    assert_eq!((here.load(SeqCst), logged().len()), (50, 50));
    let table = table();
    let row = table.row(rt).unwrap();
    let contexts: Vec<_> = row.entries.iter().map(|entry| entry.context).collect();
    let expected =
        [Context::Immediate, Context::Dispatcher, Context::Thread, Context::Inbox, Context::Inbox];
    assert_eq!(contexts, expected);
    assert_eq!((row.delivered, row.handled, row.passed), (50, 50, 0));
}

// BRIEF §4: who handles suppresses the default action, for observers as well; an observer's verdict
// does not count, and neither does one that passes: then the process dies by the signal.
fn handling_and_observing() {
    let _observer = logging(subscribe(Signal::TERM).observe().priority(1), 1, Verdict::Handled);
    let _passes = logging(subscribe(Signal::TERM), 2, Verdict::Pass);
    let handles = logging(subscribe(Signal::TERM).priority(-1), 3, Verdict::Handled);
    raise(Signal::TERM).unwrap();
    assert_eq!(logged(), [1, 2, 3]);
    drop(handles);
    let inbox = subscribe(Signal::TERM).inbox().unwrap();
    raise(Signal::TERM).unwrap();
    assert_eq!(inbox.recv().signal(), Signal::TERM);
    assert_eq!(logged(), [1, 2]);
    for how in ["observe", "pass", "observing queue", "disarmed"] {
        let mut command = victim("unhandled");
        command.env("HOW", how);
        let (exit, output) = Running::start(command).finish();
        assert_eq!((how, exit, &output[..]), (how, Exit::Signal { number: 15, core: false }, ""));
    }
}

/// Nobody handles its SIGTERM, though there is a subscriber.
fn unhandled() {
    let how = std::env::var("HOW").unwrap();
    let builder = subscribe(Signal::TERM);
    match &how[..] {
        "observe" => logging(builder.observe(), 1, Verdict::Handled).detach(),
        "pass" => logging(builder, 1, Verdict::Pass).detach(),
        "observing queue" => builder.observe().dispatcher(|_| ()).unwrap().detach(),
        "disarmed" => {
            let subscription = logging(builder, 1, Verdict::Handled);
            subscription.disarm();
            subscription.detach();
        }
        other => panic!("{other}"),
    }
    raise(Signal::TERM).unwrap();
    println!("survived");
}

// Issue "subscribe to a set": one handler for a set sees the signals in the order in which they came.
// The same for separate subscriptions on the dispatcher, as its documentation says.
fn order_across_the_signals_of_a_set() {
    let signals = [Signal::rt(5).unwrap(), Signal::USR2, Signal::rt(1).unwrap(), Signal::HUP];
    let (tell, told) = mpsc::channel();
    let separate = |signal: Signal| {
        let tell = tell.clone();
        sigplane::on(signal, move |event| tell.send(event.signal()).unwrap()).unwrap()
    };
    let order = |rounds: usize| {
        for n in 0..rounds {
            let sent = [n % 4, n / 4 % 4, n / 16 % 4].map(|index| signals[index]);
            for signal in sent {
                raise(signal).unwrap();
            }
            assert_eq!([(); 3].map(|()| told.recv().unwrap()), sent, "in round {n}");
        }
    };
    let set = SignalSet::from(signals);
    let (tell_all, all) = (tell.clone(), sigplane::subscribe(set));
    let all = all.dispatcher(move |event| tell_all.send(event.signal()).unwrap()).unwrap();
    order(2000);
    assert_eq!(all.unsubscribe(), Removal::Restored);
    let _separate = signals.map(separate);
    order(20_000);
}

// Issue "The dispatcher thread": a panic in a handler is caught, counted and passed to a hook; so is
// one at a safe point; later events arrive, and a panic of the hook itself does no harm.
fn panics_are_contained() {
    std::panic::set_hook(Box::new(|_| ()));
    let reports = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&reports);
    dispatcher::on_panic(move |report| {
        let event = (report.event.signal(), report.message.map(str::to_owned));
        kept.lock().unwrap().push((report.subscription.to_owned(), event));
        assert_ne!(report.message, Some("and the hook"));
    });
    let mut calls = 0;
    let panics = move |_: &sigplane::Event| {
        calls += 1;
        match calls {
            1 => panic!("static text"),
            2 => panic!("text of {calls}"),
            3 => std::panic::panic_any(calls),
            4 => panic!("and the hook"),
            _ => log(calls),
        }
    };
    let sub = subscribe(Signal::USR1).name("clumsy").dispatcher(panics).unwrap();
    for _ in 0..5 {
        raise(Signal::USR1).unwrap();
    }
    eventually("the fifth call", || LENGTH.load(SeqCst) == 1);
    let sub = (sub.stats().panics, sub.stats().taken, sub.unsubscribe());
    assert_eq!(sub, (4, 5, Removal::Restored));
    let seen: Vec<_> = reports.lock().unwrap().drain(..).collect();
    let report = |text: Option<&str>| ("clumsy".into(), (Signal::USR1, text.map(str::to_owned)));
    let expected = [
        report(Some("static text")),
        report(Some("text of 2")),
        report(None),
        report(Some("and the hook")),
    ];
    assert_eq!(seen, expected);
    assert_eq!(table().panics, 5, "four and the hook's");

    let sub = subscribe(Signal::USR1).name("clumsy").thread(|_| panic!("static text")).unwrap();
    raise(Signal::USR1).unwrap();
    assert_eq!(sigplane::thread::poll(), 1);
    assert_eq!((sub.stats().panics, table().panics), (1, 6));
    assert_eq!(*reports.lock().unwrap(), [report(Some("static text"))]);
}

extern "C" fn legacy(_: i32) {
    log(0);
}

// Issue "front / back of the legacy action": entries stand where they asked to, whatever their
// priority; with no handler in between they follow at once; SIG_IGN is no handler.
fn before_and_after_the_legacy_action() {
    for (foreign, expected) in
        [(legacy as *const () as usize, &[1, 2, 0, 3, 4][..]), (libc::SIG_IGN, &[1, 2, 3, 4])]
    {
        raw::install(libc::SIGUSR1, foreign, libc::SA_RESTART, &[libc::SIGUSR2]);
        let place = |place, priority| subscribe(Signal::USR1).place(place).priority(priority);
        let subscriptions = [
            logging(place(Place::AfterLegacy, 100), 3, Verdict::Handled),
            logging(place(Place::BeforeLegacy, -100), 2, Verdict::Handled),
            logging(place(Place::AfterLegacy, -100), 4, Verdict::Handled),
            logging(place(Place::BeforeLegacy, 100), 1, Verdict::Handled),
        ];
        let inbox = place(Place::AfterLegacy, 0).inbox().unwrap();
        for _ in 0..10 {
            let mask = raw::mask();
            raise(Signal::USR1).unwrap();
            assert_eq!((logged(), raw::mask()), (expected.to_vec(), mask));
            assert!(inbox.try_recv().is_some());
        }
        drop((subscriptions, inbox));
        raise(Signal::USR1).unwrap();
        assert_eq!(logged(), if foreign == libc::SIG_IGN { vec![] } else { vec![0] });
    }
}

// `Subscription::disarm`: not called any more, others are; dropping it later still gives the signal
// back. `detach`: kept for as long as the process lives.
fn disarming_and_detaching() {
    let before = raw::action(libc::SIGUSR1);
    let (first, second) = (subscribe(Signal::USR1), subscribe(Signal::USR1));
    let first = logging(first, 1, Verdict::Handled);
    let second = logging(second, 2, Verdict::Handled);
    let called = Arc::new(AtomicBool::new(false));
    let (call, inbox) = (Arc::clone(&called), subscribe(Signal::USR1).inbox().unwrap());
    let queued = sigplane::on(Signal::USR1, move |_| call.store(true, SeqCst)).unwrap();
    first.disarm();
    queued.disarm();
    for _ in 0..300 {
        // More often than the disarmed queue has places.
        raise(Signal::USR1).unwrap();
        assert_eq!((logged(), inbox.recv().instances()), (vec![2], 1));
    }
    drop((first, second, inbox));
    assert_eq!(Arc::strong_count(&called), 2);
    assert_eq!(queued.unsubscribe(), Removal::Restored);
    assert_eq!((Arc::strong_count(&called), called.load(SeqCst)), (1, false));
    assert_eq!(raw::action(libc::SIGUSR1), before);

    logging(subscribe(Signal::USR1).name("kept"), 5, Verdict::Handled).detach();
    drop(subscribe(Signal::USR1).inbox().unwrap());
    raise(Signal::USR1).unwrap();
    assert_eq!(logged(), [5]);
    assert_eq!(table().row(Signal::USR1).unwrap().entries[0].name, "kept");
}

// Issue "KILL and STOP give a clear error", and the other refusals, in every context; after one, no
// signal of the set has changed.
fn refusals() {
    let refused = |set: SignalSet, capacity: usize, queued: Error, immediate: Option<Error>| {
        let new = || subscribe(set | SignalSet::from(Signal::USR1)).capacity(capacity);
        let new = || if set.is_empty() && capacity > 0 { subscribe(set) } else { new() };
        assert_eq!(new().dispatcher(|_| ()).unwrap_err(), queued);
        assert_eq!(new().thread(|_| ()).unwrap_err(), queued);
        assert_eq!(new().inbox().unwrap_err(), queued);
        assert_eq!(new().channel().unwrap_err(), queued);
        // SAFETY: the handler does nothing.
        let subscribed = unsafe { new().immediate(|_| Verdict::Pass) };
        assert_eq!(subscribed.err(), immediate);
        for signal in set.iter().chain([Signal::USR1]) {
            assert_eq!(raw::action(signal.number()).handler, libc::SIG_DFL, "{signal}");
            let table = table();
            assert!(table.row(signal).is_none_or(|row| row.entries.is_empty()));
        }
    };
    // SIGSEGV and SIGBUS are Rust's own at the start of a process.
    raw::install(libc::SIGSEGV, libc::SIG_DFL, 0, &[]);
    raw::install(libc::SIGBUS, libc::SIG_DFL, 0, &[]);
    for signal in [Signal::KILL, Signal::STOP] {
        refused(signal.into(), 8, Error::Uncatchable(signal), Some(Error::Uncatchable(signal)));
        assert!(Error::Uncatchable(signal).to_string().contains(signal.name()));
    }
    for signal in [Signal::SEGV, Signal::BUS, Signal::FPE, Signal::ILL, Signal::TRAP, Signal::SYS] {
        refused(signal.into(), 8, Error::NeedsImmediate(signal), None);
    }
    refused(SignalSet::EMPTY, 8, Error::EmptySet, Some(Error::EmptySet));
    refused(SignalSet::EMPTY, 0, Error::ZeroCapacity, None);
}

fn errno() -> &'static AtomicI32 {
    // SAFETY: this thread's own, for as long as it lives; handlers run on it too.
    unsafe { AtomicI32::from_ptr(libc::__errno_location()) }
}

// BRIEF §6.3: `errno` is preserved around an immediate handler, at whatever instruction it comes.
fn errno_survives_an_immediate_handler() {
    static CALLS: AtomicI32 = AtomicI32::new(0);
    // SAFETY: the handler writes to atomics.
    let subscribed = unsafe {
        subscribe(Signal::USR1).immediate(|_| {
            errno().store(1000 + CALLS.fetch_add(1, SeqCst), SeqCst);
            Verdict::Handled
        })
    };
    let _sub = subscribed.unwrap();
    let (main, done) = (sigplane::thread::current().tid(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while CALLS.load(SeqCst) < 10_000 {
                sigplane::send::to_thread(main, Signal::USR1).unwrap();
            }
            done.store(true, SeqCst);
        });
        for n in (0..=900).cycle() {
            errno().store(n, SeqCst);
            let seen = CALLS.load(SeqCst);
            // Over at least one delivery now and then, over none mostly.
            while n == 0 && CALLS.load(SeqCst) == seen && !done.load(SeqCst) {
                std::hint::spin_loop();
            }
            assert_eq!(errno().load(SeqCst), n);
            if done.load(SeqCst) {
                break;
            }
        }
    });
}

// BRIEF §6.4, threads without a record: slower, still correct. Their signals reach every context, and
// a handler does not attach them.
fn threads_never_attached() {
    let rt = Signal::rt(0).unwrap();
    static SEEN: [AtomicI32; 4] = [const { AtomicI32::new(0) }; 4];
    // SAFETY: the handler writes to atomics.
    let subscribed = unsafe {
        subscribe(rt).immediate(|delivery| {
            let value = delivery.event().value().map_or(0, |value| value.int());
            SEEN[value as usize % 4].store(delivery.thread(), SeqCst);
            Verdict::Handled
        })
    };
    let _sub = subscribed.unwrap();
    let inbox = subscribe(rt).capacity(4).inbox().unwrap();
    let (attached, received_all) = (table().threads, AtomicBool::new(false));
    let tids: Vec<i32> = std::thread::scope(|scope| {
        let raiser = |n: i32| {
            let received_all = &received_all;
            move || {
                for _ in 0..2500 {
                    sigplane::send::raise_with(rt, sigplane::send::Value::from_int(n)).unwrap();
                }
                // What back-pressure keeps pending on a thread goes with the thread.
                eventually("the last event", || received_all.load(SeqCst));
                // SAFETY: takes no argument.
                unsafe { libc::gettid() }
            }
        };
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(raiser(n))).collect();
        let mut received = [0; 4];
        for _ in 0..10_000 {
            received[inbox.recv().value().unwrap().int() as usize] += 1;
        }
        received_all.store(true, SeqCst);
        assert_eq!(received, [2500; 4]);
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(SEEN.iter().map(|tid| tid.load(SeqCst)).collect::<Vec<_>>(), tids);
    assert_eq!(table().threads, attached);
    assert_eq!(table().row(rt).unwrap().foreign.handler, Handler::Default);
}

fn main() {
    Suite {
        tests: &[
            ("priority_then_order_of_subscription", priority_then_order_of_subscription),
            ("an_owner_in_every_context", an_owner_in_every_context),
            ("handling_and_observing", handling_and_observing),
            ("order_across_the_signals_of_a_set", order_across_the_signals_of_a_set),
            ("panics_are_contained", panics_are_contained),
            ("before_and_after_the_legacy_action", before_and_after_the_legacy_action),
            ("disarming_and_detaching", disarming_and_detaching),
            ("refusals", refusals),
            ("errno_survives_an_immediate_handler", errno_survives_an_immediate_handler),
            ("threads_never_attached", threads_never_attached),
        ],
        victims: &[("unhandled", unhandled)],
    }
    .main()
}
