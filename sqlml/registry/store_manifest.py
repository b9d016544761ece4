"""What an artifact store itself recorded about the files of a folder, and whether the files that came are those.

A store may answer the name `.sqlml-manifest.json` in any of its folders with JSON. The file is not stored, and no listing
shows it; the `hbase://` store has it, most stores do not:

    {"format": 1, "store": "hbase", "place": "HOST:PORT", "table": "T", "path": "the folder's whole path",
     "files": [{"path": "relative", "size": 1, "sha256": "64 hex digits", "object": "the stored object's id"}, ...]}

It comes from outside, so nothing in it is taken for granted. Keys beyond these are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from sqlml.errors import ArtifactError
from sqlml.registry.files import ArtifactFile

FILE_NAME = ".sqlml-manifest.json"
FORMAT = 1
LONGEST_PATH = 32_000
"""Bytes; a row key of HBase, the longest path known, has 32,767."""
LONGEST_NAME = 500
LARGEST_SIZE = 2**63 - 1
HINT = "The artifact store is damaged, or another version made its answer: check the store."


@dataclass(frozen=True)
class StoredFile:
    """One file as the store keeps it; `object` is the store's own id of these very bytes."""

    path: str
    size: int
    sha256: str
    object: str


@dataclass(frozen=True)
class StoreManifest:
    """A folder of a store: `place` is the server, `table` where it keeps the folder, `path` its whole path there."""

    store: str
    place: str
    table: str
    path: str
    files: tuple[StoredFile, ...]

    @property
    def where(self) -> str:
        """For people: `hbase table mlflow at 127.0.0.1:9090`."""
        return f"{self.store} table {self.table} at {self.place}"

    def name_of(self, file: str) -> str:
        """One name for a file of the folder: `hbase://127.0.0.1:9090/mlflow/1/models/m-1/artifacts/MLmodel`."""
        return f"{self.store}://{self.place}/{self.table}/{self.path}/{file}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> StoreManifest:
        """What `to_json` wrote; the catalog keeps it."""
        known = json.loads(text)
        files = tuple(StoredFile(**file) for file in known.pop("files"))
        return cls(files=files, **known)


def parse(content: bytes, source: str) -> StoreManifest:
    """The manifest that a store sent; `source` says for which artifact, in errors.

    Raises:
        ArtifactError: it is not exactly what the module's docstring describes.
    """
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, a number of thousands of digits
        raise _invalid(source, f"it cannot be read as JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(document, dict):
        raise _invalid(source, "it is not a JSON object")
    if document.get("format") != FORMAT or isinstance(document["format"], bool):
        raise _invalid(source, f"its format is {_brief(document.get('format'))}, and this sqlml reads {FORMAT}")
    try:
        entries = document.get("files")
        if not isinstance(entries, list):
            raise _Wrong("files is not a list")
        files = tuple(_file(entry) for entry in entries)
        seen: set[str] = set()
        for file in files:
            if file.path in seen:
                raise _Wrong(f"it names {_brief(file.path)} twice")
            seen.add(file.path)
        return StoreManifest(
            store=_name(document, "store", r"[a-z][a-z0-9+.-]*"),
            place=_name(document, "place", r"[^\s/@?#]+"),
            table=_name(document, "table", r"[^\s/@?#]+"),
            path=_path(document, "path"),
            files=files,
        )
    except _Wrong as wrong:
        raise _invalid(source, str(wrong)) from wrong


class _Wrong(ValueError):
    """Something in the document is not as it must be."""


def _invalid(source: str, why: str) -> ArtifactError:
    return ArtifactError(f"The manifest that the artifact store sent for {source} is not valid: {why}.", hint=HINT)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return made


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _file(entry: object) -> StoredFile:
    if not isinstance(entry, dict):
        raise _Wrong(f"{_brief(entry)} among its files is not an object")
    path = _path(entry, "path")
    if path == FILE_NAME:
        raise _Wrong("it names itself among the files")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LARGEST_SIZE:
        raise _Wrong(f"the size of {_brief(path)} is {_brief(size)}")
    return StoredFile(path, size, _name(entry, "sha256", r"[0-9a-f]{64}"), _name(entry, "object", r"[!-~]+"))


def _name(document: dict[str, Any], key: str, pattern: str) -> str:  # Any: JSON
    value = document.get(key)
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not re.fullmatch(pattern, value):
        raise _Wrong(f"{key} is {_brief(value)}")
    if not value.isprintable():  # it is shown on terminals
        raise _Wrong(f"{key} is {_brief(value)}, which cannot be shown")
    return value


def _path(document: dict[str, Any], key: str) -> str:  # Any: JSON
    value = document.get(key)
    if not isinstance(value, str) or any(part in ("", ".", "..") for part in value.split("/")):
        raise _Wrong(f"{key} is {_brief(value)}, which is not a relative path")
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value) or len(value.encode()) > LONGEST_PATH:
        raise _Wrong(f"{key} is {_brief(value)}, which no store can hold")
    return value


def difference(manifest: StoreManifest, files: Sequence[ArtifactFile], description: str) -> ArtifactError | None:
    """The first file that is not what the store recorded; None if all are, and none is missing on either side."""
    came = {file.path: file for file in files}
    for stored in manifest.files:
        found = came.pop(stored.path, None)
        if found is None:
            return _not_as_recorded(manifest, stored.path, stored, None, description)
        if (found.size, found.sha256) != (stored.size, stored.sha256):
            return _not_as_recorded(manifest, stored.path, stored, found, description)
    for path, extra in came.items():
        return _not_as_recorded(manifest, path, None, extra, description)
    return None


def _not_as_recorded(
    manifest: StoreManifest, path: str, stored: StoredFile | None, found: ArtifactFile | None, description: str
) -> ArtifactError:
    expected = "no such file" if stored is None else f"{_bytes(stored)} (object {stored.object})"
    came = "no file" if found is None else _bytes(found)
    return ArtifactError(
        f"{path} of {description} is not what {manifest.where} recorded: expected {expected}, found {came}.",
        hint="The file was changed or damaged in the store or on the way: check the store, then log the model again.",
        file=path,
        expected=stored,
        found=found,
        place=manifest.place,
        table=manifest.table,
        object=None if stored is None else stored.object,
    )


def _bytes(file: StoredFile | ArtifactFile) -> str:
    return f"{file.size:,} bytes with sha256 {file.sha256}"
