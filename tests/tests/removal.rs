//! The end of a subscription: quiescent wherever it happens, and the kernel's action goes back to what
//! it was. Acceptance line 3 of the issue, and BRIEF §4, "Removal is quiescent", and §7.

use sigplane::send::raise;
use sigplane::{Handler, Removal, Signal, SignalSet, Subscription, ThreadSubscription, Verdict};
use sigplane::{subscribe, table, thread};
use sigplane_tests::raw::{self, Action, action, bit, set_action};
use sigplane_tests::{Exit, Running, Suite, eventually, victim};
use std::cell::{RefCell, UnsafeCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

/// A place from which a handler can take a subscription.
struct Cell(UnsafeCell<Option<Subscription>>, AtomicBool);

// SAFETY: the flag lets one side at a time in: who finds it set and clears it.
unsafe impl Sync for Cell {}

impl Cell {
    const fn new() -> Self {
        Self(UnsafeCell::new(None), AtomicBool::new(false))
    }

    fn put(&self, subscription: Subscription) {
        // SAFETY: the flag is not set, so nobody else is here.
        unsafe { *self.0.get() = Some(subscription) };
        assert!(!self.1.swap(true, SeqCst));
    }

    fn take(&self) -> Option<Subscription> {
        // SAFETY: the flag was set, and nobody else finds it so.
        if self.1.swap(false, SeqCst) { unsafe { (*self.0.get()).take() } } else { None }
    }
}

/// How often, and with what result, a handler has ended something.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static DEFERRED: AtomicUsize = AtomicUsize::new(0);

fn end_in_handler(cell: &Cell) {
    CALLS.fetch_add(1, SeqCst);
    if let Some(subscription) = cell.take() {
        DEFERRED.fetch_add(usize::from(subscription.unsubscribe() == Removal::Deferred), SeqCst);
    }
}

fn counters() -> (usize, usize) {
    (CALLS.swap(0, SeqCst), DEFERRED.swap(0, SeqCst))
}

// Issue line 3, from inside its own handler: on the dispatcher and at a safe point. It returns at once,
// the code does not run again, what it owns is dropped, the signal is given back.
fn from_inside_its_own_handler() {
    let before = action(libc::SIGWINCH);
    for _ in 0..200 {
        let own = Arc::new(Mutex::new(None::<Subscription>));
        let ((tell, told), slot, alive) = (mpsc::channel(), Arc::clone(&own), Arc::new(()));
        let owned = Arc::clone(&alive);
        let mut guard = own.lock().unwrap();
        let dispatcher = sigplane::on(Signal::WINCH, move |_| {
            let _owned = &owned;
            tell.send(slot.lock().unwrap().take().map(Subscription::unsubscribe)).unwrap();
        });
        *guard = Some(dispatcher.unwrap());
        drop(guard);
        raise(Signal::WINCH).unwrap();
        raise(Signal::WINCH).unwrap();
        assert_eq!(told.recv().unwrap(), Some(Removal::Restored));
        // The channel ends when the closure, with its sender, is dropped: nothing else was sent.
        assert!(told.recv().is_err(), "called after its end");
        eventually("what it owned is dropped", || Arc::strong_count(&alive) == 1);
        assert_eq!(action(libc::SIGWINCH), before);

        let own = Rc::new(RefCell::new(None::<ThreadSubscription>));
        let (slot, calls) = (Rc::clone(&own), Rc::new(std::cell::Cell::new(0)));
        let called = Rc::clone(&calls);
        let here = subscribe(Signal::WINCH).thread(move |_| {
            called.set(called.get() + 1);
            let ended = slot.borrow_mut().take().map(ThreadSubscription::unsubscribe);
            assert_eq!(ended, Some(Removal::Restored));
        });
        *own.borrow_mut() = Some(here.unwrap());
        raise(Signal::WINCH).unwrap();
        raise(Signal::WINCH).unwrap();
        thread::poll();
        raise(Signal::WINCH).unwrap();
        thread::poll();
        assert_eq!((calls.get(), Rc::strong_count(&calls), action(libc::SIGWINCH)), (1, 1, before));
    }
    assert_eq!(table().panics, 0);
}

// Issue line 3, inside its own immediate handler: deferred. The code does not run again, and the next
// call that looks at the table gives the signal back and drops what the closure owns.
fn from_inside_an_immediate_handler() {
    static OWN: Cell = Cell::new();
    let before = action(libc::SIGWINCH);
    for round in 0..200 {
        let alive = Arc::new(());
        let owned = Arc::clone(&alive);
        // SAFETY: the handler writes to atomics and ends its own subscription.
        let immediate = unsafe {
            subscribe(Signal::WINCH).immediate(move |_| {
                let _owned = &owned;
                end_in_handler(&OWN);
                Verdict::Handled
            })
        };
        OWN.put(immediate.unwrap());
        for _ in 0..3 {
            raise(Signal::WINCH).unwrap();
        }
        assert_eq!((counters(), Arc::strong_count(&alive)), ((1, 1), 2));
        // Any of the calls that the documentation names.
        match round % 3 {
            0 => drop(table()),
            1 => drop(subscribe(Signal::USR1).inbox().unwrap()),
            _ => drop(sigplane::on(Signal::USR1, |_| ()).unwrap()),
        }
        assert_eq!(
            (action(libc::SIGWINCH), Arc::strong_count(&alive)),
            (before, 1),
            "in round {round}"
        );
    }
}

// The same on a thread that sigplane has no record of.
fn from_inside_an_immediate_handler_on_an_unattached_thread() {
    static OWN: Cell = Cell::new();
    let before = action(libc::SIGWINCH);
    for _ in 0..50 {
        // SAFETY: the handler writes to atomics and ends its own subscription.
        let immediate = unsafe {
            subscribe(Signal::WINCH).immediate(|_| {
                end_in_handler(&OWN);
                Verdict::Handled
            })
        };
        OWN.put(immediate.unwrap());
        let twice = || (raise(Signal::WINCH).unwrap(), raise(Signal::WINCH).unwrap());
        std::thread::spawn(twice).join().unwrap();
        assert_eq!(counters(), (1, 1));
        drop(table());
        assert_eq!(action(libc::SIGWINCH), before);
    }
}

// BRIEF §7: after the last subscriber has gone the default is back, also when it went inside its own
// immediate handler and nobody has looked at the table since: the second SIGTERM kills.
fn a_second_signal_gets_the_default() {
    let (exit, output) = Running::start(victim("one_shot")).finish();
    assert_eq!(
        (exit, &output[..]),
        (Exit::Signal { number: libc::SIGTERM, core: false }, "first\n")
    );
}

fn one_shot() {
    static OWN: Cell = Cell::new();
    // SAFETY: the handler writes to atomics and ends its own subscription.
    let immediate = unsafe {
        subscribe(Signal::TERM).immediate(|_| {
            end_in_handler(&OWN);
            Verdict::Handled
        })
    };
    OWN.put(immediate.unwrap());
    raise(Signal::TERM).unwrap();
    println!("first");
    raise(Signal::TERM).unwrap();
    println!("second");
}

// Issue line 3, from another handler: one on the dispatcher ends one of every other kind, an immediate
// one ends another immediate one and one on the dispatcher.
fn from_another_handler() {
    let ((tell, told), before) = (mpsc::channel(), action(libc::SIGWINCH));
    let victims = Arc::new(Mutex::new(Vec::new()));
    let others = Arc::clone(&victims);
    let _ends = sigplane::on(Signal::USR1, move |_| {
        let others: Vec<Subscription> = std::mem::take(&mut *others.lock().unwrap());
        tell.send(others.into_iter().map(Subscription::unsubscribe).collect::<Vec<_>>()).unwrap();
    });
    let counting = || {
        // SAFETY: the handler writes to atomics.
        unsafe {
            subscribe(Signal::WINCH).immediate(|_| {
                CALLS.fetch_add(1, SeqCst);
                Verdict::Handled
            })
        }
    };
    let queued = || sigplane::on(Signal::WINCH, |_| _ = CALLS.fetch_add(1, SeqCst)).unwrap();
    for _ in 0..200 {
        let (channel, receiver) = subscribe(Signal::WINCH).channel().unwrap();
        *victims.lock().unwrap() = vec![counting().unwrap(), queued(), channel];
        raise(Signal::WINCH).unwrap();
        assert_eq!(receiver.recv().unwrap().signal(), Signal::WINCH);
        raise(Signal::USR1).unwrap();
        assert_eq!(told.recv().unwrap(), [Removal::Restored; 3]);
        assert!(receiver.recv().is_err(), "the channel ends with its subscription");
        let calls = CALLS.load(SeqCst);
        raise(Signal::WINCH).unwrap();
        assert_eq!((action(libc::SIGWINCH), CALLS.load(SeqCst)), (before, calls));
    }
    counters();
    static OTHER: Cell = Cell::new();
    // SAFETY: the handler writes to atomics and ends a subscription.
    let _ends = unsafe {
        subscribe(Signal::USR2).immediate(|_| {
            end_in_handler(&OTHER);
            Verdict::Handled
        })
    };
    for other in [counting as fn() -> _, || {
        Ok(sigplane::on(Signal::WINCH, |_| _ = CALLS.fetch_add(1, SeqCst)).unwrap())
    }] {
        OTHER.put(other().unwrap());
        raise(Signal::USR2).unwrap();
        raise(Signal::WINCH).unwrap();
        drop(table());
        assert_eq!((counters(), action(libc::SIGWINCH)), ((1, 1), before));
    }
}

/// Actions that a program may have set, with all that the kernel keeps of them.
fn actions() -> [Action; 5] {
    let restorer = {
        raw::install(libc::SIGUSR1, nothing as *const () as usize, 0, &[]);
        action(libc::SIGUSR1)
    };
    let (all, mask) = (restorer.flags, bit(libc::SIGUSR2) | bit(libc::SIGSEGV) | bit(64));
    let flags = |flags: i32| all | u64::from(flags as u32);
    let every = libc::SA_SIGINFO
        | libc::SA_NODEFER
        | libc::SA_ONSTACK
        | libc::SA_RESTART
        | libc::SA_RESETHAND;
    [
        Action::default(),
        Action { handler: libc::SIG_IGN, flags: 0x1000_0000, restorer: 0x1234, mask },
        Action { handler: libc::SIG_DFL, flags: flags(libc::SA_NOCLDSTOP), restorer: 0, mask },
        restorer,
        Action { flags: flags(every), mask, ..restorer },
    ]
}

extern "C" fn nothing(_: i32) {}

// Issue "The kernel's action goes back to exactly what it was when the last entry leaves": word for
// word, whichever leaves last, and whatever the order.
fn the_action_goes_back_exactly() {
    for (index, original) in actions().into_iter().enumerate() {
        for signal in [Signal::USR1, Signal::CHLD, Signal::rt(2).unwrap(), Signal::SEGV] {
            set_action(signal.number(), original);
            let original = action(signal.number());
            let back = |removal| {
                assert_eq!(
                    (removal, action(signal.number())),
                    (Removal::Restored, original),
                    "{index}"
                );
            };
            // SAFETY: the handler does nothing.
            let immediate = || unsafe { subscribe(signal).immediate(|_| Verdict::Pass) }.unwrap();
            let (first, second) = (immediate(), immediate());
            assert_ne!(action(signal.number()), original);
            assert_eq!(first.unsubscribe(), Removal::Restored);
            assert!(table().row(signal).unwrap().ours, "the second is still there");
            back(second.unsubscribe());
            if signal.is_fault() {
                continue;
            }
            back(sigplane::on(signal, |_| ()).unwrap().unsubscribe());
            back(subscribe(signal).thread(|_| ()).unwrap().unsubscribe());
            drop(subscribe(signal).inbox().unwrap());
            back(Removal::Restored);
            drop(subscribe(signal).channel().unwrap());
            back(Removal::Restored);
        }
    }
}

// Issue "unless somebody else has since taken it: then it is left alone and reported", by the removal
// and by `table`; and subscribing again goes in front of them and gives back what is theirs.
fn somebody_elses_action_is_left_alone() {
    let theirs_is = |row: &sigplane::Row| (row.kernel.handler, row.ours, row.taken_over);
    let address = nothing as *const () as usize;
    let set = SignalSet::from([Signal::USR1, Signal::USR2]);
    let (first, second) = (sigplane::on(set, |_| ()).unwrap(), sigplane::on(set, |_| ()).unwrap());
    raw::install(libc::SIGUSR1, address, libc::SA_NODEFER, &[libc::SIGHUP]);
    let theirs = action(libc::SIGUSR1);
    let row = |signal| table().row(signal).unwrap().clone();
    assert_eq!(theirs_is(&row(Signal::USR1)), (Handler::At(address), false, true));
    assert_eq!(theirs_is(&row(Signal::USR2)), (Handler::Sigplane, true, false));
    let text = table().to_string();
    assert!(text.contains("taken over"), "{text}");
    assert_eq!(first.unsubscribe(), Removal::Restored, "the other one remains");
    assert_eq!(second.unsubscribe(), Removal::TakenOver);
    assert_eq!((action(libc::SIGUSR1), action(libc::SIGUSR2)), (theirs, Action::default()));
    assert_eq!(theirs_is(&row(Signal::USR1)), (Handler::At(address), false, true));

    let again = sigplane::on(Signal::USR1, |_| ()).unwrap();
    assert_eq!(theirs_is(&row(Signal::USR1)), (Handler::Sigplane, true, false));
    assert_eq!(row(Signal::USR1).foreign.handler, Handler::At(address));
    assert_eq!((again.unsubscribe(), action(libc::SIGUSR1)), (Removal::Restored, theirs));

    let last = sigplane::on(Signal::USR1, |_| ()).unwrap();
    set_action(libc::SIGUSR1, Action::default());
    assert_eq!(theirs_is(&row(Signal::USR1)), (Handler::Default, false, true));
    assert_eq!(
        (last.unsubscribe(), action(libc::SIGUSR1)),
        (Removal::TakenOver, Action::default())
    );
}

fn main() {
    Suite {
        tests: &[
            ("from_inside_its_own_handler", from_inside_its_own_handler),
            ("from_inside_an_immediate_handler", from_inside_an_immediate_handler),
            (
                "from_inside_an_immediate_handler_on_an_unattached_thread",
                from_inside_an_immediate_handler_on_an_unattached_thread,
            ),
            ("a_second_signal_gets_the_default", a_second_signal_gets_the_default),
            ("from_another_handler", from_another_handler),
            ("the_action_goes_back_exactly", the_action_goes_back_exactly),
            ("somebody_elses_action_is_left_alone", somebody_elses_action_is_left_alone),
        ],
        victims: &[("one_shot", one_shot)],
    }
    .main()
}
