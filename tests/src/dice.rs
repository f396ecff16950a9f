//! Random choices that can be repeated: the seed is printed, and taken from `SIGPLANE_TEST_SEED` if set.

use std::time::{SystemTime, UNIX_EPOCH};

/// A xorshift generator (Marsaglia 2003): good enough to choose where to stop.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Prints its seed.
    pub fn new() -> Self {
        let given = std::env::var("SIGPLANE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos());
            now as u64 | 1
        });
        println!("SIGPLANE_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

impl Default for Dice {
    fn default() -> Self {
        Self::new()
    }
}
