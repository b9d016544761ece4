"""Jobs: logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

import sqlml
from sqlml.cli import options, output, views
from sqlml.cli.connection import require_file
from sqlml.errors import DatabaseLocked

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

    from sqlml.jobs import JobRecord


@click.command()
@click.argument("job", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
@options.database
@options.as_json
def logs(job: str | None, follow: bool, database: str | None, as_json: bool) -> None:
    """List jobs, or show the lines of one.

    A job that runs in another terminal is shown too, though its process holds the database.

    \b
      sqlml logs
      sqlml logs deploy-20261121-1 --follow
    """
    from sqlml import jobs

    path = options.settings(database=database).require_database()
    require_file(path)
    folder = Path(f"{path}.jobs")
    connection = _connection(path)
    try:
        if job is None:
            views.jobs(jobs.list_jobs(connection, folder), as_json)
        else:
            _show(jobs.find_job(connection, folder, job), folder, follow, as_json)
    finally:
        if connection is not None:
            connection.close()


def _connection(path: str) -> Connection | None:
    """None where a running job's process holds the file: its log lies beside it."""
    try:
        return sqlml.connect(path, read_only=True)
    except DatabaseLocked:
        return None


def _show(job: JobRecord, folder: Path, follow: bool, as_json: bool) -> None:
    from sqlml import jobs

    file = folder / f"{job.id}.jsonl"
    lines = jobs.follow(file) if follow and job.state == "running" and file.exists() else iter(job.lines)
    for line in lines:
        output.data(line.to_json() if as_json else f"{line.at}  {line.phase:<10}  {output.cell(line.message)}")
