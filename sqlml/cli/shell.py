"""Statements and an interactive shell over one connection."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml.cli import output
from sqlml.database import translated
from sqlml.errors import SqlmlError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection
    from duckdb import Statement

SHOWN_ROWS = 1000
HISTORY = "~/.sqlml_history"
HELP = """\
SQL ends with a semicolon. Every deployed function is ready: SELECT churn.predict(c) FROM customers c LIMIT 5;
  .tables   tables and views        .models   what is deployed
  .quit     leave (or Ctrl-D)       Ctrl-C    drop what is typed, or stop the statement that runs"""
DOT_COMMANDS = {
    ".tables": "SELECT table_schema AS schema, table_name AS name, table_type AS type FROM information_schema.tables"
    " WHERE table_catalog = current_database() ORDER BY ALL",
    ".models": "SELECT name, active_version AS version, model, source, live FROM sqlml.deployments ORDER BY name",
}


def run(connection: Connection, text: str, *, as_json: bool = False) -> None:
    """Run one or more statements, printing what each returns; the first that fails ends it.

    Raises:
        DatabaseError: DuckDB refused a statement.
    """
    with translated("The statement"):
        for statement in connection.extract_statements(text):
            _execute(connection, statement, as_json=as_json, limit=None)


def _execute(connection: Connection, statement: Statement, *, as_json: bool, limit: int | None) -> None:
    from duckdb import ExpectedResultType

    expected = statement.expected_result_type
    cursor = connection.execute(statement)
    if expected == [ExpectedResultType.NOTHING]:
        return
    columns = [column[0] for column in cursor.description]
    rows = cursor.fetchall() if limit is None else cursor.fetchmany(limit + 1)
    if ExpectedResultType.CHANGED_ROWS in expected and columns == ["Count"]:  # else it has a RETURNING clause
        if rows:
            output.say(f"{rows[0][0]:,} row{'' if rows[0][0] == 1 else 's'} changed")
        return
    if as_json:
        output.as_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif columns == ["explain_key", "explain_value"]:
        for row in rows:
            output.data(row[1])
    else:
        output.table(columns, rows[:limit])
        if limit is not None and len(rows) > limit:
            output.say(f"Only the first {limit:,} rows are shown.")


def interact(connection: Connection) -> None:
    """Read statements from the terminal until `.quit` or Ctrl-D."""
    output.data("sqlml: SQL with every deployed function ready. .help says more, .quit leaves.")
    with _history():
        while True:
            try:
                text = _read()
            except EOFError:
                output.data()
                return
            except KeyboardInterrupt:
                output.data()
                continue
            command = text.strip().lower().rstrip(";")
            if command in (".quit", ".exit", "quit", "exit"):
                return
            if command == ".help":
                output.data(HELP)
            elif command.startswith(".") and command not in DOT_COMMANDS:
                output.data(f"There is no {command}. .help lists what there is.")
            elif command:
                _answer(connection, DOT_COMMANDS.get(command, text))


def _answer(connection: Connection, text: str) -> None:
    """One input of the shell: a failure is said, and the shell goes on."""
    began = time.monotonic()
    try:
        with translated("The statement"):
            for statement in connection.extract_statements(text):
                _execute(connection, statement, as_json=False, limit=SHOWN_ROWS)
    except KeyboardInterrupt:
        output.say("Stopped.")
        return
    except SqlmlError as error:
        output.say(f"Error: {error.message}")
        return
    output.say(f"{time.monotonic() - began:.3f} s")


def _read() -> str:
    """Lines until a semicolon ends them outside of quotes; a dot command is one line."""
    lines: list[str] = []
    for prompt in itertools.chain(["sqlml> "], itertools.repeat("   ..> ")):
        lines.append(input(prompt))
        text = "\n".join(lines)
        if (
            not text.strip()
            or text.lstrip().startswith(".")
            or text.strip().lower() in ("quit", "exit")
            or _is_complete(text)
        ):
            break
    return text


def _is_complete(text: str) -> bool:
    """Whether the last token is a semicolon; one inside a string, a quoted name or a comment is none."""
    import duckdb

    code = [offset for offset, kind in duckdb.tokenize(text) if kind != duckdb.token_type.comment]
    return bool(code) and text.encode()[code[-1] : code[-1] + 1] == b";"


@contextlib.contextmanager
def _history() -> Iterator[None]:
    try:
        import readline
    except ImportError:  # Windows, and Pythons built without it: the shell works, without arrow keys
        yield
        return
    path = Path(HISTORY).expanduser()
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(1000)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)
