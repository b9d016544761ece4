"""What an engine answers with: SQL expressions over one row's features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model as SQL.

    `lets` are named intermediates in dependency order; a later one, and the outputs, refer to an earlier one as
    `exp.column(name)` with the name as given (quoted, never one a user could choose: all start with "sqlml ").
    `prediction` has the SQL type of the signature (a STRUCT of DOUBLEs where it has several targets);
    `probabilities` are DOUBLE, one per class, in class order; both are NULL where `error` (VARCHAR) is not.
    """

    lets: tuple[tuple[str, exp.Expression], ...]
    prediction: exp.Expression
    probabilities: tuple[exp.Expression, ...]
    error: exp.Expression
    named_probabilities: Callable[[Sequence[str]], exp.Expression | None] | None = None
    """Gives the STRUCT of the probabilities under these names, where the engine has a cheaper way than field by field."""
    unreadable: exp.Expression | None = None
    """The part of `error` that names a value which could not be read: only of an engine that reads values itself."""
    error_asks_again: bool = False
    """Whether `error` mentions an intermediate more than once for rows with an error only, so that a macro may repeat it."""


class Engine(Protocol):
    """One way of computing a model inside a query."""

    name: str
    reads_values: bool
    """Whether the engine takes a column's values as they are, of any type, and says itself which it cannot read."""

    def outputs(self, features: Sequence[exp.Expression]) -> Outputs:
        """The outputs over `features`: per signature column an expression of type DOUBLE or VARCHAR, in which
        a missing value is NULL (never NaN), in signature order. An engine that reads values gets the references."""
