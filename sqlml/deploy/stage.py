"""What a deployment writes inside its transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from sqlml import jobs, kept, objects, parity, pyfunc, sql
from sqlml.catalog import model_files, recalls, records, states, turning
from sqlml.catalog.migrations import KEEPS_ANSWERS, TURNING, applied
from sqlml.catalog.records import Version
from sqlml.connecting import prepare_connection
from sqlml.convert.pyfunc import PyfuncModel
from sqlml.deploy.deployment import Options
from sqlml.deploy.prepare import Prepared
from sqlml.errors import NameRefused, UsageError
from sqlml.lineage.matching import concerns
from sqlml.predictions import insert_predictions, key_misfits, stored_key_types, target_of
from sqlml.registry.store import shown
from sqlml.relation import Relation, find, table_exists
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

COMPARED_ROWS = 200_000
"""Rows that `plan` scores with both versions to say what would change."""
ASKED_ROWS = 2_000


def version_row(options: Options, prepared: Prepared, number: int) -> Version:
    import duckdb

    model, artifact = prepared.model, prepared.artifact
    has_table = prepared.relation is not None
    return Version(
        deployment=prepared.name,
        version=number,
        state=states.PLANNED,
        reference=options.reference,
        resolved=model.description,
        model_name=model.name,
        model_version=None if model.number is None else str(model.number),
        model_id=model.model_id,
        run_id=model.run_id or artifact.run_id,
        # Everybody who may read the database, or a published copy of it, reads these.
        tracking_uri=None if model.tracking_uri is None else shown(model.tracking_uri),
        registry_uri=None if model.registry_uri is None else shown(model.registry_uri),
        artifact_uri=shown(model.location),
        artifact_sha256=artifact.sha256,
        artifact_files=json.dumps([asdict(file) for file in artifact.files], ensure_ascii=False),
        run=prepared.run_json,
        model_sha256=prepared.content.sha256,
        signature=prepared.content.signature.to_json(),
        engine=prepared.engine.name,
        engine_why=prepared.engine_why,
        threshold=options.threshold,
        prediction_table=objects.prediction_table_name(number) if has_table else None,
        source=None if prepared.relation is None else prepared.relation.name,
        key_columns=prepared.keys,
        sqlml_version=__version__,
        duckdb_version=duckdb.__version__,
        deployed_by=jobs.user(),
        deployed_at=records.now(),
        artifact_store=None if artifact.store is None else artifact.store.to_json(),
        model_env=options.model_env,
        keep=options.keep or kept.DEFAULT,
    )


def identity(version: Version) -> tuple[object, ...]:
    """What makes two versions of a deployment the same one: deploying an equal one again makes nothing."""
    return (
        version.model_sha256,
        version.artifact_sha256,
        version.model_name,
        version.model_version,
        version.engine,
        version.threshold,
        version.source,
        version.key_columns,
        version.keeps,
    )


def with_kept_function(options: Options, existing: records.Deployment | None) -> Options:
    """Without --as, the plain function that the deployment has: people's queries call it. A python_function has none."""
    if options.engine == "pyfunc" or options.function is not None or existing is None or existing.function_name is None:
        return options
    schema, name = existing.function_name
    return replace(options, function=(schema, name))


def with_kept_keep(options: Options, before: Version | None, keys: Sequence[str]) -> Options:
    """Without --keep, what the active version keeps of its inputs.

    Raises:
        UsageError: nothing is to be kept of what a python_function is asked.
        NameRefused: a key column is called rowid, and inputs are to be kept.
    """
    keep = options.keep or (kept.DEFAULT if before is None else before.keeps)
    if keep == "none" and options.engine == "pyfunc":
        raise UsageError(
            "--keep none does not go with --engine pyfunc: without a hash of its inputs, every score would have to ask"
            " the model about every row.",
            hint="Give --keep hash: 8 bytes a row.",
        )
    if keep == "inputs" and "rowid" in {key.lower() for key in keys}:
        raise NameRefused(
            "Inputs cannot be kept under a key column called rowid: it hides DuckDB's own, by which the last ones are found.",
            hint="Deploy on a view that calls it otherwise, or keep a hash of the inputs (--keep hash).",
        )
    return replace(options, keep=keep)


def find_same(
    connection: Connection, version: Version, function: tuple[str, str] | None, source: Relation | None
) -> Version | None:
    """A callable version that differs in nothing that matters, newest first."""
    for known in reversed(records.versions(connection, version.deployment)):
        is_same = known.state in states.CALLABLE and identity(known) == identity(version)
        if is_same and (source is None or _holds_keys(connection, known, source)):
            made = objects.recorded(connection, known.deployment, known.version)
            plain = next(
                ((o.schema, o.name) for o in made if o.role == "active" and o.schema != known.deployment), None
            )
            if plain == function:
                return known
    return None


def _holds_keys(connection: Connection, known: Version, source: Relation) -> bool:
    """Whether its prediction table can go on with this source; one that was dropped can be made again, as it was."""
    if not table_exists(connection, (known.deployment, str(known.prediction_table))):
        return True
    return not key_misfits(connection, known.key_columns, stored_key_types(connection, known), source)


def refuse_recalled(connection: Connection, version: Version, same: Version | None, *, accepted: bool) -> None:
    """Refuse to deploy what is recalled: the version that this would be again, its run, its training data or its bytes.

    Raises:
        Refused: it is, and nobody accepted that.
    """
    if accepted:
        return
    if same is not None:
        recalls.refuse(connection, same.deployment, same.version, accepted=False)
    for mark in recalls.standing(connection):
        if concerns(version, mark.kind, mark.value):
            raise recalls.refused(version.resolved, mark)


def next_number(connection: Connection, name: str) -> int:
    return max((v.version for v in records.versions(connection, name)), default=0) + 1


def store_model(connection: Connection, prepared: Prepared) -> None:
    """The ONNX bytes, once per hash; the files themselves of a model that is asked."""
    onnx = prepared.content
    if isinstance(onnx, PyfuncModel):
        model_files.keep(connection, prepared.artifact.sha256)
        return
    known = connection.execute("SELECT 1 FROM sqlml.models WHERE sha256 = ?", [onnx.sha256]).fetchone()
    if known is None:
        records.insert(
            connection,
            "models",
            {
                "sha256": onnx.sha256,
                "onnx": onnx.onnx,
                "bytes": len(onnx.onnx),
                "signature": onnx.signature.to_json(),
                "reasons": list(onnx.reasons),
                "precision": onnx.precision,
                "origin": json.dumps(dict(onnx.origin), ensure_ascii=False),
                "created_at": records.now(),
            },
        )
    turning.keep(connection, onnx)


def register_function(connection: Connection, prepared: Prepared) -> None:
    """The python engine's function, before the transaction: DuckDB gives it only to transactions that begin later."""
    prepare_connection(connection)
    if prepared.engine.name != "python" or isinstance(prepared.content, PyfuncModel):
        return
    from sqlml.engines import python

    onnx = prepared.content
    python.register(connection, onnx.sha256, onnx.signature, lambda: onnx.onnx)


def make_inputs(connection: Connection, prepared: Prepared) -> None:
    """`<name>.inputs`, or the columns that a new version needs in it."""
    if not prepared.makes_inputs or prepared.relation is None:
        return
    schema, table = prepared.relation.parts
    if not table_exists(connection, (schema, table)):
        connection.execute(sql.create_table((schema, table), list(prepared.relation.types.items())))
        return

    there = {name.lower() for name in find(connection, prepared.relation.name).types}
    for name, type_name in prepared.relation.types.items():
        if name.lower() not in there:
            connection.execute(sql.add_column((schema, table), name, type_name))


def version_objects(options: Options, prepared: Prepared, version: Version) -> tuple[objects.DatabaseObject, ...]:
    return objects.version_objects(
        prepared.name,
        version.version,
        prepared.content.signature,
        prepared.engine,
        threshold=options.threshold,
        relation=prepared.relation,
        keys=prepared.keys,
        function_name=options.function,
        keep=version.keeps,
    )


def with_readable_reasons(
    connection: Connection, version: int, made: Sequence[objects.DatabaseObject]
) -> tuple[objects.DatabaseObject, ...]:
    """Without `why` where the catalog has not got what it reads: DuckDB binds a macro when it is made."""
    if applied(connection) >= TURNING:
        return tuple(made)
    return tuple(item for item in made if item.name not in ("why", f"why_v{version}"))


def make(connection: Connection, made: Sequence[objects.DatabaseObject]) -> None:
    """Make the objects of a staged version; those of the active one are made by the switch."""
    for item in made:
        if item.role == "version":
            connection.execute(item.statement)


def store_evidence(connection: Connection, version: Version, evidence: parity.Evidence) -> None:
    records.insert(
        connection,
        "parity",
        {
            "deployment": version.deployment,
            "version": version.version,
            "passed": evidence.passed,
            "rows_compared": evidence.compared,
            "rows_set_aside": evidence.set_aside_total,
            "largest_difference": evidence.largest_difference,
            "tolerance": evidence.tolerance,
            "evidence": evidence.to_json(),
            "checked_at": records.now(),
            # A file whose catalog is an older one has no such column.
            **({"recorded": evidence.recorded} if applied(connection) >= KEEPS_ANSWERS else {}),
        },
    )


def fill_for_comparison(connection: Connection, version: Version, askers: pyfunc.Askers) -> None:
    """Predictions of a version that will be rolled back, on at most COMPARED_ROWS rows of the source (ASKED_ROWS of a
    model that is asked)."""
    target = target_of(connection, version)
    nobody = "00000000-0000-0000-0000-000000000000"
    if version.engine != "pyfunc":
        rows = target.all_rows().limit(COMPARED_ROWS)
        connection.execute(insert_predictions(target, nobody, target.keyed(rows)))
        return
    query = target.keyed(target.all_rows().limit(ASKED_ROWS))
    with pyfunc.answered(connection, lambda: askers.worker(version), version.contract, query, target.keys) as answers:
        connection.execute(insert_predictions(target, nobody, answers))
