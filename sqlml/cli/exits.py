"""Exit codes: what a script may rely on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlml.syncing.outcomes import Synced
    from sqlml.verification import Verification


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    DRIFTED = 4
    INTERRUPTED = 130


DONE, FAILED, USAGE, REFUSED, DRIFTED, INTERRUPTED = Exit


def of_verifications(found: Sequence[Verification]) -> Exit:
    """Drifted if anything differs; failed if nothing does, and something could not be compared."""
    if not all(one.passed for one in found):
        return DRIFTED
    return DONE if all(one.complete for one in found) else FAILED


def of_sync(done: Synced, *, check: bool) -> Exit:
    """A check is about drift before all; a round is about what it could not do."""
    failed = bool(done.problems) or done.problem is not None
    if check:
        return DRIFTED if done.drifted or done.refused else FAILED if failed else DONE
    return FAILED if failed else REFUSED if done.refused else DRIFTED if done.drifted else DONE


EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong usage
  3    refused: parity, contract, unsupported model, policy
  4    drifted: verify, status --check, sync, replay
  130  interrupted
"""
