"""Predictions of a python_function: asked in an isolated process, stored like every other engine's."""

from sqlml.convert.pyfunc import Policy
from sqlml.pyfunc.answering import Askers, answered, askers
from sqlml.pyfunc.gate import Questions, ask, check, named_as_way_out, notes
from sqlml.pyfunc.verifying import asked_again

__all__ = [
    "Askers",
    "Policy",
    "Questions",
    "answered",
    "ask",
    "asked_again",
    "askers",
    "check",
    "named_as_way_out",
    "notes",
]
