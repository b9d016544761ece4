"""How the store is configured, and which gateways may be connected to."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from sqlml.errors import LocationRefused, StoreError, UsageError
from sqlml.hbase.location import parse
from sqlml.hbase.settings import Address, Sasl, Settings, Tls, check_allowed, load_settings, pinned


def load(folder: Path, **environ: str) -> Settings:
    return load_settings({f"SQLML_HBASE_{key}": value for key, value in environ.items()}, start=folder)


def written(folder: Path, section: str) -> Path:
    (folder / "sqlml.toml").write_text(f"[hbase]\n{section}\n", encoding="utf-8")
    return folder


def test_nothing_configured_gives_time_limits_and_loopback_only(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert settings == Settings()
    assert (settings.timeout_s, settings.deadline_s, settings.allow, settings.tls) == (60, 180, frozenset(), None)


def test_variables_win_over_the_file(tmp_path: Path) -> None:
    written(tmp_path, 'timeout = 5\ndeadline = 50\nallow = ["A.example:9090", "[::1]:1"]\nconnections = 8')

    settings = load(tmp_path, TIMEOUT="2.5", ALLOW="b.example, c.example:7", TRANSPORT="framed", PROTOCOL="compact")

    assert settings == Settings(
        timeout_s=2.5,
        deadline_s=50,
        connections=8,
        allow=frozenset({("b.example", 9090), ("c.example", 7)}),
        transport="framed",
        protocol="compact",
    )
    assert load(tmp_path).allow == {("a.example", 9090), ("::1", 1)}


def test_files_are_meant_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()

    assert load(written(tmp_path, 'tls_ca = "ca.pem"')).tls == Tls(ca=str(tmp_path / "ca.pem"))
    assert load(written(tmp_path, 'tls = false\ntls_ca = "ca.pem"')).tls is None
    assert load(written(tmp_path, "tls = true\ntls_check_name = false")).tls == Tls(check_name=False)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("timeuot = 3", "unknown setting 'timeuot'. Did you mean 'timeout'"),
        ('timeout = "soon"', "'soon' is not a number"),
        ("timeout = 0", "timeout .*: 0 is not between"),
        ("deadline = inf", "inf is not between"),
        ("idle = nan", "nan is not between"),
        ("connections = 1.5", "1.5 is not a whole number"),
        ("connections = 1000", "1000 is not between 1 and 64"),
        ('transport = "framd"', "'framd' is unknown. Did you mean 'framed'"),
        ('protocol = "json"', "'json' is unknown"),
        ("allow = 3", "3 is not a list like"),
        ('allow = ["h:x"]', "not a port"),
        ('allow = ["user:s3cret@h:1"]', "not a port"),
        ('sasl = "KERBEROS"', "'KERBEROS' is unknown. .*'GSSAPI'"),
        ('sasl = "PLAIN"', "needs a user and a password"),
        ('sasl_password = "s3cret"', "holds sasl_password. Set SQLML_HBASE_SASL_PASSWORD"),
        ('tls_key_password = "s3cret"', "holds tls_key_password. Set SQLML_HBASE_TLS_KEY_PASSWORD"),
        ('tls_ca = "nowhere.pem"', "there is no file .*nowhere.pem"),
        ('sasl_password_file = "nowhere"', "nowhere cannot be read"),
    ],
)
def test_a_mistake_is_a_usage_error_that_names_it(tmp_path: Path, section: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        load(written(tmp_path, section))

    assert "s3cret" not in str(refused.value)


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key.pem").touch()

    with pytest.raises(UsageError, match="tls_certificate is not"):
        load(written(tmp_path, 'tls_key = "key.pem"'))


def test_a_misspelt_variable_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"SQLML_HBASE_ALOW.* Did you mean 'SQLML_HBASE_ALLOW'"):
        load(tmp_path, ALOW="h:1")


def test_passwords_come_from_variables_or_files_and_show_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "password").write_text("s3cret\n", encoding="utf-8")

    from_variable = load(tmp_path, SASL="plain", SASL_USER="u", SASL_PASSWORD="s3cret")
    from_file = load(written(tmp_path, 'sasl = "PLAIN"\nsasl_user = "u"\nsasl_password_file = "password"'))
    key = load(tmp_path, TLS="1", TLS_KEY_PASSWORD="s3cret", SASL="off")

    assert from_variable.sasl == from_file.sasl == Sasl("PLAIN", "hbase", "u", "s3cret")
    assert key.tls == Tls(key_password="s3cret")
    assert "s3cret" not in f"{from_variable} {from_file!r} {key} {caplog.text}"


def test_kerberos_needs_no_password(tmp_path: Path) -> None:
    assert load(tmp_path, SASL="gssapi", SASL_SERVICE="thrift").sasl == Sasl("GSSAPI", "thrift")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]", "[::ffff:127.0.0.1]"])
def test_this_machine_is_always_allowed(host: str) -> None:
    check_allowed(parse(f"hbase://{host}:1234/t/x"), Settings())


@pytest.mark.parametrize(
    "host",
    [
        "h",
        "h.example:9091",
        "localhost.example",
        "0.0.0.0",
        "[::]",
        "192.0.2.1",
        "169.254.169.254",
        "[::ffff:192.0.2.1]",
    ],
)
def test_another_machine_is_allowed_only_with_its_port(host: str) -> None:
    settings = Settings(allow=frozenset({("h.example", 9090), ("inside.example", 9090)}))
    check_allowed(parse("hbase://H.example/t/x"), settings)

    with pytest.raises(LocationRefused, match="can allow it: SQLML_HBASE_ALLOW=") as refused:
        check_allowed(parse(f"hbase://{host}/t/x"), settings)
    assert "inside.example" not in str(refused.value)  # a client of an MLflow server reads it


def test_a_name_is_pinned_to_all_its_addresses_once() -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 9090, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 9090)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 9090)),
    ]

    assert pinned(parse("hbase://h/t/x"), resolve=lambda *_, **__: found) == (
        Address(socket.AF_INET6, ("2001:db8::1", 9090, 0, 0)),
        Address(socket.AF_INET, ("192.0.2.1", 9090)),
    )


def test_a_localhost_that_is_elsewhere_is_refused() -> None:
    elsewhere = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 9090))]

    with pytest.raises(LocationRefused, match="localhost does not stand for an address of this machine"):
        pinned(parse("hbase://localhost/t/x"), resolve=lambda *_, **__: elsewhere)


def test_a_name_that_does_not_resolve_is_named() -> None:
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(StoreError, match=r"host h.example .* cannot be resolved: Name or service not known"):
        pinned(parse("hbase://h.example/t/x"), resolve=resolve)


def test_how_names_are_checked_says_nothing_of_whether_there_is_tls() -> None:
    assert load_settings({"SQLML_HBASE_TLS_CHECK_NAME": "0"}).tls is None
