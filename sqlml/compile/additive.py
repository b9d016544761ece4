"""A model's raw score as a sum over its input columns: what explaining it is made of.

A score is taken apart at the additions in which columns come together. What depends on one column only (a scaled number
times its coefficient, the coefficient of a category) is that column's part, whole; constants that are added where columns
are mixed already (an intercept) are the base. Trees stay whole: their share of each column is TreeSHAP's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from sqlml.compile.algebra import Algebra
from sqlml.compile.graph import Traced, trace
from sqlml.compile.nodes import Const, Forest, Input, Node, Op, children, is_op
from sqlml.compile.tensors import tensor
from sqlml.convert.onnx_model import OnnxModel

SCORE, COVERS, PARTS = "sqlml.score", "sqlml.covers.", "sqlml.parts."
SHOWN = 5


class NotExplained(Exception):
    """This model's score is no sum over its columns; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Score:
    """base + the columns' parts + the sum of factor * forest = `node`, the raw score of one class or target."""

    node: Node
    base: float
    parts: dict[int, list[Node]]
    """By column index; added up in order."""
    forests: tuple[tuple[Forest, float], ...]


@dataclass(frozen=True)
class Trees:
    """One TreeEnsemble of the graph."""

    tensor: str
    """Its output."""
    columns: tuple[int, ...]
    """Per feature the column that it is made of, -1 where no tree asks for it."""
    parts_of: tuple[int, ...]
    """Per feature what counts as one feature: itself, or the feature that it is a part of."""
    terms: tuple[tuple[int, int, float], ...]
    """(score, target of the ensemble, factor)"""


@dataclass(frozen=True)
class Additive:
    """The raw scores: of the positive class of two, of each class, or of each target."""

    traced: Traced
    tensor: str
    scores: tuple[Score, ...]
    positions: tuple[int, ...]
    """Where each stands in the tensor."""
    trees: tuple[Trees, ...]


def additive(model: OnnxModel) -> Additive:
    """Take the model's raw scores apart; raises `NotExplained`, or `NotCompilable`."""
    metadata = _metadata(model.onnx)
    name = metadata.get(SCORE)
    traced = trace(model, lenient=True)
    found = traced.tensors.get(name) if name is not None else None
    if name is None or found is None:
        raise NotExplained("because its raw score is not known" if name is None else f"because {traced.refused}")
    nodes = tensor(traced.algebra, found).elements
    positions = _positions(model, len(nodes))
    scores = tuple(_score(traced.algebra, nodes[p]) for p in positions)
    return Additive(traced, name, scores, positions, _trees(traced, metadata, scores))


def _metadata(content: bytes) -> dict[str, str]:
    import onnx

    return {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}


def _positions(model: OnnxModel, width: int) -> tuple[int, ...]:
    signature = model.signature
    if signature.kind == "classifier" and len(signature.classes) == 2 and width in (1, 2):
        return (width - 1,)
    wanted = len(signature.classes) if signature.kind == "classifier" else max(1, len(signature.targets))
    if width != wanted:
        raise NotExplained(f"because it has {width} raw scores for {wanted} answers")
    return tuple(range(width))


def _score(algebra: Algebra, node: Node) -> Score:
    taking = _Taking(algebra)
    whole = taking.columns(node)
    if len(whole) == 1 and is_op(node, "add", "sum") and not taking.trees(node):
        # One column only: nothing is mixed anywhere, and what is added last is the intercept.
        rest: list[Node] = [a for a in node.args if not isinstance(a, Const)]
        if len(rest) == 1:
            constants = [float(a.value) for a in node.args if isinstance(a, Const)]
            return Score(node, sum(constants), {next(iter(whole)): rest}, ())
    taking.take(node, 1.0)
    return Score(node, taking.base, taking.parts, tuple(taking.forests))


@dataclass
class _Taking:
    algebra: Algebra
    base: float = 0.0
    parts: dict[int, list[Node]] = field(default_factory=dict)
    forests: list[tuple[Forest, float]] = field(default_factory=list)
    _known: dict[Node, tuple[frozenset[int], bool]] = field(default_factory=dict)

    def columns(self, node: Node) -> frozenset[int]:
        """The columns that a node depends on."""
        return self._about(node)[0]

    def trees(self, node: Node) -> bool:
        return self._about(node)[1]

    def _about(self, node: Node) -> tuple[frozenset[int], bool]:
        stack = [node]
        while stack:
            here = stack[-1]
            if here in self._known:
                stack.pop()
                continue
            below = _asked(here)
            waiting = [child for child in below if child not in self._known]
            if waiting:
                stack += waiting
                continue
            own = frozenset([here.index]) if isinstance(here, Input) else frozenset()
            known = [self._known[child] for child in below]
            joined = own.union(*(columns for columns, _ in known))
            self._known[here] = (joined, isinstance(here, Forest) or any(trees for _, trees in known))
        return self._known[node]

    def take(self, node: Node, factor: float) -> None:
        """Add factor * node."""
        columns, trees = self._about(node)
        if isinstance(node, Const):
            self.base += factor * float(node.value)
        elif isinstance(node, Forest):
            self.forests.append((node, factor))
        elif not trees and len(columns) <= 1:
            scaled = node if factor == 1.0 else self.algebra.apply("mul", node, self.algebra.double(factor))
            self.parts.setdefault(next(iter(columns), 0), []).append(scaled)
        elif is_op(node, "add", "sum"):
            for term in node.args:
                self.take(term, factor)
        elif is_op(node, "sub"):
            self.take(node.args[0], factor)
            self.take(node.args[1], -factor)
        elif is_op(node, "neg"):
            self.take(node.args[0], -factor)
        elif is_op(node, "float32"):
            self.take(node.args[0], factor)
        elif is_op(node, "mul") and any(isinstance(a, Const) for a in node.args):
            constant, other = sorted(node.args, key=lambda a: not isinstance(a, Const))
            self.take(other, factor * _value(constant))
        elif is_op(node, "div") and isinstance(node.args[1], Const) and node.args[1].value:
            self.take(node.args[0], factor / _value(node.args[1]))
        else:
            name = node.name if isinstance(node, Op) else type(node).__name__.lower()
            raise NotExplained(f"because its raw score is no sum over columns ({name} of {len(columns)} of them)")


def _value(node: Node) -> float:
    return float(node.value) if isinstance(node, Const) else float("nan")


def _asked(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Forest):
        return tuple(node.features[i] for i in _used(node).tolist())
    return children(node)


def _used(forest: Forest) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.unique(forest.trees.feature)


def _trees(traced: Traced, metadata: dict[str, str], scores: tuple[Score, ...]) -> tuple[Trees, ...]:
    """The ensembles that the scores are made of, by the name of their output."""
    terms: dict[int, list[tuple[int, int, float]]] = {}
    forests: dict[int, Forest] = {}
    for k, score in enumerate(scores):
        for forest, factor in score.forests:
            forests[id(forest.trees)] = forest
            terms.setdefault(id(forest.trees), []).append((k, forest.target, factor))
    if not forests:
        return ()
    if any(score.parts for score in scores):
        raise NotExplained("because its raw score adds trees and something else")
    named: dict[int, str] = {}
    for node in traced.nodes:
        if node.op_type == "TreeEnsemble":
            made = traced.tensors.get(node.output[0])
            elements = tensor(traced.algebra, made).elements if made is not None else ()
            named.update({id(e.trees): node.output[0] for e in elements if isinstance(e, Forest)})
    return tuple(_ensemble(traced, metadata, forest, named[key], tuple(terms[key])) for key, forest in forests.items())


def _ensemble(
    traced: Traced, metadata: dict[str, str], forest: Forest, name: str, terms: tuple[tuple[int, int, float], ...]
) -> Trees:
    if COVERS + name not in metadata:
        raise NotExplained("because the model does not keep how many training rows came to each leaf of its trees")
    taking = _Taking(traced.algebra)
    columns = [-1] * len(forest.features)
    for i in _used(forest).tolist():
        found = sorted(taking.columns(forest.features[i]))
        if len(found) != 1:
            said = _listed(traced.columns[c].name for c in found) if found else "no column"
            raise NotExplained(f"because its trees ask for a feature that is made of {said}")
        columns[i] = found[0]
    parts_of = list(range(len(columns)))
    for pair in metadata.get(PARTS + name, "").split():
        part, _, feature = pair.partition(":")
        parts_of[int(part)] = int(feature)
    return Trees(name, tuple(columns), tuple(parts_of), terms)


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(known[:SHOWN]) + more
