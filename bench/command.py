"""`python -m bench`: what is measured, in what order, and for how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from bench.experiments.explained import explained
from bench.experiments.memory import memory
from bench.experiments.models import models
from bench.experiments.parallel import parallel
from bench.experiments.selected import selected
from bench.experiments.single import single
from bench.experiments.sizes import sizes
from bench.experiments.stamped import stamped
from bench.experiments.why import why
from bench.experiments.wide import wide
from bench.machine import about, machine
from bench.timing import use_processor_time

RESULTS = Path(__file__).parent / "results"
EXPERIMENTS: dict[str, Callable[[int], Iterator[str]]] = {
    "models": models,
    "memory": memory,
    "parallel": parallel,
    "selected": selected,
    "single": single,
    "wide": wide,
    "sizes": sizes,
    "explained": explained,
    "stamped": stamped,
    "why": why,
}


@click.command()
@click.option("--rounds", default=5, show_default=True, help="The median of so many is shown.")
@click.option("--only", default="", help=f"One of {', '.join(EXPERIMENTS)}, or a part of a model's name.")
@click.option("--minutes", default=12.0, show_default=True, help="Nothing new is begun after so many.")
@click.option(
    "--processor-time", is_flag=True, help="For a busy machine; only the rows of one thread mean anything then."
)
@click.option("--save/--no-save", default=False, help="Write what is shown into bench/results, by the kind of machine.")
def main(rounds: int, only: str, minutes: float, processor_time: bool, save: bool) -> None:
    """Measure the engines beside their peers, in turns. Fitting the models is done once and takes some minutes more."""
    if processor_time:
        use_processor_time()
    lines: list[str] = [*(["PROCESSOR TIME, on a busy machine"] if processor_time else [])]
    for line in everything(rounds, only, minutes):
        lines.append(line)
        print(line, flush=True)
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{machine().replace(' ', '-')}.txt").write_text("\n".join(lines) + "\n")


def everything(rounds: int, only: str, minutes: float) -> Iterator[str]:
    began = time.monotonic()
    yield from about()
    yield f"Ways take turns, {rounds} rounds; rows/s are medians; a ratio is the median of the rounds' own ratios"
    yield "onnxruntime and scikit-learn get arrays that are in memory; what runs in DuckDB scans and sums"
    wanted = {only: EXPERIMENTS[only]} if only in EXPERIMENTS else {"models": lambda n: models(n, only)}
    for name, experiment in (wanted if only else EXPERIMENTS).items():
        if time.monotonic() - began > 60 * minutes:
            yield f"\n{name}: not measured, {minutes:g} minutes are over"
            continue
        try:
            yield from experiment(rounds)
        except Exception as error:  # whatever it is, the rest of a long run is still wanted
            yield f"\n{name}: {type(error).__name__}: {error}"
    yield f"\n{time.monotonic() - began:.0f} s in all"
