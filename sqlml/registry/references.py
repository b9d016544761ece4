"""Every way in which a person names a model version, and what it comes to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml.errors import ModelNotFound, RegistryError, UsageError, choices
from sqlml.registry import mlmodel
from sqlml.registry.store import Store, local_path, opened, shown

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Registered
    from mlflow.entities.model_registry import RegisteredModel

STAGES = ("Production", "Staging", "Archived")
FORMS = (
    "Forms: NAME:ALIAS, NAME@ALIAS, NAME:VERSION, models:/NAME/VERSION, models:/m-ID, runs:/ID/PATH,"
    " a path to a .onnx file or to an MLflow model directory."
)


@dataclass(frozen=True)
class ModelVersion:
    """One immutable model version, and how it was found.

    `number` is None for what no registry numbers: a run's model, a logged model, a path. `found_by` says what the
    reference came to, such as "alias Production", "stage Staging", "version 3" or "path".
    `location` is where the files are: a path on this machine or a URI of an artifact store.
    """

    reference: str
    name: str
    found_by: str
    location: str
    number: int | None = None
    run_id: str | None = None
    model_id: str | None = None
    source: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    tracking_uri: str | None = None
    registry_uri: str | None = None

    @property
    def is_registered(self) -> bool:
        return self.number is not None

    @property
    def description(self) -> str:
        """For people: `churn v7 (alias Production)`, `model (path models/model.onnx)`."""
        version = f" v{self.number}" if self.number is not None else ""
        return f"{self.name}{version} ({self.found_by})"

    @property
    def uri(self) -> str:
        """A reference that always means this very version, to be recorded."""
        if self.number is not None:
            return f"models:/{self.name}/{self.number}"
        return self.source or self.location

    def __str__(self) -> str:
        return self.description


def resolve(reference: str, *, tracking_uri: str | None = None, registry_uri: str | None = None) -> ModelVersion:
    """The model version that `reference` names; None for a URI means what MLflow itself would use.

    A word after the model's name is an alias first, then a stage, then a number (`churn:3`, `churn:v3`,
    `churn:latest`). A name alone is enough where the model has one version; else the choices are listed.

    Raises:
        UsageError: this is no reference.
        ModelNotFound: there is no such model, alias, stage, version, run or path; the message lists what there is.
        RegistryError: the registry could not be read.
    """
    if not reference.strip() or "\x00" in reference:
        raise UsageError(f"{reference!r} is not a model reference.", hint=FORMS)
    if _is_path(reference):
        return _of_path(reference)
    with opened(tracking_uri, registry_uri) as store:
        if match := re.fullmatch(r"runs:/+([^/]+)/(.+)", reference):
            return _of_run(store, reference, match[1], match[2].rstrip("/"))
        if match := re.fullmatch(r"models:/+(m-[0-9a-f]{32})/?", reference):
            return _of_logged_model(store, reference, match[1])
        return registered(store, reference)


def registered(store: Store, reference: str) -> ModelVersion:
    """Of a reference with a registered model's name.

    Raises:
        ModelNotFound: there is no such model, alias, stage or version.
        RegistryError: it is not ready.
    """
    name, word, is_alias = _parts(reference)
    try:
        return _of_registry(store, reference, name, word, is_alias=is_alias)
    except ModelNotFound:
        if is_alias and _exists(store, f"{name}@{word}"):  # MLflow allows an @ in a model's name
            return _of_registry(store, reference, f"{name}@{word}", None)
        raise


def all_versions(*, tracking_uri: str | None = None, registry_uri: str | None = None) -> Iterator[ModelVersion]:
    """Every version of every registered model, by name and number."""
    with opened(tracking_uri, registry_uri) as store:
        found: list[Registered] = []
        token = None
        while True:
            page = store.client.search_model_versions(max_results=1000, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                break
        versions = sorted(found, key=lambda version: (version.name, int(version.version)))
        located = [_located(store, f"{v.name}:{v.version}", v, f"version {v.version}") for v in versions]
    yield from located


def name_in(reference: str) -> str | None:
    """The registered model's name that a reference says; None where it says a run, a logged model or a path.

    >>> name_in("churn:Production"), name_in("models:/churn@champion"), name_in("./model.onnx")
    ('churn', 'churn', None)
    """
    if not reference.strip() or _is_path(reference) or re.match(r"runs:/|models:/+m-[0-9a-f]{32}/?$", reference):
        return None
    return _parts(reference)[0]


def may_move(reference: str) -> bool:
    """Whether a reference may mean another version tomorrow: an alias or a stage does, and `latest`.

    >>> [may_move(text) for text in ("churn:Production", "churn@champion", "churn:latest", "models:/churn/Staging")]
    [True, True, True, True]
    >>> [may_move(text) for text in ("churn:3", "churn:v3", "churn", "runs:/0a1b/model", "./model.onnx")]
    [False, False, False, False, False]
    """
    if name_in(reference) is None:
        return False
    _, word, is_alias = _parts(reference)
    return word is not None and (is_alias or re.fullmatch(r"v?[0-9]{1,18}", word, re.IGNORECASE) is None)


def _is_path(reference: str) -> bool:
    if re.match(r"(models|runs):/", reference):
        return False
    return reference.endswith(".onnx") or "/" in reference or os.sep in reference or reference.startswith(("~", "."))


def _parts(reference: str) -> tuple[str, str | None, bool]:
    """(name, alias or stage or number, it can only be an alias) of `churn:Production` and `models:/churn/Production`."""
    body = reference
    separator = ":"
    if match := re.match(r"models:/+", reference):
        body = reference[match.end() :]
        separator = "/"
    for mark, is_alias in ((separator, False), (":", False), ("@", True)):
        name, found, word = body.rpartition(mark)
        if found:
            if not name or not word:
                raise UsageError(f"{reference!r} is not a model reference.", hint=FORMS)
            return name, word, is_alias
    return body, None, False


def _of_registry(store: Store, reference: str, name: str, word: str | None, *, is_alias: bool = False) -> ModelVersion:
    model = _registered_model(store, name)
    if word is None:
        return _only_version(store, reference, model)
    aliases: dict[str, str] = dict(model.aliases)
    if word in aliases:
        number, found_by = int(aliases[word]), f"alias {word}"
        stage = _in_stage(model, word)
        if stage is not None and stage != number:
            found_by += f"; the stage {word} is v{stage}"
    elif is_alias:
        raise ModelNotFound(
            f"{name} has no alias {word!r}.", hint=choices(list(aliases), wrong=word), valid=list(aliases)
        )
    elif (staged := _in_stage(model, word)) is not None:
        number, found_by = staged, f"stage {word.capitalize()}"
    elif match := re.fullmatch(r"v?([0-9]{1,18})", word, re.IGNORECASE):
        number, found_by = int(match[1]), f"version {int(match[1])}"
    elif word.lower() == "latest":
        number, found_by = max(_numbers(store, name), default=0), "latest"
    else:
        number, found_by = -1, ""
    version = _version(store, name, number) if number > 0 else None
    if version is None:
        valid = [*aliases, *_stages_in_use(model), *(str(n) for n in _numbers(store, name))]
        raise ModelNotFound(
            f"{name} has no alias, stage or version {word!r}.", hint=choices(valid, wrong=word), valid=valid
        )
    return _located(store, reference, version, found_by)


def _only_version(store: Store, reference: str, model: RegisteredModel) -> ModelVersion:
    numbers = _numbers(store, model.name)
    if len(numbers) == 1:
        version = _version(store, model.name, numbers[0])
        if version is not None:
            return _located(store, reference, version, "its only version")
    valid = [f"{model.name}:{word}" for word in (*model.aliases, *_stages_in_use(model), *numbers)]
    if not valid:
        raise ModelNotFound(f"{model.name} is registered, but has no version.", hint="Register one with MLflow.")
    raise ModelNotFound(f"{model.name} has {len(numbers)} versions: say which.", hint=choices(valid), valid=valid)


def _registered_model(store: Store, name: str) -> RegisteredModel:
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            raise
    valid = sorted(model.name for model in store.client.search_registered_models(max_results=1000))
    there = f" A path is written with a slash: ./{name}." if Path(name).exists() else ""
    raise ModelNotFound(
        f"There is no model {name!r} in the registry {shown(store.registry_uri)}.{there}",
        hint=choices(valid, wrong=name),
        valid=valid,
    )


def _exists(store: Store, name: str) -> bool:
    try:
        _registered_model(store, name)
    except ModelNotFound:
        return False
    return True


def _version(store: Store, name: str, number: int) -> Registered | None:
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return None
        raise


def _numbers(store: Store, name: str) -> list[int]:
    """All versions of the model, oldest first."""
    quoted = f"'{name}'" if "'" not in name else f'"{name}"'
    if "'" in name and '"' in name:  # MLflow's filter has no escape for that
        return sorted(int(v.version) for v in _registered_model(store, name).latest_versions)
    found: list[int] = []
    token = None
    while True:
        page = store.client.search_model_versions(f"name={quoted}", max_results=1000, page_token=token)
        found.extend(int(version.version) for version in page)
        token = page.token
        if not token:
            return sorted(found)


def _in_stage(model: RegisteredModel, word: str) -> int | None:
    """The highest version in the stage of this name, as MLflow itself resolves `models:/churn/Production`."""
    numbers = [
        int(version.version)
        for version in model.latest_versions or ()
        if word.capitalize() in STAGES and version.current_stage == word.capitalize()
    ]
    return max(numbers, default=None)


def _stages_in_use(model: RegisteredModel) -> list[str]:
    return [stage for stage in STAGES if stage not in model.aliases and _in_stage(model, stage) is not None]


def _located(store: Store, reference: str, version: Registered, found_by: str) -> ModelVersion:
    if version.status != "READY":
        raise RegistryError(
            f"{version.name} v{version.version} is not ready: {version.status}"
            f"{f' ({version.status_message})' if version.status_message else ''}.",
            hint="Register it again, or wait until MLflow has finished.",
        )
    match = re.fullmatch(r"models:/(m-[0-9a-f]{32})", version.source or "")
    return ModelVersion(
        reference=reference,
        name=version.name,
        number=int(version.version),
        found_by=found_by,
        location=_place(store.client.get_model_version_download_uri(version.name, version.version)),
        run_id=version.run_id or None,
        model_id=match[1] if match else version.model_id,  # 3.17 leaves model_id None
        source=version.source,
        tags=dict(version.tags or {}),
        tracking_uri=store.tracking_uri,
        registry_uri=store.registry_uri,
    )


def _place(uri: str) -> str:
    """A path where the files are on this machine, else the artifact store's URI."""
    path = local_path(uri)
    return str(path) if path is not None else uri


def _of_run(store: Store, reference: str, run_id: str, path: str) -> ModelVersion:
    run = store.client.get_run(run_id)
    common: dict[str, Any] = {  # Any: fields of ModelVersion
        "reference": reference,
        "found_by": f"run {run.info.run_name or run_id}",
        "run_id": run_id,
        "source": reference,
        "tracking_uri": store.tracking_uri,
        "registry_uri": store.registry_uri,
    }
    logged = [store.client.get_logged_model(output.model_id) for output in (run.outputs or _NONE).model_outputs]
    for model in reversed(logged):  # MLflow 3: models stand beside the runs; the last of a name wins
        if model.name == path:
            return ModelVersion(
                name=model.name, location=_place(model.artifact_location), model_id=model.model_id, **common
            )
    if any(entry.path == f"{path}/MLmodel" for entry in store.client.list_artifacts(run_id, path)):
        location = f"{(run.info.artifact_uri or '').rstrip('/')}/{path}"
        return ModelVersion(name=path.rsplit("/", 1)[-1], location=_place(location), **common)
    valid = [model.name for model in logged] or [
        entry.path for entry in store.client.list_artifacts(run_id) if entry.is_dir
    ]
    raise ModelNotFound(f"The run {run_id} has no model at {path!r}.", hint=choices(valid, wrong=path), valid=valid)


class _NONE:
    """Stands for the outputs of a run made before MLflow 3."""

    model_outputs: tuple[Any, ...] = ()  # Any: never filled


def _of_logged_model(store: Store, reference: str, model_id: str) -> ModelVersion:
    model = store.client.get_logged_model(model_id)
    return ModelVersion(
        reference=reference,
        name=model.name,
        found_by=f"logged model {model_id}",
        location=_place(model.artifact_location),
        run_id=model.source_run_id or None,
        model_id=model_id,
        source=f"models:/{model_id}",
        tags=dict(model.tags or {}),
        tracking_uri=store.tracking_uri,
        registry_uri=store.registry_uri,
    )


def _of_path(reference: str) -> ModelVersion:
    path = Path(reference).expanduser()
    if path.is_dir() and (path / mlmodel.FILE_NAME).is_file():
        described = mlmodel.read(path)
        run_id, model_id = described.get("run_id"), described.get("model_id")
        name = path.absolute().name
    elif path.is_file() and path.suffix == ".onnx":
        run_id = model_id = None
        name = path.stem
    elif path.exists():
        what = "directory without an MLmodel file" if path.is_dir() else "file, but not a .onnx file"
        raise ModelNotFound(f"{path} is a {what}.", hint=FORMS)
    else:
        raise ModelNotFound(f"There is no file or directory {path}.", hint=FORMS)
    return ModelVersion(
        reference=reference,
        name=name,
        found_by=f"path {reference}",
        location=str(path.absolute()),
        run_id=run_id if isinstance(run_id, str) else None,
        model_id=model_id if isinstance(model_id, str) else None,
        source=str(path.absolute()),
    )
