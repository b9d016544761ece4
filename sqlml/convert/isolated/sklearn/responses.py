"""What a meta-estimator asks its member for. Read in scikit-learn 1.9.1: utils/_response.py, utils/validation.py."""

from __future__ import annotations

from collections.abc import Sequence

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Prediction, below, refuse
from sqlml.convert.isolated.table import FLOAT64, Feature, Table, table_of

SCORES_FIRST = ("decision_function", "predict_proba")
PROBABILITIES_FIRST = ("predict_proba", "decision_function")


def response_method(est: Estimator, member: Estimator, methods: Sequence[str], step: str) -> str:
    """The first of the methods that the member has."""
    for method in methods:
        if hasattr(member, method):
            return method
    raise refuse(est, step, f"its {type(member).__name__} has none of {', '.join(methods)}.")


def response(
    ctx: Context, est: Estimator, member: Estimator, said: Prediction, methods: Sequence[str], step: str
) -> tuple[str, str]:
    """The member's scores with their method: [N, 1] of the second of two classes, else one column per class."""
    method = response_method(est, member, methods, step)
    if said.kind != "classifier" or len(said.classes) < 2:
        raise refuse(est, below(step, "estimator"), f"its {type(member).__name__} tells fewer than two classes apart.")
    tensor = said.decision if method == "decision_function" else said.probabilities
    if tensor is None:
        raise refuse(est, step, f"the {method} of its {type(member).__name__} is not converted.")
    if method == "predict_proba" and len(said.classes) == 2:
        tensor = ctx.graph.gather(tensor, [1])
    return tensor, method


def finite_scores(ctx: Context, tensor: str, width: int, table: Table, who: str) -> None:
    """Scores that are NaN or infinite raise: the original gives them to check_array."""
    sources = tuple(dict.fromkeys(s for f in table.features for s in f.sources))
    answer = table_of(tensor, [Feature(FLOAT64, sources=sources, exact=False)] * width)
    ctx.graph.refuse_infinite(ctx.graph.refuse_missing(answer, who), who)
