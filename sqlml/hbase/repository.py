"""MLflow's view of the store: the class behind the entry point `mlflow.artifact_repository` for `hbase`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    ABORTED,
    DATA_LOSS,
    INVALID_PARAMETER_VALUE,
    RESOURCE_CONFLICT,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)
from mlflow.store.artifact.artifact_repo import ArtifactRepository, StreamUploadMixin

from sqlml.errors import ArtifactError, LocationRefused, SqlmlError, StoreConflict, StoreError

SPOOLED_BYTES = 8 << 20


class HBaseArtifactRepository(ArtifactRepository, StreamUploadMixin):
    """Artifacts at `hbase://HOST:PORT/TABLE/PATH` or `hbase://TABLE@HOST:PORT/PATH`.

    All operations raise MlflowException: INVALID_PARAMETER_VALUE for a location or path that is refused (before any
    connection), RESOURCE_DOES_NOT_EXIST, DATA_LOSS for what is damaged, TEMPORARILY_UNAVAILABLE where HBase does not
    answer, ABORTED where it refuses (the table is missing, no right to), RESOURCE_CONFLICT where others kept changing
    the same file. The cause is the sqlml error.
    """

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        # Here and not at the top: MLflow imports this module whenever it is imported itself.
        from sqlml.hbase.store import open_store

        with _mlflow_errors():
            self._store = open_store(artifact_uri, prefix_required=True)
        super().__init__(self._store.location.uri, tracking_uri, registry_uri)

    def log_artifact(self, local_file: str | Path, artifact_path: str | None = None) -> None:
        """Store a local file in the folder `artifact_path`; an existing file is replaced in one step."""
        from sqlml.hbase.copying import put_file

        with _mlflow_errors():
            put_file(self._store, self._path(artifact_path, Path(local_file).name), Path(local_file))

    def log_artifacts(self, local_dir: str | Path, artifact_path: str | None = None) -> None:
        """Store all files below a local folder, each in one step; empty folders leave nothing.

        Nothing is written when a name is refused. Links are followed.
        """
        from sqlml.hbase.copying import put_folder

        with _mlflow_errors():
            folder = _folder(artifact_path)
            self._store.path(folder)  # refused also where there is nothing to be stored below it
            put_folder(self._store, folder, Path(local_dir))

    def log_artifact_from_stream(
        self, stream: BinaryIO, artifact_file_name: str, artifact_path: str | None = None
    ) -> None:
        """Store what `stream` holds, as it comes: an MLflow server needs no disk for it."""
        from sqlml.hbase.writing import write

        with _mlflow_errors():
            path = self._path(artifact_path, os.path.basename(artifact_file_name))
            write(self._store.gateway, self._store.transfers, path, stream)

    async def log_artifact_from_async_stream(
        self, chunks: AsyncIterable[bytes], artifact_file_name: str, artifact_path: str | None = None
    ) -> None:
        """Store what comes; a large one waits on disk until it is whole, since the calls to HBase are not async."""
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as stream:
            async for chunk in chunks:
                await asyncio.to_thread(stream.write, chunk)
            stream.seek(0)
            await asyncio.to_thread(
                self.log_artifact_from_stream, cast(BinaryIO, stream), artifact_file_name, artifact_path
            )

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """What is directly in the folder, by name; empty for a file and for nothing."""
        from sqlml.hbase import files

        with _mlflow_errors():
            if self._asks_for_manifest(path):
                return []
            folder = self._store.path(_folder(path))
            prefix = self._store.below(folder)
            return [
                FileInfo(f"{prefix}/{entry.name}" if prefix else entry.name, entry.is_folder, entry.size)
                for entry in files.entries(self._store.gateway, folder)
            ]

    def delete_artifacts(self, artifact_path: str | None = None) -> None:
        """Remove a file, or all below a folder, or all there is; nothing happens where there is nothing."""
        from sqlml.hbase.writing import remove

        with _mlflow_errors():
            remove(self._store.gateway, self._store.path(_folder(artifact_path)))

    def download_artifacts(self, artifact_path: str, dst_path: str | None = None) -> str:
        """Bring a file, or all below a folder, to a local folder, and return its path there."""
        try:
            return str(super().download_artifacts(artifact_path, dst_path))  # type: ignore[no-untyped-call]  # MLflow's
        except KeyboardInterrupt:
            # MLflow's threads would wait for HBase, and the process for them; those that become free would begin another.
            self.thread_pool.shutdown(wait=False, cancel_futures=True)
            self._store.gateway.give_up()
            self.thread_pool.shutdown(wait=True)  # each removes its partial file first
            self.thread_pool = self._create_thread_pool()  # type: ignore[no-untyped-call]  # MLflow's
            raise
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(DATA_LOSS) and not isinstance(error, Damaged):
                # MLflow has put the errors of all files together in a new one.
                raise Damaged(error.message, error_code=DATA_LOSS) from error
            raise

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        from sqlml.hbase.reading import fetch

        with _mlflow_errors():
            if self._asks_for_manifest(remote_file_path):
                folder = remote_file_path.rpartition("/")[0]
                Path(local_path).write_bytes(self._store.manifest_document(self._store.path(folder)))
                return
            path = self._store.path(_folder(remote_file_path))
            fetch(self._store.gateway, self._store.transfers, path, Path(local_path))

    def _iter_artifacts_recursive(self, path: str | None) -> Iterator[FileInfo]:
        """All files below a folder by one scan, where MLflow's own way lists folder by folder."""
        from sqlml.hbase import files

        with _mlflow_errors():
            folder = self._store.path(_folder(path))
            for file in files.below(self._store.gateway, folder):
                yield FileInfo(self._store.below(file.path), False, file.manifest.size)

    def _path(self, folder: str | None, name: str) -> str:
        return self._store.path(f"{_folder(folder)}/{name}" if folder else name)

    def _asks_for_manifest(self, path: str | None) -> bool:
        from sqlml.hbase.store import MANIFEST_NAME

        return path is not None and path.rpartition("/")[2] == MANIFEST_NAME


class Damaged(MlflowException):
    """What is stored is not what was written."""

    def get_http_status_code(self) -> int:
        """What a server answers. Not MLflow's 500, since its clients repeat that seven times, over four minutes."""
        return 409


def _folder(path: str | None) -> str | None:
    """`path` without the slash that MLflow's clients may end a folder with; a slash alone is left, and refused."""
    return path if path in (None, "/") else path.removesuffix("/")


def _code(error: SqlmlError) -> int:
    """MLflow's code for one of ours: a server answers 500 to whatever has none."""
    match error:
        case LocationRefused():
            return int(INVALID_PARAMETER_VALUE)
        case StoreConflict():
            return int(RESOURCE_CONFLICT)
        case StoreError() if error.details.get("refused"):
            return int(ABORTED)  # 409 from a server, as the table does not come by asking seven times more
        case StoreError():
            return int(TEMPORARILY_UNAVAILABLE)
        case ArtifactError() if "missing" in error.details:
            return int(RESOURCE_DOES_NOT_EXIST)
        case ArtifactError() if error.details.keys() & {"object", "format", "damaged"}:
            return int(DATA_LOSS)
    return int(INVALID_PARAMETER_VALUE)


@contextmanager
def _mlflow_errors() -> Iterator[None]:
    try:
        yield
    except SqlmlError as error:
        code = _code(error)
        raise (Damaged if code == DATA_LOSS else MlflowException)(str(error), error_code=code) from error
