"""Why a row has the prediction that it has: everything behind it, for people, programs and SQL."""

from sqlml.reasoning.facts import Why
from sqlml.reasoning.gathering import why
from sqlml.reasoning.page import page
from sqlml.reasoning.text import lines

__all__ = ["Why", "lines", "page", "why"]
