"""Is a deployment still what was deployed: its objects, its stored predictions, its source, its model's answers?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from sqlml import pyfunc, sql
from sqlml.catalog import migrations, recalls, records
from sqlml.catalog.records import Version
from sqlml.connecting import prepare_connection
from sqlml.database import atomic, facts
from sqlml.deploy.rechecking import Finding, Policy, functions_then_and_now, model_and_functions, stored_model
from sqlml.deploy.restoring import CannotCompare, replaced
from sqlml.deploy.stage import store_evidence
from sqlml.deploy.state import present, problems
from sqlml.errors import SqlmlError
from sqlml.predictions import Target, target_of
from sqlml.relation import count

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SAMPLE_ROWS = 200_000


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `checked` is False where it could not be, and `detail` says why."""

    name: str
    passed: bool
    detail: str
    checked: bool = True


@dataclass(frozen=True)
class Verification:
    deployment: str
    version: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Nothing differs, in all that could be looked at."""
        return all(check.passed for check in self.checks)

    @property
    def complete(self) -> bool:
        """Everything could be looked at."""
        return all(check.checked for check in self.checks)

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return {**asdict(self), "passed": self.passed, "complete": self.complete}


def verify(
    connection: Connection,
    name: str,
    *,
    original: bool = True,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare a deployment with its record, its stored predictions, and the model itself.

    The evidence is stored in sqlml.parity where the database may be written to.

    Args:
        connection: An open connection without a transaction.
        name: The deployment.
        original: Load the model once more and ask it: about what it was asked when it was deployed, about hostile rows,
            and about rows of its table as they are now. False compares only what is in the database.
        tracking_uri, registry_uri: Where the model is; by default where it was deployed from.
        allow_pickle, require_isolation, model_env: How it may be loaded, as for deploy_db; by default in the environment
            that it was deployed with.
        log: Called with what happens, line by line.

    Raises:
        NotDeployed: there is none of that name, or nothing is active.
    """
    prepare_connection(connection)
    deployment = records.deployment(connection, name)
    version = records.active(connection, deployment)
    found = problems(
        connection, deployment, version, records.versions(connection, deployment.name), present(connection)
    )
    checks = [Check("objects", not found, "; ".join(found) or "all there, as recorded")]
    if not facts(connection).read_only:
        checks.append(_definitions(connection, version))
    recalled = recalls.told(recalls.standing(connection, deployment.name), version.version)
    if recalled is not None:  # no difference, and nothing that whoever verifies should miss
        checks.append(Check("recalled", True, recalled))
    if version.prediction_table is not None and not found:
        target = target_of(connection, version)
        checks += [_keys(connection, target), _current(connection, target)]
        if version.engine != "pyfunc":
            checks.append(_recomputed(connection, target))
        elif original:
            asked = pyfunc.Policy(allow_pickle, require_isolation, model_env or version.model_env or "auto")
            checks.append(_asked_again(connection, target, version, asked, log))
    if version.engine != "pyfunc" and not found:
        policy = Policy(tracking_uri, registry_uri, allow_pickle, require_isolation, model_env)
        checks += _answers(connection, version, policy if original else None, log)
    return Verification(deployment.name, version.version, tuple(checks))


def _answers(
    connection: Connection, version: Version, policy: Policy | None, log: Callable[[str], None]
) -> list[Check]:
    """What the model and the functions say, then and now."""
    try:
        model = stored_model(connection, version)
    except SqlmlError as error:
        return [Check("functions", True, f"not compared: {error.message}", checked=False)]
    first, then = functions_then_and_now(connection, version, model)
    findings: list[Finding] = [] if first.held is None and policy is None else [first]
    if policy is not None:
        more, evidence = model_and_functions(connection, version, model, then, policy, log)
        findings += more
        if evidence is not None and not facts(connection).read_only:
            migrations.migrate(connection)
            with atomic(connection, version.deployment):
                store_evidence(connection, version, evidence)
    # Answers that nobody kept are no reason to call a verification incomplete that has asked the model itself.
    findings = [f for f in findings if f.held is not None or f is not first or len(findings) == 1]
    return [Check(f.name, f.held is not False, f.detail, checked=f.held is not None) for f in findings]


def _definitions(connection: Connection, version: Version) -> Check:
    """Whether functions and views still say what was recorded."""
    try:
        changed = replaced(connection, version)
    except CannotCompare as error:
        return Check("definitions", True, f"not compared: {error.message}")
    detail = (
        f"replaced since: {', '.join(changed)}; deploy {version.reference} again to restore" if changed else "unchanged"
    )
    return Check("definitions", not changed, detail)


def _asked_again(
    connection: Connection, target: Target, version: Version, policy: pyfunc.Policy, log: Callable[[str], None]
) -> Check:
    """Stored predictions of a model that is asked, asked for again."""
    try:
        seen, unequal = pyfunc.asked_again(connection, target, version, policy, log)
    except SqlmlError as error:
        return Check("recomputed", True, f"not compared: {error.message}", checked=False)
    detail = f"{unequal:,} of {seen:,} rows" if unequal else f"{seen:,} rows, all equal"
    return Check("recomputed", unequal == 0, f"{detail} when the model was asked again")


def _keys(connection: Connection, target: Target) -> Check:
    keys = [sql.column(key) for key in target.keys]
    stored = sql.table(*target.table)
    doubled = (
        exp.select(*keys)
        .from_(stored)
        .group_by(*(k.copy() for k in keys))
        .having(exp.GT(this=sql.call("count", exp.Star()), expression=sql.integer(1)))
    )
    row = connection.execute(sql.render(exp.select("count(*)").from_(doubled.subquery(alias="d")))).fetchone()
    twice = int(row[0]) if row else 0
    missing = sql.any_of([exp.Is(this=k.copy(), expression=exp.Null()) for k in keys])
    row = connection.execute(sql.render(exp.select("count(*)").from_(target.relation.node).where(missing))).fetchone()
    unkeyed = int(row[0]) if row else 0
    parts = [f"{twice:,} keys have two predictions (score mends it)"] if twice else []
    parts += [f"{unkeyed:,} source rows have no key and so no prediction"] if unkeyed else []
    return Check("keys", not parts, "; ".join(parts) or "each prediction has its own key")


def _current(connection: Connection, target: Target) -> Check:
    """Source rows without a prediction of these inputs, and predictions whose key left the source."""
    matches = [exp.EQ(this=sql.column(key, "sqlml p"), expression=sql.column(key, "sqlml k")) for key in target.keys]
    if target.keep != "none":
        matches.append(exp.EQ(this=sql.column("input_hash", "sqlml p"), expression=sql.column("input_hash", "sqlml k")))
    stored = sql.named(sql.table(*target.table), "sqlml p")
    predicted = exp.Exists(this=exp.select("1").from_(stored).where(sql.all_of(matches)))
    query = sql.select_from(
        "SELECT count(*)", target.hashed(target.all_rows()), alias="sqlml k", where=f"NOT {sql.render(predicted)}"
    )
    row = connection.execute(query).fetchone()
    stale = int(row[0]) if row else 0
    source = sql.named(target.relation.node.copy(), "sqlml k")
    keys = matches[: len(target.keys)]
    there = exp.Exists(this=exp.select("1").from_(source).where(sql.all_of([m.copy() for m in keys])))
    gone = exp.select("count(*)").from_(stored.copy()).where(exp.Not(this=there))
    row = connection.execute(sql.render(gone)).fetchone()
    left = int(row[0]) if row else 0
    parts = [f"{stale:,} source rows have no current prediction"] if stale else []
    parts += [f"{left:,} predictions whose key left the source"] if left else []
    return Check(
        "current", not parts, f"{'; '.join(parts)}: run score" if parts else "every source row has its prediction"
    )


def _recomputed(connection: Connection, target: Target) -> Check:
    """Stored predictions computed again, with the bytes and functions of today; past SAMPLE_ROWS a sample by key hash."""
    rows = target.all_rows()
    total = count(connection, target.relation)
    if total > SAMPLE_ROWS:
        bucket = exp.Mod(
            this=sql.call("hash", *(sql.column(key) for key in target.keys)),
            expression=sql.integer(-(-total // SAMPLE_ROWS)),
        )
        rows = rows.where(exp.EQ(this=bucket, expression=sql.integer(0)))
    matches = [
        exp.EQ(this=sql.column(key, "sqlml p"), expression=sql.column(key, "sqlml k"))
        for key in [*target.keys, *([] if target.keep == "none" else ["input_hash"])]
    ]
    differs = [
        exp.NullSafeNEQ(this=sql.column(o, "sqlml p"), expression=sql.column(o, "sqlml k")) for o in target.outputs
    ]
    stored = sql.named(sql.table(*target.table), "sqlml p")
    other = exp.Exists(this=exp.select("1").from_(stored).where(sql.all_of([*matches, sql.any_of(differs)])))
    query = sql.select_from(
        f"SELECT count(*), count_if({sql.render(other)})",
        target.keyed(rows),
        alias="sqlml k",
    )
    row = connection.execute(query).fetchone()
    seen, unequal = (int(row[0]), int(row[1] or 0)) if row else (0, 0)  # count_if of no rows is NULL
    detail = f"{unequal:,} of {seen:,} rows" if unequal else f"{seen:,} rows, all equal"
    stale = ", or changed since they were scored: no hash of the inputs is kept" if target.keep == "none" else ""
    return Check("recomputed", unequal == 0, f"{detail} computed again{stale if unequal else ''}")
