"""Which places can be named, and that a name has one meaning."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sqlml.errors import LocationRefused
from sqlml.hbase.location import MAX_PATH_BYTES, Location, check_path, endpoint, parse


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("hbase://h:9095/models/churn", "hbase://h:9095/models/churn"),
        ("hbase://models@h:9095/churn", "hbase://h:9095/models/churn"),
        ("hbase://models@h/churn/1/MLmodel", "hbase://h:9090/models/churn/1/MLmodel"),
        ("HBASE://HBase.Example./models/A", "hbase://hbase.example:9090/models/A"),
        ("hbase://h/ns:models/churn", "hbase://h:9090/ns:models/churn"),
        ("hbase://[0:0:0::1]:80/models/churn/", "hbase://[::1]:80/models/churn"),
        ("hbase://models@[::1]/churn", "hbase://[::1]:9090/models/churn"),
        ("hbase://192.0.2.1/models/churn", "hbase://192.0.2.1:9090/models/churn"),
        ("hbase://h/t/50% off/a%20b/@/é/...", "hbase://h:9090/t/50% off/a%20b/@/é/..."),
    ],
)
def test_each_form_has_one_canonical_one(uri: str, canonical: str) -> None:
    assert parse(uri).uri == canonical
    assert parse(canonical) == parse(uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("hbase:///x", "names no host"),
        ("hbase://:9090/t/x", "names no host"),
        ("hbase://@h/x", "names no table"),
        ("hbase://h", "names no table"),
        ("hbase://h//x", "names no table"),
        ("hbase://h/t", "names a whole table"),
        ("hbase://h/t/", "names a whole table"),
        ("hbase://t@h", "names a whole table"),
        ("hbase://h/t//", "empty part"),
        ("hbase://h/t//x", "empty part"),
        ("hbase://h/t/a//b", "empty part"),
        ("hbase://h/t/a//", "empty part"),
        ("hbase://h/..", "table name"),
        ("hbase://h/t/..", "'.' or '..'"),
        ("hbase://h/t/a/../b", "'.' or '..'"),
        ("hbase://h/t/./b", "'.' or '..'"),
        ("hbase://h/t/%2e%2E/b", "'.' or '..'"),
        ("hbase://h/t/%252e./b", "'.' or '..'"),
        ("hbase://h/t/a%2f..%2fb", "'.' or '..'"),
        ("hbase://h/t/a\\..\\b", "'.' or '..'"),
        ("hbase://h/t/%" + "25" * 10_000, "'.' or '..'"),
        ("hbase://h/t/a?b", "a query"),
        ("hbase://h/t/a#b", "a fragment"),
        ("hbase://h?x/t/a", "a query"),
        ("hbase://h/t/a\nb", "U+000A"),
        ("hbase://h\t/t/a", "U+0009"),
        ("hbase://h/t/a\x00", "U+0000"),
        ("hbase://h/t/a\x85b", "U+0085"),
        ("hbase://h/t/a\ud800", "surrogate U+D800"),
        ("hbase://h:0/t/a", "not a port"),
        ("hbase://h:65536/t/a", "not a port"),
        ("hbase://h:/t/a", "not a port"),
        ("hbase://h:9o90/t/a", "not a port"),
        ("hbase://h:9090:9090/t/a", "not a port"),
        ("hbase://h:٣/t/a", "not a port"),
        ("hbase://::1/t/a", "names no host"),
        ("hbase://[::1/t/a", "not a port"),
        ("hbase://[h]/t/a", "neither a name nor an IP address"),
        ("hbase://[127.0.0.1]/t/a", "no usual way"),
        ("hbase://[fe80::1%eth0]/t/a", "no usual way"),
        ("hbase://127.1/t/a", "neither a name nor an IP address"),
        ("hbase://2130706433/t/a", "neither a name nor an IP address"),
        ("hbase://0x7f000001/t/a", "neither a name nor an IP address"),
        ("hbase://127.0.0.0x1/t/a", "neither a name nor an IP address"),
        ("hbase://h%2f/t/a", "neither a name nor an IP address"),
        ("hbase://hôte/t/a", "neither a name nor an IP address"),
        ("hbase://-h/t/a", "neither a name nor an IP address"),
        ("hbase://h..x/t/a", "neither a name nor an IP address"),
        ("hbase://h o/t/a", "neither a name nor an IP address"),
        ("hbase://" + "h" * 64 + "/t/a", "neither a name nor an IP address"),
        ("hbase://h/.t/a", "table name"),
        ("hbase://h/-t/a", "table name"),
        ("hbase://h/a:b:c/a", "table name"),
        ("hbase://h/tàble/a", "table name"),
        ("hbase://h/" + "t" * 251 + "/a", "table name"),
        ("hbase://h/t/" + "a" * 40_000, "too long"),
        ("hbase://h/t/" + "é" * 16_001, "32,002 bytes is too long"),
        ("hbase+framed://h/t/a", "not an hbase:// location"),
        ("hbase:/t/a", "not an hbase:// location"),
        ("s3://h/t/a", "not an hbase:// location"),
        ("", "not an hbase:// location"),
    ],
)
def test_what_has_no_one_meaning_is_refused(uri: str, message: str) -> None:
    with pytest.raises(LocationRefused) as refused:
        parse(uri)

    assert message in str(refused.value)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "uri",
    [
        "hbase://user:s3cret@h/t/x",
        "hbase://user:s3cret@h/..",
        "hbase://user:@s3cret@h/t/x",
        "hbase://:s3cret@h/t/x",
        "hbase://user:s3cret/h/t/x",
        "hbase://user:x/s3cret@h/t/x",
        "hbase://user:1/s3cret@h/..",
        "hbase://user%3As3cret@h/t/x",
        "hbase://h/t/x?password=s3cret",
        "hbase://h/t/x#s3cret",
        "s3://user:s3cret@h/x",
        "user:s3cret@h",
    ],
)
def test_no_message_repeats_a_password(uri: str) -> None:
    with pytest.raises(LocationRefused) as refused:
        parse(uri)

    error = refused.value
    assert "s3cret" not in f"{error} {error!r} {error.details}"


def test_a_whole_table_is_named_where_it_may_be() -> None:
    for uri in ("hbase://h/ns:t", "hbase://h/ns:t/", "hbase://h:9090/ns:t"):
        assert parse(uri, prefix_required=False) == Location("h", 9090, "ns:t", "")
    assert parse("hbase://t@h", prefix_required=False).uri == "hbase://h:9090/t"


def test_what_is_too_long_is_not_looked_at() -> None:
    for text in ("a\n" * 10_000_000, "hbase://" + "h" * 20_000_000):
        with pytest.raises(LocationRefused, match="characters is too long"):
            parse(text)
        with pytest.raises(LocationRefused, match="characters is too long"):
            check_path(text)


@pytest.mark.parametrize(
    ("name", "shown"), [("a\nb", r"'model/a\\nb'"), ("caf\udce9", r"'model/caf\\udce9'"), ("..", r"'model/\.\.'")]
)
def test_a_path_that_is_refused_is_named(name: str, shown: str) -> None:
    with pytest.raises(LocationRefused, match=f"The path {shown} has"):
        check_path(f"model/{name}")


def test_paths_inside_may_have_what_a_uri_may_not() -> None:
    for path in ("a#b", "a?b", "50%", "a b/ü/\\", "...", ".hidden", "a" * MAX_PATH_BYTES):
        assert check_path(path) == path


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "..", "a/.", "%2e%2e/a", "a\x7f", "\udc80", "é" * 16_001])
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(LocationRefused):
        check_path(path)


def test_an_endpoint_is_a_host_with_or_without_a_port() -> None:
    assert endpoint("HBase.example") == ("hbase.example", 9090)
    assert endpoint("[::1]:1") == ("::1", 1)


SEGMENTS = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/?#"), min_size=1, max_size=12)
TABLES = st.from_regex(r"\A(?:[a-z0-9_]{1,5}:)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}\Z")
HOSTS = st.one_of(
    st.from_regex(r"\A[a-zA-Z][a-zA-Z0-9]{0,5}(?:\.[a-z][a-z0-9]{0,3})?\Z"),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)


@given(HOSTS, st.integers(1, 65535), TABLES, st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join))
def test_both_forms_meet_and_the_canonical_one_is_a_fixed_point(host: str, port: int, table: str, path: str) -> None:
    try:
        location = parse(f"hbase://{host}:{port}/{table}/{path}")
    except LocationRefused:
        return

    assert parse(location.uri) == location
    assert (location.port, location.table, location.path) == (port, table, path)
    if ":" not in table and "@" not in path:
        assert parse(f"hbase://{table}@{host}:{port}/{path}") == location


@given(st.text(max_size=80))
@example("h:1/t/a@b/c")
@example("t@h/x/")
def test_any_text_is_refused_or_parses_to_itself(text: str) -> None:
    try:
        location = parse(f"hbase://{text}", prefix_required=False)
    except LocationRefused:
        return

    assert parse(location.uri, prefix_required=False) == location
