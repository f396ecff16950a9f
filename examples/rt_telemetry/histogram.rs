//! Counts of values by size, exact below 64 and within 3 % above: 32 buckets for each power of two.

/// Bits of a value that its bucket keeps, beside the leading one.
const KEPT: u32 = 5;
const PER_POWER: usize = 1 << KEPT;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; (33 - KEPT as usize) * PER_POWER], total: 0 }
    }

    pub fn add(&mut self, value: u32) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
    }

    /// The value that this share of all values does not exceed, up to the width of a bucket.
    pub fn percentile(&self, percent: u64) -> u32 {
        let wanted = (self.total * percent).div_ceil(100);
        let mut below = 0;
        for (index, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted && below > 0 {
                return largest(index);
            }
        }
        0
    }
}

fn bucket(value: u32) -> usize {
    let shift = (u32::BITS - value.leading_zeros()).saturating_sub(KEPT + 1);
    shift as usize * PER_POWER + (value >> shift) as usize
}

/// The largest value of a bucket.
fn largest(bucket: usize) -> u32 {
    let shift = (bucket / PER_POWER).saturating_sub(1);
    let top = bucket - shift * PER_POWER;
    (((top as u64 + 1) << shift) - 1) as u32
}
