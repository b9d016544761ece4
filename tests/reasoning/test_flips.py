"""The nearest change of one column that gives another label, of every kind of model and by every engine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from sqlml import extension, objects, sql
from sqlml.compile.turning import turning
from sqlml.convert.onnx_model import OnnxModel
from sqlml.database import open_database
from sqlml.engines import python
from sqlml.engines.native import NativeEngine
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import staged_select
from sqlml.reasoning.asking import Asker, Candidate
from sqlml.reasoning.facts import Flips
from sqlml.reasoning.flips import flips
from sqlml.reasoning.grids import grid_of
from sqlml.reasoning.rows import Values
from sqlml.reasoning.spread import spreads
from sqlml.relation import find
from sqlml.signature import Column
from tests.engines.test_explain import COLUMNS, converted, customers, encoded

NUMBERS = tuple(Column(name, "DOUBLE", "missing") for name in "abc")


class Model:
    """A model in a database with rows of its own, asked as `why` asks it."""

    def __init__(self, connection: Any, model: OnnxModel, frame: pd.DataFrame, engine: str) -> None:
        model = replace(model, sha256=hashlib.sha256(model.onnx).hexdigest())
        self.connection, self.model, self.signature = connection, model, model.signature
        connection.execute("CREATE SCHEMA IF NOT EXISTS sqlml")
        connection.execute("CREATE OR REPLACE TABLE sqlml.models (sha256 VARCHAR, onnx BLOB)")
        connection.execute("INSERT INTO sqlml.models VALUES (?, ?)", [model.sha256, model.onnx])
        connection.register("given", frame)
        connection.execute("CREATE OR REPLACE TABLE rows AS FROM given")
        if engine == "python":
            python.register(connection, model.sha256, model.signature, lambda: model.onnx)
        made = {
            "sql": lambda: SqlEngine(model),
            "native": lambda: NativeEngine.of(model),
            "python": lambda: python.PythonEngine(model.sha256, model.signature, model.reasons),
        }[engine]()
        row = [(objects.ROW, sql.column(objects.SOURCE))]
        self.query = sql.render(staged_select(model.signature, made, sql.table(objects.SOURCE), row))
        self.types = find(connection, "rows").types

    def values(self, number: int) -> Values:
        names = [column.name for column in self.signature.columns]
        found = self.connection.execute(
            f"SELECT COLUMNS(*), COLUMNS(*)::VARCHAR FROM rows LIMIT 1 OFFSET {number}"
        ).fetchone()
        assert list(self.types) == names
        return Values(found[: len(names)], found[len(names) :], tuple(self.types[name] for name in names))

    def flips(self, number: int) -> Flips:
        base = self.values(number)
        texts = [grid_of(c, kind) is None for c, kind in zip(self.signature.columns, base.types, strict=True)]
        known = spreads(self.connection, find(self.connection, "rows"), self.signature, texts)
        return flips(self.asker(base), self.signature, turning(self.model), known)

    def asker(self, base: Values) -> Asker:
        return Asker(self.connection, self.signature, base, self.query)

    def labels(self, number: int, column: str, values: Any) -> list[Any]:
        place = [c.name for c in self.signature.columns].index(column)
        return self.asker(self.values(number)).labels(
            [Candidate(-1, None), *(Candidate(place, None if v is None else str(v)) for v in values)]
        )


@pytest.fixture
def connection() -> Any:
    with open_database(":memory:") as opened:
        yield opened


def trees() -> tuple[OnnxModel, pd.DataFrame]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc"))
    label = (frame.a + frame.b * frame.c > 0.2).astype(int)
    return converted(HistGradientBoostingClassifier(max_iter=12, random_state=0).fit(frame, label), NUMBERS), frame


def assert_nearest(model: Model, number: int, found: Flips) -> None:
    """At the answer another label, one step before the row's own, and so at every value that is nearer."""
    rng = np.random.default_rng(1)
    for flip in found.columns:
        if not isinstance(flip.value, float):
            continue
        start = float(flip.before)
        between = start + (flip.value - start) * rng.random(300)
        other = start - (flip.value - start) * rng.random(300)
        step = float(np.nextafter(flip.value, start))
        before, *labels = model.labels(number, flip.column, [flip.value, step, *between, *other])
        assert labels[0] == flip.becomes != before
        assert set(labels[1:]) == {before}


ENGINES = ["sql", "python", pytest.param("native", marks=pytest.mark.native)]


@pytest.mark.parametrize("engine", ENGINES)
def test_of_trees_nothing_nearer_gives_another_label(connection: Any, engine: str) -> None:
    if engine == "native":
        extension.load(connection)
    model = Model(connection, *trees(), engine)
    some = [model.flips(number) for number in range(6)]

    for number, found in enumerate(some):
        assert_nearest(model, number, found)
        assert all(flip.exact for flip in found.columns)
        distances = [flip.distance for flip in found.columns if flip.in_range]
        assert distances == sorted(distances)
    assert sum(len(found.columns) for found in some) > 6


@pytest.mark.parametrize("several", [False, True])
def test_of_a_linear_model_it_is_the_crossing_itself(
    connection: Any, several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, label = customers()
    if several:
        label = pd.cut(frame.age + frame.fee / 9, 3, labels=False)
    fitted = make_pipeline(encoded(), LogisticRegression(max_iter=1000)).fit(frame, label)
    model = Model(connection, converted(fitted), frame, "sql")
    statements: list[int] = []
    ask = Asker.ask
    monkeypatch.setattr(Asker, "ask", lambda self, some: statements.append(len(some)) or ask(self, some))
    for number in range(4):
        statements.clear()
        found = model.flips(number)
        assert len(statements) <= 4  # by halves alone it would be 50
        assert {flip.column for flip in found.columns} >= {"age"}
        assert all(flip.exact for flip in found.columns)
        assert_nearest(model, number, found)


@pytest.mark.parametrize(
    "made",
    [
        lambda: MLPClassifier((8,), solver="lbfgs", max_iter=2000, random_state=0),
        lambda: make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=2000)),
    ],
)
def test_what_may_be_nearer_is_not_called_exact(connection: Any, made: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=list("abc"))
    model = Model(connection, converted(made().fit(frame, (frame.a**2 > frame.b).astype(int)), NUMBERS), frame, "sql")
    found = model.flips(0)

    assert found.columns
    for flip in found.columns:
        assert not flip.exact
        assert "may lie between" in flip.note
        before, at, step = model.labels(0, flip.column, [flip.value, float(np.nextafter(flip.value, flip.before))])
        assert at == flip.becomes != before == step


def test_categories_flags_and_missing_values(connection: Any) -> None:
    columns = (
        Column("n", "DOUBLE", "missing"),
        Column("flag", "BOOLEAN", "missing"),
        Column("whole", "BIGINT", "missing"),
    )
    rng = np.random.default_rng(3)
    n = np.where(rng.random(400) < 0.2, np.nan, rng.normal(size=400))
    frame = pd.DataFrame({"n": n, "flag": rng.random(400) < 0.5, "whole": rng.integers(0, 9, 400)})
    label = (np.isnan(n) | (frame.flag & (frame.whole > 4))).astype(int)
    fitted = HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=3).fit(frame.astype(float), label)
    model = Model(connection, converted(fitted, columns), frame, "sql")
    number = int(np.flatnonzero(~np.isnan(n) & ~frame.flag & (frame.whole > 5))[0])
    found = {flip.column: flip for flip in model.flips(number).columns}

    assert (found["flag"].value, found["flag"].before, found["flag"].becomes) == (True, False, 1)
    assert (found["n"].value, found["n"].note) == (None, "a missing value")
    number = int(np.flatnonzero(~np.isnan(n) & frame.flag & (frame.whole > 5))[0])
    assert {flip.column: flip.value for flip in model.flips(number).columns}["whole"] == 4


def test_texts(connection: Any) -> None:
    frame, label = customers()
    fitted = make_pipeline(encoded(), RandomForestClassifier(20, max_depth=4, random_state=0)).fit(frame, label)
    model = Model(connection, converted(fitted, COLUMNS), frame, "sql")
    found = [flip for number in range(40) for flip in model.flips(number).columns if flip.column == "plan"]

    assert found
    assert {flip.value for flip in found} <= {"a", "b", "c"}
    assert all(flip.value != flip.before and flip.distance == 1 for flip in found)


def test_steps_are_those_of_the_column_in_the_source(connection: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)).round(3), columns=list("abc"))
    fitted = GradientBoostingClassifier(n_estimators=8, random_state=0).fit(frame, (frame.a > 0.2).astype(int))
    model = Model(connection, converted(fitted, NUMBERS), frame, "sql")
    connection.execute("ALTER TABLE rows ALTER a TYPE DECIMAL(9, 3)")
    model.types = find(connection, "rows").types
    (flip,) = [flip for flip in model.flips(0).columns if flip.column == "a"]

    assert abs(flip.value.as_tuple().exponent) <= 3
    toward = 1 if flip.before > flip.value else -1
    before, at, beside = model.labels(0, "a", [flip.value, flip.value + toward * type(flip.value)("0.001")])
    assert (at != before, beside == before) == (True, True)


def test_work_is_bounded_and_what_was_left_out_is_said(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlml.reasoning.flips.EVALUATIONS", 40)
    model = Model(connection, *trees(), "sql")
    notes = [without.note for number in range(8) for without in model.flips(number).unflipped]

    assert any("not all candidates were tried" in note for note in notes)


def test_a_row_without_a_label_has_no_other_one(connection: Any) -> None:
    frame, label = customers()
    fitted = make_pipeline(encoded(), LogisticRegression(max_iter=1000)).fit(frame, label)
    model = Model(connection, converted(fitted), frame, "sql")
    connection.execute("UPDATE rows SET plan = 'unheard of'")
    found = model.flips(0)

    assert found.columns == ()
    assert found.note == "The row has no prediction that could change."
