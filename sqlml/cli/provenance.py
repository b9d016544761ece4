"""What stored predictions were made of: replay, forget."""

from __future__ import annotations

import click

import sqlml
from sqlml.cli import connection, exits, keys, options, output, views


@click.command()
@click.argument("name")
@click.option("--key", metavar="K[,K]", help="One row.")
@click.option("--sample", type=int, metavar="N", help="N predictions of each version. [1000]")
@click.option("--all", "all_rows", is_flag=True, help="Every stored prediction.")
@click.option("--version", metavar="VERSION", help="Only this deployment version.")
@click.option("--as-of", metavar="TIME", help="What was shown then, in UTC; a date means its end.")
@options.database
@options.as_json
@click.pass_context
def replay(
    context: click.Context,
    name: str,
    key: str | None,
    sample: int | None,
    all_rows: bool,
    version: str | None,
    as_of: str | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Compute stored predictions again by the version that made them, and compare.

    Exits with 4 if one is not what its version says for the same inputs.

    \b
      sqlml replay churn --key 4711
      sqlml replay churn --all
      sqlml replay churn --key 4711 --as-of 2026-03-01
    """
    number = None if version is None else options.version_number(version)
    with connection.reading(database) as opened:
        found = sqlml.replay(
            opened,
            name,
            key=None if key is None else keys.typed(opened, name, key),
            sample=sample,
            all_rows=all_rows,
            version=number,
            as_of=as_of,
            policy=options.policy(),
        )
    if as_json:
        output.as_json(found.to_dict())
    else:
        views.replayed(found)
    context.exit(exits.DONE if found.passed else exits.DRIFTED)


@click.command()
@click.argument("name")
@click.option("--key", required=True, metavar="K[,K]", help="What is to be forgotten.")
@click.option("--why", metavar="TEXT", help="Kept in the history; the key is not.")
@options.database
@options.as_json
def forget(name: str, key: str, why: str | None, database: str | None, as_json: bool) -> None:
    """Erase a key from everything that the database holds of a deployment.

    \b
      sqlml forget churn --key 4711
    """
    from sqlml.forgetting import key_of

    with connection.changing(database) as opened:
        values = keys.of_columns(key_of(opened, name), key)
        done = sqlml.forget(opened, name, values, why=why, listener=output.listener(as_json))
    if as_json:
        output.as_json(done.to_dict())
    else:
        views.forgotten(done)
