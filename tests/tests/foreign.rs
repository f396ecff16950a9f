//! Handlers that were in the kernel before sigplane, or came behind its back: they run with their own
//! flags, as if the kernel had called them. The point "Foreign handlers", and BRIEF §6.3.

use sigplane::send::{Value, raise, raise_with};
use sigplane::{Handler, Removal, Signal, Subscription, Verdict};
use sigplane::{on, subscribe, table, thread};
use sigplane_tests::raw::{self, action, bit, install};
use sigplane_tests::{Exit, Running, Suite, victim};
use std::ffi::c_void;
use std::io::{Read, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// What a handler of victims/foreign.c saw of its last call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    calls: i32,
    signal: i32,
    code: i32,
    frames: i32,
    mask: u64,
    caller: usize,
    above: usize,
    info: usize,
    context: usize,
}

unsafe extern "C" {
    fn foreign_one(signal: i32);
    fn foreign_three(signal: i32, info: *mut libc::siginfo_t, context: *mut c_void);
    fn foreign_take(out: *mut Seen);
    safe fn foreign_chain_in(signal: i32, jump: i32) -> i32;
    safe fn foreign_chain_calls() -> i32;
}

fn seen() -> Seen {
    let mut seen = Seen::default();
    // SAFETY: `seen` is valid, and laid out as in C.
    unsafe { foreign_take(&raw mut seen) };
    seen
}

/// How often `count`, an immediate handler, and `counting`, a foreign one, have run.
static COUNT: AtomicUsize = AtomicUsize::new(0);
static FOREIGN: AtomicUsize = AtomicUsize::new(0);

fn counts() -> (usize, usize) {
    (COUNT.swap(0, SeqCst), FOREIGN.swap(0, SeqCst))
}

fn count(signal: Signal, verdict: Verdict) -> Subscription {
    // SAFETY: the handler writes to atomics.
    let subscribed = unsafe {
        subscribe(signal).immediate(move |_| {
            COUNT.fetch_add(1, SeqCst);
            verdict
        })
    };
    subscribed.expect("subscribed")
}

extern "C" fn counting(_: i32) {
    FOREIGN.fetch_add(1, SeqCst);
}

const COUNTING: extern "C" fn(i32) = counting;

#[inline(never)]
fn send_and_see() -> Seen {
    seen();
    raise_with(Signal::USR1, Value::from_int(1)).unwrap();
    seen()
}

// Issue "Foreign handlers … keep working with their flags: mask, SA_NODEFER, one- or three-argument
// form"; BRIEF §6.3: the handler's caller is the kernel's frame, and unwinders see no difference.
fn called_as_by_the_kernel() {
    const RESTORER: [u8; 9] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    let masks = [&[][..], &[libc::SIGUSR2, libc::SIGTERM, 40]];
    let forms = [foreign_one as *const () as usize, foreign_three as *const () as usize];
    for (form, handler) in forms.into_iter().enumerate() {
        for flags in [0, libc::SA_NODEFER, libc::SA_RESTART, libc::SA_NODEFER | libc::SA_ONSTACK] {
            for blocked in [0, bit(libc::SIGHUP)] {
                for mask in masks {
                    let siginfo = if form == 1 { libc::SA_SIGINFO } else { 0 };
                    install(libc::SIGUSR1, handler, flags | siginfo, mask);
                    let original = action(libc::SIGUSR1);
                    raw::set_mask(blocked);
                    let bare = send_and_see();
                    let inbox = subscribe(Signal::USR1).observe().inbox().unwrap();
                    let with = send_and_see();
                    assert_eq!((raw::mask(), inbox.len()), (blocked, 1));
                    drop(inbox);
                    assert_eq!(action(libc::SIGUSR1), original);

                    let what = |s: Seen| (s.calls, s.signal, s.code, s.mask, s.frames);
                    assert_eq!(
                        what(with),
                        what(bare),
                        "form {form}, flags {flags:#x}, mask {mask:?}"
                    );
                    assert_eq!((with.calls, with.signal), (1, libc::SIGUSR1));
                    let own = if flags & libc::SA_NODEFER == 0 { bit(libc::SIGUSR1) } else { 0 };
                    let asked = mask.iter().fold(0, |bits, signal| bits | bit(*signal));
                    assert_eq!(with.mask, blocked | own | asked);
                    if form == 1 {
                        assert_eq!((with.code, bare.above), (libc::SI_QUEUE, bare.context));
                        assert_eq!(with.above, with.context, "called from the kernel's frame");
                    }
                    // SAFETY: code, which can be read.
                    let caller = unsafe { *(with.caller as *const [u8; 9]) };
                    assert_eq!(caller, RESTORER, "it returns to the restorer");
                }
            }
        }
    }
}

static DEPTH: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];

extern "C" fn nesting(_: i32) {
    let depth = DEPTH[0].fetch_add(1, SeqCst) + 1;
    DEPTH[1].fetch_max(depth, SeqCst);
    if FOREIGN.fetch_add(1, SeqCst) < 3 {
        raise(Signal::USR1).unwrap();
    }
    DEPTH[0].fetch_sub(1, SeqCst);
}

// SA_NODEFER: such a handler is interrupted by its own signal, others only see it afterwards.
fn nodefer_nests() {
    for (flags, expected) in [(0, 1), (libc::SA_NODEFER, 4)] {
        install(libc::SIGUSR1, nesting as *const () as usize, flags, &[]);
        let sub = count(Signal::USR1, Verdict::Pass);
        raise(Signal::USR1).unwrap();
        assert_eq!(
            (counts(), DEPTH[1].swap(0, SeqCst), sub.unsubscribe()),
            ((4, 4), expected, Removal::Restored)
        );
    }
}

// SA_RESETHAND: once, however many threads deliver at the same time; and what goes back to the kernel
// is what it would itself have made of the action.
fn resethand_once() {
    let flags = libc::SA_RESETHAND | libc::SA_RESTART;
    let set = || install(libc::SIGUSR1, COUNTING as usize, flags, &[libc::SIGHUP]);
    set();
    raise(Signal::USR1).unwrap();
    let (spent, _) = (action(libc::SIGUSR1), counts());
    assert_eq!(spent.handler, libc::SIG_DFL);
    for round in 0..300 {
        set();
        let unspent = action(libc::SIGUSR1);
        assert_eq!(
            (count(Signal::USR1, Verdict::Handled).unsubscribe(), action(libc::SIGUSR1)),
            (Removal::Restored, unspent)
        );
        let sub = count(Signal::USR1, Verdict::Handled);
        let start = Barrier::new(4);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let start = &start;
                scope.spawn(move || {
                    if (n + round) % 2 == 0 {
                        thread::current();
                    }
                    start.wait();
                    for _ in 0..5 {
                        raise(Signal::USR1).unwrap();
                    }
                });
            }
        });
        assert_eq!(counts(), (20, 1), "in round {round}");
        assert_eq!(table().row(Signal::USR1).unwrap().foreign.handler, Handler::Default);
        assert_eq!((sub.unsubscribe(), action(libc::SIGUSR1)), (Removal::Restored, spent));
    }
    let (exit, output) = Running::start(victim("second_kills")).finish();
    assert_eq!(
        (exit, &output[..]),
        (Exit::Signal { number: libc::SIGUSR1, core: false }, "1 call\n")
    );
}

fn second_kills() {
    install(libc::SIGUSR1, COUNTING as usize, libc::SA_RESETHAND, &[]);
    let _observes = count(Signal::USR1, Verdict::Pass);
    raise(Signal::USR1).unwrap();
    println!("{} call", counts().1);
    raise(Signal::USR1).unwrap();
    println!("survived");
}

// SA_RESTART or its absence: a program that asked for EINTR gets it, one that did not does not.
fn restart_is_theirs() {
    for (flags, restarts) in [(libc::SA_RESTART, true), (0, false)] {
        install(libc::SIGUSR1, COUNTING as usize, flags, &[]);
        let _sub = on(Signal::USR1, |_| ()).unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let (main, done) = (thread::current().tid(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let _sender = scope.spawn(|| {
                while !done.load(SeqCst) {
                    sigplane::send::to_thread(main, Signal::USR1).unwrap();
                    if restarts && FOREIGN.load(SeqCst) > 1000 && !done.swap(true, SeqCst) {
                        writer.write_all(b"x").unwrap();
                    }
                }
            });
            let read = reader.read(&mut [0]);
            done.store(true, SeqCst);
            match restarts {
                true => assert_eq!(read.unwrap(), 1),
                false => assert_eq!(read.unwrap_err().kind(), std::io::ErrorKind::Interrupted),
            }
        });
        counts();
    }
}

// BRIEF §5.4: a handler that takes the signal behind our back and chains to us; then we subscribe again,
// in front of it: no endless loop, each runs once, what was there first as well.
fn chained_to_by_a_usurper() {
    for jump in [0, 1] {
        install(libc::SIGUSR1, COUNTING as usize, libc::SA_RESTART, &[]);
        let mut subs = vec![count(Signal::USR1, Verdict::Handled)];
        for round in 0..4 {
            assert_eq!(foreign_chain_in(libc::SIGUSR1, jump), 1);
            let theirs = action(libc::SIGUSR1);
            raise(Signal::USR1).unwrap();
            assert_eq!(
                (counts(), foreign_chain_calls()),
                ((subs.len(), 1), 1),
                "chained to, {round}"
            );
            assert!(table().row(Signal::USR1).unwrap().taken_over);
            subs.push(count(Signal::USR1, Verdict::Handled));
            let inbox = subscribe(Signal::USR1).inbox().unwrap();
            for _ in 0..10 {
                let mask = raw::mask();
                raise(Signal::USR1).unwrap();
                assert_eq!(
                    (counts(), foreign_chain_calls()),
                    ((subs.len(), 1), 1),
                    "in front, {round}"
                );
                assert_eq!(
                    (inbox.recv().signal(), inbox.len(), raw::mask()),
                    (Signal::USR1, 0, mask)
                );
            }
            let row = table().row(Signal::USR1).unwrap().clone();
            assert_eq!((row.foreign.handler, row.ours), (Handler::At(theirs.handler), true));
        }
        let theirs = table().row(Signal::USR1).unwrap().foreign.handler;
        subs.into_iter().for_each(|sub| assert_eq!(sub.unsubscribe(), Removal::Restored));
        assert_eq!(
            Handler::At(action(libc::SIGUSR1).handler),
            theirs,
            "what we found is given back"
        );
        raise(Signal::USR1).unwrap();
        assert_eq!(
            (counts(), foreign_chain_calls()),
            ((0, 1), 1),
            "and still chains to what was first"
        );
    }
}

fn main() {
    Suite {
        tests: &[
            ("called_as_by_the_kernel", called_as_by_the_kernel),
            ("nodefer_nests", nodefer_nests),
            ("resethand_once", resethand_once),
            ("restart_is_theirs", restart_is_theirs),
            ("chained_to_by_a_usurper", chained_to_by_a_usurper),
        ],
        victims: &[("second_kills", second_kills)],
    }
    .main()
}
