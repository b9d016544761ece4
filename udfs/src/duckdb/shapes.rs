//! The scoring functions: one per shape of result, for the C API takes a function's return type when it is registered.

use super::handle::{c_string, LogicalType};
use crate::explain;
use crate::program::{Kind, Operand, Output, Program};
use std::ffi::{CStr, CString};

/// Classes and targets that have a function of their own; beyond, they are one list.
pub const MOST: usize = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// STRUCT(error, prediction, p0, p1, ...)
    Class(usize),
    /// STRUCT(error, prediction, p DOUBLE[])
    ClassMany,
    /// STRUCT(error, t0, t1, ...)
    Value(usize),
    /// STRUCT(error, t DOUBLE[])
    ValueMany,
    /// DOUBLE: a regressor's value, or the last class's probability
    Number,
    /// DOUBLE[]
    Probabilities,
    /// DOUBLE[]: what each input column contributes
    Explanation,
    /// DOUBLE[]: every numeric output of any graph
    Outputs,
}

/// What results are made of, made once.
pub struct Types {
    bigint: LogicalType,
    double: LogicalType,
    list: LogicalType,
    classes: Vec<CString>,
    targets: Vec<CString>,
}

impl Types {
    pub fn new() -> Types {
        let names = |letter: char| {
            (0..MOST)
                .map(|i| c_string(&format!("{letter}{i}")))
                .collect()
        };
        let double = LogicalType::double();
        let list = LogicalType::list(&double);
        Types {
            bigint: LogicalType::bigint(),
            double,
            list,
            classes: names('p'),
            targets: names('t'),
        }
    }

    fn doubles<'a>(
        &'a self,
        names: &'a [CString],
        count: usize,
    ) -> impl Iterator<Item = (&'a CStr, &'a LogicalType)> {
        names
            .iter()
            .take(count)
            .map(|name| (name.as_c_str(), &self.double))
    }
}

impl Default for Types {
    fn default() -> Types {
        Types::new()
    }
}

/// The columns of a program that a shape shows.
pub struct Wanted {
    pub error: Option<Operand>,
    pub index: Option<Operand>,
    pub numbers: Vec<Operand>,
}

impl Wanted {
    pub fn operands(&self) -> Vec<Operand> {
        let first = [self.error, self.index];
        first
            .into_iter()
            .flatten()
            .chain(self.numbers.iter().copied())
            .collect()
    }
}

impl Shape {
    pub fn all() -> impl Iterator<Item = Shape> {
        let named = [
            Shape::ClassMany,
            Shape::ValueMany,
            Shape::Number,
            Shape::Probabilities,
            Shape::Explanation,
            Shape::Outputs,
        ];
        // With one class, too: a tree that saw no other has one probability.
        let classes = (0..=MOST).map(Shape::Class);
        named
            .into_iter()
            .chain(classes)
            .chain((1..=MOST).map(Shape::Value))
    }

    pub fn name(self) -> String {
        match self {
            Shape::Class(classes) => format!("sqlml_class_{classes}"),
            Shape::ClassMany => "sqlml_class_many".into(),
            Shape::Value(targets) => format!("sqlml_value_{targets}"),
            Shape::ValueMany => "sqlml_value_many".into(),
            Shape::Number => "sqlml_f64".into(),
            Shape::Probabilities => "sqlml_proba".into(),
            Shape::Explanation => "sqlml_explain".into(),
            Shape::Outputs => "sqlml_outputs".into(),
        }
    }

    pub fn result(self, types: &Types) -> LogicalType {
        let mut fields = vec![(c"error", &types.bigint)];
        if self.has_index() {
            fields.push((c"prediction", &types.bigint));
        }
        match self {
            Shape::Class(classes) => fields.extend(types.doubles(&types.classes, classes)),
            Shape::ClassMany => fields.push((c"p", &types.list)),
            Shape::Value(targets) => fields.extend(types.doubles(&types.targets, targets)),
            Shape::ValueMany => fields.push((c"t", &types.list)),
            Shape::Number => return LogicalType::double(),
            Shape::Probabilities | Shape::Explanation | Shape::Outputs => {
                return LogicalType::list(&types.double)
            }
        }
        LogicalType::structure(&fields)
    }

    pub fn has_index(self) -> bool {
        matches!(self, Shape::Class(_) | Shape::ClassMany)
    }

    /// What of the program it shows; None if the model has no such outputs.
    pub fn wanted(self, program: &Program) -> Option<Wanted> {
        let prediction = program.output("prediction");
        let columns = |output: &Output| output.columns.clone();
        let index = prediction.filter(|output| output.kind == Kind::I64 && self.has_index());
        let index = index.and_then(|output| output.columns.first().copied());
        let values = || {
            prediction
                .filter(|output| output.kind != Kind::Code)
                .map(columns)
        };
        let probabilities = || program.output("probabilities").map(columns);
        let error = program
            .output("error")
            .and_then(|output| output.columns.first().copied());
        let numbers = match self {
            Shape::Class(0) => Vec::new(),
            Shape::Class(classes) => probabilities().filter(|found| found.len() == classes)?,
            Shape::ClassMany | Shape::Probabilities => probabilities()?,
            Shape::Value(targets) => values().filter(|found| found.len() == targets)?,
            Shape::ValueMany => values()?,
            Shape::Number => {
                // A file that is not sqlml's own: the last column of its last numeric output.
                let all = || Some(numeric(program)).filter(|_| prediction.is_none());
                vec![*probabilities().or_else(values).or_else(all)?.last()?]
            }
            Shape::Explanation => program.output(explain::OUTPUT).map(columns)?,
            Shape::Outputs => numeric(program),
        };
        let error = error.filter(|_| self != Shape::Outputs);
        (index.is_some() || !self.has_index()).then_some(Wanted {
            error,
            index,
            numbers,
        })
    }
}

/// All numeric outputs, in the graph's order.
fn numeric(program: &Program) -> Vec<Operand> {
    let outputs = program
        .outputs()
        .iter()
        .filter(|output| output.kind != Kind::Code);
    outputs
        .flat_map(|output| output.columns.iter().copied())
        .collect()
}
