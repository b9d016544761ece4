"""All of scikit-learn's estimators, alone, with text classes and in a mixed pipeline: each exact, or refused by name."""

from __future__ import annotations

import pytest

from bench.sweep.cases import Case, cases
from tests.convert.every_estimator import REFUSED, outcome, reason

CASES = list(cases())
EXACT = 0.5


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_case_is_exact_or_refused_for_a_known_reason(case: Case) -> None:
    refusal, expected = outcome(case), reason(case)
    if refusal is not None:
        assert expected is not None, refusal
        assert expected in refusal
        assert case.name in refusal


def test_most_cases_are_exact() -> None:
    exact = sum(reason(case) is None for case in CASES)
    assert exact / len(CASES) >= EXACT


def test_the_table_names_no_case_that_does_not_exist() -> None:
    assert set(REFUSED) <= {name for case in CASES for name in (case.name, str(case))}
