//! The values of a [`Storm`](crate::Storm), checked as they come: 0, 1, 2, …, each once.

use sigplane::{Event, Signal};

/// The value that a queued signal carries.
pub fn value(event: &Event) -> u64 {
    event.value().expect("a queued signal has a value").int() as u64
}

/// Checks that the values of one signal come in the order in which one thread receives them.
#[derive(Debug)]
pub struct InOrder {
    signal: Signal,
    seen: u64,
}

impl InOrder {
    /// Expects the value 0 of `signal` first.
    pub fn of(signal: Signal) -> Self {
        Self { signal, seen: 0 }
    }

    /// Takes the next one. Panics if it is another.
    #[track_caller]
    pub fn see(&mut self, event: &Event) {
        let got = (event.signal(), value(event), event.instances());
        assert_eq!(got, (self.signal, self.seen, 1), "lost, doubled or out of order");
        self.seen += 1;
    }

    /// How many have come.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}
