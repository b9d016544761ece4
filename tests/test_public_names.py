"""What `import sqlml` gives, and that it costs next to nothing."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import sqlml

HEAVY = ("duckdb", "sqlglot", "mlflow", "numpy", "pandas", "pyarrow", "onnx", "onnxruntime", "sklearn", "click", "rich")


def test_all_is_what_is_there() -> None:
    assert list(sqlml.__all__) == sorted(sqlml.__all__)
    for name in sqlml.__all__:
        assert getattr(sqlml, name) is not None


def test_no_module_hides_a_function_of_its_name() -> None:
    for name in [module.name for module in pkgutil.iter_modules(sqlml.__path__)]:
        importlib.import_module(f"sqlml.{name}")
        assert name not in sqlml.__all__
    assert callable(sqlml.score)


@pytest.mark.parametrize("statement", ["import sqlml", "import sqlml.cli"])
def test_heavy_libraries_are_loaded_when_they_are_used(statement: str) -> None:
    heavy = [name for name in HEAVY if not (name == "click" and statement.endswith("cli"))]
    code = f"{statement}\nimport sys\nprint([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
