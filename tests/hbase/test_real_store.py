"""Files in a real HBase: round trips, damage, tables that are not ours, and many at once, who see whole files."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from threading import Event, Lock
from typing import Any

import happybase
import pytest

from sqlml.errors import ArtifactError, StoreError
from sqlml.hbase import collecting, files, layout
from sqlml.hbase.creating import create
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.layout import CHUNK_BYTES, CHUNK_COLUMN, MANIFEST_COLUMN
from sqlml.hbase.location import Location
from sqlml.hbase.settings import Settings
from sqlml.hbase.store import Store
from sqlml.hbase.tables import CODECS
from tests.hbase.mortal import Mortal
from tests.hbase.server.cluster import HBaseServer
from tests.hbase.stores import collect, created, found, fsck, opened, read, remove, require_clean, write
from tests.hbase.versions import Version, version_in

SIZE = CHUNK_BYTES + 5000


@pytest.fixture
def store(hbase: HBaseServer, table_name: str) -> Iterator[Store]:
    with created(hbase, table_name) as opened_store:
        yield opened_store


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 1])
def test_a_file_is_written_replaced_removed_and_written_again(store: Store, size: int) -> None:
    one, other = (bytes([number]) * size for number in (1, 2))
    write(store, "m/f", one)
    assert read(store, "m/f") == one
    write(store, "m/f", other)
    assert read(store, "m/f") == other
    require_clean(store, {"m/f": other})
    assert remove(store, "m") == 1
    assert found(store, "m/f") is None
    require_clean(store, {})
    write(store, "m/f", one)
    require_clean(store, {"m/f": one})


def test_an_old_tombstone_goes_and_its_path_can_be_written_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "TOMBSTONE_AGE_MS", 0)
    for number in range(20):
        write(store, "f", b"%d" % number)
        remove(store, "f")
        assert collect(store).tombstones == 1
        assert store.gateway.page(b"", b"", MANIFEST_COLUMN, limit=1, doing="looking") == []


class Counting(Gateway):
    """Counts its pages and what is in them."""

    pages = 0
    cells = 0

    def page(self, *arguments: Any, **options: Any) -> Any:
        found = super().page(*arguments, **options)
        self.pages += 1
        self.cells += len(found)
        return found


def test_what_a_model_costs_does_not_depend_on_the_other_models(store: Store) -> None:
    """A listing is one bounded scan of its own rows, with 300 other models of 20 files in the table."""
    some = layout.encoded(layout.Manifest("0" * 32, 0, 0, CHUNK_BYTES, "x"))
    names = [f"models/m-{model:03}/artifacts/data/{number}" for model in range(300) for number in range(20)]
    rows = {layout.manifest_row(name): some for name in names}
    store.gateway.put_many(rows, MANIFEST_COLUMN, doing="writing")
    counting = Counting(store.location, store.gateway.settings)

    def cost(work: Callable[[], object]) -> tuple[int, int]:
        counting.pages = counting.cells = 0
        work()
        return counting.pages, counting.cells

    of_model = Store(store.location, counting, store.transfers)
    model = "models/m-123/artifacts"
    assert cost(lambda: files.entries(counting, model)) == (1, 20)
    assert cost(lambda: files.entries(counting, f"{model}/data")) == (1, 20)
    assert cost(lambda: list(files.below(counting, model))) == (1, 20)
    assert cost(lambda: of_model.manifest_document(model)) == (1, 20)
    assert cost(lambda: write(of_model, f"{model}/new", b"x")) == (1, 0)
    assert cost(lambda: read(of_model, f"{model}/new")) == (0, 0)
    assert cost(lambda: remove(of_model, f"{model}/new")) == (1, 0)
    counting.close_all()


class TestDamage:
    """Somebody else changes what is stored, by other means than ours: a clear error, never a wrong byte."""

    @pytest.fixture
    def raw(self, hbase: HBaseServer, store: Store) -> Iterator[Any]:
        write(store, "f", Version("f", "w", 1, SIZE).content())
        write(store, "whole", b"whole")
        with closing(happybase.Connection(hbase.host, hbase.port, timeout=60_000)) as connection:
            yield connection.table(store.location.table)

    def chunk(self, store: Store, number: int) -> bytes:
        return layout.chunk_row(files.require(store.gateway, "f").manifest.object, number)

    @pytest.mark.parametrize("position", [0, 4, 700_000])
    def test_a_flipped_bit_in_a_chunk(self, store: Store, raw: Any, position: int) -> None:
        row = self.chunk(store, 0)
        cell = bytearray(raw.row(row)[CHUNK_COLUMN])
        cell[position] ^= 16
        raw.put(row, {CHUNK_COLUMN: bytes(cell)})
        with pytest.raises(ArtifactError, match=r"Chunk 0 of f \(object \w{32}\) is damaged"):
            read(store, "f")
        assert list(fsck(store).problems) == ["f"]
        assert read(store, "whole") == b"whole"

    def test_a_missing_chunk(self, store: Store, raw: Any) -> None:
        raw.delete(self.chunk(store, 1))
        with pytest.raises(ArtifactError, match=r"f .* is damaged: chunk 1 of 2 is missing"):
            read(store, "f")
        assert list(fsck(store).problems) == ["f"]

    def test_a_truncated_manifest(self, store: Store, raw: Any) -> None:
        row = layout.manifest_row("f")
        raw.put(row, {MANIFEST_COLUMN: raw.row(row)[MANIFEST_COLUMN][:100]})
        with pytest.raises(ArtifactError, match="The manifest of f is damaged: its 100 bytes are not what was written"):
            read(store, "f")
        assert "f" in fsck(store).problems
        write(store, "f", b"again")
        assert read(store, "f") == b"again"
        assert collect(store, orphans=True).orphans == 1
        require_clean(store, {"f": b"again", "whole": b"whole"})

    def test_an_unknown_format_version(self, store: Store, raw: Any) -> None:
        row = layout.manifest_row("f")
        raw.put(row, {MANIFEST_COLUMN: b'{"format":7,"parts":[]} 00'})
        for use in (lambda: read(store, "f"), lambda: write(store, "f", b"x"), lambda: remove(store, "f")):
            with pytest.raises(ArtifactError, match="storage format 7, and this sqlml knows format 1"):
                use()
        assert "storage format 7" in fsck(store).problems["f"]
        assert raw.row(row)[MANIFEST_COLUMN] == b'{"format":7,"parts":[]} 00'


@pytest.mark.parametrize(
    "use",
    [
        lambda store: write(store, "m/f", b"x"),
        lambda store: read(store, "m/f"),
        lambda store: remove(store, "m/f"),
        lambda store: files.entries(store.gateway, "m"),
        lambda store: collect(store),
        lambda store: fsck(store),
    ],
    ids=["write", "read", "remove", "list", "gc", "fsck"],
)
class TestNotOurTable:
    def test_a_missing_table_is_named_with_the_remedy(
        self, hbase: HBaseServer, table_name: str, use: Callable[[Store], object]
    ) -> None:
        with (
            opened(hbase, table_name, deadline_s=20) as store,
            pytest.raises(StoreError, match=rf"{hbase.port}.*{table_name}.*sqlml hbase init"),
        ):
            use(store)

    def test_a_missing_family_is_named(
        self, hbase: HBaseServer, table_name: str, use: Callable[[Store], object]
    ) -> None:
        with closing(happybase.Connection(hbase.host, hbase.port, timeout=60_000)) as connection:
            connection.create_table(table_name, {"other": {}})
        with opened(hbase, table_name) as store, pytest.raises(StoreError, match=rf"{table_name}.*not one of sqlml's"):
            use(store)


def test_a_table_without_the_family_of_the_chunks_takes_no_file(hbase: HBaseServer, table_name: str) -> None:
    with closing(happybase.Connection(hbase.host, hbase.port, timeout=60_000)) as connection:
        connection.create_table(table_name, {"m": {}})
    with opened(hbase, table_name) as store:
        with pytest.raises(StoreError, match="not one of sqlml's"):
            write(store, "f", b"x")
        assert found(store, "f") is None


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec not in ("NONE", "GZ", "SNAPPY")])
def test_a_codec_that_the_servers_lack_is_refused_with_its_name(
    hbase: HBaseServer, table_name: str, codec: str
) -> None:
    gateway = Gateway(Location(hbase.host, hbase.port, table_name, ""), Settings())
    with pytest.raises(StoreError, match=f"do not have the compression {codec}"):
        create(gateway, codec)
    assert not gateway.table_exists()
    gateway.close_all()


@pytest.mark.parametrize("codec", ["NONE", "GZ", "SNAPPY"])
def test_a_codec_that_the_servers_have_works(hbase: HBaseServer, table_name: str, codec: str) -> None:
    with opened(hbase, table_name) as store:
        assert create(store.gateway, codec)
        assert not create(store.gateway, codec)
        assert {facts.compression for facts in store.gateway.families(doing="looking").values()} == {codec}
        write(store, "f", bytes(SIZE))
        require_clean(store, {"f": bytes(SIZE)})


ROUNDS = 40


def test_two_writers_of_one_path_in_two_threads(store: Store, hbase: HBaseServer) -> None:
    def overwrite(writer: str) -> None:
        with opened(hbase, store.location.table) as own:
            for number in range(ROUNDS):
                write(own, "f", Version("f", writer, number, random.choice([100, 5000, SIZE])).content())

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(overwrite, "ab"))

    last = read(store, "f")
    assert version_in(last).number == ROUNDS - 1
    require_clean(store, {"f": last})


def test_two_writers_of_one_path_in_two_processes(store: Store, hbase: HBaseServer) -> None:
    table = store.location.table
    with Mortal(hbase, table) as one, Mortal(hbase, table) as other:
        for name, writer in (("one", one), ("other", other)):
            writer.start([("write", Version("f", name, number, 3000)) for number in range(ROUNDS)])
        outcomes = [one.outcome(), other.outcome()]

    last = read(store, "f")
    assert [outcome.errors for outcome in outcomes] == [[], []]
    assert version_in(last) in [outcome.acknowledged[-1] for outcome in outcomes]
    require_clean(store, {"f": last})


def test_readers_see_whole_files_while_one_is_replaced_removed_and_collected(store: Store) -> None:
    """gc runs without an age limit, so it takes away the chunks that readers are at: they begin anew."""
    over = Event()

    def look() -> list[int]:
        seen = [0]
        while not over.is_set():
            content = found(store, "f")
            if content is not None:
                seen.append(version_in(content).number)
                assert seen[-1] >= seen[-2], "an older file came back"
        return seen

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(look) for _ in range(3)]
        try:
            for number in range(1, 30):
                write(store, "f", Version("f", "w", number, random.choice([200, 2 * SIZE])).content())
                if number % 5 == 0:
                    remove(store, "f")
                collect(store)
        finally:
            over.set()
        seen = [reader.result() for reader in readers]

    assert all(len(set(numbers)) > 3 for numbers in seen), "the readers came too late to see anything"
    require_clean(store)


def test_twenty_threads_on_the_same_and_on_other_paths(store: Store) -> None:
    """Whatever is read is one whole version, of the path that was asked for, that somebody has begun to write."""
    own = [f"own/{number}" for number in range(20)]
    shared = [f"shared/{number}" for number in range(4)]
    begun: set[Version] = set()
    numbers, lock = count(), Lock()

    def write_one(chosen: random.Random, writer: str, path: str) -> Version:
        size = chosen.choice([150, 5000, CHUNK_BYTES, SIZE])
        with lock:
            version = Version(path, writer, next(numbers), size)
            begun.add(version)
        write(store, path, version.content())
        return version

    def require_begun(path: str) -> None:
        content = found(store, path)
        if content is not None:
            version = version_in(content)
            with lock:
                assert version in begun
            assert version.path == path

    def work(writer: int) -> tuple[str, Version | None]:
        chosen = random.Random(writer)
        mine, last = own[writer], None
        for _ in range(8):
            match chosen.randrange(6):
                case 0 | 1:
                    last = write_one(chosen, f"w{writer}", mine)
                case 2:
                    write_one(chosen, f"w{writer}", chosen.choice(shared))
                case 3:
                    require_begun(chosen.choice(shared + own))
                case 4:
                    assert found(store, mine) == (None if last is None else last.content())
                case 5:
                    remove(store, chosen.choice([mine, *shared]))
                    last = last if found(store, mine) is not None else None
        return mine, last

    with ThreadPoolExecutor(20) as threads:
        outcomes = dict(threads.map(work, range(20)))

    for path, last in outcomes.items():
        assert found(store, path) == (None if last is None else last.content())
    for path in shared:
        require_begun(path)
    require_clean(store)
