"""A command that runs beside an HBase of its own, which is stopped however the command ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType

from tests.hbase.server.cluster import HBaseServer
from tests.hbase.server.jars import narrate

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_FOUND = 127


def attend(server: HBaseServer, command: list[str], grace_s: float) -> int:
    """Start HBase, run the command with HBASE_HOST and HBASE_PORT set, stop HBase, and return the command's exit code.

    Ctrl-C and `kill` end the command, and HBase with it; the exit code is then 128 and the signal's number.
    """
    for number in ENDING:
        signal.signal(number, _leave)
    try:
        narrate("Starting HBase ...")
        server.start()
        narrate(f"HBase answers on {server.host}:{server.port}.")
        return _run(command, {"HBASE_HOST": server.host, "HBASE_PORT": str(server.port)})
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        server.stop(grace_s)
        narrate("HBase has stopped.")


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _run(command: list[str], environment: dict[str, str]) -> int:
    try:
        child = subprocess.Popen(command, env={**os.environ, **environment})
    except OSError as error:
        narrate(f"{command[0]} cannot be run: {error.strerror}")
        return NOT_FOUND

    def pass_on(number: int, _: FrameType | None) -> None:
        if number != signal.SIGINT or not _at_a_terminal():  # a terminal's Ctrl-C has reached the command already
            child.send_signal(number)

    for number in ENDING:
        signal.signal(number, pass_on)
    code = child.wait()
    return 128 - code if code < 0 else code


def _at_a_terminal() -> bool:
    try:
        return os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ else 0) == os.getpgrp()
    except OSError:
        return False
