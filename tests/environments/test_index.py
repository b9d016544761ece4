"""pip's configuration as uv's variables, and messages without addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlml.environments.index import configured, environment, redacted


def configuration(folder: Path, text: str, place: str = ".config/pip/pip.conf") -> dict[str, str]:
    path = folder / place
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return {"HOME": str(folder), "XDG_CONFIG_DIRS": str(folder / "none")}


def test_the_users_file_is_read(tmp_path: Path) -> None:
    environ = configuration(
        tmp_path,
        "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n  https://b.example/simple\n"
        "  https://c.example/simple\n[install]\nfind-links = /w1 /w2\ncert = /ca.pem\nproxy = proxy.example:3128\n",
    )

    found = environment(environ)

    assert found["UV_DEFAULT_INDEX"] == "https://a.example/simple"
    assert found["UV_INDEX"] == "https://b.example/simple https://c.example/simple"
    assert found["UV_FIND_LINKS"] == "/w1,/w2"
    assert found["SSL_CERT_FILE"] == "/ca.pem"
    assert found["HTTPS_PROXY"] == found["HTTP_PROXY"] == "http://proxy.example:3128"


def test_variables_win_over_files_and_a_named_file_over_the_users(tmp_path: Path) -> None:
    environ = configuration(
        tmp_path, "[global]\nindex-url = https://file.example\ntimeout = 7\ntrusted-host = x.example\n"
    )
    named = tmp_path / "named.conf"
    named.write_text("[global]\nindex-url = https://named.example\ntimeout = 9\n", encoding="utf-8")

    found = environment({**environ, "PIP_CONFIG_FILE": str(named), "PIP_INDEX_URL": "https://variable.example"})

    assert found["UV_DEFAULT_INDEX"] == "https://variable.example"
    assert found["UV_HTTP_TIMEOUT"] == "9"
    assert found["UV_INSECURE_HOST"] == "x.example"


def test_no_files_at_all(tmp_path: Path) -> None:
    environ = configuration(tmp_path, "[global]\nindex-url = https://file.example\n")

    assert configured({**environ, "PIP_CONFIG_FILE": "/dev/null"}) == {}


def test_a_broken_file_is_passed_over(tmp_path: Path) -> None:
    assert "index-url" not in configured(configuration(tmp_path, "index-url without a section"))


def test_what_is_set_for_uv_itself_stays_as_it_is() -> None:
    given = {"UV_INDEX_URL": "https://uv.example", "PIP_INDEX_URL": "https://pip.example", "PIP_CERT": "/ca.pem"}

    found = environment({**given, "PIP_CONFIG_FILE": "/dev/null"})

    assert "UV_DEFAULT_INDEX" not in found
    assert (found["UV_INDEX_URL"], found["SSL_CERT_FILE"]) == ("https://uv.example", "/ca.pem")


@pytest.mark.parametrize(("said", "meant"), [("1", "1"), ("true", "1"), ("no", None), ("0", None)])
def test_no_index(said: str, meant: str | None) -> None:
    assert environment({"PIP_NO_INDEX": said, "PIP_CONFIG_FILE": "/dev/null"}).get("UV_NO_INDEX") == meant


def test_what_would_install_something_else_is_not_passed_on() -> None:
    given = ["PYTHONPATH", "VIRTUAL_ENV", "UV_PYTHON", "UV_NO_BINARY", "UV_OVERRIDE", "UV_CONSTRAINT", "UV_RESOLUTION"]

    found = environment({**dict.fromkeys(given, "x"), "HTTPS_PROXY": "p", "NETRC": "n", "UV_OFFLINE": "1"})

    assert not set(given) & set(found)
    assert (found["HTTPS_PROXY"], found["NETRC"], found["UV_OFFLINE"]) == ("p", "n", "1")


@pytest.mark.parametrize(
    "text",
    [
        "error sending request for url (https://me:secret@index.example/simple/numpy/)",
        "Failed to fetch: `https://index.example/simple/numpy/`",
        "proxy http://me:secret@index.example:3128 refused",
        "hint: me:secret@index.example/simple was not reached",
        'index "file:///secret/index.example"',
        "ftp://index.example,https://secret.example",
    ],
)
def test_addresses_and_passwords_are_not_shown(text: str) -> None:
    shown = redacted(text)

    assert "secret" not in shown
    assert "example" not in shown
    assert "[address]" in shown
