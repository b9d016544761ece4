"""PowerTransformer. Read in scikit-learn 1.9.1: preprocessing/_data.py; scipy 1.18: stats/_morestats.py
(_yeojohnson_transform) and special/_boxcox.

scipy's yeojohnson is expm1(lambda * log1p(x)) / lambda, as scikit-learn's own formula before version 1.3 was but for
rounding; boxcox is expm1(lambda * log(x)) / lambda.
"""

from __future__ import annotations

import numpy as np

from sqlml.convert.isolated.graph import Array, Graph
from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transforms, below
from sqlml.convert.isolated.sklearn.mathematics import expm1, log1p
from sqlml.convert.isolated.sklearn.preprocessing import standard_scaler
from sqlml.convert.isolated.sklearn.validate import numbers
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of

EPSILON = float(np.finfo(np.float64).eps)


def power_transformer(ctx: Context, est: Estimator, table: Table, step: str) -> Table:
    graph = ctx.graph
    table = numbers(graph, est, table, step, finite="allow-nan")
    lambdas = np.asarray(est.lambdas_, dtype=np.float64)
    tensor = graph.tensor(table)
    if est.method == "box-cox":
        positive = [i for i, f in enumerate(table.features) if f.low <= 0]
        if positive:
            some = table.select(positive)
            reasons = [f"{f.label} is not above 0, and PowerTransformer's box-cox asks for that" for f in some.features]
            graph.error(graph.op("LessOrEqual", graph.tensor(some), graph.double([0.0])), reasons)
        made = box_cox(graph, tensor, lambdas)
    else:
        made = yeo_johnson(graph, tensor, lambdas)
    # It rises with x, but its last bits are those of exp and log; and the power of a large number is infinite.
    features = [Feature(FLOAT64, nan=f.nan, missing=f.missing, sources=f.sources, exact=False) for f in table.features]
    done = table_of(made, features)
    if est.standardize:
        done = standard_scaler(ctx, est._scaler, done, below(step, "scaler"))
    if np.isfinite(lambdas).all():
        graph.same_missing(graph.tensor(done), tensor)
    return done


def log_of_power(graph: Graph, logarithm: str, lambdas: Array) -> str:
    """expm1(lambda * log) / lambda; the logarithm itself where lambda is 0."""
    zero = np.abs(lambdas) < EPSILON
    used = np.where(zero, 1.0, lambdas)
    raised = expm1(graph, graph.op("Mul", logarithm, graph.double(used)))
    power = graph.op("Div", raised, graph.double(used))
    if not zero.any():
        return power
    return logarithm if zero.all() else graph.op("Where", row(graph, zero), logarithm, power)


def row(graph: Graph, flags: Array) -> str:
    return graph.constant(np.asarray(flags, dtype=np.bool_).reshape(1, -1))


def yeo_johnson(graph: Graph, x: str, lambdas: Array) -> str:
    """Box-Cox of 1 + x where x >= 0; of 1 - x with 2 - lambda, negated, elsewhere."""
    zero = graph.double([0.0])
    above = log_of_power(graph, log1p(graph, graph.op("Max", x, zero)), lambdas)
    under = log_of_power(graph, log1p(graph, graph.op("Neg", graph.op("Min", x, zero))), other_side(lambdas))
    return graph.op("Where", graph.op("GreaterOrEqual", x, zero), above, graph.op("Neg", under))


def other_side(lambdas: Array) -> Array:
    """2 - lambda, where the original takes it for zero up to and with epsilon."""
    done = 2.0 - lambdas
    return np.where(np.abs(lambdas - 2.0) <= EPSILON, 0.0, done)


def box_cox(graph: Graph, x: str, lambdas: Array) -> str:
    return log_of_power(graph, graph.op("Log", x), lambdas)


TRANSFORMERS: Transforms = {"preprocessing.PowerTransformer": power_transformer}
