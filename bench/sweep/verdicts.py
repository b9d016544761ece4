"""One peer on one case: exact, too willing, wrong, refused or failed; in a process of its own with a time limit."""

from __future__ import annotations

import math
import multiprocessing
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.sweep.answers import Said, largest_difference, of_original, same
from bench.sweep.cases import Case
from bench.sweep.original import answers
from bench.sweep.peers import Answers, Peer, Refused, one_line
from bench.sweep.rows import Row, clean, columns_of, hostile_rows
from sqlml.signature import Column

# Any in this module: models and pipes.
Status = Literal["exact", "willing", "wrong", "refused", "failed"]
ORDER: tuple[Status, ...] = ("exact", "willing", "wrong", "failed", "refused")
ORDINARY = 24
"""Rows of the training table; the hostile ones come on top."""
HUGE = 1e12
SECONDS = 60.0


@dataclass(frozen=True)
class Verdict:
    """`exact`: the original's answer on every row, and none where it raises. `willing`: the same, but it answers where
    the original raises. `wrong_ordinary` counts the wrong ones among the training rows."""

    status: Status
    why: str = ""
    rows: int = 0
    wrong: int = 0
    wrong_ordinary: int = 0
    answered_anyway: int = 0
    largest: float = 0.0
    example: str = ""


def judge(peer: Peer, case: Case, seconds: float = SECONDS) -> Verdict:
    """The peer's verdict by the best of its ways. A crash, or more time than allowed, is `failed`."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    worker = context.Process(target=_judge, args=(peer, case, theirs))
    worker.start()
    theirs.close()
    try:
        if ours.poll(seconds):
            found: Verdict = ours.recv()
            return found
        return Verdict("failed", f"no answer within {seconds:g} s")
    except EOFError:
        worker.join()
        return Verdict("failed", f"the process ended with code {worker.exitcode}")
    finally:
        worker.kill()
        worker.join()
        ours.close()


def _judge(peer: Peer, case: Case, reply: Any) -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, frame = case.fit()
        columns = columns_of(frame)
        rng = np.random.default_rng(0)
        some = frame.iloc[rng.choice(len(frame), min(ORDINARY, len(frame)), replace=False)]
        base = [clean(row) for row in some.to_dict(orient="records")]
        # The text "nan" is how a DataFrame's missing text reaches skl2onnx, which then cannot tell them apart.
        rows = [row for row in hostile_rows(model, base, columns, rng) if "nan" not in row.values()]
        original = [of_original(said) for said in answers(model, rows, columns, {})]
        verdicts = [attempt(way, model, columns, rows, original, sums=case.sums) for _, way in peer.ways]
    best = min(verdicts, key=lambda v: (ORDER.index(v.status), v.wrong))
    reply.send(best)


def attempt(
    way: Any, model: Any, columns: Sequence[Column], rows: Sequence[Row], original: Answers, *, sums: bool
) -> Verdict:
    try:
        given = way(model, columns, rows)
    except Refused as refusal:
        return Verdict("refused", str(refusal))
    except Exception as error:  # a peer's own, at any point
        return Verdict("failed", one_line(error))
    return compared(rows, original, given, sums=sums)


def compared(rows: Sequence[Row], original: Answers, given: Answers, *, sums: bool) -> Verdict:
    wrong: list[tuple[int, str]] = []
    anyway, largest = 0, 0.0
    for i, (row, wanted, said) in enumerate(zip(rows, original, given, strict=True)):
        if wanted is None:
            anyway += said is not None
            continue
        if sums and any(isinstance(v, (int, float)) and abs(float(v)) > HUGE for v in row.values()):
            continue
        nothing = bool(wanted.numbers) and all(math.isnan(v) for v in wanted.numbers)
        if said is None and nothing:
            continue
        if said is None or not same(wanted, said):
            wrong.append((i, f"{shown(row)}: the original says {wanted}, it says {said or 'nothing'}"))
        else:
            largest = max(largest, largest_difference(wanted, said))
    ordinary = sum(i < ORDINARY for i, _ in wrong)
    status: Status = "wrong" if wrong else "willing" if anyway else "exact"
    example = wrong[0][1] if wrong else ""
    if status == "willing":
        first = next(i for i, said in enumerate(given) if said is not None and original[i] is None)
        example = f"{shown(rows[first])}: the original raises, it says {given[first]}"
    return Verdict(status, "", len(rows), len(wrong), ordinary, anyway, largest, example)


def shown(row: Row) -> str:
    listed = [f"{name}={value!r}" for name, value in row.items()]
    return ", ".join(listed[:6]) + (", ..." if len(listed) > 6 else "")


__all__ = ["Said", "Status", "Verdict", "compared", "judge"]
