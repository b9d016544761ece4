"""Sending events from a thread of its own, so that no receiver is ever waited for by what it is told about.

The queue is bounded, a receiver that failed is left alone for a while, and the end of the process waits for what is
underway only as long as the receiver gives hope.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlml.openlineage.described import RunEvent

LONGEST_QUEUE = 1000
PATIENCE_S = 1.0
"""So long something that has only begun is left alone before the client is imported, which computes for 0.3 s and would make
a short scoring three times as long."""
PAUSE_S = 30.0
"""How long a receiver that failed is not tried again; the client itself repeats a request for some ten seconds."""
STARTING_S = 10.0
"""At the end of the process: for the client to be imported (0.3 s, more on a busy machine)."""
FIRST_ANSWER_S = 0.5
"""At the end of the process, for a receiver that has not answered once: since the event was sent."""
ANSWERS_S = 5.0
"""The same for one that has."""
CONSOLE = "openlineage.client.transport.console"
log = logging.getLogger(__name__)
NOISY = ("urllib3.connectionpool", "openlineage.client.client", "openlineage.client.transport.http")


@dataclass
class Sender:
    """The thread and what became of the events; `lost` and `why` are told once, by whoever asks first."""

    waiting: queue.Queue[RunEvent] = field(default_factory=lambda: queue.Queue(LONGEST_QUEUE))
    process: int = field(default_factory=os.getpid)
    sent: int = 0
    lost: int = 0
    why: str = ""
    sent_since: float | None = None
    """When the event that is underway was given to the client."""
    is_started: bool = False
    """The client is there."""
    _ended: threading.Event = field(default_factory=threading.Event)
    """Something that was told about has ended, or everything does."""
    _failed_at: float = float("-inf")
    _idle: threading.Condition = field(default_factory=threading.Condition)
    _pending: int = 0

    def start(self) -> None:
        threading.Thread(target=self._work, name="sqlml-openlineage", daemon=True).start()

    def put(self, event: RunEvent) -> None:
        if event.state != "START":
            self._ended.set()
        with self._idle:
            try:
                self.waiting.put_nowait(event)
                self._pending += 1
            except queue.Full:
                self._lose("the receiver is slower than the events come")

    def _lose(self, why: str) -> None:
        self.lost += 1
        self.why = why

    def _work(self) -> None:
        client: Any = None  # the client's types stay in the module that imports it
        while True:
            event = self.waiting.get()
            problem = self._pause()
            if problem is None:
                try:
                    if client is None:
                        self._ended.wait(PATIENCE_S)
                        client = _client()
                    self.is_started = True
                    self.sent_since = time.monotonic()
                    _emit(client, event)
                except Exception as error:  # of any transport: what is told about goes on
                    problem = _first_line(error)
                    self._failed_at = time.monotonic()
            with self._idle:
                self.sent_since = None
                self._pending = max(0, self._pending - 1)
                if problem is None:
                    self.sent += 1
                else:
                    self._lose(problem)
                self._idle.notify_all()

    def _pause(self) -> str | None:
        return self.why if time.monotonic() - self._failed_at < PAUSE_S else None

    def told(self) -> tuple[int, str] | None:
        """How many events were lost since somebody asked last, and why; None if none was."""
        with self._idle:
            if self.lost == 0:
                return None
            lost, self.lost = self.lost, 0
            return lost, self.why

    def unanswered(self) -> float:
        """Seconds since which the receiver owes an answer."""
        since = self.sent_since
        return 0.0 if since is None else time.monotonic() - since

    def finish(self) -> tuple[int, str] | None:
        """Wait for what is underway, within bounds; how many events are lost by then, and why."""
        began = time.monotonic()
        self._ended.set()
        with self._idle:
            while self._pending and (left := self._until(began) - time.monotonic()) > 0:
                self._idle.wait(min(left, 0.05))  # by small steps: that an event is underway now wakes nobody
            if self._pending:
                lost, self._pending = self._pending + self.lost, 0
                self.lost = 0
                return lost, self.why or "the receiver did not answer"
        return self.told()

    def _until(self, began: float) -> float:
        """Until when it is worth waiting, for one who began to wait then."""
        since = self.sent_since
        if self.sent:
            return began + ANSWERS_S
        if since is not None:
            return since + FIRST_ANSWER_S
        return began + (FIRST_ANSWER_S if self.is_started else STARTING_S)


def _at_exit() -> None:
    lost = finish()
    if lost is not None:
        log.warning(lost)


def _client() -> Any:  # Any: see above
    """The official client, if its configuration really names where to send; it would write to the console otherwise."""
    from openlineage.client import OpenLineageClient

    _silence()
    client = OpenLineageClient()
    is_named = bool((client.config.transport or {}).get("type")) or "OPENLINEAGE_URL" in os.environ
    if client.transport.kind == "console":
        if not is_named:
            raise LookupError("its configuration names no transport")
        _show_console()
    return client


def _emit(client: Any, event: RunEvent) -> None:  # Any: see above
    from sqlml.openlineage.events import built

    client.emit(built(event))


def _silence() -> None:
    """Repetitions and failures of this thread's requests are told once and by us, not by each library's logger."""
    own = threading.get_ident()
    for name in NOISY:
        logging.getLogger(name).addFilter(lambda record: record.thread != own)


def _show_console() -> None:
    """The console transport writes to a logger; where nobody has configured logging, that would be nowhere."""
    logger = logging.getLogger(CONSOLE)
    if not logger.isEnabledFor(logging.INFO) or not logger.hasHandlers():
        logger.setLevel(logging.INFO)
        if not logger.hasHandlers():
            logger.addHandler(logging.StreamHandler(sys.stderr))


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


_sender: Sender | None = None
_lock = threading.Lock()


def sender() -> Sender:
    """This process's; a forked one has its own, since threads do not survive a fork."""
    global _sender
    with _lock:
        if _sender is None or _sender.process != os.getpid():
            if _sender is None:
                atexit.register(_at_exit)
            _sender = Sender()
            _sender.start()
        return _sender


def emit(event: RunEvent) -> None:
    sender().put(event)


def finish() -> str | None:
    """At the end of the process: wait within bounds; a sentence if events are lost, None if not."""
    if _sender is None or _sender.process != os.getpid():
        return None
    lost = _sender.finish()
    return None if lost is None else sentence(*lost)


def told() -> str | None:
    """A sentence about events that were lost since somebody asked last."""
    if _sender is None:
        return None
    lost = _sender.told()
    return None if lost is None else sentence(*lost)


def unanswered() -> float:
    return 0.0 if _sender is None else _sender.unanswered()


def sentence(lost: int, why: str) -> str:
    return f"{lost} OpenLineage event{'s' if lost != 1 else ''} could not be delivered: {why}"
