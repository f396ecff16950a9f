//! Subscribing and unsubscribing, in the four contexts.

use super::abi::*;
use super::handle::{self, Held, Kind, Object};
use super::memory;
use super::status::{self, Result, contained, ordinary, own_process};
use super::user::User;
use core::ffi::{CStr, c_int, c_void};
use sigplane::{Builder, Overflow, Place, SignalSet, Verdict, capi};

/// The largest queue: 10 MiB. A wild number must not take all memory.
const MOST: u64 = 1 << 16;

impl Options {
    const DEFAULT: Self = Self {
        size: size_of::<Self>() as u32,
        flags: 0,
        priority: 0,
        overflow: BACKPRESSURE,
        capacity: 128,
        name: core::ptr::null(),
        destroy: None,
        reserved: 0,
    };

    /// What the caller says, checked.
    pub(super) fn read(from: *const Self) -> Result<Self> {
        if from.is_null() {
            return Ok(Self::DEFAULT);
        }
        if memory::read(from.cast::<u32>())? != size_of::<Self>() as u32 {
            return Err(E_SIZE);
        }
        let options = memory::read(from)?;
        let known = options.flags & !(OBSERVE | AFTER_LEGACY | EDGE_TRIGGERED) == 0;
        let rest = options.overflow <= DROP_OLDEST && options.reserved == 0;
        if known && rest && options.capacity <= MOST { Ok(options) } else { Err(E_ARGUMENT) }
    }

    /// The subscription that they describe; `callback` gives the name if they do not.
    fn builder(&self, set: SignalSet, callback: usize) -> Result<Builder> {
        let name = if self.name.is_null() { symbol(callback) } else { memory::text(self.name)? };
        let builder = sigplane::subscribe(set)
            .name(name)
            .priority(self.priority)
            .capacity(usize::try_from(self.capacity).unwrap_or(usize::MAX))
            .overflow(match self.overflow {
                COALESCE => Overflow::Coalesce,
                DROP_NEWEST => Overflow::DropNewest,
                DROP_OLDEST => Overflow::DropOldest,
                _ => Overflow::Backpressure,
            });
        let builder = if self.flags & AFTER_LEGACY != 0 {
            builder.place(Place::AfterLegacy)
        } else {
            builder
        };
        Ok(if self.flags & OBSERVE != 0 { builder.observe() } else { builder })
    }
}

/// A name for a callback: its symbol, or where it is in its object.
fn symbol(at: usize) -> String {
    if at == 0 {
        return "C".to_owned();
    }
    // SAFETY: all zero bytes are a valid `Dl_info`.
    let mut info: libc::Dl_info = unsafe { core::mem::zeroed() };
    // SAFETY: any address may be asked about, and the result is a local.
    let found = unsafe { libc::dladdr(core::ptr::without_provenance(at), &raw mut info) };
    let text = |text: *const core::ffi::c_char| {
        // SAFETY: a string of the loader's, of an object that is loaded now.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    if found == 0 {
        return format!("C at {at:#x}");
    }
    match (text(info.dli_sname), text(info.dli_fname)) {
        (Some(name), _) if info.dli_saddr.addr() == at => name,
        (_, Some(file)) => {
            let file = file.rsplit('/').next().unwrap_or_default().to_owned();
            format!("{file}+{:#x}", at.wrapping_sub(info.dli_fbase.addr()))
        }
        _ => format!("C at {at:#x}"),
    }
}

/// A set that names signals only that exist.
pub(super) fn signals(bits: u64) -> Result<SignalSet> {
    let set = SignalSet::from_bits(bits);
    if set.bits() == bits { Ok(set) } else { Err(E_SIGNAL) }
}

/// What every registration checks first.
pub(super) fn begin<T: memory::Bytes>(options: *const Options, result: *mut T) -> Result<Options> {
    ordinary()?;
    own_process()?;
    memory::probe(result)?;
    Options::read(options)
}

/// `sigplane_subscribe_dispatcher`
pub unsafe extern "C" fn dispatcher(
    set: u64,
    options: *const Options,
    handler: Option<Handler>,
    user: *mut c_void,
    result: *mut Subscription,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let handler = handler.ok_or(E_NULL)?;
        let builder = options.builder(signals(set)?, handler as usize)?;
        let (user, registered) = User::new(user, &options);
        let run = move |event: &sigplane::Event| {
            let event = Event::of(event);
            // SAFETY: the header's contract of a handler.
            unsafe { handler(&raw const event, user.data()) };
        };
        let subscription = builder.dispatcher(run).map_err(status::of)?;
        let id = handle::insert(Object::Subscription(subscription))?;
        registered.confirm();
        memory::write(result, Subscription { id })
    })
}

/// `sigplane_subscribe_thread`
pub unsafe extern "C" fn thread(
    set: u64,
    options: *const Options,
    handler: Option<Handler>,
    user: *mut c_void,
    result: *mut Subscription,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let handler = handler.ok_or(E_NULL)?;
        let builder = options.builder(signals(set)?, handler as usize)?;
        let (user, registered) = User::new(user, &options);
        let run = move |event: &sigplane::Event| {
            let event = Event::of(event);
            // SAFETY: the header's contract of a handler.
            unsafe { handler(&raw const event, user.data()) };
        };
        let subscription = builder.thread(run).map_err(status::of)?;
        let id = handle::insert(Object::Thread(subscription, capi::current_thread()))?;
        registered.confirm();
        memory::write(result, Subscription { id })
    })
}

/// `sigplane_subscribe_inbox`
pub unsafe extern "C" fn inbox(
    set: u64,
    options: *const Options,
    result: *mut Subscription,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let (user, registered) = User::new(core::ptr::null_mut(), &options);
        let builder = options.builder(signals(set)?, 0)?;
        let inbox = builder.inbox().map_err(status::of)?;
        let inbox =
            if options.flags & EDGE_TRIGGERED != 0 { inbox.edge_triggered() } else { inbox };
        let id = handle::insert(Object::Inbox(inbox))?;
        drop((user, registered)); // An inbox has no callback, and nothing to destroy.
        memory::write(result, Subscription { id })
    })
}

/// What a handler sees of a delivery in progress: the address of sigplane's own view of it, and a seal that
/// no other memory has by chance.
pub(super) fn sealed(inner: usize, at: usize) -> [u64; 2] {
    const SEAL: u64 = 0x5167_706c_616e_6531;
    [inner as u64, inner as u64 ^ at as u64 ^ SEAL]
}

/// `sigplane_subscribe_immediate`
pub unsafe extern "C" fn immediate(
    set: u64,
    options: *const Options,
    handler: Option<ImmediateHandler>,
    user: *mut c_void,
    result: *mut Subscription,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let handler = handler.ok_or(E_NULL)?;
        let builder = options.builder(signals(set)?, handler as usize)?;
        let (user, registered) = User::new(user, &options);
        let run =
            move |delivery: &mut sigplane::Delivery<'_>| deliver(handler, user.data(), delivery);
        // SAFETY: the header asks of the handler what sigplane asks.
        let subscription = unsafe { builder.immediate(run) }.map_err(status::of)?;
        let id = handle::insert(Object::Subscription(subscription))?;
        registered.confirm();
        memory::write(result, Subscription { id })
    })
}

/// **Runs inside signal handlers.**
fn deliver(
    handler: ImmediateHandler,
    user: *mut c_void,
    delivery: &mut sigplane::Delivery<'_>,
) -> Verdict {
    let fault = if delivery.is_fault() { DELIVERY_FAULT } else { 0 };
    let deferred = if delivery.is_deferred() { DELIVERY_DEFERRED } else { 0 };
    let context = delivery.machine_context().map_or(core::ptr::null_mut(), core::ptr::from_mut);
    let mut view = Delivery {
        size: size_of::<Delivery>() as u32,
        signo: delivery.signal().number(),
        tid: delivery.thread(),
        flags: fault | deferred,
        info: core::ptr::from_ref(delivery.info()).cast(),
        context: context.cast(),
        reserved: [0; 2],
    };
    let inner = core::ptr::from_ref::<sigplane::Delivery<'_>>(delivery).expose_provenance();
    view.reserved = sealed(inner, (&raw const view).addr());
    // SAFETY: the header's contract of an immediate handler.
    let verdict = unsafe { handler(&raw mut view, user) };
    // A pointer to it that was kept is found out.
    core::hint::black_box(&mut view).reserved = [0; 2];
    if verdict == HANDLED { Verdict::Handled } else { Verdict::Pass }
}

/// `sigplane_delivery_event`
pub unsafe extern "C" fn delivery_event(delivery: *const Delivery, event: *mut Event) -> c_int {
    contained(|| {
        let view = memory::read(delivery)?;
        memory::probe(event)?;
        let [inner, _] = view.reserved;
        if inner == 0 || sealed(inner as usize, delivery.addr()) != view.reserved {
            return Err(E_HANDLE);
        }
        let inner = core::ptr::with_exposed_provenance::<sigplane::Delivery<'_>>(inner as usize);
        // SAFETY: the seal says that `deliver` is in progress further up the stack.
        let inner = unsafe { &*inner };
        memory::write(event, Event::of(&inner.event()))
    })
}

/// `sigplane_unsubscribe`
pub unsafe extern "C" fn unsubscribe(subscription: Subscription, removal: *mut c_int) -> c_int {
    contained(|| {
        memory::probe_optional(removal)?;
        let done = handle::end(subscription.id, Kind::Subscription)?;
        memory::write_optional(removal, done)
    })
}

/// `sigplane_disarm`
pub unsafe extern "C" fn disarm(subscription: Subscription) -> c_int {
    contained(|| {
        let held: Held = handle::hold(subscription.id, Kind::Subscription)?;
        match held.object()? {
            Object::Subscription(subscription) => subscription.disarm(),
            _ => return Err(E_WRONG_CONTEXT),
        }
        Ok(())
    })
}

/// `sigplane_stats_of`
pub unsafe extern "C" fn stats(subscription: Subscription, stats: *mut Stats) -> c_int {
    contained(|| {
        let held = handle::hold(subscription.id, Kind::Subscription)?;
        let seen = match held.object()? {
            Object::Subscription(subscription) => subscription.stats(),
            Object::Thread(subscription, _) => subscription.stats(),
            Object::Inbox(inbox) => inbox.stats(),
            _ => return Err(E_HANDLE),
        };
        let out = Stats {
            queued: seen.queued as u64,
            taken: seen.taken as u64,
            dropped: seen.dropped as u64,
            discarded: seen.discarded as u64,
            waiting: seen.waiting as u64,
            deepest: seen.deepest as u64,
            panics: seen.panics as u64,
            holding: seen.holding.into(),
        };
        memory::write(stats, out)
    })
}

/// `sigplane_set_all`
pub unsafe extern "C" fn set_all() -> u64 {
    SignalSet::all().bits()
}
