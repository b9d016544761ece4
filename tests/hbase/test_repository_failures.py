"""What MLflow's code is told when something is damaged, refused or not there: its own codes, and the store's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from sqlml.hbase.layout import CHUNK_COLUMN, MANIFEST_COLUMN, chunk_row, manifest_row, with_checksum
from sqlml.hbase.store import MANIFEST_NAME, Store
from tests.hbase.mlflow_repositories import Repository, code_of, made, opened


def test_what_is_damaged_is_named_and_has_mlflows_code(
    repository: Repository, store_table: Store, uri: str, tmp_path: Path
) -> None:
    repository.log_artifact(str(made(tmp_path / "f", b"right")))
    document = json.loads(Path(repository.download_artifacts(MANIFEST_NAME)).read_bytes())
    row = chunk_row(document["files"][0]["object"], 0)

    for cell in (with_checksum(row, b"wrong"), b"not it"):  # the second one has a checksum that does not fit
        store_table.gateway.put(row, CHUNK_COLUMN, cell, doing="damaging it")
        with pytest.raises(MlflowException) as raised:
            repository.download_artifacts("f")
        assert raised.value.error_code == "DATA_LOSS"
        # A server answers with this. MLflow's clients repeat what fails with 500 seven times, for four minutes.
        assert raised.value.get_http_status_code() == 409
        for part in ("f (object", document["files"][0]["object"], document["table"], document["place"], "fsck"):
            assert part in str(raised.value)


def test_a_damaged_manifest_is_no_missing_file(
    repository: Repository, store_table: Store, uri: str, tmp_path: Path
) -> None:
    repository.log_artifact(str(made(tmp_path / "f")))
    row = manifest_row(uri.removeprefix(f"{store_table.location.uri}/") + "/f")
    cell = store_table.gateway.get(row, MANIFEST_COLUMN, doing="reading it")
    assert cell is not None

    for damaged in (cell.value[:-9], b'{"format":9} 0'):
        store_table.gateway.put(row, MANIFEST_COLUMN, damaged, doing="damaging it")
        for call in (
            lambda: repository.list_artifacts(),
            lambda: repository.download_artifacts(""),
            lambda: repository.download_artifacts("f"),
            lambda: repository.download_artifacts(MANIFEST_NAME),
        ):
            assert code_of(call) == "DATA_LOSS"


def test_what_hbase_refuses_is_not_said_to_pass(store_table: Store, tmp_path: Path) -> None:
    repository = opened(f"hbase://{store_table.location.place}/no_such_table/p")
    for call in (
        lambda: repository.log_artifact(str(made(tmp_path / "f"))),
        lambda: repository.list_artifacts(),
        lambda: repository.download_artifacts("f"),
        lambda: repository.delete_artifacts(),
    ):
        with pytest.raises(MlflowException, match="Create it with: sqlml hbase init") as raised:
            call()
        assert raised.value.error_code == "ABORTED"
        assert raised.value.get_http_status_code() == 409  # MLflow's clients would repeat a 503 for four minutes


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
