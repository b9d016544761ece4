"""What runs in models' own environments is Python 3.9: newer words would only be noticed there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sqlml.convert

ROOT = Path(sqlml.convert.__file__).parent / "isolated"
# Names that came later, and keywords by the function that takes them since.
LATER_NAMES = {"pairwise", "batched", "UTC", "StrEnum", "ExceptionGroup", "aclosing", "TypeAlias", "Self"}
LATER_KEYWORDS = {"zip": {"strict"}, "dataclass": {"slots", "kw_only"}, "field": {"kw_only"}}


def later(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            yield from (f"{name}({one.arg}=)" for one in node.keywords if one.arg in LATER_KEYWORDS.get(name, set()))
            if name in ("isinstance", "issubclass") and isinstance(node.args[1], ast.BinOp):
                yield f"{name} with |"
        elif isinstance(node, ast.Attribute) and node.attr in LATER_NAMES and _is_module(node.value):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (one.name for one in node.names if one.name in LATER_NAMES)


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("itertools", "datetime", "contextlib", "typing", "enum")


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_converter_is_python_3_9(path: Path) -> None:
    source = path.read_text(encoding="utf-8")

    assert list(later(source)) == []
    assert "from __future__ import annotations" in source or not ast.parse(source).body[1:]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("zip(a, b, strict=True)", ["zip(strict=)"]),
        ("isinstance(a, int | str)", ["isinstance with |"]),
        ("from itertools import pairwise", ["pairwise"]),
        ("itertools.pairwise(a)", ["pairwise"]),
    ],
)
def test_newer_words_are_found(source: str, found: list[str]) -> None:
    assert list(later(source)) == found
