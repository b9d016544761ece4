"""Where the key is still, or may be: what a forgetting does not erase, in sentences."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import sql
from sqlml.catalog import records
from sqlml.deploy.switch import followers
from sqlml.forgetting.subject import KeyTable, Subject, source_of, subject_of, tables
from sqlml.keys import is_key

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


def of_others(
    connection: Connection, subject: Subject, values: Sequence[str], is_in_source: bool | None
) -> Iterator[str]:
    """Other deployments that have the key, by whatever way it came there; nothing is erased in them."""
    reading = {d.name for d in followers(connection, subject.name)}
    if subject.source is not None:
        reading |= {d.name for d in records.deployments(connection) if d.source == subject.source}
    names = connection.execute("SELECT DISTINCT deployment FROM sqlml.versions ORDER BY ALL").fetchall()
    for (name,) in names:
        if name == subject.name:
            continue
        other = subject_of(connection, name)
        of_its_key, of_former_keys = _holding(connection, other, subject.keys, values)
        if of_its_key:
            order = f" (its values in the order {', '.join(other.keys)})" if len(other.keys) > 1 else ""
            yield f"{name} has the key too, in {', '.join(of_its_key)}: sqlml forget {shlex.quote(name)} --key KEY{order} erases it there."
        for table in of_former_keys:
            yield f"{table} has the key too, under a key that {name} has no more: delete it there."
        # A key that is neither in its tables nor in the source does not come back.
        could_come = is_in_source is not False or _folded(other.keys) != _folded(subject.keys)
        if name in reading and not of_its_key and could_come:
            yield f"{name} predicts from the same rows: sqlml forget {shlex.quote(name)} with its own key."


def _holding(
    connection: Connection, other: Subject, keys: Sequence[str], values: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The tables of another deployment that have the key: those whose key columns it has now, and those of former ones."""
    now: list[str] = []
    former: list[str] = []
    for table in tables(connection, other):
        same = table.in_order(keys)
        if same is None:
            continue
        query = exp.select("1").from_(sql.table(*same.path)).where(is_key(same.keys, same.types)).limit(1)
        if connection.execute(sql.render(query), list(values)).fetchone() is not None:
            (former if table.in_order(other.keys) is None else now).append(table.shown)
    return now, former


def _folded(keys: Sequence[str]) -> set[str]:
    return {key.lower() for key in keys}


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
