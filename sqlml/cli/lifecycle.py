"""From one deployment version to the next: promote, retire."""

from __future__ import annotations

import click

import sqlml
from sqlml.cli import connection, options, output, views


@click.command()
@click.argument("name")
@click.option("--version", metavar="VERSION", help="The shadow; may be left out where there is one.")
@click.option("--accept-contract-change", is_flag=True, help="Accept other inputs, types or classes.")
@options.accept_recalled
@click.option("--why", metavar="TEXT", help="Kept in the history.")
@options.database
@options.as_json
def promote(
    name: str,
    version: str | None,
    accept_contract_change: bool,
    accept_recalled: bool,
    why: str | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Make a shadow the active deployment version.

    It is scored up to now and compared with the active one, which is retired.

    \b
      sqlml promote churn
      sqlml promote churn --version 3 --why "a week in the shadow, fewer complaints"
    """
    number = None if version is None else options.version_number(version)
    with connection.changing(database) as opened:
        done = sqlml.promote(
            opened,
            name,
            version=number,
            accept_contract_change=accept_contract_change,
            accept_recalled=accept_recalled,
            why=why,
            policy=options.policy(),
            listener=output.listener(as_json),
        )
    if as_json:
        output.as_json(done.to_dict())
    else:
        views.promoted(done)


@click.command()
@click.argument("name")
@click.option("--version", required=True, metavar="VERSION", help="The deployment version.")
@click.option("--why", metavar="TEXT", help="Kept in the history.")
@options.database
@options.as_json
def retire(name: str, version: str, why: str | None, database: str | None, as_json: bool) -> None:
    """Take a shadow, or a version that was not finished, out of the running.

    score passes it by from then on; its functions and its predictions are kept.

    \b
      sqlml retire churn --version 3
    """
    number = options.version_number(version)
    with connection.changing(database) as opened:
        done = sqlml.retire(opened, name, version=number, why=why, listener=output.listener(as_json))
    views.result(done, f"{done.name} v{done.version} is retired (it was {done.from_state}).", as_json)
