//! Columns of a chunk: what kernels read and write.

/// Rows per chunk: DuckDB's vector size.
pub const CHUNK: usize = 2048;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    F64,
    F32,
    I64,
    Bool,
    /// A text as its number: see `texts`.
    Code,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    F64(f64),
    F32(f32),
    I64(i64),
    Bool(bool),
    Code(u32),
}

impl Scalar {
    pub fn kind(self) -> Kind {
        match self {
            Scalar::F64(_) => Kind::F64,
            Scalar::F32(_) => Kind::F32,
            Scalar::I64(_) => Kind::I64,
            Scalar::Bool(_) => Kind::Bool,
            Scalar::Code(_) => Kind::Code,
        }
    }

    /// The same for the same value and only for it: -0.0 is not 0.0 and a NaN is itself.
    pub fn bits(self) -> (Kind, u64) {
        let bits = match self {
            Scalar::F64(value) => value.to_bits(),
            Scalar::F32(value) => u64::from(value.to_bits()),
            Scalar::I64(value) => value as u64,
            Scalar::Bool(value) => u64::from(value),
            Scalar::Code(value) => u64::from(value),
        };
        (self.kind(), bits)
    }

    /// The number as a double; a code has none.
    pub fn double(self) -> Option<f64> {
        match self {
            Scalar::F64(value) => Some(value),
            Scalar::F32(value) => Some(f64::from(value)),
            Scalar::I64(value) => Some(value as f64),
            Scalar::Bool(value) => Some(f64::from(u8::from(value))),
            Scalar::Code(_) => None,
        }
    }
}

/// A column's place in a program. The first ones are the inputs, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand {
    Slot(Slot),
    Constant(Scalar),
}

/// The values of one column in one chunk. Slices are exactly as long as the chunk has rows.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    Uniform(Scalar),
    F64(&'a [f64]),
    F32(&'a [f32]),
    I64(&'a [i64]),
    Bool(&'a [bool]),
    Code(&'a [u32]),
}

impl Column<'_> {
    pub fn kind(&self) -> Kind {
        match self {
            Column::Uniform(value) => value.kind(),
            Column::F64(_) => Kind::F64,
            Column::F32(_) => Kind::F32,
            Column::I64(_) => Kind::I64,
            Column::Bool(_) => Kind::Bool,
            Column::Code(_) => Kind::Code,
        }
    }

    /// How many values there are; none if one stands for all.
    pub fn rows(&self) -> Option<usize> {
        match self {
            Column::Uniform(_) => None,
            Column::F64(values) => Some(values.len()),
            Column::F32(values) => Some(values.len()),
            Column::I64(values) => Some(values.len()),
            Column::Bool(values) => Some(values.len()),
            Column::Code(values) => Some(values.len()),
        }
    }
}

/// A column of a kind known to the kernel.
#[derive(Debug, Clone, Copy)]
pub enum Arm<'a, T> {
    One(T),
    Many(&'a [T]),
}

impl<T: Copy> Arm<'_, T> {
    /// The value of a row; rows are checked as slices are.
    pub fn at(&self, row: usize) -> T {
        match self {
            Arm::One(value) => *value,
            Arm::Many(values) => values[row],
        }
    }
}

/// What a column's values are in Rust.
pub trait Element: Copy + Send + Sync + Default + PartialEq + 'static {
    const KIND: Kind;
    fn scalar(self) -> Scalar;
    /// None if the column is of another kind.
    fn view(column: Column<'_>) -> Option<Arm<'_, Self>>;
    fn column(values: &[Self]) -> Column<'_>;
    fn of(scalar: Scalar) -> Option<Self>;
}

macro_rules! element {
    ($type:ty, $kind:ident) => {
        impl Element for $type {
            const KIND: Kind = Kind::$kind;

            fn scalar(self) -> Scalar {
                Scalar::$kind(self)
            }

            fn view(column: Column<'_>) -> Option<Arm<'_, Self>> {
                match column {
                    Column::Uniform(Scalar::$kind(value)) => Some(Arm::One(value)),
                    Column::$kind(values) => Some(Arm::Many(values)),
                    _ => None,
                }
            }

            fn column(values: &[Self]) -> Column<'_> {
                Column::$kind(values)
            }

            fn of(scalar: Scalar) -> Option<Self> {
                match scalar {
                    Scalar::$kind(value) => Some(value),
                    _ => None,
                }
            }
        }
    };
}

element!(f64, F64);
element!(f32, F32);
element!(i64, I64);
element!(bool, Bool);
element!(u32, Code);
