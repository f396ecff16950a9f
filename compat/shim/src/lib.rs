//! `libsigplane_compat.so`: names, and nothing behind them; see `sigplane-compat`.

mod capi;
mod exports;

/// Runs before the constructors without a priority, that of sigplane itself among them.
#[used]
#[unsafe(link_section = ".init_array.00099")]
static START: extern "C" fn() = compat::shim::start;
