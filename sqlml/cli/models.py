"""From a registry into the database: check, plan, deploy.

`**given: Any` in a command are the options of `options.model`, which `options.deployment_arguments` takes by name.
"""

from __future__ import annotations

from typing import Any

import click

import sqlml
from sqlml.catalog.policies import POLICIES
from sqlml.cli import connection, exits, options, output, views
from sqlml.errors import UsageError


@click.command()
@click.argument("reference", required=False)
@click.option("--all", "everything", is_flag=True, help="Every version in the registry, as a table.")
@options.registry
@options.model_env
@options.as_json
@click.pass_context
def check(
    context: click.Context,
    reference: str | None,
    everything: bool,
    tracking_uri: str | None,
    registry_uri: str | None,
    model_env: str | None,
    as_json: bool,
) -> None:
    """Say whether a model would work, on which engine, and if not why.

    Takes seconds and no database. Exits with 3 if the model cannot be deployed.

    \b
      sqlml check churn:Production
      sqlml check ./model.onnx --json
      sqlml check --all
    """
    if everything == (reference is not None):
        raise UsageError("check takes one reference, or --all.", hint="For example: sqlml check churn:Production")
    from sqlml import checking

    found = options.settings(tracking_uri=tracking_uri, registry_uri=registry_uri, model_env=model_env)
    results = (
        list(checking.check_all(**options.conversion(found)))
        if reference is None
        else [checking.check(reference, log=output.building, **options.conversion(found))]
    )
    if as_json:
        output.as_json([result.to_dict() for result in results] if everything else results[0].to_dict())
    elif everything:
        rows = [(result.model, "yes" if result.works else "no", result.engine, result.why) for result in results]
        output.table(("model", "works", "engine", "why"), rows)
    else:
        views.checked(results[0])
    context.exit(exits.DONE if everything else results[0].exit_code)


@click.command()
@click.argument("reference")
@options.model
@click.option("--sql", "only_sql", is_flag=True, help="Print only the SQL.")
@options.database
@options.registry
@options.model_env
@options.as_json
def plan(
    reference: str,
    only_sql: bool,
    database: str | None,
    tracking_uri: str | None,
    registry_uri: str | None,
    model_env: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show what a deployment would do, with all its SQL, and change nothing.

    \b
      sqlml plan churn:Production --table customers --key customer_id
      sqlml plan churn:2 --sql > churn.sql
    """
    found = options.settings(
        database=database, tracking_uri=tracking_uri, registry_uri=registry_uri, model_env=model_env
    )
    arguments = options.deployment_arguments(found, reference, **given)
    with connection.changing(database) as opened:
        planned = sqlml.plan(opened, reference, listener=output.listener(as_json or only_sql), **arguments)
    if as_json:
        output.as_json(planned.to_dict())
    elif only_sql:
        views.statements(planned.statements)
    else:
        views.plan(planned)


@click.command()
@click.argument("reference")
@options.model
@click.option("--no-score", is_flag=True, help="Active at once; predictions come with the first score.")
@click.option("--shadow", is_flag=True, help="Score it beside the active version, which stays active until promote.")
@options.accept_recalled
@click.option(
    "--follow",
    type=click.Choice(POLICIES),
    help="What sync does when the reference moves; as it was said before, or tell.",
)
@click.option(
    "--storage-version",
    metavar="vX.Y.Z",
    help="For a new file: v1.5.0 lets older DuckDB clients open it (without --live).",
)
@options.database
@options.registry
@options.model_env
@options.as_json
def deploy(
    reference: str,
    no_score: bool,
    shadow: bool,
    accept_recalled: bool,
    follow: str | None,
    storage_version: str | None,
    database: str | None,
    tracking_uri: str | None,
    registry_uri: str | None,
    model_env: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Make a model version part of the database, or change nothing.

    \b
      sqlml deploy churn:Production --table customers --key customer_id
      sqlml deploy churn:2                          the table and key it has already
      sqlml deploy churn:3 --shadow                 beside the active version: then diff, promote or retire
      sqlml deploy churn:1 --key "id BIGINT"        makes churn.inputs: insert rows, read predictions
    """
    found = options.settings(
        database=database, tracking_uri=tracking_uri, registry_uri=registry_uri, model_env=model_env
    )
    arguments = options.deployment_arguments(found, reference, **given)
    with connection.writing(database, storage_version=storage_version) as opened:
        deployed = sqlml.deploy_db(
            opened,
            reference,
            score=not no_score,
            shadow=shadow,
            accept_recalled=accept_recalled,
            follow=follow,
            listener=output.listener(as_json),
            **arguments,
        )
    assert isinstance(deployed, sqlml.Deployed)  # a job only with wait=False
    views.result(deployed, deployed.sentence(), as_json)
