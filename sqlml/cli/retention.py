"""What is removed of old deployment versions: gc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

import sqlml
from sqlml.catalog.collected import PARTS
from sqlml.cli import connection, options, output
from sqlml.retention import DEFAULT_PARTS, Retention

if TYPE_CHECKING:
    from sqlml.collecting import Collection


@click.command()
@click.argument("name", required=False)
@click.option(
    "--keep-versions", type=int, metavar="N", help="The N that were in use last stay. [keep_versions in sqlml.toml]"
)
@click.option(
    "--older-than", metavar="90d", help="Only what has not been in use for so long. [older_than in sqlml.toml]"
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="What goes; can be repeated. [predictions, inputs, bytes]",
)
@click.option("--apply", is_flag=True, help="Remove it; without, what would go is told.")
@click.option("--why", metavar="TEXT", help="Kept in the history.")
@options.database
@options.as_json
def gc(
    name: str | None,
    keep_versions: int | None,
    older_than: str | None,
    parts: Sequence[str],
    apply: bool,
    why: str | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Remove what a policy lets go of old deployment versions, or say what would go.

    Without --apply nothing is changed. What is active, a shadow, planned, recalled, read by something else, or where a
    rollback goes to stays, and so do history, scorings, evidence and lineage.

    \b
      sqlml gc --keep-versions 3 --older-than 90d
      sqlml gc churn --keep-versions 3 --apply --why "the quarter is closed"
    """
    retention: Retention | dict[str, Retention]
    chosen = tuple(parts) or DEFAULT_PARTS
    if keep_versions is None and older_than is None:
        known = options.settings().deployments.values()
        retention = {
            one.name: Retention(one.keep_versions, one.older_than, chosen)
            for one in known
            if one.name is not None and (one.keep_versions is not None or one.older_than is not None)
        }
        if not retention:
            Retention()  # says what is missing
    else:
        retention = Retention(keep_versions, older_than, chosen)
    with connection.changing(database) if apply else connection.reading(database) as opened:
        done = sqlml.gc(opened, name, retention=retention, apply=apply, why=why, listener=output.listener(as_json))
    if as_json:
        output.as_json(done.to_dict())
    else:
        _tell(done)


def _tell(done: Collection) -> None:
    rows = [
        (r.deployment, f"v{r.version} {r.state}", r.part, r.what, r.rows, _megabytes(r.bytes)) for r in done.removed
    ]
    if rows:
        output.table(
            ("deployment", "version", "removed" if done.applied else "would go", "", "rows", "MB, about"), rows
        )
    else:
        output.data("Nothing was removed." if done.applied else "Nothing would go.")
    if done.spared:
        output.data()
        spared = [(s.deployment, f"v{s.version}", s.part or "all of it", s.why) for s in done.spared]
        output.table(("deployment", "version", "stays", "because"), spared)
    output.data()
    for name in done.waiting:
        output.data(f"{name} is being worked on: run gc again when that has finished.")
    if done.applied:
        output.data(
            f"{_megabytes(done.after.free)} of the file's {_megabytes(done.after.file)} MB are free for what is written next:"
            " DuckDB never makes a file smaller. sqlml publish COPY.duckdb makes a copy without them."
        )
    elif rows:
        output.data("Nothing was changed: --apply removes it.")


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f}"
