//! A shared object of `victims/objects/`, opened.

use std::ffi::{CStr, CString, c_void};

pub const FIXUPS: &str = env!("SIGPLANE_TEST_FIXUPS");
pub const FIXUPS_O0: &str = env!("SIGPLANE_TEST_FIXUPS_O0");

/// The address of a byte that nobody can read.
pub const NULL: usize = 0;

/// Another one, in the middle of nowhere.
pub fn unmapped() -> usize {
    0x6000_0000_1234
}

/// Its functions; those that it does not have must not be called.
pub struct Object {
    handle: *mut c_void,
    pub state: extern "C" fn() -> i32,
    pub attach: extern "C" fn(*mut u8, usize) -> i32,
    pub detach: extern "C" fn() -> i32,
    pub bounds: extern "C" fn(*mut usize, *mut usize),
    pub give: extern "C" fn(usize, usize, *mut u8, usize) -> i32,
    pub take: extern "C" fn(usize) -> i32,
    pub probe: extern "C" fn(usize) -> i32,
    pub instruction: extern "C" fn() -> usize,
}

// SAFETY: functions, and a handle that is only closed by value.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

extern "C" fn missing() -> ! {
    panic!("the object does not have this function");
}

/// A function by its name, or one that panics.
///
/// # Safety
/// It has the type `F`.
pub unsafe fn find<F: Copy>(handle: *mut c_void, name: &CStr) -> F {
    assert_eq!(size_of::<F>(), size_of::<usize>());
    let mut address = unsafe { libc::dlsym(handle, name.as_ptr()) } as usize;
    if address == 0 {
        address = missing as *const () as usize;
    }
    unsafe { std::mem::transmute_copy(&address) }
}

impl Object {
    pub fn open(path: &str) -> Self {
        Self::open_with(path, libc::RTLD_NOW | libc::RTLD_LOCAL)
    }

    pub fn open_with(path: &str, flags: i32) -> Self {
        let path = CString::new(path).unwrap();
        Self::of(unsafe { libc::dlopen(path.as_ptr(), flags) })
    }

    pub fn open_in_a_namespace(path: &str) -> Self {
        let path = CString::new(path).unwrap();
        Self::of(unsafe { libc::dlmopen(libc::LM_ID_NEWLM, path.as_ptr(), libc::RTLD_NOW) })
    }

    /// What a handle stands for, or `RTLD_DEFAULT`.
    pub fn at(handle: *mut c_void) -> Self {
        unsafe {
            Self {
                handle,
                state: find(handle, c"object_state"),
                attach: find(handle, c"object_attach"),
                detach: find(handle, c"object_detach"),
                bounds: find(handle, c"object_bounds"),
                give: find(handle, c"object_give"),
                take: find(handle, c"object_take"),
                probe: find(handle, c"object_probe"),
                instruction: find(handle, c"object_instruction"),
            }
        }
    }

    fn of(handle: *mut c_void) -> Self {
        assert!(!handle.is_null(), "{:?}", unsafe { CStr::from_ptr(libc::dlerror()) });
        Self::at(handle)
    }

    /// Another of its functions.
    ///
    /// # Safety
    /// As for [`find`].
    pub unsafe fn function<F: Copy>(&self, name: &CStr) -> F {
        unsafe { find(self.handle, name) }
    }

    pub fn table(&self) -> std::ops::Range<usize> {
        let (mut start, mut stop) = (0, 0);
        (self.bounds)(&raw mut start, &raw mut stop);
        start..stop
    }

    /// Attaches; what it was told.
    pub fn attach(&self) -> (i32, String) {
        said(|message, length| (self.attach)(message, length))
    }

    /// Gives other bounds than its own; what it was told.
    pub fn give(&self, start: usize, stop: usize) -> (i32, String) {
        said(|message, length| (self.give)(start, stop, message, length))
    }

    pub fn close(self) {
        assert_eq!(unsafe { libc::dlclose(self.handle) }, 0);
    }
}

fn said(call: impl FnOnce(*mut u8, usize) -> i32) -> (i32, String) {
    let mut message = [0u8; 512];
    let code = call(message.as_mut_ptr(), message.len());
    let text = CStr::from_bytes_until_nul(&message).expect("it ends").to_str().expect("it is text");
    (code, text.to_owned())
}

/// The tables that are registered: of which files, and how many entries.
pub fn listed() -> Vec<(String, usize)> {
    let objects = sigplane::table().faults.objects;
    objects.into_iter().map(|table| (table.object, table.entries)).collect()
}

/// How many tables of that file are registered.
pub fn count(path: &str) -> usize {
    listed().iter().filter(|(object, _)| object == path).count()
}
