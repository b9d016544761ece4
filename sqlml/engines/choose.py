"""Which engine computes a model, and why, in a sentence that `plan` prints."""

from __future__ import annotations

from collections.abc import Callable

from sqlml.compile import Cost, NotCompilable, compile_onnx
from sqlml.convert.onnx_model import OnnxModel
from sqlml.errors import EngineUnavailable, UsageError, choices
from sqlml.signature import Signature

ENGINES = ("sql", "native", "python")
AUTO = "auto"

MAX_LEAVES = 300
"""Measured on 1 M rows x 10 DOUBLE: CASE expressions beat onnxruntime up to about this many leaves in all,"""
MAX_SHALLOW_LEAVES = 800
"""or this many where no tree has more than `SHALLOW`."""
SHALLOW = 8
MAX_OPERATIONS, OPERATIONS_PER_COLUMN = 400, 10
"""Measured on 300,000 rows x 4 DOUBLE: a network of 300 operations takes as long as onnxruntime (74 and 65 ms), one of
1,069 three times as long, one of 3,245 six times. A linear model has about five per column, and that always pays."""
LEAF_NS, OPERATION_NS, NETWORK_NS, TEXT_NS = 13.0, 0.6, 40.0, 50.0
"""What SQL takes for a row on one thread. Measured, DuckDB 2.0.0: a leaf takes 0.8 ns, and 0.25 ms of planning in every
query, which is 12 ns for each of 20,000 rows; an operation of a linear model 0.6 ns (92 of them 58 ns); one beyond those,
whose result many others need, 12 to 40 ns; a text column 50 ns."""
FAST = 1000.0
"""Nanoseconds a row up to which SQL goes before the extension, which is faster for nearly every model: at a million rows a
second, on each core, that every shell can call the functions is worth more."""
MAX_BYTES = 256_000
"""Of one function's body. Measured: 2 MB takes 3 s to bind in every query, fifty of them 3 s to open the file."""


Native = Callable[[OnnxModel], str | None]
"""Why the native engine cannot compute a model here, as a sentence; None if it can."""


def without_native(model: OnnxModel) -> str | None:
    """For where nobody has looked for the extension."""
    return "the native extension is not loaded"


def choose_engine(
    model: OnnxModel, requested: str = AUTO, *, native: Native = without_native, for_any_shell: bool = False
) -> tuple[str, str]:
    """(name of the engine, why). One that is asked for by name is taken whatever it costs.

    `auto` takes SQL where that is as fast as reading the table, since every shell can run it; else the native extension;
    without that, SQL where it beats onnxruntime, and python for the rest. With `for_any_shell` (triggers) SQL goes before
    the extension as far as it beats onnxruntime.

    Raises:
        UsageError: there is no engine of that name.
        EngineUnavailable: "sql" was asked for and the model has no exact SQL, or "native" and it cannot be had.
    """
    if requested not in (AUTO, *ENGINES):
        raise UsageError(f"There is no engine {requested!r}.", hint=choices((AUTO, *ENGINES), wrong=requested))
    if requested == "python":
        return "python", "asked for"
    if requested == "native":
        missing = native(model)
        if missing is not None:
            raise EngineUnavailable(
                f"The native engine cannot be used: {missing}",
                hint="Without --engine one is chosen that can; sqlml doctor says what is there.",
            )
        return "native", "asked for"
    try:
        cost = compile_onnx(model).cost
    except NotCompilable as error:
        if requested == "sql":
            message = f"This model cannot be computed by the sql engine: {error}."
            raise EngineUnavailable(
                message, hint="Deploy it with the engine native or python.", operator=error.operator
            ) from error
        return _beyond_sql(model, f"no SQL for this model: {error}", native)
    if requested == "sql":
        return "sql", f"asked for ({_size(cost)})"
    too_large = _too_large(cost, len(model.signature.columns))
    if too_large:
        return _beyond_sql(model, too_large, native)
    nanoseconds = _nanoseconds(cost, model.signature)
    if for_any_shell or nanoseconds <= FAST:
        return "sql", f"{_size(cost)}: any DuckDB shell can run it"
    missing = native(model)
    if missing is not None:
        return "sql", f"{_size(cost)}: any DuckDB shell can run it; the extension would be faster: {missing}"
    return "native", f"{_size(cost)}, about {nanoseconds:,.0f} ns a row: past {FAST:,.0f} the extension computes it"


def _beyond_sql(model: OnnxModel, why: str, native: Native) -> tuple[str, str]:
    missing = native(model)
    return ("native", why) if missing is None else ("python", f"{why}; {missing}")


def _nanoseconds(cost: Cost, signature: Signature) -> float:
    linear = min(cost.operations, OPERATIONS_PER_COLUMN * (2 + len(signature.columns)))
    texts = sum(column.is_text for column in signature.columns)
    beyond = cost.operations - linear
    return LEAF_NS * cost.leaves + OPERATION_NS * linear + NETWORK_NS * beyond + TEXT_NS * texts


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
