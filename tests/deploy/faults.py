"""A connection that fails at its k-th statement, and what must hold whatever failed."""

from __future__ import annotations

from typing import Any

import duckdb

import sqlml
from sqlml.catalog import collected, records, states

READS = ("SELECT", "FROM", "DESCRIBE", "EXPLAIN", "WITH")


class InjectedFault(Exception):
    """What a disk, a network or a Ctrl-C might be."""


class FaultyConnection:
    """Passes everything on and raises before statement `fail_at` (1 is the first); cursors count along.

    `counter` has how many statements there were, `reads` the numbers of those that only read.
    """

    def __init__(
        self,
        inner: duckdb.DuckDBPyConnection,
        fail_at: int | None,
        counter: list[int] | None = None,
        reads: set[int] | None = None,
    ) -> None:
        self._inner = inner
        self._fail_at = fail_at
        self.counter = counter if counter is not None else [0]
        self.reads = reads if reads is not None else set()

    def execute(self, *arguments: Any) -> Any:
        # ROLLBACK is the way out of a failure: it must stay possible, as it is when a statement fails.
        if not str(arguments[0]).startswith("ROLLBACK"):
            self.counter[0] += 1
            if str(arguments[0]).lstrip().startswith(READS):
                self.reads.add(self.counter[0])
            if self.counter[0] == self._fail_at:
                raise InjectedFault(str(arguments[0])[:80])
        return self._inner.execute(*arguments)

    def cursor(self) -> FaultyConnection:
        return FaultyConnection(self._inner.cursor(), self._fail_at, self.counter, self.reads)

    @property
    def telling(self) -> list[int]:
        """All statements but those that read after another one that does: a fault there leaves the very same database."""
        return [n for n in range(1, self.counter[0] + 1) if not (n in self.reads and n - 1 in self.reads)]

    def __enter__(self) -> FaultyConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def assert_whole(connection: duckdb.DuckDBPyConnection, name: str = "churn") -> None:
    """Nothing partial: what the catalog says is there, and nothing is there that it does not say."""
    deployment = records.find_deployment(connection, name)
    if deployment is None:
        if not records.versions(connection, name):
            assert not connection.execute(
                "SELECT 1 FROM duckdb_schemas() WHERE schema_name = ? AND database_name = current_database()", [name]
            ).fetchall()
        return
    [status] = sqlml.status(connection, name)
    serious = [p for p in status.problems if "gone" in p or "triggers" in p]
    assert serious == []
    versions = records.versions(connection, name)
    assert [v.version for v in versions] == list(range(1, len(versions) + 1))
    assert {v.version: v.state for v in versions} == states_told(list(reversed(sqlml.history(connection, name))))
    active = [v.version for v in versions if v.state == "active"]
    assert active == ([] if deployment.active_version is None else [deployment.active_version])
    for version in (v for v in versions if v.state in states.CALLABLE):
        table = f'"{name}"."{version.prediction_table}"'
        doubled = connection.execute(f"SELECT count(*) - count(DISTINCT customer_id) FROM {table}").fetchone()
        assert doubled == (0,)
        bytes_of = "SELECT count(*) FROM sqlml.models WHERE sha256 = ?"
        stored = connection.execute(bytes_of, [version.model_sha256]).fetchone()
        if collected.BYTES in collected.of(connection, name, version.version):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
            functions = "SELECT count(*) FROM duckdb_functions() WHERE schema_name = ? AND function_name = ?"
            assert connection.execute(functions, [name, f"predict_v{version.version}"]).fetchone() == (0,)
            continue
        assert stored == (1,)
        assert connection.execute(f'SELECT "{name}".predict_v{version.version}(c) FROM customers c LIMIT 1').fetchone()
    if active:
        assert connection.execute(f'SELECT DISTINCT deployment_version FROM "{name}".current').fetchall() in (
            [(active[0],)],
            [],
        )
        expected = connection.execute(
            f'SELECT "{name}".predict_v{active[0]}(c) FROM customers c ORDER BY customer_id'
        ).fetchall()
        assert (
            expected
            == connection.execute(f'SELECT "{name}".predict(c) FROM customers c ORDER BY customer_id').fetchall()
        )


def assert_current(connection: duckdb.DuckDBPyConnection, name: str = "churn") -> None:
    """Every source row has its prediction, once, and it is what the function says now."""
    wrong = connection.execute(
        f'SELECT count(*) FROM customers c FULL JOIN "{name}".current p USING (customer_id)'
        f' WHERE p.prediction IS DISTINCT FROM (CASE WHEN c.customer_id IS NOT NULL THEN "{name}".predict(c) END)'
        " OR p.scoring_id IS NULL"
    ).fetchone()
    assert wrong == (0,)
    counts = connection.execute(
        f'SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM "{name}".current)'
    ).fetchone()
    assert counts[0] == counts[1]


def states_told(events: list[Any]) -> dict[int, str]:
    """What the history alone says about the state of each version."""
    told: dict[int, str] = {}
    for event in events:
        if event.action in ("activate", "promote", "rollback"):
            if event.from_version is not None:
                told[event.from_version] = "retired"
            told[event.to_version] = "active"
        elif event.action == "retire":
            told[event.from_version] = "retired"
        elif event.action == "undeploy":
            told = {number: "failed" if state == "failed" else "undeployed" for number, state in told.items()}
        elif event.to_version is not None and event.action in ("stage", "shadow", "fail"):
            told[event.to_version] = {"stage": "planned", "shadow": "shadow", "fail": "failed"}[event.action]
    return told
