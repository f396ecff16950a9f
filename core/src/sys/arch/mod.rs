//! The selector of the processor's module. A port provides the same items as `x86_64`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!(
    "sigplane has no port to this processor yet: see core/src/sys/arch/x86_64/ for what one provides"
);
