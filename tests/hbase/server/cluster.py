"""HBase as processes: started together, killed, paused and revived one by one, stopped together."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.hbase.server import gateway, jars, site
from tests.hbase.server.processes import Process, collect, java
from tests.keeper import Keeper

CLASSES = "org.apache.hadoop.hbase"
HEAPS = {"zk": "128m", "master": "1g", "rs": "1g", "thrift": "512m"}
PORT_TAKEN = ("BindException", "Address already in use", "Could not start ZK", "Could not create ServerSocket")
INITIALIZED = "Master has completed initialization"
SERVES = re.compile(rf"Serving as {site.NAME},(\d+),")


class HBaseServer:
    """One HBase in one folder.

    Single (`distributed=False`): the roles `master` (with ZooKeeper and the region server in it) and `thrift`.
    Distributed: `zk`, `master`, `rs1`, `rs2`, ..., `thrift`, each a process of its own.

    What `start` starts dies with this program, unless `stays` is set; then the folder's `hbase.json` lets any other
    program find it, and stop it.
    """

    host = site.HOST

    def __init__(
        self,
        folder: Path,
        *,
        distributed: bool = False,
        region_servers: int = 2,
        codecs: bool = False,
        extra: Mapping[str, str] | None = None,
        stays: bool = False,
        timeout_s: float = 180,
    ) -> None:
        self.folder = folder.resolve()
        self.distributed = distributed
        self.region_servers = region_servers if distributed else 1
        self.extra = {**(site.CODECS if codecs else {}), **(extra or {})}
        self.timeout_s = timeout_s
        self.ports = {"thrift": 0, "zk": 0}
        self.processes: dict[str, Process] = {}
        self._began: dict[str, int] = {}  # where in its log each role's present life begins
        self._stays = stays
        self._keeper: Keeper | None = None

    @property
    def port(self) -> int:
        return self.ports["thrift"]

    @property
    def roles(self) -> list[str]:
        """Every process it should have, in the order of starting."""
        if not self.distributed:
            return ["master", "thrift"]
        return ["zk", "master", *(f"rs{i + 1}" for i in range(self.region_servers)), "thrift"]

    # --- the whole ---------------------------------------------------------------------------------------------

    def start(self) -> HBaseServer:
        """Start it, unless it runs already, and return when it answers."""
        with self._alone():
            self.load()
            if self.is_up():
                return self
            self._stop(grace_s=5)
            for attempts_left in (2, 1, 0):
                try:
                    self._start()
                    return self
                except BaseException as error:
                    self._stop(grace_s=2)
                    # Between our asking for a free port and the server's taking it another program may take it.
                    if not attempts_left or not any(sign in str(error) for sign in PORT_TAKEN):
                        raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self, grace_s: float = 5) -> None:
        """Stop what runs; nothing is left when this returns."""
        with self._alone():
            self.load()
            self._stop(grace_s)

    def is_up(self) -> bool:
        return all(self.alive(role) for role in self.roles) and gateway.answers(self.port)

    def revive(self) -> None:
        """Resume what is paused, start what is dead, and return when HBase answers again."""
        deadline = time.monotonic() + self.timeout_s
        for role in self.roles:
            self.resume(role)
            if not self.alive(role):
                self._spawn(role)
            if role == "zk":  # the others end without it
                self._wait("ZooKeeper", lambda: gateway.listens(self.ports["zk"]), deadline, [role])
        self._wait("the master", self._is_initialized, deadline)
        self._wait("an answer about every table", self._tables_are_held, deadline)

    def __enter__(self) -> HBaseServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- one role ----------------------------------------------------------------------------------------------

    def alive(self, role: str) -> bool:
        collect()
        return role in self.processes and self.processes[role].alive

    def kill(self, role: str) -> None:
        """`kill -9`, and wait until it is gone."""
        self._known(role)
        if role in self.processes:
            self.processes[role].end(0)

    def pause(self, role: str) -> None:
        """The process no longer runs but its sockets still accept (SIGSTOP)."""
        self._known(role)
        self.processes[role].send(signal.SIGSTOP)

    def resume(self, role: str) -> None:
        self._known(role)
        if role in self.processes:
            self.processes[role].send(signal.SIGCONT)

    def start_role(self, role: str) -> None:
        """Start one that is dead; ZooKeeper and the gateway listen when this returns. `revive` waits for more."""
        self._known(role)
        if self.alive(role):
            return
        self._spawn(role)
        if role in self.ports:
            deadline = time.monotonic() + self.timeout_s
            self._wait(f"{role} on its port", lambda: gateway.listens(self.ports[role]), deadline, [role])

    def role_of_table(self, table: str | bytes, timeout_s: float = 60) -> str:
        """The live region server that holds the table's first region."""
        name = table.encode() if isinstance(table, str) else table
        found: list[str | None] = [None]

        def looked_up() -> bool:
            # Just after a death the catalog may still name the dead one.
            with contextlib.suppress(Exception):  # whatever the gateway says meanwhile, it is asked again
                found[0] = self._role_on(gateway.regions(self.port, name)[0])
            return found[0] is not None

        self._wait(f"region server of {name.decode()}", looked_up, time.monotonic() + timeout_s, [])
        return str(found[0])

    def role_of_meta(self, timeout_s: float = 60) -> str:
        """The live region server that holds hbase:meta."""
        return self.role_of_table("hbase:meta", timeout_s)

    def log(self, role: str) -> str:
        """What a role has written since it was last started."""
        with contextlib.suppress(FileNotFoundError), self._log_path(role).open("rb") as file:
            file.seek(self._began.get(role, 0))
            return file.read().decode(errors="replace")
        return ""

    # --- the folder --------------------------------------------------------------------------------------------

    def load(self) -> HBaseServer:
        """Take over what another program has started in this folder."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            state = json.loads(self._state_path.read_text())
            self.distributed, self.region_servers = state["distributed"], state["region_servers"]
            self.ports, self.extra, self._began = state["ports"], state["extra"], state["began"]
            self.processes = {role: Process(**process) for role, process in state["processes"].items()}
        return self

    def state(self) -> dict[str, Any]:
        """What `hbase.json` holds."""
        return {
            "host": self.host,
            "ports": self.ports,
            "distributed": self.distributed,
            "region_servers": self.region_servers,
            "extra": self.extra,
            "began": self._began,
            "processes": {role: vars(process) for role, process in self.processes.items()},
        }

    def _save(self) -> None:
        written = self._state_path.with_suffix(".new")
        written.write_text(json.dumps(self.state(), indent=1))
        written.replace(self._state_path)

    @property
    def _state_path(self) -> Path:
        return self.folder / "hbase.json"

    def _log_path(self, role: str) -> Path:
        return self.folder / "logs" / f"{role}.log"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # --- inside ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        deadline = time.monotonic() + self.timeout_s
        self.ports = {"thrift": gateway.free_port(), "zk": gateway.free_port()}
        self.processes = {}
        for name in ("data", "logs"):
            (self.folder / name).mkdir(exist_ok=True)
        for log in (self.folder / "logs").glob("*.log"):
            log.replace(log.with_suffix(".log.old"))
        configured = site.Site(
            data=self.folder / "data",
            thrift_port=self.ports["thrift"],
            zookeeper_port=self.ports["zk"],
            region_servers=self.region_servers,
            distributed=self.distributed,
            extra=self.extra,
        )
        site.write(configured, self.folder / "conf")
        for role in self.roles:
            self._spawn(role)
            if role == "zk":  # the others end without it
                self._wait("ZooKeeper", lambda: gateway.listens(self.ports["zk"]), deadline)
        # Asked before the master is ready, the gateway caches that there is no cluster; it also answers "no tables"
        # seconds before a table can be made.
        self._wait("the master", self._is_initialized, deadline)
        self._wait("an answer", lambda: gateway.answers(self.port), deadline)

    def _spawn(self, role: str) -> None:
        main = {
            "zk": ["zookeeper.HQuorumPeer"],
            "master": ["master.HMaster", "start"],
            "rs": ["regionserver.HRegionServer", "start"],
            "thrift": ["thrift.ThriftServer", "-b", self.host, "-p", str(self.port), "start"],
        }
        kind = role.rstrip("0123456789")
        class_path = f"{self.folder / 'conf'}:{jars.ready()}/*"
        log = self._log_path(role)
        self._began[role] = log.stat().st_size if log.exists() else 0
        arguments = [f"-Dhbase.log.dir={log.parent}", "-cp", class_path, f"{CLASSES}.{main[kind][0]}", *main[kind][1:]]
        if self._keeper is None and not self._stays:
            self._keeper = Keeper()
        group = self._keeper.group if self._keeper else None
        self.processes[role] = java(arguments, heap=HEAPS[kind], log=log, folder=self.folder, group=group)
        self._save()

    def _stop(self, grace_s: float) -> None:
        for role in reversed(self.roles):
            if role in self.processes:
                self.processes[role].end(grace_s)
        collect()
        self.processes = {}
        if self._keeper is not None:
            self._keeper.close()
            self._keeper = None
        if self._state_path.exists():
            self._save()

    def _wait(self, what: str, done: Callable[[], bool], deadline: float, needed: Iterable[str] | None = None) -> None:
        """Wait until it is done; a death among the needed (all, unless said) ends it at once, with that one's log."""
        while not done():
            dead = [role for role in (self.processes if needed is None else needed) if not self.alive(role)]
            if dead:
                raise RuntimeError(f"{dead[0]} died while waiting for {what}:\n{self.log(dead[0])[-8000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"HBase in {self.folder} did not come to: {what}; its logs are in {self.folder}/logs"
                )
            time.sleep(0.1)

    def _is_initialized(self) -> bool:
        return INITIALIZED in self.log("master")

    def _tables_are_held(self) -> bool:
        """Every region server serves, and every region is held by one that lives."""
        servers = [role for role in self.roles if role.startswith("rs")] or ["master"]
        if not all(SERVES.search(self.log(role)) for role in servers) or not gateway.answers(self.port):
            return False
        with contextlib.suppress(Exception):  # whatever the gateway says meanwhile, it is asked again
            return all(self._role_on(port) for port in gateway.all_regions(self.port))
        return False

    def _role_on(self, port: int) -> str | None:
        """The live process that serves regions on a port."""
        for role in self.roles:
            served = SERVES.search(self.log(role))
            if served and int(served[1]) == port and self.alive(role):
                return role
        return None

    def _known(self, role: str) -> None:
        if role not in self.roles:
            raise ValueError(f"there is no {role} here, only {', '.join(self.roles)}")
