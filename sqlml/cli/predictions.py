"""Predictions: score, diff."""

from __future__ import annotations

import click

import sqlml
from sqlml import config
from sqlml.cli import connection, options, output, views
from sqlml.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--all-deployments", is_flag=True, help="Every deployment, each after those it reads.")
@click.option("--all", "all_rows", is_flag=True, help="Compute every prediction again, not only what changed.")
@click.option(
    "--from", "source", metavar="RELATION_OR_PATH", help="Score these rows instead of the deployment's table."
)
@click.option("--to", "target", metavar="TABLE_OR_PATH", help="With --from: a new table, a file, or a folder.")
@click.option("--key", metavar="K[,K]", help="With --from: the column or columns that identify a row.")
@click.option("--where", metavar="SQL", help="With --from: only rows for which this is true.")
@click.option("--partition-by", metavar="C[,C]", help="With --to FOLDER: one folder for each value.")
@options.database
@options.as_json
def score(
    name: str | None,
    all_deployments: bool,
    all_rows: bool,
    source: str | None,
    target: str | None,
    key: str | None,
    where: str | None,
    partition_by: str | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Bring predictions up to date, or score any other rows.

    \b
      sqlml score churn                     new keys, changed inputs, rows the active version has not scored
      sqlml score --all-deployments
      sqlml score churn --from 'new/*.parquet' --key customer_id --to scored.parquet
    """
    _refuse_mixed(name, all_deployments, all_rows, source, target, key, where, partition_by)
    listener = output.listener(as_json)
    with connection.changing(database) as opened:
        if name is None:
            scored = sqlml.score_all_deployments(opened, all_rows=all_rows, policy=options.policy(), listener=listener)
        elif source is not None and target is not None:
            parts = config.names(partition_by or "")
            scored = [
                sqlml.score_to(
                    opened,
                    name,
                    source,
                    target,
                    key=config.names(key or ""),
                    where=where,
                    partition_by=parts,
                    policy=options.policy(),
                    listener=listener,
                )
            ]
        else:
            scored = [sqlml.score(opened, name, all_rows=all_rows, policy=options.policy(), listener=listener)]
    views.scored(scored, as_json)


def _refuse_mixed(
    name: str | None,
    all_deployments: bool,
    all_rows: bool,
    source: str | None,
    target: str | None,
    *details: str | None,
) -> None:
    if (name is None) != all_deployments:
        raise UsageError(
            "score takes the name of a deployment, or --all-deployments.", hint="For example: sqlml score churn"
        )
    if (source is None) != (target is None):
        raise UsageError("--from and --to go together.", hint="Say from where to where, or neither to score the table.")
    if source is not None and (all_deployments or all_rows):
        raise UsageError(
            "--from scores all its rows with one deployment.", hint="Leave --all and --all-deployments out."
        )
    if source is not None and not details[0]:
        raise UsageError("--from needs --key: what identifies a row.", hint="For example: --key customer_id")
    if source is None and any(details):
        raise UsageError("--key, --where and --partition-by belong to --from.", hint="Add --from and --to.")


@click.command()
@click.argument("name")
@click.argument("before", metavar="VERSION")
@click.argument("after", metavar="VERSION")
@options.database
@options.as_json
def diff(name: str, before: str, after: str, database: str | None, as_json: bool) -> None:
    """Compare what two deployment versions predict.

    \b
      sqlml diff churn 1 2
    """
    versions = options.version_number(before), options.version_number(after)
    with connection.reading(database) as opened:
        difference = sqlml.diff(opened, name, *versions)
    if as_json:
        output.as_json(difference.to_dict())
    else:
        views.difference(difference)
