"""Ctrl-C stops the statement that runs.

Measured with DuckDB 2.0.0: its Python client looks for signals only while the main thread has work of its own to do,
so Ctrl-C was ignored for as long as the query ran in 5 of 6 tries. Python writes each signal to a file descriptor at
once, whatever the main thread does; a thread that reads it can interrupt the connection.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


@contextmanager
def interruptible(connection: Connection) -> Iterator[None]:
    """Let Ctrl-C interrupt what `connection` executes inside the block (in the main thread; elsewhere no signal comes)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        watcher = threading.Thread(target=_watch, args=(reader, connection), name="sqlml-interrupt", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            writer.shutdown(socket.SHUT_RDWR)
            watcher.join()


def _watch(reader: socket.socket, connection: Connection) -> None:
    while signals := reader.recv(64):
        if signal.SIGINT in signals:
            connection.interrupt()
