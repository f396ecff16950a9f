//! `libsigplane_compat.so`: names, and nothing behind them; see `sigplane-compat`.
