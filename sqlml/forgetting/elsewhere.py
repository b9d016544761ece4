"""Where the key is still, or may be: what a forgetting does not erase, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.catalog import records
from sqlml.deploy.switch import followers
from sqlml.forgetting.subject import KeyTable, Subject, source_of
from sqlml.recomputing import is_key

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


def in_source(connection: Connection, subject: Subject, values: Sequence[str]) -> bool | None:
    """Whether the source has the key; None where it could not be read."""
    import duckdb

    found = source_of(connection, subject)
    if found is None:
        return None
    relation, keys = found
    query = exp.select("1").from_(relation.node).where(is_key(keys, [relation.types[key] for key in keys])).limit(1)
    try:
        return connection.execute(sql.render(query), list(values)).fetchone() is not None
    except duckdb.Error:  # a view that fails
        return None


def of_source(subject: Subject, is_in_source: bool | None) -> Iterator[str]:
    if subject.source is None:
        return
    if is_in_source and not subject.is_there:
        yield f"{subject.source} has the key still."
    elif is_in_source:
        yield f"{subject.source} has the key still, and the next score predicts it again: delete it there first."
    elif is_in_source is None and not subject.is_there:
        yield f"{subject.source} could not be read: the key may be in it still."
    elif is_in_source is None:
        yield f"{subject.source} could not be read: if the key is still in it, the next score predicts it again."


def of_another_key(subject: Subject, others: Sequence[KeyTable]) -> Iterator[str]:
    for table in others:
        yield (
            f"{table.shown} has another key ({', '.join(table.keys)}, not {', '.join(subject.keys)}), and was left as it"
            f" is: if it has rows of the same one, delete them there."
        )


def of_others(connection: Connection, subject: Subject) -> Iterator[str]:
    """Other deployments that have the key."""
    others = [
        d.name
        for d in records.deployments(connection)
        if d.name != subject.name and subject.source is not None and d.source == subject.source
    ]
    others += [d.name for d in followers(connection, subject.name)]
    for other in dict.fromkeys(others):
        yield f"{other} predicts from the same rows: sqlml forget {other} with its own key."


def of_running(logs: Sequence[Path]) -> Iterator[str]:
    """Log files that were left alone, for a process that runs writes to them."""
    for path in logs:
        yield (
            f"{path.parent.name}/{path.name} was left as it is: the process that writes it runs still. It may name the key:"
            " forget it again when that job has ended."
        )


def of_copies(
    connection: Connection, subject: Subject, named: Callable[[str], bool], path: str | None
) -> Iterator[str]:
    """What is out of reach: files, people's own words, copies, and the bytes of what was deleted."""
    elsewhere = connection.execute(
        "SELECT DISTINCT target FROM sqlml.scorings WHERE deployment = ? AND kind = 'external' ORDER BY ALL",
        [subject.name],
    ).fetchall()
    if elsewhere:
        yield f"Rows were scored to {', '.join(target for (target,) in elsewhere)}: sqlml does not look there."
    reasons = connection.execute("SELECT why FROM sqlml.history WHERE deployment = ?", [subject.name]).fetchall()
    if any(text is not None and named(text) for (text,) in reasons):
        yield "A reason in sqlml.history.why seems to name it: that is a person's own words."
    yield "Published copies and backups made before have it still."
    if path is not None:
        yield (
            f"DuckDB leaves deleted bytes in {Path(path).name} until it writes over them. A copy has only what is there:"
            " sqlml publish COPY.duckdb, and put it in the place of the file (sqlml live NAME on hangs triggers again)."
        )
