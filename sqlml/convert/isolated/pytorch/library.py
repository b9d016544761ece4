"""mlflow.pytorch: the module becomes ONNX by PyTorch's own exporter, and its own forward in eval mode is the original.

As MLflow asks a PyTorch model: a DataFrame becomes one float32 tensor, an array of a tensor signature stays what it is
(mlflow/pytorch/__init__.py, `_PyTorchWrapper.predict`).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlml.convert.isolated import files
from sqlml.convert.isolated.artifact import Artifact
from sqlml.convert.isolated.inputs import Tensor, declared
from sqlml.convert.isolated.pytorch.original import TorchOriginal
from sqlml.convert.isolated.refusal import Refusal, unsupported

# Any in this module: PyTorch's modules and YAML.
PICKLED, EXPORTED = "model.pth", "model.pt2"
DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "BIGINT": "int64", "INTEGER": "int32", "BOOLEAN": "bool"}
# Of the exporter; both know every operator of a multilayer perceptron. The first is what sqlml writes itself.
OPSETS = (21, 17, 16, 13)
INSTEAD = "Export it with torch.onnx.export and register the .onnx file, or deploy it with --engine pyfunc."


def load(root: Path, flavor: Mapping[str, Any], allow_pickle: bool) -> Artifact:
    try:
        import torch
    except (ImportError, OSError) as error:
        trained = flavor.get("pytorch_version")
        raise unsupported(
            f"The model is PyTorch's, and its own answers cannot be had here: {error}.",
            f"Install it beside sqlml: pip install torch{f'=={trained}' if trained else ''}. Or: {INSTEAD}",
        ) from error
    data = files.inside(root, flavor.get("model_data"), "model_data")
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module, file, kind = _module(torch, data, allow_pickle)
        width, dtype = _row(torch, module, root)
        original = TorchOriginal(module, dtype)
        _refuse_shapes(torch, original, width)
        content = _exported(torch, original, width)
    about = {
        "estimator": type(module).__name__,
        "file": file.name,
        "file sha256": files.sha256(files.read(file, file.name)),
        "serialization": kind,
        "exported by": f"torch {torch.__version__}",
    }
    return Artifact("pytorch", about, estimator=original, onnx=content)


def _module(torch: Any, data: Path, allow_pickle: bool) -> tuple[Any, Path, str]:
    if (data / EXPORTED).is_file():
        program = torch.export.load(str(data / EXPORTED))
        return program.module(), data / EXPORTED, "PyTorch's own"
    file = files.inside(data, PICKLED, "model_data")
    if not allow_pickle:
        raise Refusal(
            "policy",
            f"{file.name} is a pickle, and pickles are forbidden here (SQLML_ALLOW_PICKLE=0).",
            'Log the model with serialization_format="pt2", or register an .onnx file.',
        )
    with contextlib.suppress(ImportError):
        import cloudpickle  # noqa: F401  # what MLflow writes modules with
    try:
        try:
            module = torch.load(str(file), map_location="cpu", weights_only=False)
        except TypeError:  # PyTorch before 1.13 has no such argument, and loads everything
            module = torch.load(str(file), map_location="cpu")
    except ModuleNotFoundError as error:
        raise unsupported(
            f"{file.name} needs the Python module '{error.name}', which is not available to the conversion.",
            "Install it beside sqlml, or log the model with code_paths.",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever the artifact's own code raises is its defect, not ours
        raise Refusal("artifact", f"{file.name} could not be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise unsupported(f"{file.name} holds a {type(module).__name__}, not a torch.nn.Module.", INSTEAD)
    module.eval()
    return module, file, "pickle"


def _row(torch: Any, module: Any, root: Path) -> tuple[int, Any]:
    """How many values a row has, and their dtype: from the MLflow signature, else from the module's first layer."""
    from sqlml.convert.isolated.loading import mlmodel

    document = mlmodel(root).get("signature")
    inputs = declared(document if isinstance(document, dict) else None)
    if isinstance(inputs, Tensor):
        if inputs.type not in DTYPES:
            raise unsupported("The model's signature has a tensor of text, and PyTorch computes with numbers.", INSTEAD)
        return inputs.width, getattr(torch, DTYPES[inputs.type])
    if isinstance(inputs, tuple):
        texts = [column.name for column in inputs if column.is_text]
        if texts:
            raise unsupported(
                f"Column '{texts[0]}' of the model's signature is text, and PyTorch takes numbers.", INSTEAD
            )
        return len(inputs), torch.float32
    first = next((part.in_features for part in module.modules() if isinstance(part, torch.nn.Linear)), None)
    if first is None:
        raise unsupported("Nothing says how many values a row of the model's input has.", "Log it with a signature.")
    return int(first), next((value.dtype for value in module.parameters()), torch.float32)


def _refuse_shapes(torch: Any, original: TorchOriginal, width: int) -> None:
    """Forward must take one tensor of rows, and answer with as many rows of numbers."""
    for rows in (2, 3):
        try:
            said = original.answers(torch.zeros((rows, width), dtype=original.dtype))
        except Exception as error:  # the module's own code may raise anything
            raise unsupported(
                f"The model's forward does not take one tensor [{rows}, {width}] of {original.dtype}:"
                f" {type(error).__name__}: {error}"[:600],
                "Log it with a signature of its input, one row of numbers for each row of the table. " + INSTEAD,
            ) from error
        for values in said:
            if values.ndim not in (1, 2) or values.shape[0] != rows:
                shape = list(values.shape)
                raise unsupported(f"The model answers {rows} rows with a tensor of shape {shape}.", INSTEAD)


def _exported(torch: Any, original: TorchOriginal, width: int) -> bytes:
    """By the exporter that traces, which every PyTorch from 1.13 on has; newer ones are asked for it by name."""
    example = torch.zeros((2, width), dtype=original.dtype)
    names = [f"output_{i}" for i in range(len(original.answers(example)))]
    axes = {name: {0: "N"} for name in ("X", *names)}
    given = {"input_names": ["X"], "output_names": names, "dynamic_axes": axes}
    attempts: Sequence[dict[str, Any]] = [
        *({**given, "opset_version": opset, "dynamo": False} for opset in OPSETS),
        *({**given, "opset_version": opset} for opset in OPSETS),
    ]
    failures = []
    for arguments in attempts:
        buffer = io.BytesIO()
        try:
            torch.onnx.export(original.module, (example,), buffer, **arguments)
        except MemoryError:
            raise
        except Exception as error:  # an argument or an opset that this PyTorch does not know, or an operator
            failures.append(f"{type(error).__name__}: {error}".splitlines()[0][:300])
            continue
        return buffer.getvalue()
    said = max(failures, key=failures.count)
    raise unsupported(f"PyTorch {torch.__version__} cannot export this model to ONNX: {said}", INSTEAD)
