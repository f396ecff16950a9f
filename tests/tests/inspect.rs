//! Introspection: `table()` tells who owns what, and counts exactly.

#![allow(clippy::disallowed_methods, reason = "the test plays the party that takes a signal over")]

use sigplane::send::{self, Value};
use sigplane::{
    Context, Handler, Overflow, Place, Signal, SignalSet, Verdict, subscribe, table, thread,
};
use sigplane_tests::{Suite, eventually};
use std::ptr::null_mut;

fn raise(signal: Signal, times: usize) {
    for n in 0..times {
        send::raise_with(signal, Value::from_int(n as i32)).expect("to this thread");
    }
}

fn row(signal: Signal) -> sigplane::Row {
    let table = table();
    table.row(signal).cloned().unwrap_or_else(|| panic!("{signal} is not in\n{table}"))
}

/// Names, contexts, priorities, order, places in the source: as they were subscribed. ("per signal
/// the entries (name, context, priority, where it was registered by `#[track_caller]`)".)
fn entries_are_as_subscribed() {
    let signal = Signal::USR1;
    let line = line!() + 1;
    let inbox = subscribe(signal).name("queue").capacity(7).overflow(Overflow::DropOldest);
    let inbox = inbox.inbox().expect("it is free");
    let _here = subscribe(signal).priority(-3).thread(|_| ()).expect("it can be shared");
    let late = subscribe(signal).name("late").place(Place::AfterLegacy).observe();
    let _late = late.dispatcher(|_| ()).expect("it can be shared");
    let now = subscribe(signal).priority(9).observe().name(String::from("first"));
    let _now = unsafe { now.immediate(|_| Verdict::Pass) }.expect("it can be shared");
    let _on =
        sigplane::on(SignalSet::from([signal, Signal::TERM]), |_| ()).expect("it can be shared");
    let entries = row(signal).entries;
    let seen: Vec<_> =
        entries.iter().map(|e| (e.context, e.priority, e.place, e.observes)).collect();
    let before = Place::BeforeLegacy;
    let expected = [
        (Context::Immediate, 9, before, true),
        (Context::Inbox, 0, before, false),
        (Context::Dispatcher, 0, before, false),
        (Context::Thread, -3, before, false),
        (Context::Dispatcher, 0, Place::AfterLegacy, true),
    ];
    assert_eq!(seen, expected);
    let [first, queue, on, here, last] = &entries[..] else { unreachable!("five, as above") };
    assert_eq!((&*first.name, &*queue.name, &*last.name), ("first", "queue", "late"));
    assert!(queue.location.starts_with(&format!("{}:{line}:", file!())), "{}", queue.location);
    for unnamed in [on, here] {
        assert_eq!(unnamed.name, unnamed.location, "the place in the source stands for the name");
        assert!(unnamed.location.starts_with(file!()), "{}", unnamed.location);
    }
    assert_eq!((queue.capacity, queue.overflow), (Some(7), Some(Overflow::DropOldest)));
    assert_eq!((first.capacity, first.overflow), (None, None));
    assert_eq!(row(Signal::TERM).entries.len(), 1);
    assert!(table().row(Signal::USR2).is_none(), "never taken");
    drop(inbox);
    assert_eq!(row(signal).entries.len(), 4);
}

/// Counters are exact after a known sequence. ("counters (delivered, handled, passed, deferred,
/// queued, dropped, deepest queue)".)
fn counters_are_exact() {
    let rt = Signal::rt(6).expect("there are real-time signals");
    let small =
        subscribe(rt).capacity(2).overflow(Overflow::DropNewest).inbox().expect("it is free");
    let merged = subscribe(rt).overflow(Overflow::Coalesce).inbox().expect("it can be shared");
    raise(rt, 5);
    let critical = sigplane::defer();
    raise(rt, 4);
    assert_eq!((row(rt).delivered, row(rt).deferred), (5, 4));
    drop(critical);
    let counted = row(rt);
    assert_eq!((counted.delivered, counted.handled, counted.passed), (9, 9, 0));
    assert_eq!((counted.deferred, counted.pushed_back, counted.lost), (4, 0, 0));
    let stats = counted.entries[0].stats;
    assert_eq!(stats, small.stats());
    assert_eq!((stats.queued, stats.dropped, stats.deepest, stats.waiting), (2, 7, 2, 2));
    assert_eq!(small.try_iter().count(), 2);
    assert_eq!((small.stats().taken, small.stats().waiting), (2, 0));
    assert_eq!((merged.stats().queued, merged.stats().waiting), (9, 1));
    assert_eq!(merged.recv().instances(), 9);
    // Nobody handles: observed, and passed on to the default, which is to do nothing.
    let watch = subscribe(Signal::WINCH).observe().inbox().expect("it is free");
    raise(Signal::WINCH, 3);
    let passed = row(Signal::WINCH);
    assert_eq!((passed.delivered, passed.handled, passed.passed), (3, 0, 3));
    drop((small, merged, watch));
    // Counts of threads that have ended, and of ended subscriptions, stay in the sums.
    let again = subscribe(rt).inbox().expect("it is free again");
    std::thread::spawn(move || {
        let _attached = thread::current();
        raise(rt, 6);
    })
    .join()
    .expect("it does not panic");
    assert_eq!((row(rt).delivered, again.stats().queued), (15, 6));
    let panics = sigplane::on(Signal::USR1, |_| panic!("as the test wants")).expect("it is free");
    raise(Signal::USR1, 1);
    eventually("the panic", || panics.stats().panics == 1);
    assert_eq!(table().panics, 1);
}

extern "C" fn usurper(_: i32) {}

/// The kernel's actual action, and whether it is ours: taken, taken over, taken back in front of the
/// usurper, and given back. ("legacy and foreign actions, the kernel's actual action and whether it
/// is still ours".)
fn the_kernels_action_is_told() {
    let signal = Signal::USR2;
    let first = subscribe(signal).inbox().expect("it is free");
    let mine = row(signal);
    assert_eq!((mine.ours, mine.taken_over), (true, false));
    assert_eq!((mine.kernel.handler, mine.foreign.handler), (Handler::Sigplane, Handler::Default));
    assert_ne!(mine.kernel.flags & libc::SA_ONSTACK as u64, 0);
    let address = usurper as *const () as usize;
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = address;
    assert_eq!(unsafe { libc::sigaction(signal.number(), &action, null_mut()) }, 0);
    let theirs = row(signal);
    assert_eq!((theirs.ours, theirs.taken_over), (false, true));
    assert_eq!(theirs.kernel.handler, Handler::At(address));
    assert!(table().to_string().contains(&format!("taken over by {address:#x}")), "{}", table());
    let second = subscribe(signal).inbox().expect("it can be taken again");
    let again = row(signal);
    assert_eq!((again.ours, again.taken_over), (true, false));
    assert_eq!(
        (again.kernel.handler, again.foreign.handler),
        (Handler::Sigplane, Handler::At(address))
    );
    drop((first, second));
    let end = row(signal);
    assert_eq!((end.ours, end.entries.len(), end.kernel.handler), (false, 0, Handler::At(address)));
}

/// `Display` is a table: a head, a line per signal, an indented one per entry, and a sum.
fn it_prints_as_a_table() {
    let _me = thread::current();
    let queue = subscribe(Signal::HUP).name("reload").capacity(3).priority(2);
    let queue = queue.overflow(Overflow::DropNewest).inbox().expect("it is free");
    let late = subscribe(Signal::HUP).name("late").place(Place::AfterLegacy).observe();
    let _late = unsafe { late.immediate(|_| Verdict::Pass) }.expect("it can be shared");
    raise(Signal::HUP, 5);
    let text = table().to_string();
    let lines: Vec<&str> = text.lines().collect();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let head = ["SIGNAL", "KERNEL", "BEHIND", "DELIVERED", "HANDLED", "PASSED", "DEFERRED", "LOST"];
    assert_eq!(words(lines[0]), head);
    assert_eq!(words(lines[1]), ["SIGHUP", "sigplane", "default", "5", "5", "0", "0", "0"]);
    let here = format!("at {}:", file!());
    let start =
        "  inbox      handles     2  reload  [3/3 waiting, deepest 3, DropNewest, dropped 2]  ";
    assert!(lines[2].starts_with(&format!("{start}{here}")), "{text}");
    let start = "  immediate  observes    0  late (after legacy)  ";
    assert!(lines[3].starts_with(&format!("{start}{here}")), "{text}");
    assert_eq!(words(lines[4])[..3], ["SIGURG", "sigplane", "default"], "the doorbell's");
    assert_eq!(lines[5..], ["1 threads attached, 0 panics"]);
    drop(queue);
}

/// Feature `serde`: the same as JSON, by the names of the fields. ("feature `serde` serialises it".)
fn it_serialises() {
    let _me = thread::current();
    let queue = subscribe(Signal::HUP).name("reload").capacity(3).inbox().expect("it is free");
    raise(Signal::HUP, 2);
    let json = serde_json::to_value(table()).expect("it can be serialised");
    let hangup = &json["rows"][0];
    assert_eq!(hangup["delivered"], 2);
    assert_eq!(hangup["ours"], true);
    assert_eq!(hangup["foreign"]["handler"], "Default");
    assert_eq!(hangup["kernel"]["handler"], "Sigplane");
    let entry = &hangup["entries"][0];
    assert_eq!((&entry["name"], &entry["context"]), (&"reload".into(), &"Inbox".into()));
    assert_eq!((&entry["capacity"], &entry["overflow"]), (&3.into(), &"Backpressure".into()));
    assert_eq!((&entry["stats"]["queued"], &entry["stats"]["waiting"]), (&2.into(), &2.into()));
    assert_eq!(hangup["signal"], "SIGHUP");
    assert_eq!(json["threads"], 1);
    drop(queue);
}

fn main() {
    Suite {
        tests: &[
            ("entries_are_as_subscribed", entries_are_as_subscribed),
            ("counters_are_exact", counters_are_exact),
            ("the_kernels_action_is_told", the_kernels_action_is_told),
            ("it_prints_as_a_table", it_prints_as_a_table),
            ("it_serialises", it_serialises),
        ],
        victims: &[],
    }
    .main()
}
