"""What depends on something, and taking it back: depends, recall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

import sqlml
from sqlml.cli import connection, options, output, views
from sqlml.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def _what(command: Command) -> Command:
    """The things that predictions can depend on."""
    for option in reversed(
        [
            click.argument("name", required=False),
            click.option("--run", metavar="ID", help="An MLflow run."),
            click.option("--dataset", metavar="D", help="Training data: its name, digest or source."),
            click.option("--model", metavar="SHA256", help="A model's bytes or files: the first digits of the hash."),
            click.option("--version", metavar="VERSION", help="A version of the deployment."),
            click.option("--scoring", metavar="ID", help="A run of score: a row of sqlml.scorings."),
        ]
    ):
        command = option(command)
    return command


@click.command()
@_what
@click.option("--column", metavar="TABLE.COLUMN", help="A column of a table or view.")
@options.database
@options.as_json
def depends(version: str | None, database: str | None, as_json: bool, **asked: str | None) -> None:
    """Count what depends on a run, a dataset, a column, a model, a version or a scoring.

    \b
      sqlml depends --run 8f0c2f6d3b7a4c31a5b0c1d2e3f40516
      sqlml depends --dataset telco
      sqlml depends --column customers.tenure
      sqlml depends churn --version 2
    """
    number = None if version is None else options.version_number(version)
    with connection.reading(database) as opened:
        found = sqlml.depends(opened, version=number, **asked)
    if as_json:
        output.as_json(found.to_dict())
    else:
        views.dependents(found)


@click.command()
@_what
@click.option("--apply", is_flag=True, help="Mark them: recalled_at in current and scored.")
@click.option("--undo", is_flag=True, help="Take off the marks of recalls of the same thing.")
@click.option("--downstream", is_flag=True, help="With --apply: mark what was made from them, too.")
@click.option("--why", metavar="TEXT", help="Kept in the history.")
@options.database
@options.as_json
def recall(
    version: str | None,
    apply: bool,
    undo: bool,
    downstream: bool,
    why: str | None,
    database: str | None,
    as_json: bool,
    **asked: str | None,
) -> None:
    """Count and list what depends on something bad; mark it, or take the marks off.

    Without --apply and --undo nothing is changed. predict and score go on; promote, rollback and deploy do not make a
    recalled version active.

    \b
      sqlml recall --run 8f0c2f6d3b7a4c31a5b0c1d2e3f40516
      sqlml recall --dataset telco --apply --why "half of its labels were wrong"
      sqlml recall churn --version 2 --undo
    """
    number = None if version is None else options.version_number(version)
    if not (apply or undo) and (why or downstream):
        raise UsageError("--why and --downstream belong to --apply.", hint="Without it nothing is changed.")
    with connection.changing(database) if apply or undo else connection.reading(database) as opened:
        done = sqlml.recall(
            opened,
            version=number,
            apply=apply,
            undo=undo,
            downstream=downstream,
            why=why,
            listener=output.listener(as_json),
            **asked,
        )
    if as_json:
        output.as_json(done.to_dict())
    else:
        views.recalled(done)
