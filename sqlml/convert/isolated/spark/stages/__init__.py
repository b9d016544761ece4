"""Spark's stages as ONNX, one function for each class."""
