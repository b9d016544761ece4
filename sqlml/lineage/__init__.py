"""Where a prediction comes from: columns through views, features, model bytes, run and training data, and back."""

from sqlml.lineage.dependents import Dependents, dependents
from sqlml.lineage.drawing import drawn
from sqlml.lineage.edges import record
from sqlml.lineage.graph import graph_of
from sqlml.lineage.query import of_column, of_deployment, of_key

__all__ = ["Dependents", "dependents", "drawn", "graph_of", "of_column", "of_deployment", "of_key", "record"]
