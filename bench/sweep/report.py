"""What the sweep prints and saves: counts, counter-examples, and one line for each model."""

from __future__ import annotations

import os
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata

from bench.sweep.cases import Case
from bench.sweep.peers import Peer
from bench.sweep.verdicts import Verdict

MEANING = {
    "exact": "the original's answer on every row, and no answer where the original raises",
    "willing": "the original's answers, and answers too where the original raises",
    "wrong": "another answer on some row, without a word",
    "refused": "the model is not taken",
    "failed": "a crash, an error while answering, or no answer in time",
}
Found = Mapping[Peer, Mapping[Case, Verdict]]


def progress(number: int, count: int, case: Case, verdicts: Sequence[Verdict]) -> None:
    line = f"{number:4d}/{count}  {case!s:44.44} {'  '.join(f'{v.status:8}' for v in verdicts)}"
    print(line, file=sys.stderr)


def totals(found: Found, *, examples: int) -> str:
    lines = ["", counts(found)]
    for peer, verdicts in found.items():
        wrong = [(case, v) for case, v in verdicts.items() if v.status == "wrong"]
        wrong.sort(key=lambda entry: -entry[1].wrong_ordinary)
        if wrong and examples:
            lines.append(f"\n{peer.name}: wrong without a word, {min(examples, len(wrong))} of {len(wrong)} models")
        for case, verdict in wrong[:examples]:
            ordinary = f", {verdict.wrong_ordinary} of them training rows" if verdict.wrong_ordinary else ""
            lines.append(f"  {case}: {verdict.wrong} of {verdict.rows} rows{ordinary}\n    {verdict.example}")
        failed = [(case, v) for case, v in verdicts.items() if v.status == "failed"]
        if failed and examples:
            lines.append(f"\n{peer.name}: failed, {min(examples, len(failed))} of {len(failed)} models")
        lines += [f"  {case}: {verdict.why}" for case, verdict in failed[:examples]]
    return "\n".join(lines)


def counts(found: Found) -> str:
    width = max(len(peer.name) for peer in found)
    lines = [f"{'':{width}}  " + "  ".join(f"{status:>8}" for status in MEANING)]
    for peer, verdicts in found.items():
        seen = Counter(v.status for v in verdicts.values())
        lines.append(f"{peer.name:{width}}  " + "  ".join(f"{seen[status]:8d}" for status in MEANING))
    return "\n".join([*lines, "", *(f"{status}: {meaning}" for status, meaning in MEANING.items())])


def page(found: Found) -> str:
    """The saved result, as Markdown."""
    packages = ("scikit-learn", "duckdb", "onnxruntime", "skl2onnx", "orbital")
    versions = ", ".join(f"{name} {version}" for name in packages if (version := installed(name)))
    lines = [
        "# Every estimator of scikit-learn, beside its peers",
        "",
        f"`make sweep`, {versions}, Python {platform.python_version()}, {os.cpu_count()} cores. Models are trained from",
        "code; agreement is 1e-6 relative for everyone; each peer with the better of double and float inputs.",
        "",
        "| | " + " | ".join(MEANING) + " |",
        "| --- |" + " ---: |" * len(MEANING),
    ]
    for peer, verdicts in found.items():
        seen = Counter(v.status for v in verdicts.values())
        lines.append(f"| {peer.name} | " + " | ".join(str(seen[status]) for status in MEANING) + " |")
    lines += ["", *(f"- {status}: {meaning}" for status, meaning in MEANING.items()), ""]
    lines += ["| Model | " + " | ".join(peer.name for peer in found) + " |", "| --- |" + " --- |" * len(found)]
    for case in next(iter(found.values())):
        lines.append(f"| {case} | " + " | ".join(cell(verdicts[case]) for verdicts in found.values()) + " |")
    return "\n".join(lines) + "\n"


def cell(verdict: Verdict) -> str:
    if verdict.status != "wrong":
        return verdict.status
    ordinary = f", {verdict.wrong_ordinary} ordinary" if verdict.wrong_ordinary else ""
    return f"wrong: {verdict.wrong} of {verdict.rows} rows{ordinary}"


def installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
