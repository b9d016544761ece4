"""What each input adds to the score of one row, by the version's own `explain`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import extension, sql
from sqlml.catalog.records import Version
from sqlml.engines.reason_flips import called
from sqlml.objects import ROW
from sqlml.parsing import parsed
from sqlml.reasoning.facts import Contribution, Contributions
from sqlml.reasoning.rows import Values
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

# Any in this module: SQL values.
NONE = "It has no score to take apart: the row has no prediction."
TARGET, LOGARITHM, PROBABILITY, LOG_ODDS, SCORE = (
    "the target's own unit",
    "the logarithm of the prediction",
    "probability",
    "log-odds",
    "the class's own score",
)
CLOSE = 1e-5
"""A model in float32 rounds its probability."""


def contributions(
    connection: Connection, version: Version, inputs: Values, of: str, outputs: dict[str, Any] | None
) -> Contributions:
    """For the row `inputs`, that of `of` ("then" or "now")."""
    import duckdb

    signature = version.contract
    query = _explaining(version.deployment, version.version, signature, inputs.types)
    try:
        found = connection.execute(parsed(connection, query), list(inputs.texts)).fetchone()
    except duckdb.Error as error:
        return Contributions(of, None, None, None, None, (), _because(connection, version, error))
    whole = None if found is None else found[0]
    if whole is None:
        return Contributions(of, None, None, None, None, (), NONE)
    if signature.targets and len(signature.targets) > 1:
        rows = [
            Contribution(column, float(size), target)
            for target, part in whole.items()
            for column, size in part["contributions"].items()
        ]
        note = "; ".join(f"{t}: base {p['base']:.6g}, score {p['score']:.6g}" for t, p in whole.items())
        return Contributions(of, TARGET, None, None, None, tuple(sorted(rows, key=_size)), note)
    rows = [Contribution(column, float(size)) for column, size in whole["contributions"].items()]
    score = float(whole["score"])
    unit = _unit(version, score, whole.get("class"), outputs or {})
    return Contributions(of, unit, float(whole["base"]), score, whole.get("class"), tuple(sorted(rows, key=_size)))


@lru_cache(maxsize=64)
def _explaining(deployment: str, number: int, signature: Signature, types: tuple[str, ...]) -> str:
    """A statement of the row's texts."""
    values = (sql.cast(sql.parameter(i), kind) for i, kind in enumerate(types, 1))
    row = sql.struct({column.name: value for column, value in zip(signature.columns, values, strict=True)})
    explained = called(deployment, f"explain_v{number}", ROW)
    return sql.render(exp.select(explained).from_(exp.select(sql.alias(row, ROW)).subquery("r")))


def _size(row: Contribution) -> float:
    return -abs(row.contribution)


def _unit(version: Version, score: float, label: Any, outputs: dict[str, Any]) -> str:
    """What the score is measured in, as its prediction shows."""
    signature = version.contract
    said = outputs.get("prediction")
    if signature.kind == "regressor":
        if isinstance(said, int | float) and not math.isclose(score, said, rel_tol=CLOSE, abs_tol=CLOSE):
            return LOGARITHM if math.isclose(_exp(score), said, rel_tol=1e-3) else "the score before the model's link"
        return TARGET
    names = [name for name in outputs if name.startswith("probability_")]
    if signature.is_binary and len(names) == len(signature.classes):
        probability = outputs[names[1]]
        if probability is not None and math.isclose(score, probability, abs_tol=CLOSE):
            return PROBABILITY
        if probability is not None and math.isclose(1 / (1 + _exp(-score)), probability, abs_tol=CLOSE):
            return LOG_ODDS
    elif len(names) == len(signature.classes) and label in signature.classes:
        probability = outputs[names[signature.classes.index(label)]]
        if probability is not None and math.isclose(score, probability, abs_tol=CLOSE):
            return PROBABILITY
    return SCORE


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def _because(connection: Connection, version: Version, error: Exception) -> str:
    """Why there is none, in the words of the function or of what it misses."""
    said = str(error).splitlines()[0].partition("Error: ")[2] or str(error).splitlines()[0]
    if version.engine == "native" and (missing := extension.why_not(connection)) is not None:
        return missing
    if "explain_v" in said:
        return f"This version has no function explain_v{version.version}."
    return said
