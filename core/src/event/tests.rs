//! Views made from hand-built `siginfo_t`s: each cause has its own and no other.

use super::*;
use crate::set::SignalSet;

/// The bytes of a `siginfo_t`, by the offsets of the kernel's header.
struct Build([u64; 16]);

impl Build {
    fn new(signal: Signal, code: i32) -> Build {
        Build([0; 16]).i32(0, signal.number()).i32(8, code)
    }

    fn i32(mut self, offset: usize, value: i32) -> Build {
        let shift = offset % 8 * 8;
        self.0[offset / 8] &= !(0xffff_ffff << shift);
        self.0[offset / 8] |= u64::from(value.cast_unsigned()) << shift;
        self
    }

    fn word(mut self, offset: usize, value: u64) -> Build {
        self.0[offset / 8] = value;
        self
    }

    fn event(self) -> Event {
        // SAFETY: both are 128 bytes of plain integers, any of which are a valid siginfo_t.
        let info = unsafe { std::mem::transmute::<[u64; 16], libc::siginfo_t>(self.0) };
        Event::from_raw(RawEvent { info, arrival_ns: 1_500_000_000, tid: 77, instances: 1 })
    }
}

/// Which views exist: sender, value, child, fault, timer, poll, system call.
fn views(event: &Event) -> [bool; 7] {
    [
        event.sender().is_some(),
        event.value().is_some(),
        event.child().is_some(),
        event.fault().is_some(),
        event.timer().is_some(),
        event.poll().is_some(),
        event.syscall().is_some(),
    ]
}

const NONE: [bool; 7] = [false; 7];

fn only(positions: &[usize]) -> [bool; 7] {
    std::array::from_fn(|position| positions.contains(&position))
}

#[test]
fn sent_by_processes() {
    let user = Build::new(Signal::TERM, libc::SI_USER).i32(16, 42).i32(20, 1000).event();
    assert_eq!((user.signal(), user.cause(), user.code()), (Signal::TERM, Cause::User, 0));
    assert_eq!(user.sender(), Some(Sender { pid: 42, uid: 1000 }));
    assert_eq!(views(&user), only(&[0]));
    assert_eq!(user.to_string(), "SIGTERM from process 42 of user 1000");

    let thread = Build::new(Signal::SEGV, libc::SI_TKILL).i32(16, 42).event();
    assert_eq!((thread.cause(), views(&thread)), (Cause::Thread, only(&[0])));

    let queued = Build::new(Signal::USR1, libc::SI_QUEUE).i32(16, 5).word(24, 0x1_0000_0002);
    let queued = queued.event();
    assert_eq!((queued.cause(), views(&queued)), (Cause::Queue, only(&[0, 1])));
    assert_eq!(queued.value().map(Value::int), Some(2));
    assert_eq!(queued.value().map(Value::addr), Some(0x1_0000_0002));

    let own = Build::new(Signal::USR1, -1000).i32(16, 5).word(24, 9).event();
    assert_eq!((own.cause(), views(&own)), (Cause::Other(-1000), only(&[0, 1])));
    let kernel = Build::new(Signal::INT, libc::SI_KERNEL).event();
    assert_eq!((kernel.cause(), views(&kernel)), (Cause::Kernel, NONE));
}

#[test]
fn timers_queues_and_descriptors() {
    let timer = Build::new(Signal::ALRM, libc::SI_TIMER).i32(16, 3).i32(20, 8).word(24, 6).event();
    assert_eq!(timer.timer(), Some(Timer { id: 3, overrun: 8 }));
    assert_eq!((timer.value(), views(&timer)), (Some(Value::from_int(6)), only(&[1, 4])));

    let message = Build::new(Signal::USR2, libc::SI_MESGQ).i32(16, 9).word(24, 1).event();
    assert_eq!((message.cause(), views(&message)), (Cause::MessageQueue, only(&[0, 1])));
    for code in [libc::SI_ASYNCIO, libc::SI_ASYNCNL] {
        let done = Build::new(Signal::USR2, code).word(24, 1).event();
        assert_eq!((done.cause(), views(&done)), (Cause::AsyncIo, only(&[1])));
    }

    let band = Build::new(Signal::IO, 1).word(16, 0x41).i32(24, 12).event();
    assert_eq!((band.cause(), views(&band)), (Cause::Poll, only(&[5])));
    assert_eq!(band.poll(), Some(Poll { band: 0x41, fd: 12 }));
    let realtime = Build::new(Signal::rt(0).unwrap(), 6).i32(24, 12).event();
    assert_eq!((realtime.cause(), views(&realtime)), (Cause::Poll, only(&[5])));
    let specific = Build::new(Signal::CHLD, libc::SI_SIGIO).i32(24, 12).event();
    assert_eq!((specific.cause(), views(&specific)), (Cause::SigIo, only(&[5])));
}

#[test]
fn children() {
    let ended = Build::new(Signal::CHLD, libc::CLD_DUMPED).i32(16, 321).i32(20, 7);
    let ended = ended.i32(24, libc::SIGABRT).word(32, 250).word(40, u64::MAX).event();
    let child = ended.child().unwrap();
    assert_eq!((child.pid, child.uid, child.status), (321, 7, ChildStatus::Dumped(6)));
    assert_eq!(child.status.signal(), Some(Signal::ABRT));
    assert!(child.user_time > Duration::ZERO && child.system_time == Duration::ZERO);
    assert_eq!((ended.cause(), views(&ended)), (Cause::Child, only(&[2])));
    assert_eq!(ended.to_string(), "SIGCHLD: child 321 killed, with a core dump, by SIGABRT");

    let sent = Build::new(Signal::CHLD, libc::SI_USER).event();
    assert_eq!(views(&sent), only(&[0]));
    assert_eq!(Build::new(Signal::CHLD, 7).event().cause(), Cause::Other(7));
}

#[test]
fn faults() {
    let null = Build::new(Signal::SEGV, 1).event();
    let fault = null.fault().unwrap();
    assert_eq!((fault.address, fault.kind, fault.code), (Some(0), FaultKind::Unmapped, 1));
    assert_eq!(null.to_string(), "SIGSEGV: address not mapped at 0x0");

    let wild = Build::new(Signal::SEGV, libc::SI_KERNEL).word(16, 99).event();
    let fault = wild.fault().unwrap();
    assert_eq!((fault.address, fault.kind), (None, FaultKind::Unspecified));
    assert_eq!((wild.cause(), views(&wild)), (Cause::Fault, only(&[3])));

    let bounds = Build::new(Signal::SEGV, 3).word(16, 64).word(32, 16).word(40, 48).event();
    let fault = bounds.fault().unwrap();
    assert_eq!(fault.kind, FaultKind::Bounds { lower: 16, upper: 48 });
    let key = Build::new(Signal::SEGV, 4).i32(32, 5).event().fault().unwrap();
    assert_eq!(key.kind, FaultKind::ProtectionKey(5));
    let broken = Build::new(Signal::BUS, 4).i32(24, 12).event().fault().unwrap();
    assert_eq!(broken.kind, FaultKind::MemoryErrorNow { lsb: 12 });
    assert_eq!(Build::new(Signal::BUS, 1).event().fault().unwrap().address, None);
    assert_eq!(Build::new(Signal::FPE, 99).event().fault().unwrap().kind, FaultKind::Other(99));

    for signal in SignalSet::FAULTS {
        for code in [libc::SI_USER, libc::SI_TKILL, libc::SI_QUEUE, libc::SI_TIMER] {
            assert_eq!(Build::new(signal, code).event().fault(), None, "{signal} {code}");
        }
        assert!(Build::new(signal, 1).event().fault().is_some());
    }
    assert_eq!(Build::new(Signal::ABRT, 1).event().fault(), None);
}

#[test]
fn system_calls() {
    let call = Build::new(Signal::SYS, 1).i32(4, 0x1234).word(16, 0x5000).i32(24, 39).i32(28, 62);
    let call = call.event();
    assert_eq!((call.cause(), views(&call)), (Cause::Syscall, only(&[3, 6])));
    let expected = SysCall { address: 0x5000, number: 39, arch: 62, data: 0x1234 };
    assert_eq!(call.syscall(), Some(expected));
    assert_eq!(call.fault().map(|fault| fault.kind), Some(FaultKind::FilteredCall));
}

#[test]
fn no_bytes_make_a_view_panic() {
    for number in -1..=65 {
        for code in (-70..=200).chain([i32::MIN, i32::MAX]) {
            let mut build = Build([u64::MAX; 16]);
            build = build.i32(0, number).i32(8, code);
            let event = build.event();
            assert!(!format!("{event} {event:?}").is_empty());
        }
    }
}

#[test]
fn arrival_thread_and_instances() {
    fn portable<T: Clone + Send + Sync + 'static>(_: &T) {}
    let event = Build::new(Signal::USR1, 0).event();
    portable(&event);
    assert_eq!((event.thread(), event.instances()), (77, 1));
    assert_eq!(event.arrival(), Duration::from_millis(1500));
    assert_eq!(event.clone().raw().si_signo, libc::SIGUSR1);
    let raw = RawEvent { instances: 0, ..event.0 };
    assert_eq!(Event::from_raw(raw).instances(), 1);
}
