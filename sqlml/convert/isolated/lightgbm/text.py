"""LightGBM's own text of a model as data, read without LightGBM.

Read in LightGBM 3.3 and 4.7: GBDT::SaveModelToString and LoadModelFromString, Tree::ToString and Tree::Tree(const char*).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.refusal import Refusal

CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2


@dataclass(frozen=True)
class Linear:
    """What a leaf of a linear tree adds: its constant, then coefficient * feature, one after the other."""

    constant: float
    features: tuple[int, ...]
    coefficients: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class TextTree:
    """One tree. A child below 0 is the leaf ~child; the threshold of a categorical split counts `sets`."""

    feature: Array
    threshold: Array
    decision: Array
    left: Array
    right: Array
    value: Array
    sets: tuple[tuple[int, ...], ...]
    """The categories that go left."""
    linear: tuple[Linear, ...] = ()
    """Per leaf, where the tree is a linear one."""
    count: Array | None = None
    """Per leaf the training rows that came to it, where the text says so."""

    def missing(self) -> Array:
        return (self.decision >> 2) & 3


@dataclass(frozen=True, eq=False)
class Model:
    """A boosted model: `width` trees an iteration, `trees` in the order in which they are added."""

    objective: tuple[str, ...]
    """Its name and its settings; empty where the objective was somebody's own function."""
    width: int
    average: bool
    names: tuple[str, ...]
    infos: tuple[str, ...]
    """Per feature what was seen in training: "[low:high]", "category:category" or "none"."""
    categorical: tuple[int, ...]
    """Features declared categorical, where the text says so."""
    pandas_categorical: tuple[tuple[Any, ...], ...]  # Any: pandas categories as JSON has them
    trees: tuple[TextTree, ...]

    @property
    def iterations(self) -> int:
        return len(self.trees) // self.width

    def first(self, iterations: int) -> Model:
        """What `predict` uses after early stopping; everything where the number is not positive."""
        return replace(self, trees=self.trees[: iterations * self.width]) if iterations > 0 else self


def parse(text: str) -> Model:
    """The model; raises Refusal where the text is not what LightGBM writes."""
    try:
        return _model(text)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise Refusal(
            "artifact", f"The LightGBM model cannot be read: {type(error).__name__}: {str(error)[:200]}."
        ) from error


def _model(text: str) -> Model:
    before, *blocks = re.split(r"^Tree=\d+\s*$", text.partition("\nend of trees")[0], flags=re.MULTILINE)
    head = _entries(before)
    if not before.lstrip().startswith("tree") or "end of trees" not in text:
        raise ValueError("it does not start with 'tree', or has no end")
    width = int(head["num_tree_per_iteration"])
    names = tuple(head["feature_names"].split(" ")) if head["feature_names"] else ()
    infos = tuple(head.get("feature_infos", "").split())
    if width < 1 or len(names) != int(head["max_feature_idx"]) + 1:
        raise ValueError(f"{width} trees an iteration and {len(names)} features")
    trees = tuple(_tree(_entries(block), len(names)) for block in blocks)
    if len(trees) % width:
        raise ValueError(f"{len(trees)} trees, {width} in each iteration")
    return Model(
        objective=tuple(head.get("objective", "").split()),
        width=width,
        average="average_output" in before.splitlines(),
        names=names,
        infos=infos if len(infos) == len(names) else ("none",) * len(names),
        categorical=_declared(text),
        pandas_categorical=_pandas_categorical(text),
        trees=trees,
    )


def _entries(block: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _declared(text: str) -> tuple[int, ...]:
    found = re.search(r"^\[categorical_feature: ([\d,]+)\]$", text, flags=re.MULTILINE)
    return tuple(sorted({int(index) for index in found[1].split(",") if index})) if found else ()


def _pandas_categorical(text: str) -> tuple[tuple[Any, ...], ...]:
    found = re.findall(r"^pandas_categorical:(.*)$", text, flags=re.MULTILINE)
    return tuple(tuple(categories) for categories in (json.loads(found[-1]) or ())) if found else ()


def _tree(entries: Mapping[str, str], features: int) -> TextTree:
    leaves = int(entries["num_leaves"])
    inner = leaves - 1
    if leaves < 1:
        raise ValueError("a tree without leaves")
    tree = TextTree(
        feature=_ints(entries, "split_feature", inner),
        threshold=_doubles(entries, "threshold", inner),
        decision=_ints(entries, "decision_type", inner) if "decision_type" in entries else np.zeros(inner, np.int64),
        left=_ints(entries, "left_child", inner),
        right=_ints(entries, "right_child", inner),
        value=_doubles(entries, "leaf_value", leaves),
        sets=_sets(entries),
        linear=_linear(entries, leaves) if int(entries.get("is_linear", "0")) else (),
        count=_doubles(entries, "leaf_count", leaves) if entries.get("leaf_count") else None,
    )
    _check(tree, features)
    return tree


def _check(tree: TextTree, features: int) -> None:
    """Every node is reached once, from one before it: what follows the tree comes to an end."""
    inner = len(tree.feature)
    children = np.concatenate([tree.left, tree.right])
    once = np.concatenate([np.arange(1, inner), ~np.arange(inner + 1)]) if inner else np.empty(0)
    if sorted(children.tolist()) != sorted(once.tolist()):
        raise ValueError("a tree whose nodes are not reached once each")
    for side in (tree.left, tree.right):
        if not ((side < 0) | (side > np.arange(inner))).all():
            raise ValueError("a tree that goes back")
    used = [tree.feature, np.array([f for leaf in tree.linear for f in leaf.features], dtype=np.int64)]
    if any(len(a) and not (a.min() >= 0 and a.max() < features) for a in used):
        raise ValueError("a split on a feature that the model does not have")
    if np.isnan(tree.threshold).any() or (tree.missing() > MISSING_NAN).any():
        raise ValueError("a split by nothing known")
    for index in np.flatnonzero(tree.decision & CATEGORICAL):
        if not 0 <= tree.threshold[index] < len(tree.sets):
            raise ValueError("a categorical split without its categories")


def _sets(entries: Mapping[str, str]) -> tuple[tuple[int, ...], ...]:
    if not int(entries.get("num_cat", "0")):
        return ()
    starts = [int(v) for v in entries["cat_boundaries"].split()]
    words = [int(v) for v in entries["cat_threshold"].split()]
    return tuple(
        tuple(32 * i + bit for i, word in enumerate(words[start:end]) for bit in range(32) if word >> bit & 1)
        for start, end in zip(starts, starts[1:])
    )


def _linear(entries: Mapping[str, str], leaves: int) -> tuple[Linear, ...]:
    constants = _doubles(entries, "leaf_const", leaves).tolist()
    counts = _ints(entries, "num_features", leaves).tolist()
    features = _ints(entries, "leaf_features", sum(counts)).tolist()
    coefficients = _doubles(entries, "leaf_coeff", sum(counts)).tolist()
    found, start = [], 0
    for constant, count in zipped(constants, counts):
        part = slice(start, start + count)
        found.append(Linear(constant, tuple(features[part]), tuple(coefficients[part])))
        start += count
    return tuple(found)


def _ints(entries: Mapping[str, str], key: str, count: int) -> Array:
    return _sized(np.array([int(v) for v in entries.get(key, "").split()], dtype=np.int64), key, count)


def _doubles(entries: Mapping[str, str], key: str, count: int) -> Array:
    return _sized(np.array([float(v) for v in entries.get(key, "").split()], dtype=np.float64), key, count)


def _sized(values: Array, key: str, count: int) -> Array:
    if len(values) != count:
        raise ValueError(f"{key} has {len(values)} numbers instead of {count}")
    return values
