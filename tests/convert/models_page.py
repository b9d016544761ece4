"""docs/models.md, from what `test_every_estimator` saw."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.sweep.boosting import ESTIMATORS
from bench.sweep.cases import Case
from bench.sweep.estimators import EXCLUDED
from tests.convert.every_estimator import Outcome

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
KINDS = ("alone", "string classes", "pipeline")
HEAD = """# What works

This page is written by a test run (`make models`), and the tests fail when it is not true any more.

Each class of scikit-learn that predicts or transforms rows is fitted on small made data, alone on numbers, with classes
of text, and in a pipeline that fills and scales numbers and encodes text. Then it is converted and asked about training
rows and hostile ones: NULL, infinities, extremes, every kind of unknown text, split thresholds and their neighbours.
*Exact* means the original's own answers: labels equal, numbers within 1e-9, an error just where the original raises.
Anything else is refused, and the reason names the step. There is nothing in between.

`make sweep` shows the same models through skl2onnx + onnxruntime and orbital on your own machine. Other libraries have
pages of their own: [XGBoost and CatBoost](boosting.md), [Spark ML](spark.md), [python_function models](pyfunc.md).
"""
DIFFERENCE = re.compile(r"\| (?:0|[0-9.]+e-[0-9]+)? \|$", re.MULTILINE)


def page(seen: Mapping[Case, Outcome]) -> str:
    boosting = {case: outcome for case, outcome in seen.items() if case.name in ESTIMATORS}
    own = {case: outcome for case, outcome in seen.items() if case.name not in ESTIMATORS}
    lines = [HEAD, counted(own), *table(own), "", "## Boosting libraries", "", counted(boosting), *table(boosting)]
    lines += ["", "## Refused, and why", "", *refusals(seen), "", "## Not asked", ""]
    lines.append("These classes of `all_estimators()` have no answer to a new row of a table:\n")
    by_reason: dict[str, list[str]] = {}
    for name, why in EXCLUDED.items():
        by_reason.setdefault(why, []).append(f"`{name}`")
    lines += [f"- {why}: {', '.join(sorted(classes))}" for why, classes in sorted(by_reason.items())]
    return "\n".join(lines) + "\n"


def counted(seen: Mapping[Case, Outcome]) -> str:
    names = {case.name for case in seen}
    refused = {case.name for case, outcome in seen.items() if outcome.refusal is not None}
    exact = sum(outcome.refusal is None for outcome in seen.values())
    return (
        f"{len(names)} classes in {len(seen)} cases: {exact} cases exact, {len(seen) - exact} refused; "
        f"{len(names - refused)} classes exact in all their cases.\n"
    )


def table(seen: Mapping[Case, Outcome]) -> list[str]:
    lines = [
        "| Class | alone | with text classes | in a pipeline | largest difference |",
        "| --- | --- | --- | --- | ---: |",
    ]
    for name in sorted({case.name for case in seen}, key=str.lower):
        own = {case.kind: outcome for case, outcome in seen.items() if case.name == name}
        cells = [cell(own.get(kind)) for kind in KINDS]
        largest = max(outcome.largest for outcome in own.values())
        shown = "" if all(o.refusal for o in own.values()) else "0" if largest == 0 else f"{largest:.0e}"
        lines.append(f"| `{name}` | {' | '.join(cells)} | {shown} |")
    return lines


def cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    return "exact" if outcome.refusal is None else "refused"


def refusals(seen: Mapping[Case, Outcome]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for case, outcome in sorted(seen.items(), key=lambda entry: entry[0].name.lower()):
        known = reasons.setdefault(case.name, [])
        if outcome.refusal and outcome.refusal not in known:
            known.append(outcome.refusal)
    return [f"- `{name}`: {' / '.join(texts)}" for name, texts in reasons.items() if texts]


def without_differences(text: str) -> str:
    """Another machine rounds otherwise in the last digit, which is no change."""
    return DIFFERENCE.sub("| |", text)
