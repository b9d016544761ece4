"""A real MariaDB for tests that ask for one: Debian's server as a process of this session, not as a service."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hbase.server.gateway import free_port
from tests.keeper import Keeper

HOST = "127.0.0.1"
USER = "sqlml"
# Debian keeps servers where a user's PATH does not lead.
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
PROGRAMS = ("mariadbd", "mariadb-install-db")
START_S = 60


@dataclass(frozen=True)
class MariaDB:
    """A server with one user, who may do everything with databases of any name."""

    port: int
    password: str

    def uri(self, database: str) -> str:
        """SQLAlchemy's name of a database."""
        return f"mysql+pymysql://{USER}:{self.password}@{HOST}:{self.port}/{database}"

    def new_database(self) -> str:
        """Create an empty database and return its URI."""
        import pymysql

        name = f"t{secrets.token_hex(6)}"
        connection = pymysql.connect(host=HOST, port=self.port, user=USER, password=self.password)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return self.uri(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test is marked by what it asks for."""
    for item in items:
        if "mariadb" in getattr(item, "fixturenames", ()):
            item.add_marker("mariadb")


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """MariaDB for the whole session; `new_database()` gives each test one of its own."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing:
        reason = f"no MariaDB to test against: {missing[0]} is not installed: `.ci/packages` installs it on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("mariadb")
    keeper = Keeper()
    try:
        yield started(folder, keeper)
    finally:
        keeper.close()


def started(folder: Path, keeper: Keeper) -> MariaDB:
    """Start a server in a folder. It listens on loopback only, and no file of the system's own server is read."""
    make_tables(folder)
    for attempts_left in (2, 1, 0):
        server = MariaDB(free_port(), secrets.token_hex(16))
        (folder / "user.sql").write_text(
            f"CREATE OR REPLACE USER '{USER}'@'{HOST}' IDENTIFIED BY '{server.password}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'{HOST}';\n"
        )
        log = folder / "mariadb.log"
        command = [
            *program("mariadbd", folder),
            f"--port={server.port}",
            f"--bind-address={HOST}",
            "--socket=socket",  # in the folder of the data: a socket's whole path may have 107 bytes only
            "--pid-file=pid",
            f"--init-file={folder / 'user.sql'}",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=2",  # a test's data need not survive a power cut
        ]
        child = keeper.start(command, log)
        try:
            wait_until_it_answers(server, child, log)
            return server
        except RuntimeError as error:
            # Between our asking for a free port and the server's taking it another program may take it.
            if not attempts_left or "Bind on TCP/IP port" not in str(error):
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def program(name: str, folder: Path) -> list[str]:
    found = shutil.which(name, path=PATH)
    assert found is not None
    command = [found, "--no-defaults", f"--datadir={folder / 'data'}", "--innodb-log-file-size=8M"]
    return [*command, "--user=root"] if os.getuid() == 0 else command  # as root it wants to be told that it may


def make_tables(folder: Path) -> None:
    """The system tables, without which no server starts."""
    done = subprocess.run(
        [*program("mariadb-install-db", folder), "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def wait_until_it_answers(server: MariaDB, child: subprocess.Popen[bytes], log: Path) -> None:
    import pymysql

    deadline = time.monotonic() + START_S
    while True:
        try:
            pymysql.connect(host=HOST, port=server.port, user=USER, password=server.password).close()
            return
        except pymysql.Error as error:
            said = log.read_text(errors="replace")[-2000:]
            if child.poll() is not None:
                raise RuntimeError(f"MariaDB ended: {said}") from error
            if time.monotonic() > deadline:
                raise TimeoutError(f"MariaDB did not answer: {error}\n{said}") from error
        time.sleep(0.05)
