"""Nodes become SQL. What SQL and ONNX see differently is settled here.

A missing number is NULL, and where arithmetic made it, NaN: DuckDB orders NaN above everything, ONNX compares it as
false. A condition comes out in one of two ways: `truth`, TRUE where it holds and FALSE or NULL where not, which is all
that CASE WHEN, AND and OR ask for; and `strict`, never NULL, which NOT needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from sqlglot import exp

from sqlml import sql
from sqlml.compile import ranges, trees
from sqlml.compile.algebra import LARGEST, Algebra
from sqlml.compile.constants import COMPARISONS, MIRRORED, NEGATED
from sqlml.compile.nodes import Const, Forest, Input, Key, Lookup, Node, Op, Select, Value, is_missing_test, is_op
from sqlml.engines.functions import ARITHMETIC, COMPARED, FUNCTIONS, negative, wrapped

DEPTH = trees.IN_ORDER


class Emitter:
    """SQL for the nodes of one program.

    `features` are the columns' expressions, `names` the intermediates that already have a name. `present` are the
    columns known not to be missing wherever the result counts, because the program's error says so.
    """

    def __init__(
        self,
        features: Sequence[exp.Expression],
        names: Mapping[Node, str],
        present: frozenset[Input] = frozenset(),
    ) -> None:
        self._features = features
        self._raw = [_unguarded(feature) for feature in features]
        self._names = names
        self._present = present

    def value(self, node: Node, *, named: bool = True) -> exp.Expression:
        """The node as an expression; `named=False` spells out one that has a name."""
        if named and node in self._names:
            return sql.column(self._names[node])
        if node.dtype == "bool":
            return self.strict(node)
        if isinstance(node, Const):
            return literal(node.value)
        if isinstance(node, Input):
            return (self._raw if node in self._present else self._features)[node.index].copy()
        if isinstance(node, Lookup):
            return self._lookup(node)
        if isinstance(node, Select):
            return self.choose(node, literal)
        if isinstance(node, Forest):
            return self._forest(node)
        return self._operation(node)

    def answer(self, node: Node) -> exp.Expression:
        """The node as an output: a number that the model leaves missing is NaN, for NULL means that there is none."""
        made = self.value(node)
        return exp.Coalesce(this=made, expressions=[sql.double(math.nan)]) if self.nullable(node) else made

    def truth(self, node: Node) -> exp.Expression:
        """TRUE where the condition holds; FALSE or NULL elsewhere."""
        if isinstance(node, Const):
            return exp.Boolean(this=bool(node.value))
        if isinstance(node, Lookup):
            return self._is_in(node)
        if isinstance(node, Select):
            return self._any_case(node)
        if not isinstance(node, Op):
            raise TypeError(f"{node} is no condition")
        if node.name in COMPARISONS:
            return self._comparison(node)
        if node.name == "and":
            return sql.all_of([wrapped(self.truth(a)) for a in node.args])
        if node.name == "or":
            return sql.any_of([wrapped(self.truth(a)) for a in node.args])
        if node.name == "not":
            return self._negation(node.args[0])
        if node.name == "is_nan":
            tested = sql.call("isnan", self.value(node.args[0]))
            if not self.nullable(node.args[0]):
                return tested
            return exp.Coalesce(this=tested, expressions=[exp.true()])
        if node.name == "is_inf":
            return sql.call("isinf", self.value(node.args[0]))
        if node.name == "first_max":
            return self._first_max(node)
        raise KeyError(node.name)

    def strict(self, node: Node) -> exp.Expression:
        """TRUE where the condition holds, FALSE elsewhere, never NULL."""
        made = self.truth(node)
        return exp.Coalesce(this=made, expressions=[exp.false()]) if self._is_open(node) else made

    def refuted(self, node: Node) -> exp.Expression:
        """TRUE where the condition does not hold, FALSE where it does, never NULL (but for columns taken as present)."""
        if is_op(node, "or"):
            return sql.all_of([wrapped(self.refuted(a)) for a in node.args])
        if is_op(node, "not"):
            return self.strict(node.args[0])
        return self._negation(node)

    def in_range(self, column: Input, *, finite: bool) -> exp.Expression:
        """TRUE where the column is there (and finite, if asked); FALSE or NULL elsewhere.

        As a range, because DuckDB folds it away where the column's statistics lie inside.
        """
        raw = self._raw[column.index].copy()
        if finite:
            return exp.Between(this=raw, low=sql.double(-LARGEST), high=sql.double(LARGEST))
        return exp.LTE(this=raw, expression=sql.double(math.inf))

    def choose(self, node: Node, label: Callable[[Value], exp.Expression]) -> exp.Expression:
        """A node over listed values, each value written by `label`."""
        if isinstance(node, Const):
            return label(node.value)
        if isinstance(node, Lookup):
            return self._lookup(node, label)
        if not isinstance(node, Select):
            raise TypeError(f"{node} does not list its values")
        first = node.cases[0][0]
        if is_op(first, "first_max") and len(first.args) > 3 and self._is_ranking(node):
            # One pass for the greatest, then equality: NaN is the greatest in DuckDB, and equal to itself.
            scores = [self.value(score) for score in first.args[:-1]]
            top = sql.call("greatest", *(score.copy() for score in scores))
            cases = [
                exp.If(this=score, true=label(value)) for score, (_, value) in zip(scores, node.cases, strict=False)
            ]
            return exp.Case(this=top, ifs=cases, default=label(node.default))
        return sql.case([(self.truth(c), label(value)) for c, value in node.cases], label(node.default))

    def nullable(self, node: Node) -> bool:
        """Whether the node's SQL can be NULL where it counts."""
        if isinstance(node, Input):
            return node not in self._present
        if not isinstance(node, Op):
            return False
        if node.dtype == "bool":
            return False
        if node.name == "where":
            condition, a, b = node.args
            return self.nullable(a) or (self.nullable(b) and not _is_filled(condition, b))
        return any(self.nullable(a) for a in node.args)

    def _operation(self, node: Op) -> exp.Expression:
        name = node.name
        if name == "where":
            return self._where(node)
        if name == "sum":
            terms = [wrapped(self.value(a)) for a in node.args]
            return sql.sum_in_order(terms) if len(terms) <= DEPTH else sql.sum_balanced(terms)
        if name in ("min", "max"):
            return self._extreme(node)
        if name == "float32":
            return self._rounded(node.args[0])
        args = [wrapped(self.value(a)) for a in node.args]
        if name in ARITHMETIC:
            return ARITHMETIC[name](this=args[0], expression=args[1])
        return FUNCTIONS[name](*args)

    def _rounded(self, node: Node) -> exp.Expression:
        """Rounded to float32, the argument mentioned once wherever that is possible: such roundings follow each other.

        FLOAT with FLOAT is a FLOAT to DuckDB, rounded once and overflowing as IEEE has it; a sum, product or quotient of
        float32 numbers in double, rounded after that, is the same number.
        """
        if is_op(node, *ARITHMETIC) and node not in self._names and all(ranges.is_single(a) for a in node.args):
            sides = [sql.cast(self.value(a), "FLOAT") for a in node.args]
            return sql.cast(ARITHMETIC[node.name](this=sides[0], expression=sides[1]), "DOUBLE")
        value = wrapped(self.value(node))
        if ranges.fits_single(node):
            return sql.cast(sql.cast(value, "FLOAT"), "DOUBLE")
        return FUNCTIONS["float32"](value)

    def _where(self, node: Op) -> exp.Expression:
        condition, a, b = node.args
        if is_missing_test(condition) and (b is condition.column or _is_filled(condition, b)):
            return exp.Coalesce(this=self.value(b), expressions=[self.value(a)])
        if is_op(condition, "not"):
            return sql.case([(self.truth(condition.args[0]), self.value(b))], self.value(a))
        return sql.case([(self.truth(condition), self.value(a))], self.value(b))

    def _extreme(self, node: Op) -> exp.Expression:
        """greatest and least pass over NULL, and least over NaN, where ONNX gives NaN."""
        args = [self.value(a) for a in node.args]
        if not any(self.nullable(a) for a in node.args):
            made = sql.call("greatest" if node.name == "max" else "least", *args)
            if node.name == "max" or not any(may_be_nan(a) for a in node.args):
                return made
        missing = [
            exp.Coalesce(this=sql.call("isnan", a.copy()), expressions=[exp.true()])
            for a, of in zip(args, node.args, strict=True)
            if self.nullable(of) or may_be_nan(of)
        ]
        made = sql.call("greatest" if node.name == "max" else "least", *args)
        return sql.case([(sql.any_of(missing), sql.double(math.nan))], made)

    def _comparison(self, node: Op) -> exp.Expression:
        name, (a, b) = node.name, node.args
        left, right = wrapped(self.value(a)), wrapped(self.value(b))
        if isinstance(a, Input) and not may_be_nan(b):
            # Most of a tree is this, so it goes without the guard against NaN where the comparison has no need of it.
            raw = wrapped(self._raw[a.index].copy())
            if name in ("<", "<=", "==") or raw == left:
                return COMPARED[name](this=raw, expression=right)
            return COMPARED[MIRRORED[name]](this=negative(raw), expression=negative(right))
        if may_be_nan(a) and name in (">", ">=") and not may_be_nan(b):
            # -a < -b is a > b, but for NaN, which is above everything and so never below.
            return COMPARED[MIRRORED[name]](this=negative(left), expression=negative(right))
        if may_be_nan(b) and name in ("<", "<=") and not may_be_nan(a):
            return COMPARED[MIRRORED[name]](this=negative(left), expression=negative(right))
        made = COMPARED[name](this=left, expression=right)
        if may_be_nan(a) and may_be_nan(b):
            numbers = [exp.Not(this=sql.call("isnan", side.copy())) for side in (left, right)]
            return sql.all_of([made, *numbers])
        return made

    def _negation(self, node: Node) -> exp.Expression:
        if is_op(node, "<", "<=", ">", ">=") and isinstance(node.args[0], Input) and isinstance(node.args[1], Const):
            opposite = Op(NEGATED[node.name], node.args, "bool")
            made = self._comparison(opposite)
            if not self.nullable(node.args[0]):
                return made
            return sql.any_of([made, _is_null(self.value(node.args[0]))])
        return exp.Not(this=wrapped(self.strict(node)))

    def _is_open(self, node: Node) -> bool:
        """Whether `truth` may be NULL."""
        if isinstance(node, Lookup):
            return not is_missing_test(node) and self.nullable(node.column)
        if isinstance(node, Select):
            return any(self._is_open(c) for c, _ in node.cases)
        if not isinstance(node, Op) or node.name in ("not", "is_nan"):
            return False
        if node.name in ("and", "or"):
            return any(self._is_open(a) for a in node.args)
        return any(self.nullable(a) for a in node.args)

    def _any_case(self, node: Select) -> exp.Expression:
        if all(value for _, value in node.cases) and not node.default:
            return sql.any_of([wrapped(self.truth(c)) for c, _ in node.cases])
        return self.choose(node, literal)

    def _is_in(self, node: Lookup) -> exp.Expression:
        """`x = 'a'`, `x IN (...)`, or what they come to when they are turned round."""
        column, raw = self._features[node.column.index], self._raw[node.column.index]
        listed = [key for key, _ in node.table if key is not None]
        missing = any(key is None for key, _ in node.table)
        if not node.default:
            found = [_one_of(raw, listed)] if listed else []
            return sql.any_of(found + ([_is_null(column.copy())] if missing else []))
        if not listed:
            return exp.Not(this=_is_null(column.copy()))
        outside = exp.Not(this=exp.Paren(this=_one_of(raw, listed)))
        if missing or not self.nullable(node.column):
            return outside
        return sql.any_of([outside, _is_null(column.copy())])

    def _lookup(self, node: Lookup, label: Callable[[Value], exp.Expression] | None = None) -> exp.Expression:
        write = label or literal
        column, raw = self._features[node.column.index], self._raw[node.column.index]
        by_value: dict[str, tuple[Value, list[Key]]] = {}
        for key, value in node.table:
            by_value.setdefault(repr(value), (value, []))[1].append(key)
        single = [(k, v) for k, v in node.table if k is not None]
        missing = [v for k, v in node.table if k is None]
        if len(by_value) == len(node.table) and len(single) > 1:
            ifs = [exp.If(this=_key(k), true=write(v)) for k, v in single]
            made: exp.Expression = exp.Case(this=raw.copy(), ifs=ifs, default=write(node.default))
        elif single:
            cases = []
            for value, keys in by_value.values():
                found = [k for k in keys if k is not None]
                if found:
                    cases.append((_one_of(raw, found), write(value)))
            made = sql.case(cases, write(node.default))
        else:
            made = write(node.default)
        return sql.case([(_is_null(column.copy()), write(missing[0]))], made) if missing else made

    def _forest(self, node: Forest) -> exp.Expression:
        terms = [self.value(term) for term in _tree_terms(node)]
        if node.trees.single:
            # FLOAT + FLOAT is a FLOAT, and DuckDB rounds and overflows it as IEEE has it (2.0.0).
            total = sql.cast(sql.sum_in_order([sql.cast(term, "FLOAT") for term in terms]), "DOUBLE")
        else:
            total = sql.sum_in_order(terms) if len(terms) <= DEPTH else sql.sum_balanced(terms)
        intermediates = set(self._names.values())
        if any(column.name in intermediates for column in total.find_all(exp.Column)):
            return total  # they may still be replaced by what they stand for
        return sql.written(total)

    def _first_max(self, node: Op) -> exp.Expression:
        *scores, position = node.args
        at = int(position.value) if isinstance(position, Const) else 0
        top = scores[at]
        return sql.all_of(
            [
                (exp.GT if i < at else exp.GTE)(this=wrapped(self.value(top)), expression=wrapped(self.value(other)))
                for i, other in enumerate(scores)
                if i != at
            ]
        )

    def _is_ranking(self, node: Select) -> bool:
        """Whether the cases are "the first score is greatest", "the second is" ... of the same scores, in order."""
        first = node.cases[0][0]
        scores = first.args[:-1] if isinstance(first, Op) else ()
        return len(node.cases) == len(scores) - 1 and all(
            is_op(c, "first_max")
            and c.args[:-1] == scores
            and isinstance(c.args[-1], Const)
            and c.args[-1].value == position
            for position, (c, _) in enumerate(node.cases)
        )


def literal(value: Value) -> exp.Expression:
    if isinstance(value, bool):
        return exp.Boolean(this=value)
    if isinstance(value, int):
        return sql.integer(value)
    return sql.double(value) if isinstance(value, float) else sql.text(value)


def may_be_nan(node: Node) -> bool:
    """Whether the node's SQL can be NaN (not NULL): arithmetic on infinities makes one."""
    if isinstance(node, Const):
        return isinstance(node.value, float) and math.isnan(node.value)
    if isinstance(node, Lookup):
        return any(isinstance(v, float) and math.isnan(v) for v in (node.default, *(v for _, v in node.table)))
    if isinstance(node, Select):
        return any(isinstance(v, float) and math.isnan(v) for v in (node.default, *(v for _, v in node.cases)))
    if not isinstance(node, Op) or node.dtype != "double":
        return False
    if node.name == "where":
        return any(may_be_nan(a) for a in node.args[1:])
    if node.name in ("neg", "abs", "floor", "ceil", "round", "float32", "min", "max", "tanh", "sigmoid", "exp"):
        return any(may_be_nan(a) for a in node.args)
    if node.name in ("add", "sub", "mul", "div") and isinstance(node.args[1], Const):
        number = float(node.args[1].value)
        if math.isfinite(number) and (number != 0 or node.name in ("add", "sub")):
            return may_be_nan(node.args[0])
    return True


def _is_filled(condition: Node, node: Node) -> bool:
    """Whether "the column is missing" is exactly when this function of the column is NULL: COALESCE then says it."""
    if not is_missing_test(condition):
        return False
    while isinstance(node, Op) and node.name in ("add", "sub", "mul", "div", "neg", "float32"):
        moving = [a for a in node.args if not isinstance(a, Const)]
        if len(moving) != 1:
            return False
        node = moving[0]
    return node is condition.column


@lru_cache(maxsize=8)
def _tree_terms(forest: Forest) -> list[Node]:
    """Once per forest: every function of a deployment has the same trees, over other names of the columns."""
    return trees.terms(Algebra(), forest)


def _unguarded(feature: exp.Expression) -> exp.Expression:
    """The feature without its guard against NaN (`features.feature`), for where NaN and NULL come to the same."""
    return feature.this if isinstance(feature, exp.Nullif) else feature


def _one_of(column: exp.Expression, keys: Sequence[Key]) -> exp.Expression:
    if len(keys) == 1:
        return exp.EQ(this=column.copy(), expression=_key(keys[0]))
    return exp.In(this=column.copy(), expressions=[_key(key) for key in keys])


def _key(key: Key) -> exp.Expression:
    return sql.text(key) if isinstance(key, str) else sql.double(math.nan if key is None else key)


def _is_null(node: exp.Expression) -> exp.Expression:
    return exp.Is(this=node, expression=exp.Null())
