"""All conversions that are exact, through the native extension: on hostile rows it answers as the original does."""

from __future__ import annotations

import pytest

from bench.sweep import boosting
from bench.sweep.cases import Case, cases
from tests.convert import float_parity, lightgbm_parity, sklearn_parity
from tests.convert.every_estimator import outcome, reason
from tests.engines.native_session import NativeSession

EXACT = [case for case in (*cases(), *boosting.cases()) if reason(case) is None]


@pytest.mark.native
@pytest.mark.parametrize("case", EXACT, ids=str)
def test_the_extension_answers_as_the_original(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (float_parity, lightgbm_parity, sklearn_parity):
        monkeypatch.setattr(module, "session_of", NativeSession)
    assert outcome(case).refusal is None
