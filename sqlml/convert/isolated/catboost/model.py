"""A CatBoost model as data, from CatBoost's own export to JSON.

Read in CatBoost 1.2: catboost/libs/model/model_export/json_model_helpers.cpp; the evaluation in libs/model/cpu/evaluator_impl.cpp.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np

from sqlml.convert.isolated.graph import Array
from sqlml.convert.isolated.refusal import Refusal

# Any in this module: JSON, whose shape is checked as it is read, and CatBoost, which ships no types.


@dataclass(frozen=True)
class FloatSplit:
    """Right where the number, as a float32, is greater than the border."""

    feature: int
    border: float


@dataclass(frozen=True)
class OneHotSplit:
    """Right where the hash of the category is this one."""

    feature: int
    hash: int


@dataclass(frozen=True)
class OtherSplit:
    """By what is computed of the training target (a CTR), or of text."""

    kind: str


Split = Union[FloatSplit, OneHotSplit, OtherSplit]


@dataclass(frozen=True, eq=False)
class CatTree:
    """One tree; arrays by node, the root at 0. `splits` has None for a leaf, `value` [nodes, K]."""

    splits: tuple[Split | None, ...]
    left: Array
    right: Array
    value: Array
    cover: Array | None
    """By node the weight of its training rows, where the model keeps it."""


@dataclass(frozen=True, eq=False)
class Model:
    """A boosted model; features are counted as the columns of its training."""

    names: tuple[str, ...]
    categorical: tuple[int, ...]
    textual: tuple[int, ...]
    """Columns of text or embeddings."""
    missing_right: frozenset[int]
    """Number columns whose NaN counts as greater than every border."""
    trees: tuple[CatTree, ...]
    scale: float
    bias: tuple[float, ...]
    loss: str

    @property
    def width(self) -> int:
        return len(self.bias)

    def splits(self) -> Iterator[Split]:
        return (split for tree in self.trees for split in tree.splits if split is not None)

    @property
    def hashes(self) -> frozenset[tuple[int, int]]:
        """(feature, hash) of every category that a split asks for."""
        return frozenset((s.feature, s.hash) for s in self.splits() if isinstance(s, OneHotSplit))


def model_of(estimator: Any) -> Model:
    """The model; raises Refusal where CatBoost's export is not what is known of it."""
    document = exported(estimator)
    try:
        return _model(document, [str(name) for name in estimator.feature_names_])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        why = f"The CatBoost model cannot be read: {type(error).__name__}: {str(error)[:200]}."
        raise Refusal("artifact", why) from error


def exported(estimator: Any, pool: Any = None) -> Mapping[str, Any]:
    """CatBoost's own JSON of the model, with the hashes of the pool's categories if there is one."""
    with tempfile.TemporaryDirectory(prefix="sqlml-catboost-") as folder:
        path = Path(folder) / "model.json"
        try:
            estimator.save_model(str(path), format="json", pool=pool)
        except Exception as error:  # CatBoostError, whose module need not be loaded here
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise Refusal("artifact", f"CatBoost cannot write the model down as JSON: {first[:300]}.") from error
        document = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    if not isinstance(document, dict):
        raise Refusal("artifact", "CatBoost's JSON of the model is no object.")
    return document


def _model(document: Mapping[str, Any], names: Sequence[str]) -> Model:
    about = document["features_info"]
    numbers = {int(f["feature_index"]): f for f in about.get("float_features") or ()}
    categories = {int(f["feature_index"]): f for f in about.get("categorical_features") or ()}
    others = [f for kind in ("text_features", "embedding_features") for f in about.get(kind) or ()]
    flat = {i: int(f["flat_feature_index"]) for i, f in numbers.items()}
    flat_categories = {i: int(f["flat_feature_index"]) for i, f in categories.items()}
    if any(place >= len(names) for place in (*flat.values(), *flat_categories.values())):
        raise ValueError(f"{len(names)} names for more features")
    scale, bias = document["scale_and_bias"]
    width = len(bias)
    reader = _Reader(flat, flat_categories, width)
    if "oblivious_trees" in document:
        trees = tuple(reader.oblivious(tree) for tree in document["oblivious_trees"])
    else:
        trees = tuple(reader.branching(tree) for tree in document["trees"])
    right = frozenset(flat[i] for i, f in numbers.items() if f.get("nan_value_treatment") == "AsTrue")
    return Model(
        names=tuple(names),
        categorical=tuple(sorted(flat_categories.values())),
        textual=tuple(sorted(int(f["flat_feature_index"]) for f in others)),
        missing_right=right,
        trees=trees,
        scale=float(scale),
        bias=tuple(float(b) for b in bias),
        loss=str(document["model_info"]["params"]["loss_function"]["type"]),
    )


@dataclass(frozen=True)
class _Reader:
    """Trees of a document; features are renumbered to the columns of training."""

    numbers: Mapping[int, int]
    categories: Mapping[int, int]
    width: int

    def split(self, split: Mapping[str, Any]) -> Split:
        kind = str(split["split_type"])
        if kind == "FloatFeature":
            return FloatSplit(self.numbers[int(split["float_feature_index"])], float(np.float32(split["border"])))
        if kind == "OneHotFeature":
            return OneHotSplit(self.categories[int(split["cat_feature_index"])], int(split["value"]) & 0xFFFFFFFF)
        return OtherSplit(kind)

    def oblivious(self, tree: Mapping[str, Any]) -> CatTree:
        """All nodes of a level ask the same; the answer to split i is bit i of the leaf's number.

        The last split is the root: which one is does not matter for what a row gets, but for SHAP values, and CatBoost
        walks it so (shap_values.cpp, CalcObliviousInternalShapValuesForLeafRecursive).
        """
        splits = [self.split(s) for s in reversed(tree.get("splits") or ())]
        depth = len(splits)
        reverse = [int(f"{leaf:0{depth}b}"[::-1], 2) if depth else 0 for leaf in range(2**depth)]
        values = np.array(tree["leaf_values"], dtype=np.float64).reshape(2**depth, self.width)[reverse]
        inner = 2**depth - 1
        left, right = (np.full(2 * inner + 1, -1, dtype=np.int64) for _ in range(2))
        for level in range(depth):
            first, path = 2**level - 1, np.arange(2**level)
            left[first + path] = 2 ** (level + 1) - 1 + path
            right[first + path] = 2 ** (level + 1) - 1 + path + 2**level
        asked: list[Split | None] = [split for level, split in enumerate(splits) for _ in range(2**level)]
        value = np.concatenate([np.zeros((inner, self.width)), values])
        weights = np.array(tree.get("leaf_weights") or (), dtype=np.float64)
        cover = np.concatenate([np.zeros(inner), weights[reverse]]) if len(weights) == 2**depth else None
        return CatTree((*asked, *[None] * (inner + 1)), left, right, value, cover)

    def branching(self, tree: Mapping[str, Any]) -> CatTree:
        splits: list[Split | None] = []
        left: list[int] = []
        right: list[int] = []
        value: list[Any] = []
        weight: list[float | None] = []
        waiting: list[tuple[Mapping[str, Any], int, bool]] = [(tree, -1, False)]
        while waiting:
            node, parent, is_right = waiting.pop()
            place = len(splits)
            if parent >= 0:
                (right if is_right else left)[parent] = place
            inner = "split" in node
            weight.append(0.0 if inner else node.get("weight"))
            splits.append(self.split(node["split"]) if inner else None)
            left.append(-1)
            right.append(-1)
            value.append(
                np.zeros(self.width) if inner else np.array(node["value"], dtype=np.float64).reshape(self.width)
            )
            if inner:
                waiting += [(node["right"], place, True), (node["left"], place, False)]
        cover = None if None in weight else np.array(weight, dtype=np.float64)
        return CatTree(tuple(splits), np.array(left), np.array(right), np.array(value), cover)
