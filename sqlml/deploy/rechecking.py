"""The gate once more: is what is deployed still what the model answers, and does the model answer as it did?

Three answers to the same rows are held against each other: what the model said when it was deployed (kept in
sqlml.parity), what it says now, and what the deployed functions say now.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import contract, convert, parity, registry, sql
from sqlml.catalog import migrations
from sqlml.catalog.records import Version
from sqlml.convert import OnnxModel
from sqlml.engines.surface import feature
from sqlml.errors import SqlmlError
from sqlml.parity import recorded as records_of_then
from sqlml.relation import Relation, find
from sqlml.signature import Signature

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection

LIVE_ROWS = 1000
SHOWN = 2


@dataclass(frozen=True)
class Finding:
    """One comparison. `held` is None where it could not be made, and `detail` says why."""

    name: str
    held: bool | None
    detail: str


@dataclass(frozen=True)
class Policy:
    """How the model is found and loaded; None is what MLflow itself would use, or what the deployment was made with."""

    tracking_uri: str | None = None
    registry_uri: str | None = None
    allow_pickle: bool = True
    require_isolation: bool = False
    model_env: str | None = None


def stored_model(connection: Connection, version: Version) -> OnnxModel:
    """What the deployed functions were made from."""
    found = connection.execute(
        "SELECT onnx, reasons, precision, origin FROM sqlml.models WHERE sha256 = ?", [version.model_sha256]
    ).fetchall()
    if not found:
        raise SqlmlError(f"The bytes of model {version.model_sha256[:12]} are not in the catalog any more.")
    content, reasons, precision, origin = found[0]
    return OnnxModel(content, version.model_sha256, version.contract, tuple(reasons), precision, json.loads(origin))


def functions_then_and_now(
    connection: Connection, version: Version, model: OnnxModel
) -> tuple[Finding, records_of_then.Recorded | None]:
    """The deployed functions, held against what the model answered when it was deployed; needs no registry."""
    then = _recorded(connection, version)
    if then is None:
        return Finding("functions", None, "no answers of then were kept: this verification keeps some"), None
    questions = parity.Questions(model, then.rows, then.reference, 0.0)
    evidence = parity.check(connection, questions, _functions(version, "_v"), threshold=version.threshold)
    if evidence.passed:
        return Finding("functions", True, f"answer {evidence.compared:,} rows as the model did at deployment"), then
    return Finding("functions", False, f"no longer answer as the model did: {evidence.summary()}"), then


def model_and_functions(
    connection: Connection,
    version: Version,
    model: OnnxModel,
    then: records_of_then.Recorded | None,
    policy: Policy,
    log: Callable[[str], None],
) -> tuple[list[Finding], parity.Evidence | None]:
    """The model asked again: its files, its answers of then and now, and the functions held against it on live rows."""
    try:
        return _asked_again(connection, version, model, then, policy, log)
    except SqlmlError as error:
        return [Finding("model", None, f"could not be asked: {error}")], None


def _asked_again(
    connection: Connection,
    version: Version,
    model: OnnxModel,
    then: records_of_then.Recorded | None,
    policy: Policy,
    log: Callable[[str], None],
) -> tuple[list[Finding], parity.Evidence | None]:
    source = None if version.source is None else find(connection, version.source)
    resolved = registry.resolve(
        reference_of(version),
        tracking_uri=policy.tracking_uri or version.tracking_uri,
        registry_uri=policy.registry_uri or version.registry_uri,
    )
    with tempfile.TemporaryDirectory(prefix="sqlml-") as folder:
        artifact = registry.download(resolved, Path(folder) / "artifact")
        if artifact.sha256 != version.artifact_sha256:
            said = f"{resolved.description} has other files than were deployed (sha256 {artifact.sha256[:12]}, then {version.artifact_sha256[:12]})"
            return [Finding("model", False, said)], None
        with convert.open_worker(
            artifact.entry,
            log=log,
            allow_pickle=policy.allow_pickle,
            require_isolation=policy.require_isolation,
            model_env=policy.model_env or version.model_env or "auto",
        ) as worker:
            again = worker.convert(None if source is None else source.types)
            differing = contract.differences(version.contract, again.signature)
            if differing:
                said = f"converted again it takes or gives something else: {'; '.join(differing)}"
                return [Finding("model", False, said)], None
            sample = None if source is None else live_rows(connection, version.contract, source)
            log("asking the model again")
            questions = parity.ask(
                worker, replace(model, origin=again.origin), sample, recorded=None if then is None else then.rows
            )
    upgrades = _upgrades(model.origin, again.origin)
    since = f" Since then: {', '.join(upgrades)}." if upgrades else ""
    findings = [Finding("model", True, f"{resolved.description}: the files that were deployed")]
    if then is not None:
        findings.append(_model_then_and_now(model, then, questions, since))
    evidence = parity.check(connection, questions, _functions(version, ""), threshold=version.threshold)
    findings.append(Finding("parity", evidence.passed, evidence.summary() + ("" if evidence.passed else since)))
    return findings, evidence


def _model_then_and_now(
    model: OnnxModel, then: records_of_then.Recorded, questions: parity.Questions, since: str
) -> Finding:
    ids = [i for i, kind in enumerate(questions.rows.kinds) if kind == records_of_then.KIND]
    differing = records_of_then.changed(model, then, records_of_then.answers_to(questions.reference, ids))
    if not differing:
        return Finding("answers", True, f"the model answers {len(ids):,} rows as it did at deployment")
    shown = "; ".join(differing[:SHOWN])
    said = f"the model answers {len(differing):,} of {len(ids):,} rows otherwise than at deployment: {shown}.{since}"
    return Finding("answers", False, said)


def reference_of(version: Version) -> str:
    """What names this very model version today: an alias may have moved on."""
    if version.model_name is not None and version.model_version is not None:
        return f"models:/{version.model_name}/{version.model_version}"
    if version.model_id is not None:
        return f"models:/{version.model_id}"
    return version.reference


def live_rows(connection: Connection, signature: Signature, source: Relation, seed: int = 21) -> pa.Table:
    """Rows of the source as the model takes them: others than at deployment, and the same as long as it does not change."""
    columns = [sql.alias(feature(c, sql.column(c.name)), c.name) for c in signature.columns]
    chosen = sql.sampled(sql.render(exp.select("*").from_(source.node)), LIVE_ROWS, seed)
    return connection.sql(sql.select_from(sql.render(exp.select(*columns)), chosen)).to_arrow_table()


def _functions(version: Version, prefix: str) -> parity.Functions:
    """The deployment's functions, or those of this very version."""
    return parity.functions(version.deployment, version.contract, f"{prefix}{version.version}" if prefix else "")


def _recorded(connection: Connection, version: Version) -> records_of_then.Recorded | None:
    """The earliest answers that were kept of this version."""
    if migrations.applied(connection) < migrations.KEEPS_ANSWERS:
        return None
    found = connection.execute(
        "SELECT recorded FROM sqlml.parity WHERE deployment = ? AND version = ? AND recorded IS NOT NULL"
        " ORDER BY checked_at LIMIT 1",
        [version.deployment, version.version],
    ).fetchall()
    return records_of_then.unpacked(version.contract, found[0][0]) if found else None


def _upgrades(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:  # Any: JSON
    """What converts and answers now, where it is another version than at deployment."""
    prefix = "converted with "
    return [
        f"{name.removeprefix(prefix)} {then[name]} -> {version}"
        for name, version in sorted(now.items())
        if name.startswith(prefix) and name in then and then[name] != version
    ]
