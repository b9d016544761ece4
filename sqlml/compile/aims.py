"""How a row reaches a split: what the splits above it ask of the columns.

A threshold shows nothing in a row that turns off before it. So for each threshold one split is chosen that has it, and
the conditions on the way from the root are added up, in units of the table's columns: an interval for a number, the
categories that remain for a text. A row with any values of these, and the threshold in the split's own column, stands
exactly at that split of that tree, whatever the other trees do with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sqlml.compile.constants import COMPARISONS, Doubles
from sqlml.compile.nodes import Input, Lookup, Node, is_op
from sqlml.compile.thresholds import Chain, chain_of, pull_back
from sqlml.compile.trees import MODES, TreeSet

Ints = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

BLOCK = 1000
"""Splits whose ways are followed at once: bounds the memory of (splits x columns)."""
NOT_A_CATEGORY = "sqlml: never seen"
"""Stands for every text that the model does not know."""


@dataclass(frozen=True)
class Block:
    """Some splits, one per row. Column positions are the signature's; intervals are closed.

    `at` is the last value of `column` on its side of the split, `beyond` the first one on the other.
    """

    column: Ints
    at: Doubles
    beyond: Doubles
    low: Doubles
    """[n, columns]"""
    high: Doubles
    texts: tuple[Mapping[int, frozenset[str]], ...]
    """The categories that lead there, by column, where only some do."""

    def __len__(self) -> int:
        return len(self.at)


class Splits:
    """The splits of all trees, as they are added; `loose` thresholds are of trees whose ways are not followed."""

    def __init__(self) -> None:
        self.loose: list[tuple[Input, Doubles]] = []
        self.trees = 0
        self._columns: dict[int, Input] = {}
        self._parts: list[_Part] = []
        self._size = 0

    def add(self, trees: TreeSet, features: Sequence[Node]) -> int:
        """Take in one ensemble; returns how many of its thresholds are of no single column."""
        size = len(trees.split)
        part = _Part(
            column=np.full(size, -1, dtype=np.int64),
            bound=np.full(size, np.nan),
            rises=np.ones(size, dtype=np.bool_),
            low_side_true=np.isin(trees.mode, (0, 1)),
            true=np.where(trees.true >= 0, trees.true + self._size, -1),
            false=np.where(trees.false >= 0, trees.false + self._size, -1),
        )
        lost = 0
        strict = np.isin(trees.mode, (1, 2))
        ordered = trees.mode <= 3
        # Where both branches are one leaf the tree is a constant, and its root decides nothing.
        decides = trees.true != trees.false
        for feature in np.unique(trees.feature[decides]).tolist():
            here = decides & (trees.feature == feature)
            node = features[feature] if feature < len(features) else None
            chains = [] if node is None else _chains(node)
            if not chains:
                if isinstance(node, Lookup):
                    self._texts(part, trees, here, node)
                else:
                    lost += len(np.unique(trees.split[here]))
                continue
            chain, *others = chains
            self._columns[chain.column.index] = chain.column
            for one in (False, True):
                chosen = here & ordered & (strict == one)
                values, back = np.unique(trees.split[chosen], return_inverse=True)
                part.bound[chosen] = pull_back(chain, values, strict=one)[back]
                part.column[chosen] = chain.column.index
                part.rises[chosen] = chain.rises
            equal, every = np.unique(trees.split[here & ~ordered]), np.unique(trees.split[here])
            for one in (False, True):
                if len(equal):
                    self.loose.append((chain.column, pull_back(chain, equal, strict=one)))
                self.loose += [(c.column, pull_back(c, every, strict=one)) for c in others]
        self._parts.append(part)
        self._size += size
        self.trees += len(trees.roots)
        return lost

    def _texts(self, part: _Part, trees: TreeSet, here: Truths, lookup: Lookup) -> None:
        if lookup.column.dtype != "text":
            return
        for position in np.flatnonzero(here & (trees.mode <= 5)).tolist():
            part.texts[position + self._size] = (lookup, MODES[int(trees.mode[position])], float(trees.split[position]))

    def thresholds(self) -> Iterator[tuple[Input, Doubles]]:
        yield from self.loose
        for part in self._parts:
            for index in np.unique(part.column[part.column >= 0]).tolist():
                yield self._columns[index], part.bound[part.column == index]

    def joined(self) -> _Part:
        """All ensembles as one."""
        if not self._parts:
            nothing = np.zeros(0)
            whole, no = nothing.astype(np.int64), nothing.astype(np.bool_)
            return _Part(whole, nothing, no, no, whole, whole)
        texts: dict[int, tuple[Lookup, str, float]] = {}
        for part in self._parts:
            texts |= part.texts
        return _Part(
            column=np.concatenate([part.column for part in self._parts]),
            bound=np.concatenate([part.bound for part in self._parts]),
            rises=np.concatenate([part.rises for part in self._parts]),
            low_side_true=np.concatenate([part.low_side_true for part in self._parts]),
            true=np.concatenate([part.true for part in self._parts]),
            false=np.concatenate([part.false for part in self._parts]),
            texts=texts,
        )


@dataclass
class _Part:
    """Splits of one ensemble, numbered through all: `column` is -1 where the split is not on a number of one column."""

    column: Ints
    bound: Doubles
    rises: Truths
    low_side_true: Truths
    """f(x) <= t, or f(x) < t, takes the true branch."""
    true: Ints
    false: Ints
    texts: dict[int, tuple[Lookup, str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Aims:
    """One split per threshold, where one was found."""

    targets: Ints
    columns: int
    _splits: _Part
    _parent: Ints
    _is_true: Truths
    _known: Mapping[int, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.targets)

    def blocks(self, count: int) -> Iterator[Block]:
        """At most `count` splits, evenly spaced, without those that no row can reach."""
        chosen = self.targets
        if len(chosen) > count:
            chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, count).round().astype(np.int64))]
        for start in range(0, len(chosen), BLOCK):
            yield self._block(chosen[start : start + BLOCK])

    def _block(self, targets: Ints) -> Block:
        splits, size = self._splits, len(targets)
        low = np.full((size, self.columns), -np.inf)
        high = np.full((size, self.columns), np.inf)
        texts: list[dict[int, frozenset[str]]] = [{} for _ in range(size)]
        rows, child = np.arange(size), targets
        while len(rows):
            parent = self._parent[child]
            inside = parent >= 0
            rows, parent, is_true = rows[inside], parent[inside], self._is_true[child[inside]]
            self._narrow(low, high, rows, parent, is_true)
            if splits.texts:
                for row, above, side in zip(rows.tolist(), parent.tolist(), is_true.tolist(), strict=True):
                    if above in splits.texts:
                        self._keep(texts[row], above, side)
            child = parent
        column, at = splits.column[targets], splits.bound[targets]
        beyond = np.nextafter(at, np.where(splits.rises[targets], np.inf, -np.inf))
        own = (np.arange(size), column)
        reached = (low <= high).all(axis=1) & np.isfinite(at)
        reached &= (low[own] <= np.minimum(at, beyond)) & (np.maximum(at, beyond) <= high[own])
        reached &= np.array([all(found.values()) for found in texts], dtype=np.bool_)
        kept = np.flatnonzero(reached)
        return Block(column[kept], at[kept], beyond[kept], low[kept], high[kept], tuple(texts[i] for i in kept))

    def _narrow(self, low: Doubles, high: Doubles, rows: Ints, parent: Ints, is_true: Truths) -> None:
        """The intervals of the columns that these splits are on; a row has each parent once."""
        splits = self._splits
        here = (splits.column[parent] >= 0) & ~np.isnan(splits.bound[parent])
        rows, parent, is_true = rows[here], parent[here], is_true[here]
        column, bound, rises = splits.column[parent], splits.bound[parent], splits.rises[parent]
        satisfied = is_true == splits.low_side_true[parent]
        # f(x) <= t means x <= bound where f rises, x >= bound where it falls; its opposite begins one step on.
        upper = satisfied == rises
        edge = np.where(satisfied, bound, np.nextafter(bound, np.where(rises, np.inf, -np.inf)))
        cells = (rows[upper], column[upper])
        high[cells] = np.minimum(high[cells], edge[upper])
        cells = (rows[~upper], column[~upper])
        low[cells] = np.maximum(low[cells], edge[~upper])

    def _keep(self, texts: dict[int, frozenset[str]], split: int, is_true: bool) -> None:
        lookup, mode, threshold = self._splits.texts[split]
        index = lookup.column.index
        values = {key: float(value) for key, value in lookup.table if isinstance(key, str)}
        default = float(lookup.default)
        before = texts.get(index, self._known.get(index, ()))
        texts[index] = frozenset(t for t in before if _holds(mode, values.get(t, default), threshold) == is_true)


def aims_of(
    splits: Splits,
    columns: Sequence[Input],
    thresholds: Mapping[str, Doubles],
    categories: Mapping[str, Sequence[str]],
) -> Aims | None:
    """For each of these thresholds a split that has it, if a tree has."""
    joined = splits.joined()
    size = len(joined.column)
    if size == 0:
        return None
    parent, is_true = np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=np.bool_)
    for child, side in ((joined.true, True), (joined.false, False)):
        inner = child >= 0
        parent[child[inner]] = np.flatnonzero(inner)
        is_true[child[inner]] = side
    # Which of several splits with one threshold is taken is drawn, so that it is not always the first tree's.
    order = np.random.default_rng(0).permutation(size)
    found: list[Ints] = []
    for column in columns:
        mine = order[joined.column[order] == column.index]
        values, first = np.unique(joined.bound[mine], return_index=True)
        taken = np.isin(values, thresholds.get(column.name, np.zeros(0)))
        found.append(mine[first[taken]])
    targets = np.concatenate(found)
    known = {c.index: (*categories.get(c.name, ()), NOT_A_CATEGORY) for c in columns if c.dtype == "text"}
    return Aims(np.sort(targets), len(columns), joined, parent, is_true, known) if len(targets) else None


def _chains(node: Node) -> list[Chain]:
    """The node as functions of one column, one for each way it can take: an imputer's other way is a constant."""
    if is_op(node, "where"):
        return [chain for side in node.args[1:] for chain in _chains(side)]
    found = chain_of(node)
    return [] if found is None else [found]


def _holds(mode: str, value: float, threshold: float) -> bool:
    if mode == "!=":
        return value != threshold
    return bool(COMPARISONS[mode](value, threshold))
