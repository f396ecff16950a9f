//! Rust with `sigaction` semantics (issue: "`sigplane_compat::sigaction` and friends over `libc` types and over
//! `nix::sys::signal`"; BRIEF §9: "what they set is what they read back … Subscribers of the same signal
//! neither see nor disturb that"). The kernel is the model: raw system calls say what it has.

use sigplane::{Signal, SignalSet, Subscription};
use sigplane_compat::nix;
use sigplane_compat::posix::{self, c};
use sigplane_tests::{Suite, eventually, raw};
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;

static ENTERED: AtomicUsize = AtomicUsize::new(0);
static SEEN: AtomicU64 = AtomicU64::new(0);
static AT: AtomicUsize = AtomicUsize::new(0);
static SUBSCRIBED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(_signal: i32) {
    ENTERED.fetch_add(1, SeqCst);
}

/// Looks at the thread's mask, as the program sees it.
extern "C" fn look(_signal: i32) {
    let mut mask = [0u64; 16];
    // SAFETY: as large as a `sigset_t`.
    unsafe { c::sigprocmask(libc::SIG_BLOCK, ptr::null(), (&raw mut mask).cast()) };
    SEEN.store(mask[0], SeqCst);
    AT.store((&raw const mask).addr(), SeqCst);
    ENTERED.fetch_add(1, SeqCst);
}

/// Looks at the signal's own action.
extern "C" fn ask(signal: i32) {
    let now = action_of(signal);
    SEEN.store(now.flags << 32 | now.handler as u64 & 0xffff_ffff, SeqCst);
    ENTERED.fetch_add(1, SeqCst);
}

fn new(handler: extern "C" fn(i32), flags: i32, mask: u64) -> libc::sigaction {
    new_action(handler as usize, flags, mask)
}

fn new_action(handler: usize, flags: i32, mask: u64) -> libc::sigaction {
    // SAFETY: all zero bytes are an action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    (action.sa_sigaction, action.sa_flags) = (handler, flags);
    // SAFETY: a set begins with the kernel's word.
    unsafe { (&raw mut action.sa_mask).cast::<u64>().write(mask) };
    action
}

fn set(signal: i32, action: &libc::sigaction) -> libc::sigaction {
    // SAFETY: the handlers of this file keep to signal-safety(7), or are never entered.
    unsafe { posix::sigaction(signal, Some(action)) }.expect("the action is set")
}

/// What the program reads, in the kernel's words.
fn action_of(signal: i32) -> raw::Action {
    // SAFETY: only asks.
    let action = unsafe { posix::sigaction(signal, None) }.expect("a signal");
    let restorer = action.sa_restorer.map_or(0, |function| function as usize);
    // SAFETY: a set begins with the kernel's word.
    let mask = unsafe { (&raw const action.sa_mask).cast::<u64>().read() };
    let flags = u64::from(action.sa_flags as u32);
    raw::Action { handler: action.sa_sigaction, flags, restorer, mask }
}

fn subscribe(signal: i32) -> Subscription {
    let set = SignalSet::from_bits(raw::bit(signal));
    sigplane::on(set, |_| {
        SUBSCRIBED.fetch_add(1, SeqCst);
    })
    .expect("a subscription")
}

fn send(signal: i32) {
    // SAFETY: to this thread.
    unsafe { libc::raise(signal) };
}

/// What is read is what the kernel would have: it has it itself where nobody subscribes, and with a
/// subscriber, who comes and goes, the program reads the same.
fn reads_back_exactly() {
    const HANDLERS: [usize; 4] = [libc::SIG_DFL, libc::SIG_IGN, 2, 0x5000_0000];
    let flags = (0..32).map(|bit| 1i32.wrapping_shl(bit)).chain([0, -1]);
    let masks = [0, u64::MAX, raw::bit(libc::SIGKILL) | raw::bit(34), 0x5555_5555_5555_5555];
    let signals = [libc::SIGUSR1, libc::SIGCHLD, libc::SIGWINCH, 34, 64];
    let cases: Vec<_> = flags.flat_map(|flags| masks.map(|mask| (flags, mask))).collect();
    for signal in signals {
        let before = action_of(signal);
        assert_eq!(before, raw::action(signal), "as it was found");
        for (flags, mask) in &cases {
            for handler in HANDLERS {
                let action = new_action(handler, *flags, *mask);
                set(signal, &action);
                let read = action_of(signal);
                assert_eq!(read, raw::action(signal), "{signal}: flags {flags:x}, mask {mask:x}");
            }
        }
        let expected: Vec<_> = cases
            .iter()
            .map(|(flags, mask)| {
                set(signal, &new_action(HANDLERS[1], *flags, *mask));
                action_of(signal)
            })
            .collect();
        let subscription = subscribe(signal);
        assert_eq!(action_of(signal), *expected.last().expect("cases"), "kept for the program");
        for ((flags, mask), expected) in cases.iter().zip(&expected) {
            let last = action_of(signal);
            let old = set(signal, &new_action(HANDLERS[1], *flags, *mask));
            assert_eq!(old.sa_sigaction, last.handler);
            assert_eq!(action_of(signal), *expected, "{signal}: with a subscriber");
        }
        assert_ne!(raw::action(signal).handler, HANDLERS[1], "the kernel has sigplane's");
        let last = action_of(signal);
        drop(subscription);
        eventually("the program's own is back", || raw::action(signal) == last);
        set(signal, &new_action(libc::SIG_DFL, 0, 0));
    }
}

/// A subscriber and the program's handlers of one signal: each sees every one of them, whatever the other
/// does.
fn a_subscriber_and_a_handler() {
    let signal = libc::SIGUSR1;
    set(signal, &new(count, libc::SA_RESTART, 0));
    send(signal);
    assert_eq!(ENTERED.load(SeqCst), 1);
    let subscription = subscribe(signal);
    for round in 0..200 {
        let (handler, flags) = match round % 3 {
            0 => (count as extern "C" fn(i32) as usize, libc::SA_RESTART),
            1 => (libc::SIG_IGN, 0),
            _ => (look as extern "C" fn(i32) as usize, libc::SA_NODEFER),
        };
        let old = set(signal, &new_action(handler, flags, 0));
        let entered = ENTERED.load(SeqCst);
        send(signal);
        let ran = usize::from(handler != libc::SIG_IGN);
        assert_eq!(ENTERED.load(SeqCst), entered + ran, "the handler runs before raise returns");
        assert_eq!(action_of(signal).handler, handler);
        assert_ne!(old.sa_sigaction, raw::action(signal).handler, "never sigplane's");
        eventually("the subscriber has it", || SUBSCRIBED.load(SeqCst) == round + 1);
    }
    set(signal, &new(count, 0, 0));
    drop(subscription);
    let (entered, subscribed) = (ENTERED.load(SeqCst), SUBSCRIBED.load(SeqCst));
    send(signal);
    assert_eq!(ENTERED.load(SeqCst), entered + 1, "the handler stays");
    assert_eq!(SUBSCRIBED.load(SeqCst), subscribed, "the subscriber is gone");
}

/// Four threads send at once; a handler with `SA_RESETHAND` is entered once, and reads the default action
/// with its flags kept. With a subscriber and without.
fn a_handler_that_is_reset() {
    let signal = libc::SIGWINCH; // Ignored by default.
    let threads = 4;
    let sent = 100;
    for subscribed in [false, true] {
        let subscription = subscribed.then(|| subscribe(signal));
        for round in 0..50 {
            ENTERED.store(0, SeqCst);
            set(signal, &new(ask, libc::SA_RESETHAND | libc::SA_NODEFER, raw::bit(10)));
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| (0..sent).for_each(|_| send(signal)));
                }
            });
            let what = format!("subscribed: {subscribed}, round {round}");
            assert_eq!(ENTERED.load(SeqCst), 1, "{what}");
            let flags = (libc::SA_RESETHAND | libc::SA_NODEFER) as u32 | 0x0400_0000;
            assert_eq!(SEEN.load(SeqCst), u64::from(flags) << 32, "{what}");
            let now = action_of(signal);
            assert_eq!((now.handler, now.mask), (libc::SIG_DFL, raw::bit(10)), "{what}");
        }
        drop(subscription);
    }
    let all = 50 * threads * sent;
    eventually("the subscriber has had its own", || SUBSCRIBED.load(SeqCst) > 0);
    assert!(SUBSCRIBED.load(SeqCst) <= all, "and no others");
}

/// In a handler the mask is the thread's, the action's and the signal, unless `SA_NODEFER`; afterwards it is
/// the thread's again.
fn masks_in_handlers() {
    let signal = libc::SIGUSR2;
    let of_thread = raw::bit(libc::SIGHUP) | raw::bit(40);
    for subscribed in [false, true] {
        let subscription = subscribed.then(|| subscribe(signal));
        for mask in [0, raw::bit(libc::SIGTERM), raw::bit(64) | raw::bit(libc::SIGINT), u64::MAX] {
            for flags in
                [0, libc::SA_NODEFER, libc::SA_SIGINFO, libc::SA_RESTART | libc::SA_ONSTACK]
            {
                raw::set_mask(of_thread);
                set(signal, &new(look, flags, mask));
                send(signal);
                let own = if flags & libc::SA_NODEFER == 0 { raw::bit(signal) } else { 0 };
                let never = raw::bit(libc::SIGKILL) | raw::bit(libc::SIGSTOP);
                let expected = (of_thread | mask | own) & !never;
                assert_eq!(SEEN.load(SeqCst), expected, "{subscribed}: {mask:x} {flags:x}");
                assert_eq!(raw::mask(), of_thread);
            }
        }
        raw::set_mask(0);
        drop(subscription);
    }
}

/// `SA_ONSTACK` means the stack that the program has set, and no flag the stack it is on.
fn the_stack_that_was_asked_for() {
    let mut memory = vec![0u8; 64 * 1024];
    let range = memory.as_ptr_range();
    let range = range.start.addr()..range.end.addr();
    // SAFETY: all zero bytes are a stack.
    let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
    (stack.ss_sp, stack.ss_size) = (memory.as_mut_ptr().cast(), memory.len());
    // SAFETY: the memory lives until another stack is set.
    let before = unsafe { posix::sigaltstack(Some(&stack)) }.expect("a stack");
    let signal = libc::SIGUSR1;
    for subscribed in [false, true] {
        let subscription = subscribed.then(|| subscribe(signal));
        for flags in [0, libc::SA_ONSTACK] {
            set(signal, &new(look, flags, 0));
            send(signal);
            let on = range.contains(&AT.load(SeqCst));
            assert_eq!(on, flags != 0, "subscribed: {subscribed}");
        }
        drop(subscription);
    }
    // SAFETY: what was there.
    let ours = unsafe { posix::sigaltstack(Some(&before)) }.expect("a stack");
    assert_eq!((ours.ss_sp.addr(), ours.ss_size), (range.start, memory.len()));
}

/// Numbers that are none, libc's own, and those that cannot be changed; what has failed has changed nothing.
fn errors() {
    let action = new(count, 0, 0);
    let mut old = new_action(77, 78, 79);
    for signal in [i32::MIN, -1, 0, 32, 33, 65, i32::MAX, libc::SIGKILL, libc::SIGSTOP] {
        // SAFETY: a handler that only counts.
        let error = unsafe { posix::sigaction(signal, Some(&action)) }.expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{signal}");
        // SAFETY: both pointers are to locals.
        assert_eq!(unsafe { c::sigaction(signal, &raw const action, &raw mut old) }, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(old.sa_sigaction, 77, "nothing is written");
        // SAFETY: as above.
        assert_eq!(unsafe { c::signal(signal, libc::SIG_IGN) }, libc::SIG_ERR);
    }
    // SAFETY: only asks.
    assert!(unsafe { posix::sigaction(libc::SIGKILL, None) }.is_ok(), "to ask is allowed");
    // SAFETY: no handler.
    assert!(unsafe { posix::signal(libc::SIGUSR1, libc::SIG_ERR) }.is_err());
    let set = [u64::MAX; 16];
    // SAFETY: as large as a set.
    let how = unsafe { c::pthread_sigmask(3, set.as_ptr().cast(), ptr::null_mut()) };
    assert_eq!((how, raw::mask()), (libc::EINVAL, 0));
    // SAFETY: as above.
    unsafe { c::sigprocmask(libc::SIG_SETMASK, set.as_ptr().cast(), ptr::null_mut()) };
    let internal = raw::bit(32) | raw::bit(33) | raw::bit(libc::SIGKILL) | raw::bit(libc::SIGSTOP);
    assert_eq!(raw::mask(), !internal, "libc's own stay open");
    raw::set_mask(0);
}

/// A program over nix's types, with the functions of the same names.
fn one_for_one_with_nix() {
    use nix::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow};

    extern "C" fn with_info(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: the kernel's.
        SEEN.store(unsafe { (*info).si_signo } as u64, SeqCst);
    }

    let signal = nix::Signal::SIGUSR1;
    let mask = SigSet::from(nix::Signal::SIGTERM);
    let action = SigAction::new(SigHandler::SigAction(with_info), SaFlags::SA_RESTART, mask);
    // SAFETY: the handler only stores a number.
    let before = unsafe { nix::sigaction(signal, &action) }.expect("set");
    assert!(matches!(before.handler(), SigHandler::SigDfl));
    let _subscription = sigplane::on(Signal::USR1, |_| ()).expect("a subscription");
    nix::raise(signal).expect("sent");
    assert_eq!(SEEN.load(SeqCst), libc::SIGUSR1 as u64);
    // SAFETY: what was there.
    let read = unsafe { nix::sigaction(signal, &before) }.expect("set");
    assert_eq!(read.flags(), SaFlags::SA_RESTART | SaFlags::SA_SIGINFO);
    assert_eq!(read.mask(), mask);
    assert!(
        matches!(read.handler(), SigHandler::SigAction(f) if f as usize == with_info as *const () as usize)
    );

    // SAFETY: a handler that only counts.
    let old = unsafe { nix::signal(signal, SigHandler::Handler(count)) }.expect("set");
    assert!(matches!(old, SigHandler::SigDfl));
    let mut before = SigSet::empty();
    nix::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signal.into()), Some(&mut before)).expect("set");
    nix::raise(signal).expect("sent");
    assert_eq!(ENTERED.load(SeqCst), 0, "it is blocked");
    nix::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None).expect("set");
    assert_eq!(ENTERED.load(SeqCst), 1);
    // SAFETY: no handler.
    let old = unsafe { nix::signal(signal, SigHandler::SigIgn) }.expect("set");
    assert!(matches!(old, SigHandler::Handler(f) if f as usize == count as *const () as usize));
    // SAFETY: no handler.
    let refused = unsafe { nix::signal(nix::Signal::SIGKILL, SigHandler::SigIgn) };
    assert_eq!(refused.err(), Some(::nix::errno::Errno::EINVAL));
}

fn main() {
    Suite {
        tests: &[
            ("reads_back_exactly", reads_back_exactly),
            ("a_subscriber_and_a_handler", a_subscriber_and_a_handler),
            ("a_handler_that_is_reset", a_handler_that_is_reset),
            ("masks_in_handlers", masks_in_handlers),
            ("the_stack_that_was_asked_for", the_stack_that_was_asked_for),
            ("errors", errors),
            ("one_for_one_with_nix", one_for_one_with_nix),
        ],
        victims: &[],
    }
    .main()
}
