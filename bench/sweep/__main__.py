"""`make sweep`: every estimator of scikit-learn through sqlml, skl2onnx + onnxruntime and orbital, on this machine.

The models are trained here from code. Each peer gets each model in a process of its own and with its best settings, and
answers the same rows: training rows, split thresholds and their neighbours, extremes, gaps, unknown text. Agreement is
1e-6 relative for all, so float32 is not held against anybody.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.sweep.cases import Case, cases
from bench.sweep.peers import ORBITAL, SKL2ONNX, SQLML, Peer
from bench.sweep.report import page, progress, totals
from bench.sweep.verdicts import SECONDS, Verdict, judge

PEERS = {"sqlml": SQLML, "skl2onnx": SKL2ONNX, "orbital": ORBITAL}
RESULTS = Path(__file__).resolve().parents[1] / "results" / "sweep.md"

Found = dict[Peer, dict[Case, Verdict]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=(__doc__ or "").split("\n\n")[1])
    parser.add_argument("names", nargs="*", help="estimators, as KMeans or SVC; all of them without")
    parser.add_argument("--peers", default="sqlml,skl2onnx,orbital", help="which of them, separated by commas")
    parser.add_argument("--examples", type=int, default=5, help="counter-examples to print for each peer")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for one model and one peer")
    parser.add_argument("--save", action="store_true", help=f"write the table to {RESULTS.parent.name}/{RESULTS.name}")
    given = parser.parse_args(arguments)
    peers = [PEERS[name] for name in given.peers.split(",") if name in PEERS]
    chosen = [case for case in cases() if not given.names or case.name in given.names]
    if not peers or not chosen:
        parser.error(f"nothing to do: peers are {', '.join(PEERS)}, estimators those of sklearn's all_estimators()")
    found: Found = {peer: {} for peer in peers}
    for number, case in enumerate(chosen, start=1):
        for peer in peers:
            found[peer][case] = judge(peer, case, given.seconds)
        progress(number, len(chosen), case, [found[peer][case] for peer in peers])
    print(totals(found, examples=given.examples))
    if given.save:
        RESULTS.write_text(page(found), encoding="utf-8")
        print(f"Written to {RESULTS}")
    return 1 if any(v.status in ("wrong", "failed") for v in found.get(SQLML, {}).values()) else 0


if __name__ == "__main__":
    sys.exit(main())
