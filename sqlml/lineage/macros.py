"""Which macro a function's name means, what that reads of what is given to it, and which others it calls.

DuckDB looks for a name in the schema of the view it stands in, then in main, whatever schema is in use when the view is
read (measured on 2.0.0). A macro's body is looked up where it is called, not where it was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from sqlml import sql
from sqlml.lineage.objects import Objects, Path, candidates, folded, parse
from sqlml.lineage.references import fold
from sqlml.signature import Signature

LONGEST_MACRO = 50_000
"""Characters of a macro's body that are still parsed; a longer one is taken to use all that it is given."""

Place = tuple[str, str]
"""The database and the schema of the view in which a name stands."""
Overloads = list[tuple[list[str], str]]
"""Parameters and body of each."""
Wanted = tuple[Path, int]
"""A macro, and which of its arguments."""


@dataclass
class Macros:
    objects: Objects
    bodies: dict[str, exp.Expr] = field(default_factory=dict)

    @cached_property
    def all(self) -> dict[Path, Overloads]:
        """Folded path -> the overloads. Temporary ones are left out, as temporary tables are."""
        rows = self.objects.connection.execute(
            "SELECT database_name, schema_name, function_name, parameters, macro_definition FROM duckdb_functions()"
            " WHERE function_type IN ('macro', 'table_macro') AND NOT internal AND database_name <> 'temp'"
        ).fetchall()
        found: dict[Path, Overloads] = {}
        for database, schema, name, parameters, body in rows:
            found.setdefault(folded((database, schema, name)), []).append((parameters, body))
        return found

    @cached_property
    def elsewhere(self) -> frozenset[str]:
        """Names of macros that DuckDB itself has no function of: they are found only where their schema is looked at."""
        rows = self.objects.connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE internal"
        ).fetchall()
        return frozenset(name for _, _, name in self.all) - {fold(name) for (name,) in rows}

    @cached_property
    def aggregates(self) -> frozenset[str]:
        rows = self.objects.connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
        ).fetchall()
        return frozenset(fold(name) for (name,) in rows)

    @cached_property
    def features(self) -> dict[str, frozenset[str]]:
        """Folded name of a deployment -> the input columns of all its versions."""
        if (self.objects.home, "sqlml", "versions") not in self.objects.relations:
            return {}
        rows = self.objects.connection.execute("SELECT deployment, signature FROM sqlml.versions").fetchall()
        found: dict[str, frozenset[str]] = {}
        for deployment, signature in rows:
            names = frozenset(column.name for column in Signature.from_json(signature).columns)
            found[fold(deployment)] = found.get(fold(deployment), frozenset()) | names
        return found

    @cached_property
    def plain(self) -> dict[tuple[str, str], str]:
        """Folded schema and name of a function made with `--as` -> its deployment, folded."""
        if (self.objects.home, "sqlml", "objects") not in self.objects.relations:
            return {}
        rows = self.objects.connection.execute(
            "SELECT schema_name, name, deployment FROM sqlml.objects WHERE role = 'active' AND kind = 'macro'"
        ).fetchall()
        return {(fold(schema), fold(name)): fold(deployment) for schema, name, deployment in rows}

    def named(self, function: tuple[str, ...], place: Place) -> Path | None:
        """The macro that a name with its parts means there; None: a function of DuckDB's own, or none."""
        return next((path for one in candidates(function, *place) if (path := folded(one)) in self.all), None)

    def deployment(self, macro: Path) -> str | None:
        """The deployment whose function it is, folded."""
        if macro[0] != fold(self.objects.home):
            return None
        return macro[1] if macro[1] in self.features else self.plain.get(macro[1:])

    def used_fields(self, function: tuple[str, ...], argument: int, place: Place) -> frozenset[str] | str | None:
        """See `binder.UsedFields`."""
        macro = self.named(function, place)
        if macro is None:
            if len(function) == 1 and fold(function[0]) in self.elsewhere:
                return f"the macro {function[0]} is in another schema: which one depends on who reads the view"
            return None
        why = self._reads_more(macro, place, frozenset())
        if why is not None:
            return f"the macro {'.'.join(function)} {why}"
        return self._fields(macro, argument, place, frozenset())

    def _fields(self, macro: Path, argument: int, place: Place, above: frozenset[Wanted]) -> frozenset[str] | None:
        deployment = self.deployment(macro)
        if deployment is not None:
            is_row = argument == 0 and not macro[2].startswith("predict_values")
            return self.features.get(deployment) if is_row else None
        if (macro, argument) in above:  # DuckDB refuses it when it is called
            return None
        found: frozenset[str] = frozenset()
        for parameters, body in self.all[macro]:
            if argument >= len(parameters) or len(body) > LONGEST_MACRO:
                return None
            used = self._fields_in(body, parameters[argument], place, above | {(macro, argument)})
            if used is None:
                return None
            found |= used
        return found

    def _fields_in(self, body: str, parameter: str, place: Place, above: frozenset[Wanted]) -> frozenset[str] | None:
        """The fields that a macro's body reads of a parameter; None if it uses it whole."""
        found: frozenset[str] = frozenset()
        tree = self._parsed(body)
        if any(fold(dot.this.name) == fold(parameter) for dot in tree.find_all(exp.Dot) if _is_name(dot.this)):
            return None  # r.f(): a function called on the row
        for column in tree.find_all(exp.Column):
            names = [part.name for part in column.parts]
            if fold(names[0]) != fold(parameter):
                continue
            read = frozenset(names[1:2]) or _extracted(column) or self._given_on(column, place, above)
            if read is None:
                return None
            found |= read
        return found

    def _given_on(self, row: exp.Column, place: Place, above: frozenset[Wanted]) -> frozenset[str] | None:
        """What another macro reads of it, where it is handed to one."""
        call = row.parent
        if not isinstance(call, exp.Anonymous):
            return None
        before = chain(call.parent)[0] if isinstance(call.parent, exp.Dot) else ()
        macro = self.named((*before, call.name), place)
        if macro is None:
            return None
        return self._fields(macro, next(n for n, one in enumerate(call.expressions) if one is row), place, above)

    def _reads_more(self, macro: Path, place: Place, above: frozenset[Path]) -> str | None:
        """Why what a macro says is made of more than what is given to it; None if it is not. A deployment's is not."""
        if macro in above or self.deployment(macro) is not None:
            return None
        for _, body in self.all[macro]:
            if len(body) > LONGEST_MACRO:
                if "select" in body.lower():
                    return f"is longer than {LONGEST_MACRO} characters, and may read tables of its own"
                continue
            try:
                tree = self._parsed(body)
            except (SqlglotError, RecursionError):
                return "could not be parsed"
            if tree.find(exp.Query, exp.Table) is not None:
                return "reads tables of its own"
            for call in tree.find_all(exp.Func):
                before = chain(call.parent)[0] if isinstance(call.parent, exp.Dot) else ()
                for name in [call.name] if isinstance(call, exp.Anonymous) else call.sql_names():
                    called = self.named((*before, name), place) or self.named((name,), place)
                    why = self._reads_more(called, place, above | {macro}) if called is not None else None
                    if called is None and fold(name) in self.elsewhere:
                        why = "is in another schema"
                    if why is not None:
                        return f"calls {name}, which {why}"
        return None

    def _parsed(self, body: str) -> exp.Expr:
        if body not in self.bodies:
            self.bodies[body] = parse(body)
        return self.bodies[body]

    def called(self, text: str, place: Place) -> dict[Path, Overloads]:
        """All macros that a view of that place calls by this text, and those that they call; of deployments' functions
        only that they are called. Read word by word: what sqlglot cannot parse may call one too."""
        found: dict[Path, Overloads] = {}
        waiting = [text]
        while waiting:
            for parts in _calls_in(waiting.pop()):
                macro = self.named(parts, place) or self.named(parts[-1:], place)
                if macro is None or macro in found:
                    continue
                found[macro] = self.all[macro] if self.deployment(macro) is None else []
                waiting += [body for _, body in found[macro]]
        return found


def _calls_in(text: str) -> Iterator[tuple[str, ...]]:
    """The names before opening brackets, with what stands before them with dots; in texts handed to a function too."""
    try:
        tokens = sqlglot.tokenize(text, dialect=sql.DIALECT)
    except SqlglotError:  # a string that is no SQL
        return
    for place, token in enumerate(tokens):
        if token.token_type == TokenType.STRING and "(" in token.text:
            yield from _calls_in(token.text)
        if token.token_type != TokenType.L_PAREN or place == 0:
            continue
        first = place - 1
        while first >= 2 and tokens[first - 1].token_type == TokenType.DOT and place - first < 5:
            first -= 2
        yield tuple(one.text for one in tokens[first:place:2])


def chain(node: exp.Expr) -> tuple[tuple[str, ...], exp.Expr]:
    """`a.b.f(x)` as a, b and f(x); anything else as nothing and itself."""
    if isinstance(node, exp.Column):
        return tuple(part.name for part in node.parts[:-1]), node.this
    names: list[str] = []
    before = node.this if isinstance(node, exp.Dot) else None
    while isinstance(before, exp.Dot) and isinstance(before.expression, exp.Identifier):
        names.insert(0, before.expression.name)
        before = before.this
    if not isinstance(node, exp.Dot) or not isinstance(before, exp.Identifier):
        return (), node
    return (before.name, *names), node.expression


def _is_name(node: object) -> bool:
    return isinstance(node, exp.Identifier)


def _extracted(row: exp.Column) -> frozenset[str] | None:
    """The field in `struct_extract(row, 'field')`."""
    if isinstance(row.parent, exp.StructExtract) and row.parent.this is row:
        return frozenset({str(row.parent.expression.name)})
    return None
