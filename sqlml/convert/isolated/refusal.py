"""The errors that the worker reports on purpose; the parent turns each kind into one of sqlml's own errors."""

from __future__ import annotations

from typing import Literal

Kind = Literal["unsupported", "policy", "artifact", "usage"]


class Refusal(Exception):
    """A sentence for the person, and what to do."""

    def __init__(self, kind: Kind, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint


def unsupported(message: str, hint: str | None = None) -> Refusal:
    return Refusal("unsupported", message, hint)
