"""`sqlml sync` as people and machines call it: on a file, which is theirs between two rounds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sqlml import cli
from sqlml.catalog import following, records
from sqlml.cli import exits
from sqlml.cli.sync import seconds
from sqlml.errors import UsageError
from tests.syncing.conftest import Followed, staged


@pytest.fixture
def file(own_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A warehouse with `churn` in it, which follows churn:Production."""
    monkeypatch.setattr("sqlml.syncing.acting.deploy_db", staged)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "warehouse.duckdb"
    (tmp_path / "sqlml.toml").write_text(f'database = "{path.name}"\ntracking_uri = "{own_registry.uri}"\n')
    with duckdb.connect(str(path)) as connection:
        Followed(connection, own_registry, staged).deploy(follow="deploy")
    return path


@pytest.fixture
def moved(own_registry: Any, file: Path) -> Path:
    Followed(None, own_registry, staged).alias(2)
    return file


def sqlml(*arguments: str) -> int:
    return cli.run(list(arguments))


def test_a_check_exits_with_4_and_changes_nothing(
    moved: Path, own_registry: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = moved.read_bytes()

    assert sqlml("sync", "--check") == exits.DRIFTED
    assert "will deploy: churn:Production is churn v2 now" in capsys.readouterr().out
    assert moved.read_bytes() == before
    assert sqlml("sync", "--json") == exits.DONE
    [outcome] = json.loads(capsys.readouterr().out)["outcomes"]
    assert (outcome["what"], outcome["to_version"]) == ("deployed", 2)
    assert sqlml("sync", "--check", "--once") == exits.DONE


def test_a_round_of_nothing_leaves_the_file_as_it_is(file: Path) -> None:
    assert sqlml("sync") == exits.DONE
    before = file.read_bytes()

    assert sqlml("sync") == exits.DONE
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.glob("*.jobs")] == []


def test_policies_and_what_a_round_says_of_them(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sqlml("sync", "churn", "--policy", "tell") == exits.DRIFTED
    assert sqlml("status", "churn") == exits.DONE
    assert "churn:Production, policy tell, not deployed: it is v2 now" in capsys.readouterr().out
    assert sqlml("sync", "churn", "--policy", "shadow", "--why", "be careful") == exits.DONE
    assert sqlml("status", "--history", "churn") == exits.DONE
    assert "tell -> shadow: be careful" in capsys.readouterr().out
    assert sqlml("sync", "--policy", "tell") == exits.USAGE
    assert sqlml("sync", "churn", "--policy", "tell", "--check") == exits.USAGE
    assert sqlml("sync", "--once", "--every", "30s") == exits.USAGE


def test_what_is_refused_exits_with_3_and_what_is_gone_with_4(
    moved: Path, own_registry: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sqlml.errors import ContractChanged

    def refuse(*arguments: object, **options: object) -> None:
        raise ContractChanged("other classes.", hint="Accept them.")

    monkeypatch.setattr("sqlml.syncing.acting.deploy_db", refuse)
    assert [sqlml("sync"), sqlml("sync"), sqlml("sync", "--check")] == [exits.REFUSED, exits.REFUSED, exits.DRIFTED]
    assert "other classes. Accept them." in capsys.readouterr().out
    Followed(None, own_registry, staged).client.delete_registered_model_alias("churn", "Production")
    assert [sqlml("sync"), sqlml("status", "--check")] == [exits.DRIFTED, exits.DRIFTED]
    assert "churn has no alias, stage or version 'Production'." in capsys.readouterr().out


def test_a_registry_that_is_away_exits_with_1(file: Path, unused_port: int) -> None:
    away = ("--tracking-uri", f"http://127.0.0.1:{unused_port}")

    assert [sqlml("sync", *away), sqlml("sync", "--check", *away)] == [exits.FAILED, exits.FAILED]


def test_a_file_that_another_process_has_open_is_said(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holder(moved):
        assert sqlml("sync") == exits.FAILED
    assert "is locked: process" in capsys.readouterr().err


def test_rounds_let_others_in_between_them_and_end_at_a_signal(moved: Path, own_registry: Any) -> None:
    with duckdb.connect(str(moved)) as connection:
        # Nothing may be deployed here: a process of its own has the real deploy_db.
        records.begin_change(connection, "churn")
        connection.execute("UPDATE sqlml.following SET policy = 'tell'")
    with rounds("--every", "1s", "--json") as process:
        first = json.loads(process.stdout.readline())
        assert [outcome["what"] for outcome in first["outcomes"]] == ["moved"]
        with holder(moved):
            while (said := json.loads(process.stdout.readline()))["problem"] is None:
                pass
            assert "is locked: process" in said["problem"]
        while json.loads(process.stdout.readline())["problem"] is not None:
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == exits.DONE
    with duckdb.connect(str(moved), read_only=True) as connection:
        assert [row.state for row in following.rows(connection)] == ["new"]
        assert connection.execute("SELECT count(*) FROM sqlml.jobs").fetchone() == (1,)


class rounds:
    def __init__(self, *arguments: str) -> None:
        self._command = [sys.executable, "-c", "from sqlml.cli import main; main()", "sync", *arguments]

    def __enter__(self) -> Any:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, env=environment)
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class holder:
    """Another process that has the file open, once it is let in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        program = (
            "import duckdb, sys, time\n"
            "while True:\n"
            "    try:\n"
            "        held = duckdb.connect(sys.argv[1])\n"
            "        break\n"
            "    except duckdb.IOException:\n"
            "        time.sleep(0.01)\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


@pytest.mark.parametrize(("text", "wanted"), [("30s", 30), ("1m30s", 90), ("2h", 7200), ("45", 45), (" 5 M ", 300)])
def test_durations_are_read_as_people_write_them(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "soon", "0.2s", "-5s", "30 days", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        seconds(text)


def test_rounds_wait_longer_while_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlml.syncing import rounds as loop
    from sqlml.syncing.outcomes import Outcome, Synced

    def round_of(what: str) -> Synced:
        return Synced(records.now(), (Outcome("churn", what, "", "churn:Production", "deploy", False),))

    done = iter([round_of("in step"), *[round_of("unreachable")] * 5, round_of("in step"), round_of("in step")])
    monkeypatch.setattr(loop, "one_round", lambda *_, **__: next(done))
    slept: list[float] = []
    turns: Iterator[Synced] = loop.rounds(None, None, None, every=30.0, sleep=slept.append)  # type: ignore[arg-type]
    for _ in range(8):
        next(turns)

    assert [round(pause) for pause in slept] == [30, 60, 120, 240, 300, 300, 30]
