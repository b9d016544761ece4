"""Modules as people log them with mlflow.pytorch; run by a Python that has PyTorch: `torch_models.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

NAMED = ModelSignature(Schema([ColSpec("double", name) for name in ("age", "fee", "visits", "score")]))
UNNAMED = ModelSignature(Schema([TensorSpec(np.dtype("float64"), (-1, 4))]))


class Probabilities(torch.nn.Module):
    """What eval mode changes is in it: normalisation by batch, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = torch.nn.Linear(4, 24), torch.nn.Linear(24, 3)
        self.normalised, self.dropped = torch.nn.BatchNorm1d(24), torch.nn.Dropout(0.4)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.normalised(self.first(rows)))
        return torch.softmax(self.last(self.dropped(hidden)), dim=1)


class TwoHeads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.one, self.two = torch.nn.Linear(4, 8), torch.nn.Linear(8, 1), torch.nn.Linear(8, 2)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.nn.functional.gelu(self.body(rows))
        return self.one(hidden).squeeze(1), self.two(hidden)


class Pictures(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 2, 3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.layer(pictures)


def main(folder: Path) -> None:
    torch.manual_seed(0)
    mixed = Probabilities()
    mixed.train()
    for _ in range(5):
        mixed(torch.randn(64, 4) * 3 + 1)  # its running statistics are not those of any batch
    plain = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    models = {
        "probabilities": (mixed, NAMED),
        "heads": (TwoHeads(), NAMED),
        "plain": (plain, None),
        "double": (torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Sigmoid()).double(), UNNAMED),
        "scripted": (torch.jit.script(plain.eval()), NAMED),
        "pictures": (Pictures(), NAMED),
    }
    for name, (module, signature) in models.items():
        mlflow.pytorch.save_model(module, folder / name, signature=signature, pip_requirements=["torch"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
