"""What is deployed: status, rollback, undeploy, live, verify."""

from __future__ import annotations

import click

import sqlml
from sqlml.cli import connection, exits, options, output, views
from sqlml.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--history", is_flag=True, help="Who changed what, when and why.")
@click.option("--check", is_flag=True, help="Exit with 4 if a deployment is not as it was recorded.")
@options.database
@options.as_json
@click.pass_context
def status(
    context: click.Context, name: str | None, history: bool, check: bool, database: str | None, as_json: bool
) -> None:
    """Show what is deployed, as it really is.

    \b
      sqlml status
      sqlml status churn --history
    """
    with connection.reading(database) as opened:
        found = [] if history and name is None else sqlml.status(opened, name)
        events = sqlml.history(opened, name) if history else []
    if as_json:
        output.as_json([entry.to_dict() for entry in (events if history else found)])
    elif history:
        views.events(events)
    else:
        views.statuses(found)
    context.exit(exits.DRIFTED if check and any(entry.problems for entry in found) else exits.DONE)


@click.command()
@click.argument("name")
@click.option("--to", metavar="VERSION", help="The deployment version; the one before by default.")
@options.accept_recalled
@click.option("--why", metavar="TEXT", help="Kept in the history.")
@options.database
@options.as_json
def rollback(
    name: str, to: str | None, accept_recalled: bool, why: str | None, database: str | None, as_json: bool
) -> None:
    """Make an earlier deployment version active again.

    \b
      sqlml rollback churn
      sqlml rollback churn --to 1 --why "v2 flags too many"
    """
    number = None if to is None else options.version_number(to)
    with connection.changing(database) as opened:
        done = sqlml.rollback(
            opened,
            name,
            to=number,
            accept_recalled=accept_recalled,
            why=why,
            policy=options.policy(),
            listener=output.listener(as_json),
        )
    views.result(done, f"{done.name} is back at v{done.to_version} (it was at v{done.from_version}).", as_json)


@click.command()
@click.argument("name")
@click.option("--drop-predictions", is_flag=True, help="Drop the prediction tables too.")
@click.option("--why", metavar="TEXT", help="Kept in the history.")
@options.database
@options.as_json
def undeploy(name: str, drop_predictions: bool, why: str | None, database: str | None, as_json: bool) -> None:
    """Remove a deployment's functions, views and triggers.

    Prediction tables stay unless --drop-predictions says otherwise; history stays always.

    \b
      sqlml undeploy churn
    """
    with connection.changing(database) as opened:
        done = sqlml.undeploy(
            opened, name, drop_predictions=drop_predictions, why=why, listener=output.listener(as_json)
        )
    kept = f" Kept: {', '.join(done.kept)}." if done.kept else ""
    views.result(done, f"{done.name} is undeployed: {len(done.dropped)} objects dropped.{kept}", as_json)


@click.command("live")
@click.argument("name")
@click.argument("wanted", type=click.Choice(["on", "off"]), metavar="on|off")
@options.database
@options.traceback
def live_command(name: str, wanted: str, database: str | None) -> None:
    """Turn triggers that keep predictions up to date on or off.

    \b
      sqlml live churn on
    """
    with connection.changing(database) as opened:
        sqlml.set_live(opened, name, wanted == "on", listener=output.listener())
    output.data(f"{name} is {'live' if wanted == 'on' else 'no longer live'}.")


@click.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every deployment, as without a name.")
@click.option("--quick", is_flag=True, help="Compare only what is in the database: the model is not asked.")
@options.model_env
@options.database
@options.registry
@options.as_json
@click.pass_context
def verify(
    context: click.Context,
    name: str | None,
    everything: bool,
    quick: bool,
    model_env: str | None,
    database: str | None,
    tracking_uri: str | None,
    registry_uri: str | None,
    as_json: bool,
) -> None:
    """Compare a deployment with its record, its stored predictions and its model.

    The model is loaded once more and asked, also about rows of the table as they are now; the evidence is stored in
    sqlml.parity. Exits with 4 if something differs, and with 1 if nothing does but not everything could be compared.

    \b
      sqlml verify churn
      sqlml verify --all
      sqlml verify churn --quick
    """
    if everything and name is not None:
        raise UsageError("Name a deployment, or use --all.")
    found = options.settings(
        database=database, tracking_uri=tracking_uri, registry_uri=registry_uri, model_env=model_env
    )
    arguments = options.conversion(found) | {"model_env": model_env, "original": not quick}
    with connection.checking(database) as opened:
        names = [name] if name is not None else [entry.name for entry in sqlml.status(opened) if entry.active_version]
        results = [sqlml.verify(opened, one, **arguments, log=output.quietly(as_json)) for one in names]
    if as_json:
        output.as_json([result.to_dict() for result in results])
    else:
        views.verifications(results)
    context.exit(exits.of_verifications(results))
