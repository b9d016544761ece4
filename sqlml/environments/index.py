"""Where packages come from: what pip is configured with, said to uv in its own variables.

A model has no say in this. Addresses and passwords are handed over in the environment only, never as arguments, which
every user of a machine can list; and `redacted` takes them out of what uv says before it is shown or kept.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# pip's option: uv's variable. Where a person set any variable of uv's own for indexes, pip's are not looked at.
OPTIONS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "keyring-provider": "UV_KEYRING_PROVIDER",
}
SEPARATORS = {"find-links": ","}  # uv's; the other lists have spaces
OWN_INDEXES = (
    "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"
)  # fmt: skip
INDEX_OPTIONS = ("index-url", "extra-index-url", "find-links", "no-index")
# What would change what is installed, or for which Python, behind the pins' back.
DROPPED = re.compile(
    r"PYTHON.*|VIRTUAL_ENV|CONDA_PREFIX|UV_(PYTHON|NO_BINARY.*|NO_BUILD.*|ONLY_BINARY|CONSTRAINT|OVERRIDE|EXCLUDE|RESOLUTION|"
    r"PRERELEASE|REQUIRE_HASHES|SYSTEM_PYTHON|BREAK_SYSTEM_PACKAGES|COMPILE_BYTECODE|PROJECT.*|WORKING_DIR.*|VENV_.*|TORCH_BACKEND)"
)


def environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for uv: this process's, with pip's configuration in it."""
    environ = os.environ if environ is None else environ
    result = {name: value for name, value in environ.items() if not DROPPED.fullmatch(name)}
    pip = configured(environ)
    own = any(environ.get(name) for name in OWN_INDEXES)
    for option, variable in OPTIONS.items():
        value = pip.get(option)
        if not value or environ.get(variable) or (own and option in INDEX_OPTIONS):
            continue
        if option == "no-index":
            value = "1" if value.lower() in ("1", "true", "yes", "on", "y", "t") else ""
        if option == "keyring-provider" and value != "subprocess":
            continue  # the one kind that uv has
        if value:
            result[variable] = SEPARATORS.get(option, " ").join(value.split())
    if proxy := pip.get("proxy"):
        for variable in ("HTTP_PROXY", "HTTPS_PROXY"):
            if not (environ.get(variable) or environ.get(variable.lower()) or environ.get("ALL_PROXY")):
                result[variable] = proxy if "://" in proxy else f"http://{proxy}"
    return {**result, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}


def configured(environ: Mapping[str, str]) -> dict[str, str]:
    """pip's settings as pip itself would find them: its files, the later ones winning, then its variables."""
    options = (*OPTIONS, "proxy")
    found: dict[str, str] = {}
    for file in _files(environ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip would stop; uv can say what it cannot reach
        for section in ("global", "install"):
            for option in options:
                if parser.has_option(section, option):
                    found[option] = parser.get(section, option).strip()
    for option in options:
        if value := environ.get(f"PIP_{option.upper().replace('-', '_')}"):
            found[option] = value.strip()
    return found


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    only = environ.get("PIP_CONFIG_FILE")
    if only == os.devnull:
        return  # pip's way of saying: no files at all
    home = Path(environ.get("HOME") or Path.home())
    system = environ.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    if sys.platform == "darwin":
        yield Path("/Library/Application Support/pip/pip.conf")
    for folder in reversed(system.split(os.pathsep)):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    if sys.platform == "darwin":
        yield home / "Library" / "Application Support" / "pip" / "pip.conf"
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield Path(sys.prefix) / "pip.conf"
    if only:
        yield Path(only)


def redacted(text: str) -> str:
    """What uv says, without addresses: they may hold passwords, and a job's log is kept where others read it.

    >>> redacted("error sending request for url (https://me:secret@index.example/simple/numpy/)")
    'error sending request for url ([address])'
    """
    without = re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s)\"'`<>,]+", "[address]", text)
    return re.sub(r"[^\s@/]+:[^\s@/]+@[^\s)\"'`<>,]+", "[address]", without)
