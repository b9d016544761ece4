"""Many classes by classifiers of two. Read in scikit-learn 1.9.1: multiclass.py, utils/multiclass.py."""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, Predicts, below, refuse
from sqlml.convert.isolated.sklearn.ensembles import total
from sqlml.convert.isolated.sklearn.linear import best, class_labels, two_columns
from sqlml.convert.isolated.sklearn.release import since
from sqlml.convert.isolated.sklearn.responses import SCORES_FIRST, finite_scores, response
from sqlml.convert.isolated.sklearn.validate import check_names, numbers
from sqlml.convert.isolated.table import Table


def is_constant(member: Estimator) -> bool:
    """_ConstantPredictor stands in for a member that saw one label only."""
    return type(member).__name__ == "_ConstantPredictor" and type(member).__module__ == "sklearn.multiclass"


def binary(ctx: Context, est: Estimator, member: Estimator, table: Table, step: str) -> tuple[str, Prediction | None]:
    """_predict_binary: the member's score [N, 1], and what else it says."""
    if is_constant(member):
        check_names(member, table, step)
        return ctx.graph.rows(np.asarray(member.y_, dtype=np.float64)), None
    said = ctx.predict(member, table, step)
    if said.kind == "regressor":
        return said.values, said
    if len(said.classes) != 2:
        raise refuse(est, step, f"a member of it has {len(said.classes)} classes instead of two.")
    return response(ctx, est, member, said, SCORES_FIRST, step)[0], said


def threshold(member: Estimator) -> float:
    """From where on a member's score says yes."""
    from sklearn.base import is_classifier

    return 0.0 if hasattr(member, "decision_function") and is_classifier(member) else 0.5


def first_of_largest(ctx: Context, scores: str, width: int) -> str:
    """OneVsRestClassifier looks at its members from the last to the first, and at none before one that says NaN."""
    graph = ctx.graph
    marks = graph.as_double(graph.op("IsNaN", scores))
    dead = graph.op("Greater", graph.matmul(marks, np.tril(np.ones((width, width)))), graph.double(0.5))
    return graph.argmax(graph.op("Where", dead, graph.double(-np.inf), scores))


def one_vs_rest(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    graph, labels = ctx.graph, class_labels(est, step)
    if est.label_binarizer_.y_type_.startswith("multilabel"):
        raise refuse(est, step, "it predicts several labels at once.", "Register one classifier per label.")
    found = [binary(ctx, est, m, table, below(step, f"estimators_[{i}]")) for i, m in enumerate(est.estimators_)]
    scores = graph.join([score for score, _ in found])
    if len(labels) < 2:
        raise refuse(est, step, "it knows one class only.", "Train on two classes or more.")
    if len(found) == 1:
        values = graph.as_int(graph.op("Greater", scores, graph.double([threshold(est.estimators_[0])])))
    else:
        values = first_of_largest(ctx, scores, len(found))
    decision = scores if hasattr(est, "decision_function") else None
    if not hasattr(est, "predict_proba"):
        return Prediction("classifier", values, labels, None, decision)
    columns = []
    for (score, said), member in zip(found, est.estimators_):
        if said is None:
            columns.append(score)  # its y_ is 0 or 1
        elif said.probabilities is None:
            raise refuse(est, step, f"the predict_proba of its {type(member).__name__} is not converted.")
        else:
            columns.append(graph.gather(said.probabilities, [1]))
    shares = two_columns(graph, columns[0]) if len(columns) == 1 else graph.join(columns)
    sums = graph.reduce("Sum", shares)
    if since(1, 7):
        # Before, a row of zeros was divided too.
        sums = graph.op("Where", graph.op("Equal", sums, graph.double([0.0])), graph.double([1.0]), sums)
    return Prediction("classifier", values, labels, graph.op("Div", shares, sums), decision)


def one_vs_one(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """Votes of all pairs; the confidences, squeezed into less than half a vote, decide where votes are equal."""
    graph, labels = ctx.graph, class_labels(est, step)
    if est.pairwise_indices_ is not None:
        raise refuse(est, step, "its members take kernels or distances instead of columns.")
    array = numbers(graph, est, table, step, finite="none", float32=True, keep=True)
    count = len(labels)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    votes: list[list[str]] = [[] for _ in labels]
    confidences: list[list[str]] = [[] for _ in labels]
    for (i, j), member in zip(pairs, est.estimators_):
        score, said = binary(ctx, est, member, array, below(step, f"estimators_[{i},{j}]"))
        if said is None or said.kind != "classifier" or list(said.classes) != [0, 1]:
            raise refuse(est, step, "a member of it is no classifier of two classes.")
        second = graph.as_double(said.values)
        votes[i].append(graph.op("Sub", graph.double([1.0]), second))
        votes[j].append(second)
        confidences[i].append(graph.op("Neg", score))
        confidences[j].append(score)
    sums = graph.join([total(ctx, parts) for parts in confidences])
    size = graph.op("Mul", graph.op("Add", graph.op("Abs", sums), graph.double(1.0)), graph.double([3.0] * count))
    said_by_all = graph.op("Add", graph.join([total(ctx, parts) for parts in votes]), graph.op("Div", sums, size))
    if count == 2:
        second = graph.gather(said_by_all, [1])
        values = graph.as_int(graph.op("Greater", second, graph.double([threshold(est.estimators_[0])])))
        return Prediction("classifier", values, labels, None, second)
    return Prediction("classifier", best(graph, said_by_all), labels, None, said_by_all)


def output_code(ctx: Context, est: Estimator, table: Table, step: str) -> Prediction:
    """The class whose code word is nearest to what the members say; of equally near ones the first."""
    graph, labels = ctx.graph, class_labels(est, step)
    found = [binary(ctx, est, m, table, below(step, f"estimators_[{i}]"))[0] for i, m in enumerate(est.estimators_)]
    scores = graph.join(found)
    finite_scores(ctx, scores, len(found), table, "OutputCodeClassifier")
    book = np.asarray(est.code_book_, dtype=np.float64)
    # As metrics/_pairwise_distances_reduction adds it up: where scores are huge, their own square is all that is left.
    own = graph.reduce("Sum", graph.op("Mul", scores, scores))
    squares = graph.op(
        "Add", graph.op("Add", own, graph.matmul(scores, -2.0 * book.T)), graph.double((book**2).sum(axis=1))
    )
    distances = graph.op("Max", squares, graph.double([0.0]))
    return Prediction("classifier", graph.argmax(graph.op("Neg", distances)), labels)


PREDICTORS: Predicts = {
    "multiclass.OneVsRestClassifier": one_vs_rest,
    "multiclass.OneVsOneClassifier": one_vs_one,
    "multiclass.OutputCodeClassifier": output_code,
}
