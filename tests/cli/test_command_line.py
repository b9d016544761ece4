"""The command line itself: help, exit codes, where output goes, and what a failure looks like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import duckdb
import pytest

from sqlml import cli
from sqlml.cli import exits
from sqlml.cli.lazy import COMMANDS


def test_every_command_says_about_itself_what_the_list_says() -> None:
    context = click.Context(cli.cli)
    for name, (module, sentence) in COMMANDS.items():
        command = cli.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.callback.__module__ == f"sqlml.cli.{module}"
        assert (command.help or "").split("\n\n")[0].strip() == sentence
        has_example = f"  sqlml {name}" in (command.help or "")
        assert has_example or name in ("init", "doctor", "demo")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([name, "--help"]) == exits.DONE
    assert f"Usage: sqlml {name}" in capsys.readouterr().out


def test_exit_codes_are_listed_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == exits.DONE

    shown = capsys.readouterr().out
    for code in exits.Exit:
        assert f"\n    {int(code):<4} " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["deplyo", "churn:1"], "There is no command 'deplyo'. Did you mean 'deploy'?"),
        (["deploy"], "Missing argument 'REFERENCE'"),
        (["deploy", "churn:1", "--engine", "gpu"], "'gpu' is not one of"),
        (["deploy", "churn:1"], "No database is named."),
        (["check"], "check takes one reference, or --all."),
        (["check", "churn:1", "--all"], "check takes one reference, or --all."),
        (["score"], "score takes the name of a deployment"),
        (["score", "churn", "--from", "x"], "--from and --to go together."),
        (["score", "churn", "--from", "x", "--to", "y"], "--from needs --key"),
        (["score", "churn", "--where", "true"], "belong to --from"),
        (["lineage"], "lineage takes a deployment"),
        (["diff", "churn", "one", "2"], "'one' is not a deployment version."),
        (["live", "churn", "maybe"], "'maybe' is not one of"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.run(arguments) == exits.USAGE

    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_missing_database_is_not_made_by_looking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.duckdb"
    for arguments in (["status"], ["score", "x"], ["rollback", "x"], ["logs"], ["verify"], ["publish", "copy.duckdb"]):
        assert cli.run([*arguments, "--database", str(path)]) == exits.FAILED
        assert f"There is no database file {path}" in capsys.readouterr().err
    assert not path.exists()


def test_failures_are_one_sentence_and_traceback_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.run(["check", "churn:1", "--tracking-uri", "sqlite:///none.db"]) == exits.FAILED
    plain = capsys.readouterr().err
    assert cli.run(["check", "churn:1", "--tracking-uri", "sqlite:///none.db", "--traceback"]) == exits.FAILED
    traced = capsys.readouterr().err

    assert plain.splitlines()[0] == "Error: There is no MLflow registry: the file none.db does not exist."
    assert "Traceback" not in plain
    assert "Traceback" in traced
    assert traced.endswith(plain)


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (KeyboardInterrupt(), exits.INTERRUPTED, "Interrupted"),
        (ZeroDivisionError("by zero"), exits.FAILED, "Error: unexpected ZeroDivisionError: by zero"),
    ],
)
def test_whatever_happens_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], raised: BaseException, code: int, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    setup = import_module("sqlml.cli.setup")
    monkeypatch.setattr(setup.settings_file, "write_template", fail)

    assert cli.run(["init"]) == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        (OSError(28, "No space left on device"), "Free disk space"),
        (duckdb.IOException("IO Error: Could not write file: No space left on device"), "Free disk space"),
        (duckdb.IOException("IO Error: Could not read enough bytes from file"), "bring it back from a copy"),
    ],
)
def test_what_the_system_refuses_comes_with_its_remedy(
    failure: Exception, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **arguments: object) -> None:
        raise failure

    monkeypatch.setattr(cli.cli, "main", fail)
    assert cli.run(["status"]) == exits.FAILED
    shown = capsys.readouterr().err
    assert remedy in shown
    assert "unexpected" not in shown


def test_init_writes_settings_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.run(["init"]) == exits.DONE
    assert "database =" in (tmp_path / "sqlml.toml").read_text(encoding="utf-8")
    assert cli.run(["init"]) == exits.USAGE
    assert "exists already" in capsys.readouterr().err


def test_statements_give_data_on_stdout_and_narration_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    statements = "CREATE TABLE t (a INT, b VARCHAR); INSERT INTO t VALUES (1, NULL), (2, 'x'); FROM t ORDER BY a"

    assert cli.run(["sql", statements, "--database", ":memory:"]) == exits.DONE

    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["a  b", "1  NULL", "2  x"]
    assert captured.err == "2 rows changed\n"


def test_statements_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    query = "SELECT 1 AS i, 'é' AS t, NULL AS n, 'nan'::DOUBLE AS f, DATE '2026-01-02' AS d, [1, 2] AS l, {a: 1} AS s"

    assert cli.run(["sql", query, "--database", ":memory:", "--json"]) == exits.DONE

    (row,) = json.loads(capsys.readouterr().out)
    assert row == {"i": 1, "t": "é", "n": None, "f": "nan", "d": "2026-01-02", "l": [1, 2], "s": {"a": 1}}


def test_a_statement_that_fails_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sql", "SELEC 1", "--database", ":memory:"]) == exits.FAILED
    assert "syntax error" in capsys.readouterr().err


def test_control_characters_in_values_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sql", "SELECT chr(27) || '[2J' AS x", "--database", ":memory:"]) == exits.DONE
    assert "\x1b" not in capsys.readouterr().out


def test_a_reader_that_leaves_early_gets_no_complaint() -> None:
    command = [
        sys.executable,
        "-c",
        "from sqlml.cli import main; main()",
        "sql",
        "-d",
        ":memory:",
        "FROM range(200000)",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_start_up_loads_nothing_heavy() -> None:
    """So it is quick: 20 ms of processor time for `import sqlml`, 60 with the help. No clock: it failed on a busy machine."""
    check = (
        "import sys; from sqlml.cli import run; run(['--help'])\n"
        "heavy = {'duckdb', 'mlflow', 'numpy', 'onnx', 'onnxruntime', 'pandas', 'openlineage', 'pyarrow', 'requests', 'rich', 'sklearn', 'sqlglot'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)


def typed(*lines: str | type[BaseException]) -> Any:
    """What a person types, line by line, for `input`."""
    remaining = list(lines)

    def read(prompt: str) -> str:
        entry = remaining.pop(0) if remaining else EOFError
        if isinstance(entry, str):
            return entry
        raise entry

    return read


def test_the_shell_reads_statements_over_lines_and_survives_mistakes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import duckdb

    from sqlml.cli import shell

    monkeypatch.setattr(shell, "HISTORY", str(tmp_path / "history"))
    lines = typed(
        "SELECT ';",
        "' || 'é' -- a comment;",
        "  AS x;",
        "SELEC 1;",
        "half a state",
        KeyboardInterrupt,
        "",
        ".tables",
        ".nothing",
        "SELECT 42 AS answer;",
        ".quit",
        "SELECT 'not read';",
    )
    monkeypatch.setattr("builtins.input", lines)

    with duckdb.connect() as connection:
        shell.interact(connection)

    captured = capsys.readouterr()
    assert r";\né" in captured.out
    assert "answer\n42" in captured.out
    assert "There is no .nothing" in captured.out
    assert "syntax error" in captured.err
    assert "not read" not in captured.out


def test_interrupting_a_statement_keeps_the_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import duckdb

    from sqlml.cli import shell
    from sqlml.cli.interrupts import interruptible

    def press_ctrl_c_later(prompt: str) -> str:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        monkeypatch.setattr("builtins.input", typed("SELECT 42 AS answer;"))
        return "SELECT count(*) FROM range(1000000000) a, range(20) b WHERE a.range * b.range % 7 = 3;"

    monkeypatch.setattr(shell, "HISTORY", str(tmp_path / "history"))
    monkeypatch.setattr("builtins.input", press_ctrl_c_later)
    with duckdb.connect() as connection, interruptible(connection):
        shell.interact(connection)

    captured = capsys.readouterr()
    assert "Stopped." in captured.err
    assert "answer\n42" in captured.out


STUCK = """
import ctypes, os, signal, sys, threading
import duckdb
from sqlml.cli import interrupts

signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts.STUCK_SECONDS = 0.5
lock = ctypes.create_string_buffer(256)
libc = ctypes.CDLL(None)
with duckdb.connect() as connection, interrupts.interruptible(connection):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)  # never returns, as a COPY that DuckDB cannot stop
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the C library's own locks")
def test_a_statement_that_cannot_be_stopped_ends_the_process() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == exits.INTERRUPTED
    assert "did not stop" in ended.stderr


def test_a_database_made_for_nothing_is_gone_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = tmp_path / "new.duckdb"
    assert cli.run(["deploy", str(tmp_path / "no.onnx"), "--database", str(new)]) == exits.FAILED
    assert not new.exists()
    assert cli.run(["sql", "CREATE TABLE t (a INTEGER); SELECT nothing", "--database", str(new)]) == exits.FAILED
    assert new.exists()


def test_an_empty_name_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = str(tmp_path / "new.duckdb")
    assert cli.run(["deploy", "churn:1", "--name", "", "--database", database]) == exits.USAGE
    assert "empty" in capsys.readouterr().err
