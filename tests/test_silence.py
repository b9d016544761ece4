"""Filters of warnings belong to the process: blocks that overlap in two threads leave them as they were."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlml.silence import no_lines_of_mlflow, no_warnings


@contextmanager
def in_a_thread(block: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Another thread is in such a block while this one runs."""
    began, ended = threading.Event(), threading.Event()

    def wait() -> None:
        with block():
            began.set()
            assert ended.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    assert began.wait(10)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_block_is_quiet_after_one_that_began_before_it_has_ended() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        outer = in_a_thread(no_warnings)
        outer.__enter__()
        with no_warnings():
            outer.__exit__(None, None, None)
            warnings.warn("not to be seen", UserWarning, stacklevel=1)
        assert warnings.filters == filters


def test_filters_are_as_they_were_after_the_last_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filters = list(warnings.filters)
        inner = no_warnings()
        with in_a_thread(no_warnings):
            inner.__enter__()
        inner.__exit__(None, None, None)
        assert warnings.filters == filters


def test_loggers_have_their_levels_after_the_last_one() -> None:
    logger = logging.getLogger("alembic")
    level = logger.level
    inner = no_lines_of_mlflow()
    with in_a_thread(no_lines_of_mlflow):
        inner.__enter__()
    assert logger.level == logging.CRITICAL
    inner.__exit__(None, None, None)
    assert logger.level == level
