"""Would this model work? Asked without a database: resolved, downloaded, converted, and an engine chosen."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlml import convert, environments, pyfunc, registry
from sqlml.convert.pyfunc import Policy, open_pyfunc
from sqlml.database import open_database
from sqlml.engines import native
from sqlml.engines.choose import choose_engine
from sqlml.engines.pyfunc import NO_SHELL
from sqlml.errors import SqlmlError
from sqlml.registry import ModelVersion
from sqlml.signature import Signature


@dataclass(frozen=True)
class Checked:
    """Whether a model version can be deployed. `why` is the engine's reason, or why there is none."""

    reference: str
    model: str
    works: bool
    engine: str | None
    why: str
    hint: str | None
    estimator: str | None
    inputs: tuple[str, ...]
    outputs: str | None
    exit_code: int
    environment: str | None = None
    """Where the model was loaded: versions, and where the environment comes from."""

    def to_dict(self) -> dict[str, Any]:  # Any: JSON
        return {name: value for name, value in asdict(self).items() if name != "exit_code"}


def check(
    reference: str,
    *,
    engine: str = "auto",
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str = "auto",
    log: Callable[[str], None] = lambda _: None,
) -> Checked:
    """Resolve, download and convert the model, and choose its engine; parity is left to the deployment.

    A model that cannot be deployed is an answer here, not an exception.

    Raises:
        RegistryError: the model could not be found or brought here.
    """
    model = registry.resolve(reference, tracking_uri=tracking_uri, registry_uri=registry_uri)
    policy = {"allow_pickle": allow_pickle, "require_isolation": require_isolation, "model_env": model_env}
    return _checked(model, engine, policy, log)


def check_all(
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str = "auto",
) -> Iterator[Checked]:
    """Every version in the registry, one after the other; one that is damaged is reported and does not stop the rest."""
    policy = {"allow_pickle": allow_pickle, "require_isolation": require_isolation, "model_env": model_env}
    for model in registry.all_versions(tracking_uri=tracking_uri, registry_uri=registry_uri):
        try:
            yield _checked(model, "auto", policy, lambda _: None)
        except SqlmlError as error:
            yield _refused(model, error)


def _checked(model: ModelVersion, engine: str, policy: Mapping[str, Any], log: Callable[[str], None]) -> Checked:
    with tempfile.TemporaryDirectory(prefix="sqlml-") as folder:
        artifact = registry.download(model, Path(folder) / "artifact", log)
        try:
            if engine == "pyfunc":
                return _asked(model, artifact.entry, Policy(**policy), log)
            with (
                pyfunc.named_as_way_out(artifact.flavors),
                convert.open_worker(artifact.entry, log=log, **policy) as worker,
            ):
                onnx = worker.convert()
                with open_database(":memory:") as connection:
                    chosen, why = choose_engine(onnx, engine, native=partial(native.why_not, connection))
        except SqlmlError as error:
            return _refused(model, error)
    return Checked(
        reference=model.reference,
        model=model.description,
        works=True,
        engine=chosen,
        why=why,
        hint=None,
        estimator=onnx.origin.get("estimator"),
        inputs=tuple(
            f"{column.name} {column.type}" + (" NOT NULL" if column.nulls == "refused" else "")
            for column in onnx.signature.columns
        ),
        outputs=_outputs(onnx.signature),
        exit_code=0,
        environment=worker.environment.sentence.partition(": ")[2],
    )


def environment_of(
    reference: str,
    *,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> environments.Choice:
    """The environment that a deployment of this model would load it in; built if it is not there yet.

    Raises:
        RegistryError: the model could not be found or brought here.
        ModelEnvironmentRefused: it cannot be built.
    """
    model = registry.resolve(reference, tracking_uri=tracking_uri, registry_uri=registry_uri)
    with tempfile.TemporaryDirectory(prefix="sqlml-") as folder:
        artifact = registry.download(model, Path(folder) / "artifact")
        return environments.choose(artifact.entry, log=log)


def _asked(model: ModelVersion, entry: Path, policy: Policy, log: Callable[[str], None]) -> Checked:
    """A python_function loads and says what it takes; what it gives is found out with rows of a table."""
    with open_pyfunc(entry, policy, log=log) as worker:
        described = worker.describe(None)
    return Checked(
        reference=model.reference,
        model=model.description,
        works=True,
        engine="pyfunc",
        why=f"asked for: {NO_SHELL}",
        hint=None,
        estimator=worker.origin.get("estimator"),
        inputs=tuple(f"{column.name} {column.type}" for column in described.signature.columns),
        outputs=None,
        exit_code=0,
    )


def _refused(model: ModelVersion, error: SqlmlError) -> Checked:
    return Checked(
        reference=model.reference,
        model=model.description,
        works=False,
        engine=None,
        why=error.message,
        hint=error.hint,
        estimator=None,
        inputs=(),
        outputs=None,
        exit_code=error.exit_code,
    )


def _outputs(signature: Signature) -> str:
    if signature.targets:
        return f"{signature.kind} of {len(signature.targets)} numbers: {', '.join(signature.targets)}"
    if signature.kind == "regressor":
        return f"regressor: {signature.prediction}"
    shown = ", ".join(map(str, signature.classes[:10])) + (" ..." if len(signature.classes) > 10 else "")
    return f"classifier: {signature.prediction} of {len(signature.classes)} classes ({shown})" + (
        ", with probabilities" if signature.probabilities else ""
    )
