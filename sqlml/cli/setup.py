"""Beginning: init, doctor, demo."""

from __future__ import annotations

from pathlib import Path

import click

from sqlml import settings_file
from sqlml.cli import exits, options, output, views


@click.command()
@options.traceback
def init() -> None:
    """Write a commented sqlml.toml into this folder."""
    output.data(f"Wrote {settings_file.write_template(Path.cwd())}: set the database and MLflow there.")


@click.command()
@options.database
@options.registry
@options.as_json
@click.pass_context
def doctor(
    context: click.Context, database: str | None, tracking_uri: str | None, registry_uri: str | None, as_json: bool
) -> None:
    """Say what is installed, what is in force, and what is missing.

    Exits with 1 if something is missing that sqlml needs.
    """
    from sqlml import doctor as examination

    found = options.settings(database=database, tracking_uri=tracking_uri, registry_uri=registry_uri)
    findings = examination.examine(found)
    if as_json:
        output.as_json([finding.to_dict() for finding in findings])
    else:
        views.findings(findings)
    context.exit(exits.DONE if all(finding.is_fine for finding in findings) else exits.FAILED)


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(".demo"),
    show_default=True,
    help="Where everything goes; what an earlier demo left there is removed.",
)
@click.option(
    "--artifacts",
    default="models",
    show_default=True,
    metavar="FOLDER|hbase://...",
    help="Where MLflow keeps the models' files.",
)
@options.traceback
def demo(folder: Path, artifacts: str) -> None:
    """Run the main job on real data: train, register, deploy, query, roll back.

    Needs the example data: pip install 'sqlml[demo]'
    """
    from sqlml.cli import run
    from sqlml.demo import tour

    tour.take(folder, run, artifacts=artifacts)
