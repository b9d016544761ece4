"""The native extension: where its file is, and bringing it into a connection.

One file serves every DuckDB from 1.5.6 on. It is not signed, so a connection can load it only if its database was opened
with `allow_unsigned_extensions`; DuckDB does not let that be set later.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml import sql
from sqlml.errors import ExtensionUnavailable
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

FILE_NAME = "sqlml.duckdb_extension"
"""DuckDB derives the function that it calls on LOAD from the name."""
OVERRIDE = "SQLML_EXTENSION"
"""The path of another file than the package's; empty: none."""
ONNXRUNTIME = "SQLML_ONNXRUNTIME"
"""Where the extension finds onnxruntime's library, for the models that it has no kernels for."""
UNSIGNED = "allow_unsigned_extensions"
FOOTER_BYTES = 512
"""Eight fields of 32 bytes, from the last to the first, and room for a signature."""
HOW_TO_MAKE = "`make ext` builds it where the sources are, `pip install .` with cargo (Rust 1.89 or newer) does too."


def packaged() -> Path:
    """Where the package has its file, if it has one."""
    return Path(__file__).parent / "native" / FILE_NAME


def override() -> Path | None:
    """What the environment names instead."""
    named = os.environ.get(OVERRIDE)
    return Path(named).absolute() if named else None


def find() -> Path | None:
    """The extension's file; None where there is none, or where SQLML_EXTENSION is set to nothing."""
    if OVERRIDE in os.environ:
        named = override()
        return named if named is not None and named.is_file() else None
    return packaged() if packaged().is_file() else None


def why_missing() -> str:
    """Why `find` gives nothing, as a sentence."""
    if OVERRIDE in os.environ:
        named = override()
        return f"{OVERRIDE} names no file: {named}." if named else f"{OVERRIDE} is empty, which switches it off."
    return "This installation of sqlml has no native extension."


def remedy() -> str:
    """What to do about that."""
    return f"Unset {OVERRIDE} for the package's own file, or name another." if OVERRIDE in os.environ else HOW_TO_MAKE


def load(connection: Connection) -> str:
    """Load the extension into the database that `connection` has open, unless it is there; give its version.

    Works on a cursor: functions that come in the caller's own transaction would be seen by no later one if it rolls back.

    Raises:
        ExtensionUnavailable: there is no file, the database was opened without the permission, or DuckDB refuses it.
    """
    import duckdb

    with connection.cursor() as cursor:
        found = _loaded(cursor)
        if found is None:
            path = find()
            if path is None:
                raise ExtensionUnavailable(why_missing(), hint=remedy())
            if not allows_unsigned(cursor):
                raise ExtensionUnavailable(
                    "This database was opened without permission for the native extension, which is not signed.",
                    hint="Close this process's connections to it and open it with sqlml.connect(path), or with"
                    f" duckdb.connect(path, config={{'{UNSIGNED}': 'true'}}): DuckDB does not let it be set later.",
                )
            tell_onnxruntime()
            try:
                cursor.execute(load_statement(path))
            except duckdb.Error as error:
                raise ExtensionUnavailable(
                    f"DuckDB {duckdb.__version__} does not load {path}: {_first_line(error)}",
                    hint=f"It is {serves(path)}.",
                ) from error
            found = _loaded(cursor) or ""
        if found.split()[:1] != [__version__]:
            raise ExtensionUnavailable(
                f"The native extension in this database is {found or 'of no known version'}, and sqlml is {__version__}.",
                hint=f"Build it again (`make ext`), or let {OVERRIDE} name the one of this version.",
            )
        return found


def why_not(connection: Connection) -> str | None:
    """Why the connection cannot have the extension, with the remedy; None once it is loaded."""
    try:
        load(connection)
    except ExtensionUnavailable as error:
        return f"{error.message} {error.hint}"
    return None


@dataclass(frozen=True)
class Stamp:
    """What the file's footer tells DuckDB: it is refused by a DuckDB of another platform, or with an older C API."""

    platform: str
    c_api: str
    version: str


def stamp(path: Path) -> Stamp | None:
    """The footer of an extension's file; None if it has none."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - FOOTER_BYTES))
        footer = file.read()
    fields = [footer[at : at + 32].rstrip(b"\0").decode("ascii", "replace") for at in range(0, 256, 32)]
    *_, version, c_api, platform_of_file, magic = fields
    return Stamp(platform_of_file, c_api, version) if magic == "4" else None


def serves(path: Path) -> str:
    """Whom the file is for, by its footer."""
    found = stamp(path)
    if found is None:
        return "no extension, or not whole"
    return f"for DuckDB with C API {found.c_api} or newer on {found.platform}"


def load_statement(path: Path) -> str:
    """What another shell executes."""
    return f"LOAD {sql.string(str(path))}"


def allows_unsigned(connection: Connection) -> bool:
    row = connection.execute("SELECT current_setting(?)", [UNSIGNED]).fetchone()
    return row is not None and bool(row[0])


def tell_onnxruntime() -> None:
    """Name onnxruntime's library to the extension, unless the person has; it is opened only for a model that needs it."""
    library = onnxruntime_library()
    if library is not None:
        os.environ.setdefault(ONNXRUNTIME, str(library))


def onnxruntime_library() -> Path | None:
    """The shared library in the installed onnxruntime package, found without importing it (0.2 s)."""
    named = os.environ.get(ONNXRUNTIME)
    if named:
        return Path(named)
    spec = find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = sorted(Path(folder, "capi").glob("libonnxruntime.*"))
        if found:
            return found[0]
    return None


def _loaded(cursor: Connection) -> str | None:
    """The version of the extension that the database has; None without one."""
    import duckdb

    try:
        row = cursor.execute("SELECT sqlml_version()").fetchone()
    except duckdb.CatalogException:
        return None
    return None if row is None else str(row[0])


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
