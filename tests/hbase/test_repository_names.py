"""Names as MLflow's code gives them to the store: odd ones are kept, impossible ones refused before any connection."""

from __future__ import annotations

import io
import os
import socket
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sqlml.hbase.store import MANIFEST_NAME
from tests.hbase.mlflow_repositories import Repository, code_of, contents, listed, made, opened

ODD = [
    "with space",
    " leading and trailing ",
    "100%",
    "%41%20%2F",
    "%2fetc",
    "a+b",
    "a#b",
    "a?b=c&d",
    "'single' \"double\"",
    "back\\slash",
    ".hidden",
    "..hidden",
    "...",
    "trailing.",
    "~",
    "-rf",
    "*",
    "a:b@c;d,e",
    "<|>",
    "$HOME`id`",
    "été",
    unicodedata.normalize("NFD", "été"),
    "模型",
    "نموذج",
    "😀" * 63,
    "\u202eright to left",
    "\u200b",
    "x" * 255,
    "é" * 127,
    "MLmodel~",
    "m:c",
    "0" * 8,
]


def test_odd_names_are_kept_as_they_are(repository: Repository, tmp_path: Path) -> None:
    for number, name in enumerate(ODD):
        made(tmp_path / "tree" / name, name.encode())
        made(tmp_path / "tree" / "folders" / name / name, str(number).encode())
    repository.log_artifacts(str(tmp_path / "tree"))

    assert [path for path, is_dir, _ in listed(repository) if not is_dir] == sorted(ODD)
    assert [path for path, _, _ in listed(repository, "folders")] == [f"folders/{name}" for name in sorted(ODD)]
    assert contents(repository.download_artifacts("")) == contents(tmp_path / "tree")
    for number, name in enumerate(ODD):
        assert listed(repository, f"folders/{name}") == [(f"folders/{name}/{name}", False, len(str(number)))]
        assert Path(repository.download_artifacts(name)).read_bytes() == name.encode()
    for name in ODD:
        repository.delete_artifacts(name)
        repository.delete_artifacts(f"folders/{name}")
    assert listed(repository) == []


def test_odd_names_are_kept_in_a_location_too(uri: str, tmp_path: Path) -> None:
    source = str(made(tmp_path / "f"))
    names = [name for name in ODD if not set(name) & set("#?")]
    for name in names:
        opened(f"{uri}/{name}/deeper").log_artifact(source)
    assert [path for path, _, _ in listed(opened(uri))] == sorted(names)


def test_a_folder_may_be_fifty_deep(repository: Repository, tmp_path: Path) -> None:
    deep = "/".join(f"folder {depth}" for depth in range(50))
    made(tmp_path / "tree" / deep / "f", b"deep")
    repository.log_artifacts(str(tmp_path / "tree"))
    repository.log_artifact(str(made(tmp_path / "g")), deep)

    assert listed(repository, deep) == [(f"{deep}/f", False, 4), (f"{deep}/g", False, 7)]
    assert listed(repository) == [("folder 0", True, None)]
    assert contents(repository.download_artifacts("folder 0/folder 1"))[f"{deep[18:]}/f"] == b"deep"


REFUSED = {
    "empty part": "a//b",
    "absolute": "/etc/passwd",
    "root": "/",
    "two slashes": "//",
    "dot": "a/./b",
    "only a dot": ".",
    "dots": "a/../b",
    "only dots": "..",
    "dots that are encoded": "a/%2e%2E/b",
    "dots that are encoded twice": "a/%252e%252e/b",
    "dots with a backslash": "a\\..\\b",
    "newline": "a\nb",
    "tab": "a\tb",
    "NUL": "a\x00b",
    "delete": "a\x7fb",
    "C1": "a\x85b",
    "lone surrogate": "a\udcffb",
    "reserved": f"a/{MANIFEST_NAME}/b",
    "40 kB": "a/" * 20_000 + "b",
    "one name of 40 kB": "a" * 40_000,
}


@pytest.fixture
def no_connection(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever resolves a name or connects fails, and the test takes no time in which one could."""

    def forbidden(*_: object) -> None:
        raise AssertionError("nothing may be resolved or connected here")

    began = time.monotonic()
    monkeypatch.setattr(socket.socket, "connect", forbidden)
    yield
    assert time.monotonic() - began < 5


@pytest.mark.usefixtures("no_connection")
@pytest.mark.parametrize("path", REFUSED.values(), ids=REFUSED)
def test_a_path_that_is_refused_is_refused_before_any_connection(path: str, unused_port: int, tmp_path: Path) -> None:
    repository = opened(f"hbase://127.0.0.1:{unused_port}/t/p")
    source = str(made(tmp_path / "f"))

    for call in (
        lambda: repository.log_artifact(source, path),
        lambda: repository.log_artifacts(str(tmp_path), path),
        lambda: repository.log_artifact_from_stream(io.BytesIO(b""), "f", path),
        lambda: repository.list_artifacts(path),
        lambda: repository.download_artifacts(path),
        lambda: repository.delete_artifacts(path),
    ):
        assert code_of(call) == "INVALID_PARAMETER_VALUE"


LOCATIONS = {
    "not on the allow-list": "hbase://hbase.example:9090/t/p",
    "a name for this machine": "hbase://localhost.example:9090/t/p",
    "a network address": "hbase://192.0.2.1:9090/t/p",
    "a password": "hbase://user:hunter2@127.0.0.1:9090/p",
    "no host": "hbase:///x",
    "one slash": "hbase:/x",
    "no table": "hbase://127.0.0.1:9090/",
    "no path": "hbase://127.0.0.1:9090/t",
    "only a slash": "hbase://127.0.0.1:9090/t/",
    "a fragment": "hbase://127.0.0.1:9090/t/p#fragment",
    "a query": "hbase://127.0.0.1:9090/t/p?x=1",
    "a newline": "hbase://127.0.0.1:9090/t/p\n",
    "dots": "hbase://127.0.0.1:9090/t/p/../q",
    "a bad port": "hbase://127.0.0.1:port/t/p",
    "40 kB": "hbase://127.0.0.1:9090/t/" + "a/" * 20_000 + "b",
    "reserved": f"hbase://127.0.0.1:9090/t/p/{MANIFEST_NAME}",
    "reserved in the middle": f"hbase://127.0.0.1:9090/t/{MANIFEST_NAME}/p",
}


@pytest.mark.usefixtures("no_connection")
@pytest.mark.parametrize("location", LOCATIONS.values(), ids=LOCATIONS)
def test_a_location_that_is_refused_is_refused_by_the_constructor(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(*_: object, **__: object) -> None:
        raise AssertionError("no name may be resolved here")

    monkeypatch.setattr(socket, "getaddrinfo", resolved)

    with pytest.raises(MlflowException) as raised:
        get_artifact_repository(location)

    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"
    assert "hunter2" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_nothing_is_written_of_a_folder_with_a_name_that_is_refused(repository: Repository, tmp_path: Path) -> None:
    for refused in ("bad\nname", MANIFEST_NAME, os.fsdecode(b"not \xff utf-8"), "%2e%2e"):
        root = tmp_path / str(len(refused))
        made(root / "a")
        made(root / "folder" / refused)
        assert code_of(lambda root=root: repository.log_artifacts(str(root))) == "INVALID_PARAMETER_VALUE"
    assert listed(repository) == []
