"""Why a row has its prediction: why."""

from __future__ import annotations

from pathlib import Path

import click

import sqlml
from sqlml import placing
from sqlml.cli import connection, keys, options, output
from sqlml.errors import UsageError


@click.command()
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--version", metavar="VERSION", help="This deployment version's prediction; the active one's by default.")
@click.option("--as-of", metavar="TIME", help="What was shown then, in UTC; a date means its end.")
@click.option("--format", "form", type=click.Choice(["text", "json", "html"]), default="text", help="html: one page.")
@click.option("--html", "page", metavar="FILE", help="Write the page to a file.")
@options.database
@options.as_json
def why(
    name: str,
    key: tuple[str, ...],
    version: str | None,
    as_of: str | None,
    form: str,
    page: str | None,
    database: str | None,
    as_json: bool,
) -> None:
    """Say why a row has its prediction: inputs, contributions, what would change it, and where it comes from.

    \b
      sqlml why churn 4711
      sqlml why churn 4711 --as-of 2026-03-01
      sqlml why visits north 4711                  a key of two columns
      sqlml why churn 4711 --html why.html         one page for a browser, needs no network
    """
    if as_json and (form == "html" or page is not None):
        raise UsageError("--json and a page are two answers.", hint="Give one of --json, --format html, --html FILE.")
    number = None if version is None else options.version_number(version)
    with connection.reading(database) as opened:
        given = keys.typed(opened, name, key[0]) if len(key) == 1 else key
        found = sqlml.why(opened, name, given, version=number, as_of=as_of)
    if as_json or form == "json":
        output.as_json(found.to_dict())
        return
    from sqlml import reasoning

    if page is not None:
        placing.write_text(Path(page), reasoning.page(found))
        output.say(f"{page} is written.")
    elif form == "html":
        output.data(reasoning.page(found))
    else:
        for line in reasoning.lines(found):
            output.data(line)
