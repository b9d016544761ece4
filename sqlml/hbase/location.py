"""Where files are: `hbase://HOST:PORT/TABLE/PATH`, or `hbase://TABLE@HOST:PORT/PATH` as people also write it.

Everything is looked at as text, before a name is resolved or a connection made. MLflow stores a location without
looking at it, and a client of an MLflow server chooses it, so whatever has no one meaning is refused.
Names are raw: a percent sign is a percent sign, as in MLflow's own stores.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote

from sqlml.errors import LocationRefused

SCHEME = "hbase"
DEFAULT_PORT = 9090
# A row key has at most 32,767 bytes (HBase's own limit); the rest is for what stands before the path in it.
MAX_PATH_BYTES = 32_000
MAX_TABLE = 250  # a folder of HDFS is named after it

FORMS = "A location is hbase://HOST:PORT/TABLE/PATH or hbase://TABLE@HOST:PORT/PATH."

_TABLE = re.compile(r"(?:[A-Za-z0-9_]+:)?[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*", re.ASCII)


@dataclass(frozen=True)
class Location:
    """A place in a table. Both forms of one URI make equal locations."""

    host: str
    """In lower case; an IP address in its shortest form, without brackets."""
    port: int
    table: str
    """With its namespace where it has one: `ns:table`."""
    path: str
    """Segments with a slash between them; empty for the whole table."""

    @property
    def place(self) -> str:
        """`HOST:PORT`, as errors and records name it."""
        return place(self.host, self.port)

    @property
    def described(self) -> str:
        """The table, for errors about what is in it."""
        return f"HBase table {self.table} at {self.place}"

    @property
    def uri(self) -> str:
        """The canonical form; `parse` gives the same location for it."""
        whole = f"{SCHEME}://{self.place}/{self.table}"
        return f"{whole}/{self.path}" if self.path else whole


def place(host: str, port: int) -> str:
    """
    >>> place("::1", 9090)
    '[::1]:9090'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse(uri: str, *, prefix_required: bool = True) -> Location:
    """The location that `uri` names; `prefix_required=False` also takes a whole table.

    Raises:
        LocationRefused: it has no one meaning, or one that is never allowed.

    >>> parse("hbase://models@HBASE.example/churn/1").uri
    'hbase://hbase.example:9090/models/churn/1'
    """
    _refuse_unprintable(uri)
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() != SCHEME:
        raise LocationRefused(f"{_shown(uri)} is not an hbase:// location.", hint=FORMS)
    authority, _, path = rest.partition("/")
    user, at, endpoint = authority.rpartition("@")
    if ":" in user:
        raise LocationRefused(
            f"{_shown(uri)} has a colon in its user part, which reads as a password.",
            hint="Credentials come from the environment (SQLML_HBASE_SASL_PASSWORD) or a file, never from a location."
            " A table with a namespace is written hbase://HOST:PORT/NAMESPACE:TABLE/PATH.",
        )
    for mark, what in (("?", "a query"), ("#", "a fragment")):
        if mark in rest:
            raise LocationRefused(f"{_shown(uri)} has {what}.", hint=f"A location has no {mark!r}. {FORMS}")
    host, port = _endpoint(endpoint, uri)
    if at:
        table = user
    else:
        table, _, path = path.partition("/")
    _check_table(table, uri)
    path = path.removesuffix("/")  # people and MLflow's clients end folders with one
    if path or rest.endswith("//"):
        _check_path(path, _shown(uri))
    elif prefix_required:
        raise LocationRefused(
            f"{_shown(uri)} names a whole table.",
            hint=f"Say where in the table: hbase://{place(host, port)}/{table}/mlflow for example.",
        )
    return Location(host, port, table, path)


def check_path(path: str) -> str:
    """`path` itself, when it can be the path of a file or folder in a table.

    Raises:
        LocationRefused: it is empty, too long, or steps out of its folder.

    >>> check_path("model/MLmodel")
    'model/MLmodel'
    """
    what = f"The path {_cut(path)!r}"
    _refuse_unprintable(path, what)
    _check_path(path, what)
    return path


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` as a person writes them, brackets around an IPv6 address; the port may be left out.

    Raises:
        LocationRefused: it is neither a name nor an address, or the port is none.

    >>> endpoint("[0:0::1]:9095")
    ('::1', 9095)
    """
    _refuse_unprintable(text)
    return _endpoint(text, text)


def _endpoint(text: str, uri: str) -> tuple[str, int]:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed:
        host, port = bracketed[1], bracketed[2]
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
    if not host:
        raise LocationRefused(f"{_shown(uri)} names no host.", hint=FORMS)
    if port is not None and not (re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and 0 < int(port) < 65536):
        # What stands there is not repeated: a password with a slash in it ends up here.
        raise LocationRefused(
            f"{_shown(uri)} has something after the host that is not a port.",
            hint="A port is a number from 1 to 65535; an IPv6 address stands in brackets.",
        )
    return _host(host, bool(bracketed), uri), DEFAULT_PORT if port is None else int(port)


def _host(host: str, bracketed: bool, uri: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.removesuffix(".").lower()
        # What ends in a number is an address to resolvers (127.1, 0x7f000001), whatever it is to the allow-list.
        numeric = re.search(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$", name)
        if bracketed or numeric or len(name) > 253 or not _NAME.fullmatch(name):
            raise LocationRefused(
                f"{_shown(uri)} has a host that is neither a name nor an IP address.",
                hint="Write a name in ASCII (xn--... where it has other letters), 192.0.2.1, or [2001:db8::1].",
            ) from None
        return name
    if bracketed != (address.version == 6) or "%" in host:
        raise LocationRefused(
            f"{_shown(uri)} has an IP address that is written in no usual way.",
            hint="Write 192.0.2.1, or [2001:db8::1] without a zone.",
        )
    return str(address)


def _check_table(table: str, uri: str) -> None:
    if not table:
        raise LocationRefused(f"{_shown(uri)} names no table.", hint=FORMS)
    if not _TABLE.fullmatch(table) or len(table) > MAX_TABLE:
        raise LocationRefused(
            f"{_shown(uri)} has a table name that HBase does not take.",
            hint=f"At most {MAX_TABLE} ASCII letters, digits, '_', '.' and '-', not starting with '.' or '-';"
            " a namespace stands before it with a colon.",
        )


def _check_path(path: str, what: str) -> None:
    size = len(path.encode())
    if size > MAX_PATH_BYTES:
        raise LocationRefused(
            f"A path of {size:,} bytes is too long.", hint=f"A path has at most {MAX_PATH_BYTES:,} bytes of UTF-8."
        )
    for segment in path.split("/"):
        if not segment:
            raise LocationRefused(
                f"{what} has an empty part.", hint="Write one slash between two names, none before the first."
            )
        decoded = _decoded(segment)
        if decoded is None or any(part in (".", "..") for part in re.split(r"[/\\]", decoded)):
            raise LocationRefused(
                f"{what} has a '.' or '..' in it.", hint="Name the place itself; also %2e stands for a dot."
            )


def _decoded(segment: str) -> str | None:
    """`segment` after all rounds of percent-decoding, as each proxy on the way may do one; None for a great many."""
    for _ in range(8):
        decoded = unquote(segment)
        if decoded == segment:
            return segment
        segment = decoded
    return None


def _refuse_unprintable(text: str, what: str = "A location") -> None:
    """Before anything splits `text`: urllib drops newlines and tabs silently, so its answer is about another text.

    `what` names it; a location is not shown, as nobody knows yet which part of it may be a password.
    """
    if len(text) > MAX_PATH_BYTES + 1000:
        raise LocationRefused(
            f"{what} of {len(text):,} characters is too long.",
            hint=f"A path has at most {MAX_PATH_BYTES:,} bytes.",
        )
    for character in text:
        category = unicodedata.category(character)
        if category in ("Cc", "Cs"):
            kind = "control character" if category == "Cc" else "lone surrogate"
            raise LocationRefused(
                f"{what} has the {kind} U+{ord(character):04X} in it.", hint="Names are printable text, in UTF-8."
            )


def _shown(uri: str) -> str:
    """`uri` for an error, without what could be a password: all before the last @, the query, a port that is none."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return repr(_cut(re.split("[?#]", uri)[0].rpartition("@")[2]))
    secret, at, rest = rest.rpartition("@")
    rest = re.split("[?#]", rest)[0]
    authority, slash, path = rest.partition("/")
    if not re.fullmatch(r"[^:]*(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]*\](?::[0-9]{1,5})?", authority):
        authority = authority.partition(":")[0] + ":***"
    hidden = "" if not at else f"{secret}@" if _TABLE.fullmatch(secret) and ":" not in secret else "***@"
    return repr(_cut(f"{scheme}://{hidden}{authority}{slash}{path}"))


def _cut(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:160]}..."
