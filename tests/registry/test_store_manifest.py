"""The manifest of an artifact store: read without trust."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sqlml.errors import ArtifactError
from sqlml.registry import ArtifactFile, StoredFile, StoreManifest
from sqlml.registry.store_manifest import difference, parse

SHA = "a" * 64
FILE = {"path": "data/model.pkl", "size": 5, "sha256": SHA, "object": "1f" * 16}
GOOD = {
    "format": 1,
    "store": "hbase",
    "place": "127.0.0.1:9090",
    "table": "ns:mlflow",
    "path": "1/m/é",
    "files": [FILE],
}


def content(**changed: Any) -> bytes:
    return json.dumps({**GOOD, **changed}).encode()


def of_file(**changed: Any) -> bytes:
    return content(files=[{**FILE, **changed}])


def test_a_good_manifest_is_read_and_survives_the_catalog() -> None:
    manifest = parse(content(later="a key of a later version"), "churn v1")

    assert manifest == StoreManifest(
        "hbase", "127.0.0.1:9090", "ns:mlflow", "1/m/é", (StoredFile("data/model.pkl", 5, SHA, "1f" * 16),)
    )
    assert StoreManifest.from_json(manifest.to_json()) == manifest
    assert manifest.where == "hbase table ns:mlflow at 127.0.0.1:9090"
    assert manifest.name_of("data/model.pkl") == "hbase://127.0.0.1:9090/ns:mlflow/1/m/é/data/model.pkl"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (content()[:-3], "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"format": 1, "format": 1}', "a key stands twice"),
        (b'{"format": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (content(format=2), "its format is 2, and this sqlml reads 1"),
        (content(format=True), "its format is True"),
        (content(format="1"), "its format is '1'"),
        (content(store="HBase "), "store is 'HBase '"),
        (content(store=None), "store is None"),
        (content(place="me:secret@host"), "place is"),
        (content(place="host\x1b[2J"), "place is"),
        (content(place="a\u202eb"), "which cannot be shown"),
        (content(table=["t"]), "table is ['t']"),
        (content(table="t" * 501), "table is 'ttt"),
        (content(path="/etc"), "path is '/etc', which is not a relative path"),
        (content(path=""), "path is '', which is not a relative path"),
        (content(path=5), "path is 5"),
        (content(files={}), "files is not a list"),
        (content(files=None), "files is not a list"),
        (content(files=["x"]), "'x' among its files is not an object"),
        (content(files=[FILE, FILE]), "it names 'data/model.pkl' twice"),
        (of_file(path="../x"), "path is '../x', which is not a relative path"),
        (of_file(path="a/../../x"), "which is not a relative path"),
        (of_file(path="/etc/passwd"), "which is not a relative path"),
        (of_file(path="a//b"), "which is not a relative path"),
        (of_file(path="a\x00b"), "which no store can hold"),
        (of_file(path="\ud800"), "which no store can hold"),
        (of_file(path="a" * 40_000), "which no store can hold"),
        (of_file(path=".sqlml-manifest.json"), "it names itself"),
        (of_file(size=-1), "the size of 'data/model.pkl' is -1"),
        (of_file(size=2**63), "the size of 'data/model.pkl' is 9223372036854775808"),
        (of_file(size=5.0), "the size of 'data/model.pkl' is 5.0"),
        (of_file(size=True), "the size of 'data/model.pkl' is True"),
        (of_file(size="5"), "the size of 'data/model.pkl' is '5'"),
        (of_file(size=float("nan")), "NaN is no number of JSON"),
        (content().replace(b'"size": 5', b'"size": 1e999'), "the size of 'data/model.pkl' is inf"),
        (of_file(sha256="A" * 64), "sha256 is"),
        (of_file(sha256="a" * 63), "sha256 is"),
        (of_file(object=""), "object is ''"),
        (of_file(object="a b"), "object is 'a b'"),
        (of_file(object=7), "object is 7"),
    ],
)
def test_whatever_else_a_store_sends_is_refused(sent: bytes, why: str) -> None:
    with pytest.raises(ArtifactError) as raised:
        parse(sent, "churn v1 at hbase://h:1/t/p")

    assert "The manifest that the artifact store sent for churn v1 at hbase://h:1/t/p is not valid: " in str(
        raised.value
    )
    assert why in raised.value.message
    assert len(raised.value.message) < 400


def test_the_first_difference_is_named() -> None:
    manifest = parse(content(), "churn v1")
    same = ArtifactFile("data/model.pkl", 5, SHA)
    where = "is not what hbase table ns:mlflow at 127.0.0.1:9090 recorded: expected"
    recorded = f"5 bytes with sha256 {SHA} (object {'1f' * 16})"

    assert difference(manifest, [same], "churn v1") is None
    for files, message in (
        ([], f"data/model.pkl of churn v1 {where} {recorded}, found no file."),
        ([same, ArtifactFile("x", 1, SHA)], f"x of churn v1 {where} no such file, found 1 bytes with sha256 {SHA}."),
        (
            [ArtifactFile("data/model.pkl", 6, SHA)],
            f"data/model.pkl of churn v1 {where} {recorded}, found 6 bytes with sha256 {SHA}.",
        ),
        (
            [ArtifactFile("data/model.pkl", 5, "b" * 64)],
            f"data/model.pkl of churn v1 {where} {recorded}, found 5 bytes with sha256 {'b' * 64}.",
        ),
    ):
        found = difference(manifest, files, "churn v1")
        assert found is not None
        assert found.message == message
