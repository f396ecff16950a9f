//! A WebAssembly module in which each export ends in one trap, with the code that wasmtime gives it.

use wasmtime::{Caller, Config, Engine, Func, Instance, Module, Result, Store, Trap};

const GUEST: &str = r#"(module
    (type $nothing (func))
    (import "" "host" (func $host))
    (memory 1)
    (table 2 funcref)
    (elem (i32.const 1) $other)
    (global $zero (mut i32) (i32.const 0))
    (global $minus (mut i32) (i32.const -1))
    (global $huge (mut f64) (f64.const 1e300))
    (func $other (param i32) (result i32) local.get 0)
    (func (export "load") (drop (i32.load (i32.sub (global.get $minus) (i32.const 65536)))))
    (func (export "store") (i64.store (i32.const 0x40000000) (i64.const 1)))
    (func (export "divide") (drop (i32.div_s (i32.const 1) (global.get $zero))))
    (func (export "remainder") (drop (i64.rem_u (i64.const 1) (i64.extend_i32_u (global.get $zero)))))
    (func (export "overflow") (drop (i32.div_s (i32.const 0x80000000) (global.get $minus))))
    (func (export "truncate") (drop (i32.trunc_f64_s (global.get $huge))))
    (func (export "unreachable") unreachable)
    (func (export "null") (call_indirect (type $nothing) (global.get $zero)))
    (func (export "signature") (call_indirect (type $nothing) (i32.const 1)))
    (func (export "table") (call_indirect (type $nothing) (global.get $minus)))
    (func $deep (export "recurse") (call $deep))
    (func (export "through_host") (call $host) unreachable)
)"#;

/// What each export ends in. Most are faults of the processor.
pub const TRAPS: [(&str, Trap); 11] = [
    ("load", Trap::MemoryOutOfBounds),
    ("store", Trap::MemoryOutOfBounds),
    ("divide", Trap::IntegerDivisionByZero),
    ("remainder", Trap::IntegerDivisionByZero),
    ("overflow", Trap::IntegerOverflow),
    ("truncate", Trap::IntegerOverflow),
    ("unreachable", Trap::UnreachableCodeReached),
    ("null", Trap::IndirectCallToNull),
    ("signature", Trap::BadSignature),
    ("table", Trap::TableOutOfBounds),
    ("recurse", Trap::StackOverflow),
];

/// An engine that relies on signals for its traps, with the compiled guest.
#[derive(Clone)]
pub struct Compiled(Module);

impl Compiled {
    pub fn new() -> Self {
        let mut config = Config::new();
        config.signals_based_traps(true).wasm_backtrace(false);
        let engine = Engine::new(&config).expect("an engine");
        Self(Module::new(&engine, GUEST).expect("the guest is valid"))
    }

    /// An instance, whose host function is `host`.
    pub fn start(&self, host: fn()) -> Guest {
        let mut store = Store::new(self.0.engine(), ());
        let host = Func::wrap(&mut store, move |_: Caller<'_, ()>| host());
        let instance = Instance::new(&mut store, &self.0, &[host.into()]).expect("an instance");
        Guest { store, instance }
    }
}

pub struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    /// Calls an export.
    pub fn call(&mut self, name: &str) -> Result<()> {
        let function = self.instance.get_typed_func::<(), ()>(&mut self.store, name);
        function.expect("an export").call(&mut self.store, ())
    }

    /// Calls an export that traps: how.
    pub fn trap(&mut self, name: &str) -> Trap {
        let error = self.call(name).expect_err("it traps");
        error.downcast::<Trap>().expect("a trap")
    }

    /// Every export traps as it should.
    pub fn every_trap(&mut self) {
        for (name, expected) in TRAPS {
            assert_eq!(self.trap(name), expected, "{name}");
        }
    }
}
