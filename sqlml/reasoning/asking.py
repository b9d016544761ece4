"""What a version says about one row, and about the same row with another value in one of its columns: one statement for
all that is asked at a time, the version's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlglot import exp

from sqlml import objects, sql
from sqlml.engines.surface import class_fields, output_columns
from sqlml.parsing import parsed
from sqlml.reasoning.guessing import Scores
from sqlml.reasoning.rows import Values
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

# Any in this module: labels and other SQL values.
MOST_CLASSES = 20
"""Of more, probabilities are not looked at: they only save rounds."""
NUMBER, PLACE, TEXT = "sqlml n", "sqlml place", "sqlml text"


class Candidate(NamedTuple):
    """The row with `text` (NULL: None) in one of its columns."""

    column: int
    text: str | None


OWN = Candidate(-1, None)
"""The row as it is."""


class Said(NamedTuple):
    """`label` is None where the row has an error."""

    label: Any
    scores: Scores


FAILED = Said(None, ())


@dataclass(frozen=True)
class Answer:
    """About the row itself. `outputs` is None of a python_function, which is not asked."""

    outputs: dict[str, Any] | None
    input_hash: int | None


class Asker:
    """Predicts the row with one of its columns changed, many at once; `query` is the version's own over whole rows.

    `predicts`: whether it is a model's, or (of a python_function) only says what the model would be asked.
    """

    def __init__(
        self, connection: Connection, signature: Signature, base: Values, query: str, *, predicts: bool = True
    ) -> None:
        self.base, self.asked = base, 0
        self._connection, self._signature, self._query = connection, signature, query
        self._said: dict[Candidate, Said] = {}
        self._scores = _probabilities(signature)
        self._outputs = tuple(name for name, _ in output_columns(signature)) if predicts else ()
        self._own: Answer | None = None

    def ask(self, candidates: Sequence[Candidate]) -> list[Said]:
        """An answer to each; what was answered before is not asked again."""
        new = list(dict.fromkeys(c for c in candidates if c not in self._said))
        if new:
            self.asked += len(new)
            # Of few classes everything is fetched, so that the answer about the row itself is there.
            fetched = self._outputs if self._scores else ("prediction", "error")
            places = {name: i for i, name in enumerate(fetched, 1)}
            label, error, scores = places["prediction"], places["error"], [places[name] for name in self._scores]
            for row in self._rows(new, fetched):
                odds = tuple([row[place] for place in scores])
                said = Said(row[label], () if None in odds else odds) if row[error] is None else FAILED
                self._said[new[row[0]]] = said
                if new[row[0]] == OWN and fetched == self._outputs:
                    self._own = self._answer(row)
        return [self._said[c] for c in candidates]

    def labels(self, candidates: Sequence[Candidate]) -> list[Any]:
        """A label for each; None where the row has an error."""
        return [said.label for said in self.ask(candidates)]

    def own(self) -> Answer:
        """About the row itself; it costs nothing where `ask` has asked about it."""
        if self._own is None:
            (row,) = self._rows([OWN], self._outputs)
            self._own = self._answer(row)
        return self._own

    def _answer(self, row: Sequence[Any]) -> Answer:
        _, *outputs, digest = row
        return Answer(dict(zip(self._outputs, outputs, strict=True)) if self._outputs else None, digest)

    def _rows(self, candidates: Sequence[Candidate], outputs: tuple[str, ...]) -> list[tuple[Any, ...]]:
        """(number of the candidate, outputs, hash of the inputs) in any order."""
        statement = parsed(self._connection, _asking(self._signature, self.base.types, self._query, outputs))
        numbers, columns = list(range(len(candidates))), [c.column for c in candidates]
        given = [numbers, columns, [c.text for c in candidates], list(self.base.texts)]
        return self._connection.execute(statement, given).fetchall()


@lru_cache(maxsize=64)
def _asking(signature: Signature, types: tuple[str, ...], query: str, outputs: tuple[str, ...]) -> str:
    """A statement of numbers, columns and texts (of candidates) and the row's own texts."""
    columns: list[exp.Expression] = [sql.alias(sql.column(NUMBER, "c"), NUMBER)]
    own = sql.cast(exp.Parameter(this=sql.integer(4)), "VARCHAR[]")
    for i, (column, kind) in enumerate(zip(signature.columns, types, strict=True)):
        mine = exp.EQ(this=sql.column(PLACE, "c"), expression=sql.integer(i))
        changed = sql.try_cast(sql.column(TEXT, "c"), kind)
        unchanged = sql.cast(sql.call("list_extract", own.copy(), sql.integer(i + 1)), kind)
        columns.append(sql.alias(sql.case([(mine, changed)], unchanged), column.name))
    listed = [(NUMBER, "INTEGER[]"), (PLACE, "INTEGER[]"), (TEXT, "VARCHAR[]")]
    given = exp.select(
        *(
            sql.alias(sql.call("unnest", sql.cast(exp.Parameter(this=sql.integer(i)), kind)), name)
            for i, (name, kind) in enumerate(listed, 1)
        )
    )
    rows = sql.render(exp.select(*columns).from_(given.subquery("c")))
    number = sql.field(sql.column(objects.ROW), NUMBER)
    answers = [sql.column(name) for name in (*outputs, "input_hash")]
    return sql.select_from(sql.render(exp.select(number, *answers)), sql.with_source(objects.SOURCE, rows, query))


def _probabilities(signature: Signature) -> list[str]:
    if not signature.probabilities or len(signature.classes) > MOST_CLASSES:
        return []
    return [f"probability_{name}" for name in class_fields(signature)]
