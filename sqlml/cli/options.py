"""Options that several commands share, and the settings they come to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

import sqlml
from sqlml import config
from sqlml.errors import UsageError

Command = TypeVar("Command", bound=Callable[..., Any])


def _remember_traceback(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and context.obj is not None:
        context.obj.wants_traceback = True


def traceback(command: Command) -> Command:
    return click.option(
        "--traceback",
        is_flag=True,
        expose_value=False,
        callback=_remember_traceback,
        help="On failure, show where in the code.",
    )(command)


def as_json(command: Command) -> Command:
    """--json (and --traceback): for every command that reports."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(traceback(command))


def database(command: Command) -> Command:
    return click.option(
        "--database", "-d", metavar="FILE", help="The DuckDB file. [SQLML_DATABASE; database in sqlml.toml]"
    )(command)


def registry(command: Command) -> Command:
    command = click.option(
        "--registry-uri",
        metavar="URI",
        help="The model registry, where it is not the tracking server. [SQLML_REGISTRY_URI]",
    )(command)
    return click.option(
        "--tracking-uri", metavar="URI", help="MLflow: a server, or sqlite:///FILE. [SQLML_TRACKING_URI]"
    )(command)


def model_env(command: Command) -> Command:
    return click.option(
        "--model-env",
        metavar="auto|current|PATH",
        help="Where the model is loaded: with the versions it was saved with, here, or in this environment."
        " [SQLML_MODEL_ENV; auto]",
    )(command)


def model(command: Command) -> Command:
    """What `plan` and `deploy` say about a deployment."""
    for option in reversed(
        [
            click.option("--name", help="The deployment's name and schema; the model's name by default."),
            click.option("--table", help="The table or view to score."),
            click.option(
                "--key",
                help="Column or columns that identify a row, with commas. Without --table with types"
                ' ("id BIGINT"): makes a table NAME.inputs.',
            ),
            click.option(
                "--engine",
                type=click.Choice(config.ENGINES),
                help="What computes predictions; pyfunc asks the model itself and makes no functions. [auto]",
            ),
            click.option("--threshold", type=float, help="Two classes: probability from which it is the positive one."),
            click.option("--live/--no-live", default=None, help="Let triggers keep predictions up to date."),
            click.option(
                "--as", "function", metavar="FUNCTION", help="Also make this plain function, such as main.predict."
            ),
            click.option(
                "--keep",
                type=click.Choice(config.KEEPS),
                help="What is kept of the inputs; inputs: what was predicted on a day can be shown again. [hash]",
            ),
            click.option("--accept-contract-change", is_flag=True, help="Accept other inputs, types or classes."),
            click.option("--why", metavar="TEXT", help="Kept in the history."),
        ]
    ):
        command = option(command)
    return command


def accept_recalled(command: Command) -> Command:
    return click.option("--accept-recalled", is_flag=True, help="Take it although it is recalled.")(command)


def settings(**flags: object) -> config.Settings:
    return config.load(flags)


def conversion(found: config.Settings) -> dict[str, Any]:  # Any: keyword arguments of `check` and deploy_db
    """Which registry, and what converting a model is allowed to do."""
    return {
        "tracking_uri": found.tracking_uri,
        "registry_uri": found.registry_uri,
        "allow_pickle": found.allow_pickle,
        "require_isolation": found.require_isolation,
        "model_env": found.model_env,
    }


def policy() -> sqlml.Policy:
    """How the process of a python_function may run, by the environment and the file."""
    found = settings()
    return sqlml.Policy(
        allow_pickle=found.allow_pickle,
        require_isolation=found.require_isolation,
        model_env=found.model_env,
        timeout_s=found.model_timeout,
        memory_bytes=int(found.model_memory) << 20,
    )


def version_number(text: str) -> int:
    """A deployment version as a person writes it: `2` or `v2`.

    Raises:
        UsageError: it is not a number.
    """
    digits = text.lower().removeprefix("v")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 10):
        raise UsageError(f"{text!r} is not a deployment version.", hint="Versions are 1, 2, 3 ...: see sqlml status.")
    return int(digits)


def deployment_arguments(
    found: config.Settings,
    reference: str,
    *,
    name: str | None,
    table: str | None,
    key: str | None,
    engine: str | None,
    threshold: float | None,
    live: bool | None,
    function: str | None,
    keep: str | None,
    accept_contract_change: bool,
    why: str | None,
) -> dict[str, Any]:  # Any: the keyword arguments of deploy_db
    """Flags laid over the environment and the file, as arguments of `deploy_db` and `plan`."""
    from sqlml.registry.references import name_in

    flags = {"table": table, "engine": engine, "threshold": threshold, "live": live, "keep": keep}
    if name is not None and not name.strip():
        raise UsageError("--name is empty.", hint="Without it the deployment has the model's name.")
    chosen = found.deployment(name_in(reference), name, flags)
    return {
        "name": chosen.name,
        "table": chosen.table,
        "key": key or (list(chosen.key) if chosen.key else None),
        "engine": chosen.engine or "auto",
        "threshold": chosen.threshold,
        "live": chosen.live,
        "keep": chosen.keep,
        "function": function,
        "accept_contract_change": accept_contract_change,
        "why": why,
        **conversion(found),
        "model_timeout": found.model_timeout,
        "model_memory": int(found.model_memory),
    }
