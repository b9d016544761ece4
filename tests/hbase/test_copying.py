"""Copies between the local disk and a table: what is in the way on the disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from sqlml.errors import ArtifactError
from sqlml.hbase.copying import copy_between
from sqlml.hbase.location import parse
from sqlml.hbase.store import Store
from sqlml.hbase.transfers import Transfers
from tests.hbase.memory import MemoryGateway

TABLE = "hbase://127.0.0.1:9090/models"


@pytest.fixture
def opened() -> Callable[[str], AbstractContextManager[Store]]:
    gateway = MemoryGateway()

    @contextlib.contextmanager
    def store_at(uri: str) -> Iterator[Store]:
        store = Store(parse(uri, prefix_required=False), gateway, Transfers(gateway, 2))  # type: ignore[arg-type]
        yield store
        store.transfers.close()

    return store_at


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "data").mkdir(parents=True)
    (root / "data" / "model.bin").write_bytes(b"model")
    (root / "MLmodel").write_bytes(b"flavors")
    return root


def test_only_a_regular_file_is_replaced(
    tree: Path, tmp_path: Path, opened: Callable[[str], AbstractContextManager[Store]]
) -> None:
    copy_between(str(tree), f"{TABLE}/m", opened)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "back" / "MLmodel").mkdir(parents=True)
    for source, target in (("m/MLmodel", pipe), ("m", tmp_path / "back")):
        with pytest.raises(ArtifactError, match="is there and is not a regular file"):
            copy_between(f"{TABLE}/{source}", str(target), opened)
    assert pipe.is_fifo()
    assert (tmp_path / "back" / "MLmodel").is_dir()


@pytest.mark.parametrize("source", ["m", "m/MLmodel"])
def test_a_target_below_a_file_is_named(
    source: str, tree: Path, tmp_path: Path, opened: Callable[[str], AbstractContextManager[Store]]
) -> None:
    copy_between(str(tree), f"{TABLE}/m", opened)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"file/x.* cannot be written: ") as refused:
        copy_between(f"{TABLE}/{source}", str(tmp_path / "file" / "x"), opened)
    assert refused.value.hint is not None


def test_a_folder_that_cannot_be_read_is_not_left_out(
    tree: Path, opened: Callable[[str], AbstractContextManager[Store]], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def shut(path: str) -> object:
        if str(path).endswith("data"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", shut)
    with pytest.raises(ArtifactError, match="data cannot be read: Permission denied"):
        copy_between(str(tree), f"{TABLE}/m", opened)


def test_a_name_that_no_disk_takes_is_copied_within_hbase(
    tree: Path, tmp_path: Path, opened: Callable[[str], AbstractContextManager[Store]]
) -> None:
    name = "n" * 300
    copy_between(str(tree / "MLmodel"), f"{TABLE}/{name}", opened)
    copied = copy_between(f"{TABLE}/{name}", f"{TABLE}/folder/", opened)
    assert copied.files == 1
    copy_between(f"{TABLE}/folder/{name}", str(tmp_path / "back"), opened)
    assert (tmp_path / "back").read_bytes() == b"flavors"
    with pytest.raises(ArtifactError, match="cannot be written: File name too long"):
        copy_between(f"{TABLE}/folder", str(tmp_path / "folder"), opened)
