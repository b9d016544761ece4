"""Which deployment versions come from a run, a dataset, a model's bytes or a column, and of which that is not known."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlml.catalog.records import Version
from sqlml.errors import UsageError
from sqlml.lineage.columns import Edge
from sqlml.lineage.edges import dataset_name, version_name
from sqlml.lineage.query import named_column
from sqlml.lineage.references import fold

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

KINDS = ("run", "dataset", "column", "model", "version", "scoring")
FEWEST_DIGITS = 6
Name = tuple[str, int]
"""A deployment and its version."""


class Matches(NamedTuple):
    """`value` in full, the versions with what leads to them, those of which it is not known, and what there is instead."""

    value: str
    found: dict[Name, str]
    uncertain: dict[Name, str]
    known: Sequence[str]


def matches(
    connection: Connection, kind: str, value: str, versions: Sequence[Version], edges: Mapping[Name, list[Edge]]
) -> Matches:
    """Raises:
    UsageError: what is asked for is not one thing.
    BindingError: there is no such column.
    """
    if not value.strip():
        raise UsageError(f"The {kind} is empty.")
    if kind == "column":
        return _of_column(connection, value, edges)
    return {"run": _of_run, "dataset": _of_dataset, "model": _of_model, "version": _of_version}[kind](value, versions)


def name_of(version: Version) -> Name:
    return version.deployment, version.version


def _of_run(value: str, versions: Sequence[Version]) -> Matches:
    wanted = value.strip().removeprefix("runs:/").split("/")[0]
    runs = {name_of(v): _run_id(v) for v in versions}
    return Matches(
        wanted,
        {name: f"run {run}" for name, run in runs.items() if run == wanted},
        {name: "the run that made its model is not known" for name, run in runs.items() if run is None},
        sorted({run for run in runs.values() if run is not None}),
    )


def _of_dataset(value: str, versions: Sequence[Version]) -> Matches:
    wanted = value.strip()
    found: dict[Name, str] = {}
    uncertain: dict[Name, str] = {}
    known: set[str] = set()
    for version in versions:
        datasets = _run(version).get("datasets") or ()
        for dataset in datasets:
            known.add(dataset_name(dataset))
            if wanted in _names(dataset):
                found[name_of(version)] = f"dataset {dataset_name(dataset)}, run {_run_id(version)}"
        if not datasets:
            run = _run_id(version)
            uncertain[name_of(version)] = (
                "the run that made its model is not known"
                if run is None
                else f"its run {run} names no training dataset, as far as MLflow could tell"
            )
    return Matches(wanted, found, uncertain, sorted(known))


def _names(dataset: Mapping[str, Any]) -> set[str]:  # Any: JSON
    """What people call it: its name, its digest, both, its source, and that with the source's own version."""
    source, number = dataset.get("source"), dataset.get("version")
    named = {dataset.get("name"), dataset.get("digest"), dataset_name(dataset), source}
    return {str(one) for one in named if one} | ({f"{source} at version {number}"} if source and number else set())


def _of_model(value: str, versions: Sequence[Version]) -> Matches:
    wanted = value.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{6,64}", wanted):
        raise UsageError(
            f"{value!r} is no sha256 of a model.", hint=f"Give {FEWEST_DIGITS} of its 64 hexadecimal digits or more."
        )
    found: dict[Name, str] = {}
    hashes: set[str] = set()
    for version in versions:
        for what, digest in (("model", version.model_sha256), ("files", version.artifact_sha256)):
            if digest.startswith(wanted):
                hashes.add(digest)
                found.setdefault(name_of(version), f"{what} sha256 {digest}")
    if len(hashes) > 1:
        raise UsageError(
            f"Several hashes begin with {wanted}.", hint=f"Give more digits of one: {', '.join(sorted(hashes))}."
        )
    return Matches(next(iter(hashes), wanted), found, {}, sorted({v.model_sha256 for v in versions}))


def _of_version(value: str, versions: Sequence[Version]) -> Matches:
    names = {version_name(v): name_of(v) for v in versions}
    return Matches(value, {names[value]: "it itself"} if value in names else {}, {}, sorted(names))


def _of_column(connection: Connection, value: str, edges: Mapping[Name, list[Edge]]) -> Matches:
    """Through each version's own edges, from the column to its features."""
    start = named_column(connection, value, edges)
    found: dict[Name, str] = {}
    uncertain: dict[Name, str] = {}
    for name, known in edges.items():
        reached, waiting = {fold(start)}, [fold(start)]
        features: dict[str, None] = {}
        while waiting:
            here = waiting.pop(0)
            for edge in known:
                if edge.from_kind not in {"column", "file"} or fold(edge.from_name) != here:
                    continue
                if edge.to_kind == "feature":
                    features[edge.to_name] = None
                elif edge.to_kind == "column" and fold(edge.to_name) not in reached:
                    reached.add(fold(edge.to_name))
                    waiting.append(fold(edge.to_name))
        if features:
            found[name] = f"feature{'s' if len(features) > 1 else ''} {', '.join(features)}"
        elif why := unknown(known):
            uncertain[name] = why
    return Matches(start, found, uncertain, ())


def concerns(version: Version, kind: str, value: str) -> bool:
    """Whether a recall for this run, dataset or model is about the version, as far as that is known."""
    if kind not in ("run", "dataset", "model"):
        return False
    return (
        name_of(version) in {"run": _of_run, "dataset": _of_dataset, "model": _of_model}[kind](value, [version]).found
    )


def unknown(edges: Sequence[Edge]) -> str | None:
    """Which columns of a source could not be followed, and why; None where all could."""
    found = {f"{edge.to_name}: {edge.how or 'not known'}": None for edge in edges if edge.from_kind == "unknown"}
    return "; ".join(found) or None


def _run(version: Version) -> dict[str, Any]:  # Any: JSON
    return json.loads(version.run) if version.run else {}


def _run_id(version: Version) -> str | None:
    return version.run_id or _run(version).get("run_id")
