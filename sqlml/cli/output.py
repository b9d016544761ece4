"""Printing: data to stdout, narration to stderr; rich only on a terminal, and imported only there."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sqlml.jobs import Line


def on_terminal() -> bool:
    return sys.stdout.isatty()


def data(text: str = "") -> None:
    click.echo(text)


def say(text: str) -> None:
    click.echo(text, err=True)


def building(line: str) -> None:
    """Of a conversion's lines those that say why it takes so long: an environment is being built."""
    if line.startswith("model environment: ") and ("building" in line or "waiting" in line):
        say(line)


def quietly(silent: bool) -> Callable[[str], None]:
    """Narrates what happens, where somebody may watch."""
    return (lambda _: None) if silent else lambda text: say(cell(text))


def as_json(value: Any) -> None:  # Any: whatever a result's to_dict gives
    """One JSON document; NaN and infinities, which JSON lacks, become strings."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, indent=2, default=_text))


def json_line(value: Any) -> None:  # Any: whatever a result's to_dict gives
    """One of many documents, on a line of its own, at once."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, default=_text))
    sys.stdout.flush()


def _plain(value: Any) -> Any:  # Any: JSON in the making
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)


def cell(value: object) -> str:
    """A value in a table: NULL is said, control characters cannot move the cursor."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}" if value != int(value or 0 if math.isfinite(value) else 0) else f"{value:g}"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    text = value.hex() if isinstance(value, bytes) else str(value)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table: drawn on a terminal, aligned columns otherwise."""
    cells = [[cell(value) for value in row] for row in rows]
    if on_terminal():
        _drawn(columns, cells, title)
        return
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, *cells):
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _drawn(columns: Sequence[str], cells: Sequence[Sequence[str]], title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(Text(column), overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    Console().print(drawn)


class Narrator:
    """Prints a job's lines to stderr as they come; on a terminal cut to its width, and progress over itself."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._began: datetime | None = None
        self._is_open = False
        self._width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None

    def __call__(self, line: Line) -> None:
        if self._quiet or line.phase in ("done", "end"):  # what was done is the command's own answer
            return
        at = datetime.fromisoformat(line.at)
        self._began = self._began or at
        text = f"{(at - self._began).total_seconds():7.1f} s  {line.phase:<10}  {cell(line.message)}"
        if self._is_open:
            click.echo("\r\x1b[K", err=True, nl=False)
        is_progress = "batches" in line.details and line.details["batch"] < line.details["batches"]
        self._is_open = is_progress and self._width is not None
        click.echo(_cut(text, self._width), err=True, nl=not self._is_open)


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) < width else text[: width - 2] + "…"


def listener(as_json: bool = False) -> Narrator:
    """The narration of a job; silent where only JSON is wanted and nobody watches."""
    return Narrator(quiet=as_json and not sys.stderr.isatty())


class Counter:
    """Files and bytes as they are done, over itself on a terminal; silent elsewhere."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._files = self._bytes = 0
        self._width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None

    def __call__(self, path: str, size: int) -> None:
        self._files += 1
        self._bytes += size
        if self._width is not None:
            text = f"{self._verb} {self._files:,} files, {self._bytes / 1e6:,.1f} MB: {cell(path)}"
            click.echo("\r\x1b[K" + _cut(text, self._width), err=True, nl=False)

    def end(self) -> None:
        if self._width is not None and self._files:
            click.echo("\r\x1b[K", err=True, nl=False)
