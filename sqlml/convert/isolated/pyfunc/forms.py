"""The form of a model's answers: names and SQL types of their columns, fixed when it is deployed and kept ever after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.pyfunc.columns import Given
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: numpy arrays of several dtypes.
ARROW = {
    "BOOLEAN": pa.bool_(),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "TIMESTAMP": pa.timestamp("us"),
    "BLOB": pa.binary(),
}
MISSING = ""
"""The type of a column that holds nothing but missing values."""
LOG_AGAIN = "Log the model again, with mlflow.models.infer_signature of what predict returns."


@dataclass(frozen=True)
class Form:
    """One column without a name is a plain prediction; `numbered` says that the names are none of the model's own, so that
    columns go by their position."""

    names: tuple[str, ...]
    types: tuple[str, ...]
    numbered: bool = False

    @property
    def shown(self) -> str:
        if self.names == ("",):
            return self.types[0] or "nothing but missing values"
        pairs = [f"{name} {kind or 'missing'}" for name, kind in zipped(self.names, self.types)]
        return f"{len(pairs)} columns ({', '.join(pairs[:8])}{' ...' if len(pairs) > 8 else ''})"


def merged(forms: Sequence[Form]) -> Form:
    """The form that has room for answers of all of these."""
    first = forms[0]
    types = list(first.types)
    for form in forms[1:]:
        if form.names != first.names:
            raise _differs(form, first)
        for i, kind in enumerate(form.types):
            pair = {types[i], kind} - {MISSING}
            if len(pair) > 1 and pair != {"BIGINT", "DOUBLE"}:
                raise _differs(form, first)
            types[i] = "DOUBLE" if len(pair) > 1 else next(iter(pair), MISSING)
    return Form(first.names, tuple(types), first.numbered)


def chosen(found: Form, declared: Sequence[Given]) -> Form:
    """The form of every answer from now on: what the signature declares, else what the model answers.

    Raises:
        Refusal: the two contradict each other, or nothing says of what type an answer is.
    """
    names, types = list(found.names), list(found.types)
    if declared:
        wanted = [given.name for given in declared]
        if sum(given.width for given in declared) != len(names) or (
            not found.numbered and len(names) > 1 and {n.lower() for n in wanted} != {n.lower() for n in names}
        ):
            shown = ", ".join(f"{g.name} {g.type}".strip() + (f"[{g.width}]" if g.width > 1 else "") for g in declared)
            raise unsupported(f"The model's signature declares {shown}, and it answers with {found.shown}.", LOG_AGAIN)
        types = [given.type for given in declared for _ in range(given.width)]
        if found.numbered and len(declared) == len(names) and all(wanted):
            names = wanted
        elif len(names) > 1 and not found.numbered:
            at = {name.lower(): i for i, name in enumerate(wanted)}
            types = [types[at[name.lower()]] for name in names]
    missing = [name or "the prediction" for name, kind in zipped(names, types) if kind == MISSING]
    if missing:
        raise unsupported(
            f"Nothing says of what type {', '.join(missing[:5])} is: the model answers with missing values only.",
            "Log the model with an output signature.",
        )
    return Form(tuple(names), tuple(types), found.numbered)


def arrays(form: Form, found: Form, columns: Sequence[Any]) -> list[pa.Array]:
    """The columns of an answer as Arrow arrays of the form's types.

    Raises:
        Refusal: the answer is of another form than the answers were when the model was deployed.
    """
    positions = list(range(len(columns)))
    if len(columns) != len(form.names):
        raise _differs(found, form)
    if not found.numbered and found.names != form.names:
        at = {name: i for i, name in enumerate(found.names)}
        if set(at) != set(form.names):
            raise _differs(found, form)
        positions = [at[name] for name in form.names]
    made = [_array(columns[p], found.types[p], kind) for p, kind in zipped(positions, form.types)]
    if any(array is None for array in made):
        raise _differs(found, form)
    return made


def _array(values: Any, found: str, kind: str) -> pa.Array | None:
    """None where the values are not of this type. A NaN is a DOUBLE like any other, and no missing value."""
    if found == MISSING:
        return pa.nulls(len(values), ARROW[kind])
    if found == "BIGINT" and kind == "DOUBLE":
        return pa.array(values, pa.int64(), from_pandas=False).cast(pa.float64(), safe=False)
    if found == "DOUBLE" and kind == "BIGINT":
        doubles = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        absent = np.isnan(doubles)
        whole = np.where(absent, 0, doubles)
        if (np.floor(whole) != whole).any() or (np.abs(whole) >= 2.0**63).any():
            return None
        return pa.array(whole.astype(np.int64), mask=absent)  # pandas turns integers with a missing one into doubles
    if found != kind:
        return None
    return pa.array(values, ARROW[kind], from_pandas=values.dtype.kind == "M")


def _differs(found: Form, form: Form) -> Refusal:
    return unsupported(
        f"The model answers with {found.shown} here, and with {form.shown} before.",
        "Let predict always return the same columns and types; an output signature in MLflow says which.",
    )
