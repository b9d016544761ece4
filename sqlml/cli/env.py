"""The environments that models are loaded in: see them, build one beforehand, delete what is not needed."""

from __future__ import annotations

from datetime import datetime

import click

from sqlml.cli import options, output

DAY = 24 * 3600.0


@click.group()
def env() -> None:
    """See, build and delete the environments that models are loaded in.

    A model whose files pin other versions than run here is loaded in an environment with those versions. It is built
    the first time that it is needed, and kept by its content for every model with the same pins.

    \b
      sqlml env build churn:Production       while there is a network
      sqlml env list
      sqlml env prune --unused-for 30
    """


@env.command()
@click.argument("reference")
@options.registry
@options.as_json
def build(reference: str, tracking_uri: str | None, registry_uri: str | None, as_json: bool) -> None:
    """Build the environment that a model needs, or say that it needs none.

    \b
      sqlml env build churn:Production
    """
    from sqlml.checking import environment_of

    found = options.settings(tracking_uri=tracking_uri, registry_uri=registry_uri)
    chosen = environment_of(reference, tracking_uri=found.tracking_uri, registry_uri=found.registry_uri, log=output.say)
    if as_json:
        output.as_json(chosen.to_dict())
    else:
        output.data(chosen.sentence)


@env.command("list")
@options.as_json
def list_(as_json: bool) -> None:
    """Show what is kept: where, with what in it, how large, and when it was last used.

    Sizes are those of the files; uv links most of them from its own cache, where they are kept once for all.
    """
    from sqlml.environments import cache

    kept = cache.all_of(cache.directory())
    if as_json:
        output.as_json([one.to_dict() for one in kept])
        return
    rows = [(one.key, one.title, f"{one.bytes / 1e6:,.0f} MB", datetime.fromtimestamp(one.used_at)) for one in kept]
    output.table(("key", "versions", "size", "last used"), rows, title=None)
    output.say(f"in {cache.directory()}")


@env.command()
@click.option(
    "--unused-for", type=float, default=30.0, show_default=True, metavar="DAYS", help="0 deletes all of them."
)
@options.as_json
def prune(unused_for: float, as_json: bool) -> None:
    """Delete environments that were not used for a while, and what interrupted builds left.

    Whatever is deleted is built again when a model needs it.
    """
    from sqlml.environments import cache

    removed = cache.prune(cache.directory(), unused_for=unused_for * DAY)
    if as_json:
        output.as_json([{"key": name, "bytes": size} for name, size in removed])
    else:
        output.data(f"Deleted {len(removed)} environments, {sum(size for _, size in removed) / 1e6:,.0f} MB.")
