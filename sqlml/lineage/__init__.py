"""Where a prediction comes from: columns through views, features, model bytes, run and training data, and back."""

from sqlml.lineage.drawing import drawn
from sqlml.lineage.edges import record
from sqlml.lineage.graph import graph_of
from sqlml.lineage.query import of_column, of_deployment, of_key

__all__ = ["drawn", "graph_of", "of_column", "of_deployment", "of_key", "record"]
