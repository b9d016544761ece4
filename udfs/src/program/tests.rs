//! What building and running a program promise.

use super::*;
use crate::kernels::elementwise::Op;
use crate::lower::product::product;
use std::collections::HashMap;

fn builder(kinds: &[Kind]) -> (Builder, Vec<Operand>) {
    let mut builder = Builder::new(HashMap::new(), 0);
    for (index, kind) in kinds.iter().enumerate() {
        builder.input(format!("c{index}"), *kind).unwrap();
    }
    let operands = (0..kinds.len())
        .map(|index| builder.input_operand(index).unwrap())
        .collect();
    (builder, operands)
}

fn constant(value: f64) -> Operand {
    Operand::Constant(Scalar::F64(value))
}

fn run(builder: Builder, rows: usize, inputs: &[Column<'_>]) -> Vec<f64> {
    let program = builder.finish();
    let wanted = program.outputs()[0].columns.clone();
    let (plan, mut state) = (program.plan(&wanted), program.state());
    let mut answers = Vec::new();
    for _ in 0..2 {
        let frame = program.run(&plan, &mut state, rows, inputs).unwrap();
        let answer = frame.read::<f64>(wanted[0]).unwrap();
        answers.push((0..rows).map(|row| answer.at(row)).collect::<Vec<_>>());
    }
    assert_eq!(answers[0], answers[1], "a second chunk in the same state");
    answers.remove(0)
}

#[test]
fn constants_fold_and_equal_steps_are_taken_once() {
    let (mut builder, inputs) = builder(&[Kind::F64]);
    let five = builder
        .elementwise(Op::Add, &[constant(2.0), constant(3.0)])
        .unwrap();
    assert_eq!(five, constant(5.0));
    let one = builder.elementwise(Op::Mul, &[inputs[0], five]).unwrap();
    let again = builder
        .elementwise(Op::Mul, &[inputs[0], constant(5.0)])
        .unwrap();
    assert_eq!(one, again);
    builder.elementwise(Op::Exp, &[one]).unwrap();
    builder.output("y".into(), Kind::F64, vec![one]);
    let program = builder.finish();
    assert_eq!(program.steps().len(), 1, "nothing reads the exponential");
}

#[test]
fn an_encoded_text_is_one_lookup() {
    let (mut builder, inputs) = builder(&[Kind::Code, Kind::Code]);
    let mut sum = constant(0.5);
    for (text, weight) in [("Oslo", 2.0), ("Rome", 3.0)] {
        let code = Operand::Constant(builder.text(text.as_bytes()).unwrap());
        let equal = builder.elementwise(Op::Equal, &[inputs[0], code]).unwrap();
        let number = builder.elementwise(Op::Cast(Kind::F64), &[equal]).unwrap();
        let product = builder
            .elementwise(Op::Mul, &[number, constant(weight)])
            .unwrap();
        sum = builder.elementwise(Op::Add, &[sum, product]).unwrap();
    }
    builder.text(b"of another column").unwrap();
    builder.output("y".into(), Kind::F64, vec![sum]);
    let program = builder.finish();
    assert_eq!(program.steps().len(), 1);
    assert_eq!(
        program.inputs()[0].texts,
        [b"Oslo".to_vec(), b"Rome".to_vec()]
    );
    assert!(program.inputs()[1].texts.is_empty());
    let wanted = program.outputs()[0].columns.clone();
    let (plan, mut state) = (program.plan(&wanted), program.state());
    let columns = [
        Column::Code(&[0, 1, 2, 99]),
        Column::Uniform(Scalar::Code(0)),
    ];
    let frame = program.run(&plan, &mut state, 4, &columns).unwrap();
    let answer = frame.read::<f64>(wanted[0]).unwrap();
    assert_eq!(
        (0..4).map(|row| answer.at(row)).collect::<Vec<_>>(),
        [0.5, 2.5, 3.5, 0.5]
    );
}

#[test]
fn a_replaced_text_is_compared_as_what_replaces_it() {
    let (mut builder, inputs) = builder(&[Kind::Code]);
    let missing = Operand::Constant(builder.text(b"missing").unwrap());
    let fill = Operand::Constant(builder.text(b"b").unwrap());
    let is_missing = builder
        .elementwise(Op::Equal, &[inputs[0], missing])
        .unwrap();
    let filled = builder
        .elementwise(Op::Where, &[is_missing, fill, inputs[0]])
        .unwrap();
    let equal = builder.elementwise(Op::Equal, &[filled, fill]).unwrap();
    let number = builder.elementwise(Op::Cast(Kind::F64), &[equal]).unwrap();
    builder.output("y".into(), Kind::F64, vec![number]);
    // codes in the order of the model's texts: missing, b
    assert_eq!(
        run(builder, 3, &[Column::Code(&[0, 1, 2])]),
        [0.0, 1.0, 1.0]
    );
}

#[test]
fn uniform_columns_stay_uniform() {
    let (mut builder, inputs) = builder(&[Kind::F64, Kind::F64]);
    let bad = builder.elementwise(Op::IsNan, &[inputs[0]]).unwrap();
    let checked = builder
        .elementwise(Op::Where, &[bad, constant(1.0), constant(0.0)])
        .unwrap();
    builder.output("error".into(), Kind::F64, vec![checked]);
    let program = builder.finish();
    let wanted = program.outputs()[0].columns.clone();
    let (plan, mut state) = (program.plan(&wanted), program.state());
    let unused = Column::Uniform(Scalar::F64(0.0));
    let finite = [Column::F64(&[1.0, 2.0, 3.0]), unused];
    let clean = program.run(&plan, &mut state, 3, &finite).unwrap();
    assert!(matches!(
        clean.column(wanted[0]),
        Column::Uniform(Scalar::F64(0.0))
    ));
    let columns = [Column::F64(&[1.0, f64::NAN, f64::INFINITY]), unused];
    let frame = program.run(&plan, &mut state, 3, &columns).unwrap();
    let found = frame.read::<f64>(wanted[0]).unwrap();
    assert_eq!([found.at(0), found.at(1), found.at(2)], [0.0, 1.0, 0.0]);
}

/// The error code of a check as conversions write it: 7 where the size reaches (or exceeds) a limit, in whatever kind.
fn check_of_size(op: Op, limit: Scalar, input: Column<'_>, rows: usize) -> (bool, Vec<i64>) {
    let (mut builder, inputs) = builder(&[input.kind()]);
    let size = builder.elementwise(Op::Abs, &[inputs[0]]).unwrap();
    let test = builder
        .elementwise(op, &[Operand::Constant(limit), size])
        .unwrap();
    let [code, none] = [7, 0].map(|code| Operand::Constant(Scalar::I64(code)));
    let code = builder.elementwise(Op::Where, &[test, code, none]).unwrap();
    builder.output("error".into(), Kind::I64, vec![code]);
    let program = builder.finish();
    assert_eq!(
        program.steps().len(),
        2,
        "nothing reads the absolute values"
    );
    let (plan, mut state) = (program.plan(&[code]), program.state());
    let columns = [input];
    let frame = program.run(&plan, &mut state, rows, &columns).unwrap();
    let uniform = matches!(frame.column(code), Column::Uniform(_));
    let found = frame.read::<i64>(code).unwrap();
    (uniform, (0..rows).map(|row| found.at(row)).collect())
}

#[test]
fn sizes_are_checked_by_one_look_unless_a_row_is_too_large() {
    let limit: f64 = 3.4028235677973366e38;
    let below = limit.next_down();
    let cases: [(&[f64], bool, [i64; 2]); 8] = [
        (&[0.0, -1.0, below, -below], true, [0, 0]),
        (&[1.0, f64::NAN, 2.0, 3.0], true, [0, 0]),
        (&[f64::NAN; 4], true, [0, 0]),
        (&[1.0, limit, 0.0, 0.0], false, [7, 0]),
        (&[1.0, -limit, f64::NAN, 0.0], false, [7, 0]),
        (&[1.0, limit.next_up(), f64::NAN, 0.0], false, [7, 7]),
        (&[f64::NAN, f64::NEG_INFINITY, f64::NAN, 1.0], false, [7, 7]),
        (&[1.0, f64::INFINITY, 0.0, 0.0], false, [7, 7]),
    ];
    for (values, clean, [reaches, exceeds]) in cases {
        for (op, of_second) in [(Op::LessOrEqual, reaches), (Op::Less, exceeds)] {
            let (uniform, found) =
                check_of_size(op, Scalar::F64(limit), Column::F64(values), values.len());
            assert_eq!(found, [0, of_second, 0, 0], "{op:?} {values:?}");
            assert_eq!(uniform, clean || of_second == 0, "{op:?} {values:?}");
            let one = Column::Uniform(Scalar::F64(values[1]));
            let (uniform, found) = check_of_size(op, Scalar::F64(limit), one, 2);
            assert!(uniform && found == [of_second; 2], "{op:?} {values:?}");
        }
    }
    for (value, found) in [(2.0f32, 7), (-2.0, 7), (1.5, 0), (f32::NAN, 0)] {
        let column = Column::F32(&[1.0, f32::NAN, 0.0]);
        let (uniform, none) = check_of_size(Op::LessOrEqual, Scalar::F32(2.0), column, 3);
        assert!(uniform && none == [0; 3]);
        let column = [value, 1.0];
        let column = Column::F32(&column);
        let (_, codes) = check_of_size(Op::LessOrEqual, Scalar::F32(2.0), column, 2);
        assert_eq!(codes, [found, 0]);
    }
    // No number is as large as NaN.
    let column = Column::F64(&[f64::INFINITY, f64::NAN]);
    let (_, codes) = check_of_size(Op::LessOrEqual, Scalar::F64(f64::NAN), column, 2);
    assert_eq!(codes, [0, 0]);
    // Integers have a smallest one, whose absolute value is itself: nothing is taken out of them.
    let (mut builder, inputs) = builder(&[Kind::I64]);
    let size = builder.elementwise(Op::Abs, &[inputs[0]]).unwrap();
    let limit = Operand::Constant(Scalar::I64(5));
    let test = builder
        .elementwise(Op::LessOrEqual, &[limit, size])
        .unwrap();
    let test = builder.elementwise(Op::Cast(Kind::F64), &[test]).unwrap();
    builder.output("y".into(), Kind::F64, vec![test]);
    let integers = Column::I64(&[i64::MIN, -5, 4]);
    assert_eq!(run(builder, 3, &[integers]), [0.0, 1.0, 0.0]);
}

#[test]
fn an_integer_times_zero_is_no_step_and_a_float_is_one() {
    let (mut builder, inputs) = builder(&[Kind::I64, Kind::F64]);
    let zero = Operand::Constant(Scalar::I64(0));
    for operands in [[inputs[0], zero], [zero, inputs[0]]] {
        assert_eq!(builder.elementwise(Op::Mul, &operands).unwrap(), zero);
    }
    let product = builder
        .elementwise(Op::Mul, &[inputs[1], constant(0.0)])
        .unwrap();
    builder.output("y".into(), Kind::F64, vec![product]);
    let columns = [Column::I64(&[3, 4]), Column::F64(&[-3.0, 1.0])];
    let found = run(builder, 2, &columns);
    assert_eq!(
        [found[0], found[1]].map(f64::to_bits),
        [-0.0f64, 0.0].map(f64::to_bits)
    );
}

#[test]
fn buffers_are_used_again() {
    let (mut builder, inputs) = builder(&[Kind::F64]);
    let mut column = inputs[0];
    for step in 0..100 {
        column = builder
            .elementwise(Op::Add, &[column, constant(f64::from(step))])
            .unwrap();
    }
    builder.output("y".into(), Kind::F64, vec![column]);
    let program = builder.finish();
    let wanted = program.outputs()[0].columns.clone();
    let (plan, mut state) = (program.plan(&wanted), program.state());
    program
        .run(&plan, &mut state, 2, &[Column::F64(&[1.0, 2.0])])
        .unwrap();
    assert!(state.buffers() <= 2, "{}", state.buffers());
}

#[test]
fn a_column_of_the_wrong_length_or_kind_is_an_error() {
    let (mut builder, inputs) = builder(&[Kind::F64]);
    let doubled = builder
        .elementwise(Op::Add, &[inputs[0], inputs[0]])
        .unwrap();
    builder.output("y".into(), Kind::F64, vec![doubled]);
    let program = builder.finish();
    let wanted = program.outputs()[0].columns.clone();
    let (plan, mut state) = (program.plan(&wanted), program.state());
    assert!(program
        .run(&plan, &mut state, 3, &[Column::F64(&[1.0])])
        .is_err());
    assert!(program
        .run(&plan, &mut state, 1, &[Column::I64(&[1])])
        .is_err());
    assert!(program.run(&plan, &mut state, 1, &[]).is_err());
}

#[test]
fn what_only_one_step_reads_is_done_by_who_makes_it() {
    let (mut builder, inputs) = builder(&[Kind::F64]);
    let weight = |_, output: usize| [2.0, -3.0, 5.0][output];
    let bias = Vec::new();
    let sums = product(&inputs, 3, &weight, bias, Kind::F64, &mut builder).unwrap();
    let mut layer = Vec::new();
    for sum in &sums {
        let biased = builder.elementwise(Op::Add, &[*sum, constant(1.0)]);
        layer.push(builder.elementwise(Op::Relu, &[biased.unwrap()]).unwrap());
    }
    // The second sum is an output itself, so its bias and its ReLU are steps of their own.
    builder.output("y".into(), Kind::F64, vec![layer[0], layer[1], sums[1]]);
    let program = builder.finish();
    let names: Vec<_> = program.steps().iter().map(|step| step.name()).collect();
    assert_eq!(names, ["matmul", "elementwise", "elementwise"]);
    let wanted = program.outputs()[0].columns.clone();
    let (plan, mut state) = (program.plan(&wanted), program.state());
    let frame = program
        .run(&plan, &mut state, 3, &[Column::F64(&[1.0, -2.0, 0.25])])
        .unwrap();
    let found = wanted.iter().map(|column| {
        let column = frame.read::<f64>(*column).unwrap();
        [column.at(0), column.at(1), column.at(2)]
    });
    let expected = [[3.0, 0.0, 1.5], [0.0, 7.0, 0.25], [-3.0, 6.0, -0.75]];
    assert_eq!(found.collect::<Vec<_>>(), expected);
}
