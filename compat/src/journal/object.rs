//! Which loaded object an address belongs to.
//!
//! **Runs inside signal handlers**, and so asks `_dl_find_object` only, which the GNU C library documents
//! as async-signal-safe (since 2.35); `dladdr` and `dl_iterate_phdr` take the loader's lock. Where the C
//! library has no such function, addresses stay without a name. The name of the program itself is the
//! kernel's.
//!
//! # Safety
//! `FIND` is null or the address of `_dl_find_object`, whose signature and structure are those of
//! `<dlfcn.h>` and `<link.h>`. The link map that it gives, and the name in it, stay as long as the object
//! is loaded, which the caller of `sigaction`, and a handler that is just being set, are.

use super::layout::{NONE, Object, PATH};
use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

#[repr(C)]
struct Found {
    flags: u64,
    start: *mut c_void,
    end: *mut c_void,
    map: *const LinkMap,
    eh_frame: *mut c_void,
    reserved: [u64; 7],
}

/// The head of `struct link_map`.
#[repr(C)]
struct LinkMap {
    bias: u64,
    name: *const c_char,
}

type Find = unsafe extern "C" fn(*mut c_void, *mut Found) -> c_int;

static FIND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Path of the running program, as the kernel knew it at the start. It is not asked later: a filter might not
/// allow that.
static PROGRAM: [AtomicU8; PATH] = [const { AtomicU8::new(0) }; PATH];

/// Looks the function up, and the program's name. Ordinary code only.
pub(super) fn prepare() {
    let mut path = [0_u8; PATH - 1];
    let link = c"/proc/self/exe".as_ptr();
    // SAFETY: a C string, and a buffer with its length.
    let length = unsafe { libc::readlink(link, path.as_mut_ptr().cast(), path.len()) };
    let length = usize::try_from(length).unwrap_or(0);
    put(&PROGRAM, path.iter().take(length).copied().chain([0]));
    // SAFETY: the name is a C string.
    let find = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr()) };
    FIND.store(find, Ordering::Release);
}

/// The index in `objects` of the object at `address`, which gets one if it has none.
pub(super) fn index(objects: &[Object], pid: u32, address: usize) -> Result<u32, Full> {
    let find = FIND.load(Ordering::Acquire);
    if find.is_null() || address < 2 {
        return Ok(NONE);
    }
    let mut found = MaybeUninit::<Found>::zeroed();
    // SAFETY: by the module's invariant.
    let find = unsafe { core::mem::transmute::<*mut c_void, Find>(find) };
    // SAFETY: any address may be asked about, and the result has its place.
    if unsafe { find(address as *mut c_void, found.as_mut_ptr()) } != 0 {
        return Ok(NONE);
    }
    // SAFETY: filled, and all zeroes were valid before.
    let found = unsafe { found.assume_init() };
    // SAFETY: found, so loaded, by the module's invariant.
    let map = unsafe { &*found.map };
    for (at, object) in objects.iter().enumerate() {
        match object.state.load(Ordering::Acquire) {
            2 if is(object, pid, &found, map) => return Ok(at as u32),
            0 if claim(object) => {
                fill(object, pid, &found, map);
                return Ok(at as u32);
            }
            _ => {}
        }
    }
    Err(Full)
}

/// There is no place for another object.
pub(super) struct Full;

fn claim(object: &Object) -> bool {
    object.state.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn is(object: &Object, pid: u32, found: &Found, map: &LinkMap) -> bool {
    object.start.load(Ordering::Relaxed) == found.start as u64
        && object.end.load(Ordering::Relaxed) == found.end as u64
        && object.pid.load(Ordering::Relaxed) == pid
        && (is_program(map) || is_named(object, map))
}

fn is_named(object: &Object, map: &LinkMap) -> bool {
    name(map).zip(&object.path).all(|(byte, kept)| kept.load(Ordering::Relaxed) == byte)
}

fn fill(object: &Object, pid: u32, found: &Found, map: &LinkMap) {
    object.pid.store(pid, Ordering::Relaxed);
    object.bias.store(map.bias, Ordering::Relaxed);
    object.start.store(found.start as u64, Ordering::Relaxed);
    object.end.store(found.end as u64, Ordering::Relaxed);
    if is_program(map) {
        put_program(&object.path);
    } else {
        put(&object.path, name(map));
    }
    // ORDERING: Release pairs with the Acquire in `index`, and with a reader's.
    object.state.store(2, Ordering::Release);
}

/// Whether this is the program's own file, to which the loader gives no name.
fn is_program(map: &LinkMap) -> bool {
    name(map).next().is_none_or(|first| first == 0)
}

/// Copies the path of the running program; nothing before [`prepare`].
pub(super) fn put_program(to: &[AtomicU8; PATH]) {
    put(to, PROGRAM.iter().map(|byte| byte.load(Ordering::Relaxed)));
}

/// The bytes of an object's name, with the closing zero.
fn name(map: &LinkMap) -> impl Iterator<Item = u8> {
    let mut at = map.name.cast::<u8>();
    core::iter::from_fn(move || {
        if at.is_null() {
            return None;
        }
        // SAFETY: within a C string, by the module's invariant; `at` becomes null behind its zero.
        let byte = unsafe { *at };
        at = if byte == 0 { ptr::null() } else { at.wrapping_add(1) };
        Some(byte)
    })
}

/// Copies a path; a longer one is cut.
pub(super) fn put(to: &[AtomicU8; PATH], from: impl Iterator<Item = u8>) {
    for (place, byte) in to.iter().take(PATH - 1).zip(from) {
        place.store(byte, Ordering::Relaxed);
    }
}
