"""Another try, or the end of it: pauses that grow, within one deadline, and the error that says what was tried."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import replace

from sqlml.errors import SqlmlError, StoreError, StoreTimeout
from sqlml.hbase.location import Location
from sqlml.hbase.messages import AS_THE_GATEWAY, BEHIND_THE_GATEWAY, Failure, Unanswered, understood
from sqlml.hbase.settings import Settings
from sqlml.hbase.transport import Deadline

FEW = 3
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0

logger = logging.getLogger("sqlml.hbase")


class Tries:
    """The tries of one operation; `doing` says what it is, as in "reading the manifest of x"."""

    def __init__(
        self,
        location: Location,
        settings: Settings,
        doing: str,
        pause: Callable[[float], None],
        given_up: Callable[[], bool] = lambda: False,
    ) -> None:
        self.deadline = Deadline(settings.deadline_s)
        self.count = 0
        self._location = location
        self._settings = settings
        self._doing = doing
        self._pause = pause
        self._given_up = given_up
        self._began = time.monotonic()

    def again(self, error: BaseException, *, known: bool) -> None:
        """Return after a pause when another try can help; `known` says whether this gateway ever answered.

        Raises:
            StoreError: no try helps, or the time is over (StoreTimeout).
        """
        if isinstance(error, SqlmlError):
            raise error
        self._end_if_given_up(error)
        self.count += 1
        failure = understood(error, self._settings.timeout_s)
        if failure.hint is None and failure.retry == "always":
            failure = replace(failure, hint=BEHIND_THE_GATEWAY if known else AS_THE_GATEWAY)
        passed = time.monotonic() - self._began
        if failure.retry == "never" or (failure.retry == "few" and self.count >= FEW):
            raise self.error(failure, StoreError) from error
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self.count - 1)) * random.uniform(0.5, 1.0)
        # A gateway may wait for HBase before it answers, but nothing else makes one slow.
        patient = known or (isinstance(error, TimeoutError) and not isinstance(error, Unanswered))
        if not patient and passed + pause > self._settings.first_contact_s:
            raise self.error(failure, StoreError) from error
        if pause >= self.deadline.left():
            raise self.error(failure, StoreTimeout) from error
        if self.count == 1:
            logger.warning("HBase at %s %s while %s; trying again.", self._location.place, failure.what, self._doing)
        self._pause(pause)

    def unknown(self, error: BaseException) -> None:
        """Return when the outcome of what was sent once is not known after `error`.

        Raises:
            StoreError: it was certainly refused.
        """
        self._end_if_given_up(error)
        failure = understood(error, self._settings.timeout_s)
        if failure.retry == "never":
            raise self.error(failure, StoreError) from error
        logger.warning("HBase at %s %s while %s.", self._location.place, failure.what, self._doing)

    def _end_if_given_up(self, error: BaseException) -> None:
        if self._given_up():
            raise self.error(Failure("is no longer waited for", "never"), StoreError) from error

    def error(self, failure: Failure, kind: type[StoreError]) -> StoreError:
        passed = time.monotonic() - self._began
        tried = f", {self.count} tries in {passed:.0f} s" if self.count > 1 else ""
        over = f" Its deadline of {self._settings.deadline_s:g} s is over." if kind is StoreTimeout else ""
        hint = failure.hint.format(uri=self._location.uri) if failure.hint else None
        return kind(
            f"HBase at {self._location.place} {failure.what.rstrip('.')}"
            f" (while {self._doing}, table {self._location.table}{tried}).{over}",
            hint=hint,
            place=self._location.place,
            table=self._location.table,
            doing=self._doing,
            tries=self.count,
            refused=failure.retry == "never",
        )
