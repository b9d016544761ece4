"""A saved Spark ML model: its stages, their parameters and their data, read from JSON and parquet.

Written by org.apache.spark.ml.util.DefaultParamsWriter and each model's own writer, Spark 2.4 to 4.2: a stage is a folder
with `metadata` (a folder of text parts, or one file), `data` (parquet, where it has learned something) and its own
stages (`stages/0_uid` of a PipelineModel, `pipelineModel` of an RFormulaModel, `model_0` of a OneVsRestModel).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.refusal import Refusal

# Any in this module: JSON and rows of parquet, whose shape is checked where they are used.
LARGEST_TEXT = 64 << 20
DEEPEST = 8
OWN = ("org.apache.spark.ml.", "pyspark.ml.")
"""Python's own PipelineModel and OneVsRestModel are written by Python where a stage inside is Python's."""
SPECIAL = {"NaN": float("nan"), "Inf": float("inf"), "-Inf": float("-inf")}


@dataclass(frozen=True)
class Stage:
    """One saved stage. `path` leads to it ("2_StandardScaler_1a2b"; empty for the model itself)."""

    kind: str
    """Its class without the package: "StandardScalerModel"."""
    uid: str
    path: str
    version: tuple[int, ...]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any]
    data: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    trees: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """Rows of `treesMetadata`."""
    stages: tuple[Stage, ...] = field(default=(), repr=False)

    def get(self, name: str, default: Any = None) -> Any:
        """A parameter, set or by default."""
        return self.params.get(name, default)

    def number(self, name: str, default: float) -> float:
        return as_double(self.params.get(name, default))

    @property
    def row(self) -> Mapping[str, Any]:
        """The one row of its data."""
        if len(self.data) != 1:
            raise Refusal("artifact", f"The saved data of {self.path or self.kind} has {len(self.data)} rows, not one.")
        return self.data[0]

    def value(self, name: str) -> Any:
        if name not in self.row:
            raise Refusal("artifact", f"The saved data of {self.path or self.kind} has no '{name}'.")
        return self.row[name]


def load(root: Path, path: str = "", depth: int = 0) -> Stage:
    """The model saved in this folder, with everything inside it."""
    if depth > DEEPEST:
        raise Refusal("artifact", "The saved model holds models inside models, too deep to be real.")
    about = _metadata(root, path)
    params = {**_dict(about.get("defaultParamMap")), **_dict(about.get("paramMap"))}
    kind = str(about.get("class", ""))
    version = tuple(int(part) for part in str(about.get("sparkVersion", "")).split(".")[:2] if part.isdigit())
    stages = tuple(load(folder, name, depth + 1) for folder, name in _inside(root, about, kind, path))
    return Stage(
        kind=kind.rsplit(".", 1)[-1] if kind.startswith(OWN) else kind or "a stage without a class",
        uid=str(about.get("uid", "")),
        path=path,
        version=version,
        params=params,
        metadata=about,
        data=_rows(root / "data"),
        trees=_rows(root / "treesMetadata"),
        stages=stages,
    )


def digest(root: Path) -> str:
    """One sha256 for all files of the model, whatever the file system's order."""
    found = hashlib.sha256()
    for file in sorted(file for file in root.rglob("*") if file.is_file() and not _hidden(file)):
        name = str(file.relative_to(root)).encode()
        found.update(len(name).to_bytes(4, "big") + name + hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _hidden(file: Path) -> bool:
    """Spark's markers and checksums."""
    return file.name.startswith((".", "_"))


def _metadata(root: Path, path: str) -> Mapping[str, Any]:
    place = root / "metadata"
    named = f"{path}/metadata" if path else "metadata"
    files = [place] if place.is_file() else _parts(place)
    try:
        if not files or sum(file.stat().st_size for file in files) > LARGEST_TEXT:
            raise Refusal("artifact", f"The saved Spark model is not whole: {named} is missing or far too large.")
        # One line of JSON; Spark may have written empty parts beside it.
        lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        about = json.loads(lines[0])
    except (ValueError, IndexError, OSError) as error:
        raise Refusal("artifact", f"{named} of the saved Spark model cannot be read: {error}.") from error
    if not isinstance(about, dict):
        raise Refusal("artifact", f"{named} of the saved Spark model is not what Spark writes.")
    return about


def _parts(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(file for file in place.iterdir() if file.is_file() and not _hidden(file))


def _inside(root: Path, about: Mapping[str, Any], kind: str, path: str) -> Iterator[tuple[Path, str]]:
    """The folders of the stages inside this one, in order, and how each is named in messages."""
    simple = kind.rsplit(".", 1)[-1]
    before = f"{path} > " if path else ""
    if simple == "PipelineModel":
        uids = _dict(about.get("paramMap")).get("stageUids", about.get("stageUids"))
        if not isinstance(uids, list):
            raise Refusal("artifact", "The metadata of the saved Spark pipeline names no stages.")
        width = len(str(len(uids)))
        for i, uid in enumerate(uids):
            # SharedReadWrite.getStagePath: the number is padded to as many digits as the count of stages has.
            name = f"{i:0{width}d}_{uid}"
            yield root / "stages" / name, before + name
    elif simple == "RFormulaModel":
        yield root / "pipelineModel", before + "pipelineModel"
    elif simple == "OneVsRestModel":
        count = 0
        while (root / f"model_{count}").is_dir():
            yield root / f"model_{count}", f"{before}model_{count}"
            count += 1


def _rows(place: Path) -> tuple[Mapping[str, Any], ...]:
    """The rows of a parquet folder, or of one parquet file."""
    files = [place] if place.is_file() else _parts(place)
    if not files:
        return ()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        tables = [pq.ParquetFile(file).read(use_threads=False) for file in files]
    except (pa.ArrowException, OSError) as error:
        why = "It was saved in a form of its own by Spark Connect's local mode, or it is damaged"
        raise Refusal("artifact", f"{place.name} of the saved Spark model is not parquet: {why} ({error}).") from error
    return tuple(row for table in tables for row in table.to_pylist())


def _dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def as_double(value: Any) -> float:
    """A number as Spark's JSON holds it: NaN and the infinities are text there."""
    if isinstance(value, str):
        if value not in SPECIAL:
            raise Refusal("artifact", f"A parameter of the saved Spark model is {value!r} instead of a number.")
        return SPECIAL[value]
    return float(value)


def doubles(values: Any) -> list[float]:
    return [as_double(value) for value in values or ()]


@dataclass(frozen=True)
class Vector:
    """A saved vector or a row-major matrix; `stored` marks the entries that a sparse one has."""

    values: Array
    stored: Array

    @property
    def sparse(self) -> bool:
        return not bool(self.stored.all())


def vector(value: Any) -> Vector:
    """VectorUDT: type 0 is sparse, 1 is dense. Some models save plain arrays."""
    if isinstance(value, list):
        return Vector(np.asarray(value, dtype=np.float64), np.ones(len(value), dtype=bool))
    if not isinstance(value, Mapping):
        raise Refusal("artifact", "The saved Spark model has something else where a vector should be.")
    entries = np.asarray(value["values"], dtype=np.float64)
    if value.get("type") == 1:
        return Vector(entries, np.ones(len(entries), dtype=bool))
    places = np.asarray(value["indices"], dtype=np.int64)
    dense, stored = np.zeros(int(value["size"])), np.zeros(int(value["size"]), dtype=bool)
    dense[places], stored[places] = entries, True
    return Vector(dense, stored)


def matrix(value: Any) -> Vector:
    """MatrixUDT: dense or compressed sparse, by columns unless isTransposed."""
    if not isinstance(value, Mapping):
        raise Refusal("artifact", "The saved Spark model has something else where a matrix should be.")
    shape = (int(value["numRows"]), int(value["numCols"]))
    entries = np.asarray(value["values"], dtype=np.float64)
    turned = bool(value["isTransposed"])
    outer = shape if turned else shape[::-1]
    if value.get("type") == 1:
        dense = entries.reshape(outer)
        stored = np.ones(outer, dtype=bool)
    else:
        dense, stored = np.zeros(outer), np.zeros(outer, dtype=bool)
        pointers, rows = np.asarray(value["colPtrs"]), np.asarray(value["rowIndices"], dtype=np.int64)
        for i in range(outer[0]):
            part = slice(int(pointers[i]), int(pointers[i + 1]))
            dense[i, rows[part]], stored[i, rows[part]] = entries[part], True
    return Vector(dense, stored) if turned else Vector(dense.T.copy(), stored.T.copy())
