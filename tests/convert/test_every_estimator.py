"""All of scikit-learn's estimators and those of the boosting libraries, alone, with text classes and in a mixed pipeline: each exact, or refused by name.

By onnxruntime and, where it is, by the native extension: fitting and asking the original once serves both.
"""

from __future__ import annotations

import os

import pytest

from bench.sweep import boosting
from bench.sweep.cases import Case, cases
from sqlml import extension
from tests.convert.every_estimator import REFUSED, Outcome, outcome, reason
from tests.convert.models_page import PAGE, page, without_differences
from tests.convert.sklearn_parity import session_of
from tests.engines.native_session import NativeSession

CASES = [*cases(), *boosting.cases()]
EXACT = 0.9
SESSIONS = (session_of,) if extension.find() is None else (session_of, NativeSession)
SEEN: dict[Case, Outcome] = {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_is_exact_or_refused_for_a_known_reason(case: Case) -> None:
    SEEN[case] = outcome(case, SESSIONS)
    refusal, expected = SEEN[case].refusal, reason(case)
    if refusal is not None:
        assert expected is not None, refusal
        assert expected in refusal
    else:
        assert expected is None, f"{case} is exact now: take it out of the table"


@pytest.mark.native
def test_the_extension_was_asked_too() -> None:
    assert NativeSession in SESSIONS


def test_most_cases_are_exact() -> None:
    exact = sum(reason(case) is None for case in CASES)
    assert exact / len(CASES) >= EXACT


def test_the_table_names_no_case_that_does_not_exist() -> None:
    assert set(REFUSED) <= {name for case in CASES for name in (case.name, str(case))}


def test_the_page_says_what_was_seen() -> None:
    """`make models` writes it anew."""
    if len(SEEN) < len(CASES):
        pytest.skip(f"only {len(SEEN)} of {len(CASES)} cases were run")
    text = page(SEEN)
    if os.environ.get("WRITE_MODELS_PAGE"):
        PAGE.write_text(text, encoding="utf-8")

    assert PAGE.is_file(), "docs/models.md is missing: make models"
    assert without_differences(PAGE.read_text(encoding="utf-8")) == without_differences(text), (
        "make models writes it anew"
    )
