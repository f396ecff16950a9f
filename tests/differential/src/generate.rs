//! Writes random programs. Each plays with a few signals of its own, so that its operations meet; most of
//! those have handlers, so that it lives long enough.

use crate::program::{HANDLERS, Op, Procedure, Program};

/// Numbers that can be repeated (splitmix64: every seed is a good one).
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.word() % sides as u64) as usize
    }

    fn number(&mut self, sides: usize) -> i32 {
        self.roll(sides) as i32
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

const USUAL: &[i32] =
    &[1, 2, 3, 10, 10, 12, 12, 13, 14, 15, 17, 17, 23, 28, 29, 34, 35, 36, 50, 62, 64];
const RARE: &[i32] = &[4, 5, 6, 7, 8, 11, 16, 18, 20, 21, 22, 24, 25, 26, 27, 30, 31];
const BAD: &[i32] = &[0, -1, 32, 33, 65, 66, 100, 9, 19, i32::MAX, i32::MIN, 1 << 20];
const FLAGS: &[i32] = &[
    libc::SA_ONSTACK,
    libc::SA_RESTART,
    libc::SA_NODEFER,
    libc::SA_RESETHAND,
    libc::SA_NOCLDSTOP,
    libc::SA_NOCLDWAIT,
];
/// `SA_UNSUPPORTED`, `SA_EXPOSE_TAGBITS`, and bits that nobody has defined.
const ODD_FLAGS: &[i32] = &[0x400, 0x800, 0x8, 0x10, 0x20, 0x100, 0x0010_0000, 0x0200_0000];
/// What a fault of each kind raises.
const FAULTS: &[i32] = &[11, 11, 8, 4, 5, 7, 11];

struct Writer {
    dice: Dice,
    pool: Vec<i32>,
    procedures: Vec<Procedure>,
    /// Which wait on processes, and cost a hundred times more than the others.
    heavy: usize,
}

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let mut dice = Dice::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let fresh = dice.chance(8);
    let mut pool: Vec<i32> = (0..2 + dice.roll(4)).map(|_| dice.pick(USUAL)).collect();
    if dice.chance(35) {
        pool.push(dice.pick(RARE));
    }
    let extra = dice.roll(5);
    let mut procedures = vec![Procedure::default(); 1 + HANDLERS + extra];
    for procedure in &mut procedures {
        procedure.save_mask = dice.chance(70);
    }
    let heavy = if dice.chance(30) { 2 } else { 0 };
    let mut writer = Writer { dice, pool, procedures, heavy };
    writer.write();
    Program { fresh, procedures: writer.procedures }
}

impl Writer {
    fn write(&mut self) {
        let mut main = Vec::new();
        if self.dice.chance(50) {
            main.push(Op::new("ALTSTACK", &[0, self.dice.number(3), 0]));
        }
        for signal in self.pool.clone() {
            if self.dice.chance(85) {
                let op = self.install(signal, 85);
                main.push(op);
            }
        }
        for _ in 0..4 + self.dice.roll(22) {
            self.step(&mut main, 0);
        }
        self.procedures[0].ops = main;
        for which in 1..self.procedures.len() {
            let body = which <= HANDLERS;
            let mut ops = Vec::new();
            let length =
                if body { [0, 0, 1, 2, 4][self.dice.roll(5)] } else { 1 + self.dice.roll(6) };
            for _ in 0..length {
                self.step(&mut ops, which);
            }
            if body && self.dice.chance(12) {
                ops.push(Op::new("JUMP", &[self.dice.number(3), i32::from(self.dice.chance(25))]));
            }
            self.procedures[which].ops = ops;
        }
    }

    fn signal(&mut self) -> i32 {
        match self.dice.roll(100) {
            0..3 => self.dice.pick(BAD),
            3..7 => self.dice.pick(USUAL),
            7..9 => self.dice.pick(RARE),
            _ => self.dice.pick(&self.pool.clone()),
        }
    }

    fn mask(&mut self) -> [i32; 2] {
        let mut mask = 0_u64;
        match self.dice.roll(20) {
            0 => mask = u64::MAX,
            1 => mask = self.dice.word(),
            2..6 => {}
            _ => {
                for signal in self.pool.clone() {
                    if self.dice.chance(45) {
                        mask |= 1 << (signal - 1);
                    }
                }
            }
        }
        [mask as i32, (mask >> 32) as i32]
    }

    fn all(&self) -> [i32; 2] {
        let mask = self.pool.iter().fold(0_u64, |mask, signal| mask | 1 << (signal - 1));
        [mask as i32, (mask >> 32) as i32]
    }

    /// A `sigaction` with a handler, so many times in a hundred.
    fn install(&mut self, signal: i32, percent: usize) -> Op {
        let kind =
            if self.dice.chance(percent) { 2 + self.dice.number(2) } else { self.dice.number(2) };
        let mut flags = if kind == 3 { libc::SA_SIGINFO } else { 0 };
        for flag in FLAGS {
            if self.dice.chance(25) {
                flags |= flag;
            }
        }
        if self.dice.chance(6) {
            flags |= self.dice.pick(ODD_FLAGS);
        }
        let [low, high] = self.mask();
        let variant = match self.dice.roll(40) {
            0..4 => 1,
            4..7 => 2,
            7..10 => 3,
            _ => 0,
        };
        Op::new("SIGACTION", &[signal, kind, self.dice.number(HANDLERS), flags, low, high, variant])
    }

    /// A procedure that runs after this one in the list: no endless recursion.
    fn later(&mut self, which: usize) -> Option<i32> {
        let first = (which + 1).max(1 + HANDLERS);
        (first < self.procedures.len())
            .then(|| (first + self.dice.roll(self.procedures.len() - first)) as i32)
    }

    fn step(&mut self, ops: &mut Vec<Op>, which: usize) {
        let signal = self.signal();
        let [low, high] = self.mask();
        let value = self.dice.number(1000);
        match self.dice.roll(100) {
            0..12 => {
                let op = self.install(signal, 75);
                ops.push(op);
            }
            12..15 => ops.push(Op::new("QUERY", &[signal, 0])),
            15..20 => {
                let kind = match self.dice.roll(20) {
                    0 => 5,
                    1..3 => 4,
                    3..6 => self.dice.number(2),
                    _ => 2,
                };
                let variant = self.dice.number(6);
                let kind = if kind == 4 && variant != 5 { 2 } else { kind };
                ops.push(Op::new("SIGNAL", &[variant, signal, kind, self.dice.number(HANDLERS)]));
            }
            20..23 => ops.push(Op::new("HOLD", &[self.dice.number(3), signal])),
            23..25 => ops.push(Op::new("INTERRUPT", &[signal, self.dice.number(2)])),
            25..31 => {
                let how = if self.dice.chance(4) { 7 } else { self.dice.number(3) };
                let variant = if self.dice.chance(4) { 4 } else { self.dice.number(4) };
                ops.push(Op::new("BLOCK", &[variant, how, low, high]));
            }
            31..33 => ops.push(Op::new("GETMASK", &[self.dice.number(3)])),
            33..35 => ops.push(Op::new("PENDING", &[])),
            35..52 => ops.push(Op::new("SEND", &[self.dice.number(8), signal, value])),
            52..59 => self.burst(ops),
            59..63 => {
                let variant = self.dice.pick(&[0, 0, 0, 1, 2, 3]);
                let flags = if self.dice.chance(20) { i32::MIN } else { 0 };
                ops.push(Op::new("ALTSTACK", &[variant, self.dice.number(3), flags]));
            }
            63..65 => ops.push(Op::new("POLL", &[self.dice.number(2), low, high])),
            65..74 => {
                let sender = if self.dice.chance(10) { -1 } else { self.dice.number(11) };
                // What raise(3) would do here is to send to the helper.
                let sender = if sender == 7 { 2 } else { sender };
                ops.push(Op::new(
                    "BLOCKING",
                    &[self.dice.number(23), sender, signal, value, low, high],
                ));
            }
            74 => ops.push(Op::new("SIGNALFD", &[low, high])),
            75..79 => ops.push(Op::new("TIMER", &[self.dice.number(3), signal, value])),
            79..84 => {
                if let Some(to) = self.later(which) {
                    ops.push(Op::new("THREAD", &[to, self.dice.number(2), low, high]));
                }
            }
            84..88 => {
                if let Some(to) = self.later(which) {
                    ops.push(Op::new("FORK", &[to, self.dice.number(256), self.dice.number(2)]));
                }
            }
            88..91 => {
                if let Some(to) = self.later(which) {
                    ops.push(Op::new("CONTEXT", &[to]));
                }
            }
            91..94 => {
                let kind = self.dice.number(7);
                if self.dice.chance(85) {
                    let op = self.install(FAULTS[kind as usize], 97);
                    ops.push(op);
                }
                ops.push(Op::new("FAULT", &[kind]));
            }
            94..96 => ops.push(Op::new("TELLPARENT", &[signal])),
            96..99 => self.heavy_step(ops, which),
            _ => {
                let op = if self.dice.chance(50) {
                    Op::new("ABORT", &[])
                } else {
                    Op::new("EXIT", &[self.dice.number(256)])
                };
                ops.push(op);
            }
        }
    }

    /// Several signals pending at once: the kernel says in which order they come.
    fn burst(&mut self, ops: &mut Vec<Op>) {
        let [low, high] = self.all();
        ops.push(Op::new("BLOCK", &[1, 0, low, high]));
        for _ in 0..2 + self.dice.roll(5) {
            let signal = self.signal();
            ops.push(Op::new("SEND", &[self.dice.number(8), signal, self.dice.number(1000)]));
        }
        if self.dice.chance(60) {
            ops.push(Op::new("PENDING", &[]));
        }
        if self.dice.chance(30) {
            let signal = self.signal();
            let op = self.install(signal, 60);
            ops.push(op);
        }
        match self.dice.roll(8) {
            0 => ops.push(Op::new("SIGNALFD", &[low, high])),
            1 | 2 => ops.push(Op::new("POLL", &[self.dice.number(2), low, high])),
            _ => {}
        }
        if self.dice.chance(85) {
            ops.push(Op::new("BLOCK", &[1, 1, low, high]));
        }
    }

    fn heavy_step(&mut self, ops: &mut Vec<Op>, which: usize) {
        if self.heavy == 0 {
            return;
        }
        self.heavy -= 1;
        let ([low, high], [default_low, default_high]) = (self.mask(), self.mask());
        match self.dice.roll(4) {
            0 | 1 => {
                let to = self.later(which).unwrap_or(self.procedures.len() as i32);
                ops.push(Op::new("VFORK", &[to, self.dice.number(2)]));
            }
            2 => {
                let flags = [0, 4, 8, 12][self.dice.roll(4)];
                ops.push(Op::new("SPAWN", &[flags, default_low, default_high, low, high]));
            }
            _ => ops.push(Op::new("SYSTEM", &[self.dice.number(2)])),
        }
    }
}
