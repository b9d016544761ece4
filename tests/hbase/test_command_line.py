"""sqlml hbase, as a person types it, on a real HBase."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import pytest

from sqlml import cli
from sqlml.cli import exits
from sqlml.hbase import files, layout
from sqlml.hbase.layout import CHUNK_COLUMN
from sqlml.hbase.store import open_store
from tests.hbase.server.cluster import HBaseServer

# One table for all tests here: making one takes HBase a second.
TABLE = f"t{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def table(hbase: HBaseServer) -> str:
    uri = f"hbase://{hbase.host}:{hbase.port}/{TABLE}"
    assert cli.run(["hbase", "init", uri]) == exits.DONE
    return uri


@pytest.fixture
def location(table: str) -> str:
    return f"{table}/{secrets.token_hex(4)}"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three files, one of more than a chunk and one of nothing."""
    root = tmp_path / "tree"
    (root / "data").mkdir(parents=True)
    (root / "MLmodel").write_text("flavors: {}\n")
    (root / "data" / "model.bin").write_bytes(os.urandom(layout.CHUNK_BYTES + 3))
    (root / "empty").touch()
    return root


def run(*arguments: str) -> int:
    return cli.run(["hbase", *arguments])


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_init_says_when_the_table_is_there_already(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("init", table) == exits.DONE
    assert capsys.readouterr().out.startswith(f"There is already the table {TABLE} at ")


def test_init_refuses_a_table_of_somebody_else(hbase: HBaseServer, capsys: pytest.CaptureFixture[str]) -> None:
    import happybase

    connection = happybase.Connection(hbase.host, hbase.port, timeout=60_000)
    connection.create_table(f"{TABLE}_other", {"x": {}})
    assert run("init", f"hbase://{hbase.host}:{hbase.port}/{TABLE}_other") == exits.FAILED
    assert "not one of sqlml's: it has no column family m and d" in capsys.readouterr().err
    connection.close()


@pytest.mark.parametrize("codec", ["LZO", "LZ4", "ZSTD"])
def test_init_names_the_codec_that_the_servers_lack(table: str, codec: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("init", f"{table}_{codec}", "--compression", codec) == exits.FAILED
    assert f"do not have the compression {codec}" in capsys.readouterr().err


def test_a_folder_goes_there_and_back(
    location: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("cp", str(tree), location) == exits.DONE
    assert f"Copied 3 files, {layout.CHUNK_BYTES + 3 + 12:,} bytes." in capsys.readouterr().out
    assert run("cp", location, str(tmp_path / "back")) == exits.DONE
    assert content(tmp_path / "back") == content(tree)


def test_a_file_is_copied_under_a_new_name_or_into_a_folder(location: str, tree: Path, tmp_path: Path) -> None:
    source = str(tree / "MLmodel")
    assert run("cp", source, f"{location}/renamed") == exits.DONE
    assert run("cp", source, f"{location}/folder/") == exits.DONE
    assert run("cp", f"{location}/renamed", f"{location}/again") == exits.DONE
    assert run("cp", f"{location}/folder/MLmodel", f"{tmp_path}/new/") == exits.DONE
    assert (tmp_path / "new" / "MLmodel").read_bytes() == (tree / "MLmodel").read_bytes()
    assert run("cp", f"{location}/again", f"{tmp_path}/other") == exits.DONE
    assert (tmp_path / "other").read_bytes() == (tree / "MLmodel").read_bytes()


def test_init_in_a_namespace_that_is_missing_does_not_blame_the_codec(
    hbase: HBaseServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("init", f"hbase://{hbase.host}:{hbase.port}/no_such_{TABLE}:models") == exits.FAILED
    shown = capsys.readouterr().err
    assert "Create the namespace first" in shown
    assert "compression" not in shown


def test_a_folder_or_nothing_is_neither_shown_nor_clean(
    table: str, location: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("cp", str(tree), location)
    assert run("cat", f"{location}/data/") == exits.FAILED
    assert f"{location}/data is a folder, not a file." in capsys.readouterr().err
    assert run("cat", table) == exits.FAILED
    assert f"{table} is a whole table, not a file." in capsys.readouterr().err
    assert run("fsck", f"{location}/dta") == exits.FAILED
    assert f"sqlml hbase ls {table}" in capsys.readouterr().err


def test_what_cannot_be_copied(location: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cp", str(tmp_path / "none"), location) == exits.FAILED
    assert run("cp", f"{location}/none", str(tmp_path)) == exits.FAILED
    assert run("cp", str(tmp_path), str(tmp_path / "x")) == exits.USAGE
    shown = capsys.readouterr().err
    assert f"There is no file {tmp_path / 'none'}" in shown
    assert "There is no file" in shown
    assert "Neither" in shown


def test_ls_shows_one_level_or_all(location: str, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("cp", str(tree), location)
    capsys.readouterr()
    assert run("ls", location, "--json") == exits.DONE
    assert json.loads(capsys.readouterr().out) == [
        {"name": "MLmodel", "size": 12},
        {"name": "data/", "size": None},
        {"name": "empty", "size": 0},
    ]
    assert run("ls", "-r", location, "--json") == exits.DONE
    listed = json.loads(capsys.readouterr().out)
    assert [(file["path"], file["size"]) for file in listed] == [
        ("MLmodel", 12),
        ("data/model.bin", layout.CHUNK_BYTES + 3),
        ("empty", 0),
    ]
    assert run("ls", f"{location}/none") == exits.FAILED
    assert "There is no file" in capsys.readouterr().err


@pytest.mark.parametrize("recursive", [(), ("-r",)])
def test_ls_shows_what_lies_beside_a_damaged_file(
    table: str, location: str, tree: Path, recursive: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run("cp", str(tree), location)
    store = open_store(location)
    store.gateway.put(layout.manifest_row(store.path("empty")), layout.MANIFEST_COLUMN, b"{", doing="damaging it")
    store.close()
    capsys.readouterr()
    assert run("ls", location, "--json", *recursive) == exits.DRIFTED
    shown = capsys.readouterr()
    assert len(json.loads(shown.out)) == 2
    assert "Left out: The manifest of" in shown.err


def test_cat_gives_the_bytes(location: str, tree: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run("cp", str(tree), location)
    capfdbinary.readouterr()
    assert run("cat", f"{location}/data/model.bin") == exits.DONE
    assert capfdbinary.readouterr().out == (tree / "data" / "model.bin").read_bytes()


def test_gc_looks_first_and_removes_when_told(
    location: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("cp", str(tree), location)
    run("cp", str(tree), location)
    for apply, expected in (((), 2), (("--apply",), 2), ((), 0)):
        capsys.readouterr()
        assert run("gc", location, "--older-than", "0s", "--json", *apply) == exits.DONE
        found = json.loads(capsys.readouterr().out)
        assert (found["applied"], found["chunks"] >= expected) == (bool(apply), True)
    assert found["replaced"] == 0
    assert run("cp", location, str(tmp_path / "back")) == exits.DONE
    assert content(tmp_path / "back") == content(tree)


def test_gc_leaves_what_is_young(location: str, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("cp", str(tree), location)
    run("cp", str(tree), location)
    capsys.readouterr()
    assert run("gc", location, "--apply") == exits.DONE
    assert "records are younger than 24h" in capsys.readouterr().out


@pytest.mark.parametrize("age", ["", "x", "5", "-1h", "1w", "1.5h", "٣h"])
def test_an_age_is_a_number_and_a_unit(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("gc", "hbase://127.0.0.1:1/t", "--older-than", age) == exits.USAGE
    assert "is not an age" in capsys.readouterr().err


def test_fsck_tells_of_damage_by_its_exit_code(
    table: str, location: str, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("cp", str(tree), location)
    capsys.readouterr()
    assert run("fsck", location) == exits.DONE
    assert capsys.readouterr().out.endswith(f"3 files, {layout.CHUNK_BYTES + 15:,} bytes: clean.\n")
    store = open_store(location)
    path = store.path("data/model.bin")
    object_ = files.require(store.gateway, path).manifest.object
    store.gateway.put(layout.chunk_row(object_, 1), CHUNK_COLUMN, b"\0\0\0\0abc", doing="damaging a chunk")
    assert run("fsck", location) == exits.DRIFTED
    assert f"Chunk 1 of {path} (object {object_}) is damaged" in capsys.readouterr().out
    assert run("cat", f"{location}/data/model.bin") == exits.FAILED
    assert run("cp", str(tree), location) == exits.DONE
    assert run("fsck", location) == exits.DONE
    store.close()


@pytest.mark.parametrize("command", ["init", "ls", "cat", "gc", "fsck"])
@pytest.mark.parametrize("uri", ["hbase://elsewhere:9090/t/p", "hbase://a:b@localhost/t", "hbase:///t", "s3://x/y"])
def test_a_location_that_is_refused(command: str, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, uri) == exits.REFUSED
    shown = capsys.readouterr()
    assert shown.err.startswith("Error: ")
    assert shown.out == ""
