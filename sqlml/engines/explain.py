"""`explain`: what each input column contributes to the raw score of a row.

The raw score is what the model adds up before it makes a probability or a class of it: the log-odds of the positive class
for a logistic regression or boosted trees of two classes, one score per class for several, the probability itself for a
forest (it averages probabilities), the value for a regressor, and the value before the link for one with a link (the
logarithm, for Poisson). base + the contributions is the score.

Linear models: a column's contribution is everything that the score makes of that column: coefficient * (x - mean) / scale
behind a StandardScaler, coefficient * x without one, the coefficient of the row's category behind a one-hot encoder. The
base is the intercept. Trees: path-dependent TreeSHAP (`sqlml_explain` of the native engine), the base being what the trees
say on average over the rows that they were trained on. Contributions of columns that one input column was turned into are
added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from sqlglot import exp

from sqlml import sql
from sqlml.compile import NotCompilable
from sqlml.compile.additive import Additive, NotExplained, additive
from sqlml.compile.nodes import Node
from sqlml.compile.program import lets_of
from sqlml.compile.rows import in_order
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.calling import LET, LETTERS, model_arguments
from sqlml.engines.emit import Emitter
from sqlml.engines.outputs import Engine, Outputs
from sqlml.engines.sql import FINE, checked_columns, nothing_wrong, reasons_of
from sqlml.signature import Signature

TOP = "top"
CLASS = "sqlml class"


@dataclass(frozen=True)
class Block:
    """One raw score, as expressions."""

    base: exp.Expression
    score: exp.Expression
    contributions: tuple[exp.Expression, ...]
    """One per input column, in signature order."""


@dataclass(frozen=True)
class Explained:
    """`blocks`: one, or one per target; `label`: which class it is about, where there are more than two."""

    lets: tuple[tuple[str, exp.Expression], ...]
    blocks: tuple[Block, ...]
    label: exp.Expression | None
    fine: exp.Expression | None
    """TRUE where the row has a prediction; None if every row has."""


class Explainer(Protocol):
    """What an engine that can explain a model has as its `explainer`. It gets what its `outputs` would get."""

    reads_values: bool

    def explained(self, features: Sequence[exp.Expression]) -> Explained: ...


def native_explainer(model: OnnxModel) -> Explainer | None:
    """Linear models as SQL, trees by the extension; None for what is neither."""
    try:
        found = additive(model)
    except (NotExplained, NotCompilable):
        return None
    return TreeExplainer(model.sha256, model.signature, found) if found.trees else LinearExplainer(model, found)


class Explaining:
    """An engine whose answers are explanations: `prediction` all of it, `probabilities` the `top` largest contributions."""

    name = "explain"

    def __init__(self, signature: Signature, explainer: Explainer) -> None:
        self.signature, self.explainer = signature, explainer
        self.reads_values = explainer.reads_values

    def outputs(self, features: Sequence[exp.Expression]) -> Outputs:
        found = self.explainer.explained(features)
        names = [column.name for column in self.signature.columns]
        whole = [_whole(names, block, found.label) for block in found.blocks]
        ranked = [_ranked(names, block) for block in found.blocks]

        def joined(parts: list[exp.Expression]) -> exp.Expression:
            made = sql.struct(dict(zip(self.signature.targets, parts, strict=True))) if len(parts) > 1 else parts[0]
            return made if found.fine is None else sql.case([(found.fine.copy(), made)])

        return Outputs(found.lets, joined(whole), (joined(ranked),), sql.null("VARCHAR"))


def _whole(names: Sequence[str], block: Block, label: exp.Expression | None) -> exp.Expression:
    named = {} if label is None else {"class": label}
    contributions = sql.struct(dict(zip(names, block.contributions, strict=True)))
    return sql.struct({**named, "base": block.base, "score": block.score, "contributions": contributions})


def _ranked(names: Sequence[str], block: Block) -> exp.Expression:
    """The largest by absolute size; of equals the one whose column comes first."""
    entries: list[exp.Expression] = []
    for i, (name, contribution) in enumerate(zip(names, block.contributions, strict=True)):
        size = exp.Neg(this=sql.call("abs", contribution.copy()))
        fields = {"size": size, "place": sql.integer(i), "column": sql.text(name), "contribution": contribution.copy()}
        entries.append(sql.struct(fields))
    wanted = exp.Coalesce(this=sql.cast(sql.column(TOP), "BIGINT"), expressions=[sql.integer(len(names))])
    wanted_at_least = sql.call("greatest", wanted, sql.integer(0))
    kept = sql.call(
        "list_slice", sql.call("list_sort", exp.Array(expressions=entries)), sql.integer(1), wanted_at_least
    )
    entry = sql.identifier("sqlml e")
    shown = sql.struct({name: sql.column(name, "sqlml e") for name in ("column", "contribution")})
    return sql.call("list_transform", kept, exp.Lambda(this=shown, expressions=[entry], colon=True))


def explainer_of(engine: Engine) -> Explainer | str:
    """How the engine explains its model, or why it cannot."""
    own = getattr(engine, "explainer", None)
    if own is not None:
        found: Explainer = own
        return found
    model = getattr(engine, "model", None)
    return (linear_explainer(model) if model is not None else None) or refusal(engine.name, model)


def refusal(engine: str, model: OnnxModel | None) -> str:
    """Why this engine cannot explain the model, as what the function says when it is called."""
    if model is None:
        return f"The engine {engine} cannot explain predictions. Deploy the model with the engine native."
    try:
        found = additive(model)
    except (NotExplained, NotCompilable) as error:
        return f"This model's predictions cannot be explained by column, {_because(error)}."
    if found.trees:
        return (
            f"The engine {engine} cannot explain tree ensembles. Deploy the model with the engine native, which computes "
            "TreeSHAP."
        )
    return f"The engine {engine} cannot explain predictions. Deploy the model with the engine sql or native."


def _because(error: Exception) -> str:
    said = str(error).rstrip(".")
    return said if said.startswith("because ") else f"because {said}"


def linear_explainer(model: OnnxModel) -> LinearExplainer | None:
    """For a model whose raw score is a sum of functions of one column each; None for any other."""
    try:
        found = additive(model)
    except (NotExplained, NotCompilable):
        return None
    return None if found.trees else LinearExplainer(model, found)


class LinearExplainer:
    """Exact contributions as plain SQL, for any engine."""

    reads_values = False

    def __init__(self, model: OnnxModel, found: Additive) -> None:
        self.signature, self.reasons, self.found = model.signature, model.reasons, found

    def explained(self, features: Sequence[exp.Expression]) -> Explained:
        found, algebra = self.found, self.found.traced.algebra
        (error,) = found.traced.output("error")
        reasons = reasons_of(error)
        present = frozenset(checked_columns(error))
        several = self.signature.kind == "classifier" and len(found.scores) > 1
        predicted = found.traced.output("prediction")[0] if several else None
        columns = range(len(self.signature.columns))
        parts = [
            [in_order(algebra, score.parts.get(c) or [algebra.double(0.0)]) for c in columns] for score in found.scores
        ]
        results = [*(score.node for score in found.scores), *(node for row in parts for node in row)]
        lets: list[tuple[str, exp.Expression]] = []
        names: dict[Node, str] = {}
        for name, node in lets_of([*results, *([predicted] if predicted else [])]):
            lets.append((name, Emitter(features, names, present).value(node, named=False)))
            names[node] = name
        emitter = Emitter(features, names, present)
        blocks = [
            Block(sql.double(score.base), emitter.answer(score.node), tuple(emitter.answer(node) for node in row))
            for score, row in zip(found.scores, parts, strict=True)
        ]
        label = None
        if predicted is not None:
            lets.append((CLASS, emitter.choose(predicted, lambda index: sql.integer(int(index)))))
            label = _chosen([sql.value(c) for c in self.signature.classes])
            blocks = [_chosen_block(blocks)]
        fine = None if reasons is None else nothing_wrong(features, reasons)
        if fine is not None:
            lets.append((FINE, fine))
        return Explained(tuple(lets), tuple(blocks), label, None if fine is None else sql.column(FINE))


class TreeExplainer:
    """TreeSHAP by the native engine: one call, whose answer is a list of numbers.

    What is asked for goes along in the model's key (udfs/src/explain/request.rs): the tensor with the raw scores, and per
    feature of the trees the input column that it is made of. So it has a place of its own in the extension's cache.
    """

    reads_values = True

    def __init__(self, sha256: str, signature: Signature, found: Additive) -> None:
        self.signature, self.found = signature, found
        self.several = signature.kind == "classifier" and len(found.scores) > 1
        self.key = f"{sha256} {requested(found, len(signature.columns), predicted=self.several)}"

    def explained(self, features: Sequence[exp.Expression]) -> Explained:
        types = "".join(LETTERS[column.type] for column in self.signature.columns)
        call = sql.call_quoted("sqlml_explain_of", *model_arguments(self.key, types), *features)
        width = 2 + len(self.signature.columns)
        if self.several:
            # The class stands first, then a block for each.
            place = exp.Mul(this=exp.Paren(this=_number(sql.integer(1))), expression=sql.integer(width))
            start = sql.cast(exp.Paren(this=place), "BIGINT")
            blocks = [_listed(exp.Add(this=start, expression=sql.integer(2 + i)) for i in range(width))]
        else:
            count = len(self.found.scores)
            blocks = [_listed(sql.integer(1 + k * width + i) for i in range(width)) for k in range(count)]
        label = None
        if self.several:
            labels = exp.Array(expressions=[sql.value(c) for c in self.signature.classes])
            index = sql.cast(_number(sql.integer(1)), "BIGINT")
            label = sql.call("list_extract", labels, exp.Add(this=index, expression=sql.integer(1)))
        there = exp.Not(this=exp.Is(this=sql.column(LET), expression=exp.Null()))
        return Explained(((LET, call),), tuple(blocks), label, there)


def _number(place: exp.Expression) -> exp.Expression:
    return sql.call("list_extract", sql.column(LET), place)


def _listed(places: Iterable[exp.Expression]) -> Block:
    base, score, *contributions = map(_number, places)
    return Block(base, score, tuple(contributions))


def requested(found: Additive, columns: int, *, predicted: bool) -> str:
    """What the extension is asked for, as the text that it reads."""
    head = ["1", found.tensor, _joined(found.positions), str(columns), "predicted" if predicted else "all"]
    lines = [" ".join(head), _joined(score.base for score in found.scores)]
    for trees in found.trees:
        runs = [
            f"{column if column >= 0 else '-'}{f'x{count}' if count > 1 else ''}"
            for column, count in ((column, len(list(same))) for column, same in groupby(trees.columns))
        ]
        parts = [f"{part}:{feature}" for part, feature in enumerate(trees.parts_of) if part != feature]
        terms = [f"{score}:{target}:{factor!r}" for score, target, factor in trees.terms]
        lines.append(" ".join([trees.tensor, ",".join(runs), ",".join(parts) or "-", ",".join(terms)]))
    return ";".join(lines)


def _joined(values: Iterable[float]) -> str:
    return ",".join(repr(value) for value in values)


def _chosen(choices: Sequence[exp.Expression]) -> exp.Expression:
    cases = [exp.If(this=sql.integer(i), true=choice) for i, choice in enumerate(choices)]
    return exp.Case(this=sql.column(CLASS), ifs=cases)


def _chosen_block(blocks: Sequence[Block]) -> Block:
    columns = zip(*(b.contributions for b in blocks), strict=True)
    return Block(
        _chosen([b.base for b in blocks]),
        _chosen([b.score for b in blocks]),
        tuple(_chosen(list(column)) for column in columns),
    )
