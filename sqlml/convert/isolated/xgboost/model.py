"""XGBoost's own file of a model as data, read without XGBoost: JSON or UBJSON, versions 1.0 to 3.x.

Read in XGBoost 1.7 and 3.2: doc/model.schema, src/learner.cc (LoadModel), src/gbm/gbtree_model.cc,
src/tree/tree_model.cc, src/tree/multi_target_tree_model.cc, src/data/cat_container.cc.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.pairs import zipped
from sqlml.convert.isolated.refusal import Refusal
from sqlml.convert.isolated.xgboost import ubjson
from sqlml.convert.isolated.xgboost.categories import Categories, recorded

# Any in this module: JSON, whose shape is checked as it is read.
CATEGORICAL = 1
ELSE = 'Save it with save_model("model.ubj") or "model.json" by the version of XGBoost that wrote it.'


@dataclass(frozen=True, eq=False)
class JsonTree:
    """One tree; arrays by node, the root at 0. A leaf has left < 0."""

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    value: Array
    """[nodes, K]: what a leaf adds; K is 1, but for a tree of all targets."""
    sets: Mapping[int, tuple[int, ...]]
    """Per categorical node the categories that go right."""
    cover: Array | None
    """By node the sum of the hessians of its training rows."""


@dataclass(frozen=True, eq=False)
class Model:
    """A boosted model. `width` scores a row, `trees` in the order in which they are added, `groups` which score each adds to."""

    booster: str
    objective: str
    settings: Mapping[str, Any]
    """The objective's own."""
    classes: int
    """num_class: 0 where it is no objective of several classes."""
    width: int
    features: int
    names: tuple[str, ...] | None
    types: tuple[str, ...]
    """"c" for a categorical feature; empty where nothing is said."""
    categories: Mapping[int, Categories]
    base: tuple[float, ...]
    """base_score, one or one for each score, as given: not as a margin."""
    trees: tuple[JsonTree, ...]
    groups: tuple[int, ...]
    weights: tuple[float, ...]
    """What dart multiplies each tree with; empty otherwise."""
    linear: Array
    """[features + 1, width] of a linear booster, its bias last."""
    rounds: tuple[int, ...]
    """Where each boosting round's trees begin, and where the last ends."""
    best_iteration: int | None

    def first(self, rounds: int) -> Model:
        """The model of the first boosting rounds only."""
        end = self.rounds[min(rounds, len(self.rounds) - 1)]
        return replace(self, trees=self.trees[:end], groups=self.groups[:end], weights=self.weights[:end])

    @property
    def categorical(self) -> frozenset[int]:
        return frozenset(i for i, kind in enumerate(self.types) if kind == "c")


def parse(content: bytes) -> Model:
    """The model; raises Refusal where this is not what XGBoost writes."""
    try:
        return _model(_read(content))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        why = f"The XGBoost model cannot be read: {type(error).__name__}: {str(error)[:200]}."
        raise Refusal("artifact", why, ELSE) from error


def _read(content: bytes) -> Mapping[str, Any]:
    if not content.startswith(b"{"):
        raise ValueError("it is neither JSON nor UBJSON, perhaps XGBoost's old binary format")
    if content[1:2] == b'"' or content[1:2].isspace():
        made = json.loads(content.decode("utf-8", "surrogateescape"))
    else:
        made = ubjson.loads(content)
    if not isinstance(made, dict):
        raise ValueError("it is no object")
    return made


def _model(document: Mapping[str, Any]) -> Model:
    learner = document["learner"]
    about, booster = learner["learner_model_param"], learner["gradient_booster"]
    classes, features = int(about["num_class"]), int(about["num_feature"])
    width = max(classes, int(about.get("num_target", "1")), 1)
    name = str(booster["name"])
    names = tuple(str(n) for n in learner.get("feature_names") or ()) or None
    types = tuple(str(t) for t in learner.get("feature_types") or ())
    if (names and len(names) != features) or (types and len(types) != features):
        raise ValueError(f"{features} features, {len(names or ())} names and {len(types)} types of them")
    settings = {
        key: value for part in learner["objective"].values() if isinstance(part, dict) for key, value in part.items()
    }
    base = _base_score(about["base_score"])
    if len(base) not in (1, width):
        raise ValueError(f"{len(base)} base scores for {width} scores")
    best = (learner.get("attributes") or {}).get("best_iteration")
    model = Model(
        booster=name,
        objective=str(learner["objective"]["name"]),
        settings=settings,
        classes=classes,
        width=width,
        features=features,
        names=names,
        types=types,
        categories={},
        base=base,
        trees=(),
        groups=(),
        weights=(),
        linear=np.empty((0, width), dtype=np.float32),
        rounds=(0,),
        best_iteration=None if best is None else int(best),
    )
    if name == "gblinear":
        weights = _floats(booster["model"]["weights"])
        return replace(model, linear=weights.reshape(features + 1, width))
    if name == "gbtree":
        return _with_trees(model, booster["model"])
    if name == "dart":
        made = _with_trees(model, booster["gbtree"]["model"])
        dropped = tuple(float(np.float32(w)) for w in booster["weight_drop"])
        if len(dropped) != len(made.trees):
            raise ValueError(f"{len(dropped)} weights for {len(made.trees)} trees")
        return replace(made, weights=dropped)
    raise ValueError(f"an unknown booster {name!r}")


def _base_score(value: Any) -> tuple[float, ...]:
    """ "5E-1", and from 3.1 on "[5E-1]", or one number for each score."""
    text = str(value).strip()
    listed = text[1:-1].split(",") if text.startswith("[") else [text]
    return tuple(float(np.float32(v)) for v in listed)


def _with_trees(model: Model, booster: Mapping[str, Any]) -> Model:
    trees = tuple(_tree(tree, model.features) for tree in booster["trees"])
    groups = tuple(int(g) for g in booster["tree_info"])
    if len(groups) != len(trees) or any(not 0 <= g < model.width for g in groups):
        raise ValueError("trees that add to no score")
    if any(tree.value.shape[1] not in (1, model.width) for tree in trees):
        raise ValueError(f"leaves that have not {model.width} values")
    starts = booster.get("iteration_indptr")
    if starts is None or len(starts) == 0:
        parallel = max(1, int(booster["gbtree_model_param"].get("num_parallel_tree", "1")))
        size = parallel * (1 if trees and trees[0].value.shape[1] > 1 else model.width)
        starts = [*range(0, len(trees), size), len(trees)]
    rounds = tuple(int(s) for s in starts)
    if list(rounds) != sorted(rounds) or rounds[0] != 0 or rounds[-1] != len(trees):
        raise ValueError("boosting rounds that are not its trees")
    categories = recorded(booster.get("cats") or {})
    return replace(model, trees=trees, groups=groups, rounds=rounds, categories=categories)


def _tree(tree: Mapping[str, Any], features: int) -> JsonTree:
    left, right = _ints(tree["left_children"]), _ints(tree["right_children"])
    count = len(left)
    size = max(1, int(tree["tree_param"].get("size_leaf_vector", "1")))
    value = _leaf_values(tree, left, right, size)
    order = _reached(left, right)
    place = np.full(count, -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    inner = left[order] >= 0
    feature = np.where(inner, _sized(_ints(tree["split_indices"]), count)[order], 0)
    if ((feature < 0) | (feature >= features)).any():
        raise ValueError("a split on a feature that the model does not have")
    threshold = _sized(_floats(tree["split_conditions"]), count)[order]
    sets = {int(place[node]): members for node, members in _sets(tree, count).items() if place[node] >= 0}
    numeric = inner & ~np.isin(np.arange(len(order)), list(sets))
    if (np.isnan(threshold) | np.isneginf(threshold))[numeric].any():
        raise ValueError("a split by nothing known")
    return JsonTree(
        feature=feature,
        threshold=np.where(numeric, threshold, np.float32(0.0)),
        left=np.where(inner, place[np.maximum(left[order], 0)], -1),
        right=np.where(inner, place[np.maximum(right[order], 0)], -1),
        missing_left=np.where(inner, _sized(_ints(tree["default_left"]), count)[order], 0),
        value=value[order],
        sets=sets,
        cover=_sized(_floats(tree["sum_hessian"]), count)[order].astype(np.float64) if "sum_hessian" in tree else None,
    )


def _leaf_values(tree: Mapping[str, Any], left: Array, right: Array, size: int) -> Array:
    """[nodes, K] float32. A tree of all targets has them apart, where the right child of a leaf points (3.2), or by node."""
    count = len(left)
    if "leaf_weights" in tree:
        leaves = _floats(tree["leaf_weights"])
        if size > 1 and len(leaves):
            rows = leaves.reshape(-1, size)
            value = np.zeros((count, size), dtype=np.float32)
            value[left < 0] = rows[right[left < 0]]
            return value
    if size > 1:
        return _floats(tree["base_weights"]).reshape(count, size)
    return _sized(_floats(tree["split_conditions"]), count).reshape(-1, 1)


def _reached(left: Array, right: Array) -> Array:
    """The nodes in use, the root first: deleted ones stay in the file. Each is reached once."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if len(order) > len(left):
            raise ValueError("a tree whose nodes are not reached once each")
        if left[node] >= 0:
            if right[node] < 0:
                raise ValueError("a split with one way only")
            waiting += [int(right[node]), int(left[node])]
    if len(set(order)) != len(order):
        raise ValueError("a tree whose nodes are not reached once each")
    return np.array(order, dtype=np.int64)


def _sets(tree: Mapping[str, Any], count: int) -> dict[int, tuple[int, ...]]:
    """Node -> the categories that go right."""
    kinds = tree.get("split_type")
    if kinds is None or not _ints(kinds).any():
        return {}
    nodes, starts = _ints(tree["categories_nodes"]), _ints(tree["categories_segments"])
    sizes, members = _ints(tree["categories_sizes"]), _ints(tree["categories"])
    found = {
        int(node): tuple(int(c) for c in members[start : start + size])
        for node, start, size in zipped(nodes, starts, sizes)
    }
    wanted = np.flatnonzero(_sized(_ints(kinds), count) == CATEGORICAL).tolist()
    if sorted(found) != sorted(wanted):
        raise ValueError("a categorical split without its categories")
    return found


def _ints(values: Any) -> Array:
    if isinstance(values, np.ndarray):
        return values.astype(np.int64)
    return np.array([int(v) for v in values], dtype=np.int64)


def _floats(values: Any) -> Array:
    """float32 as XGBoost reads them: from the shortest decimals that mean them."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float32)
    return np.array([math.nan if v is None else float(v) for v in values], dtype=np.float64).astype(np.float32)


def _sized(values: Array, count: int) -> Array:
    if len(values) != count:
        raise ValueError(f"{len(values)} numbers for {count} nodes")
    return values
