"""What is shown of a URI."""

from __future__ import annotations

import pytest

from sqlml.registry.store import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://me:secret@host:5000/x failed", "http://...@host:5000/x failed"),
        ("http://token@host:5000/x", "http://...@host:5000/x"),
        ("https://me:se@cret@host/x", "https://...@host/x"),
        ("postgresql://me:se/cret@host/db", "postgresql://...@host/db"),
        ("mysql+pymysql://me:@h/db and s3://key:pw@b/x", "mysql+pymysql://...@h/db and s3://...@b/x"),
        ("//token@host", "//token@host"),
        ("://token@host", "://...@host"),
        ("http://host:5000/api/a@b", "http://host:5000/api/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("models:/churn@Production", "models:/churn@Production"),
        ("hbase://mlflow@host:9090/prefix", "hbase://mlflow@host:9090/prefix"),
        ("HBase://my-table.v1@host:9090/prefix", "HBase://my-table.v1@host:9090/prefix"),
        ("hbase://me:secret@host:9090/prefix", "hbase://...@host:9090/prefix"),
        ("hbase://a@b@host:9090/prefix", "hbase://...@host:9090/prefix"),
        ("hbase://host:9090/table/a@b", "hbase://host:9090/table/a@b"),
    ],
)
def test_whoever_logs_in_is_not_shown(text: str, expected: str) -> None:
    assert shown(text) == expected
