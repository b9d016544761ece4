"""Exit codes: what a script may rely on."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong usage
  3    refused: parity, contract, unsupported model, policy
  4    drifted: verify, status --check, replay
  130  interrupted
"""
