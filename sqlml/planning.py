"""What a deployment would do, found by doing it in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlml import comparison, contract, jobs, live, objects, pyfunc
from sqlml.binding import Bound
from sqlml.catalog import migrations, model_files, records
from sqlml.catalog.records import Version
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable
from sqlml.deploy import stage
from sqlml.deploy.deployment import Options, options_from
from sqlml.deploy.prepare import Prepared, prepare
from sqlml.errors import SqlmlError
from sqlml.kept import KEEPING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class Plan:
    """What would happen. `would_change` compares predictions on the source's own rows with the active version's."""

    name: str
    version: int
    resolved: str
    engine: str
    engine_why: str
    keep: str | None
    binding: tuple[Bound, ...]
    contract_changes: tuple[str, ...]
    would_change: tuple[str, ...]
    notes: tuple[str, ...]
    statements: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)


def plan(connection: Connection, reference: str, *, listener: jobs.Listener | None = None, **arguments: Any) -> Plan:
    """What `deploy_db` with the same arguments would do; parity is left to the deployment itself.

    `arguments` are the keyword arguments of deploy_db but `wait` (Any: they have their own types there).

    Raises:
        SqlmlError: as deploy_db does, but for a changed contract, which is reported.
    """
    refuse_open_transaction(connection)
    options = options_from(reference, **arguments)
    database = facts(connection)
    require_writable(database)
    job = jobs.Job("plan", options.name, jobs.folder_of(database), listener, keep=False)
    prepared = prepare(connection, options, job, with_reference=False)
    existing = records.find_deployment(connection, prepared.name)
    before = records.active(connection, existing) if existing and existing.active_version else None
    options = stage.with_kept_keep(stage.with_kept_function(options, existing), before, prepared.keys)
    version = stage.version_row(options, prepared, stage.next_number(connection, prepared.name))
    made = stage.version_objects(options, prepared, version)
    notes = [*prepared.notes, *([KEEPING[version.keeps]] if version.prediction_table else [])]
    if options.live or (options.live is None and existing is not None and existing.live):
        upstream = live.upstream_table(connection, prepared.relation, prepared.keys) if prepared.relation else None
        notes.append(live.why_not(database, prepared.relation, upstream, version.engine) or live.REFUSED_BY_DUCKDB)
    would_change = tuple(_would_change(connection, prepared, before, version, made, options, job)) if before else ()
    if options.engine == "pyfunc":
        model_files.forget(connection)
    return Plan(
        name=prepared.name,
        version=version.version,
        resolved=version.resolved,
        engine=version.engine,
        engine_why=version.engine_why,
        keep=version.keeps if version.prediction_table else None,
        binding=prepared.bound,
        contract_changes=tuple(contract.differences(before.contract, version.contract)) if before else (),
        would_change=would_change,
        notes=tuple(notes),
        statements=tuple(o.statement for o in made if o.role != "query"),
    )


class _Undo(Exception):
    """Leaves a transaction that was only for looking."""


def _would_change(
    connection: Connection,
    prepared: Prepared,
    before: Version,
    version: Version,
    made: Sequence[objects.DatabaseObject],
    options: Options,
    job: jobs.Job,
) -> list[str]:
    if version.prediction_table is None or prepared.makes_inputs:
        return []
    stage.register_function(connection, prepared)
    found: list[str] = []
    if version.engine == "pyfunc" and migrations.applied(connection) < len(migrations.MIGRATIONS):
        return [
            f"not compared with v{before.version}: the catalog is an older one, which the next deploy brings up to date"
        ]
    try:
        with (
            pyfunc.askers(connection, options.policy, partial(job.log, "score")) as askers,
            atomic(connection, prepared.name),
        ):
            if version.engine == "pyfunc":
                stage.store_model(connection, prepared)
            records.insert_row(connection, "versions", version)
            objects.record(connection, version.version, version.deployment, made)
            stage.make(connection, stage.with_readable_reasons(connection, version.version, made))
            stage.fill_for_comparison(connection, version, askers)
            found = comparison.compare(connection, before, version).sentences()
            raise _Undo
    except _Undo:
        return found
    except SqlmlError as error:
        return [f"not compared with v{before.version}: {error.message}"]
