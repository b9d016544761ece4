"""Every database object of a deployment, as the statement that makes it.

Statements are recorded in the catalog when a version is deployed: switching versions, scoring and rolling back run
what was recorded and need neither the model nor its converter, and undeploying drops by recorded name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import kept, sql
from sqlml.catalog import records
from sqlml.engines.explain import explainer_of
from sqlml.engines.native import NativeEngine
from sqlml.engines.outputs import Engine
from sqlml.engines.pyfunc import PyfuncEngine, asked_select
from sqlml.engines.reasons import Behind, why_macro
from sqlml.engines.surface import hashed_select, macros, output_columns, staged_select
from sqlml.parsing import parsed
from sqlml.relation import Relation
from sqlml.signature import Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

SOURCE = "sqlml source"
"""The name under which a recorded query reads its rows; `sql.with_source` gives it a meaning."""
ROW = "sqlml row"
TABLE_ARGUMENT = "sqlml table"
"""A parameter captures every column of its name in a macro's body, so it has a name that no column has."""
RECALLED_AT = "recalled_at"
"""The last column of `current` and `scored`: NULL until sqlml.marking writes into the view what was recalled."""


@dataclass(frozen=True)
class DatabaseObject:
    """One object: `role` is "version" (made once, when the version is staged), "active" (made by the switch to it),
    "labels" (of the deployment, made when labels are joined) or "query" (run by scoring and triggers, makes nothing)."""

    role: str
    kind: str  # macro, table macro, table, view, query
    schema: str
    name: str
    statement: str

    @property
    def drop_statement(self) -> str:
        kind = {"macro": "MACRO", "table macro": "MACRO TABLE", "table": "TABLE", "view": "VIEW"}[self.kind]
        return sql.drop_object(kind, (self.schema, self.name))


NOT_OF_WHAT = "A python_function says what it predicts, and not of what."
LABELS = "labels"
"""The role of what belongs to no version alone, and stays when one is retired."""


def prediction_table_name(version: int) -> str:
    return f"predictions_v{version}"


def version_objects(
    deployment: str,
    number: int,
    signature: Signature,
    engine: Engine | PyfuncEngine,
    *,
    threshold: float | None,
    relation: Relation | None,
    keys: Sequence[str],
    function_name: Sequence[str] | None,
    keep: str = kept.DEFAULT,
) -> tuple[DatabaseObject, ...]:
    """All objects of one deployment version, in the order in which they are to be made.

    A python_function has no functions: its queries give what the model is to be asked, and not what it says.
    """
    if isinstance(engine, PyfuncEngine):
        row = asked_select(signature, sql.table(SOURCE), [(ROW, sql.column(SOURCE))])
        asked = DatabaseObject("query", "query", deployment, "rows", sql.render(row))
        if relation is None:
            return (asked,)
        keyed = asked_select(signature, sql.table(SOURCE), [(key, sql.column(key)) for key in keys])
        stored = _stored_predictions(deployment, number, signature, [("keyed", keyed)], relation, keys, keep)
        inputs = _kept_inputs(deployment, number, signature, relation, keys, keep, is_asked=True)
        behind = why_objects(
            deployment, number, signature, relation, keys, keep, threshold=None, unexplained=NOT_OF_WHAT, is_asked=True
        )
        return (asked, *stored, *inputs, *behind)
    # Rendering a large model takes longer than making it: each body is rendered once, for both of its names.
    functions = [
        ("macro", macro.name, sql.macro_text(macro.overloads))
        for macro in macros(signature, engine, threshold=threshold)
    ]
    table = sql.macro_text([((TABLE_ARGUMENT,), _predict_table(signature, engine, threshold))])
    made = [
        DatabaseObject(
            role, kind, deployment, name + suffix, sql.create_macro((deployment, name + suffix), text, replace=replace)
        )
        for role, suffix, replace in (("version", f"_v{number}", False), ("active", "", True))
        for kind, name, text in [*functions, ("table macro", "predict_table", table)]
    ]
    if function_name is not None:
        predict = next(text for _, name, text in functions if name == "predict")
        statement = sql.create_macro(tuple(function_name), predict, replace=True)
        made.append(DatabaseObject("active", "macro", function_name[0], function_name[1], statement))
    if isinstance(engine, NativeEngine):
        view = sql.create_view((deployment, "load"), engine.load_query())
        made.append(DatabaseObject("active", "view", deployment, "load", view))
    row = staged_select(
        signature, engine, sql.table(SOURCE), [(ROW, sql.column(SOURCE))], threshold=threshold, keep=keep
    )
    made.append(DatabaseObject("query", "query", deployment, "rows", sql.render(row)))
    if relation is not None:
        passthrough = [(key, sql.column(key)) for key in keys]
        keyed = staged_select(signature, engine, sql.table(SOURCE), passthrough, threshold=threshold, keep=keep)
        queries = [("keyed", keyed)]
        if keep != "none":
            queries.append(("hashed", hashed_select(signature, sql.table(SOURCE), passthrough)))
        made += _stored_predictions(deployment, number, signature, queries, relation, keys, keep)
        made += _kept_inputs(deployment, number, signature, relation, keys, keep, is_asked=False)
        found = explainer_of(engine)
        unexplained = found if isinstance(found, str) else None
        made += why_objects(
            deployment,
            number,
            signature,
            relation,
            keys,
            keep,
            threshold=threshold,
            unexplained=unexplained,
            is_asked=False,
            own_process=engine.name == "python",
        )
    return tuple(made)


def _stored_predictions(
    deployment: str,
    number: int,
    signature: Signature,
    queries: Sequence[tuple[str, exp.Select]],
    relation: Relation,
    keys: Sequence[str],
    keep: str,
) -> list[DatabaseObject]:
    table = prediction_table_name(number)
    outputs = [name for name, _ in output_columns(signature)]
    columns = kept.key_columns(keys, [relation.types[key] for key in keys])
    columns += [*output_columns(signature), *kept.stamp_columns(keep)]
    return [
        DatabaseObject("version", "table", deployment, table, sql.create_table((deployment, table), columns)),
        *(DatabaseObject("query", "query", deployment, name, sql.render(query)) for name, query in queries),
        DatabaseObject(
            "active",
            "view",
            deployment,
            "current",
            sql.create_view((deployment, "current"), _current(deployment, table, keys, outputs, number)),
        ),
        DatabaseObject(
            "active",
            "view",
            deployment,
            "scored",
            sql.create_view((deployment, "scored"), _scored(deployment, table, relation, keys, outputs)),
        ),
    ]


def _kept_inputs(
    deployment: str,
    number: int,
    signature: Signature,
    relation: Relation,
    keys: Sequence[str],
    keep: str,
    *,
    is_asked: bool,
) -> list[DatabaseObject]:
    if keep != "inputs":
        return []
    inputs = kept.kept_inputs(deployment, number, signature, keys, is_asked=is_asked)
    statement = inputs.create([relation.types[key] for key in keys])
    return [DatabaseObject("version", "table", deployment, inputs.path[1], statement)]


def why_objects(
    deployment: str,
    number: int,
    signature: Signature,
    relation: Relation,
    keys: Sequence[str],
    keep: str,
    *,
    threshold: float | None,
    unexplained: str | None,
    is_asked: bool,
    own_process: bool = False,
) -> list[DatabaseObject]:
    """`why` and `why_vN`; `unexplained` says why there are no contributions, where there are none; `own_process`: the
    engine's functions are those of one process, and `why` must not need them."""
    inputs = kept.kept_inputs(deployment, number, signature, keys, is_asked=is_asked) if keep == "inputs" else None
    own = {key.lower(): key for key in keys}
    behind = Behind(
        deployment=deployment,
        version=number,
        signature=signature,
        keys={key: relation.types[key] for key in keys},
        outputs=output_columns(signature),
        source=relation.node,
        source_name=relation.label,
        source_keys=list(keys),
        source_types={name.lower(): kind for name, kind in relation.types.items()},
        flips=signature.kind == "classifier" and not is_asked and not own_process,
        explains=unexplained,
        is_asked=is_asked,
        threshold=threshold,
        kept=None
        if inputs is None
        else (
            inputs.path,
            {c.name: own[c.name.lower()] for c in signature.columns if c.name.lower() in own}
            | {column.name: name for name, _, column in inputs.features},
            inputs.removed,
            inputs.unreadable,
        ),
    )
    text = why_macro(behind)
    return [
        DatabaseObject(
            role, "table macro", deployment, name, sql.create_macro((deployment, name), text, replace=role == "active")
        )
        for role, name in (("version", f"why_v{number}"), ("active", "why"))
    ]


def _predict_table(signature: Signature, engine: Engine, threshold: float | None) -> exp.Query:
    """A query over `query_table(source)`: the argument is a name (of a table, view or CTE), never SQL text."""
    rows = exp.select("*").from_(sql.call("query_table", sql.column(TABLE_ARGUMENT)))
    source = rows.subquery(alias=sql.identifier(SOURCE))
    answers = staged_select(
        signature, engine, source, [(ROW, sql.column(SOURCE))], threshold=threshold, with_hash=False
    )
    outputs = [sql.column(name, "p") for name, _ in output_columns(signature)]
    return exp.select(sql.call("unnest", sql.column(ROW, "p")), *outputs).from_(answers.subquery(alias="p"))


def _current(deployment: str, table: str, keys: Sequence[str], outputs: Sequence[str], number: int) -> exp.Query:
    names = [*keys, *outputs, *(name for name, _ in kept.STAMP)]
    version = sql.alias(sql.cast(sql.integer(number), "INTEGER"), "deployment_version")
    recalled = sql.alias(sql.null("TIMESTAMP"), RECALLED_AT)
    return exp.select(*(sql.column(name) for name in names), version, recalled).from_(sql.table(deployment, table))


def _scored(deployment: str, table: str, relation: Relation, keys: Sequence[str], outputs: Sequence[str]) -> exp.Query:
    taken = {name.lower() for name in relation.types}
    added = [*outputs, "scoring_id", "scored_at", RECALLED_AT]
    names = {name: f"{deployment}_{name}" if name.lower() in taken else name for name in added}
    matches = sql.all_of(
        [exp.EQ(this=sql.column(key, "sqlml s"), expression=sql.column(key, "sqlml p")) for key in keys]
    )
    columns = [sql.column(name, "sqlml s") for name in relation.types]
    recalled_at = names.pop(RECALLED_AT)
    columns += [sql.alias(sql.column(name, "sqlml p"), shown) for name, shown in names.items()]
    columns.append(sql.alias(sql.null("TIMESTAMP"), recalled_at))
    source = sql.named(relation.node, "sqlml s")
    stored = sql.named(sql.table(deployment, table), "sqlml p")
    return exp.select(*columns).from_(source).join(stored, on=matches, join_type="left")


def record(connection: Connection, number: int, deployment: str, made: Sequence[DatabaseObject]) -> None:
    for made_object in made:
        records.insert(
            connection,
            "objects",
            {
                "deployment": deployment,
                "version": number,
                "role": made_object.role,
                "kind": made_object.kind,
                "schema_name": made_object.schema,
                "name": made_object.name,
                "statement": made_object.statement,
            },
        )


def replace_functions(connection: Connection, number: int, deployment: str, made: Sequence[DatabaseObject]) -> None:
    """Record functions, views and queries of a version anew; its tables, and what belongs to its labels, stay as they are."""
    connection.execute(
        "DELETE FROM sqlml.objects WHERE deployment = ? AND version = ? AND kind <> 'table' AND role <> ?",
        [deployment, number, LABELS],
    )
    record(connection, number, deployment, [item for item in made if item.kind != "table"])


def recorded(connection: Connection, deployment: str, number: int) -> list[DatabaseObject]:
    """The objects of one version, in the order in which they were made."""
    rows = connection.execute(
        "SELECT role, kind, schema_name, name, statement FROM sqlml.objects"
        " WHERE deployment = ? AND version = ? ORDER BY rowid",
        [deployment, number],
    ).fetchall()
    return [DatabaseObject(*row) for row in rows]


def recorded_queries(connection: Connection, deployment: str, number: int) -> dict[str, str]:
    """The texts of the recorded queries: "keyed" gives keys and predictions, "hashed" keys and hashes of the inputs without
    asking the model (where hashes are kept, since sqlml has that), "rows" the whole row and predictions."""
    query = "SELECT name, statement FROM sqlml.objects WHERE deployment = ? AND version = ? AND role = 'query'"
    return dict(connection.execute(parsed(connection, query), [deployment, number]).fetchall())
