"""The extension's own tests of its SQL functions, with the DuckDB that is here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sqlml import extension

RUNNER = Path(__file__).parents[1] / "udfs" / "test" / "run.py"


@pytest.mark.native
def test_sql_functions() -> None:
    path = extension.find()
    assert path is not None
    done = subprocess.run([sys.executable, RUNNER, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
