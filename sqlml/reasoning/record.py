"""What the catalog has about where a prediction comes from: scoring, version, history, parity, model, run, data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlml.catalog.migrations import KEEPS_RECALLS, applied
from sqlml.catalog.records import Version
from sqlml.parsing import parsed
from sqlml.relation import split_name

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

# Any in this module: catalog values and JSON.
Facts = dict[str, Any]


def _one(connection: Connection, query: str, values: list[Any]) -> Facts | None:
    found = connection.execute(parsed(connection, query), values)
    names = [column[0] for column in found.description or ()]
    row = found.fetchone()
    return None if row is None else dict(zip(names, row, strict=True))


def scoring(connection: Connection, scoring_id: str) -> Facts:
    """The run of `score` (or the trigger) that made a row."""
    found = _one(
        connection,
        "SELECT scoring_id::VARCHAR AS scoring_id, kind, state, source, rows_scored, rows_failed, who, job_id, started_at,"
        " finished_at, duckdb_version, sqlml_version, hash_check FROM sqlml.scorings WHERE scoring_id = ?",
        [scoring_id],
    )
    if found is None:
        return {"scoring_id": scoring_id, "problem": "its record is gone"}
    return {**found, "source": ".".join(split_name(found["source"]))}


def deployed(version: Version, happened: Sequence[Facts]) -> Facts:
    """The deployment version: what it is, and who made it, when and why, by its history."""
    return {
        "version": version.version,
        "state": version.state,
        "resolved": version.resolved,
        "reference": version.reference,
        "engine": version.engine,
        "engine_why": version.engine_why,
        "threshold": version.threshold,
        "keep": version.keeps,
        "source": None if version.source is None else ".".join(split_name(version.source)),
        "deployed_by": version.deployed_by,
        "deployed_at": version.deployed_at,
        "why": next(
            (e["why"] for e in happened if e["action"] == "stage" and e["to_version"] == version.version), None
        ),
        "sqlml_version": version.sqlml_version,
        "duckdb_version": version.duckdb_version,
    }


def history(connection: Connection, version: Version) -> tuple[Facts, ...]:
    """What happened to the version, oldest first."""
    query = (
        "SELECT happened_at, action, from_version, to_version, who, why FROM sqlml.history"
        " WHERE deployment = $1 AND $2 IN (from_version, to_version) ORDER BY happened_at, rowid"
    )
    rows = connection.execute(parsed(connection, query), [version.deployment, version.version]).fetchall()
    names = ("happened_at", "action", "from_version", "to_version", "who", "why")
    return tuple(dict(zip(names, row, strict=True)) for row in rows)


def parity(connection: Connection, version: Version) -> Facts | None:
    return _one(
        connection,
        "SELECT passed, rows_compared, rows_set_aside, largest_difference, tolerance, checked_at FROM sqlml.parity"
        " WHERE deployment = ? AND version = ? ORDER BY checked_at DESC LIMIT 1",
        [version.deployment, version.version],
    )


def recall_of(connection: Connection, version: Version, scoring_id: str) -> Facts | None:
    """The recall that stands, of the version or of the scoring; None where there is none."""
    if applied(connection) < KEEPS_RECALLS:
        return None
    return _one(
        connection,
        "SELECT recalled_at, kind, value, why, who FROM sqlml.recalled WHERE deployment = ? AND version = ?"
        " AND (scoring_id IS NULL OR scoring_id = ?) ORDER BY recalled_at LIMIT 1",
        [version.deployment, version.version, scoring_id],
    )


def model(connection: Connection, version: Version) -> Facts:
    """The bytes that compute it, and the registered model that they were made of."""
    found = _one(connection, "SELECT bytes, origin FROM sqlml.models WHERE sha256 = ?", [version.model_sha256]) or {}
    made_of = _json(found.get("origin"))
    return {
        "sha256": version.model_sha256,
        "bytes": found.get("bytes"),
        "estimator": made_of.get("estimator"),
        "name": version.model_name,
        "version": version.model_version,
        "model_id": version.model_id,
        "artifact_uri": version.artifact_uri,
        "artifact_sha256": version.artifact_sha256,
        "registry_uri": version.registry_uri,
    }


def run(version: Version) -> tuple[Facts | None, tuple[Facts, ...]]:
    """The MLflow run and its training data, as they were read when the version was deployed: nothing is asked over
    the network."""
    known = _json(version.run)
    if not known and version.run_id is None:
        return None, ()
    datasets = known.pop("datasets", None) or []
    names = ("name", "digest", "source", "source_type", "version", "context")
    facts = {
        "run_id": version.run_id,
        "tracking_uri": version.tracking_uri,
        **{name: known.get(name) for name in ("name", "experiment", "user", "problem")},
        "params": known.get("params") or {},
        "metrics": known.get("metrics") or {},
    }
    return facts, tuple({name: found.get(name) for name in names} for found in datasets if isinstance(found, dict))


def _json(text: str | None) -> Facts:
    try:
        found = json.loads(text or "null")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
