//! Operators that hold graphs of their own, in the two forms that rows allow.
//!
//! `If` over "any row has it": the inner graph looks at those rows only (`NonZero`, `Gather`) and puts its values back
//! into them (`ScatterND`). No row's answer depends on another's, so this is a step over some of the rows.
//! `Scan` over columns: the body is a program of its own, run once per column.

use super::value::Block;
use super::{one, Rows, Value, Values};
use crate::error::{malformed, unsupported, Result};
use crate::kernels::inner::{Chosen, Inner, Repeated};
use crate::onnx::{Data, Graph, Node};
use crate::program::{Builder, Kind, Operand};
use std::collections::{HashMap, HashSet};

/// Like `super::Lowering`, with the graph around the node and the values that an inner graph may read.
pub type Lowering = fn(&Node, &[Value], &mut Builder, &Graph, &Values<'_>) -> Result<Vec<Value>>;

pub fn lowering(node: &Node) -> Option<Lowering> {
    match (node.domain.as_str(), node.op.as_str()) {
        ("", "If") => Some(chosen),
        ("", "Scan") => Some(repeated),
        _ => None,
    }
}

/// An inner graph while it is lowered: its builder, and which outer columns its inputs are.
struct Scope<'g> {
    builder: Builder,
    values: Values<'g>,
    outer: Vec<Operand>,
    inputs: HashMap<u32, Operand>,
}

impl<'g> Scope<'g> {
    /// An outer value's columns as inputs of the inner program.
    fn capture(&mut self, value: &Value, outer: &Builder) -> Result<Value> {
        let Value::Rows(rows) = value else {
            return Ok(value.clone());
        };
        let columns = rows
            .columns
            .iter()
            .map(|column| self.column(*column, outer));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Value::rows(rows.kind, rows.dims.clone(), columns, &mut self.builder)
    }

    fn column(&mut self, column: Operand, outer: &Builder) -> Result<Operand> {
        let Operand::Slot(slot) = column else {
            return Ok(column);
        };
        if let Some(known) = self.inputs.get(&slot.0) {
            return Ok(*known);
        }
        let known = self.fresh(outer.kind(column))?;
        self.outer.push(column);
        self.inputs.insert(slot.0, known);
        Ok(known)
    }

    /// One more input.
    fn fresh(&mut self, kind: Kind) -> Result<Operand> {
        if kind == Kind::Code {
            return unsupported("texts inside an inner graph");
        }
        let index = self.builder.input_count();
        self.builder.input(String::new(), kind)?;
        self.builder.input_operand(index)
    }

    fn finish(self, outputs: &[&Value], outer: &mut Builder) -> Result<Inner> {
        let mut builder = self.builder;
        for value in outputs {
            let Value::Rows(rows) = value else {
                return unsupported("an inner graph with a constant output");
            };
            builder.output(String::new(), rows.kind, rows.columns.clone());
        }
        outer.settle(&builder);
        Ok(Inner::new(builder.finish()))
    }
}

/// Inputs come first in a program: everything that the inner graph reads from around it is captured before its nodes.
fn scope<'g>(inner: &'g Graph, builder: &Builder, values: &Values<'_>) -> Result<Scope<'g>> {
    let mut scope = Scope {
        builder: builder.inner(),
        values: Values::new(),
        outer: Vec::new(),
        inputs: HashMap::new(),
    };
    for (name, tensor) in &inner.constants {
        scope.values.insert(name, Value::Constant(tensor.clone()));
    }
    let own: HashSet<&str> = inner
        .nodes
        .iter()
        .flat_map(|node| &node.outputs)
        .map(String::as_str)
        .collect();
    let bound: HashSet<&str> = inner.inputs.iter().map(|port| port.name.as_str()).collect();
    for name in inner.nodes.iter().flat_map(|node| &node.inputs) {
        let name = name.as_str();
        if own.contains(name) || bound.contains(name) || scope.values.contains_key(name) {
            continue;
        }
        if let Some(value) = values.get(name) {
            let captured = scope.capture(value, builder)?;
            scope.values.insert(name, captured);
        }
    }
    Ok(scope)
}

fn chosen(
    node: &Node,
    _: &[Value],
    builder: &mut Builder,
    graph: &Graph,
    values: &Values<'_>,
) -> Result<Vec<Value>> {
    let form = || unsupported("an If of another form than over some rows");
    let (Some(then), Some(other)) = (node.graph("then_branch"), node.graph("else_branch")) else {
        return malformed("an If without branches");
    };
    let ([then_output], [other_output], [condition, ..]) =
        (&then.outputs[..], &other.outputs[..], &node.inputs[..])
    else {
        return form();
    };
    let base = match &other.nodes[..] {
        [] => &other_output.name,
        [same]
            if same.op == "Identity"
                && same.outputs[0] == other_output.name
                && same.inputs.len() == 1 =>
        {
            &same.inputs[0]
        }
        _ => return form(),
    };
    let Some(mask) = any_of(condition, graph) else {
        return form();
    };
    let (Some(Value::Rows(base_rows)), Some(Value::Rows(mask_rows))) =
        (values.get(base.as_str()), values.get(mask))
    else {
        return form();
    };
    let ([mask_column], Kind::Bool) = (&mask_rows.columns[..], mask_rows.kind) else {
        return form();
    };
    let mut scope = scope(then, builder, values)?;
    let changed = branch(then, &then_output.name, base, mask, &mut scope)?;
    let Value::Rows(changed_rows) = &changed else {
        return form();
    };
    if changed_rows.dims != base_rows.dims || changed_rows.kind != base_rows.kind {
        return form();
    }
    let outer = scope.outer.clone();
    let inner = scope.finish(&[&changed], builder)?;
    let mut slots = Vec::with_capacity(base_rows.columns.len());
    for _ in &base_rows.columns {
        slots.push(builder.slot(base_rows.kind)?);
    }
    let columns = slots.iter().map(|slot| Operand::Slot(*slot)).collect();
    builder.push(Chosen::new(
        inner,
        *mask_column,
        &base_rows.columns,
        &outer,
        &slots,
        base_rows.kind,
    ));
    let made = Value::rows(base_rows.kind, base_rows.dims.clone(), columns, builder)?;
    Ok(vec![made])
}

/// Lowers the branch over the chosen rows; gives the values that its ScatterND puts into them.
fn branch<'g>(
    then: &'g Graph,
    output: &str,
    base: &str,
    mask: &str,
    scope: &mut Scope<'g>,
) -> Result<Value> {
    // Names that stand for "the chosen rows", as NonZero gives them and as Gather and Unsqueeze form them.
    let mut chosen: HashSet<&str> = HashSet::new();
    let mut scattered: HashMap<&str, Value> = HashMap::new();
    for node in &then.nodes {
        let inputs: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
        let result = node.outputs[0].as_str();
        match (node.op.as_str(), &inputs[..]) {
            ("NonZero", [of]) if *of == mask => {
                chosen.insert(result);
            }
            ("Gather" | "Unsqueeze", [of, _]) if chosen.contains(of) => {
                chosen.insert(result);
            }
            ("Gather", [of, rows])
                if chosen.contains(rows) && node.int("axis").unwrap_or(0) == 0 =>
            {
                let Some(value) = scope.values.get(of).cloned() else {
                    return malformed("a Gather of nothing");
                };
                scope.values.insert(result, value);
            }
            ("ScatterND", [of, rows, update]) if *of == base && chosen.contains(rows) => {
                let Some(value) = scope.values.get(update) else {
                    return malformed("a ScatterND of nothing");
                };
                scattered.insert(result, value.clone());
            }
            ("Identity", [of]) if scattered.contains_key(of) => {
                let value = scattered.get(of).cloned().unwrap_or(Value::Absent);
                scattered.insert(result, value);
            }
            _ if inputs
                .iter()
                .any(|name| chosen.contains(name) || scattered.contains_key(name)) =>
            {
                return unsupported("an If that does more with rows than choose them");
            }
            _ => one(node, then, &mut scope.builder, &mut scope.values)?,
        }
    }
    match scattered.remove(output) {
        Some(value) => Ok(value),
        None => unsupported("an If that does not put values back into its rows"),
    }
}

/// The column of which the condition says that some row has it: max(cast(mask), 0) > 0.5.
fn any_of<'g>(condition: &str, graph: &'g Graph) -> Option<&'g str> {
    let maker = |name: &str| {
        graph
            .nodes
            .iter()
            .find(|node| node.outputs.iter().any(|output| output == name))
    };
    let constant = |name: &str| match graph.constants.get(name).map(|tensor| &tensor.data) {
        Some(Data::F64(values)) if values.len() == 1 => values.first().copied(),
        _ => None,
    };
    let greater = maker(condition).filter(|node| node.op == "Greater" && node.inputs.len() == 2)?;
    constant(&greater.inputs[1]).filter(|bound| (0.0..1.0).contains(bound))?;
    let largest = maker(&greater.inputs[0])
        .filter(|node| node.op == "ReduceMax" && node.inputs.len() == 1)?;
    if largest.attribute("axes").is_some() {
        return None;
    }
    let joined =
        maker(&largest.inputs[0]).filter(|node| node.op == "Concat" && node.inputs.len() == 2)?;
    constant(&joined.inputs[1]).filter(|least| *least == 0.0)?;
    let number =
        maker(&joined.inputs[0]).filter(|node| node.op == "Cast" && node.inputs.len() == 1)?;
    (joined.int("axis") == Some(0)).then_some(number.inputs[0].as_str())
}

fn repeated(
    node: &Node,
    inputs: &[Value],
    builder: &mut Builder,
    _: &Graph,
    values: &Values<'_>,
) -> Result<Vec<Value>> {
    let form = || unsupported("a Scan of another form than over columns");
    let Some(body) = node.graph("body") else {
        return malformed("a Scan without a body");
    };
    let scanned = node
        .int("num_scan_inputs")
        .and_then(|count| usize::try_from(count).ok());
    let Some(states) = scanned.and_then(|count| inputs.len().checked_sub(count)) else {
        return form();
    };
    let axes = node.ints("scan_input_axes");
    if body.inputs.len() != inputs.len()
        || body.outputs.len() != states
        || axes.len() != inputs.len() - states
        || axes.iter().any(|axis| *axis != 1)
        || node
            .ints("scan_input_directions")
            .iter()
            .any(|backwards| *backwards != 0)
    {
        return form();
    }
    let mut rows: Vec<&Rows> = Vec::new();
    for input in inputs {
        match input {
            Value::Rows(found) if found.dims.len() == 1 => rows.push(found),
            _ => return form(),
        }
    }
    let length = rows.get(states).map_or(0, |rows| rows.columns.len());
    if rows[states..]
        .iter()
        .any(|rows| rows.columns.len() != length)
    {
        return form();
    }
    let mut scope = scope(body, builder, values)?;
    // The loop's own inputs come after what it captures.
    let captured = scope.outer.clone();
    let mut outer: Vec<Operand> = Vec::new();
    for (index, (port, rows)) in body.inputs.iter().zip(&rows).enumerate() {
        let dims = if index < states {
            rows.dims.clone()
        } else {
            Vec::new()
        };
        let width = if index < states {
            rows.columns.len()
        } else {
            1
        };
        let columns = (0..width)
            .map(|_| scope.fresh(rows.kind))
            .collect::<Result<Vec<_>>>()?;
        let value = Value::rows(rows.kind, dims, columns, &mut scope.builder)?;
        scope.values.insert(&port.name, value);
    }
    super::nodes(body, &mut scope.builder, &mut scope.values)?;
    let mut results = Vec::new();
    for (port, rows) in body.outputs.iter().zip(&rows) {
        let Some(value) = scope.values.get(port.name.as_str()).cloned() else {
            return malformed("a Scan whose body lacks an output");
        };
        let block = Block::of(&value, &mut scope.builder)?;
        if !block.rows || block.kind != rows.kind || block.dims != rows.dims {
            return form();
        }
        results.push(value);
    }
    for state in &rows[..states] {
        outer.extend_from_slice(&state.columns);
    }
    for place in 0..length {
        outer.extend(rows[states..].iter().map(|rows| rows.columns[place]));
    }
    builder.spend(outer.len().saturating_mul(size_of::<Operand>()))?;
    let inner = scope.finish(&results.iter().collect::<Vec<_>>(), builder)?;
    let mut made = Vec::new();
    let mut slots = Vec::new();
    for state in &rows[..states] {
        let own = state
            .columns
            .iter()
            .map(|_| builder.slot(state.kind))
            .collect::<Result<Vec<_>>>()?;
        slots.extend(own.iter().map(|slot| (*slot, state.kind)));
        let columns = own.into_iter().map(Operand::Slot).collect();
        made.push(Value::rows(
            state.kind,
            state.dims.clone(),
            columns,
            builder,
        )?);
    }
    builder.push(Repeated::new(
        inner,
        &captured,
        &outer,
        slots,
        rows.len() - states,
        length,
    ));
    Ok(made)
}
