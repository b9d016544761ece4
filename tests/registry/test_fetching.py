"""Files from a store that recorded what they are: compared with that before anything else happens to them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from sqlml import registry
from sqlml.errors import ArtifactError, LocationRefused
from sqlml.registry import asking
from tests.registry.recording_store import MANIFEST, RecordingStore, document


def download(recorded: Any, folder: Path, log: Any = None) -> registry.Artifact:
    return registry.download(registry.resolve("churn:1", tracking_uri=recorded.uri), folder, log)


def refusal(recorded: Any, folder: Path) -> ArtifactError:
    with pytest.raises(ArtifactError) as raised:
        download(recorded, folder)
    return raised.value


def serving(recorded: Any, **ways: object) -> type[RecordingStore]:
    store = type("Store", (RecordingStore,), ways)
    recorded.serve_with(store)
    return store


def test_files_that_are_what_their_store_recorded(recorded: Any, registered: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    store = serving(recorded)

    artifact = download(recorded, tmp_path / "model", lines.append)

    local = registry.download(registry.resolve("churn:1", tracking_uri=registered.uri), tmp_path / "local")
    assert artifact.sha256 == local.sha256
    assert artifact.store is not None
    assert {(f.path, f.size, f.sha256) for f in artifact.store.files} >= {
        (f.path, f.size, f.sha256) for f in artifact.files
    }
    assert lines == [
        f"{len(local.files)} files, {local.size:,} bytes, sha256 {local.sha256[:12]},"
        " each as recorded table models at 127.0.0.1:9090 recorded it"
    ]
    assert artifact.store.name_of("MLmodel").startswith("recorded://127.0.0.1:9090/models/")
    assert store.asked.count(MANIFEST) == 1
    assert MANIFEST not in {path.name for path in (tmp_path / "model").rglob("*")}


def test_one_flipped_byte_is_refused_with_everything_that_leads_to_it(recorded: Any, tmp_path: Path) -> None:
    store = serving(recorded)
    for path in recorded.files("served", "model.pkl"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    error = refusal(recorded, tmp_path / "model")

    assert "model.pkl of churn v1 (version 1) at recorded://127.0.0.1:9090/models/" in error.message
    assert "is not what recorded table models at 127.0.0.1:9090 recorded: expected" in error.message
    expected, found = error.details["expected"], error.details["found"]
    assert expected.size == found.size
    assert f"sha256 {expected.sha256} (object {expected.object}), found" in error.message
    assert error.message.endswith(f"sha256 {found.sha256}.")
    assert [error.details[key] for key in ("file", "place", "table")] == ["model.pkl", "127.0.0.1:9090", "models"]
    assert store.asked.count(MANIFEST) == 2


def test_a_file_that_did_not_come(recorded: Any, tmp_path: Path) -> None:
    for path in recorded.files("served", "conda.yaml"):
        path.unlink()

    assert "conda.yaml of churn v1" in refusal(recorded, tmp_path / "model").message
    assert refusal(recorded, tmp_path / "again").message.endswith("found no file.")


def test_a_file_that_the_store_never_recorded(recorded: Any, tmp_path: Path) -> None:
    for path in recorded.files("served", "MLmodel"):
        path.with_name("notes.txt").write_text("hello", encoding="utf-8")

    message = refusal(recorded, tmp_path / "model").message

    assert message.startswith("notes.txt of churn v1")
    assert "expected no such file, found 5 bytes" in message


def test_an_overwrite_between_the_files_and_the_manifest_is_brought_again(recorded: Any, tmp_path: Path) -> None:
    class Overwritten(RecordingStore):
        """New bytes for every file that is asked for after the first manifest was."""

        def manifest(self, folder: str) -> bytes:
            for tree in ("served", "recorded"):
                (self.root / tree / folder / "requirements.txt").write_bytes(b"scikit-learn\n")
            return super().manifest(folder)

    recorded.serve_with(Overwritten)

    artifact = download(recorded, tmp_path / "model")

    assert (tmp_path / "model" / "requirements.txt").read_bytes() == b"scikit-learn\n"
    assert artifact.store is not None
    assert Overwritten.asked.count(MANIFEST) == 2


def test_a_file_cut_short_while_it_was_written_is_brought_again(recorded: Any, tmp_path: Path) -> None:
    class Slow(RecordingStore):
        """A store without manifests that sends half of one file the first time."""

        times: ClassVar[list[str]] = []

        def manifest(self, folder: str) -> bytes:
            raise MlflowException(f"No {folder}", error_code=RESOURCE_DOES_NOT_EXIST)

        def send(self, source: Path, target: Path) -> None:
            super().send(source, target)
            if source.name == "model.pkl" and not self.times:
                self.times.append("once")
                target.write_bytes(target.read_bytes()[:100])

    recorded.serve_with(Slow)

    assert download(recorded, tmp_path / "model").store is None


def test_a_manifest_cut_short_is_no_manifest(recorded: Any, tmp_path: Path) -> None:
    store = serving(recorded, manifest=lambda self, folder: RecordingStore.manifest(self, folder)[:-40])

    message = refusal(recorded, tmp_path / "model").message

    assert "The manifest that the artifact store sent for churn v1" in message
    assert "is not valid: it cannot be read as JSON" in message
    assert store.asked.count(MANIFEST) == 2


def test_a_manifest_of_another_folder_is_refused(recorded: Any, tmp_path: Path) -> None:
    def lying(self: RecordingStore, folder: str) -> bytes:
        return json.dumps({**document(self.root, folder), "files": [{"path": "../x", "size": 0}]}).encode()

    serving(recorded, manifest=lying)

    assert "path is '../x', which is not a relative path" in refusal(recorded, tmp_path / "model").message
    assert not (tmp_path / "x").exists()


def test_a_logged_file_does_not_pass_for_the_stores_word(recorded: Any, tmp_path: Path) -> None:
    for path in recorded.files("served", "MLmodel"):
        path.with_name(MANIFEST).write_text("{}", encoding="utf-8")

    assert f"has a file {MANIFEST}, a name that is the artifact store's own" in str(
        refusal(recorded, tmp_path / "model")
    )


@pytest.mark.parametrize("error", [FileNotFoundError("x"), RuntimeError("404"), KeyError(), PermissionError("no")])
def test_a_store_that_keeps_no_manifests(recorded: Any, tmp_path: Path, error: Exception) -> None:
    """Each says so in its own way; one that merely refuses is asked for a name that cannot exist, to compare."""

    def refuse(self: RecordingStore, source: object, target: Path | None = None) -> bytes:
        if target is None or not Path(str(source)).is_file():
            raise error
        return RecordingStore.send(self, Path(str(source)), target)

    store = serving(recorded, manifest=refuse, send=refuse)

    artifact = download(recorded, tmp_path / "model")

    assert artifact.store is None
    assert "recorded" not in artifact.summary
    assert len(store.asked) <= len(artifact.files) + 4


@pytest.fixture
def failing(recorded: Any) -> Any:
    """A store that keeps manifests, and whose first answers for one are errors."""

    class Failing(RecordingStore):
        failures = 1

        def manifest(self, folder: str) -> bytes:
            type(self).failures -= 1
            if self.failures >= 0:
                raise ConnectionError("a region server is gone")
            return super().manifest(folder)

    recorded.serve_with(Failing)
    return Failing


def test_a_store_that_stumbles_is_asked_again(failing: Any, recorded: Any, tmp_path: Path) -> None:
    artifact = download(recorded, tmp_path / "model")

    assert artifact.store is not None
    assert failing.failures == -1


def test_files_whose_manifest_stays_away_are_not_taken(failing: Any, recorded: Any, tmp_path: Path) -> None:
    failing.failures = 99

    message = refusal(recorded, tmp_path / "model").message

    assert "keeps a manifest of its files, but did not send it" in message
    assert failing.failures == 97


@pytest.fixture
def silent(recorded: Any) -> Iterator[None]:
    """A store that does not answer for a manifest until the test is over."""
    over = threading.Event()

    def wait(self: RecordingStore, folder: str) -> bytes:
        over.wait()
        return b""

    serving(recorded, manifest=wait)
    yield
    over.set()


@pytest.mark.usefixtures("silent")
def test_a_manifest_that_does_not_come_in_time(recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LONGEST_S", 0.2)

    assert "did not send its manifest within 0 seconds" in refusal(recorded, tmp_path / "model").message


def test_a_manifest_without_end(recorded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LARGEST", 100)

    assert "has more than 100 bytes" in refusal(recorded, tmp_path / "model").message


def test_a_plugin_of_ours_says_itself_what_it_refuses(recorded: Any, tmp_path: Path) -> None:
    def refuse(self: RecordingStore, *arguments: object, **named: object) -> None:
        try:
            raise LocationRefused("not on the list.", hint="Put it there.")
        except LocationRefused as refused:
            raise MlflowException(str(refused)) from refused

    serving(recorded, __init__=refuse)

    with pytest.raises(LocationRefused, match=r"not on the list\. Put it there\."):
        download(recorded, tmp_path / "model")


def test_what_mlflow_gathers_about_failed_files_is_said_of_the_first(recorded: Any, tmp_path: Path) -> None:
    def fail(self: RecordingStore, source: Path, target: Path) -> None:
        raise OSError(f"no way to http://me:secret@host for {source.name}")

    serving(recorded, send=fail)

    message = refusal(recorded, tmp_path / "model").message

    assert "no way to http://...@host for" in message
