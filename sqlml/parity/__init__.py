"""The evidence that SQL gives the model's own answers: `ask` the original, then `check` the deployed functions."""

from sqlml.parity.asking import Functions, functions
from sqlml.parity.evidence import Evidence
from sqlml.parity.gate import Questions, ask, check
from sqlml.parity.rows import HostileRows, hostile_rows

__all__ = ["Evidence", "Functions", "HostileRows", "Questions", "ask", "check", "functions", "hostile_rows"]
