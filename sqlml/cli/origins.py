"""Where predictions come from: lineage."""

from __future__ import annotations

import click

from sqlml.cli import connection, keys, options, output, views
from sqlml.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option("--version", metavar="VERSION", help="A deployment version; the active one by default.")
@click.option("--column", metavar="TABLE.COLUMN", help="Which live models use this column.")
@click.option("--key", metavar="K[,K]", help="Everything behind one prediction.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid", "dot", "json", "html"]),
    default="text",
    help="How a deployment's lineage is drawn; html is one page for a browser.",
)
@options.database
@options.as_json
def lineage(
    name: str | None,
    version: str | None,
    column: str | None,
    key: str | None,
    form: str,
    database: str | None,
    as_json: bool,
) -> None:
    """Show where predictions come from, or what uses a column.

    \b
      sqlml lineage churn                          model bytes, run, training data, columns
      sqlml lineage churn --format html > churn.html
      sqlml lineage churn --key 4711               the same for one prediction
      sqlml lineage --column customers.tenure      which live models use it
    """
    if (name is None) == (column is None) or (version and key):
        raise UsageError(
            "lineage takes a deployment (and --version or --key), or --column.",
            hint="For example: sqlml lineage churn --key 4711",
        )
    as_json = as_json or form == "json"
    if form not in ("text", "json") and (as_json or name is None or key is not None):
        raise UsageError(
            f"--format {form} draws the lineage of a deployment, without --key, --column and --json.",
            hint=f"For example: sqlml lineage churn --format {form}",
        )
    from sqlml import lineage as rooms
    from sqlml.lineage import tree

    with connection.reading(database) as opened:
        if name is None:
            found = rooms.of_column(opened, column or "")
            views.tree(found, tree.column_tree, as_json)
        elif key is not None:
            views.tree(rooms.of_key(opened, name, keys.typed(opened, name, key)), tree.key_tree, as_json)
        else:
            number = None if version is None else options.version_number(version)
            if form not in ("text", "json"):
                return output.data(rooms.drawn(rooms.graph_of(opened, name, number), form))
            views.tree(rooms.of_deployment(opened, name, number), tree.deployment_tree, as_json)
