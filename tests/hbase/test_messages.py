"""What HBase's texts, as they were met, are taken to mean."""

from __future__ import annotations

import ssl

import pytest

from sqlml.hbase.messages import (
    GAVE_UP,
    PERMANENT,
    TRANSIENT,
    Garbage,
    HungUp,
    SaslRefused,
    Unanswered,
    exceptions_in,
    first_line,
    names_codec,
    understood,
)
from sqlml.hbase.transport import thrift

GONE = b"""\
org.apache.hadoop.hbase.client.RetriesExhaustedException: Failed after attempts=2, exceptions:
2026-01-01T00:00:00Z, RpcRetryingCaller{globalStartTime=1}, org.apache.hadoop.hbase.ipc.ServerNotRunningYetException
\tat org.apache.hadoop.hbase.client.TableNotFoundException.frame(X.java:1)
Caused by: org.apache.zookeeper.KeeperException$ConnectionLossException: KeeperErrorCode = ConnectionLoss
"""


@pytest.mark.parametrize(
    ("message", "retry"),
    [
        (GONE, "always"),
        (b"org.apache.hadoop.hbase.NotServingRegionException: x is not online", "always"),
        (b"o.a.h.h.client.RetriesExhaustedWithDetailsException: Failed 1 action: x: 1 time", "always"),
        (
            b"org.apache.zookeeper.KeeperException$NoNodeException: KeeperErrorCode = NoNode for /hbase/hbaseid",
            "always",
        ),
        (b"org.apache.hadoop.hbase.DoNotRetryIOException: Connection closed, /127.0.0.1:1", "few"),
        (b"java.io.IOException: who knows", "few"),
        (b"", "few"),
        (b"org.apache.hadoop.hbase.DoNotRetryIOException: Cell[big] with size 1 exceeds limit of 0 bytes", "never"),
        (b"org.apache.hadoop.hbase.TableNotFoundException: nope", "never"),
        (b"x.RetriesExhaustedWithDetailsException: Failed 1 action: y.NoSuchColumnFamilyException: q", "never"),
        (b"java.io.IOException\nCaused by: org.apache.hadoop.hbase.NamespaceNotFoundException: ns", "never"),
    ],
)
def test_an_error_of_hbase_is_tried_again_when_it_can_pass(message: bytes, retry: str) -> None:
    assert understood(thrift().IOError(message=message), 60).retry == retry


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (TimeoutError("timed out"), "always"),
        (Unanswered("TLS"), "always"),
        (ConnectionRefusedError(111, "Connection refused"), "always"),
        (ConnectionResetError(104, "Connection reset by peer"), "always"),
        (BrokenPipeError(32, "Broken pipe"), "always"),
        (HungUp("x"), "always"),
        (OSError(113, "No route to host"), "always"),
        (ssl.SSLEOFError(8, "EOF occurred"), "always"),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert"), "never"),
        (Garbage("x"), "few"),
        (ValueError("x"), "few"),
        (MemoryError(), "few"),
        (SaslRefused("did not accept us"), "never"),
        (thrift().IllegalArgument(message=b"KeyValue size too large"), "never"),
        (thrift().AlreadyExists(message=b"t"), "never"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_other_failure_has_a_meaning(error: BaseException, retry: str) -> None:
    failure = understood(error, 60)

    assert failure.retry == retry
    assert failure.what
    assert failure.what.isprintable()


def test_no_name_means_two_things() -> None:
    assert not TRANSIENT & set(PERMANENT)
    assert not GAVE_UP & (TRANSIENT | set(PERMANENT))


def test_the_first_line_is_for_people() -> None:
    assert first_line(b"org.apache.hadoop.hbase.TableNotFoundException: a.b\n\tat x") == "TableNotFoundException: a.b"
    assert first_line(b"a\x1b[31mb\xff\r\nc") == "a?[31mb\ufffd"
    assert first_line(None) == "None"
    assert len(first_line(b"x" * 9999)) == 200


def test_frames_of_a_stack_trace_name_no_exception() -> None:
    assert exceptions_in(GONE) == [
        "RetriesExhaustedException",
        "ServerNotRunningYetException",
        "ConnectionLossException",
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"o.a.h.h.DoNotRetryIOException: java.lang.ClassNotFoundException: com.hadoop.compression.lzo.LzoCodec", True),
        (b"o.a.h.h.NamespaceNotFoundException: gz\n\tat o.a.h.h.codec.Codec.frame(X.java:1)", False),
        (b"o.a.h.h.security.AccessDeniedException: Insufficient permissions for table gz", False),
        (b"java.io.IOException: who knows\n\tat o.a.h.h.io.compress.Compression.frame(X.java:1)", False),
    ],
)
def test_only_what_is_about_the_codec_is_taken_for_it(message: bytes, expected: bool) -> None:
    assert names_codec(thrift().IOError(message=message), "GZ") is expected
