//! A vfork child shares its parent's memory, not its dispositions: nothing it does shows in the
//! parent's table or queues.

#![allow(clippy::disallowed_methods, reason = "the test asks the kernel for its alternate stack")]

use sigplane::{Error, Handler, Inbox, Signal, SignalSet, send};
use sigplane_tests::{Suite, eventually};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

type Body = unsafe extern "C" fn(*mut c_void) -> i32;

unsafe extern "C" {
    /// `tests/victims/vfork.c`: runs the body in a vfork child; its wait status.
    fn victim_vfork(body: Body, argument: *mut c_void) -> i32;
    /// A body that ignores the signal it is given, raises it, and gives it its default action.
    fn victim_sigactions(signal: *mut c_void) -> i32;
}

/// The exit status of a vfork child that runs `body`, or the signal that killed it, negative.
fn vfork(body: Body, argument: *mut c_void) -> i32 {
    let status = unsafe { victim_vfork(body, argument) };
    assert_ne!(status, -1, "vfork and wait succeed");
    if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}

fn raised(inbox: &Inbox, signal: Signal) -> bool {
    send::raise(signal).expect("to this thread");
    inbox.try_recv().is_some_and(|event| event.signal() == signal)
}

/// Issue, "What must be shown", 8: a `vfork` child that calls `sigaction` leaves the parent's table
/// as it was, 100 times.
fn sigaction_stays_in_the_child() {
    let both = SignalSet::from([Signal::USR1, Signal::CHLD]);
    let inbox = sigplane::subscribe(both).inbox().expect("they are free");
    let before = sigplane::table().row(Signal::USR1).expect("it is subscribed").kernel;
    for _ in 0..100 {
        let mut signal = libc::SIGUSR1;
        assert_eq!(vfork(victim_sigactions, (&raw mut signal).cast()), 0);
        assert_eq!(inbox.recv().signal(), Signal::CHLD);
        let table = sigplane::table();
        let row = table.row(Signal::USR1).expect("it is subscribed");
        assert_eq!((row.ours, row.taken_over, row.entries.len()), (true, false, 1), "{table}");
        assert_eq!(row.kernel, before);
        assert!(raised(&inbox, Signal::USR1));
    }
}

/// Each way to subscribe; the number of those that did not say what they should.
unsafe extern "C" fn subscribe_in_child(_: *mut c_void) -> i32 {
    let refused = |result: sigplane::Result<()>| i32::from(result != Err(Error::VforkChild));
    let closure = || sigplane::subscribe(Signal::USR2);
    refused(closure().inbox().map(drop))
        + refused(closure().dispatcher(|_| ()).map(drop))
        + refused(closure().thread(|_| ()).map(drop))
        + refused(closure().channel().map(drop))
        + refused(unsafe { closure().immediate(|_| sigplane::Verdict::Pass) }.map(drop))
        + refused(sigplane::on(Signal::USR1, |_| ()).map(drop))
}

static ON_DISPATCHER: AtomicUsize = AtomicUsize::new(0);

/// A vfork child that subscribes gets an error, whatever the context, and the parent's table is
/// unchanged; the parent can do afterwards what the child could not. (BRIEF §7, "must not touch the
/// parent's table".)
fn subscribing_is_refused() {
    let inbox = sigplane::subscribe(Signal::USR1).inbox().expect("it is free");
    let _attached = sigplane::thread::current();
    let before = sigplane::table().to_string();
    for _ in 0..20 {
        assert_eq!(vfork(subscribe_in_child, null_mut()), 0);
        assert_eq!(sigplane::table().to_string(), before);
    }
    assert!(raised(&inbox, Signal::USR1));
    let sub = sigplane::on(Signal::USR2, |_| {
        ON_DISPATCHER.fetch_add(1, SeqCst);
    });
    let _sub = sub.expect("the child did not take it");
    send::raise(Signal::USR2).expect("to this thread");
    eventually("the dispatcher runs in the parent", || ON_DISPATCHER.load(SeqCst) == 1);
}

unsafe extern "C" fn die_of_usr1(_: *mut c_void) -> i32 {
    let pid = unsafe { libc::getpid() };
    let _dead = send::to_process(pid, Signal::USR1);
    3
}

unsafe extern "C" fn survive_winch(_: *mut c_void) -> i32 {
    let _ignored = send::raise(Signal::WINCH);
    4
}

/// A signal to the vfork child is the child's: it does not arrive in a queue of the parent, and the
/// child gets the default action, as if nobody handled. (BRIEF §7: dispositions are its own, the
/// memory is not.)
fn signals_stay_in_the_child() {
    let both = SignalSet::from([Signal::USR1, Signal::WINCH]);
    let inbox = sigplane::subscribe(both).inbox().expect("they are free");
    let dispatched = sigplane::on(both, |_| {
        ON_DISPATCHER.fetch_add(1, SeqCst);
    });
    let dispatched = dispatched.expect("they can be shared");
    let threads = sigplane::subscribe(both).thread(|_| ()).expect("they can be shared");
    for _ in 0..20 {
        assert_eq!(vfork(die_of_usr1, null_mut()), -libc::SIGUSR1);
        assert_eq!(vfork(survive_winch, null_mut()), 4);
    }
    assert_eq!(inbox.try_recv().map(|event| event.signal()), None);
    assert_eq!(sigplane::thread::poll(), 0);
    for stats in [inbox.stats(), dispatched.stats(), threads.stats()] {
        assert_eq!((stats.queued, stats.dropped, stats.waiting), (0, 0, 0));
    }
    // The parent goes on as before.
    assert!(raised(&inbox, Signal::USR1));
    assert_eq!(sigplane::thread::poll(), 1);
    eventually("the parent's own event", || ON_DISPATCHER.load(SeqCst) == 1);
}

unsafe extern "C" fn raise_winch_deferred(_: *mut c_void) -> i32 {
    let critical = sigplane::defer();
    let sent = send::raise(Signal::WINCH);
    drop(critical);
    i32::from(sent.is_err())
}

/// The same when the parent's thread is in a deferral, or the child makes one: what the child
/// deferred is not delivered in the parent.
fn deferred_signals_stay_in_the_child() {
    let inbox = sigplane::subscribe(Signal::WINCH).inbox().expect("it is free");
    for _ in 0..20 {
        assert_eq!(vfork(raise_winch_deferred, null_mut()), 0);
        let critical = sigplane::defer();
        assert_eq!(vfork(survive_winch, null_mut()), 4);
        assert!(sigplane::is_deferred());
        drop(critical);
    }
    assert_eq!(inbox.try_recv().map(|event| event.signal()), None);
    assert_eq!(inbox.stats().queued, 0);
    assert!(raised(&inbox, Signal::WINCH));
}

unsafe extern "C" fn attach_in_child(_: *mut c_void) -> i32 {
    drop(sigplane::defer());
    i32::from(!sigplane::thread::current().is_alive())
}

/// Uses the library first in a vfork child, then here.
fn child_first() {
    assert_eq!(vfork(attach_in_child, null_mut()), 0);
    let me = sigplane::thread::current();
    assert_eq!(me.tid(), unsafe { libc::gettid() });
    let mut stack = unsafe { std::mem::zeroed::<libc::stack_t>() };
    assert_eq!(unsafe { libc::sigaltstack(std::ptr::null(), &mut stack) }, 0);
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    assert!(stack.ss_flags & libc::SS_DISABLE == 0 && stack.ss_size >= frame + 16 * 1024);
    let inbox = sigplane::subscribe(Signal::USR1).inbox().expect("this is no vfork child");
    assert!(raised(&inbox, Signal::USR1));
}

/// A thread whose first use of the library is in a vfork child is itself afterwards: its own id, by
/// which others wake it, and an alternate stack. (BRIEF §7: "shares the memory".)
fn attaching_in_the_child_is_harmless() {
    let _attached = sigplane::thread::current();
    std::thread::spawn(child_first).join().expect("the thread is itself");
    assert_eq!(sigplane::table().threads, 1, "it was detached");
}

/// The same when nobody in the process has used the library before the child does.
fn starting_in_the_child_is_harmless() {
    child_first();
}

/// A vfork child that restores the dispositions before exec, as it should, changes only its own.
fn restoring_stays_in_the_child() {
    unsafe extern "C" fn restore(_: *mut c_void) -> i32 {
        sigplane::process::restore_dispositions();
        let _dead = send::raise(Signal::USR1);
        5
    }
    let inbox = sigplane::subscribe(Signal::USR1).inbox().expect("it is free");
    assert_eq!(vfork(restore, null_mut()), -libc::SIGUSR1);
    let table = sigplane::table();
    let row = table.row(Signal::USR1).expect("it is subscribed");
    assert_eq!(row.kernel.handler, Handler::Sigplane);
    assert!(raised(&inbox, Signal::USR1));
}

fn main() {
    Suite {
        tests: &[
            ("sigaction_stays_in_the_child", sigaction_stays_in_the_child),
            ("subscribing_is_refused", subscribing_is_refused),
            ("signals_stay_in_the_child", signals_stay_in_the_child),
            ("deferred_signals_stay_in_the_child", deferred_signals_stay_in_the_child),
            ("attaching_in_the_child_is_harmless", attaching_in_the_child_is_harmless),
            ("starting_in_the_child_is_harmless", starting_in_the_child_is_harmless),
            ("restoring_stays_in_the_child", restoring_stays_in_the_child),
        ],
        victims: &[],
    }
    .main()
}
