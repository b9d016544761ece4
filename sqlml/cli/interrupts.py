"""Ctrl-C stops the statement that runs.

Measured with DuckDB 2.0.0: its Python client looks for signals only while the main thread has work of its own to do,
so Ctrl-C was ignored for as long as the query ran in 5 of 6 tries. Python writes each signal to a file descriptor at
once, whatever the main thread does; a thread that reads it can interrupt the connection.

Measured too: a COPY to a file that is interrupted while several threads write never returns, about once in 20 tries.
Then the process is ended from outside of the statement, which leaves a database as a power failure would: whole.

Where DuckDB does notice by itself, the thread may be late: on a busy machine it interrupted the statement after the one that
was meant. So KeyboardInterrupt is raised only once the thread has done with the signal.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from sqlml.cli import exits

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

STOPPING = (signal.SIGINT, signal.SIGTERM)
STUCK_SECONDS = 15.0
"""A statement that has not stopped by then never will."""
LATE_SECONDS = 1.0


@contextmanager
def interruptible(connection: Connection) -> Iterator[None]:
    """Let Ctrl-C interrupt what `connection` executes inside the block (in the main thread; elsewhere no signal comes).

    So does SIGTERM, where somebody listens to it: `sync --every` does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        arrived = threading.Event()
        reading = threading.RLock()  # reentrant: a second Ctrl-C may come while the first is noted
        usual = {number: signal.getsignal(number) for number in STOPPING}

        def note(number: int, frame: FrameType | None) -> None:  # runs once the main thread is back in Python
            arrived.set()
            _let_catch_up(reader, reading)
            handler = usual[signal.Signals(number)]
            if callable(handler):
                handler(number, frame)

        heard = [number for number, handler in usual.items() if callable(handler)]
        for number in heard:
            signal.signal(number, note)
        watcher = threading.Thread(
            target=_watch, args=(reader, reading, connection, arrived), name="sqlml-interrupt", daemon=True
        )
        watcher.start()
        try:
            yield
        finally:
            for number in heard:
                signal.signal(number, usual[number])
            signal.set_wakeup_fd(before)
            writer.shutdown(socket.SHUT_RDWR)
            watcher.join()


def _let_catch_up(reader: socket.socket, reading: threading.RLock) -> None:
    """Until the watching thread has read every signal and done what it does about them."""
    deadline = time.monotonic() + LATE_SECONDS
    while time.monotonic() < deadline:
        with reading:
            waiting, _, _ = select.select([reader], [], [], 0)
        if not waiting:
            return
        time.sleep(0.001)


def _watch(reader: socket.socket, reading: threading.RLock, connection: Connection, arrived: threading.Event) -> None:
    while True:
        select.select([reader], [], [])
        with reading:
            signals = reader.recv(64)
            meant = any(number in signals and callable(signal.getsignal(number)) for number in STOPPING)
            if meant:
                connection.interrupt()
        if not signals:
            return
        if not meant:
            continue
        if not arrived.wait(STUCK_SECONDS):
            os.write(2, b"Interrupted: DuckDB did not stop, so the process was ended. The database is whole.\n")
            os._exit(exits.INTERRUPTED)
        arrived.clear()
