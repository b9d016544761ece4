"""Following the registry: sync."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import click

import sqlml
from sqlml.catalog.policies import POLICIES
from sqlml.cli import connection, exits, options, output
from sqlml.cli import rounds as shown
from sqlml.errors import UsageError
from sqlml.syncing import acting, rounds

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@click.command()
@click.argument("name", required=False)
@click.option("--once", is_flag=True, help="One round, and its end: what happens without --every.")
@click.option("--every", metavar="DURATION", help="A round every 30s, 5m or 1h, until it is stopped.")
@click.option("--check", is_flag=True, help="Change nothing; exit with 4 if something is not as the registry says.")
@click.option("--policy", type=click.Choice(POLICIES), help="From now on, when what NAME follows moves.")
@click.option("--why", metavar="TEXT", help="Kept in the history with the policy.")
@click.option("--retry", is_flag=True, help="Try again what was refused or has failed.")
@options.model_env
@options.database
@options.registry
@options.as_json
@click.pass_context
def sync(
    context: click.Context,
    name: str | None,
    once: bool,
    every: str | None,
    check: bool,
    policy: str | None,
    why: str | None,
    retry: bool,
    model_env: str | None,
    database: str | None,
    tracking_uri: str | None,
    registry_uri: str | None,
    as_json: bool,
) -> None:
    """Follow the registry: deploy what an alias or a stage means now, or tell.

    By each deployment's policy: tell (the default), deploy, or shadow, which leaves the switch to promote.

    \b
      sqlml sync --check
      sqlml sync churn --policy shadow
      sqlml sync --every 30s
    """
    if once and every is not None:
        raise UsageError("--once and --every do not go together.")
    pause = None if every is None else seconds(every)
    if policy is not None:
        _set(name, policy, why, database, check)
    found = options.settings(
        database=database, tracking_uri=tracking_uri, registry_uri=registry_uri, model_env=model_env
    )
    how = acting.How(
        tracking_uri=found.tracking_uri,
        registry_uri=found.registry_uri,
        retry=retry,
        conversion=acting.conversion(
            found.allow_pickle, found.require_isolation, model_env, found.model_timeout, int(found.model_memory)
        ),
        listener=output.listener(as_json),
    )
    if pause is None:
        places = rounds.Places(partial(connection.reading, database), partial(connection.changing, database))
        done = rounds.one_round(places, name, how, check=check)
        shown.synced(done, as_json)
        context.exit(exits.of_sync(done, check=check))
    said: dict[tuple[str, bool], str] = {}
    with stopping(database) as places:
        for done in rounds.rounds(places, name, how, every=pause, check=check):
            shown.synced_again(done, said, as_json)


def _set(name: str | None, policy: str, why: str | None, database: str | None, check: bool) -> None:
    if name is None or check:
        raise UsageError(
            "--policy is for the deployment that is named, and --check changes nothing.",
            hint="For example: sqlml sync churn --policy shadow",
        )
    with connection.changing(database) as opened:
        sqlml.follow(opened, name, policy, why=why)


def seconds(text: str) -> float:
    """A duration as a person writes it.

    >>> seconds("30s"), seconds("1m30s"), seconds("2h"), seconds("45")
    (30.0, 90.0, 7200.0, 45.0)

    Raises:
        UsageError: it is none, or shorter than a second.
    """
    parts = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower().replace(" ", ""))
    hours, minutes, rest = (float(part or 0) for part in parts.groups()) if parts else (0.0, 0.0, 0.0)
    found = 3600 * hours + 60 * minutes + rest
    if not 1 <= found < 1e7:
        raise UsageError(f"{text!r} is not a duration of a second or more.", hint="For example 30s, 5m, 1h or 1m30s.")
    return found


@contextmanager
def stopping(database: str | None) -> Iterator[rounds.Places]:
    """SIGTERM and Ctrl-C end the block between rounds, and while the registry is asked, as if it were over; in the middle
    of a deploy they interrupt that, and are raised."""
    is_writing = False

    @contextmanager
    def writing() -> Iterator[Connection]:
        nonlocal is_writing
        is_writing = True
        with connection.changing(database) as opened:
            yield opened
        is_writing = False

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield rounds.Places(partial(connection.reading, database), writing)
    except KeyboardInterrupt:
        if is_writing:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)
