//! Operators that give a row's value from the same row's values.

mod functions;
mod run;

use crate::error::{unsupported, Error, Result};
use crate::program::{Element, Kernel, Kind, Operand, Scalar, Slot};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    // of one number
    Neg,
    Abs,
    Sign,
    Floor,
    Ceil,
    Round,
    Sqrt,
    Reciprocal,
    Exp,
    /// e^x - 1, exact near zero.
    Expm1,
    Log,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Tanh,
    Sigmoid,
    Erf,
    /// 1 - Erf, exact where that cancels.
    Erfc,
    Softplus,
    Relu,
    // of two numbers
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    /// The remainder with the divisor's sign.
    Mod,
    /// The remainder with the dividend's sign.
    Fmod,
    Min,
    Max,
    // tests
    IsNan,
    IsInf,
    IsPositiveInf,
    IsNegativeInf,
    Equal,
    Less,
    LessOrEqual,
    /// Whether the second's size is at least the first, or more: what checks for numbers too large ask.
    SizeReaches,
    SizeExceeds,
    // logic
    Not,
    And,
    Or,
    Xor,
    /// The second or the third, by the first.
    Where,
    Cast(Kind),
    /// To an integer type of 32 bits, kept as all integers are.
    CastInt32,
}

/// The kind that an operator gives for these kinds; `Unsupported` if it does not take them.
pub fn result(op: Op, kinds: &[Kind]) -> Result<Kind> {
    let float = |kind: Kind| matches!(kind, Kind::F64 | Kind::F32);
    let number = |kind: Kind| matches!(kind, Kind::F64 | Kind::F32 | Kind::I64);
    use Op::*;
    let found = match (op, kinds) {
        (Neg | Abs | Sign | Relu, [kind]) if number(*kind) => Some(*kind),
        (
            Floor | Ceil | Round | Sqrt | Reciprocal | Exp | Expm1 | Log | Sin | Cos | Tan | Asin
            | Acos | Atan,
            [kind],
        )
        | (Sinh | Cosh | Asinh | Acosh | Atanh | Tanh | Sigmoid | Erf | Erfc | Softplus, [kind])
            if float(*kind) =>
        {
            Some(*kind)
        }
        (Add | Sub | Mul | Div | Mod | Fmod | Min | Max, [one, two])
            if one == two && number(*one) =>
        {
            Some(*one)
        }
        (Pow, [one, two]) if one == two && float(*one) => Some(*one),
        (IsNan | IsInf | IsPositiveInf | IsNegativeInf, [kind]) if float(*kind) => Some(Kind::Bool),
        (Equal, [one, two]) if one == two => Some(Kind::Bool),
        (Less | LessOrEqual, [one, two]) if one == two && number(*one) => Some(Kind::Bool),
        (SizeReaches | SizeExceeds, [one, two]) if one == two && float(*one) => Some(Kind::Bool),
        (Not, [Kind::Bool]) | (And | Or | Xor, [Kind::Bool, Kind::Bool]) => Some(Kind::Bool),
        (Where, [Kind::Bool, one, two]) if one == two => Some(*one),
        (Cast(to), [from]) if *from != Kind::Code && to != Kind::Code => Some(to),
        (Cast(Kind::Code), [Kind::Code]) => Some(Kind::Code),
        (CastInt32, [from]) if *from != Kind::Code => Some(Kind::I64),
        _ => None,
    };
    found.map_or_else(|| unsupported(format!("{op:?} of {kinds:?}")), Ok)
}

/// The value for constants: the very functions that run over columns.
pub fn evaluate(op: Op, values: &[Scalar]) -> Result<Scalar> {
    if let (Op::Cast(Kind::Code), [value]) = (op, values) {
        return Ok(*value);
    }
    let kinds: Vec<Kind> = values.iter().map(|value| value.kind()).collect();
    result(op, &kinds)?;
    let Some(kind) = kinds.last() else {
        return unsupported(format!("{op:?} of nothing"));
    };
    match functions::visit(op, *kind, Evaluate(values))? {
        Some(value) => Ok(value),
        None => Err(Error::Failed(format!("internal: {op:?} of {kinds:?}"))),
    }
}

pub fn kernel(op: Op, operands: &[Operand], slot: Slot, kind: Kind) -> Box<dyn Kernel> {
    Box::new(run::Elementwise {
        op,
        inputs: operands.to_vec(),
        outputs: [(slot, kind)],
    })
}

struct Evaluate<'a>(&'a [Scalar]);

impl functions::Visitor for Evaluate<'_> {
    type Out = Option<Scalar>;

    fn one<T: Element, U: crate::program::Buffered>(
        self,
        f: impl Fn(T) -> U + Copy,
    ) -> Option<Scalar> {
        Some(f(T::of(*self.0.first()?)?).scalar())
    }

    fn two<T: Element, U: crate::program::Buffered>(
        self,
        f: impl Fn(T, T) -> U + Copy,
    ) -> Option<Scalar> {
        Some(f(T::of(*self.0.first()?)?, T::of(*self.0.get(1)?)?).scalar())
    }

    fn choose<T: crate::program::Buffered>(self) -> Option<Scalar> {
        self.0
            .get(if bool::of(*self.0.first()?)? { 1 } else { 2 })
            .copied()
    }
}
