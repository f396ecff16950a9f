//! Gives the library its name, so that who links it by a path does not have that path asked for at run time; and has
//! it stay once it is loaded: its handlers may be in the kernel, its dispatcher runs in it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libsigplane_compat.so");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
