"""python_functions as people log them, for tests; each is saved as `mlflow.pyfunc.save_model` would anywhere."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema

IMPORTS = "import os, socket, subprocess, time\nimport mlflow\nimport numpy as np\nimport pandas as pd\n\n"
INPUTS = pd.DataFrame({"age": [41.0, 7.5], "plan": ["basic", "pro"], "visits": [3, 12]})


def body(predict: str, load: str = "pass") -> str:
    """Models from code: the file that MLflow runs when it loads the model."""
    indented = predict.strip().replace("\n", "\n        ")
    return (
        f"{IMPORTS}class Model(mlflow.pyfunc.PythonModel):\n"
        f"    def load_context(self, context):\n        {load}\n\n"
        f"    def predict(self, context, model_input, params=None):\n        rows = model_input\n        {indented}\n\n"
        "mlflow.models.set_model(Model())\n"
    )


def outputs(**types: str) -> Schema:
    """Of one prediction (`prediction="double"`) or of several."""
    if list(types) == ["prediction"]:
        return Schema([ColSpec(types["prediction"])])
    return Schema([ColSpec(kind, name) for name, kind in types.items()])


def save(
    path: Path,
    predict: str,
    *,
    load: str = "pass",
    inputs: Any = INPUTS,
    gives: Schema | None = None,
    signature: bool = True,
    **more: Any,
) -> Path:
    """Save a model whose `predict`, over `rows` and `params`, has this body."""
    code = path.parent / f"{path.name}.py"
    code.write_text(body(predict, load))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice about type hints and integer columns
        schema = infer_signature(inputs, params=more.pop("params", None)) if signature else None
        if schema is not None:
            schema = ModelSignature(schema.inputs, gives, schema.params)
        mlflow.pyfunc.save_model(path, python_model=code, signature=schema, pip_requirements=["mlflow"], **more)
    return path
