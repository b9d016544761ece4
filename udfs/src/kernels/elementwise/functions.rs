//! What each operator is, for each kind: one place for constants and for columns.

use super::Op;
use crate::error::{unsupported, Result};
use crate::kernels::math;
use crate::program::{Buffered, Element, Kind};

/// Gets the function of an operator, in the types of a kind.
pub trait Visitor {
    type Out;
    fn one<T: Element, U: Buffered>(self, f: impl Fn(T) -> U + Copy) -> Self::Out;
    fn two<T: Element, U: Buffered>(self, f: impl Fn(T, T) -> U + Copy) -> Self::Out;
    fn choose<T: Buffered>(self) -> Self::Out;
}

/// `kind`: of the last operand, which all operators but the condition of `Where` share.
pub fn visit<V: Visitor>(op: Op, kind: Kind, to: V) -> Result<V::Out> {
    match kind {
        Kind::F64 => double(op, to),
        Kind::F32 => single(op, to),
        Kind::I64 => integer(op, to),
        Kind::Bool => logical(op, to),
        Kind::Code => code(op, to),
    }
}

/// All functions of floating point numbers; singles go through double and round once, where the function is not exact.
macro_rules! floating {
    ($name:ident, $type:ty, $through:expr, $back:expr) => {
        fn $name<V: Visitor>(op: Op, to: V) -> Result<V::Out> {
            type T = $type;
            let (through, back) = ($through, $back);
            let math = move |f: fn(f64) -> f64| move |x: T| back(f(through(x)));
            Ok(match op {
                Op::Neg => to.one(|x: T| -x),
                Op::Abs => to.one(|x: T| x.abs()),
                Op::Sign => to.one(|x: T| {
                    if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        -1.0
                    } else {
                        x // a zero, or NaN as in numpy
                    }
                }),
                Op::Floor => to.one(|x: T| x.floor()),
                Op::Ceil => to.one(|x: T| x.ceil()),
                Op::Round => to.one(|x: T| x.round_ties_even()),
                Op::Sqrt => to.one(|x: T| x.sqrt()),
                Op::Reciprocal => to.one(|x: T| 1.0 / x),
                Op::Relu => to.one(|x: T| if x < 0.0 { 0.0 } else { x }),
                Op::Exp => to.one(move |x: T| back(math::exp(through(x)))),
                Op::Log => to.one(move |x: T| back(math::log(through(x)))),
                Op::Tanh => to.one(move |x: T| back(math::tanh(through(x)))),
                Op::Sigmoid => to.one(move |x: T| back(math::sigmoid(through(x)))),
                Op::Sin => to.one(move |x: T| back(math::sin(through(x)))),
                Op::Cos => to.one(move |x: T| back(math::cos(through(x)))),
                Op::Erf => to.one(move |x: T| back(math::erf(through(x)))),
                Op::Erfc => to.one(math(libm::erfc)),
                Op::Tan => to.one(math(libm::tan)),
                Op::Asin => to.one(math(libm::asin)),
                Op::Acos => to.one(math(libm::acos)),
                Op::Atan => to.one(math(libm::atan)),
                Op::Sinh => to.one(math(libm::sinh)),
                Op::Cosh => to.one(math(libm::cosh)),
                Op::Asinh => to.one(math(libm::asinh)),
                Op::Acosh => to.one(math(libm::acosh)),
                Op::Atanh => to.one(math(libm::atanh)),
                Op::Softplus => to.one(move |x: T| back(math::softplus(through(x)))),
                Op::Expm1 => to.one(math(libm::expm1)),
                Op::Add => to.two(|x: T, y: T| x + y),
                Op::Sub => to.two(|x: T, y: T| x - y),
                Op::Mul => to.two(|x: T, y: T| x * y),
                Op::Div => to.two(|x: T, y: T| x / y),
                Op::Pow => to.two(move |x: T, y: T| back(math::pow(through(x), through(y)))),
                Op::Fmod => to.two(|x: T, y: T| x % y),
                Op::Mod => to.two(|x: T, y: T| x - (x / y).floor() * y),
                // NaN wins, as in onnxruntime and numpy
                Op::Min => to.two(|x: T, y: T| if x < y || x.is_nan() { x } else { y }),
                Op::Max => to.two(|x: T, y: T| if x > y || x.is_nan() { x } else { y }),
                Op::IsNan => to.one(|x: T| x.is_nan()),
                Op::IsInf => to.one(|x: T| x.is_infinite()),
                Op::IsPositiveInf => to.one(|x: T| x == T::INFINITY),
                Op::IsNegativeInf => to.one(|x: T| x == T::NEG_INFINITY),
                Op::Equal => to.two(|x: T, y: T| x == y),
                Op::Less => to.two(|x: T, y: T| x < y),
                Op::LessOrEqual => to.two(|x: T, y: T| x <= y),
                Op::SizeReaches => to.two(|x: T, y: T| x <= y.abs()),
                Op::SizeExceeds => to.two(|x: T, y: T| x < y.abs()),
                Op::Where => to.choose::<T>(),
                Op::Cast(Kind::F64) => to.one(|x: T| f64::from(x)),
                Op::Cast(Kind::F32) => to.one(|x: T| x as f32),
                Op::Cast(Kind::I64) => to.one(|x: T| x as i64),
                Op::Cast(Kind::Bool) => to.one(|x: T| x != 0.0),
                Op::CastInt32 => to.one(|x: T| i64::from(x as i32)),
                _ => return unsupported(format!("{op:?} of floating point numbers")),
            })
        }
    };
}

floating!(double, f64, |x: f64| x, |x: f64| x);
floating!(single, f32, f64::from, |x: f64| x as f32);

/// Integers wrap around; a division by zero, which onnxruntime leaves undefined, gives 0.
fn integer<V: Visitor>(op: Op, to: V) -> Result<V::Out> {
    type T = i64;
    Ok(match op {
        Op::Neg => to.one(|x: T| x.wrapping_neg()),
        Op::Abs => to.one(|x: T| x.wrapping_abs()),
        Op::Sign => to.one(|x: T| x.signum()),
        Op::Relu => to.one(|x: T| x.max(0)),
        Op::Add => to.two(|x: T, y: T| x.wrapping_add(y)),
        Op::Sub => to.two(|x: T, y: T| x.wrapping_sub(y)),
        Op::Mul => to.two(|x: T, y: T| x.wrapping_mul(y)),
        Op::Div => to.two(|x: T, y: T| if y == 0 { 0 } else { x.wrapping_div(y) }),
        Op::Fmod => to.two(|x: T, y: T| if y == 0 { 0 } else { x.wrapping_rem(y) }),
        Op::Mod => to.two(|x: T, y: T| {
            let rest = if y == 0 { 0 } else { x.wrapping_rem(y) };
            if rest != 0 && (rest < 0) != (y < 0) {
                rest + y
            } else {
                rest
            }
        }),
        Op::Min => to.two(|x: T, y: T| x.min(y)),
        Op::Max => to.two(|x: T, y: T| x.max(y)),
        Op::Equal => to.two(|x: T, y: T| x == y),
        Op::Less => to.two(|x: T, y: T| x < y),
        Op::LessOrEqual => to.two(|x: T, y: T| x <= y),
        Op::Where => to.choose::<T>(),
        Op::Cast(Kind::F64) => to.one(|x: T| x as f64),
        Op::Cast(Kind::F32) => to.one(|x: T| x as f32),
        Op::Cast(Kind::I64) => to.one(|x: T| x),
        Op::Cast(Kind::Bool) => to.one(|x: T| x != 0),
        Op::CastInt32 => to.one(|x: T| i64::from(x as i32)),
        _ => return unsupported(format!("{op:?} of integers")),
    })
}

fn logical<V: Visitor>(op: Op, to: V) -> Result<V::Out> {
    type T = bool;
    Ok(match op {
        Op::Not => to.one(|x: T| !x),
        Op::And => to.two(|x: T, y: T| x & y),
        Op::Or => to.two(|x: T, y: T| x | y),
        Op::Xor => to.two(|x: T, y: T| x ^ y),
        Op::Equal => to.two(|x: T, y: T| x == y),
        Op::Where => to.choose::<T>(),
        Op::Cast(Kind::F64) => to.one(|x: T| f64::from(u8::from(x))),
        Op::Cast(Kind::F32) => to.one(|x: T| f32::from(u8::from(x))),
        Op::Cast(Kind::I64) | Op::CastInt32 => to.one(|x: T| i64::from(x)),
        Op::Cast(Kind::Bool) => to.one(|x: T| x),
        _ => return unsupported(format!("{op:?} of truth values")),
    })
}

fn code<V: Visitor>(op: Op, to: V) -> Result<V::Out> {
    Ok(match op {
        Op::Equal => to.two(|x: u32, y: u32| x == y),
        Op::Where => to.choose::<u32>(),
        Op::Cast(Kind::Code) => to.one(|x: u32| x),
        _ => return unsupported(format!("{op:?} of texts")),
    })
}
