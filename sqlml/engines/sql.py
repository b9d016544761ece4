"""The `sql` engine: the model itself as an expression, which any DuckDB shell can run."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from sqlml import sql
from sqlml.compile import Program, compile_onnx
from sqlml.compile.nodes import Const, Input, Node, Select, Value, is_missing_test, is_op
from sqlml.convert.onnx_model import OnnxModel
from sqlml.engines.emit import Emitter
from sqlml.engines.outputs import Outputs
from sqlml.signature import Signature

FINE = "sqlml fine"


class SqlEngine:
    """Compiles the model's graph; raises `NotCompilable` for one that has no exact SQL."""

    name = "sql"
    reads_values = False

    def __init__(self, model: OnnxModel, program: Program | None = None) -> None:
        self.model = model
        self.signature: Signature = model.signature
        self.program = program if program is not None else compile_onnx(model)

    def outputs(self, features: Sequence[exp.Expression]) -> Outputs:
        program = self.program
        present = frozenset(checked_columns(program.error))
        lets: list[tuple[str, exp.Expression]] = []
        names: dict[Node, str] = {}
        for name, node in program.lets:
            lets.append((name, Emitter(features, names, present).value(node, named=False)))
            names[node] = name
        answers = Emitter(features, names, present)
        # The check of an error must not rely on what it checks, so it stands on the features alone.
        checks = Emitter(features, {})
        reasons = reasons_of(program.error)
        if reasons is None:
            return Outputs(
                lets=tuple(lets),
                prediction=self._prediction(answers),
                probabilities=tuple(answers.answer(p) for p in program.probabilities),
                error=sql.null("VARCHAR"),
            )
        lets.append((FINE, nothing_wrong(features, reasons)))

        def where_fine(node: exp.Expression) -> exp.Expression:
            return sql.case([(sql.column(FINE), node)])

        return Outputs(
            lets=tuple(lets),
            prediction=where_fine(self._prediction(answers)),
            probabilities=tuple(where_fine(answers.answer(p)) for p in program.probabilities),
            error=sql.case([(sql.column(FINE), sql.null("VARCHAR"))], checks.choose(reasons, self._reason)),
        )

    def _prediction(self, emitter: Emitter) -> exp.Expression:
        nodes = self.program.prediction
        if self.signature.kind == "classifier":
            return emitter.choose(nodes[0], self._label)
        values = [emitter.answer(node) for node in nodes]
        if not self.signature.targets:
            return values[0]
        return sql.struct(dict(zip(self.signature.targets, values, strict=True)))

    def _label(self, index: Value) -> exp.Expression:
        return sql.value(self.signature.classes[int(index)])

    def _reason(self, code: Value) -> exp.Expression:
        return sql.text(self.program.reasons[int(code) - 1]) if int(code) else sql.null("VARCHAR")


def reasons_of(error: Node) -> Node | None:
    """The error's node, None where no row can have one."""
    return None if isinstance(error, Const) and not error.value else error


def nothing_wrong(features: Sequence[exp.Expression], error: Node) -> exp.Expression:
    """TRUE where the error's number is 0; FALSE or NULL elsewhere."""
    plain = Emitter(features, {})
    if not (isinstance(error, Select) and error.default == 0 and all(code for _, code in error.cases)):
        number = plain.choose(error, lambda code: sql.integer(int(code)))
        return exp.EQ(this=number, expression=sql.integer(0))
    # A column that is missing makes the whole not TRUE by its own test, whatever that does to the other tests.
    checked = checked_columns(error)
    assuming = Emitter(features, {}, frozenset(checked))
    infinite = {c.args[0] for c, _ in error.cases if is_op(c, "is_inf") and c.args[0] in checked}
    tests = [
        exp.Not(this=exp.Is(this=plain.value(column), expression=exp.Null()))
        if column.dtype == "text"
        else plain.in_range(column, finite=column in infinite)
        for column in checked
    ]
    for condition, _ in error.cases:
        covered = is_missing_test(condition) or (is_op(condition, "is_inf") and condition.args[0] in infinite)
        if not covered:
            tests.append(assuming.refuted(condition))
    return sql.all_of(tests)


def checked_columns(error: Node) -> list[Input]:
    """Columns whose missing values are errors."""
    if not isinstance(error, Select):
        return []
    return [c.column for c, code in error.cases if code and is_missing_test(c)]
