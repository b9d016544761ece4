"""Opening a DuckDB database and changing it all or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml import extension, sql
from sqlml.errors import Conflict, DatabaseError, DatabaseLocked, ExtensionUnavailable, SqlmlError, UsageError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@dataclass(frozen=True)
class DatabaseFacts:
    """What sqlml needs to know about the database that a connection writes to."""

    name: str
    path: str | None
    """None for a database in memory."""
    read_only: bool
    storage: str
    """`v2.0.0+` and the like, as DuckDB tags it; empty where DuckDB does not say."""
    attached: tuple[str, ...]
    """Names of all attached databases, this one included, DuckDB's own left out."""

    @property
    def has_triggers(self) -> bool:
        """Triggers need storage v2.0.0, or memory under DuckDB 2."""
        import duckdb

        if int(duckdb.__version__.split(".")[0]) < 2:
            return False
        match = re.match(r"v(\d+)", self.storage)
        return self.path is None or match is None or int(match.group(1)) >= 2


def open_database(
    path: str | Path,
    *,
    read_only: bool = False,
    storage_version: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Connection:
    """A connection to the file (or ":memory:"), without sqlml's functions; `sqlml.connect` adds them.

    `storage_version` ("v1.5.0", so that older clients can open the file) counts only for a file that does not exist yet.
    Where there is a native extension, the database may load it, unless this process has the file open without that.

    Raises:
        DatabaseLocked: another process has the file open; the message names it.
        DatabaseError: the file is not a DuckDB database, cannot be read, or its folder does not exist.
    """
    import duckdb

    path = str(path)
    settings: dict[str, Any] = dict(config or {})  # Any: DuckDB settings are strings, numbers or booleans
    is_new = path != ":memory:" and not Path(path).exists()
    if is_new and read_only:
        raise DatabaseError(f"There is no database file {path}.", hint="Check the path, or deploy first.")
    if is_new and not Path(path).absolute().parent.is_dir():
        raise DatabaseError(f"The folder of {path} does not exist.", hint="Create it, or name another database file.")
    with translated(path):
        if is_new and storage_version is not None:
            _create(path, storage_version)
        if extension.find() is None or extension.UNSIGNED in settings:
            return duckdb.connect(path, read_only=read_only, config=settings)
        try:
            return duckdb.connect(path, read_only=read_only, config={**settings, extension.UNSIGNED: "true"})
        except duckdb.ConnectionException:
            # This process has the file open with other settings, and DuckDB wants the same ones of every connection.
            return duckdb.connect(path, read_only=read_only, config=settings)


def _create(path: str, storage_version: str) -> None:
    import duckdb

    if not re.fullmatch(r"v?\d+\.\d+\.\d+|latest", storage_version):
        raise UsageError(f"{storage_version!r} is not a DuckDB storage version.", hint="Valid: v1.5.0, v2.0.0, latest.")
    with duckdb.connect() as maker:
        maker.execute(sql.attach(path, "made", storage_version))
        maker.execute("DETACH made")


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """DuckDB's exceptions about `subject` (a file, a deployment) as ours."""
    import duckdb

    try:
        yield
    except (duckdb.Error, RuntimeError) as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        if isinstance(error, duckdb.Error):
            raise _ours(error, subject) from error
        raise


def is_interrupt(error: BaseException) -> bool:
    """Whether this is what Ctrl-C comes to: DuckDB's Python client says it in one of two ways during a statement."""
    import duckdb

    if isinstance(error, KeyboardInterrupt | duckdb.InterruptException):
        return True
    if isinstance(error, duckdb.Error):
        # Tidying up after Ctrl-C failed too, as everything does in a transaction that was interrupted.
        return error.__context__ is not None and is_interrupt(error.__context__)
    return isinstance(error, RuntimeError) and str(error) == "Query interrupted"


WHAT_TO_DO = {
    "no space left on device": "Free disk space, and run it again: nothing partial was kept.",
    "disk quota exceeded": "Free disk space, and run it again: nothing partial was kept.",
    "read-only file system": "Make the file writable, or work on a copy of it.",
    "permission denied": "Give yourself the right to read and write the file and its folder, or work on a copy of it.",
    "not a valid duckdb database": "Check the path; a file of another format, or an empty one, has to go first.",
    "is a directory": "Name a file.",
    "could not read enough bytes": "The file is damaged or cut off: bring it back from a copy.",
    "corrupt": "The file is damaged: bring it back from a copy.",
}
"""What DuckDB's or the system's message holds, in small letters, and the remedy."""


def from_system(error: OSError) -> DatabaseError | None:
    """The operating system's own refusal (a full disk, no right to write) as ours, where the remedy is known."""
    reason = (error.strerror or "").lower()
    hint = WHAT_TO_DO.get(reason)
    if hint is None:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return DatabaseError(f"{where}{error.strerror}.", hint=hint)


def _ours(error: Exception, subject: str) -> SqlmlError:
    import duckdb

    message = str(error)
    if isinstance(error, duckdb.IOException) and "lock" in message.lower():
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", message)
        who = f"process {holder[2]} ({holder[1]})" if holder else "another process"
        return DatabaseLocked(
            f"{subject} is locked: {who} has it open.",
            hint="DuckDB lets one process write at a time: close it there, or let readers use a copy (sqlml publish).",
            pid=int(holder[2]) if holder else None,
        )
    if "conflict" in message.lower():  # on rows, on catalog entries, or found at COMMIT
        return Conflict(
            f"{subject} was changed by another transaction at the same time; nothing of this one was kept.",
            hint="Run it again when the other has finished.",
            cause=message,
        )
    if re.search(r'function with name "?sqlml_', message, re.IGNORECASE):
        return ExtensionUnavailable(
            f"{subject} needs the native extension, which this connection has not loaded: {first_line(error)}",
            hint="`sqlml doctor` says whether there is one, and how a connection loads it.",
        )
    for said, hint in WHAT_TO_DO.items():
        if said in message.lower():
            return DatabaseError(f"{subject}: {first_line(error)}", hint=hint)
    if isinstance(error, duckdb.OutOfMemoryException):
        return DatabaseError(
            f"{subject}: DuckDB ran out of memory or of temporary disk space: {first_line(error)}",
            hint="Raise memory_limit or max_temp_directory_size, or free disk space; nothing partial was kept.",
        )
    return DatabaseError(f"{subject}: {first_line(error)}")


def first_line(error: BaseException) -> str:
    """What DuckDB says, without the statement that it points into."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def refuse_open_transaction(connection: Connection) -> None:
    """Refuse a connection on which the caller has begun a transaction: ours could not be all or nothing.

    It is asked by what changes nothing. A BEGIN that fails ends the caller's transaction, and the COMMIT after it is then
    a rollback without a word."""
    import duckdb

    hint = "COMMIT or ROLLBACK it first: sqlml needs transactions of its own to leave nothing partial behind."
    try:
        first, second = (connection.execute("SELECT txid_current()").fetchone() for _ in range(2))
    except duckdb.TransactionException as error:
        raise UsageError(
            "The connection has an open transaction that an error has ended.", hint="ROLLBACK it first."
        ) from error
    if first == second:
        raise UsageError("The connection has an open transaction.", hint=hint)


@contextmanager
def atomic(connection: Connection, subject: str) -> Iterator[None]:
    """One transaction: all of the block, or nothing of it.

    Raises:
        Conflict: another transaction changed the same rows or entries first.
    """
    with translated(subject):
        connection.execute("BEGIN")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            # Not only Exception: Ctrl-C must roll back too. A failed COMMIT has already ended the transaction.
            _roll_back(connection)
            raise


def _roll_back(connection: Connection) -> None:
    import duckdb

    try:
        connection.execute("ROLLBACK")
    except duckdb.TransactionException:
        pass  # COMMIT failed, and DuckDB has rolled back by itself
    except duckdb.ConnectionException:
        pass  # closed in the middle: the transaction is gone with the connection


def checkpoint(connection: Connection) -> None:
    """Write what is in the write-ahead log into the file; best effort, for others may be reading."""
    import duckdb

    with suppress(duckdb.Error):
        connection.execute("CHECKPOINT")


def facts(connection: Connection) -> DatabaseFacts:
    rows = connection.execute(
        "SELECT database_name, path, readonly, tags['storage_version'], database_name = current_database()"
        " FROM duckdb_databases() WHERE NOT internal ORDER BY database_name"
    ).fetchall()
    own = next((row for row in rows if row[4]), None)
    if own is None:
        raise DatabaseError(
            "The connection's current database is one of DuckDB's own.", hint="USE a database file first."
        )
    return DatabaseFacts(
        name=own[0], path=own[1], read_only=own[2], storage=own[3] or "", attached=tuple(row[0] for row in rows)
    )


def require_writable(database: DatabaseFacts) -> None:
    if database.read_only:
        raise DatabaseError(
            f"{database.path or database.name} is open read-only.",
            hint="Open it for writing, or make the file writable.",
        )
