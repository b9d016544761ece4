"""Warnings and log lines of libraries that say nothing to the person at the other end, also when threads overlap.

Filters of warnings and levels of loggers belong to the process. Of two overlapping `warnings.catch_warnings` the one that
ends first brings back what the other still ignores, and the last one what the first had set: two deployments at once warned
of what both ignored, and left the process without any warnings.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


def shared(make: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """A block that may overlap with itself: the first of them enters what is made, and the last one leaves it."""
    lock = threading.Lock()
    entered: list[AbstractContextManager[None]] = []
    inside = 0

    @contextmanager
    def block() -> Iterator[None]:
        nonlocal inside
        with lock:
            if inside == 0:
                made = make()
                made.__enter__()
                entered.append(made)
            inside += 1
        try:
            yield
        finally:
            with lock:
                inside -= 1
                if inside == 0:
                    entered.pop().__exit__(None, None, None)

    return block


@shared
@contextmanager
def no_warnings() -> Iterator[None]:
    """No warnings are shown while a thread is in such a block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@shared
@contextmanager
def no_lines_of_mlflow() -> Iterator[None]:
    """Neither MLflow's nor alembic's own log lines are, but for what is critical."""
    import mlflow  # noqa: F401  # its import sets the level of its own logger

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
