"""Comparing a converted Spark model with Spark's transform(): the graph, the SQL that it becomes, and the reference."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

from sqlml import sql as quoting
from sqlml.compile.nodes import NotCompilable
from sqlml.convert.isolated.graph import MISSING_TEXT
from sqlml.convert.isolated.inputs import Input
from sqlml.convert.isolated.sklearn.convert import Converted, convert_sklearn
from sqlml.convert.isolated.spark import reading
from sqlml.convert.isolated.spark.convert import SparkModel
from sqlml.convert.isolated.spark.original import asked, inputs_of
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros
from sqlml.parity.rounding import rounding
from sqlml.signature import Column, Signature

Row = dict[str, Any]
TOLERANCE = 1e-9
LARGEST_SQL = 30_000
"""Bytes of a graph; a larger one becomes megabytes of SQL, and a deployment would run it otherwise."""
TYPES = {
    "DOUBLE": T.DoubleType(), "FLOAT": T.FloatType(), "BIGINT": T.LongType(), "INTEGER": T.IntegerType(),
    "BOOLEAN": T.BooleanType(), "VARCHAR": T.StringType(),
}  # fmt: skip
HOSTILE = (
    None, 0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1e15, -1e15, 1e7, 1e-3, 1e10,
    2.0**53, 1e-7, 1.5, 100.0,
)  # fmt: skip
INTEGERS = (None, 0, 1, -1, 2, 3, 7, 100, 2**31 - 1)
TEXTS = (None, "", "unseen", "A", "a", " ", "it's", "naïve", "nan", "None", "0", "1.0", "__unknown")


@dataclass
class Report:
    """What a comparison saw; `wrong` is empty where all is well."""

    rows: int = 0
    failed: int = 0
    ties: int = 0
    distance: float = 0.0
    wrong: list[str] = field(default_factory=list)
    onnx: bytes = field(default=b"", repr=False)
    reasons: tuple[str, ...] = ()


def frame_of(spark: SparkSession, rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> DataFrame:
    schema = T.StructType([T.StructField("row number", T.LongType())])
    for name, kind in columns:
        schema.add(name, TYPES[kind], True)
    listed = [(i, *(row[name] for name, _ in columns)) for i, row in enumerate(rows)]
    return spark.createDataFrame(listed, schema)


def saved(model: Any, place: Path) -> SparkModel:
    shutil.rmtree(place, ignore_errors=True)
    model.write().overwrite().save(str(place))
    return SparkModel(reading.load(place))


def values_for(kind: str, near: Sequence[float], texts: Sequence[str]) -> list[Any]:
    if kind == "VARCHAR":
        return [*TEXTS, *texts]
    if kind == "BOOLEAN":
        return [True, False, None]
    if kind in ("BIGINT", "INTEGER"):
        return list(INTEGERS)
    found = [*HOSTILE, *near]
    if kind == "FLOAT":
        with np.errstate(over="ignore"):
            found = [None if v is None else float(np.float32(v)) for v in found]
    return found


def hostile_rows(
    rng: np.random.Generator, base: Sequence[Row], columns: Sequence[tuple[str, str]], model: SparkModel, count: int
) -> list[Row]:
    """The base rows, each hostile value alone in one of them, and some rows of nothing but hostile values."""
    near = thresholds(model.stage, rng)
    texts = sorted({row[name] for row in base for name, kind in columns if kind == "VARCHAR" and row[name]})
    rows = [dict(row) for row in base]
    pools = {name: values_for(kind, near, texts) for name, kind in columns}
    for name, pool in pools.items():
        for value in pool:
            rows.append({**base[int(rng.integers(len(base)))], name: value})
    for _ in range(count):
        row = dict(base[int(rng.integers(len(base)))])
        for name in pools:
            if rng.random() < 0.4:
                row[name] = pools[name][int(rng.integers(len(pools[name])))]
        rows.append(row)
    return rows


def thresholds(stage: reading.Stage, rng: np.random.Generator, most: int = 12) -> list[float]:
    """Split points of trees, buckets and lines, and one ulp to either side."""
    found: list[float] = []
    for one in [stage, *stage.stages]:
        for row in one.data:
            node = row.get("nodeData", row)
            if isinstance(node, dict) and node.get("leftChild", -1) >= 0 and node["split"]["numCategories"] < 0:
                found.append(node["split"]["leftCategoriesOrThreshold"][0])
        for key in ("splits", "splitsArray"):
            listed = one.params.get(key) or []
            flat = [v for part in listed for v in (part if isinstance(part, list) else [part])]
            found += [v for v in reading.doubles(flat) if math.isfinite(v)]
        for key in ("std", "mean", "originalMin", "originalMax", "median", "boundaries"):
            if one.data and key in one.data[0]:
                found += reading.vector(one.data[0][key]).values.tolist()
    found = sorted(set(found))
    if len(found) > most:
        found = [found[i] for i in rng.choice(len(found), most, replace=False)]
    return [float(v) for t in found for v in (t, np.nextafter(t, math.inf), np.nextafter(t, -math.inf))]


def as_feed(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    feed = {}
    for name, kind in columns:
        if kind == "VARCHAR":
            values = [[MISSING_TEXT if row[name] is None else row[name]] for row in rows]
            feed[name] = np.array(values, dtype=object)
        else:
            feed[name] = np.array([[math.nan if row[name] is None else float(row[name])] for row in rows])
    return feed


def as_pandas(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> pd.DataFrame:
    series = {}
    for name, kind in columns:
        if kind == "VARCHAR":
            series[name] = pd.Series([math.nan if r[name] is None else r[name] for r in rows], dtype=object)
        else:
            series[name] = pd.Series([math.nan if r[name] is None else float(r[name]) for r in rows], dtype="float64")
    return pd.DataFrame(series)


def spark_says(model: Any, frame: DataFrame) -> dict[int, Any] | None:
    """Spark's rows by their number; None where its job fails."""
    try:
        return {row["row number"]: row for row in model.transform(frame).collect()}
    except Exception:  # py4j, SparkException, PythonException: a job that fails
        return None


def numbers(value: Any) -> list[float]:
    if value is None:
        return [math.nan]
    if isinstance(value, (int, float)):
        return [float(value)]
    return [float(v) for v in value.toArray()]


def compare(
    spark: SparkSession,
    model: Any,
    base: Sequence[Row],
    columns: Sequence[tuple[str, str]],
    place: Path,
    *,
    seed: int = 0,
    count: int = 60,
    failing: int = 5,
    sql: bool = True,
    rows: Sequence[Row] | None = None,
) -> Report:
    """Every row's answer by the graph, by the SQL made of it and by the reference, beside Spark's."""
    rng = np.random.default_rng(seed)
    held = saved(model, place)
    inputs = inputs_of(held, tuple(Input(name, kind) for name, kind in columns), None)
    used = [(column.name, column.type) for column in inputs.columns]
    made = convert_sklearn(held, inputs.columns)
    rows = hostile_rows(rng, base, used, held, count) if rows is None else rows
    rows = [{name: row[name] for name, _ in used} for row in rows]
    outputs = run_graph(made.onnx, as_feed(rows, used))
    report = Report(rows=len(rows), onnx=made.onnx, reasons=made.reasons)
    codes = outputs["error"][:, 0]
    fine = np.flatnonzero(codes == 0)
    report.failed = len(rows) - len(fine)
    in_sql = by_sql(made, rows, used) if sql else None
    if in_sql is not None:
        same_in_sql(report, made, outputs, in_sql, rows, used)
    check_fine(report, spark, model, held, inputs, made, outputs, rows, used, fine)
    check_failing(report, spark, model, held, inputs, made, rows, used, codes, rng, failing)
    return report


def run_graph(onnx: bytes, feed: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def check_fine(report, spark, model, held, inputs, made, outputs, rows, used, fine) -> None:  # type: ignore[no-untyped-def]
    """Rows that the graph answers: Spark answers all of them, alike; so does the reference."""
    if not len(fine):
        return
    table = spark_says(model, frame_of(spark, [rows[i] for i in fine], used))
    if table is None:
        bad = next((i for i in fine if not spark_says(model, frame_of(spark, [rows[i]], used))), None)
        report.wrong.append(f"the graph answers a row on which Spark fails: {rows[bad] if bad is not None else '?'}")
        return
    if len(table) != len(fine):
        gone = next(k for k in range(len(fine)) if k not in table)
        report.wrong.append(f"the graph answers a row that Spark drops: {rows[fine[gone]]}")
        return
    original = asked(held, inputs)
    frame = as_pandas([rows[i] for i in fine], used)
    try:
        reference = np.asarray(original.predict(frame))
        shares = original.predict_proba(frame) if made.probabilities else None
    except ValueError as error:
        report.wrong.append(f"the reference fails on rows that Spark answers: {error}")
        return
    found, predictor = held.plan, held.plan.predictor
    bound, undecided = slack(made, rows, used)
    for k, i in enumerate(fine):
        row = table[k].asDict()
        truth = {key.lower(): value for key, value in row.items()}[found.output.lower()]
        proba = row[predictor.get("probabilityCol", "probability")] if made.probabilities else None
        mine = {name: values[i] for name, values in outputs.items()}
        if made.kind == "classifier":
            label = made.classes[int(mine["prediction"][0])]
            for who, guess in (("graph", label), ("reference", plain(reference[k]))):
                if guess != truth or type(guess) is not type(truth):
                    if undecided[i]:
                        report.ties += 1
                        continue
                    report.wrong.append(f"{who} says {guess!r}, Spark {truth!r} ({proba}): {rows[i]}")
            if proba is not None:
                compared(report, "graph", mine["probabilities"], numbers(proba), bound[i], rows[i])
                compared(report, "reference", shares[k], numbers(proba), bound[i], rows[i])
        else:
            compared(report, "graph", mine["prediction"], numbers(truth), bound[i], rows[i])
            compared(report, "reference", np.atleast_1d(reference[k]), numbers(truth), bound[i], rows[i])


def onnx_model(made: Converted, used: Sequence[tuple[str, str]]) -> OnnxModel:
    kind = {str: "VARCHAR", int: "BIGINT"}.get(type(made.classes[0]) if made.classes else float, "DOUBLE")
    targets = tuple(f"target_{i}" for i in range(made.targets)) if made.targets > 1 else ()
    columns = tuple(Column(name, type_) for name, type_ in used)
    signature = Signature(columns, made.kind, kind, made.classes, made.probabilities, targets)
    return OnnxModel(made.onnx, hashlib.sha256(made.onnx).hexdigest(), signature, made.reasons, made.precision, {})


def as_arrow(rows: Sequence[Row], used: Sequence[tuple[str, str]]) -> pa.Table:
    arrays = {}
    for name, kind in used:
        values = [row[name] for row in rows]
        if kind == "VARCHAR":
            arrays[name] = pa.array(values, pa.string())
        else:
            arrays[name] = pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.table(arrays)


def slack(made: Converted, rows: Sequence[Row], used: Sequence[tuple[str, str]]) -> tuple[Any, Any]:
    """How far rounding alone may take each row's numbers, and whether its label hangs on less: the gate's own measure."""
    found = rounding(onnx_model(made, used), as_arrow(rows, used))
    width = max(1, found.numbers.shape[1])
    return np.broadcast_to(found.numbers if found.numbers.size else 0.0, (len(rows), width)), found.undecided


def by_sql(made: Converted, rows: Sequence[Row], used: Sequence[tuple[str, str]]) -> dict[str, list[Any]] | None:
    """The answers of the functions that the graph becomes; None where it is too large for that."""
    model = onnx_model(made, used)
    if len(made.onnx) > LARGEST_SQL:
        return None
    with duckdb.connect() as con:
        try:
            functions = macros(model.signature, SqlEngine(model))
        except NotCompilable:
            return None
        con.execute("CREATE SCHEMA m")
        for macro in functions:
            con.execute(quoting.create_macro(("m", macro.name), quoting.macro_text(macro.overloads)))
        con.register("made", as_arrow(rows, used))
        con.execute("CREATE TABLE t AS SELECT row_number() OVER () AS n, * FROM made")
        asked = {"prediction": "m.predict(t)", "error": "m.error(t)"}
        if made.probabilities:
            asked["probabilities"] = "m.predict_proba(t)"
        found = con.execute(f"SELECT {', '.join(asked.values())} FROM t ORDER BY n").fetchall()
    return {name: [row[i] for row in found] for i, name in enumerate(asked)}


def same_in_sql(report, made, outputs, in_sql, rows, used) -> None:  # type: ignore[no-untyped-def]
    """The SQL's answers are the graph's."""
    bound, undecided = slack(made, rows, used)
    for i, row in enumerate(rows):
        code = int(outputs["error"][i, 0])
        reason = made.reasons[code - 1] if code else None
        if in_sql["error"][i] != reason:
            report.wrong.append(f"SQL's error is {in_sql['error'][i]!r}, the graph's {reason!r}: {row}")
        if code:
            continue
        said = in_sql["prediction"][i]
        if made.kind == "classifier":
            label = made.classes[int(outputs["prediction"][i, 0])]
            if said != label and not undecided[i]:
                report.wrong.append(f"SQL says {said!r}, the graph {label!r}: {row}")
            if made.probabilities:
                compared(report, "SQL", listed(in_sql["probabilities"][i]), outputs["probabilities"][i], bound[i], row)
        else:
            compared(report, "SQL", listed(said), outputs["prediction"][i], bound[i], row)


def listed(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [math.nan if v is None else float(v) for v in value.values()]
    return [math.nan if value is None else float(value)]


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def compared(report: Report, who: str, mine: Any, truth: Any, bound: Any, row: Row) -> None:
    values, truth = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (mine, truth))
    if values.shape != truth.shape:
        report.wrong.append(f"{who} says {values}, Spark {truth}: {row}")
        return
    with np.errstate(all="ignore"):
        apart = np.abs(values - truth)
        size = np.maximum(1.0, np.maximum(np.abs(values), np.abs(truth)))
        # An infinite bound is a sum that overflows, in one order of adding and not in another.
        fine = (values == truth) | (np.isnan(values) & np.isnan(truth)) | (apart <= TOLERANCE * size + 2 * bound)
        fine |= np.isinf(bound)
    if not fine.all():
        report.wrong.append(f"{who} says {values.tolist()}, Spark {truth.tolist()} (+- {bound}): {row}")
    elif np.max(bound, initial=0.0) <= TOLERANCE and np.isfinite(apart).all():
        report.distance = max(report.distance, float(np.max(apart / size)))


def check_failing(report, spark, model, held, inputs, made, rows, used, codes, rng, failing) -> None:  # type: ignore[no-untyped-def]
    """Rows that the graph refuses: Spark fails on each, or drops it; so does the reference. Each reason is tried."""
    original = asked(held, inputs)
    bad = np.flatnonzero(codes != 0)
    for i in bad:
        try:
            original.predict(as_pandas([rows[i]], used))
        except ValueError:
            continue
        report.wrong.append(f"the reference answers a row that the graph refuses: {rows[i]}")
        return
    tried = list({int(codes[i]): int(i) for i in rng.permutation(bad)}.values())[:failing]
    dropped = [i for i in bad if "would drop the row" in made.reasons[codes[i] - 1]]
    for i in tried:
        if i in dropped:
            continue
        if spark_says(model, frame_of(spark, [rows[i]], used)):
            report.wrong.append(f"Spark answers what is refused because {made['reasons'][codes[i] - 1]}: {rows[i]}")
    if dropped:
        # What Spark drops may also fail it, for another stage's reason.
        table = spark_says(model, frame_of(spark, [rows[i] for i in dropped[:40]], used))
        if table:
            report.wrong.append(f"Spark keeps what should be dropped: {rows[dropped[min(table)]]}")
