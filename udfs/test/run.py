#!/usr/bin/env python3
"""Runs test/sql/*.test against an extension, with the duckdb that Python has: run.py <extension> [file.test ...]

`run.py --print` prints their statements instead, for a shell.

The files are sqllogictest files, as extension-ci-tools' runner reads them; this one knows as much of the format as they
use: `require sqlml`, `statement ok`, `statement error` and `query <types> [rowsort]` with the expected text behind `----`.
"""

import sys
from pathlib import Path

import duckdb

FOLDER = Path(__file__).resolve().parent


def records(text: str) -> "list[tuple[int, list[str]]]":
    """Paragraphs without their comments, each with the number of its first line."""
    found, current, start = [], [], 0
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        if line.startswith("#"):
            continue
        if line.strip():
            start = start if current else number
            current.append(line)
        elif current:
            found.append((start, current))
            current = []
    return found


def connection(extension: Path) -> duckdb.DuckDBPyConnection:
    made = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    made.execute(f"LOAD '{extension}'")
    return made


def as_text(value: object) -> str:
    if value is None:
        return "NULL"
    return "(empty)" if value == "" else str(value)


def rows_of(con: duckdb.DuckDBPyConnection, query: str) -> "list[str]":
    """Each row's values as DuckDB's own texts, with tabs between."""
    relation = con.query(query)
    if relation is None:
        return []
    return ["\t".join(map(as_text, row)) for row in relation.project("CAST(COLUMNS(*) AS VARCHAR)").fetchall()]


def parted(lines: "list[str]") -> "tuple[str, list[str]]":
    """A record's statement, and what it is to give."""
    cut = lines.index("----") if "----" in lines else len(lines)
    return "\n".join(lines[1:cut]), lines[cut + 1 :]


def mistake(con: duckdb.DuckDBPyConnection, lines: "list[str]") -> "str | None":
    """What is wrong with one record; None if all is as expected."""
    kind, *options = lines[0].split()
    query, expected = parted(lines)
    try:
        if kind == "statement":
            con.execute(query).fetchall()  # unread, a SELECT has not run
            found = []
        else:
            found = rows_of(con, query)
    except duckdb.Error as error:
        if options[0] == "error" and all(line in str(error) for line in expected):
            return None
        return f"failed: {error}"
    if options[0] == "error":
        return f"did not fail, but for: {' '.join(expected)}"
    if kind == "query" and "rowsort" in options:
        found, expected = sorted(found), sorted(expected)
    return None if found == expected else f"gave {found} instead of {expected}"


def failures(extension: Path, file: Path) -> int:
    con, count = None, 0
    for number, lines in records(file.read_text("utf-8")):
        if lines[0].startswith("require"):
            con = connection(extension)
            continue
        if con is None:
            raise SystemExit(f"{file.name} does not begin with: require sqlml")
        wrong = mistake(con, lines)
        if wrong is not None:
            count += 1
            print(f"{file.name}:{number}: {wrong}", file=sys.stderr)
    if con is not None:
        con.close()
    return count


def main() -> int:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    files = [Path(name) for name in sys.argv[2:]] or sorted((FOLDER / "sql").glob("*.test"))
    if sys.argv[1] == "--print":
        everything = (lines for file in files for _, lines in records(file.read_text("utf-8")))
        print("\n".join(f"{parted(lines)[0]};" for lines in everything if not lines[0].startswith("require")))
        return 0
    extension = Path(sys.argv[1]).resolve()
    count = sum(failures(extension, file) for file in files)
    print(f"DuckDB {duckdb.__version__}: {len(files)} files, {count} failures")
    return 1 if count else 0


if __name__ == "__main__":
    raise SystemExit(main())
