"""What `sync` does when the registry moves, by each policy, and what it leaves to a person."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import sqlml
from sqlml import writing_back
from sqlml.catalog import following, leases, records
from sqlml.errors import BindingError, ContractChanged, KeyRefused, NotDeployed, ParityFailed, UsageError, WorkerError
from sqlml.syncing import looking
from tests.syncing.conftest import Followed, staged


def test_nothing_moved_is_nothing_done_and_nothing_grows(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    before = followed.jobs(), following.rows(followed.connection)

    assert [followed.what() for _ in range(3)] == [["in step"]] * 3
    assert (followed.jobs(), following.rows(followed.connection)) == before


def test_to_tell_is_the_policy_until_another_is_said(followed: Followed) -> None:
    followed.deploy()
    followed.alias(2)

    assert followed.what() == ["moved"]
    jobs = followed.jobs()
    assert followed.what() == ["moved"]
    assert followed.jobs() == jobs
    assert followed.states() == ["active"]
    [status] = sqlml.status(followed.connection)
    assert status.follows == ("churn:Production, policy tell, not deployed: it is v2 now",)
    assert followed.what("churn", policy="deploy", why="the nightly build is good") == ["deployed"]
    told = [e.why for e in sqlml.history(followed.connection) if e.action == "follow"]
    assert told == ["tell -> deploy: the nightly build is good"]


def test_a_shadow_waits_for_a_person(followed: Followed) -> None:
    followed.deploy(follow="shadow")
    followed.alias(2)

    assert followed.what() == ["shadowed"]
    assert followed.states() == ["active", "shadow"]
    jobs = followed.jobs()
    assert followed.what() == ["waiting"]
    assert followed.jobs() == jobs
    sqlml.promote(followed.connection, "churn")
    assert followed.what() == ["in step"]
    assert followed.states() == ["retired", "active"]


def test_a_shadow_that_waits_is_deployed_once_the_policy_says_so(followed: Followed) -> None:
    followed.deploy(follow="shadow")
    followed.alias(2)
    followed.sync()

    assert followed.what("churn", policy="deploy") == ["deployed"]
    assert followed.states() == ["retired", "active"]


def test_a_shadow_that_somebody_made_by_hand_waits_whatever_the_policy(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.deploy("churn:2", shadow=True)
    followed.alias(2)

    done = followed.sync()
    assert [o.what for o in done.outcomes] == ["waiting", "pinned"]
    assert done.outcomes[0].sentence == "churn:Production is churn v2, the shadow v2: promote or retire it"
    jobs = followed.jobs()
    assert followed.what() == ["waiting", "pinned"]
    assert (followed.states(), followed.jobs()) == (["active", "shadow"], jobs)
    sqlml.promote(followed.connection, "churn")
    assert followed.what()[0] == "in step"


def test_a_challenger_that_sync_made_a_shadow_is_deployed_when_the_alias_moves_to_it(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2, "challenger")
    followed.deploy("churn@challenger", shadow=True, follow="shadow")
    followed.alias(followed.register(), "challenger")
    assert followed.what() == ["in step", "shadowed"]
    followed.alias(3)

    assert followed.what()[0] == "deployed"
    assert followed.states() == ["retired", "shadow", "active"]


def test_a_shadow_that_was_retired_is_not_made_again(followed: Followed) -> None:
    followed.deploy(follow="shadow")
    followed.alias(2)
    followed.sync()
    sqlml.retire(followed.connection, "churn", version=2)

    assert followed.what() == ["waiting"]
    assert followed.states() == ["active", "retired"]
    followed.alias(followed.register())
    assert followed.what() == ["shadowed"]


def test_a_rollback_stays_until_the_alias_moves_again(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    followed.sync()
    sqlml.rollback(followed.connection, "churn")

    done = followed.sync()
    assert [o.what for o in done.outcomes] == ["waiting"]
    assert "v2 of it was rolled back from: v1 stays until the reference moves" in done.outcomes[0].sentence
    assert followed.states() == ["active", "retired"]
    followed.alias(1)
    assert followed.what() == ["in step"]
    followed.alias(2)
    assert followed.what() == ["deployed"]
    assert followed.states() == ["retired", "active"]


def test_a_rollback_from_what_a_person_deployed_stays_too(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    assert followed.what() == ["in step"]
    followed.alias(2)
    followed.deploy()
    sqlml.rollback(followed.connection, "churn")

    assert followed.what() == ["waiting"]
    assert followed.states() == ["active", "retired"]


def test_a_deployment_goes_on_following_what_it_was_deployed_by(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.deploy("churn:2", shadow=True)
    sqlml.promote(followed.connection, "churn", why="it is better")

    assert followed.what()[0] == "waiting"  # the alias is still v1
    followed.alias(2)
    assert followed.what()[0] == "in step"
    followed.alias(1)
    assert followed.what()[0] == "deployed"
    assert followed.states() == ["active", "retired"]


def test_a_number_is_not_followed_whatever_was_followed_before(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.deploy("churn:2")
    followed.alias(followed.register())

    assert followed.what() == ["pinned"]
    followed.deploy()
    assert [row.reference for row in following.rows(followed.connection)] == ["churn:Production"]
    assert followed.what() == ["in step"]


def test_challengers_are_followed_beside_the_active_version(followed: Followed) -> None:
    followed.deploy(follow="tell")
    followed.alias(2, "challenger")
    followed.deploy("churn@challenger", shadow=True, follow="shadow")
    assert followed.what() == ["in step", "waiting"]
    third = followed.register()
    followed.alias(third, "challenger")

    done = followed.sync()
    assert [(o.what, o.beside, o.reference) for o in done.outcomes] == [
        ("in step", False, "churn:Production"),
        ("shadowed", True, "churn@challenger"),
    ]
    assert followed.states() == ["active", "shadow", "shadow"]
    followed.alias(third)
    assert followed.what("churn", policy="deploy")[0] == "deployed"
    assert followed.what() == ["in step", "in step"]
    assert followed.states() == ["retired", "shadow", "active"]


@pytest.mark.parametrize("error", [ParityFailed("not the same"), ContractChanged("other classes")])
def test_what_was_refused_is_not_tried_again_until_something_changes(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    tried = failing(monkeypatch, error)

    assert [followed.what() for _ in range(3)] == [["refused"]] * 3
    assert tried == [1]
    assert followed.what(retry=True) == ["refused"]
    monkeypatch.setattr("sqlml.syncing.deciding.__version__", "99.0")
    assert followed.what() == ["refused"]
    assert tried == [3]
    monkeypatch.undo()
    assert followed.states() == ["active"]


@pytest.mark.parametrize("error", [KeyRefused("3 is there twice"), BindingError("there is no column fee")])
def test_what_the_rows_were_refused_for_is_tried_again_when_they_may_be_others(
    followed: Followed, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    with monkeypatch.context() as patch:
        failing(patch, error)
        assert followed.what() == ["failed"]
    [status] = sqlml.status(followed.connection)
    assert status.follows == (f"churn:Production, policy deploy, v2 of it failed: {error}",)
    followed.connection.execute("UPDATE sqlml.following SET tried_at = tried_at - INTERVAL 2 MINUTE")

    assert followed.what() == ["deployed"]


def test_what_failed_is_tried_again_after_a_while(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    with monkeypatch.context() as patch:
        tried = failing(patch, WorkerError("out of memory"))
        assert [followed.what() for _ in range(3)] == [["failed"]] * 3
        assert tried == [1]
        followed.connection.execute("UPDATE sqlml.following SET tried_at = tried_at - INTERVAL 2 MINUTE")
        assert followed.what() == ["failed"]
        assert tried == [2]
        followed.connection.execute("UPDATE sqlml.following SET tried_at = tried_at - INTERVAL 90 SECOND")
        assert followed.what() == ["failed"]  # it waits twice as long now
        assert tried == [2]

    assert followed.what(retry=True) == ["deployed"]


def failing(patch: pytest.MonkeyPatch, error: Exception) -> list[int]:
    tried = [0]

    def deploy(*arguments: object, **options: object) -> None:
        tried[0] += 1
        raise error

    patch.setattr("sqlml.syncing.acting.deploy_db", deploy)
    return tried


@pytest.mark.parametrize("gone", ["alias", "version", "model"])
def test_what_is_gone_from_the_registry_is_a_warning_and_stays_deployed(followed: Followed, gone: str) -> None:
    followed.deploy(follow="deploy")
    if gone == "alias":
        followed.client.delete_registered_model_alias("churn", "Production")
    elif gone == "version":
        followed.client.delete_model_version("churn", "1")
    else:
        followed.client.delete_registered_model("churn")

    assert followed.what(check=True) == ["gone"]
    assert [followed.what() for _ in range(2)] == [["gone"]] * 2
    assert followed.states() == ["active"]
    [status] = sqlml.status(followed.connection)
    assert "churn" in status.problems[0]
    if gone == "alias":
        followed.alias(1)
        assert followed.what() == ["in step"]
        assert sqlml.status(followed.connection)[0].problems == ()


def test_a_version_that_was_rolled_back_to_and_deleted_is_told_too(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    followed.sync()
    sqlml.rollback(followed.connection, "churn")
    followed.client.delete_model_version("churn", "1")

    [outcome] = followed.sync().outcomes
    assert outcome.what == "gone"
    assert "rolled back" in outcome.sentence


def test_a_number_is_told_when_its_version_is_deleted(followed: Followed) -> None:
    followed.deploy("churn:2")
    assert followed.what() == ["pinned"]
    followed.client.delete_model_version("churn", "2")

    assert followed.what() == ["gone"]


def test_another_model_that_got_the_number_of_a_deleted_one_has_moved(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    second = followed.client.get_model_version("churn", "2")
    files = followed.client.get_model_version_download_uri("churn", "2")
    followed.client.delete_registered_model("churn")
    followed.client.create_registered_model("churn")
    followed.client.create_model_version("churn", files, second.run_id)
    followed.alias(1)

    assert followed.what() == ["deployed"]
    first, last = records.versions(followed.connection, "churn")
    assert (first.model_version, last.model_version) == ("1", "1")
    assert last.run_id == second.run_id != first.run_id
    assert followed.what() == ["in step"]


def test_stages_and_the_latest_version_are_followed(followed: Followed) -> None:
    move = "UPDATE model_versions SET current_stage = ? WHERE name = 'churn' AND version = ?"
    followed.registry.execute(move, "Staging", 1)
    followed.deploy("churn:Staging", name="my model", follow="deploy")
    followed.deploy("churn:latest", name='la"st', follow="shadow")
    assert followed.what() == ["in step", "in step"]
    followed.registry.execute(move, "Archived", 1)
    followed.registry.execute(move, "Staging", 2)
    followed.register()

    assert sorted(followed.what()) == ["deployed", "shadowed"]
    assert followed.states("my model") == ["retired", "active"]
    assert followed.states('la"st') == ["active", "shadow"]


def test_a_path_and_a_run_are_not_asked_about(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.connection.execute(
        "UPDATE sqlml.versions SET reference = './model', model_version = NULL, tracking_uri = 'http://127.0.0.1:9'"
    )
    followed.connection.execute("DELETE FROM sqlml.following")

    assert followed.what() == ["pinned"]


def test_a_registry_that_is_away_keeps_no_other_deployment_from_its_own(followed: Followed, unused_port: int) -> None:
    followed.deploy(follow="deploy")
    followed.deploy(name="other", follow="deploy")
    followed.connection.execute(
        "UPDATE sqlml.versions SET tracking_uri = $1, registry_uri = $1 WHERE deployment = 'other'",
        [f"http://127.0.0.1:{unused_port}"],
    )
    followed.alias(2)

    done = followed.sync()
    assert [(o.name, o.what) for o in done.outcomes] == [("churn", "deployed"), ("other", "unreachable")]
    assert done.problems == ("other",)
    jobs = followed.jobs()
    assert followed.what() == ["in step", "unreachable"]
    assert followed.jobs() == jobs


def test_what_was_undeployed_is_not_followed(followed: Followed) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    sqlml.undeploy(followed.connection, "churn")

    assert followed.what() == []
    assert following.rows(followed.connection) == []
    with pytest.raises(NotDeployed):
        followed.sync("churn")


def test_a_deployment_of_before_follows_what_its_active_version_was_deployed_by(followed: Followed) -> None:
    followed.deploy()
    followed.alias(2)
    followed.deploy()
    sqlml.rollback(followed.connection, "churn")
    followed.connection.execute("DELETE FROM sqlml.following")

    assert followed.what("churn", policy="deploy") == ["waiting"]
    followed.alias(followed.register())
    assert followed.what() == ["deployed"]


def test_policies_that_cannot_be_meant_are_refused(followed: Followed) -> None:
    followed.deploy()
    for wrong in (
        lambda: followed.sync(policy="deploy"),
        lambda: followed.sync("churn", policy="deploy", check=True),
        lambda: followed.sync("churn", policy="always"),
        lambda: sqlml.deploy_db(followed.connection, "churn:2", follow="deploy"),
        lambda: sqlml.deploy_db(followed.connection, "churn@challenger", shadow=True, follow="deploy"),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_a_transaction_of_the_callers_is_refused(followed: Followed) -> None:
    followed.connection.execute("BEGIN")
    with pytest.raises(UsageError, match="open transaction"):
        followed.sync()
    followed.connection.execute("ROLLBACK")


def test_of_two_at_once_one_deploys_and_the_other_says_so(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    busy, go_on = threading.Event(), threading.Event()

    def slow(connection: Any, *arguments: Any, **options: Any) -> Any:
        with leases.lease(connection, "churn", f"job of {threading.get_ident()}"):
            busy.set()
            assert go_on.wait(60)
            return staged(connection, *arguments, **options)

    monkeypatch.setattr("sqlml.syncing.acting.deploy_db", slow)
    with ThreadPoolExecutor() as pool, followed.connection.cursor() as other:
        first = pool.submit(sqlml.sync, other)
        assert busy.wait(60)
        second = followed.what()
        go_on.set()
        assert [outcome.what for outcome in first.result().outcomes] == ["deployed"]

    assert second == ["busy"]
    assert followed.what() == ["in step"]
    assert followed.states() == ["retired", "active"]


def test_what_changed_while_the_registry_was_asked_is_for_the_next_round(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed.deploy(follow="deploy")
    followed.alias(2)
    asked = looking.ask

    def ask(*arguments: Any, **options: Any) -> Any:
        answers = asked(*arguments, **options)
        followed.deploy("churn:2")
        return answers

    with monkeypatch.context() as patch:
        patch.setattr("sqlml.syncing.acting.ask", ask)
        assert followed.what() == ["busy"]
    assert followed.what() == ["pinned"]


def test_mlflow_is_told_what_it_was_not_when_it_is_back(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sqlml.registry.tag", lambda model, tags: "away")
        followed.deploy()
        writing_back.remember(followed.connection, "churn", [1])
        writing_back.write_back(followed.connection)
        assert followed.sync().pending == ()  # it was tried a moment ago
        followed.connection.execute("UPDATE sqlml.write_backs SET tried_at = tried_at - INTERVAL 2 MINUTE")
        assert followed.sync().pending == (("churn v1", "away"),)

    assert followed.sync(retry=True).told == ("churn v1",)
    assert followed.client.get_model_version("churn", "1").tags["sqlml.memory.churn.state"] == "active"
    jobs = followed.jobs()
    assert followed.sync().told == ()
    assert followed.jobs() == jobs


def test_many_deployments_cost_few_calls(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

    followed.deploy(follow="deploy")
    for table, name in (("deployments", "name"), ("versions", "deployment"), ("following", "deployment")):
        followed.connection.execute(
            f"INSERT INTO sqlml.{table} SELECT * REPLACE ('churn' || i AS {name}) FROM sqlml.{table}, range(49) t(i)".replace(
                "SELECT *", "SELECT * EXCLUDE (i)"
            )
        )
    calls: list[str] = []
    for name in ("search_registered_models", "search_model_versions", "get_registered_model", "get_model_version"):
        counted(monkeypatch, SqlAlchemyStore, name, calls)

    assert followed.what() == ["in step"] * 50
    assert calls == ["search_registered_models", "search_model_versions"]


def counted(patch: pytest.MonkeyPatch, store: Any, name: str, calls: list[str]) -> None:
    original = getattr(store, name)

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(name)
        return original(*arguments, **options)

    patch.setattr(store, name, call)
