//! Regions, code ranges, last-chance hooks.

use super::abi::*;
use super::handle::{self, Kind, Object};
use super::memory;
use super::status::{self, Result, contained};
use super::subscribe::{begin, sealed, signals};
use super::user::User;
use core::ffi::{c_int, c_void};
use core::ops::Range;
use sigplane::Verdict;
use sigplane::fault::{self as faults, CodeRanges};

fn range(start: *const c_void, length: usize) -> Result<Range<usize>> {
    let end = start.addr().checked_add(length).ok_or(E_EMPTY_RANGE)?;
    Ok(start.addr()..end)
}

/// **Runs inside signal handlers.**
fn ask(
    handler: FaultHandler,
    user: *mut c_void,
    context: &mut faults::FaultContext<'_>,
) -> Verdict {
    let fault = Fault::of(&context.fault());
    let mut view = FaultContext {
        size: size_of::<FaultContext>() as u32,
        flags: 0,
        fault: &raw const fault,
        info: core::ptr::from_ref(context.info()).cast(),
        context: core::ptr::from_mut(context.raw()).cast(),
        reserved: [0; 2],
    };
    let inner = core::ptr::from_mut::<faults::FaultContext<'_>>(context).expose_provenance();
    view.reserved = sealed(inner, (&raw const view).addr());
    // SAFETY: the header's contract of a handler.
    let verdict = unsafe { handler(&raw mut view, user) };
    // A pointer to it that was kept is found out.
    core::hint::black_box(&mut view).reserved = [0; 2];
    if verdict == HANDLED { Verdict::Handled } else { Verdict::Pass }
}

/// Calls `call` with the fault in progress that C has a view of.
fn with(
    view: *const FaultContext,
    call: impl FnOnce(&mut faults::FaultContext<'_>) -> Result,
) -> Result {
    let seen = memory::read(view)?;
    let [inner, _] = seen.reserved;
    if inner == 0 || sealed(inner as usize, view.addr()) != seen.reserved {
        return Err(E_HANDLE);
    }
    let inner = core::ptr::with_exposed_provenance_mut::<faults::FaultContext<'_>>(inner as usize);
    // SAFETY: the seal says that `ask` is in progress further up the stack, and it does not use it meanwhile.
    call(unsafe { &mut *inner })
}

/// `sigplane_region_add`
pub unsafe extern "C" fn region_add(
    start: *const c_void,
    length: usize,
    options: *const Options,
    handler: Option<FaultHandler>,
    user: *mut c_void,
    result: *mut Region,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let handler = handler.ok_or(E_NULL)?;
        let range = range(start, length)?;
        let (user, registered) = User::new(user, &options);
        let run = move |context: &mut faults::FaultContext<'_>| ask(handler, user.data(), context);
        // SAFETY: the header asks of the handler what sigplane asks.
        let region = unsafe { faults::Region::with_priority(range, options.priority, run) };
        let id = handle::insert(Object::Region(region.map_err(status::of)?))?;
        registered.confirm();
        memory::write(result, Region { id })
    })
}

/// `sigplane_code_range_add`
pub unsafe extern "C" fn code_range_add(
    start: *const c_void,
    length: usize,
    options: *const Options,
    handler: Option<FaultHandler>,
    user: *mut c_void,
    result: *mut CodeRange,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let handler = handler.ok_or(E_NULL)?;
        let range = range(start, length)?;
        let (user, registered) = User::new(user, &options);
        let run = move |context: &mut faults::FaultContext<'_>| ask(handler, user.data(), context);
        // SAFETY: the header asks of the handler what sigplane asks.
        let ranges = unsafe { CodeRanges::new(run) }.map_err(status::of)?;
        let range = ranges.insert(range).map_err(status::of)?;
        let id = handle::insert(Object::Code(range))?;
        registered.confirm();
        memory::write(result, CodeRange { id })
    })
}

/// `sigplane_region_remove`
pub unsafe extern "C" fn region_remove(region: Region) -> c_int {
    contained(|| handle::end(region.id, Kind::Region).map(drop))
}

/// `sigplane_code_range_remove`
pub unsafe extern "C" fn code_range_remove(range: CodeRange) -> c_int {
    contained(|| handle::end(range.id, Kind::Code).map(drop))
}

/// `sigplane_register_get`
pub unsafe extern "C" fn register_get(
    context: *const FaultContext,
    name: c_int,
    value: *mut u64,
) -> c_int {
    contained(|| {
        memory::probe(value)?;
        with(context, |context| {
            let found = match name {
                REG_PC => context.pc(),
                REG_SP => context.sp(),
                REG_FP => context.fp(),
                REG_RESULT => context.return_values().0,
                REG_ARG0..REG_RESULT => {
                    context.argument((name - REG_ARG0) as usize).ok_or(E_ARGUMENT)?
                }
                _ => return Err(E_ARGUMENT),
            };
            memory::write(value, found as u64)
        })
    })
}

/// `sigplane_register_set`
pub unsafe extern "C" fn register_set(
    context: *mut FaultContext,
    name: c_int,
    value: u64,
) -> c_int {
    contained(|| {
        with(context, |context| {
            let value = value as usize;
            match name {
                REG_PC => context.set_pc(value),
                REG_SP => context.set_sp(value),
                REG_FP => context.set_fp(value),
                REG_RESULT => context.set_return_value(value),
                REG_ARG0..REG_RESULT if context.set_argument((name - REG_ARG0) as usize, value) => {
                }
                _ => return Err(E_ARGUMENT),
            }
            Ok(())
        })
    })
}

/// `sigplane_skip`
pub unsafe extern "C" fn skip(context: *mut FaultContext, length: usize) -> c_int {
    contained(|| {
        with(context, |context| {
            context.skip(length);
            Ok(())
        })
    })
}

/// `sigplane_land`
pub unsafe extern "C" fn land(context: *mut FaultContext, landing: *const c_void) -> c_int {
    contained(|| {
        with(context, |context| {
            context.land(landing.addr());
            Ok(())
        })
    })
}

/// **Runs inside signal handlers.**
fn tell(hook: FatalHook, user: *mut c_void, fatal: &faults::Fatal<'_>) {
    let event = Event::of(&fatal.event());
    let fault = fatal.fault().map(|fault| Fault::of(&fault));
    let view = Fatal {
        size: size_of::<Fatal>() as u32,
        signo: event.signo,
        tid: fatal.thread(),
        reserved: 0,
        event: &raw const event,
        fault: fault.as_ref().map_or(core::ptr::null(), core::ptr::from_ref),
        info: core::ptr::from_ref(fatal.info()).cast(),
        context: fatal.machine_context().map_or(core::ptr::null(), core::ptr::from_ref).cast(),
    };
    // SAFETY: the header's contract of a hook.
    unsafe { hook(&raw const view, user) };
}

/// `sigplane_last_chance_add`
pub unsafe extern "C" fn last_chance_add(
    set: u64,
    options: *const Options,
    hook: Option<FatalHook>,
    user: *mut c_void,
    result: *mut LastChance,
) -> c_int {
    contained(|| {
        let options = begin(options, result)?;
        let hook = hook.ok_or(E_NULL)?;
        let set = signals(set)?;
        let (user, registered) = User::new(user, &options);
        let run = move |fatal: &faults::Fatal<'_>| tell(hook, user.data(), fatal);
        // SAFETY: the header asks of the hook what sigplane asks.
        let hook = unsafe { faults::last_chance(set, options.priority, run) };
        let id = handle::insert(Object::Hook(hook.map_err(status::of)?))?;
        registered.confirm();
        memory::write(result, LastChance { id })
    })
}

/// `sigplane_last_chance_remove`
pub unsafe extern "C" fn last_chance_remove(hook: LastChance) -> c_int {
    contained(|| handle::end(hook.id, Kind::Hook).map(drop))
}
