//! What one signal carries: 64 bits, a sequence number and a measurement.

use sigplane::send::Value;

/// Sequence numbers that are none: the rest of the value has another meaning.
const END: u32 = u32::MAX;
const HELLO: u32 = u32::MAX - 1;

/// One value of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sample {
    Measured {
        sequence: u32,
        microseconds: u32,
    },
    /// The sender takes credit, by the channel's signal, and keeps at most so many on their way. One that
    /// has not said so is sent no signals, which would kill it.
    Hello {
        window: u32,
    },
    /// So many values have been sent: without it, nobody would miss the last ones.
    End {
        count: u32,
    },
}

impl Sample {
    /// A simulated response time: the same for the same channel and number, mostly short, with a long
    /// tail.
    pub fn simulated(channel: usize, sequence: u32) -> Self {
        let mut bits =
            (u64::from(sequence) << 8 | channel as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let uniform = ((bits ^ bits >> 32) as u32 as f64 + 1.0) / (f64::from(u32::MAX) + 2.0);
        let typical = 100.0 * (channel + 1) as f64;
        Self::Measured { sequence, microseconds: (typical * (0.5 - uniform.ln())) as u32 }
    }
}

// `union sigval` is as wide as a pointer: 64 bits on every platform that sigplane runs on.
impl From<Sample> for Value {
    fn from(sample: Sample) -> Self {
        let (sequence, low) = match sample {
            Sample::Measured { sequence, microseconds } => (sequence, microseconds),
            Sample::Hello { window } => (HELLO, window),
            Sample::End { count } => (END, count),
        };
        Self::from_addr((sequence as usize) << 32 | low as usize)
    }
}

impl From<Value> for Sample {
    fn from(value: Value) -> Self {
        let (sequence, low) = ((value.addr() >> 32) as u32, value.addr() as u32);
        match sequence {
            HELLO => Self::Hello { window: low },
            END => Self::End { count: low },
            sequence => Self::Measured { sequence, microseconds: low },
        }
    }
}
