"""The parity gate: ask the original before the transaction, and the deployed functions inside of it."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from sqlml.convert import OnnxModel, Reference
from sqlml.parity.asking import Batch, Functions, ask_functions, batches, forget
from sqlml.parity.comparison import MEANINGS, Answers, Expected, Slack, Verdict, expected_answers, judge, plain
from sqlml.parity.contradictions import refuse_contradictions
from sqlml.parity.evidence import Evidence, Json
from sqlml.parity.recorded import joined, made_from, packed
from sqlml.parity.rounding import rounding
from sqlml.parity.rows import HostileRows, hostile_rows

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection
    from numpy.typing import NDArray

EXAMPLES_SHOWN = 5
ROUNDED_ROWS = 1000
ASIDE = (Verdict.NEAR_TIE, Verdict.OVERFLOW, Verdict.UNSTABLE, Verdict.POLICY)
LIBRARIES = ("duckdb", "numpy", "onnx", "onnxruntime", "pyarrow", "sqlglot")


class Original(Protocol):
    """What the gate needs of a worker (`sqlml.convert.open_worker`)."""

    def reference(self, rows: pa.Table) -> Reference: ...

    def input_example(self) -> pa.Table | None: ...


@dataclass(frozen=True)
class Questions:
    """Rows, and what the original says of them."""

    model: OnnxModel
    rows: HostileRows
    reference: Reference
    seconds: float
    records: bool = False
    """Some of the rows are to be kept with their answers."""


def ask(
    original: Original,
    model: OnnxModel,
    sample: pa.Table | None = None,
    *,
    recorded: HostileRows | None = None,
    seed: int = 0,
) -> Questions:
    """Make the rows (see `hostile_rows`) and get the original's answers; slow, and needs no database.

    Args:
        original: Who is asked.
        model: Its conversion.
        sample: Rows of the table to be scored.
        recorded: Rows of an earlier time, to be asked too; None makes such rows, to be kept.
        seed: Which base rows and which combinations are drawn.

    Raises:
        UnsupportedModel: the original contradicts itself on many rows.
    """
    from sqlml.compile import probes

    started = time.perf_counter()
    found = probes(model)
    rows = hostile_rows(model.signature, found, sample, original.input_example(), seed=seed)
    rows = joined(rows, made_from(model.signature, found) if recorded is None else recorded)
    reference = original.reference(rows.features)
    refuse_contradictions(model, rows, reference)
    return Questions(model, rows, reference, time.perf_counter() - started, recorded is None)


def check(
    connection: Connection,
    questions: Questions,
    functions: Functions,
    *,
    threshold: float | None = None,
    seed: int = 0,
) -> Evidence:
    """Compare the functions with the original; whoever calls decides what follows from the evidence.

    Uses temporary tables of the connection, and works inside its transaction.

    Args:
        connection: Where the functions are.
        questions: What `ask` found.
        functions: The macros to call.
        threshold: The deployment's own, where `predict` does not follow the model's rule.
        seed: Which rows go into the small batches and how rows are shuffled.
    """
    import duckdb
    import numpy as np

    started = time.perf_counter()
    model, rows = questions.model, questions.rows
    expected = expected_answers(model, rows, questions.reference, threshold)
    worst = np.full(len(rows), Verdict.AGREES, dtype=np.int64)
    largest = np.zeros(len(rows))
    examples: dict[int, Json] = {}
    done: Counter[tuple[str, int]] = Counter()
    slack: Slack | None = None
    known = np.zeros(len(rows), dtype=np.bool_)
    broken = None
    try:
        for batch in batches(len(rows), seed):
            try:
                answers = ask_functions(connection, model.signature, functions, rows, batch)
            except duckdb.Error as error:
                # A bad row must never kill a query; nothing more can be asked in an aborted transaction.
                broken = f"the query fails over a {batch.what}: {str(error).splitlines()[0]}"
                break
            verdicts, apart = judge(expected, answers, slack)
            wrong = np.unique(answers.ids[verdicts >= Verdict.LABEL])
            if len(wrong) and not known[wrong].all():
                slack = _with_rounding(slack, known, wrong[~known[wrong]], model, rows, expected)
                verdicts, apart = judge(expected, answers, slack)
            np.maximum.at(worst, answers.ids, verdicts)
            np.maximum.at(largest, answers.ids, apart)
            _keep_examples(examples, batch, rows, questions.reference, expected, answers, verdicts)
            done[(batch.what.partition(",")[0], batch.size)] += len(batch.ids) // batch.size if batch.streamed else 1
    finally:
        if broken is None:
            forget(connection)
    evidence = _evidence(questions, expected, worst, largest, examples, done, time.perf_counter() - started)
    return evidence if broken is None else replace(evidence, failed={broken: evidence.rows, **evidence.failed})


def _with_rounding(
    slack: Slack | None,
    known: NDArray[np.bool_],
    ids: NDArray[np.int64],
    model: OnnxModel,
    rows: HostileRows,
    expected: Expected,
) -> Slack:
    """The slack with the bounds of these rows too, which are then known. Every tensor of the graph is held: few at once."""
    import numpy as np

    if slack is None:
        slack = Slack(np.zeros(expected.numbers.shape), np.zeros(len(rows), dtype=np.bool_))
    for start in range(0, len(ids), ROUNDED_ROWS):
        some = ids[start : start + ROUNDED_ROWS]
        found = rounding(model, rows.features.take(some))
        slack.numbers[some] = found.numbers
        slack.undecided[some] = found.undecided
        known[some] = True
    return slack


def _evidence(
    questions: Questions,
    expected: Expected,
    worst: NDArray[np.int64],
    largest: NDArray[np.float64],
    examples: dict[int, Json],
    done: Counter[tuple[str, int]],
    seconds: float,
) -> Evidence:
    verdicts = [Verdict(code) for code in worst.tolist()]
    counted = Counter(verdicts)
    compared = {v for v in Verdict if not v.failed and v not in ASIDE}
    by_kind: dict[str, Counter[str]] = {}
    for kind, verdict in zip(questions.rows.kinds, verdicts, strict=True):
        outcome = "wrong" if verdict.failed else "compared" if verdict in compared else "set aside"
        by_kind.setdefault(kind, Counter())[outcome] += 1
    order = largest.argsort()[::-1][:3].tolist()
    return Evidence(
        rows=len(verdicts),
        compared=sum(counted[v] for v in compared),
        set_aside={MEANINGS[v]: counted[v] for v in ASIDE if counted[v]},
        failed={MEANINGS[v]: counted[v] for v in Verdict if v.failed and counted[v]},
        outcomes={MEANINGS[v]: counted[v] for v in Verdict if counted[v]},
        by_kind={kind: dict(counts) for kind, counts in by_kind.items()},
        largest_difference=float(largest.max(initial=0.0)),
        largest=tuple(
            {"row": i, "origin": questions.rows.origins[i], "difference": float(largest[i])}
            for i in order
            if largest[i]
        ),
        counter_examples=tuple(examples.values()),
        batches=tuple({"what": what, "rows": size, "batches": count} for (what, size), count in done.items()),
        tolerance=expected.tolerance,
        alone_checked=questions.reference.alone_checked,
        versions=dict(questions.model.origin)
        | {name: version(name) for name in LIBRARIES}
        | {"python": platform.python_version()},
        seconds_original=round(questions.seconds, 3),
        seconds_sql=round(seconds, 3),
        hostile=dict(questions.rows.counts),
        recorded=packed(questions.model, questions.rows, questions.reference) if questions.records else None,
    )


def _keep_examples(
    examples: dict[int, Json],
    batch: Batch,
    rows: HostileRows,
    reference: Reference,
    expected: Expected,
    answers: Answers,
    verdicts: NDArray[np.int64],
) -> None:
    """The first wrong rows, at most two of each kind of mistake, with all that is needed to try them by hand."""
    import numpy as np

    for position in np.flatnonzero(verdicts >= Verdict.CONTRADICTION).tolist():
        row = int(answers.ids[position])
        what = MEANINGS[Verdict(verdicts[position])]
        alike = sum(1 for example in examples.values() if example["what"] == what)
        if row in examples or alike >= 2 or len(examples) >= EXAMPLES_SHOWN:
            continue
        given = rows.features.slice(row, 1).to_pylist()[0]
        examples[row] = {
            "row": row,
            "kind": rows.kinds[row],
            "origin": rows.origins[row],
            "batch": batch.what,
            "what": what,
            "input": {name: plain(value) for name, value in given.items()},
            "expected": _said(expected, row, expected.labels[row], expected.numbers[row], reference.error[row]),
            "got": _said(expected, row, answers.labels[position], answers.numbers[position], answers.texts[position]),
        }


def _said(expected: Expected, row: int, label: int, numbers: Sequence[float], error: str | None) -> Json:
    if error is not None:
        return {"error": error}
    said: Json = {}
    if expected.is_classifier:
        classes = expected.signature.classes
        said["label"] = plain(classes[label]) if 0 <= label < len(classes) else None if label == -1 else "not a class"
    values: list[Any] = [plain(float(number)) for number in numbers[:10]]
    return said | ({"scores" if expected.is_classifier else "values": values} if values else {})
