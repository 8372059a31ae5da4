//! An expression as steps over a stack of truth values.

use super::Expression;

/// Values that wait while a part is computed: at each level of nesting an `or`, an `and` and the two
/// operands of the innermost.
const STACK: usize = 2 * (Expression::DEPTH_MAX + 1) + 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    Different,
}

impl Comparison {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            // Exact: whoever compares measurements for equality has asked for it.
            Self::Equal => left == right,
            Self::Different => left != right,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Operand {
    Number(f64),
    Tag(usize),
}

impl Operand {
    fn value(self, number: &impl Fn(usize) -> Option<f64>) -> Option<f64> {
        match self {
            Self::Number(constant) => Some(constant),
            Self::Tag(tag) => number(tag),
        }
    }

    fn relocate(self, positions: &[usize]) -> Self {
        match self {
            Self::Number(constant) => Self::Number(constant),
            Self::Tag(slot) => Self::Tag(positions[slot]),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Op {
    Truth(Operand),
    Compare(Operand, Comparison, Operand),
    Not,
    And,
    Or,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Program {
    ops: Box<[Op]>,
}

impl Program {
    pub(super) fn new(ops: Vec<Op>) -> Self {
        Self { ops: ops.into_boxed_slice() }
    }

    /// The same over other tag numbers: slot `n` becomes `positions[n]`.
    pub(super) fn relocate(&self, positions: &[usize]) -> Self {
        let op = |op: &Op| match *op {
            Op::Truth(operand) => Op::Truth(operand.relocate(positions)),
            Op::Compare(left, comparison, right) => {
                Op::Compare(left.relocate(positions), comparison, right.relocate(positions))
            }
            plain @ (Op::Not | Op::And | Op::Or) => plain,
        };
        Self { ops: self.ops.iter().map(op).collect() }
    }

    /// What it says of the values that `number` knows; `None` if that depends on one it does not know.
    pub(crate) fn run(&self, number: impl Fn(usize) -> Option<f64>) -> Option<bool> {
        let mut stack = [None; STACK];
        let mut top = 0;
        for op in &self.ops {
            let result = match *op {
                Op::Truth(operand) => operand.value(&number).map(|n| n != 0.0),
                Op::Compare(left, comparison, right) => match (left.value(&number), right.value(&number)) {
                    (Some(left), Some(right)) => Some(comparison.holds(left, right)),
                    (None, _) | (_, None) => None,
                },
                Op::Not => {
                    top -= 1;
                    stack[top].map(|truth: bool| !truth)
                }
                Op::And | Op::Or => {
                    top -= 2;
                    combine(stack[top], stack[top + 1], *op == Op::Or)
                }
            };
            stack[top] = result;
            top += 1;
        }
        stack[0]
    }
}

/// Kleene's logic: `decisive` (false for "and", true for "or") wins over unknown.
fn combine(left: Option<bool>, right: Option<bool>, decisive: bool) -> Option<bool> {
    if left == Some(decisive) || right == Some(decisive) {
        return Some(decisive);
    }
    left.and(right).map(|_| !decisive)
}
