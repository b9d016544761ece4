"""Which engine computes a model, and why, in a sentence that `plan` prints."""

from __future__ import annotations

from sqlml.compile import Cost, NotCompilable, compile_onnx
from sqlml.convert.onnx_model import OnnxModel
from sqlml.errors import UnsupportedModel, UsageError, choices

ENGINES = ("sql", "python")
AUTO = "auto"

MAX_LEAVES = 300
"""Measured on 1 M rows x 10 DOUBLE: CASE expressions beat onnxruntime up to about this many leaves in all,"""
MAX_SHALLOW_LEAVES = 800
"""or this many where no tree has more than `SHALLOW`."""
SHALLOW = 8
MAX_OPERATIONS, OPERATIONS_PER_COLUMN = 400, 10
"""Measured on 300,000 rows x 4 DOUBLE: a network of 300 operations takes as long as onnxruntime (74 and 65 ms), one of
1,069 three times as long, one of 3,245 six times. A linear model has about five per column, and that always pays."""
MAX_BYTES = 256_000
"""Of one function's body. Measured: 2 MB takes 3 s to bind in every query, fifty of them 3 s to open the file."""


def choose_engine(model: OnnxModel, requested: str = AUTO) -> tuple[str, str]:
    """(name of the engine, why). "sql" asked for by name is taken at any size.

    Raises:
        UsageError: there is no engine of that name.
        UnsupportedModel: "sql" was asked for, and the model has no exact SQL.
    """
    if requested not in (AUTO, *ENGINES):
        raise UsageError(f"There is no engine {requested!r}.", hint=choices((AUTO, *ENGINES), wrong=requested))
    if requested == "python":
        return "python", "asked for"
    try:
        cost = compile_onnx(model).cost
    except NotCompilable as error:
        if requested == "sql":
            message = f"This model cannot be computed by the sql engine: {error}."
            raise UnsupportedModel(
                message, hint="Deploy it with the engine python.", operator=error.operator
            ) from error
        return "python", f"no SQL for this model: {error}"
    if requested == "sql":
        return "sql", f"asked for ({_size(cost)})"
    too_large = _too_large(cost, len(model.signature.columns))
    if too_large:
        return "python", too_large
    return "sql", f"{_size(cost)}: any DuckDB shell can run it"


def _too_large(cost: Cost, columns: int) -> str | None:
    if cost.leaves > MAX_LEAVES and not (cost.leaves <= MAX_SHALLOW_LEAVES and cost.leaves_per_tree <= SHALLOW):
        return (
            f"{cost.leaves:,} leaves: as SQL slower than onnxruntime past {MAX_LEAVES} "
            f"({MAX_SHALLOW_LEAVES} for trees of at most {SHALLOW})"
        )
    allowed = MAX_OPERATIONS + OPERATIONS_PER_COLUMN * columns
    if cost.operations > allowed:
        return f"{cost.operations:,} operations a row: as SQL slower than onnxruntime past {allowed:,}"
    if cost.bytes > MAX_BYTES:
        return f"about {cost.bytes // 1000:,} kB of SQL in each function, and more than {MAX_BYTES // 1000} kB is slow to bind"
    return None


def _size(cost: Cost) -> str:
    trees = f"{cost.leaves:,} leaves" if cost.leaves else f"{cost.operations:,} operations"
    return f"{trees}, about {max(1, cost.bytes // 1000):,} kB of SQL"
