"""What evidence and logs say about a key: the lines and the examples that go."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml import jobs
from sqlml.catalog import following, records
from sqlml.forgetting.erased import Erased

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

ERASED = "[erased: it named a key that was forgotten]"
HALF = "[erased: half a line, which a key that was forgotten may have ended]"
TOLD = re.compile(r" First: row \d+ \(.*", re.DOTALL)
"""The example at the end of what is said about parity that failed."""
EXAMPLE = ("row", "kind", "batch", "what")
"""What stays of an example in the evidence: neither values of a row nor what was predicted for it."""
OF_THE_JOB = frozenset({"seconds", "pid", "process", "deployment", "rows", "total", "batch", "batches", "bytes"})


def evidence(connection: Connection, name: str) -> Erased:
    """Examples in the evidence: made of rows of the table, and nothing says of which, so that all of them go."""
    rows = connection.execute("SELECT rowid, evidence FROM sqlml.parity WHERE deployment = ?", [name]).fetchall()
    changed = 0
    for row, text in rows:
        evidence = json.loads(text)
        if _strip(evidence):
            changed += 1
            connection.execute(
                "UPDATE sqlml.parity SET evidence = ? WHERE rowid = ?",
                [json.dumps(evidence, ensure_ascii=False), row],
            )
    return Erased("sqlml.parity", changed, "examples in the evidence, whosever they are")


def _strip(evidence: dict[str, Any]) -> bool:  # Any: JSON
    """Whether there were examples with values of a row."""
    examples = evidence.get("counter_examples") or []
    if not any("input" in example for example in examples):
        return False
    evidence["counter_examples"] = [{k: v for k, v in example.items() if k in EXAMPLE} for example in examples]
    return True


def logs(connection: Connection, name: str, named: Callable[[str], bool]) -> Erased:
    rows = connection.execute(
        "SELECT job_id, log, error FROM sqlml.jobs WHERE deployment IS NULL OR lower(deployment) = lower(?)", [name]
    ).fetchall()
    changed = 0
    for job_id, log, error in rows:
        lines = [_cleaned(line, named) for line in log]
        said = None if error is None else _said(error, named)
        if lines != log or said != error:
            changed += 1
            connection.execute("UPDATE sqlml.jobs SET log = ?, error = ? WHERE job_id = ?", [lines, said, job_id])
    return Erased("sqlml.jobs", changed, "lines of logs that name it, by chance too")


def failures(connection: Connection, name: str, named: Callable[[str], bool]) -> Erased:
    """Why attempts failed, in words that may be about rows."""
    changed = 0
    for version in records.versions(connection, name):
        said = None if version.failure is None else _said(version.failure, named)
        if said != version.failure:
            changed += 1
            connection.execute(
                "UPDATE sqlml.versions SET failure = ? WHERE deployment = ? AND version = ?",
                [said, name, version.version],
            )
    for row in following.rows(connection):
        said = None if row.problem is None else _said(row.problem, named)
        if row.deployment == name and said != row.problem:
            changed += 1
            following.write(connection, replace(row, problem=said))
    return Erased("sqlml.versions", changed, "what is said of rows where attempts failed")


def _said(text: str, named: Callable[[str], bool]) -> str:
    return ERASED if named(text) else TOLD.sub(" [The example was erased.]", text)


def _cleaned(line: str, named: Callable[[str], bool]) -> str:
    """A line of a log without the key, and without examples of rows."""
    try:
        parsed = json.loads(line)
    except json.JSONDecodeError:
        # Half written by a process that was killed, or cut at a line separator in the key: what is there may be half a key.
        return line if line in (ERASED, HALF) else HALF
    details = parsed.get("details", {})
    evidence = details.get("evidence")
    message = str(parsed.get("message", ""))
    stripped = isinstance(evidence, dict) and _strip(evidence)
    if TOLD.search(message):
        parsed["message"], stripped = _said(message, named), True
    texts = [message, *_leaves({k: v for k, v in details.items() if k not in OF_THE_JOB})]
    if named(" ".join(texts)):
        parsed["message"] = ERASED
        parsed["details"] = {k: v for k, v in details.items() if k in OF_THE_JOB or k == "state"}
        stripped = True
    return json.dumps(parsed, ensure_ascii=False, default=str) if stripped else line


def _leaves(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield str(name)
            yield from _leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _leaves(entry)
    else:
        yield str(value)


def log_files(folder: Path, own: jobs.Job, named: Callable[[str], bool]) -> tuple[Erased, list[Path]]:
    """Logs of jobs that were killed stay files; those of jobs that run now are left alone, and returned."""
    changed = 0
    running: list[Path] = []
    for path in sorted(folder.glob("*.jsonl")):
        if path == own.path:
            continue
        if jobs.is_running(path):
            running.append(path)
            continue
        lines = jobs.lines_of(path)
        cleaned = [_cleaned(line, named) for line in lines]
        if cleaned != lines:
            changed += 1
            beside = path.with_suffix(".cleaned")
            beside.write_text("".join(f"{line}\n" for line in cleaned), encoding="utf-8")
            os.replace(beside, path)
    return Erased(f"{folder.name}/*.jsonl", changed, "log files that jobs left"), running
