"""Tree ensembles: the TreeEnsemble operator of ai.onnx.ml 5, and what becomes of its trees.

Its attributes are columns of two tables. Inner nodes (`nodes_*`, one entry each): `featureids` the input column,
`splits` the threshold, `modes` the comparison (0 <=, 1 <, 2 >=, 3 >, 4 ==, 5 !=, 6 member of a set; true means the true
branch), `missing_value_tracks_true` 1 where NaN takes the true branch whatever the comparison says;
`truenodeids`/`falsenodeids` the index of the child, among the inner nodes, or among the leaves where
`trueleafs`/`falseleafs` is 1. Leaves (`leaf_*`): `targetids` and `weights`, one target each.
`tree_roots` are indices of inner nodes; a tree that is one leaf has a root whose both branches are that leaf.
`aggregate_function` 1 is SUM, `post_transform` 0 is none: what our converters write, and all that is taken here.
With tensors of float the operator adds in float32, tree after tree, and so does the SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sqlml.compile.nodes import Forest, Node, NotCompilable

if TYPE_CHECKING:
    from sqlml.compile.algebra import Algebra

Ints = npt.NDArray[np.int64]

MODES = {0: "<=", 1: "<", 2: ">=", 3: ">", 4: "==", 5: "!="}
SUM, NO_TRANSFORM, MEMBER = 1, 0, 6
IN_ORDER = 800
"""Terms that SQL adds from left to right; DuckDB refuses expressions deeper than 1000, and other things nest too."""


@dataclass(frozen=True, eq=False)
class TreeSet:
    """The attributes as arrays; `true`/`false` hold the child, -1 - leaf where it is a leaf."""

    feature: Ints
    split: npt.NDArray[np.float64]
    mode: Ints
    missing_true: npt.NDArray[np.bool_]
    true: Ints
    false: Ints
    weight: npt.NDArray[np.float64]
    target: Ints
    roots: Ints
    targets: int
    single: bool = False
    """Features, splits and leaves are float32 numbers (held in doubles), and sums are rounded to float32."""

    @property
    def leaves(self) -> int:
        return len(self.weight)


def read(attributes: Mapping[str, Any]) -> TreeSet:
    """The operator's attributes (tensors as arrays) as a `TreeSet`; Any: protobuf."""
    if attributes.get("aggregate_function", SUM) != SUM:
        raise NotCompilable("TreeEnsemble does not add its trees up.", operator="TreeEnsemble")
    if attributes.get("post_transform", NO_TRANSFORM) != NO_TRANSFORM:
        raise NotCompilable("TreeEnsemble has a post-transform of its own.", operator="TreeEnsemble")
    split = np.asarray(attributes["nodes_splits"])
    if split.dtype not in (np.float64, np.float32):
        raise NotCompilable(f"TreeEnsemble computes in {split.dtype}, SQL in double.", operator="TreeEnsemble")
    single = split.dtype == np.float32
    if single and len(attributes["tree_roots"]) > IN_ORDER:
        # Where rounding is to float32, the sum of a balanced tree is another one.
        raise NotCompilable(f"more than {IN_ORDER} trees that are added in float32", operator="TreeEnsemble")
    mode = np.asarray(attributes["nodes_modes"], dtype=np.int64)
    missing = attributes.get("nodes_missing_value_tracks_true")
    return TreeSet(
        feature=_ints(attributes["nodes_featureids"]),
        split=split.astype(np.float64),
        mode=mode,
        missing_true=np.zeros(len(mode), dtype=np.bool_) if not missing else _ints(missing) != 0,
        true=_child(attributes, "true"),
        false=_child(attributes, "false"),
        weight=np.asarray(attributes["leaf_weights"], dtype=np.float64),
        target=_ints(attributes["leaf_targetids"]),
        roots=_ints(attributes["tree_roots"]),
        targets=int(attributes["n_targets"]),
        single=single,
    )


def leaf_counts(trees: TreeSet) -> Ints:
    """Leaves of each tree."""
    # Trees are stored one after the other in every exporter seen; a count by walking would be slow for 100,000 leaves.
    ends = np.append(trees.roots[1:], len(trees.split))
    return np.maximum(ends - trees.roots, 0) + 1


def terms(algebra: Algebra, forest: Forest) -> list[Node]:
    """What each tree adds to the forest's target: nested `where` over constants, trees without a leaf of it left out."""
    trees = forest.trees
    used = np.unique(trees.feature)
    for feature in used:
        splits = np.unique(trees.split[trees.feature == feature])
        algebra.pull_back_all(forest.features[feature], splits.tolist())
    found = [_tree(algebra, forest, int(root)) for root in trees.roots]
    zero = algebra.double(0.0)
    kept = [node for node in found if node is not zero]
    return kept or [zero]


def _tree(algebra: Algebra, forest: Forest, root: int) -> Node:
    """The tree from its leaves up; a stack instead of recursion, for a tree may be a thousand deep."""
    done: dict[int, Node] = {}
    stack = [root]
    trees = forest.trees
    while stack:
        node = stack[-1]
        if node in done:
            stack.pop()
            continue
        if node < 0:
            leaf = -1 - node
            done[node] = algebra.double(float(trees.weight[leaf]) if trees.target[leaf] == forest.target else 0.0)
            continue
        children = [int(trees.true[node]), int(trees.false[node])]
        waiting = [child for child in children if child not in done]
        if waiting:
            stack += waiting
            continue
        done[node] = algebra.where(_goes_true(algebra, forest, node), done[children[0]], done[children[1]])
    return done[root]


def _goes_true(algebra: Algebra, forest: Forest, node: int) -> Node:
    trees = forest.trees
    mode = int(trees.mode[node])
    if mode == MEMBER:
        raise NotCompilable("TreeEnsemble splits by membership in a set.", operator="TreeEnsemble")
    feature = forest.features[trees.feature[node]]
    threshold = algebra.double(float(trees.split[node]))
    if MODES[mode] == "!=":
        condition = algebra.negate(algebra.compare("==", feature, threshold))
    else:
        condition = algebra.compare(MODES[mode], feature, threshold)
    if trees.missing_true[node]:
        return algebra.either(condition, algebra.is_nan(feature))
    return condition


def _ints(values: Sequence[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64, count=len(values))


def _child(attributes: Mapping[str, Any], side: str) -> Ints:  # Any: protobuf
    ids, is_leaf = _ints(attributes[f"nodes_{side}nodeids"]), _ints(attributes[f"nodes_{side}leafs"])
    return np.where(is_leaf != 0, -1 - ids, ids)
