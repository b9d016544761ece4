//! Models that claim, nest and multiply: each is refused or left to onnxruntime at once, in little memory.

#![allow(clippy::expect_used, clippy::panic)] // a test may give up

mod hostile;

use hostile::build::{ml, node, port, Graph, Values, DOUBLE, FLOAT, INT64, STRING};
use hostile::expect::{outcome, refused, survived};
use hostile::memory::Counting;
use hostile::run::Outcome;
use hostile::trees::columns;
use hostile::wire::{varint, Message};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_and_noise() {
    assert_eq!(outcome(b""), Outcome::Refused);
    assert_eq!(outcome(b"\x00"), Outcome::Refused);
    assert_eq!(outcome(&[0xff; 4096]), Outcome::Refused);
    assert_eq!(outcome(&[0x3a; 4096]), Outcome::Refused);
    assert_eq!(outcome(&vec![0; 1 << 20]), Outcome::Refused);
}

#[test]
fn sizes_that_are_only_claimed() {
    // A graph of 2^62 bytes, and one of 2^64 - 1.
    for length in [1 << 62, u64::MAX] {
        let mut bytes = vec![7 << 3 | 2];
        varint(length, &mut bytes);
        assert_eq!(outcome(&bytes), Outcome::Refused);
    }
    for dims in [
        vec![i64::MAX],
        vec![1 << 32, 1 << 32],
        vec![1 << 31, 1 << 31, 4],
        vec![-1],
        vec![0, i64::MAX],
        vec![3; 64],
    ] {
        let graph =
            columns(Graph::new(), DOUBLE).constant("w", &dims, Values::F64(&[1.0, 2.0, 3.0]));
        survived(
            graph
                .node(node("Mul", &["x", "w"], &["prediction"]))
                .output("prediction", DOUBLE, 3)
                .model(5),
        );
    }
    for width in [0, 1 << 16, 1 << 31, i64::MAX, -1] {
        let graph =
            Graph::new()
                .input("x", DOUBLE, width)
                .node(node("Abs", &["x"], &["prediction"]));
        survived(graph.output("prediction", DOUBLE, width).model(5));
    }
    for count in [1 << 31, i64::MAX, -1, i64::MIN] {
        for op in ["TreeEnsembleRegressor", "LinearRegressor", "SVMRegressor"] {
            let claims = ml(op, &["x"], &["prediction"])
                .int("n_targets", count)
                .int("targets", count)
                .int("n_supports", count)
                .text("kernel_type", "RBF")
                .floats("coefficients", &[1.0; 3])
                .floats("support_vectors", &[1.0; 3])
                .floats("rho", &[1.0]);
            survived(
                columns(Graph::new(), FLOAT)
                    .node(claims)
                    .output("prediction", FLOAT, 1)
                    .model(1),
            );
        }
        let numbers = [
            ("Gather", "k"),
            ("Reshape", "k"),
            ("Expand", "k"),
            ("Tile", "k"),
            ("TopK", "k"),
            ("OneHot", "k"),
        ];
        for (op, constant) in numbers {
            for values in [vec![count], vec![1, count], vec![count, count]] {
                let graph = columns(Graph::new(), DOUBLE).constant(
                    "k",
                    &[values.len() as i64],
                    Values::I64(&values),
                );
                let graph =
                    graph.node(node(op, &["x", constant], &["prediction", "more"]).int("axis", 1));
                survived(graph.output("prediction", DOUBLE, 3).model(5));
            }
        }
    }
}

#[test]
fn graphs_that_are_no_graphs() {
    let of = |nodes: Vec<hostile::build::Node>| {
        nodes
            .into_iter()
            .fold(columns(Graph::new(), DOUBLE), Graph::node)
            .output("prediction", DOUBLE, 3)
            .model(5)
    };
    refused(of(vec![node("Abs", &["prediction"], &["prediction"])]));
    refused(of(vec![
        node("Abs", &["p"], &["q"]),
        node("Abs", &["q"], &["p"]),
    ]));
    refused(of(vec![node("Add", &["x", "nothing"], &["prediction"])]));
    refused(of(vec![
        node("Abs", &["x"], &["prediction"]),
        node("Neg", &["x"], &["prediction"]),
    ]));
    refused(of(vec![node("Abs", &["x"], &["y"])]));
    refused(
        Graph::new()
            .input("x", DOUBLE, 1)
            .input("x", DOUBLE, 1)
            .output("x", DOUBLE, 1)
            .model(5),
    );
    let twice = Graph::new()
        .constant("w", &[], Values::F64(&[1.0]))
        .constant("w", &[], Values::F64(&[2.0]));
    refused(twice.input("x", DOUBLE, 1).output("x", DOUBLE, 1).model(5));
}

#[test]
fn small_files_of_many_columns() {
    // Each step doubles what there is: 2^40 columns, and 2^40 constants.
    for input in ["x", "w"] {
        let mut graph =
            columns(Graph::new(), DOUBLE).constant("w", &[1, 3], Values::F64(&[1.0; 3]));
        let mut last = input.to_owned();
        for step in 0..40 {
            let next = format!("t{step}");
            graph = graph.node(node("Concat", &[&last, &last], &[&next]).int("axis", 1));
            last = next;
        }
        survived(
            graph
                .node(node("Abs", &[&last], &["prediction"]))
                .output("prediction", DOUBLE, 3)
                .model(5),
        );
    }
    // A wide constant, taken a thousand times.
    let mut graph =
        columns(Graph::new(), DOUBLE).constant("w", &[1, 20_000], Values::F64(&vec![0.5; 20_000]));
    for step in 0..1000 {
        graph = graph.node(node("Add", &["a", "w"], &[&format!("t{step}")]));
    }
    survived(graph.output("t999", DOUBLE, 20_000).model(5));
    // Matrices whose product is larger than both.
    let (tall, wide) = (vec![0.5; 30_000], vec![0.25; 30_000]);
    let graph = columns(Graph::new(), DOUBLE)
        .constant("p", &[30_000, 1], Values::F64(&tall))
        .constant("q", &[1, 30_000], Values::F64(&wide))
        .node(node("MatMul", &["p", "q"], &["product"]))
        .node(node("MatMul", &["a", "q"], &["y"]))
        .node(node("MatMul", &["y", "product"], &["prediction"]));
    survived(graph.output("prediction", DOUBLE, 30_000).model(5));
    // One text against a hundred thousand, in a matrix.
    let texts: Vec<String> = (0..100_000)
        .map(|number| format!("text {number}"))
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let graph = Graph::new()
        .input("a", STRING, 1)
        .constant("k", &[1, texts.len() as i64], Values::Text(&texts))
        .node(node("Equal", &["a", "k"], &["is"]))
        .node(node("Cast", &["is"], &["hot"]).int("to", DOUBLE))
        .node(node("ReduceSum", &["hot"], &["prediction"]).int("keepdims", 1));
    survived(graph.output("prediction", DOUBLE, 1).model(5));
}

#[test]
fn many_small_things() {
    // The least that a node, a constant, an input and an attribute can be, a hundred thousand times.
    let least_node = Message::new().bytes(2, "").bytes(4, "A");
    let least_constant = Message::new().number(2, FLOAT).number(1, 0).bytes(8, "");
    let least_attribute = Message::new().bytes(1, "");
    let node_of_attributes = (0..100_000)
        .fold(Message::new().bytes(2, "").bytes(4, "A"), |message, _| {
            message.message(5, least_attribute.clone())
        });
    let node_of_outputs = (0..300_000).fold(Message::new().bytes(4, "A"), |message, _| {
        message.bytes(2, "")
    });
    let attribute_of_texts = (0..300_000).fold(Message::new(), |message, _| message.bytes(9, ""));
    let graphs = [
        (0..100_000).fold(Message::new(), |message, _| {
            message.message(1, least_node.clone())
        }),
        (0..1).fold(Message::new(), |message, _| {
            message.message(5, least_constant.clone())
        }),
        (0..100_000).fold(Message::new(), |message, _| {
            message.message(11, Message::new())
        }),
        (0..100_000).fold(Message::new(), |message, _| {
            message.message(12, Message::new())
        }),
        Message::new().message(1, node_of_attributes),
        Message::new().message(1, node_of_outputs),
        Message::new().message(
            1,
            Message::new()
                .bytes(2, "")
                .bytes(4, "A")
                .message(5, attribute_of_texts),
        ),
        Message::new().message(11, port("x", INT64, 1).message(2, Message::new())),
    ];
    for graph in graphs {
        survived(Message::new().message(7, graph));
    }
    survived((0..300_000).fold(Message::new(), |message, _| {
        message.message(8, Message::new())
    }));
}

#[test]
fn graphs_a_hundred_thousand_deep() {
    // The sizes are added up from the inside, and the bytes written from the outside: copying each level would take hours.
    let size_of = |inner: usize| varint_size(inner) + 1 + inner;
    let mut sizes = vec![(0, 0)]; // of an attribute's content and of the node around it
    for _ in 0..100_000 {
        let graph = sizes.last().map_or(0, |(_, node)| size_of(*node));
        let attribute = size_of(graph);
        sizes.push((attribute, size_of(attribute) + NODE.len()));
    }
    let mut model = vec![7 << 3 | 2];
    let (_, outermost) = sizes[sizes.len() - 1];
    varint(size_of(outermost) as u64, &mut model);
    for level in (1..sizes.len()).rev() {
        let (attribute, node) = sizes[level];
        model.push(1 << 3 | 2); // the graph's node
        varint(node as u64, &mut model);
        model.extend(NODE);
        model.push(5 << 3 | 2); // its attribute
        varint(attribute as u64, &mut model);
        model.push(6 << 3 | 2); // the attribute's graph
        varint(size_of(sizes[level - 1].1) as u64, &mut model);
    }
    model.extend([1 << 3 | 2, 0]);
    assert!(matches!(outcome(&model), Outcome::Unsupported(_)));
}

/// An output "y" and the operator "If".
const NODE: &[u8] = &[2 << 3 | 2, 1, b'y', 4 << 3 | 2, 2, b'I', b'f'];

fn varint_size(value: usize) -> usize {
    let mut bytes = Vec::new();
    varint(value as u64, &mut bytes);
    bytes.len()
}
