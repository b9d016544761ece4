"""Asking an artifact store for the manifest that few stores keep, without making the others wait.

A store without one says so in its own way. Measured with MLflow 3.17: its server answers 404 where the files are on its
disk, but 500 where they are in a cloud (whose "not found" is an error to it), and its client repeats a 500 seven times,
for minutes. So the manifest is asked for without MLflow's repetitions. An answer that is neither the file nor a clear
"not found" counts as "keeps none" only if a name that cannot exist is refused in the very same way, twice, with a listing
in between that succeeds. A store that keeps manifests and stumbles is told from one that keeps none by that: it fails the
download, and its files never pass unverified.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlml.errors import ArtifactError, SqlmlError
from sqlml.registry.store import environment, shown
from sqlml.registry.store_manifest import FILE_NAME

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
    from requests import Response

LARGEST = 64 << 20
"""Bytes: room for more than a hundred thousand files."""
LONGEST_S = 300.0
"""More than a store's own deadline: while one of its servers is replaced, the answer takes a minute."""
ABSENT_NAME = ".sqlml-no-such-file"
BLOCK = 1 << 20
LONGEST_MESSAGE = 64 << 10


class _Unclear(Exception):
    """Neither the file nor a clear "not found". `kind` is equal where the store refuses in the same way."""

    def __init__(self, kind: object, why: str) -> None:
        super().__init__(why)
        self.kind = kind


def manifest_content(repository: ArtifactRepository) -> bytes | None:
    """What the store answers for the manifest of the repository's root; None if it keeps none.

    Raises:
        ArtifactError: it keeps one that is too long, did not come in time, or could not be read.
        SqlmlError: what a store that is a plugin of sqlml's raises.
        Exception: of any type, from a store that cannot be listed either.
    """
    refuses_all_alike = True
    why = ""
    for _ in range(2):
        try:
            return _ask(repository, FILE_NAME)
        except _Unclear as unclear:
            why = str(unclear)
            refuses_all_alike = refuses_all_alike and _refusal(repository, ABSENT_NAME) == unclear.kind
        repository.list_artifacts()  # with MLflow's patience; raises where the store as a whole does not work
    if refuses_all_alike:
        return None
    raise ArtifactError(
        f"The artifact store keeps a manifest of its files, but did not send it: {why}.",
        hint="Without it the files cannot be verified. Try again; if it stays so, check the artifact store.",
    )


def _refusal(repository: ArtifactRepository, name: str) -> object:
    """How the store refuses a name: comparable with the `kind` of an _Unclear, equal to nothing where it does not."""
    try:
        _ask(repository, name)
    except _Unclear as unclear:
        return unclear.kind
    except SqlmlError:
        pass
    return object()


def _ask(repository: ArtifactRepository, name: str) -> bytes | None:
    """The file of this name; None where the store says clearly that there is none."""
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    if isinstance(repository, HttpArtifactRepository):
        return _over_http(repository, name)
    return _in_time(repository, name)


def _over_http(repository: HttpArtifactRepository, name: str) -> bytes | None:
    """One request, where download_artifacts would make two and repeat them; and the answer's length is bounded."""
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    until = time.monotonic() + LONGEST_S
    try:
        response = http_request(  # type: ignore[no-untyped-call]  # MLflow's
            get_default_host_creds(repository.artifact_uri),  # type: ignore[no-untyped-call]
            f"/{name}",
            "GET",
            max_retries=0,
            raise_on_status=False,
            stream=True,
        )
        with response:
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise _Unclear(response.status_code, f"its server answers with status {_said(response)}")
            return _joined(response.iter_content(BLOCK), until)
    except (_Unclear, SqlmlError):
        raise
    except Exception as error:  # of requests, urllib3 or MLflow: no answer, or half of one
        raise _Unclear(object(), reason(error)) from error


def _said(response: Response) -> str:
    """The status, and the message that MLflow's servers send with it."""
    try:
        content = next(response.iter_content(LONGEST_MESSAGE), b"")
    except Exception:  # of requests or urllib3: the status alone decides, the message is for people
        content = b""
    message = _message(content.decode("utf-8", "replace"))
    return f"{response.status_code}: {reason(Exception(message))}" if message else str(response.status_code)


def _message(text: str) -> str | None:
    """Of an error as MLflow's servers send it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    message = document.get("message") if isinstance(document, dict) else None
    return message if isinstance(message, str) and message else None


def _joined(blocks: Iterable[bytes], until: float) -> bytes:
    content = bytearray()
    for block in blocks:
        content += block
        if len(content) > LARGEST:
            raise _too_long()
        if time.monotonic() > until:
            raise _too_late()
    return bytes(content)


def _in_time(repository: ArtifactRepository, name: str) -> bytes | None:
    """In a thread of its own, which is left behind if it takes too long: a store's client may know no deadline."""
    outcome: list[bytes | BaseException | None] = []

    def work() -> None:
        try:
            outcome.append(_downloaded(repository, name))
        except BaseException as error:  # raised again by the thread that waits
            outcome.append(error)

    thread = threading.Thread(target=work, name="sqlml-manifest", daemon=True)
    thread.start()
    thread.join(LONGEST_S)
    if not outcome:
        raise _too_late()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _downloaded(repository: ArtifactRepository, name: str) -> bytes | None:
    from mlflow.exceptions import MlflowException

    with (
        tempfile.TemporaryDirectory(prefix="sqlml-") as folder,
        environment({"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}),
    ):
        try:
            path = Path(repository.download_artifacts(name, dst_path=folder))  # type: ignore[no-untyped-call]
        except (SqlmlError, MemoryError):
            raise
        except FileNotFoundError:
            return None
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                return None
            raise _Unclear(error.error_code, reason(error)) from error
        except Exception as error:  # every store has exceptions of its own, also for what is not there
            raise _Unclear(type(error), reason(error)) from error
        if not path.is_file():
            return None
        if path.stat().st_size > LARGEST:
            raise _too_long()
        return path.read_bytes()


def refusal(repository: ArtifactRepository, error: Exception) -> str:
    """The `reason` of an error; where MLflow repeated a request until it was tired of it, the server's own words.

    Those are lost by the repetitions, so the server is asked once more.
    """
    from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository

    if isinstance(repository, HttpArtifactRepository) and re.search(r"too many 5\d\d error responses", str(error)):
        try:
            _over_http(repository, FILE_NAME)
        except _Unclear as unclear:
            return str(unclear)
        except SqlmlError:
            pass
    return reason(error)


def reason(error: Exception) -> str:
    """The first line of a store's error, or what MLflow says of the first of the files that did not come.

    Where the store is behind a server, the error has the server's in it, and that has the reason.
    """
    text = str(error).strip()
    if of_file := re.search(r"^##### File (.+) #####\n(.+)", text, re.MULTILINE):
        text = of_file[2]
    if (answer := re.search(r"Response text: (\{.*\})", text)) and (message := _message(answer[1])):
        text = reason(Exception(message))
    if of_file and of_file[1] not in text:
        text = f"{of_file[1]}: {text}"
    return shown(text.splitlines()[0].rstrip(".: ") if text else type(error).__name__)


def _too_long() -> ArtifactError:
    return ArtifactError(
        f"The manifest that the artifact store sent has more than {LARGEST:,} bytes.", hint="Check the artifact store."
    )


def _too_late() -> ArtifactError:
    return ArtifactError(
        f"The artifact store did not send its manifest within {LONGEST_S:.0f} seconds.",
        hint="Check that it works, and try again.",
    )
