"""TLS to a proxy before the gateway: who it must be, and who we are."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlml.errors import StoreError
from sqlml.hbase import opening
from sqlml.hbase.gateway import Gateway
from sqlml.hbase.location import Location
from sqlml.hbase.settings import Settings, Tls
from tests.hbase.proxies import Authority, Certified, proxy, tls
from tests.hbase.scripted import ScriptedGateway
from tests.hbase.server.cluster import HBaseServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certified:
    return authority.certify("localhost")


@pytest.fixture
def server() -> Iterator[ScriptedGateway]:
    with ScriptedGateway() as server:
        yield server


def gateway_at(port: int, tls: Tls | None, host: str = "localhost", table: str = "t") -> Gateway:
    settings = Settings(timeout_s=20, deadline_s=60, first_contact_s=1, tls=tls)
    return Gateway(Location(host, port, table, "x"), settings)


def get(gateway: Gateway) -> bytes:
    cell = gateway.get(b"a", b"m:c", doing="reading")
    assert cell is not None
    return cell.value


def test_a_real_gateway_behind_tls(
    hbase: HBaseServer, table_name: str, authority: Authority, certificate: Certified
) -> None:
    chunks = {b"d/%d" % i: os.urandom(1 << 20) for i in range(3)}
    with proxy((hbase.host, hbase.port), tls(certificate)) as port:
        gateway = gateway_at(port, Tls(ca=str(authority.file)), table=table_name)
        gateway.create_table()
        gateway.put_many(chunks, b"d:c", doing="writing")

        found = gateway.get_many(list(chunks), b"d:c", doing="reading")
        gateway.close()

    assert {row: cell.value for row, cell in found.items()} == chunks


def test_a_connection_serves_until_the_other_end_closes_it(
    server: ScriptedGateway, authority: Authority, certificate: Certified
) -> None:
    with proxy((server.host, server.port), tls(certificate)) as port:
        gateway = gateway_at(port, Tls(ca=str(authority.file)))
        assert [get(gateway), get(gateway)] == [b"of a"] * 2
        assert server.connections == 1
        server.hang_up()
        assert server.ended.acquire(timeout=5)

        # Sent once at most, so it must be seen before that the connection is gone.
        answers = [gateway.switch(b"r", b"m:c", None, b"v", doing="switching") for _ in range(3)]
        gateway.close()

    assert answers[1:] == [True, True]  # the proxy may take a moment to pass it on
    assert server.connections == 2


def test_an_address_is_checked_like_a_name(server: ScriptedGateway, authority: Authority) -> None:
    with proxy((server.host, server.port), tls(authority.certify("127.0.0.1"))) as port:
        gateway = gateway_at(port, Tls(ca=str(authority.file)), host="127.0.0.1")
        assert get(gateway) == b"of a"
        gateway.close()


def test_a_certificate_of_somebody_else_is_refused(
    server: ScriptedGateway, certificate: Certified, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    with (
        proxy((server.host, server.port), tls(certificate)) as port,
        pytest.raises(StoreError, match=r"a certificate that is not accepted: .*SQLML_HBASE_TLS_CA") as failure,
    ):
        get(gateway_at(port, Tls(ca=str(stranger.file))))

    assert failure.value.details["tries"] == 1
    assert server.connections == 0


def test_a_certificate_for_another_host_is_refused_unless_its_name_is_not_checked(
    server: ScriptedGateway, authority: Authority
) -> None:
    with proxy((server.host, server.port), tls(authority.certify("hbase.example"))) as port:
        with pytest.raises(StoreError, match=r"Hostname mismatch.*not valid for 'localhost'"):
            get(gateway_at(port, Tls(ca=str(authority.file))))

        lenient = gateway_at(port, Tls(ca=str(authority.file), check_name=False))
        assert get(lenient) == b"of a"
        lenient.close()


def test_the_certificate_is_for_the_name_though_the_connection_is_to_a_pinned_address(
    server: ScriptedGateway, authority: Authority, tmp_path: Path
) -> None:
    with proxy((server.host, server.port), tls(authority.certify("hbase.example"))) as port:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        gateway = Gateway(
            Location("hbase.example", port, "t", "x"),
            Settings(allow=frozenset({("hbase.example", port)}), tls=Tls(ca=str(authority.file))),
            resolve=lambda *_, **__: found,
        )
        assert get(gateway) == b"of a"
        gateway.close()


@pytest.mark.parametrize("password", [None, b"s3cret"])
def test_a_client_shows_its_certificate(
    server: ScriptedGateway, authority: Authority, certificate: Certified, password: bytes | None
) -> None:
    client = authority.certify("somebody", password=password)
    shown = Tls(str(authority.file), str(client.certificate), str(client.key), password.decode() if password else None)
    with proxy((server.host, server.port), tls(certificate, clients=authority)) as port:
        gateway = gateway_at(port, shown)
        assert get(gateway) == b"of a"
        gateway.close()


def test_a_client_without_a_certificate_is_told_that_one_is_wanted(
    server: ScriptedGateway, authority: Authority, certificate: Certified
) -> None:
    with (
        proxy((server.host, server.port), tls(certificate, clients=authority)) as port,
        pytest.raises(StoreError, match=r"(?i)certificate.*SQLML_HBASE_TLS_CERTIFICATE"),
    ):
        get(gateway_at(port, Tls(ca=str(authority.file))))

    assert server.requests == []


def test_a_gateway_without_tls_is_told_apart(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OPENING_S", 0.2)
    with ScriptedGateway() as server:
        # As the real one does, which takes the first bytes for the length of a name and waits for its end.
        gateway = gateway_at(server.port, Tls(ca=str(authority.file)))

        with pytest.raises(StoreError, match=r"did not answer when TLS was begun.* It may have no TLS there"):
            get(gateway)


def test_without_tls_a_gateway_with_it_gives_no_answer(server: ScriptedGateway, certificate: Certified) -> None:
    with (
        proxy((server.host, server.port), tls(certificate)) as port,
        pytest.raises(StoreError, match="SQLML_HBASE_TLS"),
    ):
        get(gateway_at(port, None))
