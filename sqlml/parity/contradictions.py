"""A model whose answer to a row depends on the rows beside it has no answer that SQL could give."""

from __future__ import annotations

from sqlml.convert import OnnxModel, Reference
from sqlml.errors import UnsupportedModel
from sqlml.parity.comparison import plain
from sqlml.parity.rows import HostileRows

COMMON = 0.01
"""Of the rows that were asked twice: with more contradictions than this, a model is refused."""
FEWEST = 2
EXTREMES = ("extreme", "NaN", "infinity", "mixed", "null")
"""Kinds of rows that do not count: sums of huge numbers come out differently in another order in any linear model."""


def refuse_contradictions(model: OnnxModel, rows: HostileRows, reference: Reference) -> None:
    """Rows on which the original contradicts itself are left out of the comparison, unless they are common.

    Raises:
        UnsupportedModel: they are; examples stand in the message, and in its details.
    """
    asked = [row for row in reference.again if rows.kinds[row] not in EXTREMES]
    differing = [row for row in reference.differs if rows.kinds[row] not in EXTREMES]
    if len(differing) < FEWEST or len(differing) <= COMMON * len(asked):
        return
    counted = set(differing)
    found = [c for c in reference.contradictions if c.row in counted] or list(reference.contradictions)
    examples = [
        {
            "row": c.row,
            "origin": rows.origins[c.row],
            "input": {name: plain(v) for name, v in rows.features.slice(c.row, 1).to_pylist()[0].items()},
            "first": c.first,
            c.how: c.second,
        }
        for c in found
    ]
    shown = f" For example row {found[0].row}: {found[0].first}, and {found[0].how} {found[0].second}." if found else ""
    name = model.origin.get("estimator", "The model")
    raise UnsupportedModel(
        f"{name} contradicts itself: of {len(asked):,} rows that were asked twice, {len(differing):,} got another answer"
        f" alone, or among other rows, than in one table.{shown}",
        hint="Its answers depend on the rows beside a row (a value computed over the batch?) or on chance: a function of"
        " one row cannot give them.",
        examples=examples,
    )
