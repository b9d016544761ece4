"""HBase's configuration: everything on loopback, small, and quick to notice that a server has died."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

HOST = "127.0.0.1"
NAME = "localhost"  # what servers are called in hbase:meta

LOGGING = Path(__file__).with_name("log4j2.properties")
_CODECS = "org.apache.hadoop.hbase.io.compress.aircompressor"
CODECS = {
    f"hbase.io.compress.{name.lower()}.codec": f"{_CODECS}.{name}Codec" for name in ("Snappy", "Lzo", "Lz4", "Zstd")
}


@dataclass(frozen=True)
class Site:
    """One HBase: where it keeps its data, which ports were found for it, how many region servers it has."""

    data: Path
    thrift_port: int
    zookeeper_port: int
    region_servers: int
    distributed: bool  # every server a process of its own
    extra: Mapping[str, str]

    def properties(self) -> dict[str, str]:
        """The content of hbase-site.xml."""
        found = {
            **self._places(),
            **self._zookeeper(),
            # Small: eight handlers instead of thirty, and no web pages.
            "hbase.regionserver.handler.count": 8,
            "hbase.regionserver.metahandler.count": 5,
            "hbase.netty.worker.count": 3,
            "hbase.master.procedure.threads": 4,
            "hbase.regionserver.msginterval": 500,
            "hbase.master.info.port": -1,
            "hbase.regionserver.info.port": -1,
            "hbase.thrift.info.port": -1,
            "hbase.hregion.memstore.flush.size": 32 << 20,
            "hbase.client.retries.number": 10,
            "hbase.thrift.server.socket.read.timeout": 60_000,
            "hbase.security.authentication": "simple",
            # The master starts work with this many region servers, without 4.5 s of waiting for more.
            "hbase.master.wait.on.regionservers.mintostart": self.region_servers,
            "hbase.master.wait.on.regionservers.maxtostart": self.region_servers,
            "hbase.master.wait.on.regionservers.timeout": 30_000,
            **self.extra,
        }
        return {name: str(value) for name, value in found.items()}

    def _places(self) -> dict[str, object]:
        root = f"file://{self.data / 'hbase'}"
        return {
            "hbase.cluster.distributed": str(self.distributed).lower(),
            "hbase.tmp.dir": self.data,
            "hbase.rootdir": root,
            "hbase.wal.dir": root,
            # The other one, "filesystem", is told of a full local disk by an Error, where it expects an IOException of
            # HDFS: it logs that, and goes on to acknowledge what it has not written (measured on HBase 2.6.4 with a disk
            # that filled up: 6 of 17 files were lost; with this one none).
            "hbase.wal.provider": "asyncfs",
            # The checksumming default for file:// hands buffered bytes to the system later than it says.
            "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
            "hbase.master.hostname": NAME,
            "hbase.unsafe.regionserver.hostname": NAME,
            "hbase.master.ipc.address": HOST,
            "hbase.regionserver.ipc.address": HOST,
            "hbase.master.port": 0,
            "hbase.regionserver.port": 0,
            "hbase.regionserver.thrift.ipaddress": HOST,
            "hbase.regionserver.thrift.port": self.thrift_port,
        }

    def _zookeeper(self) -> dict[str, object]:
        """Sessions of the dead end after four seconds, those of an earlier, killed run too (default: 90)."""
        return {
            "hbase.zookeeper.quorum": HOST,
            "hbase.zookeeper.property.clientPort": self.zookeeper_port,
            "hbase.zookeeper.property.clientPortAddress": HOST,
            "hbase.zookeeper.property.dataDir": self.data / "zk",
            "hbase.zookeeper.property.admin.enableServer": "false",
            "hbase.zookeeper.property.tickTime": 1000,
            "hbase.zookeeper.property.minSessionTimeout": 2000,
            "zookeeper.session.timeout": 4000,
            "zookeeper.session.timeout.localHBaseCluster": 4000,
            # In one process ZooKeeper goes first when stopping; its clients need not ask for it three times.
            "zookeeper.recovery.retry": 3 if self.distributed else 1,
        }


def write(site: Site, folder: Path) -> None:
    """Write the files that HBase reads from its class path."""
    folder.mkdir(parents=True, exist_ok=True)
    properties = site.properties()
    (folder / "hbase-site.xml").write_text(_xml(properties))
    files = {name: value for name, value in properties.items() if name.startswith("fs.")}
    (folder / "core-site.xml").write_text(_xml(files))
    shutil.copy(LOGGING, folder)


def _xml(properties: Mapping[str, str]) -> str:
    rows = "".join(
        f"  <property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in properties.items()
    )
    return f"<configuration>\n{rows}</configuration>\n"
