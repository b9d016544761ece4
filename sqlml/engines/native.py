"""The `native` engine: one call of the extension per row, which answers with a STRUCT.

The extension reads the columns as they are, so a macro mentions each of them once: DuckDB plans `r.column` by taking a
STRUCT of all the row's columns apart, which costs the square of their number (measured: 400 columns take 0.7 s for each
time that they are mentioned). Every answer is written so that the call stands in it once, too: DuckDB merges equal calls
of one SELECT, but not those inside of a CASE.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import extension, sql
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.calling import LET, LETTERS, model_arguments
from sqlml.engines.explain import Explainer, TreeExplainer, native_explainer
from sqlml.engines.features import cast_error
from sqlml.engines.outputs import Outputs
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

MAX_FIELDS = 200
"""Up to so many classes or targets each value is a field of the STRUCT; beyond, they are one list."""


class NativeEngine:
    """Calls the extension with the model, its columns' types, and what loads it where it is not loaded yet."""

    name = "native"
    reads_values = True

    def __init__(
        self, sha256: str, signature: Signature, reasons: Sequence[str], model: OnnxModel | None = None
    ) -> None:
        self.model = model
        self.sha256 = sha256
        self.signature = signature
        self.reasons = tuple(reasons)

    @classmethod
    def of(cls, model: OnnxModel) -> NativeEngine:
        return cls(model.sha256, model.signature, model.reasons, model)

    @cached_property
    def explainer(self) -> Explainer | None:
        return None if self.model is None else native_explainer(self.model)

    def outputs(self, features: Sequence[exp.Expression]) -> Outputs:
        error = sql.field(sql.column(LET), "error")
        unreadable = self._unreadable(features, error)
        return Outputs(
            lets=((LET, self._call(features)),),
            prediction=self._prediction(),
            probabilities=self._probabilities(),
            error=self._reason(error, unreadable),
            named_probabilities=self._named_probabilities,
            unreadable=None if unreadable is None else sql.case([(_below_zero(error), unreadable)]),
            error_asks_again=True,
        )

    def load_query(self) -> exp.Select:
        """Loads the model when it is read, and what explains it. As a view it works in a file that is attached under any
        name, from which the functions can then be called: they look for a model that is not loaded in the current database."""
        key = self.explainer.key if isinstance(self.explainer, TreeExplainer) else self.sha256
        loaded = sql.alias(sql.call("sqlml_load_as", sql.text(key), sql.column("onnx")), "model")
        models = exp.select(loaded).from_(sql.table("sqlml", "models"))
        return models.where(exp.EQ(this=sql.column("sha256"), expression=sql.text(self.sha256)))

    def _call(self, features: Sequence[exp.Expression]) -> exp.Expression:
        types = "".join(LETTERS[column.type] for column in self.signature.columns)
        # Quoted: a call of ours, which is never repeated where it can be bound once.
        return sql.call_quoted(self._function, *model_arguments(self.sha256, types), *features)

    @property
    def _function(self) -> str:
        """One function per shape of answer: DuckDB has to know a function's type before it sees its arguments."""
        if self.signature.kind == "classifier":
            return _shaped("sqlml_class", len(self.signature.classes) if self.signature.probabilities else 0)
        return _shaped("sqlml_value", max(1, len(self.signature.targets)))

    def _prediction(self) -> exp.Expression:
        answer = sql.column(LET)
        if self.signature.kind == "classifier":
            labels = _array([sql.value(label) for label in self.signature.classes], self.signature.prediction)
            index = sql.field(answer, "prediction")
            return sql.call("list_extract", labels, exp.Add(this=index, expression=sql.integer(1)))
        if not self.signature.targets:
            return _numbered("t", 0, 1)
        count = len(self.signature.targets)
        named = {target: _numbered("t", i, count) for i, target in enumerate(self.signature.targets)}
        present = exp.Is(this=sql.field(answer, "error"), expression=exp.Null())
        return sql.case([(present, sql.struct(named))])

    def _probabilities(self) -> tuple[exp.Expression, ...]:
        count = len(self.signature.classes) if self.signature.probabilities else 0
        return tuple(_numbered("p", i, count) for i in range(count))

    def _named_probabilities(self, names: Sequence[str]) -> exp.Expression | None:
        """The STRUCT under the classes' names, from one mention: its fields are renamed, and nothing is copied."""
        if len(names) > MAX_FIELDS:
            return None
        wanted = ", ".join(f"{sql.quote(name)} DOUBLE" for name in names)
        renamed = {name: sql.text(f"p{i}") for i, name in enumerate(names)}
        return sql.call("remap_struct", sql.column(LET), sql.null(f"STRUCT({wanted})"), sql.struct(renamed), sql.null())

    def _unreadable(self, features: Sequence[exp.Expression], error: exp.Expression) -> exp.Expression | None:
        """What says why, where `error` is -(c + 1): a list's item -1 is its last, so the columns stand in it backwards."""
        found = [cast_error(column, ref) for column, ref in zip(self.signature.columns, features, strict=True)]
        if not any(found):
            return None
        sentences = [sql.null() if bad is None else bad[1] for bad in reversed(found)]
        return sql.call("list_extract", _array(sentences, "VARCHAR"), error)

    def _reason(self, error: exp.Expression, unreadable: exp.Expression | None) -> exp.Expression:
        """Asks again where a row has an error, which few have; where none has, the columns' texts are not made."""
        # Reason numbers start at 1, as positions in a list do.
        reasons = _array([sql.text(reason) for reason in self.reasons], "VARCHAR")
        known = sql.call("list_extract", reasons, error)
        if unreadable is None:
            return known
        none = exp.Is(this=error.copy(), expression=exp.Null())
        return sql.case([(none, sql.null("VARCHAR")), (_below_zero(error), unreadable.copy())], known)


def why_not(connection: Connection, model: OnnxModel) -> str | None:
    """Why this model cannot be computed natively in this connection, as a sentence; None if it can.

    The model is loaded, so that what follows does not have to; it stays in the extension's cache as long as there is room.
    """
    import duckdb

    missing = extension.why_not(connection)
    if missing is not None:
        return missing
    with connection.cursor() as cursor:
        try:
            cursor.execute("SELECT sqlml_load(?::BLOB)", [model.onnx]).fetchall()
        except duckdb.Error as error:
            return f"The native extension does not take this model: {error}"
    return None


def _shaped(family: str, values: int) -> str:
    return f"{family}_{values}_of" if values <= MAX_FIELDS else f"{family}_many_of"


def _numbered(letter: str, index: int, count: int) -> exp.Expression:
    answer = sql.column(LET)
    if count <= MAX_FIELDS:
        return sql.field(answer, f"{letter}{index}")
    return sql.call("list_extract", sql.field(answer, letter), sql.integer(index + 1))


def _array(values: Sequence[exp.Expression], type_name: str) -> exp.Expression:
    # The cast gives an empty list its type, and labels such as 1e0 the signature's.
    return sql.cast(exp.Array(expressions=list(values)), f"{type_name}[]")


def _below_zero(node: exp.Expression) -> exp.Expression:
    return exp.LT(this=node.copy(), expression=sql.integer(0))
