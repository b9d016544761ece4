"""The command line: HBase on this machine, for people and for the demo."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.hbase.server import jars
from tests.hbase.server.attending import attend
from tests.hbase.server.cluster import HBaseServer

OK, FAILED, NOT_RUNNING, INTERRUPTED = 0, 1, 3, 130

EXAMPLES = """\
examples:
  python -m tests.hbase.server run -- sh -c 'echo HBase answers on $HBASE_HOST:$HBASE_PORT'
  python -m tests.hbase.server start /tmp/hbase --distributed
  python -m tests.hbase.server kill /tmp/hbase rs1
  python -m tests.hbase.server stop /tmp/hbase
"""


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        prog="python -m tests.hbase.server",
        description="A real HBase with its Thrift gateway on this machine (Java 17 and Maven needed).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch its jars into the cache, and print the folder")
    start = commands.add_parser("start", help="start it in the background, with its data in a folder")
    run = commands.add_parser("run", help="start it, run a command with HBASE_HOST and HBASE_PORT set, stop it")
    for one in (start, run):
        one.add_argument("--distributed", action="store_true", help="five processes instead of two")
        one.add_argument("--codecs", action="store_true", help="with LZO, LZ4 and ZSTD")
    status = commands.add_parser("status", help="print what runs as JSON; exit code 3 if it does not answer")
    stop = commands.add_parser("stop", help="stop it; its data stay")
    kill = commands.add_parser("kill", help="kill -9 one process of it")
    start_role = commands.add_parser("start-role", help="start one that was killed")
    for one in (start, status, stop, kill, start_role):
        one.add_argument("folder", type=Path)
    for one in (kill, start_role):
        one.add_argument("role", help="master or thrift; of a distributed one also zk, rs1, rs2")
    run.add_argument("--folder", type=Path, help="keep its data there (default: they are gone afterwards)")
    run.add_argument("program", nargs="+", metavar="-- COMMAND", help="its exit code is returned")
    return whole


def main(arguments: list[str] | None = None) -> int:
    asked = parser().parse_args(arguments)
    try:
        return run(asked) if asked.command == "run" else control(asked)
    except (jars.Unavailable, OSError, RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def run(asked: argparse.Namespace) -> int:
    jars.fetch()
    with tempfile.TemporaryDirectory(prefix="sqlml-hbase-") as temporary:
        folder = asked.folder or Path(temporary)
        server = HBaseServer(folder, distributed=asked.distributed, codecs=asked.codecs)
        return attend(server, asked.program, grace_s=5 if asked.folder else 0)


def control(asked: argparse.Namespace) -> int:
    if asked.command == "fetch":
        print(jars.fetch())
        return OK
    server = HBaseServer(asked.folder, stays=True)
    if asked.command == "start":
        jars.fetch()
        server = HBaseServer(asked.folder, stays=True, distributed=asked.distributed, codecs=asked.codecs).start()
        print(f"{server.host}:{server.port}")
        return OK
    if asked.command == "stop":
        server.stop()
        return OK
    server.load()
    if asked.command == "kill":
        server.kill(asked.role)
    elif asked.command == "start-role":
        server.start_role(asked.role)
    else:
        return status(server)
    return OK


def status(server: HBaseServer) -> int:
    up = server.is_up()
    alive = {role: server.alive(role) for role in server.processes}
    resident = {role: process.resident_mib for role, process in server.processes.items() if alive[role]}
    print(json.dumps({"up": up, **server.state(), "alive": alive, "resident_mib": resident}, indent=1))
    return OK if up else NOT_RUNNING


if __name__ == "__main__":
    sys.exit(main())
