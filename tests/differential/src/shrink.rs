//! Makes a failing program small: removes operations in ever smaller pieces (Zeller's delta debugging), then
//! takes flags, masks and values away, as long as it still fails.

use crate::program::Program;

/// The smallest program found within so many tries; `fails` says whether a program still fails.
pub fn shrink(
    program: &Program,
    mut tries: usize,
    fails: &mut dyn FnMut(&Program) -> bool,
) -> Program {
    let mut best = program.clone();
    let mut attempt = |candidate: Program, best: &mut Program| {
        if tries == 0 || candidate == *best {
            return false;
        }
        tries -= 1;
        let failed = fails(&candidate);
        if failed {
            *best = candidate;
        }
        failed
    };
    loop {
        let before = best.clone();
        attempt(Program { fresh: false, ..best.clone() }, &mut best);
        let mut piece = best.len().div_ceil(2);
        while piece > 0 {
            let mut from = 0;
            while from < best.len() {
                let candidate = without(&best, from, piece);
                if !attempt(candidate, &mut best) {
                    from += piece;
                }
            }
            piece /= 2;
        }
        simplify(&mut best, &mut attempt);
        if best == before {
            return best;
        }
    }
}

/// The program without `piece` operations from the one at `from`, counted through all procedures.
fn without(program: &Program, from: usize, piece: usize) -> Program {
    let mut candidate = program.clone();
    let mut at = 0;
    for procedure in &mut candidate.procedures {
        procedure.ops.retain(|_| {
            at += 1;
            !(from + 1..=from + piece).contains(&at)
        });
    }
    candidate
}

fn simplify(best: &mut Program, attempt: &mut dyn FnMut(Program, &mut Program) -> bool) {
    for which in 0..best.procedures.len() {
        for index in 0..best.procedures[which].ops.len() {
            for operand in 0..7 {
                let value = best.procedures[which].ops[index].a[operand];
                let mut smaller = vec![0];
                // Flags and masks lose one bit at a time, from the highest.
                smaller.extend((0..32).rev().map(|bit| value & !(1 << bit)));
                for value in smaller {
                    let now = best.procedures[which].ops[index].a[operand];
                    let value = value & now;
                    if value == now {
                        continue;
                    }
                    // The handler's kind and SA_SIGINFO go together: a handler must get what it reads.
                    if best.procedures[which].ops[index].name() == "SIGACTION" && operand == 1 {
                        continue;
                    }
                    let mut candidate = best.clone();
                    let op = &mut candidate.procedures[which].ops[index];
                    op.a[operand] = value;
                    if op.name() == "SIGACTION" && op.a[1] == 3 {
                        op.a[3] |= libc::SA_SIGINFO;
                    }
                    if candidate != *best {
                        attempt(candidate, best);
                    }
                }
            }
        }
    }
}
