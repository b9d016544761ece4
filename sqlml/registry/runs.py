"""What the registry knows around a model version: its run, its training data, and the tags we leave on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlml.errors import ModelNotFound, RegistryError
from sqlml.registry.artifacts import DIGEST_TAG
from sqlml.registry.references import ModelVersion
from sqlml.registry.store import opened

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput


@dataclass(frozen=True)
class TrainingDataset:
    """A dataset as MLflow logged it; `columns` are (name, type) in MLflow's own type names, empty if it logged none."""

    name: str
    digest: str
    source: str
    source_type: str
    context: str | None
    columns: tuple[tuple[str, str], ...]
    version: str | None = None
    """Of the source, where it has versions: a Delta table's, a Hugging Face revision."""


@dataclass(frozen=True)
class RunFacts:
    """The run that made a model version. `problem` says why the rest is empty, where MLflow could not tell."""

    run_id: str
    name: str | None = None
    experiment: str | None = None
    user: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    datasets: tuple[TrainingDataset, ...] = ()
    problem: str | None = None


def run_facts(model_version: ModelVersion, run_id: str | None = None) -> RunFacts | None:
    """The run behind a model version; None if it has none. `run_id` is what MLmodel says, where the registry is silent.

    A deployment does not depend on this: a run that was deleted or cannot be read gives facts with a `problem`.
    """
    run_id = model_version.run_id or run_id
    if run_id is None:
        return None
    try:
        with opened(model_version.tracking_uri, model_version.registry_uri) as store:
            run = store.client.get_run(run_id)
            experiment = store.client.get_experiment(run.info.experiment_id)
            inputs = run.inputs.dataset_inputs if run.inputs else []
            return RunFacts(
                run_id=run_id,
                name=run.info.run_name,
                experiment=experiment.name,
                user=run.data.tags.get("mlflow.user"),
                params=dict(run.data.params),
                metrics=dict(run.data.metrics),
                datasets=tuple(_dataset(entry) for entry in inputs),
            )
    except RegistryError as error:
        return RunFacts(run_id, problem=error.message)


def _dataset(entry: DatasetInput) -> TrainingDataset:
    tags = {tag.key: tag.value for tag in entry.tags}
    return TrainingDataset(
        name=entry.dataset.name,
        digest=entry.dataset.digest,
        source=_source(entry.dataset.source),
        source_type=entry.dataset.source_type,
        context=tags.get("mlflow.data.context"),
        columns=_columns(entry.dataset.schema),
        version=_version(entry.dataset.source),
    )


def _source(text: str) -> str:
    """The URI inside MLflow's JSON, or the JSON where there is no single one."""
    try:
        described = json.loads(text)
    except ValueError:
        return text
    for key in ("uri", "url", "path", "delta_table_name", "table_name"):
        if isinstance(described, dict) and isinstance(described.get(key), str):
            return str(described[key])
    return text


def _version(text: str) -> str | None:
    """The source's own version inside MLflow's JSON."""
    try:
        described = json.loads(text)
    except ValueError:
        return None
    for key in ("delta_table_version", "version", "revision", "snapshot_id"):
        if isinstance(described, dict) and isinstance(described.get(key), int | str) and described[key] != "":
            return str(described[key])
    return None


def _columns(schema: str | None) -> tuple[tuple[str, str], ...]:
    try:
        described = json.loads(schema or "null")
        return tuple((str(entry["name"]), str(entry["type"])) for entry in described["mlflow_colspec"])
    except (ValueError, TypeError, KeyError):  # tensors, other formats, or nothing logged
        return ()


def tag(model_version: ModelVersion, tags: Mapping[str, str]) -> str | None:
    """Set tags on the registered version and on its run: best effort. Returns a warning if that failed, else None.

    One of them that MLflow no longer has cannot be told, and is no failure.
    """
    if model_version.number is None and model_version.run_id is None:
        return None
    try:
        with opened(model_version.tracking_uri, model_version.registry_uri) as store:
            for key, value in tags.items() if model_version.number is not None else ():
                store.client.set_model_version_tag(model_version.name, str(model_version.number), key, value)
    except ModelNotFound:
        pass
    except RegistryError as error:
        return f"MLflow was not told about it: {error.message}"
    if model_version.run_id is None:
        return None
    try:
        with opened(model_version.tracking_uri, model_version.registry_uri) as store:
            from mlflow.entities import RunTag

            # A run may have made several models: what identifies one's files is no fact about it.
            of_run = [RunTag(key, value) for key, value in tags.items() if key != DIGEST_TAG]
            store.client.log_batch(model_version.run_id, tags=of_run)
    except ModelNotFound:
        pass
    except RegistryError as error:
        return f"MLflow was not told about it: {error.message}"
    return None
