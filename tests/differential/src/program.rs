//! A program: procedures of operations. The first is what `main` runs, the next eight are the bodies of the
//! handlers, the others are run by threads, children and contexts.

use crate::opcode::NAMES;

/// Handlers of a program; procedure `1 + h` is the body of handler `h`.
pub const HANDLERS: usize = 8;

/// One operation with its numbers; what they mean is up to the operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Op {
    /// Index into the names.
    pub code: usize,
    /// The operands.
    pub a: [i32; 7],
}

impl Op {
    /// An operation by its name; missing operands are zero.
    pub fn new(name: &str, operands: &[i32]) -> Self {
        let code = NAMES.iter().position(|known| *known == name).expect("a known operation");
        let mut a = [0; 7];
        a[..operands.len()].copy_from_slice(operands);
        Self { code, a }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        NAMES[self.code]
    }
}

/// Operations in order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Procedure {
    /// Whether a `siglongjmp` to it restores the mask.
    pub save_mask: bool,
    /// What it does.
    pub ops: Vec<Op>,
}

/// A whole program.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Program {
    /// Runs in a process that was executed for it, not in a forked one.
    pub fresh: bool,
    /// The procedures.
    pub procedures: Vec<Procedure>,
}

impl Program {
    /// What the interpreter reads.
    pub fn encode(&self) -> Vec<i32> {
        let contexts = self.ops().any(|op| op.name() == "JUMP" && op.a[1] != 0);
        let mut words = vec![i32::from(contexts), self.procedures.len() as i32];
        for procedure in &self.procedures {
            words.push(procedure.ops.len() as i32);
            words.push(i32::from(procedure.save_mask));
            for op in &procedure.ops {
                words.push(op.code as i32);
                words.extend(op.a);
            }
        }
        words
    }

    /// All operations.
    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.procedures.iter().flat_map(|procedure| &procedure.ops)
    }

    /// How many operations it has.
    pub fn len(&self) -> usize {
        self.ops().count()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
