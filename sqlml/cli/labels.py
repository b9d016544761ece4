"""Labels: label, metrics."""

from __future__ import annotations

import click

import sqlml
from sqlml import config
from sqlml.cli import connection, options, output


@click.command()
@click.argument("name")
@click.option(
    "--from", "source", required=True, metavar="RELATION_OR_PATH", help="The table, view or file that has them."
)
@click.option("--key", metavar="K[,K]", help="The key columns there; the deployment's by default.")
@click.option("--label", "label_column", required=True, metavar="COLUMN", help="What was observed.")
@click.option("--at", required=True, metavar="COLUMN", help="When it was: a time in UTC, or with a zone.")
@click.option("--skip-unknown", is_flag=True, help="Leave out labels that are none of the model's.")
@options.database
@options.as_json
def label(
    name: str,
    source: str,
    key: str | None,
    label_column: str,
    at: str,
    skip_unknown: bool,
    database: str | None,
    as_json: bool,
) -> None:
    """Join labels that were observed to the predictions that were current then.

    A label belongs to the version that was active at its time, and to a prediction that was made before it. The same row
    twice changes nothing; another label of the same key and time corrects the one before.

    \b
      sqlml label churn --from outcomes --key customer_id --label churn --at observed_at
      sqlml metrics churn
    """
    with connection.changing(database) as opened:
        done = sqlml.label(
            opened,
            name,
            source,
            key=config.names(key or ""),
            label=label_column,
            at=at,
            skip_unknown=skip_unknown,
            listener=output.listener(as_json),
        )
    if as_json:
        output.as_json(done.to_dict())
    else:
        for sentence in done.sentences():
            output.data(sentence)


@click.command()
@click.argument("name")
@click.option(
    "--by",
    default="version",
    metavar="version|day|class|label|bin|WINDOW",
    help="Per day, week, month, '7 days'; by class; predictions against labels; calibration. [version]",
)
@click.option("--version", "number", metavar="VERSION", help="Only of this deployment version.")
@options.database
@options.as_json
def metrics(name: str, by: str, number: str | None, database: str | None, as_json: bool) -> None:
    """Show what the labels say of each version: accuracy, AUC, calibration, errors.

    \b
      sqlml metrics churn
      sqlml metrics churn --by month
      sqlml metrics churn --by bin --version 2
    """
    chosen = None if number is None else options.version_number(number)
    with connection.reading(database) as opened:
        found = sqlml.metrics(opened, name, by=by, version=chosen)
    if as_json:
        output.as_json(found.to_dict())
        return
    shown = [i for i, _ in enumerate(found.columns) if any(row[i] is not None for row in found.rows)]
    output.table([found.columns[i] for i in shown], [[row[i] for i in shown] for row in found.rows])
