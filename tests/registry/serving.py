"""A real `mlflow server` for the length of a block."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def mlflow_server(
    backend: str, artifacts: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The URI of a server on loopback that serves the artifacts too, so that nothing local is read."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend),
        *("--artifacts-destination", artifacts, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    with subprocess.Popen(
        command,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **(environment or {})},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        if not any("Application startup complete" in line for line in process.stderr):
            raise RuntimeError("mlflow server ended before it was ready")
        _wait_until_listening(port)
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)
            drain.join(timeout=30)


def _wait_until_listening(port: int) -> None:
    """uvicorn says that it has started, and binds its socket after that."""
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
