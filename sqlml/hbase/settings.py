"""How to connect to HBase, and to which gateways at all.

A client of an MLflow server chooses artifact locations, and the server then connects there. So a gateway must be
on this machine or be named by whoever configures the server, and that is checked before its name is resolved.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sqlml import config
from sqlml.errors import LocationRefused, StoreError, UsageError, choices
from sqlml.hbase.location import Location, endpoint

TRANSPORTS = ("buffered", "framed")
PROTOCOLS = ("binary", "compact")
MECHANISMS = ("GSSAPI", "DIGEST-MD5", "PLAIN")


@dataclass(frozen=True)
class Tls:
    """TLS to the gateway (or to a proxy before it); without `ca` the system's certificate authorities count."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)
    check_name: bool = True
    """Whether the certificate must be for the host that the location names."""


@dataclass(frozen=True)
class Sasl:
    mechanism: str
    service: str = "hbase"
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settings:
    """All settings of the store; times are in seconds."""

    allow: frozenset[tuple[str, int]] = frozenset()
    timeout_s: float = 60.0
    """For one answer. Shorter ones make the death of a region server visible, which the gateway else waits out."""
    deadline_s: float = 180.0
    """For one operation with all its tries."""
    first_contact_s: float = 20.0
    """How long a gateway that never answered yet is tried: a wrong port shows sooner than a restart."""
    idle_s: float = 30.0
    """Older connections are opened anew: the gateway closes its end after 60."""
    connections: int = 4
    """How many threads move the chunks of one file."""
    transport: Literal["buffered", "framed"] = "buffered"
    protocol: Literal["binary", "compact"] = "binary"
    tls: Tls | None = None
    sasl: Sasl | None = None


def load_settings(environ: Mapping[str, str] | None = None, *, start: Path | None = None) -> Settings:
    """From the variables SQLML_HBASE_... over section [hbase] of the configuration file (found upward from `start`).

    Raises:
        UsageError: an unknown setting, or a value that cannot be.
    """
    environ = os.environ if environ is None else environ
    document = config.load(environ=environ, start=start)
    values, origins = document.hbase, document.origins
    where = {key: origins.get(f"hbase.{key}", key) for key in config.HBASE_SETTINGS}
    chosen: dict[str, Any] = {}  # Any: checked one by one, as Settings has them
    for key in ("timeout", "deadline", "first_contact", "idle"):
        if key in values:
            chosen[f"{key}_s"] = _between(values[key], 0.001, 86_400, f"{key} ({where[key]})")
    if "connections" in values:
        what = f"connections ({where['connections']})"
        count = _between(values["connections"], 1, 64, what)
        if count != int(count):
            raise UsageError(f"{what}: {count:g} is not a whole number.")
        chosen["connections"] = int(count)
    for key, valid in (("transport", TRANSPORTS), ("protocol", PROTOCOLS)):
        if key in values:
            chosen[key] = _one_of(values[key], valid, f"{key} ({where[key]})")
    if "allow" in values:
        chosen["allow"] = frozenset(_allowed(text, where["allow"]) for text in values["allow"])
    return Settings(**chosen, tls=_tls(values, environ), sasl=_sasl(values, environ, where))


def check_allowed(location: Location, settings: Settings) -> None:
    """Refuse a gateway that is neither on this machine nor named in the configuration. Resolves no name.

    Raises:
        LocationRefused: it is not allowed.
    """
    if is_loopback(location.host) or (location.host, location.port) in settings.allow:
        return
    # Not which ones are allowed: a client of an MLflow server reads this, and they are names of its network.
    raise LocationRefused(
        f"{location.place} is not an HBase gateway that may be connected to.",
        hint=f"Whoever runs this process can allow it: SQLML_HBASE_ALLOW={location.place}, or allow in section [hbase]"
        f" of {config.FILE_NAME}.",
        place=location.place,
    )


@dataclass(frozen=True)
class Address:
    """One of the addresses that a gateway's name stood for when it was resolved."""

    family: int
    sockaddr: tuple[Any, ...]  # Any: of two or four parts, as `socket.connect` takes it


Resolver = Callable[..., list[tuple[Any, ...]]]  # Any: the many shapes of socket.getaddrinfo


def pinned(location: Location, *, resolve: Resolver | None = None) -> tuple[Address, ...]:
    """The addresses of the gateway, resolved once: who later changes what its name means changes nothing here.

    Raises:
        StoreError: the name does not resolve.
        LocationRefused: `localhost` is somewhere else.
    """
    try:
        found = (resolve or socket.getaddrinfo)(location.host, location.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise StoreError(
            f"The host {location.host} of the HBase gateway cannot be resolved: {error.strerror or error}.",
            hint="Check the name, and the name service of this machine.",
            place=location.place,
        ) from error
    addresses = dict.fromkeys(Address(int(family), tuple(sockaddr)) for family, _, _, _, sockaddr in found)
    if is_loopback(location.host):
        addresses = dict.fromkeys(a for a in addresses if is_loopback(str(a.sockaddr[0])))
    if not addresses:
        raise LocationRefused(
            f"{location.host} does not stand for an address of this machine.",
            hint="Correct the hosts file of this machine.",
        )
    return tuple(addresses)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _allowed(text: str, where: str) -> tuple[str, int]:
    try:
        return endpoint(text)
    except LocationRefused as error:
        raise UsageError(f"allow ({where}): {error.message}", hint='Write "HOST:PORT", commas between them.') from error


def _tls(values: Mapping[str, Any], environ: Mapping[str, str]) -> Tls | None:
    parts = {key.removeprefix("tls_"): values[key] for key in values if key.startswith("tls_")}
    password = _secret("tls_key_password", parts.pop("key_password_file", None), environ)
    # Naming a certificate authority means TLS, unless it is said to be off.
    if not values.get("tls", bool(parts.keys() & {"ca", "certificate", "key"})):
        return None
    for key in ("ca", "certificate", "key"):
        if key in parts and not Path(parts[key]).is_file():
            raise UsageError(f"tls_{key}: there is no file {parts[key]}.", hint="Name a file in PEM format.")
    if "key" in parts and "certificate" not in parts:
        raise UsageError("tls_key is set and tls_certificate is not.", hint="A client shows both, or neither.")
    return Tls(**parts, key_password=password)


def _sasl(values: Mapping[str, Any], environ: Mapping[str, str], where: Mapping[str, str]) -> Sasl | None:
    password = _secret("sasl_password", values.get("sasl_password_file"), environ)
    if "sasl" not in values or values["sasl"].lower() == "off":
        return None
    mechanism = _one_of(values["sasl"].upper(), MECHANISMS, f"sasl ({where['sasl']})")
    user = values.get("sasl_user")
    if mechanism != "GSSAPI" and (user is None or password is None):
        raise UsageError(
            f"SASL {mechanism} needs a user and a password.",
            hint="Set SQLML_HBASE_SASL_USER, and SQLML_HBASE_SASL_PASSWORD or SQLML_HBASE_SASL_PASSWORD_FILE.",
        )
    return Sasl(mechanism, values.get("sasl_service", Sasl.service), user, password)


def _secret(key: str, file: str | None, environ: Mapping[str, str]) -> str | None:
    if environ.get(f"SQLML_HBASE_{key.upper()}"):
        return environ[f"SQLML_HBASE_{key.upper()}"]
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        # `from None`: a UnicodeDecodeError carries what it read.
        raise UsageError(f"{key}_file {file} cannot be read: {reason}.", hint="Check its permissions.") from None


def _between(value: float, least: float, most: float, what: str) -> float:
    if not least <= value <= most:
        raise UsageError(f"{what}: {value:g} is not between {least:g} and {most:,g}.")
    return value


def _one_of(value: str, valid: tuple[str, ...], what: str) -> str:
    if value not in valid:
        raise UsageError(f"{what}: {value!r} is unknown.", hint=choices(valid, wrong=value))
    return value
