"""What things are called in OpenLineage (its Naming.md): a namespace for where they are, a name inside it.

| | namespace | name |
| --- | --- | --- |
| table, view, function | `duckdb://PATH` of the file, `duckdb://:memory:` | `database.schema.table` |
| local file | `file` | its path |
| file elsewhere | `scheme://host or bucket` | the path in it |
| model version, run | `mlflow+URI` of the registry, of the tracking server | `models:/churn/3`, `runs:/ID` |
| job | OPENLINEAGE_NAMESPACE, else `sqlml` | `database.deployment.deploy`, `.score` |

DuckDB has no entry in Naming.md; this is what OpenLineage's own dbt integration calls its files, so that both meet.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from urllib.parse import urlsplit

from sqlml.catalog.records import Version
from sqlml.openlineage.described import JobName
from sqlml.registry.store import shown

NAMESPACE = "sqlml"
RUNS = uuid.UUID("6f1c2c1e-54b1-5b3a-9c0e-3d1f0d6f7a51")
"""Name space of the ids of deploys; a scoring's run id is its scoring_id."""


def database_namespace(path: str | None, kind: str = "duckdb") -> str:
    """Of an attached database; what another kind than DuckDB's has as its path may hold a password."""
    if kind != "duckdb":
        return f"{kind}://"
    return f"duckdb://{Path(path).absolute()}" if path else "duckdb://:memory:"


def file_place(path: str) -> tuple[str, str]:
    """Namespace and name of a file or a pattern of files.

    >>> file_place("s3://bucket/in/*.parquet")
    ('s3://bucket', 'in/*.parquet')
    """
    parts = urlsplit(path)
    if parts.scheme and parts.netloc:
        return shown(f"{parts.scheme}://{parts.netloc}"), parts.path.lstrip("/")
    return "file", str(Path(path).absolute())


def model_place(version: Version) -> tuple[str, str]:
    if version.model_name and version.model_version:
        return _mlflow(
            version.registry_uri or version.tracking_uri
        ), f"models:/{version.model_name}/{version.model_version}"
    if version.model_id:
        return _mlflow(version.tracking_uri), f"models:/{version.model_id}"
    return file_place(version.artifact_uri or version.reference)


def run_place(version: Version) -> tuple[str, str] | None:
    return (_mlflow(version.tracking_uri), f"runs:/{version.run_id}") if version.run_id else None


def _mlflow(uri: str | None) -> str:
    return f"mlflow+{shown(uri)}" if uri and "://" in uri else f"mlflow+file://{Path(uri or '.').absolute()}"


def job_name(database: str, deployment: str, kind: str) -> JobName:
    namespace = os.environ.get("OPENLINEAGE_NAMESPACE") or NAMESPACE
    return JobName(namespace, f"{database}.{deployment}.{kind.lower()}", kind)


def run_id(job_id: str) -> str:
    """The run of a job of ours, the same whoever asks: a scoring finds its deploy by it."""
    return str(uuid.uuid5(RUNS, job_id))
