"""A graph from the isolated process is closed in itself, in its loops and branches too."""

from __future__ import annotations

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.neighbors import KNeighborsRegressor

from sqlml.convert import received
from sqlml.convert.isolated.sklearn.convert import convert_sklearn
from sqlml.errors import WorkerError
from sqlml.signature import Column, Signature

SIGNATURE = Signature(columns=(Column("a", "DOUBLE"),), kind="regressor", prediction="DOUBLE")


def knn() -> onnx.ModelProto:
    x = pd.DataFrame({"a": np.arange(9.0)})
    return onnx.load_from_string(convert_sklearn(KNeighborsRegressor(2).fit(x, x.a), SIGNATURE.columns).onnx)


def branch(model: onnx.ModelProto) -> onnx.GraphProto:
    (node,) = (node for node in model.graph.node if node.op_type == "If")
    return node.attribute[0].g


def test_branches_and_loops_are_accepted() -> None:
    received._check_graph(knn().SerializeToString(), SIGNATURE)


def test_a_branch_that_reads_a_file_is_refused() -> None:
    model = knn()
    outside = numpy_helper.from_array(np.zeros(3), "outside")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="secrets")
    branch(model).initializer.append(outside)

    with pytest.raises(WorkerError, match="reads other files"):
        received._check_graph(model.SerializeToString(), SIGNATURE)


def test_a_branch_with_a_constant_in_a_file_is_refused() -> None:
    model = knn()
    held = numpy_helper.from_array(np.zeros(3), "held")
    held.external_data.add(key="location", value="secrets")
    branch(model).node.append(helper.make_node("Constant", [], ["made"], value=held))

    with pytest.raises(WorkerError, match="reads other files"):
        received._check_graph(model.SerializeToString(), SIGNATURE)


def test_a_branch_with_an_operator_of_its_own_is_refused() -> None:
    model = knn()
    branch(model).node.append(helper.make_node("Run", [], ["made"], domain="mine"))

    with pytest.raises(WorkerError, match="operators of its own"):
        received._check_graph(model.SerializeToString(), SIGNATURE)
