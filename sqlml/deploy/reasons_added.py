"""`why` and `why_vN` for versions that were deployed before there were such functions: added by the next deploy."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from sqlml import jobs, objects
from sqlml.catalog import records, states, turning
from sqlml.catalog.records import Version
from sqlml.database import atomic
from sqlml.deploy import stage
from sqlml.errors import BindingError
from sqlml.relation import find, resolve_columns

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

RAISES = re.compile(r"""AS "?system"?\."?main"?\."?error"?\('((?:[^']|'')*)'\)""")
"""How `explain` of an engine that has no explanations was made: a function that says so."""


def add_missing(connection: Connection, name: str, job: jobs.Job) -> None:
    """What the versions of a deployment lack, each in a transaction of its own. One whose source or functions are not
    what they were is left as it is: `sqlml why` answers all the same."""
    import duckdb

    log = partial(job.log, "apply")
    for version in records.versions(connection, name):
        made = stage.with_readable_reasons(connection, version.version, _missing(connection, version))
        if not made:
            continue
        try:
            with atomic(connection, name):
                records.begin_change(connection, name)
                for item in made:
                    if item.role == "version" or version.state == states.ACTIVE:
                        connection.execute(item.statement)
                objects.record(connection, version.version, name, made)
        except duckdb.Error as error:  # a column of the source, or the extension, is not there: nothing depends on this
            log(f"{name} v{version.version} gets no function why_v{version.version}: {str(error).splitlines()[0]}")
            continue
        log(f"{name} v{version.version} has the function why_v{version.version} from now on")
    with atomic(connection, name):
        turning.keep_missing(connection)


def _missing(connection: Connection, version: Version) -> list[objects.DatabaseObject]:
    if version.state not in states.CALLABLE or version.prediction_table is None or version.source is None:
        return []
    known = {item.name: item.statement for item in objects.recorded(connection, version.deployment, version.version)}
    if f"why_v{version.version}" in known:
        return []
    try:
        relation = find(connection, version.source)
        resolve_columns(relation, version.key_columns, "key")
    except BindingError:
        return []
    explain = known.get(f"explain_v{version.version}")
    raises = None if explain is None else RAISES.search(explain)
    unexplained = None if raises is None else raises[1].replace("''", "'")
    if version.engine == "pyfunc":
        unexplained = objects.NOT_OF_WHAT
    elif explain is None:
        unexplained = "This version was deployed before there were contributions: deploy it again."
    return objects.why_objects(
        version.deployment,
        version.version,
        version.contract,
        relation,
        version.key_columns,
        version.keeps,
        threshold=version.threshold,
        unexplained=unexplained,
        is_asked=version.engine == "pyfunc",
        own_process=version.engine == "python",
    )
