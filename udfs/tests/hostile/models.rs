//! A model of every family of operators, different for every seed.

use super::build::{ml, node, Graph, Values, DOUBLE, FLOAT, INT64, STRING};
use super::general;
use super::random::Random;
use super::trees::{classic, columns, modern};
use super::wire::Message;

type Family = (&'static str, fn(&mut Random) -> Message);

pub const FAMILIES: [Family; 22] = [
    ("TreeEnsembleClassifier", |random| {
        classic(random, true, false)
    }),
    ("TreeEnsembleClassifier 3", |random| {
        classic(random, true, true)
    }),
    ("TreeEnsembleRegressor", |random| {
        classic(random, false, false)
    }),
    ("TreeEnsembleRegressor 3", |random| {
        classic(random, false, true)
    }),
    ("TreeEnsemble float", |random| modern(random, false)),
    ("TreeEnsemble double", |random| modern(random, true)),
    ("LinearClassifier", linear_classifier),
    ("LinearRegressor", linear_regressor),
    ("SVMClassifier", svm_classifier),
    ("SVMRegressor", svm_regressor),
    ("scalers", scalers),
    ("OneHotEncoder", one_hot),
    ("LabelEncoder of texts", text_labels),
    ("LabelEncoder of numbers", number_labels),
    ("arithmetic", general::arithmetic),
    ("network", general::network),
    ("errors", general::errors),
    ("comparisons", general::comparisons),
    ("texts compared", general::texts_compared),
    ("reductions", general::reductions),
    ("shapes", general::shapes),
    ("If and Loop", general::control),
];

fn singles(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.value() as f32).collect()
}

pub fn doubles(random: &mut Random, count: usize) -> Vec<f64> {
    (0..count).map(|_| random.value()).collect()
}

fn linear_classifier(random: &mut Random) -> Message {
    let classes = [1, 2, 2, 3, 4][random.below(5)];
    let labels: Vec<i64> = (0..classes.max(2)).collect();
    let linear = ml("LinearClassifier", &["x"], &["prediction", "scores"])
        .floats("coefficients", &singles(random, 3 * classes as usize))
        .floats("intercepts", &singles(random, classes as usize))
        .ints("classlabels_ints", &labels)
        .int("multi_class", i64::from(random.chance(2)))
        .text(
            "post_transform",
            random.word(&["NONE", "LOGISTIC", "SOFTMAX", "PROBIT"]),
        );
    columns(Graph::new(), FLOAT)
        .node(linear)
        .node(
            ml("Normalizer", &["scores"], &["probabilities"])
                .text("norm", random.word(&["L1", "L2", "MAX"])),
        )
        .output("prediction", INT64, 1)
        .output("probabilities", FLOAT, classes.max(2))
        .model(1)
}

fn linear_regressor(random: &mut Random) -> Message {
    let targets = 1 + random.below(3);
    let linear = ml("LinearRegressor", &["x"], &["prediction"])
        .floats("coefficients", &singles(random, 3 * targets))
        .floats("intercepts", &singles(random, targets))
        .int("targets", targets as i64)
        .text(
            "post_transform",
            random.word(&["NONE", "NONE", "LOGISTIC", "PROBIT"]),
        );
    columns(Graph::new(), FLOAT)
        .node(linear)
        .output("prediction", FLOAT, targets as i64)
        .model(1)
}

fn svm_classifier(random: &mut Random) -> Message {
    let classes = 2 + random.below(2);
    let per_class = 1 + random.below(5);
    let vectors = classes * per_class;
    let pairs = classes * (classes - 1) / 2;
    let mut machine = ml("SVMClassifier", &["x"], &["prediction", "probabilities"])
        .floats("support_vectors", &singles(random, 3 * vectors))
        .ints("vectors_per_class", &vec![per_class as i64; classes])
        .floats("coefficients", &singles(random, vectors * (classes - 1)))
        .floats("rho", &singles(random, pairs))
        .floats("kernel_params", &[0.5, 1.0, 3.0])
        .text(
            "kernel_type",
            random.word(&["LINEAR", "RBF", "POLY", "SIGMOID"]),
        )
        .text("post_transform", "NONE")
        .ints("classlabels_ints", &(0..classes as i64).collect::<Vec<_>>());
    if random.chance(2) {
        machine = machine
            .floats("prob_a", &singles(random, pairs))
            .floats("prob_b", &singles(random, pairs));
    }
    columns(Graph::new(), FLOAT)
        .node(machine)
        .output("prediction", INT64, 1)
        .output("probabilities", FLOAT, classes as i64)
        .model(1)
}

fn svm_regressor(random: &mut Random) -> Message {
    let vectors = 1 + random.below(6);
    let machine = ml("SVMRegressor", &["x"], &["prediction"])
        .floats("support_vectors", &singles(random, 3 * vectors))
        .floats("coefficients", &singles(random, vectors))
        .floats("rho", &singles(random, 1))
        .floats("kernel_params", &[0.5, 1.0, 2.0])
        .text(
            "kernel_type",
            random.word(&["LINEAR", "RBF", "POLY", "SIGMOID"]),
        )
        .int("n_supports", vectors as i64);
    columns(Graph::new(), FLOAT)
        .node(machine)
        .output("prediction", FLOAT, 1)
        .model(1)
}

fn scalers(random: &mut Random) -> Message {
    columns(Graph::new(), FLOAT)
        .node(
            ml("Imputer", &["x"], &["filled"])
                .floats("imputed_value_floats", &singles(random, 3))
                .float(
                    "replaced_value_float",
                    if random.chance(2) { f32::NAN } else { 0.25 },
                ),
        )
        .node(
            ml("Scaler", &["filled"], &["scaled"])
                .floats("offset", &singles(random, 3))
                .floats("scale", &singles(random, 3)),
        )
        .node(ml("Binarizer", &["scaled"], &["high"]).float("threshold", random.value() as f32))
        .node(
            ml("Normalizer", &["scaled"], &["unit"])
                .text("norm", random.word(&["L1", "L2", "MAX"])),
        )
        .node(
            ml("FeatureVectorizer", &["unit", "high"], &["both"]).ints("inputdimensions", &[3, 3]),
        )
        .constant(
            "places",
            &[2],
            Values::I64(&[random.below(6) as i64, random.below(6) as i64]),
        )
        .node(ml(
            "ArrayFeatureExtractor",
            &["both", "places"],
            &["prediction"],
        ))
        .output("prediction", FLOAT, 2)
        .model(1)
}

pub const TEXTS: [&str; 6] = ["", "a", "month-to-month", "é\u{1f600}", "two year", "nan"];

fn one_hot(random: &mut Random) -> Message {
    let texts = &TEXTS[..1 + random.below(6)];
    let numbers: Vec<i64> = (0..1 + random.below(6) as i64).collect();
    let width = texts.len() + numbers.len();
    Graph::new()
        .input("a", STRING, 1)
        .input("b", INT64, 1)
        .node(
            ml("OneHotEncoder", &["a"], &["hot_a"])
                .texts("cats_strings", texts)
                .int("zeros", i64::from(random.chance(2))),
        )
        .node(
            ml("OneHotEncoder", &["b"], &["hot_b"])
                .ints("cats_int64s", &numbers)
                .int("zeros", 1),
        )
        .constant("width_a", &[2], Values::I64(&[-1, texts.len() as i64]))
        .node(node("Reshape", &["hot_a", "width_a"], &["flat_a"]))
        .constant("width_b", &[2], Values::I64(&[-1, numbers.len() as i64]))
        .node(node("Reshape", &["hot_b", "width_b"], &["flat_b"]))
        .node(node("Concat", &["flat_a", "flat_b"], &["x"]).int("axis", 1))
        .node(
            ml("LinearRegressor", &["x"], &["prediction"])
                .floats("coefficients", &singles(random, width))
                .int("targets", 1),
        )
        .output("prediction", FLOAT, 1)
        .model(1)
}

fn text_labels(random: &mut Random) -> Message {
    let texts = &TEXTS[..1 + random.below(6)];
    let values = doubles(random, texts.len());
    Graph::new()
        .input("a", STRING, 1)
        .node(
            ml("LabelEncoder", &["a"], &["code"])
                .tensor(
                    "keys_tensor",
                    super::build::tensor("k", &[texts.len() as i64], Values::Text(texts), false),
                )
                .tensor(
                    "values_tensor",
                    super::build::tensor("v", &[values.len() as i64], Values::F64(&values), true),
                )
                .tensor(
                    "default_tensor",
                    super::build::tensor("d", &[1], Values::F64(&[f64::NAN]), true),
                ),
        )
        .node(
            ml("LabelEncoder", &["a"], &["number"])
                .texts("keys_strings", texts)
                .ints("values_int64s", &vec![7; texts.len()]),
        )
        .node(node("Cast", &["number"], &["double"]).int("to", DOUBLE))
        .node(node("Add", &["code", "double"], &["prediction"]))
        .output("prediction", DOUBLE, 1)
        .model(4)
}

fn number_labels(random: &mut Random) -> Message {
    let keys: Vec<i64> = (0..1 + random.below(8) as i64)
        .map(|key| key * 3 - 4)
        .collect();
    let floats = singles(random, keys.len());
    Graph::new()
        .input("a", INT64, 1)
        .node(
            ml("LabelEncoder", &["a"], &["f"])
                .ints("keys_int64s", &keys)
                .floats("values_floats", &floats)
                .float("default_float", -1.5),
        )
        .node(
            ml("LabelEncoder", &["f"], &["prediction"])
                .floats("keys_floats", &floats)
                .ints("values_int64s", &keys),
        )
        .output("prediction", INT64, 1)
        .model(2)
}
