"""The strongest engines for trees on a processor: YDF's own C++ engines, and C that tl2cgen writes and gcc compiles."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from bench.cases import FITTED, TASKS, Case
from bench.peers.inside import Refused
from bench.timing import Run, Way

MAX_LEAVES = 60_000
"""gcc -O3 needs ten minutes for the C of a quarter of a million leaves."""
TREES = {
    "GradientBoosting 100x3": {"num_trees": 100, "max_depth": 4},
    "HistGradientBoosting 100x31": {"num_trees": 100, "max_depth": -1, "max_num_nodes": 61},
    "GradientBoosting 300x8": {"num_trees": 300, "max_depth": 9},
    "LightGBM 1000x255": {"num_trees": 1000, "max_depth": -1, "max_num_nodes": 509},
    "RandomForest 100x10": {"num_trees": 100, "max_depth": 11},
}
"""YDF reads no model of another library's that matters here, so it trains one of the same shape (it counts the root as a
level, and nodes instead of leaves)."""


def ydf_benchmark(case: Case, threads: int) -> float:
    """Rows a second of YDF's fastest engine for a model of the same shape, by its own C++ benchmark on 100,000 rows."""
    import ydf

    if case.name not in TREES:
        raise Refused("no trees" if not case.is_mixed else "it has no pipelines")
    ydf.verbose(0)
    rows = _float_columns(case, 100_000)
    found = _ydf_model(case).benchmark(
        rows, benchmark_duration=0.7, warmup_duration=0.2, batch_size=1000, num_threads=threads
    )
    if threads == 1:
        return float(1 / found.duration_per_example)
    # Only its text has the other one.
    said = re.search(r"Multi-thread inference time per example: ([0-9.e+-]+) (\w+)", str(found))
    if said is None:
        raise Refused("it gave no time for several threads")
    return 1 / (float(said[1]) * {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}[said[2]])


def _ydf_model(case: Case) -> Any:
    import ydf

    path = FITTED / f"{case.name.replace(' ', '-')}-ydf-{ydf.__version__}"
    if path.is_dir():
        return ydf.load_model(str(path))
    task = next(task for task in TASKS if task.name == case.name)
    known, labels, _ = task.rows(0)
    data = {**{name: known[name].to_numpy(np.float32) for name in known}, "label": np.asarray(labels)}
    shape: dict[str, Any] = dict(TREES[case.name])
    if "Forest" in case.name:
        learner: Any = ydf.RandomForestLearner(
            label="label", winner_take_all=False, compute_oob_performances=False, num_threads=2, **shape
        )
    else:
        nodes = shape.pop("max_num_nodes", None)
        growing = {"growing_strategy": "BEST_FIRST_GLOBAL", "max_num_nodes": nodes} if nodes else {}
        learner = ydf.GradientBoostedTreesLearner(
            label="label",
            validation_ratio=0.0,
            early_stopping="NONE",
            min_examples=5,
            num_threads=2,
            **shape,
            **growing,
        )
    model = learner.train(data)
    model.save(str(path))
    return model


def _float_columns(case: Case, rows: int) -> dict[str, Any]:
    part = case.rows.head(rows)
    return {name: part[name].to_numpy(np.float32) for name in part}


def compiled_c(case: Case, sizes: tuple[int, ...], threads: int, *, leaves: int) -> Way:
    """tl2cgen: treelite reads the model, gcc -O3 compiles its C; float32 rows that are in memory."""
    import tl2cgen

    if case.is_mixed:
        raise Refused("it has no pipelines")
    if leaves == 0:
        raise Refused("no trees")
    if leaves > MAX_LEAVES:
        raise Refused(f"not tried: gcc -O3 needs too long for {leaves:,} leaves")
    library = FITTED / f"{case.name.replace(' ', '-')}-{tl2cgen.__version__}.so"
    if not library.exists():
        _compile(case, library)
    predictor = tl2cgen.Predictor(str(library.resolve()), nthread=threads)

    def prepare(rows: int) -> Run:
        # Contiguous float32: what its DMatrix takes without a copy (with NumPy 2 it takes nothing else).
        matrix = tl2cgen.DMatrix(np.ascontiguousarray(case.rows.head(rows).to_numpy(dtype=np.float32)))
        return lambda: predictor.predict(matrix)

    return Way("tl2cgen, gcc -O3", prepare, sizes)


def _compile(case: Case, library: Path) -> None:
    import tl2cgen
    import treelite

    kind = type(case.estimator).__name__
    if kind == "LGBMClassifier":
        model = treelite.frontend.from_lightgbm(case.estimator.booster_)
    else:
        model = treelite.sklearn.import_model(case.estimator)
    tl2cgen.export_lib(model, toolchain="gcc", libpath=str(library), params={"parallel_comp": 32}, nthread=2)
