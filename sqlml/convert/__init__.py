"""A model version becomes ONNX that gives the same answers, in a process of its own."""

from sqlml.convert.isolation import Feature, isolation_in_force
from sqlml.convert.onnx_model import OnnxModel
from sqlml.convert.process import Worker, open_worker
from sqlml.convert.received import Reference

__all__ = ["Feature", "OnnxModel", "Reference", "Worker", "isolation_in_force", "open_worker"]
