"""CatBoost beside scikit-learn: see libraries.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlml.convert.isolated import files
from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.catboost.original import ESTIMATORS, asked, inputs_of, own
from sqlml.convert.isolated.catboost.predictors import CANDIDATES, predictors
from sqlml.convert.isolated.refusal import Refusal, unsupported

__all__ = ["asked", "inputs_of", "load", "own", "predictors"]

# Any in this module: YAML and JSON.
FORMATS = ("cbm", "json")
MOST_TEXTS = 100_000
EXAMPLE = "input_example.json"


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    """MLflow keeps CatBoost's models as CatBoost's own files: no pickle."""
    try:
        import catboost
    except (ImportError, OSError) as error:
        trained = flavor.get("catboost_version")
        raise unsupported(
            f"The model is CatBoost's, which has to read it: {error}.",
            f"Install it beside sqlml: pip install catboost{f'=={trained}' if trained else ''}",
        ) from error
    name, kind = str(flavor.get("model_type") or "CatBoost"), str(flavor.get("save_format") or "cbm")
    if name not in ESTIMATORS or not hasattr(catboost, name):
        raise unsupported(f"The model is a {name}, and sqlml converts {', '.join(ESTIMATORS)}.")
    if kind not in FORMATS:
        raise unsupported(f"The model was saved as {kind!r}; sqlml reads {' and '.join(FORMATS)}.")
    file = files.inside(root, flavor.get("data") or "model.cb", "data")
    digest = files.sha256(files.read(file, file.name))
    estimator = getattr(catboost, name)()
    try:
        estimator.load_model(str(file), format=kind)
    except catboost.CatBoostError as error:
        first = (str(error).splitlines() or ["?"])[0]
        raise Refusal("artifact", f"{file.name} could not be loaded as {name}: {first[:300]}") from error
    setattr(estimator, CANDIDATES, tuple(example_texts(root / EXAMPLE)))
    origin = {"estimator": name, "file": file.name, "file sha256": digest, "serialization": f"CatBoost's own ({kind})"}
    return Artifact("catboost", origin, estimator=estimator)


def example_texts(path: Path) -> Iterator[str]:
    """Every text in MLflow's input example: categories that the model may have been trained on."""
    try:
        if not path.is_file() or path.stat().st_size > files.LARGEST_TEXT:
            return
        waiting: list[Any] = [json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError):
        return
    seen: set[str] = set()
    while waiting and len(seen) < MOST_TEXTS:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            seen.add(value)
    yield from sorted(seen)
