"""Rows that are kept with what the model answered when it was deployed: whoever has changed since, it shows.

They are made from the model alone and hold nobody's data. SQL that answers otherwise has changed (its functions, DuckDB,
onnxruntime); an original that answers otherwise has changed (a library of its environment).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlml.compile import Probes
from sqlml.convert import OnnxModel, Reference
from sqlml.parity.comparison import NO_LABEL, Answers, Expected, Slack, Verdict, expected_answers, judge
from sqlml.parity.rounding import rounding
from sqlml.parity.rows import HostileRows, arrow_type, hostile_rows
from sqlml.signature import Signature

KIND = "recorded"
ROWS = 500
FORMAT = 1


@dataclass(frozen=True)
class Recorded:
    """Rows with the answers of then."""

    rows: HostileRows
    reference: Reference


def made_from(signature: Signature, probes: Probes) -> HostileRows:
    """At most ROWS of the hostile rows that need no table, half of them at thresholds."""
    import numpy as np

    every = hostile_rows(signature, probes)
    at_thresholds = np.array([kind == "threshold" for kind in every.kinds])
    chosen = [*_evenly(np.flatnonzero(~at_thresholds), ROWS // 2), *_evenly(np.flatnonzero(at_thresholds), ROWS // 2)]
    origins = tuple(every.origins[i] for i in chosen)
    return HostileRows(every.features.take(chosen), (KIND,) * len(chosen), origins, {})


def _evenly(positions: Any, count: int) -> list[int]:  # Any: an array of integers
    return (
        [int(positions[k * len(positions) // count]) for k in range(count)]
        if len(positions) > count
        else positions.tolist()
    )


def joined(rows: HostileRows, more: HostileRows) -> HostileRows:
    import pyarrow as pa

    features = pa.concat_tables([rows.features, more.features]).combine_chunks()
    return HostileRows(features, (*rows.kinds, *more.kinds), (*rows.origins, *more.origins), rows.counts)


def taken(rows: HostileRows, ids: Sequence[int]) -> HostileRows:
    import pyarrow as pa

    some = tuple(rows.origins[i] for i in ids)
    return HostileRows(rows.features.take(pa.array(ids, pa.int64())), tuple(rows.kinds[i] for i in ids), some, {})


def answers_to(reference: Reference, ids: Sequence[int]) -> Reference:
    """The answers to these rows alone."""
    import numpy as np

    at, prediction = np.array(ids, dtype=np.int64), reference.prediction
    return Reference(
        prediction=prediction[at] if isinstance(prediction, np.ndarray) else [prediction[i] for i in ids],
        scores=None if reference.scores is None else reference.scores[at],
        error=[reference.error[i] for i in ids],
        unstable=reference.unstable[at],
    )


def packed(model: OnnxModel, rows: HostileRows, reference: Reference) -> bytes:
    """The rows of KIND with their answers, as a compressed Arrow file; those without a firm answer are left out."""
    import pyarrow as pa

    ids = [i for i, kind in enumerate(rows.kinds) if kind == KIND and not reference.unstable[i]]
    some, said = taken(rows, ids), answers_to(reference, ids)
    expected = expected_answers(model, some, said)
    columns: dict[str, Any] = {
        f"f{i}": some.features.column(i).combine_chunks() for i in range(some.features.num_columns)
    }
    columns["label"] = pa.array(expected.labels)
    columns["raises"] = pa.array(expected.raises)
    columns |= {f"n{i}": pa.array(expected.numbers[:, i]) for i in range(expected.numbers.shape[1])}
    table = pa.table(columns).replace_schema_metadata(
        {"sqlml": json.dumps({"format": FORMAT, "origins": some.origins})}
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def unpacked(signature: Signature, content: bytes) -> Recorded | None:
    """What `packed` kept; None where it was kept for another signature, or in another format."""
    import numpy as np
    import pyarrow as pa

    table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
    about = json.loads((table.schema.metadata or {}).get(b"sqlml", b"{}"))
    names = [f"f{i}" for i in range(len(signature.columns))]
    types = [arrow_type(column) for column in signature.columns]
    if about.get("format") != FORMAT or [f.type for f in table.schema if f.name.startswith("f")] != types:
        return None
    features = table.select(names).rename_columns([c.name for c in signature.columns])
    codes = table.column("label").to_pylist()
    raises = table.column("raises").to_pylist()
    width = sum(name.startswith("n") for name in table.column_names)
    numbers = np.column_stack(
        [np.zeros((table.num_rows, 0)), *(table.column(f"n{i}").to_numpy() for i in range(width))]
    )
    is_regressor = signature.kind == "regressor"
    reference = Reference(
        prediction=numbers if is_regressor else [signature.classes[c] if c > NO_LABEL else None for c in codes],
        scores=numbers if width and not is_regressor else None,
        error=["as recorded" if one else None for one in raises],
        unstable=np.zeros(table.num_rows, dtype=np.bool_),
    )
    return Recorded(HostileRows(features, (KIND,) * table.num_rows, tuple(about["origins"])), reference)


def changed(model: OnnxModel, then: Recorded, now: Reference) -> list[str]:
    """The rows to which the original no longer gives the answer that was recorded, each with both."""
    import numpy as np

    before, after = (expected_answers(model, then.rows, said) for said in (then.reference, now))
    answers = _as_answers(after)
    verdicts, _ = judge(before, answers)
    wrong = np.flatnonzero(verdicts >= Verdict.LABEL)
    if len(wrong):
        # What only rounding explains, a new release of a linear algebra library may bring.
        found = rounding(model, then.rows.features.take(wrong.tolist()))
        slack = Slack(np.zeros(before.numbers.shape), np.zeros(len(then.rows), dtype=np.bool_))
        slack.numbers[wrong], slack.undecided[wrong] = found.numbers, found.undecided
        verdicts, _ = judge(before, answers, slack)
    differing = [i for i in np.flatnonzero(verdicts >= Verdict.CONTRADICTION).tolist() if not now.unstable[i]]
    return [f"{then.rows.origins[i]}: {_said(before, i)} then, {_said(after, i)} now" for i in differing]


def _as_answers(expected: Expected) -> Answers:
    import numpy as np

    size = len(expected.labels)
    return Answers(
        ids=np.arange(size),
        labels=expected.labels,
        numbers=expected.numbers,
        missing=expected.raises,
        partly=np.zeros(size, dtype=np.bool_),
        errors=expected.raises,
        texts=[None] * size,
    )


def _said(expected: Expected, row: int) -> str:
    if expected.raises[row]:
        return "an error"
    numbers = _shown(expected.numbers[row][:3])
    if not expected.is_classifier:
        return numbers
    code = int(expected.labels[row])
    label = str(expected.signature.classes[code]) if code >= 0 else "no class of its own"
    return f"{label} ({numbers})" if numbers else label


def _shown(numbers: Iterable[float]) -> str:
    return ", ".join(f"{float(number):.17g}" for number in numbers)
