"""One connection to a gateway: bytes with a time limit, replies that belong to their requests.

thriftpy2 reads whatever comes next as the answer to the latest request (measured: after a timeout each call gets
the answer of the one before). So here replies carry the number of their request, a time limit holds for a whole
call as well as for each read, and after any failure the connection is closed before anything else is read from it.

The protocol itself is thriftpy2's in C over `Stream`, which it asks for bytes.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import select
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from thriftpy2.thrift import TApplicationException, TClient, TMessageType

from sqlml.hbase.messages import Garbage, HungUp

# No answer has a part this large: a cell is at most 10 MiB. What announces more is no answer to us, and is not
# given memory.
MAX_PART = 64 << 20


@cache
def thrift() -> ModuleType:
    """HBase's Thrift interface, as happybase ships it; its classes are made when it is loaded."""
    importlib.import_module("happybase")
    return importlib.import_module("Hbase_thrift")


class Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        return self._at - time.monotonic()

    def limit(self, seconds: float) -> float:
        """`seconds`, or what is left if that is less.

        Raises:
            TimeoutError: nothing is left.
        """
        left = self.left()
        if left <= 0:
            raise TimeoutError("the time for the whole operation is over")
        return min(seconds, left)


class Stream:
    """A connected socket. Each read and write has `timeout_s`, and all have `deadline`."""

    def __init__(self, sock: socket.socket, timeout_s: float, deadline: Deadline) -> None:
        self.sock = sock
        self.timeout_s = timeout_s
        self.deadline = deadline

    def read(self, size: int) -> bytes:
        """At least one byte, at most `size`."""
        if size > MAX_PART:
            raise Garbage(f"it announces {size:,} bytes")
        self._limit()
        # All that is there: thriftpy2 puts pieces together by copying what it has so far (measured: twice the time for
        # 1 MiB in pieces of 256 KiB). What does not come takes no memory, though a buffer is reserved for it.
        data = self.sock.recv(size)
        if not data:
            raise HungUp("the connection was closed")
        return data

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._limit()
            view = view[self.sock.send(view) :]

    def flush(self) -> None:
        pass

    def _limit(self) -> None:
        seconds = self.deadline.limit(self.timeout_s)
        if seconds != self.sock.gettimeout():  # setting it is a system call, asking is none
            self.sock.settimeout(seconds)


class Client(TClient):
    """thriftpy2's client with replies that are checked to be the ones to their requests."""

    def __init__(self, service: Any, protocol: Any) -> None:  # Any: classes that thriftpy2 makes at run time
        super().__init__(service, protocol)
        self._seqid = random.getrandbits(30)  # a stale reply in another's connection is then not the same number

    def _send(self, _api: str, **kwargs: Any) -> None:  # Any: the arguments of any call
        self._seqid = (self._seqid + 1) & 0x7FFFFFFF
        super()._send(_api, **kwargs)

    def _recv(self, _api: str) -> Any:  # Any: the result of any call
        name, kind, number = self._iprot.read_message_begin()
        # The compact protocol gives the name as bytes.
        if (
            name not in (_api, _api.encode())
            or number != self._seqid
            or kind not in (TMessageType.REPLY, TMessageType.EXCEPTION)
        ):
            raise Garbage(f"a reply to {name!r:.40} number {number} came for {_api!r} number {self._seqid}")
        if kind == TMessageType.EXCEPTION:
            fault = TApplicationException()
            fault.read(self._iprot)
            self._iprot.read_message_end()
            raise fault
        result = getattr(self._service, f"{_api}_result")()
        result.read(self._iprot)
        self._iprot.read_message_end()
        for field, value in vars(result).items():
            if field != "success" and value is not None:
                raise value
        if not hasattr(result, "success"):
            return None
        if result.success is None:
            raise Garbage("a reply without a result")
        return result.success


class Channel:
    """One Thrift connection, for one thread of one process."""

    def __init__(self, stream: Stream, client: Client) -> None:
        self.client = client
        self.closed = False
        self.used = time.monotonic()
        self._stream = stream
        self._busy = threading.Lock()
        self._doomed = False
        # Not __del__: MLflow's repositories are rings of references, of which the collector may take the socket first.
        weakref.finalize(self, stream.sock.close)

    @contextlib.contextmanager
    def calling(self, deadline: Deadline) -> Iterator[Any]:  # Any: the client's methods are made at run time
        """The client, for calls that together have `deadline`; what breaks in here closes the connection for good.

        Only what HBase declares leaves it open: then the whole reply was read.
        """
        with self._busy:
            self._stream.deadline = deadline
            declared = thrift().IOError, thrift().IllegalArgument, thrift().AlreadyExists
            try:
                yield self.client
            except declared:
                self.used = time.monotonic()
                raise
            except BaseException:
                self._close()
                raise
            else:
                self.used = time.monotonic()
            finally:
                if self._doomed:
                    self._close()

    def is_fit(self, idle_s: float) -> bool:
        """Whether another call may be made: not too old, and nothing came that nobody asked for (the end, mostly)."""
        if self.closed or time.monotonic() - self.used > idle_s:
            return False
        # With TLS too: its tickets came before the first answer.
        poll = select.poll()
        try:
            poll.register(self._stream.sock, select.POLLIN)
        except ValueError:  # another thread closed it
            return False
        return not poll.poll(0)

    def close(self) -> None:
        """Close it, from any thread: a call under way in another thread ends with an error, and then closes it."""
        if self._busy.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._busy.release()
        else:
            # Closing it here would free its number for another file, from which that thread would then read.
            self._doomed = True
            with contextlib.suppress(OSError):
                self._stream.sock.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        # No shutdown: after a fork it would end the parent's connection.
        self.closed = True
        with contextlib.suppress(OSError):
            self._stream.sock.close()
