"""Rounds of `sync` that really deploy; what it decides is in tests/syncing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

import sqlml
import sqlml.deploy.routine
from sqlml import jobs, registry
from sqlml.catalog import records
from sqlml.deploy.prepare import Prepared
from sqlml.relation import find
from tests.deploy.conftest import fill
from tests.deploy.faults import assert_current
from tests.syncing.conftest import Followed


@pytest.fixture
def really_followed(
    own_registry: Any, customer_rows: object, prepared_versions: dict[str, Prepared], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Followed]:
    """With real deploys, but for conversions: those are known."""
    monkeypatch.setattr("sqlml.parity.asking.LARGEST_SIZE", 40)
    monkeypatch.setattr("sqlml.parity.asking.WHOLE_SIZES", ())
    monkeypatch.setattr("sqlml.parity.asking.SMALL_SIZES", ())
    monkeypatch.setattr(sqlml.deploy.routine, "prepare", known(prepared_versions))
    with duckdb.connect() as connection:
        fill(connection, customer_rows, 60)
        yield Followed(connection, own_registry, sqlml.deploy_db)


def known(prepared: dict[str, Prepared]) -> Any:
    """`prepare` with the conversions that are known: odd numbers are one model, even ones the other."""

    def prepare(connection: Any, options: Any, job: jobs.Job, *, with_reference: bool) -> Prepared:
        model = registry.resolve(
            options.reference, tracking_uri=options.tracking_uri, registry_uri=options.registry_uri
        )
        made = prepared["churn:1" if (model.number or 1) % 2 else "churn:2"]
        name = options.name or model.name
        deployed = records.find_deployment(connection, name)
        source = options.table or (None if deployed is None else deployed.source)
        relation = None if source is None else find(connection, source)
        keys = options.key or (() if deployed is None else deployed.key_columns)
        return dataclasses.replace(made, model=model, name=name, relation=relation, keys=keys)

    return prepare


def test_an_alias_that_moved_is_deployed_with_the_options_of_the_active_version(really_followed: Followed) -> None:
    followed = really_followed
    followed.deploy_first(follow="deploy", threshold=0.3, function="main.flagged")
    followed.alias(2)

    assert followed.what(check=True) == ["will deploy"]
    assert followed.states() == ["active"]
    done = followed.sync()
    assert [(o.what, o.from_version, o.to_version) for o in done.outcomes] == [("deployed", 1, 2)]
    assert followed.states() == ["retired", "active"]
    assert followed.what() == ["in step"]
    assert_current(followed.connection)
    event = sqlml.history(followed.connection, "churn")[0]
    assert (event.action, event.why) == ("activate", "churn:Production is churn v2 now (sqlml sync)")
    job = "SELECT kind, state FROM sqlml.jobs WHERE job_id = ?"
    assert followed.connection.execute(job, [done.job_id]).fetchall() == [("sync", "done")]
    assert records.versions(followed.connection, "churn")[-1].threshold == 0.3
    assert followed.connection.execute("SELECT flagged(c) FROM customers c LIMIT 1").fetchone() is not None
    assert followed.client.get_model_version("churn", "1").tags["sqlml.memory.churn.state"] == "retired"


def test_a_failed_parity_is_an_attempt_in_the_history_once(
    really_followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_followed.deploy_first(follow="deploy")
    really_followed.alias(2)
    with monkeypatch.context() as patch:
        patch.setattr("sqlml.parity.gate.Evidence.passed", False)
        assert [really_followed.what() for _ in range(2)] == [["refused"]] * 2

    assert really_followed.states() == ["active", "failed"]
    assert really_followed.what(retry=True) == ["deployed"]
    assert really_followed.states() == ["retired", "failed", "active"]
