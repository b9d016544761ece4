"""OnnxModel -> Program: the graph run on symbols, simplified by exact rewrites, and its cost."""

from sqlml.compile.nodes import NotCompilable
from sqlml.compile.probes import Probes, probes
from sqlml.compile.program import Cost, Program, compile_onnx

__all__ = ["Cost", "NotCompilable", "Probes", "Program", "compile_onnx", "probes"]
