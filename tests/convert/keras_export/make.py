"""How mlp.onnxtxt and mlp.json were made: by Keras's own export, written as text, and its own predict.

Run with KERAS_BACKEND=tensorflow where keras 3.15, tensorflow-cpu 2.21 and tf2onnx 1.17 are installed (a gigabyte, which is
why the tests have the files instead).
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import onnx

HERE = Path(__file__).parent


def main() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    rows = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    model.compile("adam", "mse")
    model.fit(rows, np.eye(3)[np.arange(64) % 3], verbose=0, epochs=2)
    model.export("mlp.onnx", format="onnx")
    (HERE / "mlp.onnxtxt").write_text(onnx.printer.to_text(onnx.load("mlp.onnx")).rstrip() + "\n")
    said = {"rows": rows[:20].tolist(), "predicted": model.predict(rows, verbose=0)[:20].tolist()}
    (HERE / "mlp.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
