"""The SQL of small models, as files: written as expected, and executed.

A file holds `-- model macro` lines, each followed by the macro's parameters and body.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from sqlml import sql
from sqlml.engines.sql import SqlEngine
from sqlml.engines.surface import macros, staged_select
from tests.compile.graphs import assert_agree, in_onnxruntime, rows_of
from tests.engines.models import MODELS

FIXTURES = sorted((Path(__file__).parent / "golden").glob("*.sql"))


def pairs(path: Path) -> list[tuple[str, str, str]]:
    """(model, macro, expected) of a fixture file."""
    blocks = path.read_text().strip().split("\n\n")
    heads = [block.split("\n", 1) for block in blocks]
    return [(*head.removeprefix("-- ").split(" "), text) for head, text in heads]


def made(model, name):
    if name == "scoring":
        return sql.render(staged_select(model.signature, SqlEngine(model), sql.table("customers")))
    macro = next(m for m in macros(model.signature, SqlEngine(model)) if m.name == name)
    return sql.macro_text(macro.overloads)


@pytest.mark.parametrize("case", [pytest.param(c, id=f"{c[0]} {c[1]}") for path in FIXTURES for c in pairs(path)])
def test_sql_is_as_written(case):
    model, name, expected = case
    assert made(MODELS[model](), name) == expected


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_gives_the_models_answers(name):
    model = MODELS[name]()
    rows = rows_of(model.signature.columns)
    assert_agree(model, rows)
    (path,) = [p for p in FIXTURES if p.stem == name]
    text = next(expected for _, macro, expected in pairs(path) if macro == "predict")
    con = duckdb.connect()
    con.execute(sql.create_macro(("main", "golden"), text))
    expected = in_onnxruntime(model, rows)
    for i, row in enumerate(rows):
        if expected["error"][i, 0]:
            continue
        struct = ", ".join(f"{sql.string(k)}: {literal(v)}" for k, v in row.items())
        ((answer,),) = con.execute(f"SELECT golden({{{struct}}})").fetchall()
        classes = model.signature.classes
        wanted = classes[int(expected["prediction"][i, 0])] if classes else float(expected["prediction"][i, 0])
        assert answer == wanted


def literal(value):
    if value is None:
        return "NULL"
    return sql.string(value) if isinstance(value, str) else f"CAST('{value}' AS DOUBLE)"
