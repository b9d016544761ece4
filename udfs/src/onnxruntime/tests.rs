//! Against a real onnxruntime, where `$SQLML_ONNXRUNTIME` names one or the system has one; else they say so and pass.

use super::*;

/// Protobuf, as little as a graph of one operator needs.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 128 {
        bytes.push((value & 127) as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn message(field: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    [
        varint(field << 3 | 2),
        varint(content.len() as u64),
        content,
    ]
    .concat()
}

fn text(field: u64, value: &str) -> Vec<u8> {
    message(field, &[value.as_bytes().to_vec()])
}

/// A port [N, width] of an ONNX element type.
fn port(field: u64, name: &str, element: u64, width: u64) -> Vec<u8> {
    let shape = message(
        2,
        &[message(1, &[text(2, "N")]), message(1, &[number(1, width)])],
    );
    message(
        field,
        &[
            text(1, name),
            message(2, &[message(1, &[number(1, element), shape])]),
        ],
    )
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = inputs.iter().map(|input| text(1, input)).collect();
    parts.extend([text(2, output), text(4, operator)]);
    message(1, &parts)
}

fn model(parts: &[Vec<u8>]) -> Vec<u8> {
    [
        number(1, 10),
        message(8, &[number(2, 21)]),
        message(7, &[parts.concat(), text(2, "g")]),
    ]
    .concat()
}

const F32: u64 = 1;
const TEXT: u64 = 8;
const F64: u64 = 11;

fn open(bytes: &[u8]) -> Option<Session> {
    match Session::load(bytes) {
        Ok(session) => Some(session),
        Err(error) if error.to_string().contains("was not found") => {
            eprintln!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn sum() -> Vec<u8> {
    model(&[
        node("Add", &["x", "y"], "z"),
        port(11, "x", F64, 1),
        port(11, "y", F64, 1),
        port(12, "z", F64, 1),
    ])
}

#[test]
fn columns_go_in_by_place_and_numbers_come_out() {
    let Some(session) = open(&sum()) else { return };
    let wanted = [session.output("z").expect("an output")];
    let found = session
        .run(
            &[Column::F64(&[1.0, f64::NAN, 3.0]), Column::Number(0.5)],
            3,
            &wanted,
        )
        .expect("an answer");
    let Values::F64(values) = &found[0].values else {
        panic!("not doubles")
    };
    assert_eq!((found[0].width, values[0], values[2]), (1, 1.5, 3.5));
    assert!(values[1].is_nan());
}

#[test]
fn a_wide_port_takes_as_many_columns() {
    let wide = model(&[
        node("Neg", &["x"], "z"),
        port(11, "x", F32, 2),
        port(12, "z", F32, 2),
    ]);
    let Some(session) = open(&wide) else { return };
    let found = session
        .run(&[Column::F64(&[1.0, 2.0]), Column::I64(&[3, 4])], 2, &[0])
        .expect("an answer");
    assert_eq!(
        found,
        [Tensor {
            width: 2,
            values: Values::F64(vec![-1.0, -3.0, -2.0, -4.0])
        }]
    );
    let error = session
        .run(&[Column::Number(1.0)], 2, &[0])
        .expect_err("one column is missing")
        .to_string();
    assert!(error.contains("takes 2 columns, got 1"), "{error}");
}

#[test]
fn texts_arrive_whole() {
    let same = model(&[
        node("Equal", &["x", "y"], "z"),
        port(11, "x", TEXT, 1),
        port(11, "y", TEXT, 1),
        port(12, "z", 9, 1),
    ]);
    let Some(session) = open(&same) else { return };
    let given = [
        Column::Text(&[b"a\0b", b"", "\u{e4}".as_bytes()]),
        Column::OneText(b"a\0b"),
    ];
    let found = session.run(&given, 3, &[0]).expect("an answer");
    assert_eq!(found[0].values, Values::I64(vec![1, 0, 0]));
}

#[test]
fn the_words_of_onnxruntime_are_in_the_error() {
    if open(&sum()).is_none() {
        return;
    }
    let unknown = model(&[
        node("NoSuchOperator", &["x"], "z"),
        port(11, "x", F64, 1),
        port(12, "z", F64, 1),
    ]);
    let error = Session::load(&unknown).err().expect("an error").to_string();
    assert!(
        error.starts_with("onnxruntime: ") && error.contains("NoSuchOperator"),
        "{error}"
    );
    let error = Session::load(b"not a model")
        .err()
        .expect("an error")
        .to_string();
    assert!(error.starts_with("onnxruntime: "), "{error}");
}

#[test]
fn one_session_answers_several_threads() {
    let Some(session) = open(&sum()) else { return };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let session = &session;
            scope.spawn(move || {
                for round in 0..200 {
                    let column = vec![f64::from(thread * 1000 + round); 100];
                    let found = session
                        .run(&[Column::F64(&column), Column::F64(&column)], 100, &[0])
                        .expect("an answer");
                    assert_eq!(found[0].values, Values::F64(vec![2.0 * column[0]; 100]));
                }
            });
        }
    });
}
