"""A routine's run: its log beside the database while it goes on, and its record inside when it has ended.

The log is a file of JSON lines in `<database>.jobs/`, since DuckDB lets no other process read the database meanwhile:
`sqlml logs JOB --follow` reads it from another terminal. It survives every rollback.
"""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml import processes
from sqlml.catalog import records
from sqlml.catalog.migrations import applied
from sqlml.database import DatabaseFacts, is_interrupt
from sqlml.errors import JobFailed, UsageError, choices

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

Listener = Callable[["Line"], None]
SECONDS_FOR_A_LINE = 60.0
"""How long a log without its first line is one that is about to get it."""


@dataclass(frozen=True)
class Line:
    """One line of a job's log. `phase` is resolve, download, convert, bind, compile, apply, parity, score, switch ..."""

    at: str
    phase: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)  # Any: JSON

    def to_json(self) -> str:
        return json.dumps(self.__dict__, ensure_ascii=False, default=str)


def user() -> str:
    """The operating system's user name: a claim, not a proof."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a passwd entry
        return f"uid {os.getuid()}"


class Job:
    """A running or ended routine. `state` is running, done, failed or interrupted."""

    def __init__(
        self, kind: str, subject: str | None, folder: Path, listener: Listener | None = None, *, keep: bool = True
    ) -> None:
        self.id = f"{kind}-{datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        self.kind = kind
        self.subject = subject
        self.path = folder / f"{self.id}.jsonl"
        self.state = "running"
        self.result: object = None
        self.error: BaseException | None = None
        self.started_at = records.now()
        self.lines: list[Line] = []
        self.ended = threading.Event()
        self.at_end: list[Callable[[], None]] = []
        """Called when the state is known, before the log is closed; what was added last comes first."""
        self._listener = listener
        self._keep = keep  # False for a routine that changes nothing: its lines go to the listener only
        self._told: str | None = None
        self._clock = time.monotonic()
        self._folder = folder

    def log(self, phase: str, message: str, **details: object) -> None:
        """Append a line; a listener (the command line) sees it at once."""
        seconds = round(time.monotonic() - self._clock, 3)
        if not self.lines:
            # So that a reader can tell a running job from a killed one: a pid is given again, a pid and a start are not.
            details |= {"pid": os.getpid(), "process": processes.this_process()}
        if self.subject is not None and self._told != self.subject:  # of a deploy it may be known later than at first
            details.setdefault("deployment", self.subject)
            self._told = self.subject
        line = Line(records.now().isoformat(timespec="milliseconds"), phase, message, {"seconds": seconds, **details})
        self.lines.append(line)
        if self._listener is not None:
            self._listener(line)
        if self._keep:
            try:
                self._write(line)
            except OSError as error:
                # A full disk stops what writes to the database, and says so; the log must not call failed what is done.
                self._keep = False
                self.log("log", f"{self.path} cannot be written: {error.strerror}")

    def _write(self, line: Line) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line.to_json() + "\n")


def folder_of(database: DatabaseFacts) -> Path:
    """Where logs are written: beside the database file, or in the temporary folder for a database in memory."""
    if database.path is None:
        return Path(tempfile.gettempdir()) / f"sqlml-jobs-{os.getpid()}"
    return Path(f"{database.path}.jobs")


@contextmanager
def running(connection: Connection, job: Job) -> Iterator[Job]:
    """Run the block as `job`: its end is logged, and recorded in sqlml.jobs by a connection of its own, whatever happens."""
    try:
        yield job
        job.state = "done"
    except BaseException as error:
        job.state = "interrupted" if isinstance(error, SystemExit) or is_interrupt(error) else "failed"
        job.error = error
        raise
    finally:
        for call in reversed(job.at_end):
            call()
        message = "done" if job.error is None else f"{job.state}: {job.error or type(job.error).__name__}"
        job.log("end", message, state=job.state)
        _record(connection, job)


def _record(connection: Connection, job: Job) -> None:
    import duckdb

    try:
        with connection.cursor() as own:
            records.insert(
                own,
                "jobs",
                {
                    "job_id": job.id,
                    "kind": job.kind,
                    "deployment": job.subject,
                    "state": job.state,
                    "error": None if job.error is None else str(job.error) or type(job.error).__name__,
                    "who": user(),
                    "started_at": job.started_at,
                    "finished_at": records.now(),
                    "log": lines_of(job.path) if job.path.exists() else [],
                },
            )
    except (duckdb.Error, OSError):
        return  # no catalog yet, read-only, disk full: the file beside the database has the log
    with suppress(OSError):
        job.path.unlink(missing_ok=True)
        job.path.parent.rmdir()  # only when empty


def start(job: Job, work: Callable[[], object]) -> Job:
    """Run `work` in a thread; watch it with `watch_job`."""

    def run() -> None:
        try:
            job.result = work()
        except BaseException as error:  # kept for watch_job, which raises it where somebody can see it
            job.error = error
        finally:
            job.ended.set()

    threading.Thread(target=run, name=job.id, daemon=False).start()
    return job


def watch_job(job: Job, *, on_line: Listener | None = None, poll_seconds: float = 0.1) -> object:
    """Stream the job's lines until it ends; returns its result.

    Raises:
        JobFailed: it failed; the cause is chained.
    """
    shown = 0
    while True:
        ended = job.ended.wait(poll_seconds)
        for line in job.lines[shown:]:
            (on_line or _print)(line)
            shown += 1
        if ended and shown == len(job.lines):
            break
    if job.error is not None:
        raise JobFailed(f"Job {job.id} {job.state}: {job.error}", job_id=job.id) from job.error
    return job.result


def _print(line: Line) -> None:
    print(f"{line.at} {line.phase}: {line.message}")  # noqa: T201 - the default way of watching


def lines_of(path: Path) -> list[str]:
    """Of a log file, as texts. Only a newline ends a line: a key in it may have other characters that Python splits at.

    A process that is killed may leave half a character, which stands as U+FFFD."""
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    return lines if lines[-1] else lines[:-1]


def _parse(lines: list[str]) -> list[Line]:
    parsed = []
    for text in lines:
        with suppress(json.JSONDecodeError):  # the last line may be half written
            parsed.append(Line(**json.loads(text)))
    return parsed


def follow(path: Path, *, poll_seconds: float = 0.2) -> Iterator[Line]:
    """Lines of a running job's file, from its beginning to its end, also from another process.

    The file is held open: its lines stay readable when the job ends and removes it. Ends when the job's process is gone.
    """
    with path.open("rb") as file:  # half a line may be half a character
        rest = b""
        while True:
            text = file.readline()
            rest += text
            if rest.endswith(b"\n"):
                for line in _parse([rest.decode("utf-8", "replace")]):
                    yield line
                    if line.phase == "end":
                        return
                rest = b""
            elif not text:
                if not _writer_lives(path):
                    return
                time.sleep(poll_seconds)


def is_running(path: Path) -> bool:
    """Whether the job whose log this file is may still write to it."""
    lines = _parse(lines_of(path)) if path.exists() else []
    return bool(lines) and lines[-1].phase != "end" and _writer_lives(path)


def _writer_lives(path: Path) -> bool:
    """Whether the process that writes this log still runs: the first line names it."""
    try:
        first = _parse(lines_of(path)[:1])
        changed = path.stat().st_mtime
    except FileNotFoundError:
        return True  # ended just now: the last lines are still to be read
    if not first:  # it is being written, or was cut off
        return time.time() - changed < SECONDS_FOR_A_LINE
    process, pid = first[0].details.get("process"), first[0].details.get("pid")
    if isinstance(process, str):
        return processes.lives(process)
    # Written by an earlier sqlml, with the pid alone.
    return not isinstance(pid, int) or processes.may_have_been(pid, datetime.fromisoformat(first[0].at))


@dataclass(frozen=True)
class JobRecord:
    """A job for listing: ended ones from the catalog, running and killed ones from the files."""

    id: str
    kind: str
    subject: str | None
    state: str
    error: str | None
    started_at: datetime | None
    lines: tuple[Line, ...]


def list_jobs(connection: Connection | None, folder: Path) -> list[JobRecord]:
    """Newest first. Without a connection (another process holds the database) only what the files say."""
    found: dict[str, JobRecord] = {}
    for path in sorted(folder.glob("*.jsonl")):
        lines = tuple(_parse(lines_of(path)))
        state = str(lines[-1].details.get("state", "running")) if lines else "running"
        if state == "running" and not _writer_lives(path):
            state = "killed"
        started = datetime.fromisoformat(lines[0].at) if lines else None
        subject = _deployment_of(lines)
        found[path.stem] = JobRecord(path.stem, path.stem.split("-")[0], subject, state, None, started, lines)
    if connection is not None and applied(connection) > 0:
        rows = connection.execute(
            "SELECT job_id, kind, deployment, state, error, started_at, log FROM sqlml.jobs"
        ).fetchall()
        for job_id, kind, subject, state, error, started, log in rows:
            found[job_id] = JobRecord(job_id, kind, subject, state, error, started, tuple(_parse(log)))
    return sorted(found.values(), key=lambda job: (job.started_at is None, job.started_at), reverse=True)


def deployment_named(connection: Connection, folder: Path, name: str) -> str | None:
    """The name of a deployment as a job spelled it, which may have failed before there was one; None if none had it."""
    if applied(connection) > 0:
        row = connection.execute(
            "SELECT deployment FROM sqlml.jobs WHERE lower(deployment) = lower(?) LIMIT 1", [name]
        ).fetchone()
        if row:
            return str(row[0])
    told = (_deployment_of(_parse(lines_of(path))) for path in sorted(folder.glob("*.jsonl")))
    return next((known for known in told if known is not None and known.lower() == name.lower()), None)


def _deployment_of(lines: Sequence[Line]) -> str | None:
    told = (line.details.get("deployment") for line in lines)
    return next((name for name in told if isinstance(name, str)), None)


def find_job(connection: Connection | None, folder: Path, job_id: str) -> JobRecord:
    """One job by its id or an unambiguous beginning of it.

    Raises:
        UsageError: there is none, or several.
    """
    jobs = list_jobs(connection, folder)
    matching = [job for job in jobs if job.id == job_id] or [job for job in jobs if job.id.startswith(job_id)]
    if len(matching) == 1:
        return matching[0]
    raise UsageError(
        f"{'Several jobs begin' if matching else 'No job begins'} with {job_id!r}.",
        hint=choices([job.id for job in (matching or jobs)]),
    )
