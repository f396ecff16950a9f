//! Guest mode: sigplane in a program whose owner is the published signal-hook-registry. Issue "What to build",
//! "signal-hook-registry, both ways".

use signal_hook_registry::{register, unregister};
use sigplane::send::{Value, raise, raise_with};
use sigplane::{ChildStatus, Error, Event, Signal, SignalSet, table};
use sigplane_compat::guest;
use sigplane_tests::raw::{self, action};
use sigplane_tests::{Storm, Suite, eventually, sender};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// An action of the program itself, which the owner's other users are to keep.
fn count(signal: Signal) -> signal_hook_registry::SigId {
    // SAFETY: changes an atomic.
    let registered = unsafe {
        register(signal.number(), || {
            CALLS.fetch_add(1, SeqCst);
        })
    };
    registered.unwrap()
}

fn calls() -> usize {
    CALLS.swap(0, SeqCst)
}

fn readable(inbox: &guest::Inbox) -> bool {
    let mut poll = libc::pollfd { fd: inbox.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid element.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

// The kernel's handler is the owner's, before, during and after; sigplane takes nothing, and other users of
// the owner see every signal. A signal that nobody had registered stays caught, as the owner does it.
fn the_owner_stays_the_owner() {
    let id = count(Signal::HUP);
    let owner = action(libc::SIGHUP);
    let inbox = guest::subscribe(SignalSet::from([Signal::HUP, Signal::TERM])).inbox().unwrap();
    assert_eq!((action(libc::SIGHUP), action(libc::SIGTERM).handler), (owner, owner.handler));
    assert!(table().row(Signal::HUP).is_none_or(|row| !row.ours));
    raise(Signal::HUP).unwrap();
    raise(Signal::TERM).unwrap();
    assert_eq!(calls(), 1);
    let signals: Vec<_> = inbox.try_iter().map(|event| event.signal()).collect();
    assert_eq!(signals, [Signal::HUP, Signal::TERM]);
    drop(inbox);
    raise(Signal::HUP).unwrap();
    raise(Signal::TERM).unwrap();
    assert_eq!((calls(), action(libc::SIGHUP)), (1, owner));
    assert!(unregister(id));
}

// Events are whole: sender, value, child, thread and time, for each cause only what it has.
fn events_are_whole() {
    let (rt, me) = (Signal::rt(2).unwrap(), std::process::id() as i32);
    let set = SignalSet::from([rt, Signal::USR1, Signal::CHLD]);
    let inbox = guest::subscribe(set).inbox().unwrap();
    assert!(!readable(&inbox) && inbox.try_recv().is_none());
    raise_with(rt, Value::from_int(-5)).unwrap();
    raise(Signal::USR1).unwrap();
    assert!(readable(&inbox));
    let (queued, raised) = (inbox.recv(), inbox.recv());
    assert_eq!((queued.signal(), queued.code()), (rt, libc::SI_QUEUE));
    assert_eq!(queued.value().map(Value::int), Some(-5));
    assert_eq!(queued.sender().map(|sender| sender.pid), Some(me));
    assert_eq!((raised.signal(), raised.code()), (Signal::USR1, libc::SI_TKILL));
    assert_eq!((raised.value(), raised.child()), (None, None));
    assert_eq!(raised.sender().map(|sender| sender.pid), Some(me));
    assert_eq!((queued.thread(), raised.thread()), (me, me));
    assert!(Duration::ZERO < queued.arrival() && queued.arrival() <= raised.arrival());
    assert_eq!(raised.raw().si_signo, libc::SIGUSR1);
    assert!(inbox.recv_timeout(Duration::ZERO).is_none());
    let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
    let event = inbox.recv();
    let ended = event.child().unwrap();
    assert_eq!((ended.pid, ended.status), (child.id() as i32, ChildStatus::Exited(3)));
    assert_eq!((event.sender(), event.value()), (None, None));
    assert_eq!(child.wait().unwrap().code(), Some(3));
    let stats = inbox.stats();
    assert_eq!((stats.queued, stats.taken, stats.waiting, stats.dropped), (3, 3, 0, 0));
}

// Of 100,000 queued values from another process each is received by the owner's handler, and is either read, in
// order, or counted as dropped because the reader was too slow.
fn every_instance_is_accounted_for() {
    const COUNT: usize = 100_000;
    let rt = Signal::rt(0).unwrap();
    let inbox = &guest::subscribe(rt).capacity(4096).inbox().unwrap();
    std::thread::scope(|scope| {
        // Received on the main thread only, so that order exists: the other one inherits this mask.
        let before = raw::mask();
        raw::set_mask(before | raw::bit(rt.number()));
        let reader = scope.spawn(|| {
            let values = inbox.iter().filter_map(|event| event.value()).map(Value::int);
            let values: Vec<_> = values.take_while(|&value| value < COUNT as i32).collect();
            assert!(values.is_sorted_by(|one, next| one < next), "in order, each once");
            values.len()
        });
        raw::set_mask(before);
        Storm::here(rt, COUNT as u64).start().expect("done");
        let received = || inbox.stats().queued + inbox.stats().dropped;
        eventually("all have been received", || received() == COUNT);
        eventually("all have been read", || inbox.stats().waiting == 0);
        let stats = inbox.stats();
        raise_with(rt, Value::from_int(COUNT as i32)).unwrap();
        assert_eq!(reader.join().unwrap(), stats.queued);
        assert_eq!(stats.queued + stats.dropped, COUNT);
    });
}

// What does not fit is dropped and counted, the oldest stay, and the queue goes on when it has been read.
fn a_full_queue_counts_what_it_drops() {
    let rt = Signal::rt(1).unwrap();
    let inbox = guest::subscribe(rt).capacity(1).inbox().unwrap();
    let mut sent = 0;
    while inbox.stats().dropped < 10 {
        raise_with(rt, Value::from_int(sent)).unwrap();
        sent += 1;
    }
    let values: Vec<_> =
        inbox.try_iter().filter_map(|event| event.value()).map(Value::int).collect();
    assert_eq!(values, (0..sent - 10).collect::<Vec<_>>());
    raise_with(rt, Value::from_int(7)).unwrap();
    assert_eq!(inbox.recv().value().map(Value::int), Some(7));
}

// A closure runs on a thread of its own; its panic is caught and counted; when drop has returned it is not
// called any more, and what it owned is gone.
fn a_closure() {
    let (owned, seen) = (Arc::new(()), Arc::new(Mutex::new(Vec::new())));
    let (held, log) = (Arc::clone(&owned), Arc::clone(&seen));
    std::panic::set_hook(Box::new(|_| ()));
    let subscription = guest::on(Signal::USR2, move |event: &Event| {
        let _held = &held;
        log.lock().unwrap().push(std::thread::current().id());
        assert!(event.code() != libc::SI_QUEUE, "meant to panic");
    })
    .unwrap();
    raise(Signal::USR2).unwrap();
    raise_with(Signal::USR2, Value::from_int(1)).unwrap();
    raise(Signal::USR2).unwrap();
    eventually("three calls", || seen.lock().is_ok_and(|seen| seen.len() == 3));
    eventually("one panic", || subscription.stats().panics == 1);
    let here = std::thread::current().id();
    assert!(seen.lock().unwrap().iter().all(|thread| *thread != here));
    drop(subscription);
    assert_eq!(Arc::strong_count(&owned), 1);
    raise(Signal::USR2).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 3);
}

// A closure that drops its own subscription: it returns at once, and the call is the last.
fn a_closure_ends_itself() {
    let (tell, told) = mpsc::channel();
    let slot = Arc::new(Mutex::new(None::<guest::Subscription>));
    let own = Arc::clone(&slot);
    let subscription = guest::on(Signal::USR2, move |_| {
        let subscription = own.lock().unwrap().take();
        tell.send(subscription.is_some()).unwrap();
        drop(subscription);
    });
    *slot.lock().unwrap() = Some(subscription.unwrap());
    raise(Signal::USR2).unwrap();
    assert_eq!(told.recv(), Ok(true));
    // The closure, and its sender, are dropped when the thread is done.
    assert!(told.recv().is_err());
    raise(Signal::USR2).unwrap();
}

// A forked child takes nothing of its parent's, and may subscribe for itself.
fn a_forked_child_has_its_own() {
    let inbox = guest::subscribe(Signal::HUP).inbox().unwrap();
    let closure = guest::on(Signal::HUP, |_| ()).unwrap();
    raise(Signal::HUP).unwrap();
    // SAFETY: the child makes few calls and exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut good = inbox.try_recv().is_none();
        raise(Signal::HUP).unwrap();
        good &= inbox.recv_timeout(Duration::from_millis(1)).is_none();
        drop(closure);
        let own = guest::subscribe(Signal::HUP).inbox().unwrap();
        raise(Signal::HUP).unwrap();
        good &= own.recv().signal() == Signal::HUP;
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = -1;
    // SAFETY: `status` is valid.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!((inbox.try_iter().count(), inbox.stats().queued), (1, 1));
}

// What cannot be had this way is refused, by name, and nothing is registered.
fn refusals() {
    let before = [libc::SIGUSR1, libc::SIGSEGV].map(action);
    let both = SignalSet::from([Signal::USR1, Signal::KILL]);
    let refused = |set: SignalSet| guest::subscribe(set).inbox().unwrap_err();
    assert_eq!(refused(both), Error::Uncatchable(Signal::KILL));
    assert_eq!(refused(Signal::SEGV.into()), Error::NeedsImmediate(Signal::SEGV));
    assert_eq!(refused(SignalSet::EMPTY), Error::EmptySet);
    let none = guest::subscribe(Signal::USR1).capacity(0).inbox().unwrap_err();
    assert_eq!(none, Error::ZeroCapacity);
    let vast = guest::subscribe(Signal::USR1).capacity(usize::MAX).inbox().unwrap_err();
    assert!(matches!(vast, Error::Os { call: "fcntl(F_SETPIPE_SZ)", .. }), "{vast}");
    assert_eq!([libc::SIGUSR1, libc::SIGSEGV].map(action), before);
}

fn main() {
    Suite {
        tests: &[
            ("the_owner_stays_the_owner", the_owner_stays_the_owner),
            ("events_are_whole", events_are_whole),
            ("every_instance_is_accounted_for", every_instance_is_accounted_for),
            ("a_full_queue_counts_what_it_drops", a_full_queue_counts_what_it_drops),
            ("a_closure", a_closure),
            ("a_closure_ends_itself", a_closure_ends_itself),
            ("a_forked_child_has_its_own", a_forked_child_has_its_own),
            ("refusals", refusals),
        ],
        victims: &[("sender", sender)],
    }
    .main()
}
