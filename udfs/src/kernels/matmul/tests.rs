use super::dense::Packed;
use super::*;
use crate::program::Scalar;

const SETS: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

/// Numbers of very different sizes, so that another order of summation shows.
fn number(seed: usize) -> f64 {
    let x = (seed.wrapping_mul(2_654_435_761) % 10_007) as f64 - 5_000.0;
    x * 10f64.powi((seed % 13) as i32 - 6)
}

fn product(
    isa: Isa,
    columns: &[Column<'_>],
    weights: Weights,
    rows: usize,
    outputs: usize,
) -> Vec<Vec<f64>> {
    let kernel = MatMul::new(vec![Part::Dense(weights)], vec![], vec![], vec![]);
    let mut sums = vec![vec![f64::NAN; rows]; outputs];
    kernel.sum(isa, columns, rows, &mut sums, &mut Packed::new());
    sums
}

#[test]
fn every_shape_and_instruction_set_gives_the_bits_of_the_plain_loop() {
    for (inputs, outputs, rows) in [
        (1, 1, 1),
        (3, 2, 5),
        (10, 3, 2048),
        (7, 4, 33),
        (300, 9, 50),
        (5, 17, 16),
        (600, 1, 700),
    ] {
        let x: Vec<Vec<f64>> = (0..inputs)
            .map(|i| (0..rows).map(|r| number(i * 7919 + r)).collect())
            .collect();
        let single: Vec<f32> = (0..rows).map(|r| number(r) as f32).collect();
        let weight = |i: usize, j: usize| number(i * 31 + j * 17 + 5);
        let column = |i: usize| match i % 5 {
            3 => Column::F32(&single),
            4 => Column::Uniform(Scalar::F64(-0.5)),
            _ => Column::F64(&x[i]),
        };
        let columns: Vec<Column<'_>> = (0..inputs).map(column).collect();
        let value = |i: usize, r: usize| match i % 5 {
            3 => f64::from(single[r]),
            4 => -0.5,
            _ => x[i][r],
        };
        let plain = |r: usize, j: usize| {
            (0..inputs).fold(0.0, |sum, i| value(i, r).mul_add(weight(i, j), sum))
        };
        for isa in SETS.into_iter().filter(|isa| *isa <= Isa::current()) {
            let sums = product(
                isa,
                &columns,
                Weights::new(inputs, outputs, weight),
                rows,
                outputs,
            );
            for (j, sums) in sums.iter().enumerate() {
                for (r, sum) in sums.iter().enumerate() {
                    assert_eq!(
                        sum.to_bits(),
                        plain(r, j).to_bits(),
                        "{inputs}x{outputs}, row {r}, output {j}, {isa:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_row_of_weights_has_the_bits_of_the_one_hot_sum() {
    let x = [1e-300, -0.0, 3.0, -7.5];
    let places = [0i64, 1, 2, 1];
    let hot = |place: i64| -> Vec<f64> {
        places
            .iter()
            .map(|at| f64::from(u8::from(*at == place)))
            .collect()
    };
    let (one, two) = (hot(1), hot(2));
    let weights = [[-1.0, 0.5, f64::MIN_POSITIVE], [-0.0, -3.25, 1e300]];
    let dense = [Column::F64(&x), Column::F64(&one), Column::F64(&two)];
    let expected = product(
        Isa::current(),
        &dense,
        Weights::new(3, 2, |i, j| weights[j][i]),
        4,
        2,
    );
    let tables = weights.iter().map(|w| vec![0.0, w[1], w[2]]).collect();
    let parts = vec![
        Part::Dense(Weights::new(1, 2, |_, j| weights[j][0])),
        Part::Rows(tables),
    ];
    let kernel = MatMul::new(parts, vec![], vec![], vec![]);
    let mut sums = vec![vec![0.0; 4]; 2];
    kernel.sum(
        Isa::current(),
        &[Column::F64(&x), Column::I64(&places)],
        4,
        &mut sums,
        &mut Packed::new(),
    );
    let bits = |sums: &[Vec<f64>]| {
        sums.iter()
            .flatten()
            .map(|sum| sum.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&sums), bits(&expected));
}

#[test]
fn hostile_values_stay_what_the_sum_makes_of_them() {
    let x = [f64::INFINITY, f64::NAN, f64::NEG_INFINITY, -0.0];
    let sums = product(
        Isa::current(),
        &[Column::F64(&x)],
        Weights::new(1, 1, |_, _| 1.0),
        4,
        1,
    );
    assert_eq!(
        (sums[0][0], sums[0][2], sums[0][3].to_bits()),
        (f64::INFINITY, f64::NEG_INFINITY, 0)
    );
    assert!(sums[0][1].is_nan());
}

#[test]
fn a_bias_and_a_relu_are_taken_over_bit_for_bit() {
    let odd = [f64::NAN, -0.0, 0.0, 1e-300, -5.0, f64::INFINITY, 0.25];
    let x: Vec<f64> = (0..100).map(|row| odd[row % odd.len()]).collect();
    let (sum, biased, made) = (Slot(1), Slot(3), Slot(4));
    for (bias, relu) in [None, Some(0.0), Some(-0.0), Some(-0.25)]
        .into_iter()
        .flat_map(|bias| [(bias, false), (bias, true)])
    {
        let outputs = vec![(sum, Kind::F64), (Slot(2), Kind::F64)];
        let weight = |_, output| [1.0, -1.0][output];
        let parts = vec![Part::Dense(Weights::new(1, 2, weight))];
        let mut kernel = MatMul::new(parts, vec![], vec![], outputs);
        let mut last = sum;
        if let Some(bias) = bias {
            let operands = [Operand::Constant(Scalar::F64(bias)), Operand::Slot(last)];
            assert!(kernel.absorb(last, Op::Add, &operands, biased));
            last = biased;
        }
        if relu {
            assert!(kernel.absorb(last, Op::Relu, &[Operand::Slot(last)], made));
            assert!(!kernel.absorb(made, Op::Relu, &[Operand::Slot(made)], sum));
            last = made;
        }
        assert!(!kernel.absorb(last, Op::Neg, &[Operand::Slot(last)], Slot(5)));
        assert_eq!(kernel.outputs[0], (last, Kind::F64));
        let expected = |x: f64| {
            let sum = bias.map_or(x + 0.0, |bias| x + 0.0 + bias);
            if relu && sum < 0.0 {
                0.0
            } else {
                sum
            }
        };
        for isa in SETS.into_iter().filter(|isa| *isa <= Isa::current()) {
            let mut sums = vec![vec![f64::NAN; x.len()]; 2];
            kernel.sum(
                isa,
                &[Column::F64(&x)],
                x.len(),
                &mut sums,
                &mut Packed::new(),
            );
            for (found, x) in sums[0].iter().zip(&x) {
                let expected = expected(*x);
                let equal = found.to_bits() == expected.to_bits() || found.is_nan() && x.is_nan();
                assert!(equal, "{x}: {found} for {expected}, {bias:?}, {isa:?}");
            }
            assert!(sums[1]
                .iter()
                .zip(&x)
                .all(|(found, x)| *found == -x || x.is_nan()));
        }
    }
}
