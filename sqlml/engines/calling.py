"""Calls of the native extension: how a macro hands the model over, and how it says what its columns are."""

from __future__ import annotations

from sqlglot import exp

from sqlml import sql

LET = "sqlml native"
LETTERS = {"DOUBLE": "D", "FLOAT": "F", "BIGINT": "B", "INTEGER": "I", "BOOLEAN": "L", "VARCHAR": "T"}
"""How the extension is told the type that the model has for a column."""


def model_arguments(key: str, types: str) -> tuple[exp.Expression, exp.Expression]:
    """What a call of a function `sqlml_..._of` starts with: the model and its columns' types, and what loads the model.

    The first says all that it says with its type. DuckDB writes each constant argument out for every row before it calls
    the extension: the key, the types and the bytes as texts took 10% of a logistic regression's time.

    The second is answered when a statement is planned: CASE makes equal calls equal to DuckDB, which then computes them
    once (measured: 19 ms instead of 35 for two of them over 300,000 rows), and `query` names the table only where the model
    is not loaded, so that the function can be used in a file that is attached under another name.
    """
    model = exp.DataType(this=exp.DataType.Type.ENUM, expressions=[sql.text(key), sql.text(types)])
    found = exp.select(sql.column("onnx")).from_(sql.call("query", sql.call("sqlml_onnx", sql.text(key))))
    taken = sql.call("sqlml_take", sql.text(key), exp.Subquery(this=found))
    there = sql.case([(sql.call("sqlml_loaded", sql.text(key)), exp.true())], taken)
    return exp.Cast(this=sql.text(types), to=model), there
