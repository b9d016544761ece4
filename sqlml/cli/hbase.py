"""The hbase:// store for people: make a table, look into it, copy, collect, check."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sqlml.cli import exits, options, output
from sqlml.errors import UsageError

if TYPE_CHECKING:
    from sqlml.hbase.store import Store

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group()
def hbase() -> None:
    """Look after the HBase tables that hold models.

    \b
    URI is hbase://HOST:PORT/TABLE/PATH or hbase://TABLE@HOST:PORT/PATH; without a path it is the whole table.
    A host that is not this machine must be allowed: SQLML_HBASE_ALLOW=HOST:PORT. See docs/hbase.md.

    \b
      sqlml hbase init hbase://127.0.0.1:9090/models
      mlflow server --artifacts-destination hbase://127.0.0.1:9090/models/mlflow
      sqlml hbase ls hbase://127.0.0.1:9090/models/mlflow
    """


@hbase.command()
@click.argument("uri")
@click.option(
    "--compression",
    type=click.Choice(["NONE", "GZ", "SNAPPY", "LZO", "LZ4", "ZSTD"], case_sensitive=False),
    default="GZ",
    show_default=True,
    help="How HBase stores the bytes; its servers must have the codec.",
)
@options.traceback
def init(uri: str, compression: str) -> None:
    """Create the table of URI; says so when it is there already."""
    from sqlml.hbase.creating import create

    with _opened(uri) as store:
        made = create(store.gateway, compression)
        output.data(
            f"{'Created' if made else 'There is already'} the table {store.location.table} at {store.location.place}."
        )


@hbase.command()
@click.argument("uri")
@click.option("--recursive", "-r", is_flag=True, help="All files below, with their objects and hashes.")
@options.as_json
@click.pass_context
def ls(context: click.Context, uri: str, recursive: bool, as_json: bool) -> None:
    """List what is at URI: files with their sizes in bytes, folders with a slash.

    Exits with 4 if there are files whose manifests cannot be read.
    """
    from sqlml.hbase import listing

    damaged: list[str] = []
    with _opened(uri) as store:
        show = listing.every if recursive else listing.one_level
        rows = show(store, lambda error: damaged.append(str(error)))
    if as_json:
        output.as_json(rows)
    elif recursive:
        output.table(
            ["size", "sha256", "object", "path"], [[r["size"], r["sha256"], r["object"], r["path"]] for r in rows]
        )
    else:
        output.table(["size", "name"], [["" if r["size"] is None else r["size"], r["name"]] for r in rows])
    for message in damaged:
        output.say(f"Left out: {message}")
    context.exit(exits.DRIFTED if damaged else exits.DONE)


@hbase.command()
@click.argument("uri")
@options.traceback
def cat(uri: str) -> None:
    """Write the file at URI to stdout, once all of it has come and is what was written."""
    from sqlml.hbase.reading import copy

    # Checked as a whole before the first byte is given out, so it waits on disk.
    with _opened(uri) as store, tempfile.TemporaryFile(prefix="sqlml-") as whole:
        copy(store.gateway, store.transfers, store.path(None), whole)
        whole.seek(0)
        shutil.copyfileobj(whole, sys.stdout.buffer)


@hbase.command()
@click.argument("source")
@click.argument("target")
@options.traceback
def cp(source: str, target: str) -> None:
    """Copy a file, or all below a folder, between this machine and HBase, or within HBase.

    TARGET is the new name; with a slash at its end it is the folder that the file goes into. Each file appears whole.
    """
    from sqlml.hbase.copying import copy_between

    progress = output.Counter("copied")
    copied = copy_between(source, target, _opened, progress)
    progress.end()
    output.data(f"Copied {copied.files:,} files, {copied.bytes:,} bytes.")


@hbase.command()
@click.argument("uri")
@click.option(
    "--older-than",
    default="24h",
    show_default=True,
    metavar="AGE",
    help="Leave what is younger: 90s, 30m, 24h, 7d. Must be longer than any upload or download takes.",
)
@click.option("--apply", is_flag=True, help="Remove it; without this, only say what would be removed.")
@click.option("--orphans", is_flag=True, help="Also look for chunks that no record knows: reads the whole table.")
@options.as_json
@click.pass_context
def gc(context: click.Context, uri: str, older_than: str, apply: bool, orphans: bool, as_json: bool) -> None:
    """Remove what crashed writes, replaced files and removals left in the table of URI.

    Exits with 4 if there are records that it cannot read.
    """
    from sqlml.hbase.collecting import collect

    with _opened(uri) as store:
        done = collect(store.gateway, age_s=_seconds(older_than), apply=apply, orphans=orphans)
    if as_json:
        output.as_json({"applied": apply, **vars(done)})
    else:
        output.data("Removed:" if apply else "Would remove (--apply does it):")
        output.table(
            ["what", "how many"],
            [
                ["writes and removals that crashed", done.crashed],
                ["files that were replaced or removed", done.replaced],
                ["tombstones of removed files", done.tombstones],
                ["orphans", done.orphans if orphans else "not looked for (--orphans)"],
                ["chunks of all these", done.chunks],
            ],
        )
        output.data(f"{done.younger:,} records are younger than {older_than} (tombstones: than 2 minutes), and stay.")
        for problem in done.problems:
            output.say(f"Left alone: {problem}")
    context.exit(exits.DRIFTED if done.problems else exits.DONE)


@hbase.command()
@click.argument("uri")
@options.as_json
@click.pass_context
def fsck(context: click.Context, uri: str, as_json: bool) -> None:
    """Read every byte at URI and compare it with what was written; changes nothing.

    For a whole table it also looks for orphans. Exits with 4 if something is damaged.
    """
    from sqlml.hbase.checking import check

    progress = output.Counter("checked")
    with _opened(uri) as store:
        done = check(store.gateway, store.transfers, store.path(None), progress)
    progress.end()
    if as_json:
        output.as_json({"clean": done.clean, **vars(done)})
    else:
        for problem in done.problems.values():
            output.data(problem)
        for orphan in done.orphans:
            output.data(f"Object {orphan} has chunks and no record: sqlml hbase gc --orphans --apply removes them.")
        output.data(f"{done.files:,} files, {done.bytes:,} bytes: {'clean' if done.clean else 'damaged'}.")
    context.exit(exits.DONE if done.clean else exits.DRIFTED)


@contextmanager
def _opened(uri: str) -> Iterator[Store]:
    from sqlml.hbase.store import open_store

    store = open_store(uri)
    try:
        yield store
    finally:
        store.close()


def _seconds(text: str) -> float:
    """`90s`, `30m`, `24h`, `7d` in seconds."""
    number, unit = text[:-1], text[-1:].lower()
    if unit not in UNITS or not number.isascii() or not number.isdecimal():
        raise UsageError(f"--older-than {text!r} is not an age.", hint="Write 90s, 30m, 24h or 7d.")
    return float(int(number) * UNITS[unit])
