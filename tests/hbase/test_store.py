"""Files in a table, one caller at a time; what may happen in between is in test_crashes."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlml.errors import ArtifactError, LocationRefused, StoreError
from sqlml.hbase import checking, collecting, files, layout, reading, writing
from sqlml.hbase.layout import CHUNK_BYTES, CHUNK_COLUMN, MANIFEST_COLUMN
from sqlml.hbase.store import MANIFEST_NAME, Store
from sqlml.hbase.transfers import Transfers
from tests.hbase.memory import MemoryGateway

DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def store() -> Iterator[Store]:
    gateway = MemoryGateway()
    opened = Store(gateway.location, gateway, Transfers(gateway, 2))  # type: ignore[arg-type]
    yield opened
    opened.close()


def write(store: Store, path: str, content: bytes) -> None:
    writing.write(store.gateway, store.transfers, path, io.BytesIO(content))


def read(store: Store, path: str) -> bytes:
    stream = io.BytesIO()
    reading.copy(store.gateway, store.transfers, path, stream)
    return stream.getvalue()


def fsck(store: Store) -> checking.Checked:
    return checking.check(store.gateway, store.transfers, "")


def collect(store: Store, **options: object) -> collecting.Collected:
    return collecting.collect(store.gateway, apply=True, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 17])
def test_a_file_comes_back_as_it_was(store: Store, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    write(store, "m/model.bin", content)
    assert read(store, "m/model.bin") == content
    assert len(store.gateway.rows(b"d/")) == -(-size // CHUNK_BYTES)  # type: ignore[attr-defined]
    assert fsck(store).clean


def test_a_stream_that_gives_little_at_a_time_still_makes_whole_chunks(store: Store) -> None:
    content = bytes(CHUNK_BYTES + 10)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 100_000))

    manifest = writing.write(store.gateway, store.transfers, "f", Slow(content))
    assert manifest.chunks == 2
    assert read(store, "f") == content


def test_an_overwrite_is_a_new_object_and_gc_removes_the_old_one_past_its_age(store: Store) -> None:
    write(store, "f", b"old")
    old = files.require(store.gateway, "f").manifest.object
    write(store, "f", b"new")
    assert files.require(store.gateway, "f").manifest.object != old
    assert collect(store, age_s=60).younger == 1
    assert store.gateway.rows(b"d/" + old.encode())  # type: ignore[attr-defined]
    done = collect(store, age_s=0)
    assert (done.replaced, done.chunks, done.crashed) == (1, 1, 0)
    assert not store.gateway.rows(b"d/" + old.encode())  # type: ignore[attr-defined]
    assert read(store, "f") == b"new"
    assert fsck(store).clean


def test_a_dry_run_says_what_gc_would_remove_and_removes_nothing(store: Store) -> None:
    write(store, "f", b"old")
    write(store, "f", b"new")
    before = dict(store.gateway.cells)  # type: ignore[attr-defined]
    done = collecting.collect(store.gateway, age_s=0)
    assert (done.replaced, done.chunks) == (1, 1)
    assert store.gateway.cells == before  # type: ignore[attr-defined]


def test_a_removed_file_leaves_a_tombstone_that_goes_only_when_it_is_old(store: Store) -> None:
    write(store, "m/f", b"content")
    assert writing.remove(store.gateway, "m") == 1
    assert files.find(store.gateway, "m/f") is None
    assert files.entries(store.gateway, "m") == []
    done = collect(store, age_s=0)
    assert (done.replaced, done.chunks, done.tombstones, done.younger) == (1, 1, 0, 1)
    store.gateway.now += collecting.TOMBSTONE_AGE_MS + 1000  # type: ignore[attr-defined]
    assert collect(store, age_s=0).tombstones == 1
    assert store.gateway.cells == {}  # type: ignore[attr-defined]
    write(store, "m/f", b"again")
    assert read(store, "m/f") == b"again"


def test_a_file_written_where_a_tombstone_is_survives_the_tombstones_removal(store: Store) -> None:
    gateway: MemoryGateway = store.gateway  # type: ignore[assignment]
    write(store, "f", b"first")
    writing.remove(store.gateway, "f")
    gateway.now += DAY_MS

    def write_before_the_delete(call: str, row: bytes) -> None:
        if call == "delete" and row == layout.manifest_row("f"):
            gateway.before = lambda call, row: None
            gateway.tick = 0  # as close together as a clock can tell
            write(store, "f", b"second")

    gateway.before = write_before_the_delete
    assert collect(store, age_s=0).tombstones == 1
    assert gateway.tick == 0
    assert read(store, "f") == b"second"


def test_removing_again_and_removing_nothing_do_nothing(store: Store) -> None:
    write(store, "f", b"x")
    assert writing.remove(store.gateway, "f") == 1
    assert writing.remove(store.gateway, "f") == 0
    assert writing.remove(store.gateway, "nothing") == 0


def test_removing_a_folder_leaves_its_neighbours(store: Store) -> None:
    for path in ("m/a", "m/b/c", "m-1/a", "m0", "mm/a"):
        write(store, path, b"x")
    assert writing.remove(store.gateway, "m") == 2
    assert [file.path for file in files.below(store.gateway, "")] == ["m-1/a", "m0", "mm/a"]


def test_a_listing_has_one_level_with_sizes_and_reads_one_page_for_a_model(store: Store) -> None:
    for path, size in {"m/MLmodel": 3, "m/model.pkl": 7, "m/data/a": 1, "m/data/deep/b": 1, "m-other/x": 1}.items():
        write(store, path, bytes(size))
    calls = store.gateway.calls  # type: ignore[attr-defined]
    calls.clear()
    assert files.entries(store.gateway, "m") == [
        files.Entry("MLmodel", 3),
        files.Entry("data", None),
        files.Entry("model.pkl", 7),
    ]
    assert calls == ["page"]
    assert [entry.name for entry in files.entries(store.gateway, "")] == ["m", "m-other"]
    assert files.entries(store.gateway, "m/MLmodel") == []
    assert files.entries(store.gateway, "none") == []


def test_a_listing_of_many_models_reads_no_more_than_a_page_of_each(store: Store) -> None:
    some = files.Manifest("0" * 32, 0, 0, CHUNK_BYTES, "x")
    for model in range(5):
        for number in range(3 * files.PAGE):
            row = layout.manifest_row(f"models/{model}/{number:05}")
            store.gateway.put(row, MANIFEST_COLUMN, layout.encoded(some), doing="")
    calls = store.gateway.calls  # type: ignore[attr-defined]
    calls.clear()
    assert [entry.name for entry in files.entries(store.gateway, "models")] == list("01234")
    assert len(calls) == 6
    assert len(list(files.below(store.gateway, "models/3"))) == 3 * files.PAGE


def test_a_folder_of_removed_files_is_no_folder(store: Store) -> None:
    for number in range(files.PAGE + 5):
        write(store, f"m/gone/{number}", b"")
    write(store, "m/stays", b"")
    writing.remove(store.gateway, "m/gone")
    assert [entry.name for entry in files.entries(store.gateway, "m")] == ["stays"]


def test_a_name_is_a_file_or_a_folder(store: Store) -> None:
    write(store, "a/b", b"x")
    with pytest.raises(ArtifactError, match="a cannot be written: it is a folder that holds files"):
        write(store, "a", b"x")
    with pytest.raises(ArtifactError, match="a/b/c cannot be written: a/b is a file"):
        write(store, "a/b/c", b"x")
    writing.remove(store.gateway, "a")
    write(store, "a", b"now a file")
    assert fsck(store).clean


def test_fsck_tells_of_a_file_below_a_file(store: Store) -> None:
    write(store, "a/b", b"x")
    write(store, "a-b", b"x")
    cell = store.gateway.cells[layout.manifest_row("a/b"), MANIFEST_COLUMN]  # type: ignore[attr-defined]
    store.gateway.put(layout.manifest_row("a"), MANIFEST_COLUMN, cell.value, doing="")
    assert "which is a file" in fsck(store).problems["a/b"]


def test_a_folder_or_nothing_is_not_a_file(store: Store) -> None:
    write(store, "a/b", b"x")
    with pytest.raises(ArtifactError, match="9090/models/a is a folder, not a file"):
        read(store, "a")
    with pytest.raises(ArtifactError, match="9090/models is a whole table, not a file"):
        read(store, "")
    with pytest.raises(ArtifactError, match="There is no file c in the HBase table models"):
        read(store, "c")


def test_fsck_of_nothing_is_not_clean(store: Store) -> None:
    write(store, "model", b"x")
    with pytest.raises(ArtifactError, match="There is no file modle"):
        checking.check(store.gateway, store.transfers, "modle")
    assert checking.check(store.gateway, store.transfers, "model").clean
    writing.remove(store.gateway, "model")
    assert fsck(store).clean  # a table may be empty


class TestDamage:
    """Whatever happens to what is stored: a clear error, never a wrong byte."""

    def flip(self, store: Store, row: bytes, column: bytes, position: int) -> None:
        cell = bytearray(store.gateway.cells[row, column].value)  # type: ignore[attr-defined]
        cell[position] ^= 1
        store.gateway.put(row, column, bytes(cell), doing="")

    def chunk(self, store: Store, number: int) -> bytes:
        return layout.chunk_row(files.require(store.gateway, "f").manifest.object, number)

    @pytest.mark.parametrize("position", [0, 3, 4, 1000, -1])
    def test_a_flipped_bit_in_a_chunk(self, store: Store, position: int) -> None:
        write(store, "f", bytes(CHUNK_BYTES + 5))
        self.flip(store, self.chunk(store, 0), CHUNK_COLUMN, position)
        with pytest.raises(ArtifactError, match=r"Chunk 0 of f .* is damaged"):
            read(store, "f")
        assert list(fsck(store).problems) == ["f"]

    def test_a_missing_chunk(self, store: Store) -> None:
        write(store, "f", bytes(CHUNK_BYTES + 5))
        store.gateway.delete(self.chunk(store, 1), CHUNK_COLUMN, doing="")
        with pytest.raises(ArtifactError, match=r"f .* is damaged: chunk 1 of 2 is missing"):
            read(store, "f")
        assert list(fsck(store).problems) == ["f"]

    def test_a_chunk_in_the_place_of_another(self, store: Store) -> None:
        write(store, "f", bytes(3 * CHUNK_BYTES))
        cell = store.gateway.cells[self.chunk(store, 0), CHUNK_COLUMN]  # type: ignore[attr-defined]
        store.gateway.put(self.chunk(store, 1), CHUNK_COLUMN, cell.value, doing="")
        with pytest.raises(ArtifactError, match="Chunk 1 of f"):
            read(store, "f")

    def test_a_chunk_too_many(self, store: Store) -> None:
        write(store, "f", b"x")
        store.gateway.put(self.chunk(store, 1), CHUNK_COLUMN, b"y", doing="")
        assert "more chunks" in fsck(store).problems["f"]

    def test_a_manifest_of_other_chunks(self, store: Store) -> None:
        """Every chunk is right, and the whole is not what was written."""
        write(store, "f", b"abc")
        write(store, "g", b"abd")
        one, other = (files.require(store.gateway, name).manifest for name in "fg")
        forged = layout.encoded(layout.Manifest(other.object, 3, 1, CHUNK_BYTES, one.sha256))
        store.gateway.put(layout.manifest_row("f"), MANIFEST_COLUMN, forged, doing="")
        with pytest.raises(ArtifactError, match="its sha256 is"):
            read(store, "f")

    @settings(max_examples=40)
    @given(st.data())
    def test_a_truncated_or_changed_manifest(self, data: st.DataObject) -> None:
        cell = layout.encoded(layout.Manifest("ab" * 16, 5, 1, CHUNK_BYTES, "cd" * 32))
        cut = data.draw(st.integers(0, len(cell) - 1))
        changed = bytearray(cell)
        changed[cut] ^= data.draw(st.integers(1, 255))
        for damaged in (cell[:cut], bytes(changed)):
            with pytest.raises(ArtifactError, match=r"The manifest of f (is damaged|has the storage format)"):
                files.stored("f", damaged)

    @pytest.mark.parametrize(
        "changed",
        [{"replaced": 7}, {"replaced": [7]}, {"object": 7}, {"object": "\ud800"}, {"size": 1.0}, {"sha256": None}],
    )
    def test_a_record_that_checks_and_is_none(self, store: Store, changed: dict[str, object]) -> None:
        write(store, "x", b"x")
        row = layout.manifest_row("x")
        values = vars(files.require(store.gateway, "x").manifest) | changed
        text = json.dumps({"format": layout.FORMAT, **values}).encode()
        check = hashlib.sha256(text).hexdigest()[: layout.CHECK_DIGITS].encode()
        store.gateway.put(row, MANIFEST_COLUMN, text + b" " + check, doing="")
        self.require_damaged_and_replaceable(store)

    def test_a_manifest_of_nothing_but_brackets(self, store: Store) -> None:
        store.gateway.put(layout.manifest_row("x"), MANIFEST_COLUMN, b"[" * 200_000, doing="")
        self.require_damaged_and_replaceable(store)

    def require_damaged_and_replaceable(self, store: Store) -> None:
        with pytest.raises(ArtifactError, match="The manifest of x is damaged"):
            read(store, "x")
        assert "The manifest of x is damaged" in fsck(store).problems["x"]
        write(store, "x", b"new")
        assert read(store, "x") == b"new"

    def test_an_unknown_format_is_left_alone(self, store: Store) -> None:
        store.gateway.put(layout.manifest_row("f"), MANIFEST_COLUMN, b'{"format": 2, "new": "things"}', doing="")
        for use in (
            lambda: read(store, "f"),
            lambda: write(store, "f", b"x"),
            lambda: writing.remove(store.gateway, "f"),
        ):
            with pytest.raises(ArtifactError, match="storage format 2, and this sqlml knows format 1") as caught:
                use()
            assert "Upgrade" in str(caught.value)
        assert store.gateway.cells[layout.manifest_row("f"), MANIFEST_COLUMN].value.startswith(b'{"format": 2')  # type: ignore[attr-defined]

    def test_a_damaged_file_can_be_written_again_and_removed(self, store: Store) -> None:
        for name in ("f", "g"):
            write(store, name, b"x")
            row = layout.manifest_row(name)
            cut = store.gateway.cells[row, MANIFEST_COLUMN].value[:-3]  # type: ignore[attr-defined]
            store.gateway.put(row, MANIFEST_COLUMN, cut, doing="")
        assert set(fsck(store).problems) == {"f", "g", ""}
        write(store, "f", b"y")
        assert writing.remove(store.gateway, "g") == 1
        assert read(store, "f") == b"y"
        store.gateway.now += DAY_MS  # type: ignore[attr-defined]
        assert len(fsck(store).orphans) == 2
        done = collect(store, age_s=1, orphans=True)
        assert (done.orphans, done.tombstones) == (2, 1)
        assert fsck(store).clean

    def test_gc_leaves_alone_and_tells_of_what_it_cannot_read(self, store: Store) -> None:
        store.gateway.put(layout.intent_row(layout.new_id()), MANIFEST_COLUMN, b"{", doing="")
        write(store, "f", b"old")
        write(store, "f", b"new")
        done = collect(store, age_s=0)
        assert done.replaced == 1
        assert "is damaged" in done.problems[0]


@pytest.mark.parametrize("row", [layout.intent_row("a" * 32), layout.garbage_row("a" * 32)])
def test_gc_leaves_a_record_that_is_damaged_and_collects_the_others(store: Store, row: bytes) -> None:
    write(store, "x", b"old")
    write(store, "x", b"new")
    store.gateway.put(row, MANIFEST_COLUMN, b"cut sh", doing="")
    done = collect(store, age_s=0, orphans=True)
    assert (done.replaced, len(done.problems)) == (1, 1)
    assert "a" * 32 in done.problems[0]
    assert "deleteall" in done.problems[0]


def test_the_store_manifest_tells_of_every_file_below_a_folder(store: Store) -> None:
    write(store, "runs/1/model/MLmodel", b"m")
    write(store, "runs/1/model/data/x", b"xx")
    write(store, "runs/12/other", b"y")
    document = json.loads(store.manifest_document("runs/1/model"))
    assert {key: document[key] for key in ("format", "store", "place", "table", "path")} == {
        "format": 1,
        "store": "hbase",
        "place": "127.0.0.1:9090",
        "table": "models",
        "path": "runs/1/model",
    }
    assert [(file["path"], file["size"]) for file in document["files"]] == [("MLmodel", 1), ("data/x", 2)]
    manifest = files.require(store.gateway, "runs/1/model/MLmodel").manifest
    assert document["files"][0]["sha256"] == manifest.sha256
    assert document["files"][0]["object"] == manifest.object


def test_nobody_can_write_the_store_manifest(store: Store) -> None:
    with pytest.raises(LocationRefused, match="reserved"):
        store.path(f"model/{MANIFEST_NAME}")


def test_a_download_replaces_the_target_only_when_it_is_whole(store: Store, tmp_path: Path) -> None:
    target = tmp_path / ("n" * 255)
    target.write_bytes(b"before")
    write(store, "f", bytes(CHUNK_BYTES + 1))
    row = layout.chunk_row(files.require(store.gateway, "f").manifest.object, 1)
    chunk = store.gateway.cells[row, CHUNK_COLUMN].value  # type: ignore[attr-defined]
    store.gateway.put(row, CHUNK_COLUMN, b"", doing="")
    with pytest.raises(ArtifactError):
        reading.fetch(store.gateway, store.transfers, "f", target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(target.name, b"before")]
    store.gateway.put(row, CHUNK_COLUMN, chunk, doing="")
    reading.fetch(store.gateway, store.transfers, "f", target)
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [CHUNK_BYTES + 1]


def test_after_one_failure_no_other_chunk_is_begun(store: Store) -> None:
    """Each of them might wait for a whole deadline."""
    began: list[bytes] = []

    def fail(call: str, row: bytes) -> None:
        if call == "put" and row.startswith(b"d/"):
            began.append(row)
            raise StoreError("the gateway has stopped answering")

    store.gateway.before = fail  # type: ignore[attr-defined]
    with pytest.raises(StoreError, match="has stopped answering"):
        write(store, "f", bytes(8 * CHUNK_BYTES))
    assert len(began) <= 2  # the workers of this store
