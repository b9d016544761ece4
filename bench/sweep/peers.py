"""Ways to bring a scikit-learn model elsewhere. Each is given the fitted model, its columns and rows, and answers each row.

A peer raises `Refused` for what it does not take; the answer None says that it has no prediction for the row.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.sweep.answers import Said, plain
from bench.sweep.rows import Row
from sqlml.signature import Column

# Any in this module: models and tensors, which ship no types.
Answers = list[Said | None]


class Refused(Exception):
    """The peer does not take this model: the reason in its own words."""


@dataclass(frozen=True)
class Peer:
    """`ways` are settings of which the best one counts: doubles or floats, as one matrix or by column."""

    name: str
    ways: tuple[tuple[str, Callable[[Any, Sequence[Column], Sequence[Row]], Answers]], ...]


def sqlml_answers(model: Any, columns: Sequence[Column], rows: Sequence[Row]) -> Answers:
    """The conversion and the engine that `deploy` would choose, in DuckDB."""
    import duckdb

    from sqlml import sql
    from sqlml.convert.isolated.sklearn.convert import convert_sklearn
    from sqlml.convert.isolated.unsupported import Unsupported
    from sqlml.engines import python
    from sqlml.engines.choose import choose_engine
    from sqlml.engines.sql import SqlEngine
    from sqlml.engines.surface import staged_select

    try:
        converted = convert_sklearn(model, columns)
    except Unsupported as refusal:
        raise Refused(str(refusal)) from refusal
    onnx = onnx_model(converted, columns)
    connection = duckdb.connect()
    name, _ = choose_engine(onnx)
    engine: Any = SqlEngine(onnx) if name == "sql" else python.PythonEngine(onnx.sha256, onnx.signature, onnx.reasons)
    if name == "python":
        python.register(connection, onnx.sha256, onnx.signature, lambda: onnx.onnx)
    fill_table(connection, columns, rows)
    key = [("row", sql.column("row"))]
    query = sql.render(staged_select(onnx.signature, engine, sql.table("t"), key, with_hash=False))
    found = connection.execute(query).fetchall()
    return [sqlml_said(record[1:], onnx.signature) for record in sorted(found, key=lambda record: record[0])]


def onnx_model(converted: Any, columns: Sequence[Column]) -> Any:
    from hashlib import sha256

    from sqlml.convert.onnx_model import OnnxModel
    from sqlml.convert.received import _prediction_type
    from sqlml.signature import Signature

    labels = tuple(converted.classes)
    targets = tuple(f"target_{i}" for i in range(converted.targets)) if converted.targets > 1 else ()
    signature = Signature(
        columns=tuple(Column(c.name, c.type, nulls) for c, nulls in zip(columns, converted.nulls, strict=True)),
        kind=converted.kind,
        prediction=_prediction_type(labels) if labels else "DOUBLE",
        classes=labels,
        probabilities=converted.probabilities,
        targets=() if converted.kind == "classifier" else targets,
    )
    digest = sha256(converted.onnx).hexdigest()
    return OnnxModel(converted.onnx, digest, signature, converted.reasons, converted.precision, {})


def sqlml_said(record: Sequence[Any], signature: Any) -> Said | None:
    prediction, *scores, error = record
    if error is not None:
        return None
    probabilities = tuple(scores) if signature.probabilities else None
    if signature.kind == "classifier":
        return Said(labels=(prediction,), scores=probabilities)
    numbers = tuple(prediction.values()) if isinstance(prediction, dict) else (prediction,)
    return Said(numbers=tuple(math.nan if v is None else float(v) for v in numbers))


def fill_table(connection: Any, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """The rows as a table `t` with NULL for what is missing, and their positions."""
    import pyarrow as pa

    kinds = {"VARCHAR": pa.string(), "BIGINT": pa.int64(), "INTEGER": pa.int32(), "BOOLEAN": pa.bool_()}
    arrays = {c.name: pa.array([row[c.name] for row in rows], kinds.get(c.type, pa.float64())) for c in columns}
    connection.register("made", pa.table({**arrays, "row": pa.array(range(len(rows)), pa.int64())}))
    connection.execute("CREATE TABLE t AS SELECT * FROM made")


def skl2onnx_answers(real: str) -> Callable[[Any, Sequence[Column], Sequence[Row]], Answers]:
    """As its documentation shows it: to_onnx without ZipMap, then onnxruntime. A missing text is 'nan', as in a DataFrame."""

    def asked(model: Any, columns: Sequence[Column], rows: Sequence[Row]) -> Answers:
        import onnxruntime
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType

        number = DoubleTensorType if real == "double" else FloatTensorType
        if by_column(model, columns):
            types = [(c.name, (StringTensorType if c.is_text else number)([None, 1])) for c in columns]
        else:
            types = [("X", number([None, len(columns)]))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                options = {"zipmap": False} if hasattr(model, "predict_proba") else None
                # 4: errors reach us as exceptions; its log would say them once more.
                onnxruntime.set_default_logger_severity(4)
                made = skl2onnx.to_onnx(
                    model, initial_types=types, options=options, target_opset={"": 21, "ai.onnx.ml": 3}
                )
                session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
            except Exception as error:  # it raises many kinds
                raise Refused(one_line(error)) from error
        classifier = hasattr(model, "classes_")

        def run(part: Sequence[Row]) -> Answers:
            given = session.run(None, onnx_feed(types, columns, part, real))
            return list(onnx_said(given, len(part), classifier=classifier))

        return in_halves(run, rows)

    return asked


def in_halves(run: Callable[[Sequence[Row]], Answers], rows: Sequence[Row]) -> Answers:
    """All rows at once; where that raises, halves are asked, down to the rows that have no answer.

    Raises:
        RuntimeError: no row at all has one.
    """
    last: Exception | None = None

    def asked(part: Sequence[Row]) -> Answers:
        nonlocal last
        try:
            return run(part)
        except Exception as error:  # onnxruntime's and DuckDB's have no common base
            last = error
            if len(part) == 1:
                return [None]
        half = len(part) // 2
        return asked(part[:half]) + asked(part[half:])

    found = asked(rows)
    if last is not None and not any(found):
        raise RuntimeError(f"no row has an answer: {one_line(last)}")
    return found


def by_column(model: Any, columns: Sequence[Column]) -> bool:
    """A ColumnTransformer at the head selects by name; anything else takes one matrix."""
    first = model.steps[0][1] if type(model).__name__ == "Pipeline" else model
    return type(first).__name__ == "ColumnTransformer" or any(c.is_text for c in columns)


def onnx_feed(types: Any, columns: Sequence[Column], rows: Sequence[Row], real: str) -> Mapping[str, Any]:
    dtype = np.float64 if real == "double" else np.float32
    values: dict[str, Any] = {}
    with np.errstate(over="ignore"):
        for c in columns:
            held = [row[c.name] for row in rows]
            if c.is_text:
                values[c.name] = np.array([["nan" if v is None else v] for v in held], dtype=object)
            else:
                values[c.name] = np.array([[math.nan if v is None else float(v)] for v in held]).astype(dtype)
    if types[0][0] == "X" and len(types) == 1 and "X" not in values:
        return {"X": np.hstack([values[c.name] for c in columns])}
    return values


def onnx_said(given: Sequence[Any], size: int, *, classifier: bool) -> Iterator[Said | None]:
    arrays = [np.asarray(values) for values in given]
    for i in range(size):
        first = np.atleast_1d(arrays[0][i]).reshape(-1)
        if classifier and len(arrays) > 1:
            scores = tuple(float(p) for p in arrays[1][i].reshape(-1))
            yield Said(labels=tuple(plain(v) for v in first), scores=scores)
        elif first.dtype.kind == "f":
            values = tuple(float(v) for v in first)
            yield None if all(math.isnan(v) for v in values) else Said(numbers=values)
        else:
            yield Said(labels=tuple(plain(v) for v in first))


def orbital_answers(real: str) -> Callable[[Any, Sequence[Column], Sequence[Row]], Answers]:
    """As its documentation shows it: parse_pipeline, export_sql, and DuckDB runs the statement."""

    def asked(model: Any, columns: Sequence[Column], rows: Sequence[Row]) -> Answers:
        import duckdb
        import orbital
        from orbital import types
        from sklearn.pipeline import Pipeline

        number = types.DoubleColumnType if real == "double" else types.FloatColumnType
        features = {c.name: types.StringColumnType() if c.is_text else number() for c in columns}
        features["row"] = types.Int64ColumnType(passthrough=True)
        whole = model if isinstance(model, Pipeline) else Pipeline([("model", model)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                parsed = orbital.parse_pipeline(whole, features=features)
                projection = orbital.ResultsProjection(["row"])
                statement = orbital.export_sql("t", parsed, dialect="duckdb", projection=projection)
            except Exception as error:  # it raises many kinds
                raise Refused(one_line(error)) from error
        doubles = [Column(c.name, c.type if c.is_text else "DOUBLE") for c in columns]

        def run(part: Sequence[Row]) -> Answers:
            connection = duckdb.connect()
            fill_table(connection, doubles, part)
            if real == "float":
                for c in doubles:
                    if not c.is_text:
                        connection.execute(
                            f'ALTER TABLE t ALTER "{c.name}" TYPE FLOAT USING TRY_CAST("{c.name}" AS FLOAT)'
                        )
            found = connection.execute(statement)
            names = [entry[0] for entry in found.description]
            records = sorted(found.fetchall(), key=lambda record: record[names.index("row")])
            return [orbital_said(dict(zip(names, record, strict=True))) for record in records]

        return in_halves(run, rows)

    return asked


def orbital_said(record: Mapping[str, Any]) -> Said | None:
    label = record.get("output_label")
    scores = [v for name, v in record.items() if name.startswith("output_probability")]
    if label is not None:
        numbers = tuple(math.nan if v is None else float(v) for v in scores)
        # With DuckDB 2 a text label comes as bytes: the reader's business, not the model's.
        return Said(labels=(label.decode() if isinstance(label, bytes) else label,), scores=numbers or None)
    values = [v for name, v in record.items() if name != "row" and not name.startswith("output_probability")]
    if any(v is None or isinstance(v, str) for v in values):
        return None
    return Said(numbers=tuple(float(v) for v in values))


def one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:200]


SQLML = Peer("sqlml", (("as deployed", sqlml_answers),))
SKL2ONNX = Peer("skl2onnx + onnxruntime", tuple((real, skl2onnx_answers(real)) for real in ("double", "float")))
ORBITAL = Peer("orbital", tuple((real, orbital_answers(real)) for real in ("double", "float")))
