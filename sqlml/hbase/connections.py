"""Whose connection is whose: one a thread, none across a fork."""

from __future__ import annotations

import os
import threading
import weakref

from sqlml.hbase.transport import Channel


class Connections:
    """The connections of this process, one a thread."""

    def __init__(self) -> None:
        self._reset()

    def mine(self) -> Channel | None:
        if self._process != os.getpid():
            # A fork: the parent goes on with these, so they are dropped, without a word to the other end. The lock
            # may be held for ever by a thread that is not here.
            self._reset()
        return getattr(self._local, "channel", None)

    def keep(self, channel: Channel) -> None:
        with self._lock:
            self._all.add(channel)
        self._local.channel = channel

    def close(self) -> None:
        channel = self.mine()
        if channel is not None:
            self._local.channel = None
            channel.close()

    def close_all(self) -> None:
        self.close()
        with self._lock:
            channels = list(self._all)
        for channel in channels:
            channel.close()

    def _reset(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[Channel] = weakref.WeakSet()  # a thread that ends takes its connection with it
        self._process = os.getpid()
