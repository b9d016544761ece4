"""Reading what is deployed: sql, publish."""

from __future__ import annotations

import sys

import click

import sqlml
from sqlml.cli import connection, options, views


@click.command()
@click.argument("target", metavar="PATH")
@click.option(
    "--format",
    "form",
    type=click.Choice(["duckdb", "parquet"]),
    default="duckdb",
    show_default=True,
    help="A copy of the database, or the prediction tables as Parquet files.",
)
@click.option(
    "--storage-version", metavar="VERSION", help="v1.5.0: also for older clients. The database's own by default."
)
@options.database
@options.as_json
def publish(target: str, form: str, storage_version: str | None, database: str | None, as_json: bool) -> None:
    """Put a copy in place atomically, for readers that must not wait.

    \b
      sqlml publish /shared/warehouse.duckdb
      sqlml publish exports/ --format parquet
    """
    with connection.checking(database) as opened:
        done = sqlml.publish(opened, target, format=form, storage_version=storage_version)
    views.result(done, done.sentence(), as_json)


@click.command("sql")
@click.argument("statement", required=False)
@click.option("--read-only", is_flag=True, help="Look only; others may look at the same time.")
@options.database
@options.as_json
def sql(statement: str | None, read_only: bool, database: str | None, as_json: bool) -> None:
    """Run SQL, or a shell, with every deployed function ready.

    Without a statement: a shell on a terminal, else the statements that stdin holds.

    \b
      sqlml sql "SELECT churn.predict(c), count(*) FROM customers c GROUP BY 1"
      sqlml sql < report.sql
      sqlml sql
    """
    from sqlml.cli import shell

    with connection.reading(database) if read_only else connection.writing(database) as opened:
        if statement is not None:
            shell.run(opened, statement, as_json=as_json)
        elif sys.stdin.isatty():
            shell.interact(opened)
        else:
            shell.run(opened, sys.stdin.read(), as_json=as_json)
