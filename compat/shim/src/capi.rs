//! The names of the C API. Each forwards; the substance and its contract are `sigplane-compat`'s.
//!
//! The list is compared with the prototypes of `sigplane.h` by `tests/shim/tests/capi_header.rs`.

use compat::capi::abi::*;
use core::ffi::{c_char, c_int, c_long, c_void};

macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty = $module:ident::$function:ident;)*) => { $(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            // SAFETY: the contract is passed on.
            unsafe { compat::capi::$module::$function($($argument),*) }
        }
    )* };
}

forward! {
    fn sigplane_version() -> u32 = status::version;
    fn sigplane_abi_version() -> u32 = status::abi;
    fn sigplane_strerror(error: c_int) -> *const c_char = status::strerror;
    fn sigplane_set_all() -> u64 = subscribe::set_all;

    fn sigplane_subscribe_dispatcher(set: u64, options: *const Options, handler: Option<Handler>, user: *mut c_void, result: *mut Subscription) -> c_int = subscribe::dispatcher;
    fn sigplane_subscribe_thread(set: u64, options: *const Options, handler: Option<Handler>, user: *mut c_void, result: *mut Subscription) -> c_int = subscribe::thread;
    fn sigplane_subscribe_inbox(set: u64, options: *const Options, result: *mut Subscription) -> c_int = subscribe::inbox;
    fn sigplane_subscribe_immediate(set: u64, options: *const Options, handler: Option<ImmediateHandler>, user: *mut c_void, result: *mut Subscription) -> c_int = subscribe::immediate;
    fn sigplane_delivery_event(delivery: *const Delivery, event: *mut Event) -> c_int = subscribe::delivery_event;
    fn sigplane_unsubscribe(subscription: Subscription, removal: *mut c_int) -> c_int = subscribe::unsubscribe;
    fn sigplane_disarm(subscription: Subscription) -> c_int = subscribe::disarm;
    fn sigplane_stats_of(subscription: Subscription, stats: *mut Stats) -> c_int = subscribe::stats;

    fn sigplane_inbox_fd(inbox: Subscription, fd: *mut c_int) -> c_int = inbox::fd;
    fn sigplane_inbox_read(inbox: Subscription, event: *mut Event, timeout_ns: i64) -> c_int = inbox::read;
    fn sigplane_inbox_drain(inbox: Subscription, events: *mut Event, capacity: usize, count: *mut usize) -> c_int = inbox::drain;

    fn sigplane_thread_offset() -> isize = thread::offset;
    fn sigplane_defer_slow() -> () = thread::defer_slow;
    fn sigplane_undefer_slow() -> () = thread::undefer_slow;
    fn sigplane_poll_slow() -> usize = thread::poll_slow;
    fn sigplane_defer_wait(timeout_ns: i64) -> c_int = thread::defer_wait;
    fn sigplane_thread_current(thread: *mut Thread) -> c_int = thread::current;
    fn sigplane_thread_id(thread: Thread, tid: *mut c_int) -> c_int = thread::id;
    fn sigplane_post(thread: Thread, call: Option<Call>, argument: *mut c_void, ended: Option<Call>) -> c_int = thread::post;
    fn sigplane_post_wait(thread: Thread, call: Option<Call>, argument: *mut c_void) -> c_int = thread::post_wait;
    fn sigplane_wait(timeout_ns: i64) -> c_int = thread::wait;
    fn sigplane_wait_fd(fd: c_int, interest: u32, timeout_ns: i64, ready: *mut u32) -> c_int = thread::wait_fd;
    fn sigplane_syscall(number: c_long, arguments: *const usize, result: *mut c_long) -> c_int = thread::syscall;

    fn sigplane_fault_text(kind: u32) -> *const c_char = access::fault_text;
    fn sigplane_faults_enable() -> c_int = thread::faults_enable;
    fn sigplane_try_copy(to: *mut c_void, from: *const c_void, length: usize, fault: *mut Fault) -> c_int = access::copy;
    fn sigplane_try_move(to: *mut c_void, from: *const c_void, length: usize, fault: *mut Fault) -> c_int = access::move_;
    fn sigplane_try_fill(to: *mut c_void, byte: c_int, length: usize, fault: *mut Fault) -> c_int = access::fill;
    fn sigplane_try_strlen(string: *const c_char, limit: usize, length: *mut usize, fault: *mut Fault) -> c_int = access::strlen;
    fn sigplane_try_read8(from: *const c_void, value: *mut u8, fault: *mut Fault) -> c_int = access::read8;
    fn sigplane_try_read16(from: *const c_void, value: *mut u16, fault: *mut Fault) -> c_int = access::read16;
    fn sigplane_try_read32(from: *const c_void, value: *mut u32, fault: *mut Fault) -> c_int = access::read32;
    fn sigplane_try_read64(from: *const c_void, value: *mut u64, fault: *mut Fault) -> c_int = access::read64;
    fn sigplane_try_write8(to: *mut c_void, value: u8, fault: *mut Fault) -> c_int = access::write8;
    fn sigplane_try_write16(to: *mut c_void, value: u16, fault: *mut Fault) -> c_int = access::write16;
    fn sigplane_try_write32(to: *mut c_void, value: u32, fault: *mut Fault) -> c_int = access::write32;
    fn sigplane_try_write64(to: *mut c_void, value: u64, fault: *mut Fault) -> c_int = access::write64;
    fn sigplane_try_compare_exchange32(at: *mut c_void, expected: *mut u32, desired: u32, fault: *mut Fault) -> c_int = access::compare_exchange32;
    fn sigplane_try_compare_exchange64(at: *mut c_void, expected: *mut u64, desired: u64, fault: *mut Fault) -> c_int = access::compare_exchange64;
    fn sigplane_guarded(call: Option<Call>, argument: *mut c_void, fault: *mut Fault) -> c_int = access::guarded;

    fn sigplane_register_get(context: *const FaultContext, name: c_int, value: *mut u64) -> c_int = fault::register_get;
    fn sigplane_register_set(context: *mut FaultContext, name: c_int, value: u64) -> c_int = fault::register_set;
    fn sigplane_skip(context: *mut FaultContext, length: usize) -> c_int = fault::skip;
    fn sigplane_land(context: *mut FaultContext, landing: *const c_void) -> c_int = fault::land;
    fn sigplane_region_add(start: *const c_void, length: usize, options: *const Options, handler: Option<FaultHandler>, user: *mut c_void, result: *mut Region) -> c_int = fault::region_add;
    fn sigplane_code_range_add(start: *const c_void, length: usize, options: *const Options, handler: Option<FaultHandler>, user: *mut c_void, result: *mut CodeRange) -> c_int = fault::code_range_add;
    fn sigplane_region_remove(region: Region) -> c_int = fault::region_remove;
    fn sigplane_code_range_remove(range: CodeRange) -> c_int = fault::code_range_remove;
    fn sigplane_last_chance_add(set: u64, options: *const Options, hook: Option<FatalHook>, user: *mut c_void, result: *mut LastChance) -> c_int = fault::last_chance_add;
    fn sigplane_last_chance_remove(hook: LastChance) -> c_int = fault::last_chance_remove;

    fn sigplane_table_dump(fd: c_int) -> c_int = process::table_dump;
    fn sigplane_table_text(buffer: *mut c_char, length: usize, needed: *mut usize) -> c_int = process::table_text;
    fn sigplane_send(pid: c_int, signo: c_int) -> c_int = process::to_process;
    fn sigplane_send_value(pid: c_int, signo: c_int, value: u64) -> c_int = process::to_process_value;
    fn sigplane_send_thread(tid: c_int, signo: c_int) -> c_int = process::to_thread;
    fn sigplane_send_thread_value(tid: c_int, signo: c_int, value: u64) -> c_int = process::to_thread_value;
    fn sigplane_raise(signo: c_int) -> c_int = process::raise;
    fn sigplane_raise_value(signo: c_int, value: u64) -> c_int = process::raise_value;
    fn sigplane_restore_dispositions() -> () = process::restore_dispositions;
}
