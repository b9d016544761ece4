"""What a failure means: whether another try can help, and how a person is told.

HBase declares nearly everything as an IOError with a Java stack trace in it, so the class names in there decide.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from typing import Any, Literal


class Garbage(Exception):
    """What came is not the answer to what was asked: not Thrift, another call's reply, or a size that cannot be."""


class HungUp(ConnectionError):
    """The other end closed the connection in the middle of an answer."""


class Unanswered(TimeoutError):
    """TLS or SASL, named by its argument, was begun and nothing came."""


class SaslRefused(Exception):
    """The gateway and we did not agree who we are; its text completes "HBase at HOST:PORT ..."."""


Retry = Literal["always", "few", "never"]


@dataclass(frozen=True)
class Failure:
    """`what` completes "HBase at HOST:PORT ..."."""

    what: str
    retry: Retry
    hint: str | None = None
    missing_table: bool = False


# For whoever gets no answer at all.
AS_THE_GATEWAY = (
    "SQLML_HBASE_TRANSPORT, SQLML_HBASE_PROTOCOL, SQLML_HBASE_TLS and SQLML_HBASE_SASL must be as the gateway has them."
)

BEHIND_THE_GATEWAY = "Look at the gateway, and at the region servers behind it."

# Conditions that pass: a region moves, a server dies and another takes over, the gateway waited long enough.
TRANSIENT = frozenset(
    {
        "CallDroppedException",
        "CallQueueTooBigException",
        "CallTimeoutException",
        "ClosedChannelException",
        "ConnectException",
        "ConnectionClosedException",
        "ConnectionClosingException",
        "ConnectionLossException",
        "DroppedSnapshotException",
        "EOFException",
        "FailedServerException",
        "InterruptedIOException",
        "LeaseException",
        "MasterNotRunningException",
        "MasterStoppedException",
        "MetaTableAccessException",
        "NoNodeException",
        "NoRouteToHostException",
        "NoServerForRegionException",
        "NotAllMetaRegionsOnlineException",
        "NotServingRegionException",
        "OperationTimeoutException",
        "OutOfOrderScannerNextException",
        "PleaseHoldException",
        "RegionInRecoveryException",
        "RegionMovedException",
        "RegionOfflineException",
        "RegionOpeningException",
        "RegionServerAbortedException",
        "RegionServerStoppedException",
        "RegionTooBusyException",
        "RetryImmediatelyException",
        "RpcThrottlingException",
        "ScannerResetException",
        "ServerNotRunningYetException",
        "ServerOverloadedException",
        "ServerTooBusyException",
        "SessionExpiredException",
        "SocketException",
        "SocketTimeoutException",
        "StoppedRpcClientException",
        "TimeoutException",
        "TimeoutIOException",
        "UnknownHostException",
        "UnknownScannerException",
        "WALSyncTimeoutIOException",
        "WrongRegionException",
        "ZooKeeperConnectionException",
    }
)
# The gateway's HBase client gave up: what it met is named after it, if at all.
GAVE_UP = frozenset({"RetriesExhaustedException", "RetriesExhaustedWithDetailsException"})

# What no second try changes, and what to do about it.
PERMANENT: dict[str, str | None] = {
    "TableNotFoundException": "Create it with: sqlml hbase init {uri}",
    "NamespaceNotFoundException": "Create the namespace first (create_namespace in the HBase shell).",
    "NoSuchColumnFamilyException": "The table is not one of sqlml's, or was changed: sqlml hbase init {uri} says how.",
    "TableNotEnabledException": "Enable the table (enable in the HBase shell).",
    "TableNotDisabledException": None,
    "TableExistsException": None,
    "AccessDeniedException": "The user that the gateway acts for needs READ and WRITE on the table (CREATE for init).",
    "IllegalArgumentException": None,
    "FailedSanityCheckException": None,
    "QuotaExceededException": "Raise the quota of the table or its namespace.",
    "SpaceLimitingException": "Raise the space quota of the table, or delete and collect what is not needed.",
    "InvalidFamilyOperationException": None,
    "ReadOnlyTableException": None,
}


def understood(error: BaseException, timeout_s: float) -> Failure:
    """What `error`, met while talking to a gateway, means."""
    for kind, explain in _KINDS:
        if isinstance(error, kind):
            failure: Failure = explain(error, timeout_s)
            return failure
    if hasattr(error, "message") and type(error).__module__ in ("Hbase_thrift", "thriftpy2.thrift"):
        return _declared(error)
    # Whatever else a protocol's reader raises, it could not read the answer.
    return _garbage(error, timeout_s)


def first_line(message: object) -> str:
    """Of the stack trace that HBase sends for a message, the line for people, as printable text."""
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    line = "".join(c if c.isprintable() else "?" for c in text.strip().split("\n", 1)[0].strip())
    return re.sub(r"\b(?:[a-z][\w$]*\.)+(?=[A-Z])", "", line)[:200]  # class names without their packages


def _declared(error: Any) -> Failure:  # Any: exceptions that thriftpy2 makes from the interface file
    said = first_line(error.message)
    kind = type(error).__name__
    if kind == "AlreadyExists":
        return Failure(f"says {said}", "never")
    if kind == "IllegalArgument":
        return Failure(f"refused: {said}", "never")
    if kind == "TApplicationException":
        return Failure(f"failed inside: {said}", "few", "The gateway's own log has the cause.")
    found = exceptions_in(error.message)
    for name in found:
        if name in PERMANENT:
            return Failure(f"refused: {said}", "never", PERMANENT[name], missing_table=name == "TableNotFoundException")
    passing = TRANSIENT.intersection(found)
    # A gateway that closed its own connection says DoNotRetry too, and opens another.
    if "DoNotRetryIOException" in found and not passing and "closed" not in said:
        return Failure(f"refused: {said}", "never")
    return Failure(f"answered: {said}", "always" if passing or GAVE_UP.intersection(found) else "few")


def names_codec(error: Any, codec: str) -> bool:
    """Whether HBase's `error` about a new table is that the servers lack `codec`."""
    message = getattr(error, "message", "")
    if any(PERMANENT.get(name) for name in exceptions_in(message)):
        return False  # no namespace, or no right to
    text = _without_frames(message).lower()
    return codec.lower() in text or "compression" in text or "codec" in text


def exceptions_in(message: object) -> list[str]:
    """The exceptions that a stack trace names, without packages, the outermost first; frames do not count."""
    return [re.split("[.$]", name)[-1] for name in re.findall(r"[\w.$]+Exception\b", _without_frames(message))]


def _without_frames(message: object) -> str:
    text = message.decode("utf-8", "replace") if isinstance(message, bytes) else str(message)
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("at "))


def _sasl(error: BaseException, timeout_s: float) -> Failure:
    return Failure(
        str(error), "never", "Check SQLML_HBASE_SASL, its user and password, or the Kerberos ticket (klist)."
    )


def _certificate(error: Any, timeout_s: float) -> Failure:  # Any: ssl's errors have attributes that typeshed lacks
    reason = str(error.verify_message).rstrip(".")
    return Failure(
        f"showed a certificate that is not accepted: {reason}",
        "never",
        "SQLML_HBASE_TLS_CA names the file of the authority that signed it; it must be for the host of the location"
        " (SQLML_HBASE_TLS_CHECK_NAME=0 accepts another).",
    )


def _tls(error: Any, timeout_s: float) -> Failure:
    reason = str(getattr(error, "reason", None) or error.args[-1]).replace("_", " ").lower()
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Failure("closed the connection during TLS", "always")
    if "wrong version" in reason or "http request" in reason:
        return Failure(f"does not speak TLS there ({reason})", "never", "Switch it off with SQLML_HBASE_TLS=0.")
    hint = "It may want a client's certificate: SQLML_HBASE_TLS_CERTIFICATE and SQLML_HBASE_TLS_KEY."
    return Failure(f"broke off TLS ({reason})", "never", hint if "alert" in reason else None)


def _timeout(error: BaseException, timeout_s: float) -> Failure:
    return Failure(f"did not answer within {timeout_s:g} s", "always")


def _unanswered(error: BaseException, timeout_s: float) -> Failure:
    return Failure(f"did not answer when {error} was begun", "always", f"It may have no {error} there.")


def _refused(error: BaseException, timeout_s: float) -> Failure:
    return Failure(
        "refused the connection", "always", "Is the Thrift gateway running there, and its port the right one?"
    )


def _broken(error: Any, timeout_s: float) -> Failure:
    said = str(error.strerror or error)
    return Failure(f"cannot be reached ({said[:1].lower() + said[1:]})", "always")


def _hung_up(error: BaseException, timeout_s: float) -> Failure:
    return Failure("closed the connection", "always")


def _garbage(error: BaseException, timeout_s: float) -> Failure:
    said = str(error) if isinstance(error, Garbage) else f"its answer cannot be read ({type(error).__name__})"
    return Failure(
        f"gave no usable answer: {said}",
        "few",
        AS_THE_GATEWAY,
    )


# The first that fits; the narrow ones stand first.
_KINDS: tuple[tuple[type[BaseException], Any], ...] = (
    (Garbage, _garbage),
    (SaslRefused, _sasl),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (Unanswered, _unanswered),
    (TimeoutError, _timeout),
    (ConnectionRefusedError, _refused),
    (ConnectionError, _hung_up),
    (OSError, _broken),
)
