"""What goes into a deployment and what comes out of one, as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlml.catalog import policies
from sqlml.config import KEEPS
from sqlml.convert.isolation import MEMORY_BYTES, TIMEOUT_S
from sqlml.convert.pyfunc import Policy
from sqlml.engines.pyfunc import NO_SHELL
from sqlml.errors import UsageError
from sqlml.registry import may_move
from sqlml.relation import split_name
from sqlml.scoring import Scored

ENGINES = ("auto", "sql", "native", "python", "pyfunc")

FEWEST_MB = 64


@dataclass(frozen=True)
class Options:
    """deploy_db's arguments, checked. `key_types` stands for each key that was given with a type ("id BIGINT")."""

    reference: str
    name: str | None
    table: str | None
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    engine: str
    threshold: float | None
    score: bool
    live: bool | None
    function: tuple[str, str] | None
    accept_contract_change: bool
    why: str | None
    tracking_uri: str | None
    registry_uri: str | None
    allow_pickle: bool
    require_isolation: bool
    model_env: str = "auto"
    model_timeout: float = TIMEOUT_S
    model_memory: int = MEMORY_BYTES >> 20
    shadow: bool = False
    accept_recalled: bool = False
    keep: str | None = None
    """none, hash or inputs; None is what the deployment has."""
    follow: str | None = None

    @property
    def policy(self) -> Policy:
        """How the model's process may run."""
        return Policy(
            allow_pickle=self.allow_pickle,
            require_isolation=self.require_isolation,
            model_env=self.model_env,
            timeout_s=self.model_timeout,
            memory_bytes=self.model_memory << 20,
        )


def options_from(
    reference: str,
    *,
    name: str | None = None,
    table: str | None = None,
    key: str | Sequence[str] | None = None,
    engine: str = "auto",
    threshold: float | None = None,
    score: bool = True,
    shadow: bool = False,
    follow: str | None = None,
    live: bool | None = None,
    function: str | None = None,
    accept_contract_change: bool = False,
    accept_recalled: bool = False,
    why: str | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str = "auto",
    model_timeout: float = TIMEOUT_S,
    model_memory: int = MEMORY_BYTES >> 20,
    keep: str | None = None,
) -> Options:
    """The arguments as Options.

    Raises:
        UsageError: a value that cannot be meant.
    """
    if name is not None and not name.strip():
        raise UsageError("The name of the deployment is empty.", hint="Without --name it is the model's.")
    if engine not in ENGINES:
        raise UsageError(f"There is no engine {engine!r}.", hint=f"Valid: {', '.join(ENGINES)}.")
    if threshold is not None and not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise UsageError(f"A threshold is a probability from 0 to 1, not {threshold}.")
    if model_timeout <= 0 or model_memory < FEWEST_MB:
        raise UsageError(
            f"A model's process needs time and memory, not {model_timeout:g} s and {model_memory} MB.",
            hint=f"Give seconds, and at least {FEWEST_MB} MB.",
        )
    if shadow and (live is not None or not score):
        option = "--no-score" if not score else "--live" if live else "--no-live"
        raise UsageError(
            f"{option} does not go with --shadow: a shadow is scored, and triggers are the active version's.",
            hint="promote keeps the deployment as live as it is.",
        )
    if keep is not None and keep not in KEEPS:
        raise UsageError(f"There is nothing to keep that is called {keep!r}.", hint=f"Valid: {', '.join(KEEPS)}.")
    keys, types = _keys(key)
    if engine == "pyfunc":
        _refuse_for_pyfunc(threshold, function, live, typed=bool(types))
    if table is not None and not keys:
        raise UsageError(
            f"--table {table} needs --key: the column or columns that identify a row of it.",
            hint="For example --key customer_id.",
        )
    if table is None and keys and not types:
        raise UsageError(
            "--key without --table makes a table for inputs, and needs the key's type.",
            hint='For example --key "id BIGINT". To score a table, name it with --table.',
        )
    if table is not None and types:
        raise UsageError("A key of an existing table has its type already.", hint=f"Give --key {','.join(keys)}.")
    return Options(
        reference=reference,
        name=name,
        table=table,
        key=keys,
        key_types=types,
        engine=engine,
        threshold=threshold,
        score=score,
        live=live,
        function=_function_name(function),
        accept_contract_change=accept_contract_change,
        accept_recalled=accept_recalled,
        why=why,
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        allow_pickle=allow_pickle,
        require_isolation=require_isolation,
        model_env=model_env,
        model_timeout=model_timeout,
        model_memory=model_memory,
        shadow=shadow,
        keep=keep,
        follow=_follow(reference, follow, shadow),
    )


def _follow(reference: str, policy: str | None, shadow: bool) -> str | None:
    if policy in (None, policies.TELL):
        return policy
    assert policy is not None
    checked_policy(policy, beside=shadow)
    if not may_move(reference):
        raise UsageError(
            f"--follow {policy} needs a reference that can move, and {reference} always means the same.",
            hint="Deploy by an alias or a stage, such as churn@champion.",
        )
    return policy


def checked_policy(policy: str, *, beside: bool = False) -> str:
    """What `sync` may do by itself when a reference moves.

    Raises:
        UsageError: there is no such policy, or not for a shadow.
    """
    if policy not in policies.POLICIES:
        raise UsageError(f"There is no policy {policy!r}.", hint=f"Valid: {', '.join(policies.POLICIES)}.")
    if beside and policy == policies.DEPLOY:
        raise UsageError(
            "What a shadow follows is deployed as a shadow: --follow deploy does not go with --shadow.",
            hint="--follow shadow deploys each next one as a shadow; promote is a person's.",
        )
    return policy


def _refuse_for_pyfunc(threshold: float | None, function: str | None, live: bool | None, *, typed: bool) -> None:
    """What needs a function, or a trigger that could call one."""
    asked = {"--threshold": threshold is not None, "--as": function is not None, "--live": live is True}
    for option, is_asked in asked.items():
        if is_asked:
            raise UsageError(
                f"{option} does not go with --engine pyfunc: a python_function has no SQL function that could be called.",
                hint="Its predictions are rows of a table that sqlml score fills.",
            )
    if typed:
        raise UsageError(
            "A table for inputs is live always, and --engine pyfunc cannot be: no trigger can ask a python_function.",
            hint="Name a table of yours with --table and its --key, and call score when it has changed.",
        )


KEY_TYPES = frozenset(
    [
        "BIGINT",
        "INTEGER",
        "INT",
        "SMALLINT",
        "TINYINT",
        "HUGEINT",
        "UBIGINT",
        "UINTEGER",
        "USMALLINT",
        "UTINYINT",
        "VARCHAR",
        "TEXT",
        "UUID",
        "DATE",
        "TIMESTAMP",
        "BOOLEAN",
    ]
)


def _keys(key: str | Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names, and types where they are given: "id BIGINT", "a,b", ["a", "b"]; a quoted name may hold anything.

    >>> _keys("id BIGINT")
    (('id',), ('BIGINT',))
    >>> _keys("a,b")
    (('a', 'b'), ())
    """
    if key is None:
        return (), ()
    parts = re.findall(r'(?:"(?:[^"]|"")*"|[^,"])+', key) if isinstance(key, str) else list(key)
    names: list[str] = []
    types: list[str] = []
    for part in parts:
        text = part.strip()
        typed = re.fullmatch(r"(.+?)\s+([A-Za-z]+(?:\(\d+\))?)", text)
        if typed and typed[2].upper().split("(")[0] in KEY_TYPES:
            types.append(typed[2].upper())
            text = typed[1]
        if not text:
            raise UsageError(f"{key!r} names an empty key column.")
        names.append(
            text[1:-1].replace('""', '"') if text.startswith('"') and text.endswith('"') and len(text) > 1 else text
        )
    if types and len(types) != len(names):
        raise UsageError(
            "Either every key column has a type or none.", hint='For example --key "shop VARCHAR, id BIGINT".'
        )
    if len({name.lower() for name in names}) != len(names):
        raise UsageError(f"A key column is named twice: {', '.join(names)}.")
    return tuple(names), tuple(types)


def _function_name(function: str | None) -> tuple[str, str] | None:
    if function is None:
        return None
    parts = split_name(function)
    if len(parts) > 2:
        raise UsageError(f"{function!r} is not a function name.", hint="Give a name, or schema.name.")
    return ("main", parts[0]) if len(parts) == 1 else (parts[0], parts[1])


@dataclass(frozen=True)
class Deployed:
    """What a deployment came to. `is_new` is False where an equal version was there already; `state` is active, or
    shadow with `shadow=True`."""

    name: str
    version: int
    state: str
    resolved: str
    engine: str
    engine_why: str
    is_new: bool
    evidence: str | None
    table: str | None
    scored: Scored | None
    job_id: str
    seconds: float

    def sentence(self) -> str:
        beside = ", beside the active version" if self.state == "shadow" else ""
        said = (
            f"{self.name} deployment v{self.version}{beside}: {self.resolved}, on engine {self.engine},"
            f" in {self.seconds:.1f} s"
        )
        return f"{said}. {NO_SHELL[0].upper()}{NO_SHELL[1:]}" if self.engine == "pyfunc" else said

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return asdict(self)
