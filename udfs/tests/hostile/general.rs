//! Models of ONNX's own operators, as the converters write them.

use super::build::{node, Graph, Values, BOOL, DOUBLE, FLOAT, INT64, STRING};
use super::models::{doubles, TEXTS};
use super::random::Random;
use super::trees::columns;
use super::wire::Message;

pub fn arithmetic(random: &mut Random) -> Message {
    let mut graph = columns(Graph::new(), DOUBLE)
        .constant("row", &[1, 3], Values::F64(&doubles(random, 3)))
        .constant("one", &[], Values::F64(&doubles(random, 1)));
    let mut last = "x".to_owned();
    for step in 0..1 + random.below(8) {
        let next = format!("t{step}");
        let op = random.word(&[
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Min",
            "Max",
            "Pow",
            "Neg",
            "Abs",
            "Exp",
            "Log",
            "Sqrt",
            "Tanh",
            "Sigmoid",
            "Relu",
            "Sign",
            "Floor",
            "Reciprocal",
            "Ceil",
            "Softplus",
            "Erf",
            "Atan",
            "Sin",
            "Cos",
            "Round",
        ]);
        graph = match op {
            "Add" | "Sub" | "Mul" | "Div" | "Min" | "Max" | "Pow" => {
                let other = random.word(&["row", "one", "x"]);
                graph.node(node(op, &[&last, other], &[&next]))
            }
            _ => graph.node(node(op, &[&last], &[&next])),
        };
        last = next;
    }
    graph
        .node(node("Clip", &[&last, "one"], &["prediction"]))
        .output("prediction", DOUBLE, 3)
        .model(5)
}

pub fn network(random: &mut Random) -> Message {
    let hidden = 1 + random.below(20);
    let classes = 2 + random.below(3);
    columns(Graph::new(), DOUBLE)
        .constant(
            "w1",
            &[3, hidden as i64],
            Values::F64(&doubles(random, 3 * hidden)),
        )
        .constant(
            "b1",
            &[hidden as i64],
            Values::F64(&doubles(random, hidden)),
        )
        .constant(
            "w2",
            &[classes as i64, hidden as i64],
            Values::F64(&doubles(random, classes * hidden)),
        )
        .constant(
            "b2",
            &[1, classes as i64],
            Values::F64(&doubles(random, classes)),
        )
        .node(node("MatMul", &["x", "w1"], &["h1"]))
        .node(node("Add", &["h1", "b1"], &["h2"]))
        .node(node(
            random.word(&["Relu", "Tanh", "Sigmoid"]),
            &["h2"],
            &["h3"],
        ))
        .node(
            node("Gemm", &["h3", "w2", "b2"], &["o"])
                .int("transB", 1)
                .float("alpha", 0.5)
                .float("beta", 2.0),
        )
        .node(node("Softmax", &["o"], &["probabilities"]).int("axis", 1))
        .node(
            node("ArgMax", &["o"], &["prediction"])
                .int("axis", 1)
                .int("keepdims", i64::from(random.chance(2))),
        )
        .output("prediction", INT64, 1)
        .output("probabilities", DOUBLE, classes as i64)
        .model(5)
}

/// What the converters write where the original raises for a row.
pub fn errors(random: &mut Random) -> Message {
    columns(Graph::new(), DOUBLE)
        .constant("codes", &[1, 3], Values::I64(&[1, 2, 3]))
        .constant("big", &[], Values::I64(&[i64::MAX]))
        .constant("zero", &[], Values::I64(&[0]))
        .node(node("IsNaN", &["x"], &["nan"]))
        .node(node("IsInf", &["x"], &["inf"]).int("detect_negative", i64::from(random.chance(2))))
        .node(node("Or", &["nan", "inf"], &["bad"]))
        .node(node("Where", &["bad", "codes", "big"], &["candidates"]))
        .node(
            node("ReduceMin", &["candidates"], &["first"])
                .ints("axes", &[1])
                .int("keepdims", 1),
        )
        .node(node("Equal", &["first", "big"], &["fine"]))
        .node(node("Where", &["fine", "zero", "first"], &["error"]))
        .node(
            node("ReduceSum", &["x"], &["prediction"])
                .ints("axes", &[1])
                .int("keepdims", 1),
        )
        .output("prediction", DOUBLE, 1)
        .output("error", INT64, 1)
        .model(5)
}

pub fn comparisons(random: &mut Random) -> Message {
    columns(Graph::new(), DOUBLE)
        .constant("row", &[1, 3], Values::F64(&doubles(random, 3)))
        .node(node(
            random.word(&["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"]),
            &["x", "row"],
            &["p"],
        ))
        .node(node(
            random.word(&["Less", "Greater", "Equal"]),
            &["row", "x"],
            &["q"],
        ))
        .node(node(
            random.word(&["And", "Or", "Xor"]),
            &["p", "q"],
            &["r"],
        ))
        .node(node("Not", &["r"], &["s"]))
        .node(node("Cast", &["s"], &["n"]).int("to", *random.pick(&[DOUBLE, FLOAT, INT64])))
        .node(node("Cast", &["n"], &["d"]).int("to", DOUBLE))
        .node(node("Where", &["p", "d", "row"], &["prediction"]))
        .output("prediction", DOUBLE, 3)
        .model(5)
}

pub fn texts_compared(random: &mut Random) -> Message {
    let texts = &TEXTS[..1 + random.below(6)];
    Graph::new()
        .input("a", STRING, 1)
        .input("b", BOOL, 1)
        .constant("texts", &[1, texts.len() as i64], Values::Text(texts))
        .constant(
            "w",
            &[texts.len() as i64, 2],
            Values::F64(&doubles(random, 2 * texts.len())),
        )
        .node(node("Equal", &["a", "texts"], &["is"]))
        .node(node("Cast", &["is"], &["hot"]).int("to", DOUBLE))
        .node(node("MatMul", &["hot", "w"], &["two"]))
        .node(node("Cast", &["b"], &["n"]).int("to", DOUBLE))
        .node(node("Mul", &["two", "n"], &["prediction"]))
        .output("prediction", DOUBLE, 2)
        .model(5)
}

pub fn reductions(random: &mut Random) -> Message {
    columns(Graph::new(), DOUBLE)
        .node(
            node(
                random.word(&[
                    "ReduceSum",
                    "ReduceMean",
                    "ReduceMin",
                    "ReduceMax",
                    "ReduceL2",
                ]),
                &["x"],
                &["r"],
            )
            .ints("axes", &[1])
            .int("keepdims", 1),
        )
        .node(
            node("ArgMin", &["x"], &["i"])
                .int("axis", 1)
                .int("keepdims", 1)
                .int("select_last_index", i64::from(random.chance(2))),
        )
        .node(node("Cast", &["i"], &["d"]).int("to", DOUBLE))
        .constant("k", &[1], Values::I64(&[1 + random.below(3) as i64]))
        .node(
            node("TopK", &["x", "k"], &["top", "places"])
                .int("axis", 1)
                .int("largest", i64::from(random.chance(2))),
        )
        .node(node("Concat", &["r", "d", "top"], &["prediction"]).int("axis", 1))
        .output("prediction", DOUBLE, 3)
        .model(5)
}

pub fn shapes(random: &mut Random) -> Message {
    let first = random.below(3) as i64;
    columns(Graph::new(), DOUBLE)
        .constant(
            "places",
            &[3],
            Values::I64(&[random.below(3) as i64, -1, first]),
        )
        .constant("start", &[1], Values::I64(&[first]))
        .constant(
            "end",
            &[1],
            Values::I64(&[*random.pick(&[3, -1, i64::MAX])]),
        )
        .constant("axes", &[1], Values::I64(&[1]))
        .constant("step", &[1], Values::I64(&[*random.pick(&[1, 2])]))
        .constant("shape", &[2], Values::I64(&[-1, 3]))
        .node(node("Gather", &["x", "places"], &["g"]).int("axis", 1))
        .node(node(
            "Slice",
            &["x", "start", "end", "axes", "step"],
            &["s"],
        ))
        .node(node("Reshape", &["g", "shape"], &["h"]))
        .node(node("Squeeze", &["a", "axes"], &["flat"]))
        .node(node("Unsqueeze", &["flat", "axes"], &["again"]))
        .node(node("Concat", &["h", "s", "again"], &["i"]).int("axis", -1))
        .node(node("Identity", &["i"], &["prediction"]))
        .output("prediction", DOUBLE, 7)
        .model(5)
}

/// Graphs inside a graph: nothing native, and read all the same.
pub fn control(random: &mut Random) -> Message {
    let branch = |name: &str, value: f64| {
        Graph::new()
            .constant("c", &[1, 1], Values::F64(&[value]))
            .node(node("Add", &["a", "c"], &[name]))
            .output(name, DOUBLE, 1)
            .message()
    };
    Graph::new()
        .input("a", DOUBLE, 1)
        .constant("zero", &[], Values::F64(&[0.0]))
        .node(node("ReduceSum", &["a"], &["sum"]).int("keepdims", 0))
        .node(node("Greater", &["sum", "zero"], &["positive"]))
        .node(
            node("If", &["positive"], &["prediction"])
                .graph("then_branch", branch("t", random.value()))
                .graph("else_branch", branch("e", 1.0)),
        )
        .output("prediction", DOUBLE, 1)
        .model(5)
}
