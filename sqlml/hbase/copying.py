"""Files and folders between the local disk and the store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml.errors import ArtifactError, UsageError
from sqlml.hbase import files, reading, writing
from sqlml.hbase.location import SCHEME

if TYPE_CHECKING:
    from sqlml.hbase.store import Store

FILES_AT_ONCE = 4
Done = Callable[[str, int], object]
"""Told the whole path of each file that was copied, and its bytes."""


def put_file(store: Store, path: str, source: Path) -> int:
    """Make a local file the file at the whole path `path`; returns its bytes.

    Raises:
        ArtifactError: it cannot be read, or `path` is a folder.
        StoreError: the store does not answer.
    """
    if source.exists() and not source.is_file():  # a pipe would block, a device has no end
        raise ArtifactError(f"{source} is not a regular file.", hint="Only regular files can be stored.")
    try:
        with source.open("rb") as stream:
            return writing.write(store.gateway, store.transfers, path, stream).size
    except OSError as error:
        raise ArtifactError(
            f"{source} cannot be read: {error.strerror or error}.", hint="Check that it exists and is yours to read."
        ) from error


def put_folder(store: Store, folder: str | None, root: Path, done: Done = lambda path, size: None) -> None:
    """Store all files below a local folder, each in one step, below `folder` (relative to the store's location).

    Links are followed; empty folders leave nothing. Nothing is written when a name is refused.

    Raises:
        LocationRefused: a name that cannot be stored.
        ArtifactError, StoreError: as for put_file.
    """
    if not root.is_dir():
        raise ArtifactError(f"{root} is not a folder.", hint="Name one that exists.")
    named = {
        store.path("/".join(filter(None, (folder, source.relative_to(root).as_posix())))): source
        for source in _below(root)
    }
    _at_once(store, {path: partial(put_file, store, path, source) for path, source in named.items()}, done)


def get_folder(store: Store, path: str, target: Path, done: Done = lambda path, size: None) -> None:
    """Bring all files below the whole path `path` to the local folder `target`, made where it is missing.

    Raises:
        ArtifactError: there are none, or one is damaged or cannot be written.
        StoreError: the store does not answer.
    """

    def get(found: files.StoredFile) -> int:
        return _get_file(store, found.path, target / found.path[len(path) :].removeprefix("/"))

    there = {found.path: partial(get, found) for found in files.below(store.gateway, path)}
    if not there:
        files.require(store.gateway, path)
    _at_once(store, there, done)


def _get_file(store: Store, path: str, local: Path) -> int:
    try:
        if local.exists() and not local.is_file():  # putting a file in the place of /dev/null breaks the machine
            raise ArtifactError(
                f"{local} is there and is not a regular file.", hint="Only a regular file is replaced: name another."
            )
        local.parent.mkdir(parents=True, exist_ok=True)
        return reading.fetch(store.gateway, store.transfers, path, local).manifest.size
    except OSError as error:
        at = "" if error.filename in (None, str(local)) else f" ({error.filename})"
        raise ArtifactError(
            f"{local} cannot be written: {error.strerror or error}{at}.",
            hint="Choose another target, or see that its folder is yours to write and has room.",
        ) from error


def _at_once(store: Store, copies: Mapping[str, Callable[[], int]], done: Done) -> None:
    with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="sqlml-hbase-files") as workers:
        futures = {workers.submit(copy): path for path, copy in copies.items()}
        try:
            for future in as_completed(futures):
                done(futures[future], future.result())
        except BaseException as error:
            for future in futures:  # first, so that no worker that becomes free begins another
                future.cancel()
            if isinstance(error, KeyboardInterrupt):
                store.gateway.give_up()
            raise


def _below(root: Path) -> Iterator[Path]:
    """All files below a folder. A link that leads back into the folders that hold it is refused."""

    def unreadable(error: OSError) -> None:  # os.walk would leave the folder out
        raise ArtifactError(
            f"{error.filename} cannot be read: {error.strerror}.", hint="Check that it is yours to read."
        ) from error

    for folder, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        for name in folders:
            path = Path(folder) / name
            if path.is_symlink() and Path(folder).resolve().is_relative_to(path.resolve()):
                raise ArtifactError(f"{path} is a link to a folder that holds it.", hint="Remove the link.")
        for name in names:
            yield Path(folder) / name


@dataclass
class Copied:
    files: int = 0
    bytes: int = 0


def copy_between(
    source: str,
    target: str,
    opened: Callable[[str], AbstractContextManager[Store]],
    done: Done = lambda path, size: None,
) -> Copied:
    """Copy a file or all below a folder; both ends are hbase:// locations or local paths.

    With a slash at its end `target` is the folder that a file goes into. From HBase to HBase the files wait on disk.

    Raises:
        UsageError: neither end is in HBase.
        ArtifactError: there is nothing at `source`, or it is damaged, or a local path cannot be read or written.
        StoreError: the store does not answer.
    """
    copied = Copied()

    def counted(path: str, size: int) -> None:
        copied.files += 1
        copied.bytes += size
        done(path, size)

    if is_location(source) and is_location(target):
        name = source.rstrip("/").rpartition("/")[2]
        with tempfile.TemporaryDirectory(prefix="sqlml-") as folder:
            local = Path(folder) / "copy"  # a name in HBase may be longer than one on disk
            _down(source, str(local), opened, lambda path, size: None)
            _up(local, target, opened, counted, name)
    elif is_location(source):
        _down(source, target, opened, counted)
    elif is_location(target):
        _up(Path(source), target, opened, counted, Path(source).name)
    else:
        raise UsageError(f"Neither {source!r} nor {target!r} is an hbase:// location.", hint="Use cp for local files.")
    return copied


def is_location(text: str) -> bool:
    return text.lower().startswith(f"{SCHEME}://")


def _up(
    source: Path, target: str, opened: Callable[[str], AbstractContextManager[Store]], done: Done, name: str
) -> None:
    with opened(target) as store:
        if source.is_dir():
            put_folder(store, None, source, done)
            return
        if not source.exists():
            raise ArtifactError(f"There is no file {source}.", hint="Name one that exists.")
        path = store.path(name if target.endswith("/") or not store.location.path else None)
        done(path, put_file(store, path, source))


def _down(source: str, target: str, opened: Callable[[str], AbstractContextManager[Store]], done: Done) -> None:
    with opened(source) as store:
        path = store.path(None)
        if path and (found := files.find(store.gateway, path)):
            local = Path(target)
            if target.endswith("/") or local.is_dir():
                local /= path.rpartition("/")[2]
            done(path, _get_file(store, found.path, local))
        else:
            get_folder(store, path, Path(target), done)
