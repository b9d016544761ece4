"""The store as MLflow's code calls it, on a real HBase: what MLflow's own tests ask of its stores, and odd names."""

from __future__ import annotations

import asyncio
import gc
import io
import itertools
import json
import os
import socket
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException, MlflowTraceDataCorrupted, MlflowTraceDataNotFound
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sqlml.hbase.layout import CHUNK_COLUMN, MANIFEST_COLUMN, chunk_row, manifest_row, with_checksum
from sqlml.hbase.location import parse
from sqlml.hbase.repository import HBaseArtifactRepository
from sqlml.hbase.store import MANIFEST_NAME, Store, open_store

Repository = HBaseArtifactRepository


@pytest.fixture(scope="module")
def table(hbase: Any) -> Iterator[Store]:
    """A table for all tests here; each has a folder of its own in it."""
    store = open_store(f"hbase://{hbase.host}:{hbase.port}/repository_tests")
    store.gateway.create_table()
    yield store
    store.close()


numbers = itertools.count()


@pytest.fixture
def uri(table: Store) -> str:
    return f"{table.location.uri}/test {next(numbers)}"


@pytest.fixture
def repository(uri: str) -> Repository:
    return opened(uri)


def opened(uri: str) -> Repository:
    found = get_artifact_repository(uri)
    assert isinstance(found, HBaseArtifactRepository)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files at the root, in a folder and below that, and an empty folder."""
    root = tmp_path / "tree"
    for name, text in (("a.txt", "A"), ("b.txt", "BB"), ("nested/c.csv", "col\n1\n"), ("nested/deeper/d", "")):
        made(root / name, text.encode())
    (root / "empty").mkdir()
    return root


def made(path: Path, content: bytes = b"content") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(repository: Repository, path: str | None = None) -> list[tuple[str, bool, int | None]]:
    return [(entry.path, entry.is_dir, entry.file_size) for entry in repository.list_artifacts(path)]


def contents(folder: str | Path) -> dict[str, bytes]:
    root = Path(folder)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def code(call: Callable[[], object]) -> str:
    with pytest.raises(MlflowException) as raised:
        call()
    return str(raised.value.error_code)


# --- logging -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [None, "aaa", "aaa/bbb/ccc/ddd", "aaa/"])
def test_a_file_is_logged_and_comes_back(repository: Repository, tmp_path: Path, folder: str | None) -> None:
    source = made(tmp_path / "test.txt", b"hello world!")

    repository.log_artifact(str(source), folder)

    path = f"{folder.rstrip('/')}/test.txt" if folder else "test.txt"
    assert Path(repository.download_artifacts(path)).read_bytes() == b"hello world!"
    if folder:
        assert contents(repository.download_artifacts(folder)) == {"test.txt": b"hello world!"}


def test_a_path_object_is_as_good_as_a_string(repository: Repository, tmp_path: Path) -> None:
    repository.log_artifact(made(tmp_path / "f"))
    repository.log_artifacts(made(tmp_path / "folder/g").parent)
    assert listed(repository) == [("f", False, 7), ("g", False, 7)]


def test_a_file_that_is_logged_again_is_replaced(repository: Repository, tmp_path: Path) -> None:
    for content in (bytes(3 << 20), b"shorter", b""):
        repository.log_artifact(str(made(tmp_path / "f", content)), "folder")
        assert Path(repository.download_artifacts("folder/f")).read_bytes() == content
        assert listed(repository, "folder") == [("folder/f", False, len(content))]


@pytest.mark.parametrize("folder", [None, "model", "a/b/c"])
def test_a_folder_is_logged_with_all_below_it(repository: Repository, tree: Path, folder: str | None) -> None:
    repository.log_artifacts(str(tree), folder)

    assert contents(repository.download_artifacts(folder or "")) == contents(tree)


def test_an_empty_folder_leaves_nothing(repository: Repository, tmp_path: Path) -> None:
    repository.log_artifacts(str(tmp_path))
    assert listed(repository) == []


def test_a_file_and_a_folder_cannot_have_one_name(repository: Repository, tmp_path: Path) -> None:
    source = str(made(tmp_path / "name"))
    repository.log_artifact(source)
    assert code(lambda: repository.log_artifact(source, "name")) == "INVALID_PARAMETER_VALUE"
    assert listed(repository) == [("name", False, 7)]


def test_what_is_no_file_here_is_said(repository: Repository, tmp_path: Path) -> None:
    for call in (
        lambda: repository.log_artifact(str(tmp_path / "none")),
        lambda: repository.log_artifact(str(tmp_path)),
        lambda: repository.log_artifacts(str(tmp_path / "none")),
    ):
        assert code(call) == "INVALID_PARAMETER_VALUE"
    assert listed(repository) == []


def test_a_stream_is_logged_as_it_comes(repository: Repository) -> None:
    content = os.urandom((2 << 20) + 17)

    repository.log_artifact_from_stream(io.BytesIO(content), "ignored/folders/f", "model")
    repository.log_artifact_from_stream(io.BytesIO(b""), "empty")

    assert listed(repository) == [("empty", False, 0), ("model", True, None)]
    assert Path(repository.download_artifacts("model/f")).read_bytes() == content


@pytest.mark.parametrize("size", [0, 10, 9 << 20])  # the last one does not fit the memory that is given to it
def test_an_asynchronous_stream_is_logged(repository: Repository, size: int) -> None:
    content = os.urandom(size)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, size, 100_000):
            yield content[start : start + 100_000]

    asyncio.run(repository.log_artifact_from_async_stream(chunks(), "f", "model"))

    assert Path(repository.download_artifacts("model/f")).read_bytes() == content


def test_a_stream_that_breaks_off_leaves_nothing(repository: Repository, table: Store) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError("the client is gone")

    with pytest.raises(ConnectionError):
        asyncio.run(repository.log_artifact_from_async_stream(chunks(), "f", "model"))

    assert listed(repository) == []


# --- listing -------------------------------------------------------------------------------------------------------


def test_listing_is_one_level_by_name_with_sizes(repository: Repository, tree: Path) -> None:
    assert listed(repository) == []
    repository.log_artifacts(str(tree))

    root = [("a.txt", False, 1), ("b.txt", False, 2), ("nested", True, None)]
    nested = [("nested/c.csv", False, 6), ("nested/deeper", True, None)]
    assert listed(repository) == listed(repository, "") == root
    assert listed(repository, "nested") == listed(repository, "nested/") == nested
    assert listed(repository, "nested/deeper") == [("nested/deeper/d", False, 0)]
    assert listed(repository, "a.txt") == listed(repository, "nested/deeper/d") == listed(repository, "none") == []


def test_names_that_begin_alike_are_not_below_each_other(repository: Repository, tmp_path: Path) -> None:
    source = str(made(tmp_path / "f"))
    for folder in ("foo", "foobar", "foo-bar", "foo.", "foo0", "fo"):
        repository.log_artifact(source, folder)
    repository.log_artifact(str(made(tmp_path / "foo!")))

    assert listed(repository, "foo") == [("foo/f", False, 7)]
    assert [path for path, _, _ in listed(repository)] == ["fo", "foo", "foo!", "foo-bar", "foo.", "foo0", "foobar"]
    repository.delete_artifacts("foo")
    assert [path for path, _, _ in listed(repository)] == ["fo", "foo!", "foo-bar", "foo.", "foo0", "foobar"]


def test_a_repository_sees_only_what_is_below_it(uri: str, tmp_path: Path) -> None:
    source = str(made(tmp_path / "f"))
    for below in ("", "/x", "x", "/x/y"):
        opened(f"{uri}{below}").log_artifact(source)

    assert listed(opened(f"{uri}/x")) == [("f", False, 7), ("y", True, None)]
    opened(f"{uri}/x").delete_artifacts()
    assert listed(opened(uri)) == listed(opened(f"{uri}x")) == [("f", False, 7)]


def test_what_mlflow_appends_to_a_location_is_the_same_place_in_both_forms() -> None:
    from mlflow.utils.uri import append_to_uri_path

    for root in (
        "hbase://h:9090/t/mlflow",
        "hbase://h:9090/t/mlflow/",
        "hbase://t@h:9090/mlflow",
        "hbase://t@h/mlflow/",
    ):
        found = append_to_uri_path(root, "1", "models", "m-1", "artifacts")
        assert parse(found).uri == "hbase://h:9090/t/mlflow/1/models/m-1/artifacts"


def test_both_forms_of_a_location_meet(uri: str, hbase: Any, table: Store, tmp_path: Path) -> None:
    path = uri.removeprefix(f"{table.location.uri}/")
    other = opened(f"hbase://{table.location.table}@{hbase.host}:{hbase.port}/{path}/")

    other.log_artifact(str(made(tmp_path / "f")), "model")

    assert opened(uri).artifact_uri == other.artifact_uri == uri
    assert listed(opened(uri), "model") == listed(other, "model") == [("model/f", False, 7)]


# --- downloading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["a.txt", "nested/c.csv", "nested", "nested/", "nested/deeper", ""])
def test_files_folders_and_all_come_into_the_folder_that_is_named(
    repository: Repository, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    repository.log_artifacts(str(tree))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "target").mkdir()

    for target in ("target", str(tmp_path / "target"), None):
        found = Path(repository.download_artifacts(path, target))
        assert found.is_absolute()
        assert found.name == Path(path).name or not path
        if target:
            assert found.is_relative_to(tmp_path / "target")
        original = tree / path
        if original.is_file():
            assert found.read_bytes() == original.read_bytes()
        else:
            assert contents(found) == contents(original)


def test_a_download_replaces_what_is_there_and_leaves_nothing_else(repository: Repository, tmp_path: Path) -> None:
    repository.log_artifact(str(made(tmp_path / "f", b"new")))
    made(tmp_path / "target/f", b"old, and longer")

    repository.download_artifacts("f", str(tmp_path / "target"))

    assert contents(tmp_path / "target") == {"f": b"new"}


def test_what_is_missing_has_mlflows_code_and_leaves_no_file(
    repository: Repository, tree: Path, tmp_path: Path
) -> None:
    repository.log_artifacts(str(tree))
    target = tmp_path / "target"
    target.mkdir()

    for path in ("none", "nested/none", "a.txt/none", "nested/deepe"):
        assert code(lambda path=path: repository.download_artifacts(path, str(target))) == "RESOURCE_DOES_NOT_EXIST"
    assert contents(target) == {}


def test_an_empty_repository_downloads_as_an_empty_folder(repository: Repository, tmp_path: Path) -> None:
    assert list(Path(repository.download_artifacts("", str(tmp_path))).iterdir()) == []


def test_the_target_must_be_a_folder_that_exists(repository: Repository, tmp_path: Path) -> None:
    source = made(tmp_path / "f")
    repository.log_artifact(str(source))
    with pytest.raises(MlflowException, match="does not exist"):
        repository.download_artifacts("f", str(tmp_path / "none"))
    with pytest.raises(MlflowException, match="must be a directory"):
        repository.download_artifacts("f", str(source))


def test_many_files_come_over_many_threads(repository: Repository, tmp_path: Path) -> None:
    for number in range(60):
        made(tmp_path / "tree" / str(number % 7) / str(number), os.urandom(number * 15_000))
    repository.log_artifacts(str(tmp_path / "tree"))

    found: list[dict[str, bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append(contents(repository.download_artifacts("")))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [contents(tmp_path / "tree")] * 3


def test_a_repository_that_is_let_go_leaves_no_thread_and_no_connection(uri: str, tmp_path: Path) -> None:
    made(tmp_path / "f", bytes(3 << 20))

    def used() -> None:
        repository = opened(uri)
        repository.log_artifact(str(tmp_path / "f"))
        repository.download_artifacts("f", str(tmp_path))

    def ours() -> list[str]:
        gc.collect()
        return [thread.name for thread in threading.enumerate() if thread.name.startswith("sqlml-hbase")]

    before = len(ours())
    for _ in range(5):
        used()
    deadline = time.monotonic() + 10
    while len(ours()) > before and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert len(ours()) <= before


# --- deleting ------------------------------------------------------------------------------------------------------


def test_files_folders_and_all_are_deleted(repository: Repository, tree: Path) -> None:
    repository.log_artifacts(str(tree))

    repository.delete_artifacts("a.txt")
    assert [path for path, _, _ in listed(repository)] == ["b.txt", "nested"]
    repository.delete_artifacts("nested/deeper/")
    assert listed(repository, "nested") == [("nested/c.csv", False, 6)]
    repository.delete_artifacts("nested")
    assert listed(repository) == [("b.txt", False, 2)]
    repository.delete_artifacts()
    assert listed(repository) == []
    assert code(lambda: repository.download_artifacts("a.txt")) == "RESOURCE_DOES_NOT_EXIST"
    repository.log_artifacts(str(tree))
    assert contents(repository.download_artifacts("")) == contents(tree)


def test_deleting_what_is_not_there_is_done_at_once(repository: Repository, tree: Path) -> None:
    repository.log_artifacts(str(tree))
    for _ in range(2):
        repository.delete_artifacts("nested")
        repository.delete_artifacts("none")
        repository.delete_artifacts("a.txt/none")
    assert [path for path, _, _ in listed(repository)] == ["a.txt", "b.txt"]
    for _ in range(2):
        repository.delete_artifacts("")
    assert listed(repository) == []


# --- names ---------------------------------------------------------------------------------------------------------

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
        assert code(call) == "INVALID_PARAMETER_VALUE"


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
        assert code(lambda root=root: repository.log_artifacts(str(root))) == "INVALID_PARAMETER_VALUE"
    assert listed(repository) == []


# --- what the store says of its files ------------------------------------------------------------------------------


def test_every_folder_answers_with_its_manifest_and_never_lists_it(
    repository: Repository, uri: str, table: Store, tree: Path, tmp_path: Path
) -> None:
    repository.log_artifacts(str(tree))

    whole = json.loads(Path(repository.download_artifacts(MANIFEST_NAME, str(tmp_path))).read_bytes())
    nested = json.loads(Path(repository.download_artifacts(f"nested/{MANIFEST_NAME}")).read_bytes())

    assert [file["path"] for file in whole["files"]] == sorted(contents(tree))
    assert [(file["path"], file["size"]) for file in nested["files"]] == [("c.csv", 6), ("deeper/d", 0)]
    assert f"hbase://{nested['place']}/{nested['table']}/{nested['path']}" == f"{uri}/nested"
    assert MANIFEST_NAME not in contents(repository.download_artifacts(""))
    for path in (MANIFEST_NAME, f"nested/{MANIFEST_NAME}"):
        assert listed(repository, path) == []


def test_the_manifests_name_cannot_be_logged_or_deleted(repository: Repository, tmp_path: Path) -> None:
    source = made(tmp_path / MANIFEST_NAME)
    for call in (
        lambda: repository.log_artifact(str(source)),
        lambda: repository.log_artifact(str(source), "folder"),
        lambda: repository.log_artifacts(str(tmp_path)),
        lambda: repository.log_artifact_from_stream(io.BytesIO(b"x"), MANIFEST_NAME),
        lambda: repository.delete_artifacts(MANIFEST_NAME),
    ):
        assert code(call) == "INVALID_PARAMETER_VALUE"


def test_traces_and_attachments_are_kept(repository: Repository) -> None:
    with pytest.raises(MlflowTraceDataNotFound):
        repository.download_trace_data()
    repository.upload_trace_data("invalid data")
    with pytest.raises(MlflowTraceDataCorrupted):
        repository.download_trace_data()
    data = {"spans": [], "request": {"test": 1}, "response": {"test": 2}}
    repository.upload_trace_data(json.dumps(data))
    assert repository.download_trace_data() == data
    attachment = "0e8f9c4e-6a57-4b0e-b6b5-0a1f6a3c2d11"
    repository.upload_attachment(attachment, b"content")
    assert repository.download_trace_attachment(attachment) == b"content"


# --- damage --------------------------------------------------------------------------------------------------------


def test_what_is_damaged_is_named_and_has_mlflows_code(
    repository: Repository, table: Store, uri: str, tmp_path: Path
) -> None:
    repository.log_artifact(str(made(tmp_path / "f", b"right")))
    document = json.loads(Path(repository.download_artifacts(MANIFEST_NAME)).read_bytes())
    row = chunk_row(document["files"][0]["object"], 0)

    for cell in (with_checksum(row, b"wrong"), b"not it"):  # the second one has a checksum that does not fit
        table.gateway.put(row, CHUNK_COLUMN, cell, doing="damaging it")
        with pytest.raises(MlflowException) as raised:
            repository.download_artifacts("f")
        assert raised.value.error_code == "DATA_LOSS"
        # A server answers with this. MLflow's clients repeat what fails with 500 seven times, for four minutes.
        assert raised.value.get_http_status_code() == 409
        for part in ("f (object", document["files"][0]["object"], document["table"], document["place"], "fsck"):
            assert part in str(raised.value)


def test_a_damaged_manifest_is_no_missing_file(repository: Repository, table: Store, uri: str, tmp_path: Path) -> None:
    repository.log_artifact(str(made(tmp_path / "f")))
    row = manifest_row(uri.removeprefix(f"{table.location.uri}/") + "/f")
    cell = table.gateway.get(row, MANIFEST_COLUMN, doing="reading it")
    assert cell is not None

    for damaged in (cell.value[:-9], b'{"format":9} 0'):
        table.gateway.put(row, MANIFEST_COLUMN, damaged, doing="damaging it")
        for call in (
            lambda: repository.list_artifacts(),
            lambda: repository.download_artifacts(""),
            lambda: repository.download_artifacts("f"),
            lambda: repository.download_artifacts(MANIFEST_NAME),
        ):
            assert code(call) == "DATA_LOSS"


def test_a_store_that_does_not_answer_is_said_so(
    unused_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLML_HBASE_FIRST_CONTACT", "0.2")
    repository = opened(f"hbase://127.0.0.1:{unused_port}/t/p")
    for call in (
        lambda: repository.log_artifact(str(made(tmp_path / "f"))),
        lambda: repository.list_artifacts(),
        lambda: repository.download_artifacts("f"),
        lambda: repository.delete_artifacts(),
    ):
        with pytest.raises(MlflowException, match=rf"127\.0\.0\.1:{unused_port} refused the connection") as raised:
            call()
        assert raised.value.error_code == "TEMPORARILY_UNAVAILABLE"
