"""The lineage of one deployment version as rows of sqlml.lineage.

    dataset -> run -> model version -> model (sha256 of the ONNX bytes) -> version -> prediction | function
    stored file -> model version
    column -> column ... -> feature -> version          column -> key

A column is `table.column`, or with schema and database where they are not main and the file's own. Where a step is
not known, from_kind is "unknown" and `how` says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlml.catalog.records import Version
from sqlml.engines.surface import output_columns
from sqlml.lineage.columns import Edge, label, path_of, trace
from sqlml.lineage.objects import Objects
from sqlml.lineage.references import fold
from sqlml.registry import StoreManifest
from sqlml.relation import Relation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def record(connection: Connection, version: Version, relation: Relation | None) -> None:
    """Write the version's edges; part of the transaction that stages it, after its row is in sqlml.versions."""
    found = edges(connection, version, relation)
    columns = [
        list(column)
        for column in zip(*((e.from_kind, e.from_name, e.to_kind, e.to_name, e.how) for e in found), strict=True)
    ]
    connection.execute(
        "INSERT INTO sqlml.lineage SELECT ?, ?, unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]),"
        " unnest(?::VARCHAR[]), unnest(?::VARCHAR[])",
        [version.deployment, version.version, *columns],
    )


def edges(connection: Connection, version: Version, relation: Relation | None) -> tuple[Edge, ...]:
    """Every edge of the version; `relation` is its source, None where it has none."""
    run = json.loads(version.run) if version.run else {}
    sources = [] if relation is None else _column_edges(connection, version, relation)
    return (*_model_edges(version, run), *sources, *_output_edges(version))


def version_name(version: Version) -> str:
    return f"{version.deployment} v{version.version}"


def _model_edges(version: Version, run: Mapping[str, Any]) -> list[Edge]:
    name = version.model_name or version.reference
    model = f"{name} v{version.model_version}" if version.model_version else version.resolved
    found = [
        Edge(
            "model version",
            model,
            "model",
            version.model_sha256,
            f"files {version.artifact_sha256[:12]}"
            + (", asked as they are" if version.engine == "pyfunc" else " converted to ONNX"),
        ),
        Edge("model", version.model_sha256, "version", version_name(version), f"engine {version.engine}"),
    ]
    if version.artifact_store is not None:
        stored = StoreManifest.from_json(version.artifact_store)
        found = [
            Edge("stored file", stored.name_of(f.path), "model version", model, f"object {f.object}, sha256 {f.sha256}")
            for f in stored.files
        ] + found
    run_id = version.run_id or run.get("run_id")
    if run_id is None:
        return found
    found.insert(0, Edge("run", str(run_id), "model version", model, run.get("experiment")))
    for dataset in run.get("datasets") or ():
        source = dataset.get("source")
        if source and dataset.get("version"):
            source = f"{source} at version {dataset['version']}"
        found.insert(0, Edge("dataset", dataset_name(dataset), "run", str(run_id), source))
    return found


def dataset_name(dataset: Mapping[str, Any]) -> str:
    return f"{dataset.get('name')} ({dataset.get('digest')})"


def _column_edges(connection: Connection, version: Version, relation: Relation) -> list[Edge]:
    spelled = {fold(name): name for name in relation.types}
    features = [
        (column, spelled[fold(column.name)]) for column in version.contract.columns if fold(column.name) in spelled
    ]
    keys = [spelled[fold(key)] for key in version.key_columns if fold(key) in spelled]
    wanted = dict.fromkeys([source for _, source in features] + keys)
    kind, path, home = _place(connection, relation)
    # DESCRIBE, which relations come from, says `tenure` of `SELECT tenure AS "Tenure"`; the catalog, and trace, "Tenure".
    shown = (
        {} if kind == "file" else {fold(name): name for name in Objects(connection).columns(path_of(relation, home))}
    )
    found = list(trace(connection, relation, wanted))
    for column, source in features:
        how = None if relation.types[source] == column.type else f"{relation.types[source]} read as {column.type}"
        name = shown.get(fold(source), source)
        found.append(Edge(kind, label(path, name, home=home), "feature", column.name, how))
    found += [Edge(kind, label(path, shown.get(fold(key), key), home=home), "key", key) for key in keys]
    return found


def _place(connection: Connection, relation: Relation) -> tuple[str, Sequence[str], str]:
    """The kind of the source's columns, and what their labels are made from."""
    if relation.kind == "file":
        return "file", relation.parts, ""
    row = connection.execute("SELECT current_database()").fetchone()
    home = str(row[0]) if row else ""
    return "column", path_of(relation, home), home


def _output_edges(version: Version) -> list[Edge]:
    name = version_name(version)
    found = [Edge("feature", column.name, "version", name) for column in version.contract.columns]
    if version.prediction_table is None:
        return [*found, Edge("version", name, "function", label((version.deployment, f"predict_v{version.version}")))]
    table = (version.deployment, version.prediction_table)
    return found + [
        Edge("version", name, "prediction", label(table, column)) for column, _ in output_columns(version.contract)
    ]
