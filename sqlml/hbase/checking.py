"""fsck: every byte of every file is read and compared with what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlml.errors import ArtifactError
from sqlml.hbase import collecting, files, layout
from sqlml.hbase.files import StoredFile
from sqlml.hbase.layout import CHUNK_COLUMN, MANIFEST_COLUMN
from sqlml.hbase.reading import damaged
from sqlml.hbase.transfers import ChunkMissing, Transfers

if TYPE_CHECKING:
    from sqlml.hbase.gateway import Gateway


@dataclass
class Checked:
    """`problems` are by path; `orphans` are objects that no record knows (only looked for in a whole table)."""

    files: int = 0
    bytes: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    orphans: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.problems and not self.orphans


def check(
    gateway: Gateway, transfers: Transfers, path: str, checked: Callable[[str, int], object] | None = None
) -> Checked:
    """Verify the file at `path`, or all below the folder; "" is the whole table, and looks for orphans too.

    `checked` is told each path and its bytes as it is done.

    Raises:
        ArtifactError: there is nothing at `path`, which is not the same as all of it being clean.
        StoreError: the store does not answer.
    """
    done = Checked()
    may_hold: list[str] = []  # files whose name a later path may still have as a folder
    for row, cell in _cells(gateway, path):
        name = row.removeprefix(layout.MANIFEST_ROWS).decode(errors="backslashreplace")
        try:
            files.path_of(row)
            file = files.stored(name, cell)
            if file is None:
                continue
            done.files += 1
            may_hold = [other for other in may_hold if name < f"{other}0"]  # "0" is what comes after "/"
            if above := next((other for other in may_hold if name.startswith(f"{other}/")), None):
                done.problems[name] = f"{name} lies below {above}, which is a file: remove one of them."
            may_hold.append(name)
            size = _check(gateway, transfers, file)
            done.bytes += size
            if checked is not None:
                checked(name, size)
        except ArtifactError as error:
            done.problems[name] = error.message
    if path and not done.files and not done.problems:
        files.require(gateway, path)
    if not path:
        # With a manifest that cannot be read, nothing is an orphan for certain.
        try:
            done.orphans = [object_ for object_, _ in collecting.orphaned(gateway)]
        except ArtifactError as error:
            done.problems.setdefault("", error.message)
    return done


def _cells(gateway: Gateway, path: str) -> Iterator[tuple[bytes, bytes]]:
    if path:
        row = layout.manifest_row(path)
        own = gateway.get(row, MANIFEST_COLUMN, doing=f"reading the manifest of {path}")
        if own is not None:
            yield row, own.value
    yield from files.cells_below(gateway, path)


def _check(gateway: Gateway, transfers: Transfers, file: StoredFile) -> int:
    """The bytes read. A file that is replaced meanwhile is checked as it is then."""
    while True:
        try:
            size = sum(len(part) for part in transfers.download(file.manifest, file.path))
            _require_no_more(gateway, file)
            return size
        except (ChunkMissing, ArtifactError) as problem:
            current = files.find(gateway, file.path)
            if current is None:
                return 0
            if current.manifest.object == file.manifest.object:
                if isinstance(problem, ChunkMissing):
                    raise damaged(gateway, file.path, file.manifest, problem) from problem
                raise
            file = current


def _require_no_more(gateway: Gateway, file: StoredFile) -> None:
    start = layout.chunk_row(file.manifest.object, file.manifest.chunks)
    more = gateway.page(
        start,
        layout.chunk_rows(file.manifest.object)[1],
        CHUNK_COLUMN,
        limit=1,
        keys_only=True,
        doing=f"looking for chunks beyond the end of {file.path}",
    )
    if more:
        raise ArtifactError(f"{file.path} (object {file.manifest.object}) has more chunks than its manifest says.")
