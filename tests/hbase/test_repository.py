"""The store as MLflow's code calls it, on a real HBase: what MLflow's own tests ask of its stores."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException, MlflowTraceDataCorrupted, MlflowTraceDataNotFound

from sqlml.hbase.location import parse
from sqlml.hbase.store import MANIFEST_NAME, Store
from tests.hbase.mlflow_repositories import Repository, code_of, contents, listed, made, opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files at the root, in a folder and below that, and an empty folder."""
    root = tmp_path / "tree"
    for name, text in (("a.txt", "A"), ("b.txt", "BB"), ("nested/c.csv", "col\n1\n"), ("nested/deeper/d", "")):
        made(root / name, text.encode())
    (root / "empty").mkdir()
    return root


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
    assert code_of(lambda: repository.log_artifact(source, "name")) == "INVALID_PARAMETER_VALUE"
    assert listed(repository) == [("name", False, 7)]


def test_what_is_no_file_here_is_said(repository: Repository, tmp_path: Path) -> None:
    for call in (
        lambda: repository.log_artifact(str(tmp_path / "none")),
        lambda: repository.log_artifact(str(tmp_path)),
        lambda: repository.log_artifacts(str(tmp_path / "none")),
    ):
        assert code_of(call) == "INVALID_PARAMETER_VALUE"
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


def test_a_stream_that_breaks_off_leaves_nothing(repository: Repository, store_table: Store) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError("the client is gone")

    with pytest.raises(ConnectionError):
        asyncio.run(repository.log_artifact_from_async_stream(chunks(), "f", "model"))

    assert listed(repository) == []


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


def test_both_forms_of_a_location_meet(uri: str, hbase: Any, store_table: Store, tmp_path: Path) -> None:
    path = uri.removeprefix(f"{store_table.location.uri}/")
    other = opened(f"hbase://{store_table.location.table}@{hbase.host}:{hbase.port}/{path}/")

    other.log_artifact(str(made(tmp_path / "f")), "model")

    assert opened(uri).artifact_uri == other.artifact_uri == uri
    assert listed(opened(uri), "model") == listed(other, "model") == [("model/f", False, 7)]


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
        assert code_of(lambda path=path: repository.download_artifacts(path, str(target))) == "RESOURCE_DOES_NOT_EXIST"
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
    assert code_of(lambda: repository.download_artifacts("a.txt")) == "RESOURCE_DOES_NOT_EXIST"
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


def test_every_folder_answers_with_its_manifest_and_never_lists_it(
    repository: Repository, uri: str, store_table: Store, tree: Path, tmp_path: Path
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
        assert code_of(call) == "INVALID_PARAMETER_VALUE"


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
