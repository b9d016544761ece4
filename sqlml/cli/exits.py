"""Exit codes: what a script may rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    DRIFTED = 4
    INTERRUPTED = 130


DONE, FAILED, USAGE, REFUSED, DRIFTED, INTERRUPTED = Exit

EPILOG = """\b
Exit codes:
  0    done
  1    failed
  2    wrong usage
  3    refused: parity, contract, unsupported model, policy
  4    drifted: verify, status --check
  130  interrupted
"""
