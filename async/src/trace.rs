//! Events of the `tracing` facade, or nothing without the feature of that name.
//!
//! Never used in a handler: a collector may allocate, lock and print.

/// `event!(level, message fields…)`, as tracing has it.
macro_rules! event {
    ($level:ident, $($arguments:tt)+) => {{
        #[cfg(feature = "tracing")]
        tracing::$level!(target: "sigplane", $($arguments)+);
    }};
}

pub(crate) use event;
