"""Predictions of a python_function: asked in an isolated process, stored like every other engine's."""

from sqlml.pyfunc.answering import Askers, answered, askers
from sqlml.pyfunc.gate import Questions, ask, check, named_as_way_out, notes

__all__ = ["Askers", "Questions", "answered", "ask", "askers", "check", "named_as_way_out", "notes"]
