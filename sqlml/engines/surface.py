"""The SQL objects of a deployment, for any engine: macro bodies, the prediction table's columns, the scoring SELECT.

A macro's body stands alone: it calls nothing of ours but the engine's own function, so it works when the file is
attached under another name. Parameters cannot be captured: features of a row macro are always `"r"."column"`, and
intermediates are called "sqlml ..." with a blank, as no column of a signature may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from sqlml import sql
from sqlml.engines.explain import TOP, Explaining, explainer_of
from sqlml.engines.features import cast_error, feature, input_hash, missing_as_null, read
from sqlml.engines.outputs import Engine, Outputs
from sqlml.engines.stages import Lets, calls_udf, inline, nested
from sqlml.signature import Column, Label, Signature

__all__ = [
    "Macro",
    "cast_error",
    "class_fields",
    "feature",
    "label_text",
    "macros",
    "output_columns",
    "staged_select",
]

ROW = "r"
THRESHOLD = "threshold"
MANY_CLASSES = 200
"""Past this many classes a prediction table has one MAP column instead of one column per class."""
CAST, READABLE = "sqlml cast", "sqlml readable"


Overload = tuple[tuple[str, ...], exp.Expression]
"""Parameters and body."""


@dataclass(frozen=True)
class Macro:
    """A scalar macro with one body per number of parameters: `sql.macro_text(overloads)` is how it is made."""

    name: str
    overloads: tuple[Overload, ...]


def macros(signature: Signature, engine: Engine, *, threshold: float | None = None) -> tuple[Macro, ...]:
    """The scalar functions of a deployment version.

    Always `predict(r)`, `predict_values(column, ...)` and `error(r)`; with probabilities also `predict_proba(r)`;
    for two classes `probability(r)` and `predict(r, threshold)` too; and `explain(r)`, `explain(r, top)`. `threshold` is the deployment's own: None leaves
    the decision to the model's own rule. Every one gives NULL for a row that has an error, and `predict` for a NULL threshold.

    `predict` has an overload, not a parameter with a default: a body that holds both decisions would be bound twice as
    long in every query.
    """
    row = _computed(signature, engine, [sql.column(c.name, ROW) for c in signature.columns], staged=False)

    def by_row(result: exp.Expression, *more: str) -> Overload:
        return (ROW, *more), inline(row.lets, result)

    predict = [by_row(_prediction(signature, row.outputs, threshold))]
    made: list[Macro] = []
    if _has_threshold(signature):
        chosen = sql.cast(sql.column(THRESHOLD), "DOUBLE")
        decided = _decide(signature, row.outputs, chosen)
        if isinstance(decided, exp.Case):  # what is taken from a list is NULL for a NULL threshold by itself
            given = exp.Not(this=exp.Is(this=sql.column(THRESHOLD), expression=exp.Null()))
            decided = sql.case([(given, decided)])
        predict.append(by_row(decided, THRESHOLD))
        made.append(Macro("probability", (by_row(row.outputs.probabilities[1]),)))
    if signature.probabilities:
        made.append(Macro("predict_proba", (by_row(_named(signature, row.outputs)),)))
    error = inline(row.lets, row.outputs.error, repeat=row.outputs.error_asks_again)
    made.append(Macro("error", (((ROW,), error),)))
    values = _computed(signature, engine, [sql.column(c.name) for c in signature.columns], staged=False)
    by_value = inline(values.lets, _prediction(signature, values.outputs, threshold))
    made.append(Macro("predict_values", ((tuple(c.name for c in signature.columns), by_value),)))
    made.append(_explain(signature, engine))
    return (Macro("predict", tuple(predict)), *made)


def _explain(signature: Signature, engine: Engine) -> Macro:
    """`explain(r)` and `explain(r, top := n)`; where the engine cannot, a function that says which one can."""
    found = explainer_of(engine)
    if isinstance(found, str):
        return Macro("explain", (((ROW,), refused := sql.raised(found)), ((ROW, TOP), refused.copy())))
    references = [sql.column(c.name, ROW) for c in signature.columns]
    row = _computed(signature, Explaining(signature, found), references, staged=False)
    (ranked,) = row.outputs.probabilities
    whole = inline(row.lets, row.outputs.prediction)
    return Macro("explain", (((ROW,), whole), ((ROW, TOP), inline(row.lets, ranked))))


def output_columns(signature: Signature) -> tuple[tuple[str, str], ...]:
    """(name, SQL type) of what `staged_select` adds to the passthrough columns, without `input_hash`.

    `prediction`, `probability_<class>` for each class (or one MAP `probabilities`), `error`.
    """
    kind = signature.prediction
    if signature.targets:
        types = signature.target_types or ("DOUBLE",) * len(signature.targets)
        fields = (f"{sql.quote(name)} {kind}" for name, kind in zip(signature.targets, types, strict=True))
        kind = "STRUCT(" + ", ".join(fields) + ")"
    columns = [("prediction", kind)]
    if _is_wide(signature):
        columns.append(("probabilities", "MAP(VARCHAR, DOUBLE)"))
    elif signature.probabilities:
        columns += [(f"probability_{name}", "DOUBLE") for name in class_fields(signature)]
    return (*columns, ("error", "VARCHAR"))


def staged_select(
    signature: Signature,
    engine: Engine,
    source: exp.Expression,
    passthrough: Sequence[tuple[str, exp.Expression]] = (),
    *,
    threshold: float | None = None,
    with_hash: bool = True,
    keep: str = "hash",
) -> exp.Select:
    """Predictions over `source` (a table or an aliased subquery), every intermediate evaluated once.

    Gives the passthrough columns, `output_columns(signature)` and, `with_hash`, `input_hash` UBIGINT (features.input_hash)
    of the features in signature order and of the text of the first value that could not be read. `keep` "none" has NULL
    in its place, and "inputs" the features too, as `sqlml f0` and on, with that text as `CAST`.
    `passthrough` expressions see the source's columns; features are taken from it by the signature's names.
    """
    computed = _computed(signature, engine, [sql.column(c.name) for c in signature.columns], staged=True)
    outputs = computed.outputs
    answers = [_prediction(signature, outputs, threshold)]
    if _is_wide(signature):
        keys = exp.Array(expressions=[sql.text(label_text(label)) for label in signature.classes])
        probabilities = sql.call("map", keys, exp.Array(expressions=list(outputs.probabilities)))
        fine = exp.Is(this=outputs.error.copy(), expression=exp.Null())
        answers.append(sql.case([(fine, probabilities)]))
    elif signature.probabilities:
        answers += outputs.probabilities
    answers.append(outputs.error)
    names = [name for name, _ in output_columns(signature)]
    results = list(zip(names, answers, strict=True))
    if with_hash:
        hashed = _input_hash(signature, computed.features, computed.has_unreadable)
        results.append(("input_hash", sql.null("UBIGINT") if keep == "none" else hashed))
    if with_hash and keep == "inputs":
        results += [
            (f, missing_as_null(c, sql.column(f))) for f, c in zip(computed.features, signature.columns, strict=True)
        ]
        results.append((CAST, sql.column(CAST) if computed.has_unreadable else sql.null("VARCHAR")))
    return nested(source, passthrough, computed.lets, results)


def hashed_select(
    signature: Signature, source: exp.Expression, passthrough: Sequence[tuple[str, exp.Expression]]
) -> exp.Select:
    """The passthrough columns and the `input_hash` of `staged_select`, whose value no engine has a part in.

    The native engine reads values itself and says what it could not read, so that DuckDB computes the model for a hash
    that is asked for alone: 1,880 of 4,070 ns a row of a first scoring by 100 trees of depth 10, and all of a later one.
    """
    features, unreadable = _features(signature, [sql.column(c.name) for c in signature.columns], reading=read)
    lets = (*features, (CAST, sql.case(unreadable))) if unreadable else features
    hashed = _input_hash(signature, [name for name, _ in features], bool(unreadable))
    return nested(source, passthrough, lets, [("input_hash", hashed)])


def _input_hash(signature: Signature, features: Sequence[str], has_unreadable: bool) -> exp.Expression:
    """Of features that have names already, as the text of the first value that could not be read does: `CAST`."""
    is_there = exp.Not(this=exp.Is(this=sql.column(CAST), expression=exp.Null()))
    unreadable = [(is_there, sql.column(CAST))] if has_unreadable else []
    return input_hash(signature.columns, [sql.column(name) for name in features], unreadable)


def class_fields(signature: Signature) -> tuple[str, ...]:
    """One field name per class: its text, `(empty)` for an empty one, `_2` and on where DuckDB would see a duplicate.

    >>> class_fields(Signature((), "classifier", "VARCHAR", ("yes", "Yes", "")))
    ('yes', 'Yes_2', '(empty)')
    """
    taken: set[str] = set()
    names: list[str] = []
    for label in signature.classes:
        text = label_text(label).replace("\x00", "\ufffd") or "(empty)"
        name, number = text, 1
        while name.casefold() in taken:
            number += 1
            name = f"{text}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return tuple(names)


def label_text(label: Label) -> str:
    """A class label as DuckDB would cast it to VARCHAR."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return repr(label) if isinstance(label, float) else str(label)


@dataclass(frozen=True)
class _Computed:
    """Outputs over given references, with everything they are made of.

    A row's answer depends on `features`, by name, and, with `has_unreadable`, on whether `CAST` is there.
    """

    lets: Lets
    outputs: Outputs
    features: tuple[str, ...]
    has_unreadable: bool


def _computed(signature: Signature, engine: Engine, references: Sequence[exp.Expression], *, staged: bool) -> _Computed:
    """`staged` names the features, so that each is computed once.

    A macro repeats them instead: for a column that has the model's type already they fold to the bare column, while
    binding them to a name (a STRUCT in a lambda) made 100 small trees ten times slower.
    """
    if engine.reads_values:
        return _read_by_engine(signature, engine, references, staged=staged)
    features, unreadable = _features(signature, references)
    outputs = engine.outputs([sql.column(name) if staged else node for name, node in features])
    lets: Lets = features if staged else ()
    if unreadable:
        readable = sql.all_of([exp.Not(this=exp.Paren(this=bad)) for bad, _ in unreadable])
        lets = (*lets, (READABLE, readable), (CAST, sql.case(unreadable)))
        outputs = _refuse_unreadable(outputs)
    return _Computed((*lets, *outputs.lets), outputs, tuple(name for name, _ in features), bool(unreadable))


def _features(
    signature: Signature,
    references: Sequence[exp.Expression],
    reading: Callable[[Column, exp.Expression], exp.Expression] = feature,
) -> tuple[Lets, list[tuple[exp.Expression, exp.Expression]]]:
    """Each column's value as a model takes it, by name; and (condition, reason) of those that may not be readable."""
    pairs = list(zip(signature.columns, references, strict=True))
    features = tuple((f"sqlml f{i}", reading(column, ref)) for i, (column, ref) in enumerate(pairs))
    return features, [found for column, ref in pairs if (found := cast_error(column, ref))]


def _read_by_engine(
    signature: Signature, engine: Engine, references: Sequence[exp.Expression], *, staged: bool
) -> _Computed:
    """The references go to the engine as they are. Features are made only for the hash, which must not depend on the engine.

    Staged, the values have names, because what they are called in the source is not known any more after the first stage.
    """
    values: Lets = tuple((f"sqlml v{i}", ref) for i, ref in enumerate(references)) if staged else ()
    outputs = engine.outputs([sql.column(name) for name, _ in values] if staged else references)
    lets = (*values, *outputs.lets)
    if not staged:
        return _Computed(lets, outputs, (), False)
    features: Lets = tuple(
        (f"sqlml f{i}", read(column, sql.column(name)))
        for i, (column, (name, _)) in enumerate(zip(signature.columns, values, strict=True))
    )
    lets = (*lets, *features)
    if outputs.unreadable is not None:
        lets = (*lets, (CAST, outputs.unreadable))
    return _Computed(lets, outputs, tuple(name for name, _ in features), outputs.unreadable is not None)


def _refuse_unreadable(outputs: Outputs) -> Outputs:
    """An unreadable value looks missing to the engine, so its answers are withheld."""

    def where_readable(node: exp.Expression) -> exp.Expression:
        return sql.case([(sql.column(READABLE), node)])

    return Outputs(
        lets=outputs.lets,
        prediction=where_readable(outputs.prediction),
        probabilities=tuple(where_readable(p) for p in outputs.probabilities),
        error=sql.case([(sql.column(READABLE), outputs.error)], sql.column(CAST)),
    )


def _prediction(signature: Signature, outputs: Outputs, threshold: float | None) -> exp.Expression:
    if threshold is None or not _has_threshold(signature):
        return outputs.prediction.copy()
    return _decide(signature, outputs, sql.double(threshold))


def _named(signature: Signature, outputs: Outputs) -> exp.Expression:
    """The probabilities as a STRUCT by class."""
    names = class_fields(signature)
    made = None if outputs.named_probabilities is None else outputs.named_probabilities(names)
    return sql.struct(dict(zip(names, outputs.probabilities, strict=True))) if made is None else made


def _decide(signature: Signature, outputs: Outputs, threshold: exp.Expression) -> exp.Expression:
    """The positive class where its probability reaches the threshold; a NaN does not, in Python and here.

    DuckDB orders NaN above every number, hence `-p <= -threshold`.
    """
    no, yes = (sql.value(label) for label in signature.classes)
    if any(calls_udf(node) for _, node in outputs.lets):
        # One mention, where CASE needs two: the call need not be bound by a lambda, and DuckDB can merge it with others.
        left, right = exp.Neg(this=outputs.probabilities[1].copy()), exp.Neg(this=exp.Paren(this=threshold.copy()))
        reached = sql.cast(exp.Paren(this=exp.LTE(this=left, expression=right)), "INTEGER")
        labels = sql.cast(exp.Array(expressions=[no, yes]), f"{signature.prediction}[]")
        return sql.call("list_extract", labels, exp.Add(this=reached, expression=sql.integer(1)))

    def decided(positive: exp.Expression, *, there: bool) -> exp.Expression:
        # An engine that gives its answer under a condition is asked once, inside; a macro's body is half as long.
        if isinstance(positive, exp.Case) and not positive.this and not positive.args.get("default"):
            (branch,) = positive.args["ifs"]
            return sql.case([(branch.this.copy(), decided(branch.args["true"], there=True))])
        left, right = exp.Neg(this=exp.Paren(this=positive.copy())), exp.Neg(this=exp.Paren(this=threshold.copy()))
        reached = exp.LTE(this=left, expression=right)
        if there:
            return sql.case([(reached, yes)], no)
        return sql.case([(reached, yes), (exp.Not(this=exp.Is(this=positive.copy(), expression=exp.Null())), no)])

    return decided(outputs.probabilities[1], there=False)


def _has_threshold(signature: Signature) -> bool:
    return signature.probabilities and signature.is_binary


def _is_wide(signature: Signature) -> bool:
    return signature.probabilities and len(signature.classes) > MANY_CLASSES
