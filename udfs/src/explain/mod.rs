//! What each input column contributes to a row's raw score: path-dependent TreeSHAP for what a model adds up of trees.
//!
//! base + the contributions is the raw score, the base being what the trees say on average over the rows that they were
//! trained on. Where the model computes in double, both sides agree within 1e-9; one that adds its leaves in float32
//! (XGBoost) has a raw score of that precision, while contributions are always added in double.

mod covers;
mod kernel;
mod paths;
mod quadrature;
mod request;
#[cfg(test)]
mod tests;
mod walk;

use crate::error::{malformed, unsupported, Result};
use crate::kernels::elementwise::Op;
use crate::lower::{lower_and, Value};
use crate::onnx::{Graph, Port};
use crate::program::{Builder, Kind, Operand, Program, Scalar};
use request::Request;
use std::collections::HashMap;

/// The output with the explanation: the class, if only that of the predicted class is asked for, then per score its base,
/// the score itself, and the contribution of each input column.
pub const OUTPUT: &str = "sqlml explained";

/// The model's graph up to its raw scores, and what they are made of. `request` is what sqlml writes: see `request`.
pub fn program(bytes: &[u8], request: &str) -> Result<Program> {
    let request = request::read(request)?;
    let mut graph = Graph::read(bytes)?;
    graph.outputs = vec![Port {
        name: "error".into(),
        ..Port::default()
    }];
    lower_and(&graph, bytes.len(), |values, builder| {
        let columns = explained(&graph, &request, values, builder)?;
        builder.output(OUTPUT.into(), Kind::F64, columns);
        Ok(())
    })
}

fn explained(
    graph: &Graph,
    request: &Request,
    values: &HashMap<&str, Value>,
    builder: &mut Builder,
) -> Result<Vec<Operand>> {
    let size = (request.positions.len(), request.columns);
    let mut bases = request.constants.clone();
    let mut contributions = vec![Operand::Constant(Scalar::F64(0.0)); size.0 * size.1];
    for asked in &request.ensembles {
        let Some(node) = kernel::maker(graph, &asked.tensor) else {
            return malformed(format!("no trees make {}", asked.tensor));
        };
        let Some(note) = graph.notes.get(&format!("sqlml.covers.{}", asked.tensor)) else {
            return unsupported("explaining trees without their training weights");
        };
        let given = node
            .inputs
            .first()
            .and_then(|name| values.get(name.as_str()));
        let Some(Value::Rows(rows)) = given else {
            return unsupported("explaining trees of constants");
        };
        let made = kernel::Explain::lower(node, note, asked, size, rows, builder)?;
        for (base, more) in bases.iter_mut().zip(&made.base) {
            *base += more;
        }
        for (sum, more) in contributions.iter_mut().zip(made.contributions) {
            *sum = added(*sum, more, builder)?;
        }
    }
    let mut columns = Vec::new();
    if request.predicted {
        columns.extend(rows(values, "prediction")?.first());
    }
    let scores = rows(values, &request.score)?;
    for (k, position) in request.positions.iter().enumerate() {
        let Some(score) = scores.get(*position) else {
            return malformed("a request for a score that is not there");
        };
        columns.extend([Operand::Constant(Scalar::F64(bases[k])), *score]);
        columns.extend(&contributions[k * size.1..(k + 1) * size.1]);
    }
    Ok(columns)
}

/// The columns of a tensor by its name.
fn rows<'v>(values: &'v HashMap<&str, Value>, name: &str) -> Result<&'v [Operand]> {
    match values.get(name) {
        Some(Value::Rows(rows)) => Ok(&rows.columns),
        _ => malformed(format!(
            "a request for {name}, which the model does not compute"
        )),
    }
}

/// The sum; nothing is computed where one of them is the constant 0.
fn added(one: Operand, other: Operand, builder: &mut Builder) -> Result<Operand> {
    let zero = |operand: Operand| operand == Operand::Constant(Scalar::F64(0.0));
    match (zero(one), zero(other)) {
        (true, _) => Ok(other),
        (_, true) => Ok(one),
        _ => builder.elementwise(Op::Add, &[one, other]),
    }
}
