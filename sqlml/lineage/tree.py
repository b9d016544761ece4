"""Lineage as a tree of lines, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlml.lineage.columns import label
from sqlml.lineage.query import Column, ColumnLineage, DeploymentLineage, Feature, KeyLineage, Origin, Use
from sqlml.registry import StoreManifest
from sqlml.relation import split_name

SHORT = 12


@dataclass(frozen=True)
class Node:
    text: str
    children: tuple[Node, ...] = ()


def lines(node: Node) -> Iterable[str]:
    """The node and what is below it, one line each, without control characters that a name may hold."""
    yield _printable(node.text)
    for place, child in enumerate(node.children):
        is_last = place == len(node.children) - 1
        first, rest = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        for number, line in enumerate(lines(child)):
            yield (rest if number else first) + line


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def deployment_tree(lineage: DeploymentLineage) -> Node:
    origin = lineage.origin
    source = f"source: {_name(lineage.source)}" if lineage.source else "no source: functions only"
    if lineage.changed:
        source += " (its views have changed since it was deployed; this is how they are now)"
    return Node(
        f"{origin.deployment} v{origin.version} ({origin.state}, engine {origin.engine})",
        (
            *_model(origin),
            Node(source, tuple(map(_feature, lineage.features))),
            Node("gives", tuple(Node(name) for name in lineage.predictions)),
        ),
    )


def _name(source: str) -> str:
    """The SQL name that the catalog keeps, as a person writes it."""
    return label(split_name(source))


def _model(origin: Origin) -> tuple[Node, ...]:
    datasets = tuple(
        Node(
            f"dataset: {d['dataset']}"
            + (f" from {d['source']}" if d["source"] else "")
            + (f" at version {d['version']}" if d["version"] else "")
        )
        for d in origin.datasets
    )
    where = f" in experiment {origin.experiment}" if origin.experiment else ""
    run = Node(f"run: {origin.run_id}{where}" if origin.run_id else "run: not known", datasets)
    stored = () if origin.artifact_store is None else (_stored(origin.artifact_store),)
    model = Node(f"model version: {origin.resolved}, files sha256 {origin.artifact_sha256[:SHORT]}", (run, *stored))
    what = "python_function, files" if origin.engine == "pyfunc" else "ONNX"
    return (Node(f"model: {what} sha256 {origin.model_sha256[:SHORT]}", (model,)),)


def _stored(manifest: StoreManifest) -> Node:
    files = tuple(Node(f"{f.path}: object {f.object}, sha256 {f.sha256[:SHORT]}") for f in manifest.files)
    return Node(f"files: {manifest.where}, in {manifest.path}", files)


def _feature(feature: Feature) -> Node:
    seen: set[str] = set()
    return Node(f"{feature.name} {feature.type}", tuple(_column(column, seen) for column in feature.made_of))


def _column(column: Column, seen: set[str]) -> Node:
    """`seen` are the feature's columns that were shown already with what they are made of."""
    if column.why_unknown is not None:
        return Node(f"unknown: {column.why_unknown}")
    if column.kind == "constant":
        return Node(f"constant: {column.name}")
    # A feature's own column has a cast as `how`; further down it is the expression of the view above.
    text = column.name + (f" ({column.how})" if column.how else "")
    if column.name in seen and column.made_of:
        return Node(f"{text}: see above")
    seen.add(column.name)
    return Node(text, tuple(_column(below, seen) for below in column.made_of))


def column_tree(lineage: ColumnLineage) -> Node:
    children = [Node(f"{name} v{version}", nodes) for (name, version), nodes in _by_deployment(lineage.uses).items()]
    if not children:
        children.append(Node("no live deployment is known to use it"))
    if lineage.uncertain:
        unknown = tuple(Node(f"{u['deployment']}: {u['column']}: {u['why']}") for u in lineage.uncertain)
        children.append(Node("may also be used where the way is not known", unknown))
    return Node(lineage.column, tuple(children))


def _by_deployment(uses: Sequence[Use]) -> dict[tuple[str, int], tuple[Node, ...]]:
    found: dict[tuple[str, int], tuple[Node, ...]] = {}
    for use in uses:
        steps = " -> ".join((*use.path, f"feature {use.feature}"))
        key = (use.deployment, use.version)
        found[key] = (*found.get(key, ()), Node(steps))
    return found


def key_tree(lineage: KeyLineage) -> Node:
    shown = ", ".join(f"{name} = {value}" for name, value in lineage.key.items())
    return Node(
        f"{lineage.deployment}: {shown}",
        tuple(
            Node(
                f"v{p.origin.version} ({p.origin.state}): {_outputs(p.outputs, lineage.key)}",
                (Node(_scoring(p.scoring_id, p.scored_at, p.scoring)), *_model(p.origin)),
            )
            for p in lineage.predictions
        ),
    )


def _outputs(outputs: dict[str, object], key: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in outputs.items() if name not in key and value is not None)


def _scoring(scoring_id: str, scored_at: object, scoring: dict[str, object]) -> str:
    if not scoring:
        return f"scoring {scoring_id} at {scored_at} UTC: its record is gone"
    return f"scoring {scoring_id} ({scoring['kind']}) of {_name(str(scoring['source']))} at {scored_at} UTC by {scoring['who']}"
