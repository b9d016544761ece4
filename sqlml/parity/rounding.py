"""How much of a score is rounding: a running error analysis of the graph.

A sum of large terms that cancel, such as a linear model on inputs of 1e15, has no digits left: two correct
computations of it differ by up to (number of terms) * (unit roundoff) * (sum of |w x|). Rather than a wider tolerance
for all rows, this bound is computed for the very row. An operator that is not known here adds nothing, so that the
bound is never wider than justified; decisions (trees, comparisons) are taken to be exact, as they have to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlml.convert.onnx_model import MISSING_TEXT, OnnxModel
from sqlml.parity.comparison import TOLERANCES, Slack
from sqlml.parity.votes import ANYWHERE, DECIDES, ROUNDOFF, votes_that_hang

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Any in this module: protobuf messages and arrays of several dtypes.
SPARE = 4
"""Roundings that an implementation may have on top of one per operation (fused or reordered steps)."""
PASSES_ON = {
    "Identity",
    "Cast",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Where",
    "Gather",
    "Not",
    "Concat",
    "LabelEncoder",
    "And",
    "Or",
}

Rule = Callable[[Mapping[str, Any], Sequence[Any], Sequence[Any], Any, float], Any]
"""(attributes, input values, input errors, output value, unit roundoff) -> bound of the output's error."""


def rounding(model: OnnxModel, features: pa.Table) -> Slack:
    """The bound for every row's scores (or values), and whether its label hangs on less than that."""
    import numpy as np
    import onnx

    graph = onnx.load_model_from_string(model.onnx)
    values = _evaluated(graph, model, features)
    errors: dict[str, Any] = {}
    with np.errstate(all="ignore"):
        for node in graph.graph.node:
            _propagate(node, values, errors)
        output = "probabilities" if model.signature.probabilities else "prediction"
        bound = _error(errors, values, output)
        shape = values[output].shape
        if model.signature.kind == "classifier" and not model.signature.probabilities:
            shape = (features.num_rows, 0)
            bound = np.zeros(shape)
        hanging = votes_that_hang(graph.graph, values, errors, features.num_rows)
        undecided = hanging | _undecided(graph.graph, values, errors, TOLERANCES[model.precision], features.num_rows)
        bound = np.where(hanging.reshape((-1, *[1] * (np.ndim(bound) - 1))), np.maximum(bound, ANYWHERE), bound)
    # An infinite bound is a sum that overflows. It excuses nothing where the input itself is infinite or missing,
    # for then infinity or NaN is the exact answer.
    whole = _whole(model, values)
    bound = np.where(np.isnan(bound) | ~whole[:, None], 0.0, bound)
    return Slack(np.broadcast_to(bound, shape), undecided & whole)


def _whole(model: OnnxModel, values: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Rows without an infinite input."""
    import numpy as np

    numbers = [~np.isinf(values[c.name][:, 0]) for c in model.signature.columns if not c.is_text]
    return np.logical_and.reduce(numbers) if numbers else np.ones(1, dtype=bool)


def _evaluated(graph: Any, model: OnnxModel, features: pa.Table) -> dict[str, Any]:
    """Every tensor of the graph on these rows."""
    import onnx
    import onnxruntime as ort
    from onnx import numpy_helper

    outside = {output.name for output in graph.graph.output}
    inner = [name for node in graph.graph.node for name in node.output if name and name not in outside]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed = graph_feed(model, features)
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, fed), strict=True)) | fed
    for tensor in graph.graph.initializer:
        values[tensor.name] = numpy_helper.to_array(tensor)
    return values


def graph_feed(model: OnnxModel, features: pa.Table) -> dict[str, Array]:
    """Rows in the form in which a converted graph takes them."""
    import numpy as np

    fed: dict[str, Array] = {}
    for column in model.signature.columns:
        values = features.column(column.name).to_pylist()
        if column.is_text:
            array = np.array([MISSING_TEXT if v is None else v for v in values], dtype=object)
        else:
            array = np.array([np.nan if v is None else float(v) for v in values], dtype=np.float64)
        fed[column.name] = array.reshape(-1, 1)
    return fed


def _propagate(node: Any, values: dict[str, Any], errors: dict[str, Any]) -> None:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Constant":
        values[node.output[0]] = numpy_helper.to_array(attributes["value"])
        return
    rule = RULES.get(node.op_type)
    output = values[node.output[0]]
    if rule is None or output.dtype.name not in ROUNDOFF or not np.ndim(output):
        return  # no number of a row's own
    inputs = [values[name] if name else None for name in node.input]
    known = [_error(errors, values, name) if name else None for name in node.input]
    error = rule(attributes, inputs, known, output, ROUNDOFF[output.dtype.name])
    errors[node.output[0]] = np.where(np.isnan(error) & _overflown(known, len(output)), np.inf, error)


def _overflown(errors: Sequence[Any], rows: int) -> Any:
    """Rows in which a sum before this operator exceeds the largest double, shaped as a column.

    Its terms may come to infinity, or cancel to NaN: with fused multiply-add, which BLAS uses and SQL does not, inf - inf
    need not arise where it does without. A NaN's own error would be NaN, which says less than what is known.
    """
    import numpy as np

    found = np.zeros((rows, 1), dtype=bool)
    for error in errors:
        if error is not None and np.ndim(error) == 2 and len(error) == rows:
            found |= np.isinf(error).any(axis=1, keepdims=True)
    return found


def _error(errors: Mapping[str, Any], values: Mapping[str, Any], name: str) -> Any:
    import numpy as np

    return errors[name] if name in errors else np.zeros(np.shape(values[name]))


def _undecided(
    graph: Any, values: Mapping[str, Any], errors: Mapping[str, Any], tolerance: float, rows: int
) -> NDArray[np.bool_]:
    """Rows whose label would be another if some score moved by its error or by the tolerance."""
    import numpy as np

    makers = {name: node for node in graph.node for name in node.output}
    found = np.zeros(rows, dtype=bool)
    pending, seen = ["prediction"], set()
    while pending:
        name = pending.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in PASSES_ON:
            pending += node.input
        elif node.op_type == "ArgMax":
            scores, bound = values[node.input[0]], _error(errors, values, node.input[0])
            best = np.sort(np.where(np.isnan(scores), -np.inf, scores), axis=1)[:, -2:]
            width = np.maximum(2 * np.max(bound, axis=1), tolerance * np.maximum(1, np.abs(best[:, -1])))
            found |= ~(best[:, -1] - best[:, 0] > width) if best.shape[1] == 2 else False
        elif node.op_type in DECIDES:
            left, right = (values[name] for name in node.input)
            bound = sum(_error(errors, values, name) for name in node.input)
            scale = np.maximum(1, np.maximum(np.abs(left), np.abs(right)))
            near = ~(np.abs(left - right) > np.maximum(2 * bound, tolerance * scale))
            found |= np.broadcast_to(near, (rows, near.shape[-1])).any(axis=1)
    return found


def _structural(apply: Callable[[Mapping[str, Any], Sequence[Any]], Any]) -> Rule:
    return lambda attributes, values, errors, output, unit: apply(attributes, [errors[0], *values[1:]])


def _matmul(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    (a, b), (ea, eb) = values, errors
    terms = np.abs(a) @ np.abs(b)
    return ea @ np.abs(b) + np.abs(a) @ eb + (a.shape[-1] + SPARE) * unit * terms


def _add(attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float) -> Any:
    import numpy as np

    return errors[0] + errors[1] + SPARE * unit * np.abs(output)


def _mul(attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float) -> Any:
    import numpy as np

    (a, b), (ea, eb) = values, errors
    crossed = np.where(ea == 0, 0.0, np.abs(b) * ea) + np.where(eb == 0, 0.0, np.abs(a) * eb) + ea * eb
    return crossed + SPARE * unit * np.abs(output)


def _div(attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float) -> Any:
    import numpy as np

    (_, b), (ea, eb) = values, errors
    least = np.maximum(np.abs(b) - eb, 0.0)
    spread = ea + np.where(eb == 0, 0.0, np.abs(output) * eb)
    return np.where(spread == 0, 0.0, spread / least) + SPARE * unit * np.abs(output)


def _reduce_sum(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    terms = values[0].shape[-1]
    total = np.sum(np.abs(values[0]), axis=-1, keepdims=True)
    bound = np.sum(errors[0], axis=-1, keepdims=True) + (terms + SPARE) * unit * total
    return bound.reshape(np.shape(output)) if bound.size == np.size(output) else bound


def _reduce_mean(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    return _reduce_sum(attributes, values, errors, output, unit) / values[0].shape[-1]


def _largest(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    return np.max(errors[0], axis=-1, keepdims=True) * np.ones(np.shape(output))


def _widest(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    found = [e for e in errors if e is not None]
    return np.maximum.reduce([np.broadcast_to(e, np.shape(output)) for e in found])


def _lipschitz(factor: float, most: float = float("inf")) -> Rule:
    """Functions that move at most `factor` times as far as their argument, and at most `most` in all.

    Past an overflow there is no `most`: where one computation has infinity, and so a number, another has NaN.
    """

    def rule(
        attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
    ) -> Any:
        import numpy as np

        moved = np.where(np.isinf(errors[0]), np.inf, np.minimum(factor * errors[0], most))
        return moved + SPARE * unit * np.abs(output)

    return rule


def _softmax(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    widest = np.max(errors[0], axis=-1, keepdims=True)
    moved = np.minimum(output * np.expm1(np.minimum(2 * widest, 700.0)), 1.0)
    return np.where(np.isinf(widest), np.inf, moved) + (output.shape[-1] + SPARE) * unit


def _exp(attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float) -> Any:
    import numpy as np

    return np.abs(output) * (np.expm1(errors[0]) + SPARE * unit)


def _log(attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float) -> Any:
    import numpy as np

    share = errors[0] / np.abs(values[0])
    return np.where(errors[0] == 0, 0.0, np.where(share < 1, -np.log1p(-share), np.inf)) + SPARE * unit * np.abs(output)


def _power(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    exponent = np.abs(values[1]) if len(values) > 1 else 0.5
    share = np.where(errors[0] == 0, 0.0, errors[0] / np.abs(values[0]))
    moved = np.where(share < 1, np.power(1 - share, -exponent) - 1, np.inf)
    return np.abs(output) * (moved + SPARE * unit)


def _where(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    return np.where(values[0], errors[1], errors[2])


def _cast(attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float) -> Any:
    import numpy as np

    narrows = values[0].dtype.name == "float64" and output.dtype.name == "float32"
    return errors[0] + (unit * np.abs(output) if narrows else 0.0)


def _concat(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    return np.concatenate(errors, axis=attributes["axis"])


def _slice(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    axes = values[3] if len(values) > 3 and values[3] is not None else range(len(values[1]))
    steps = values[4] if len(values) > 4 and values[4] is not None else [1] * len(values[1])
    cut = [slice(None)] * values[0].ndim
    for axis, start, end, step in zip(axes, values[1], values[2], steps, strict=True):
        cut[int(axis)] = slice(int(start), int(end), int(step))
    return values[0][tuple(cut)]


def _gather(attributes: Mapping[str, Any], values: Sequence[Any]) -> Any:
    import numpy as np

    return np.take(values[0], values[1], axis=attributes.get("axis", 0))


def _same_shape(
    attributes: Mapping[str, Any], values: Sequence[Any], errors: Sequence[Any], output: Any, unit: float
) -> Any:
    import numpy as np

    return np.reshape(errors[0], np.shape(output))


RULES: Mapping[str, Rule] = {
    "Identity": _same_shape,
    "Reshape": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Concat": _concat,
    "Gather": _structural(_gather),
    "Slice": _structural(_slice),
    "Cast": _cast,
    "Where": _where,
    "Add": _add,
    "Sub": _add,
    "Mul": _mul,
    "Div": _div,
    "MatMul": _matmul,
    "ReduceSum": _reduce_sum,
    "ReduceMean": _reduce_mean,
    "ReduceMax": _largest,
    "ReduceMin": _largest,
    "Min": _widest,
    "Max": _widest,
    "Clip": _lipschitz(1.0),
    "Abs": _lipschitz(1.0),
    "Neg": _lipschitz(1.0),
    "Relu": _lipschitz(1.0),
    "Tanh": _lipschitz(1.0, 2.0),
    "Sin": _lipschitz(1.0, 2.0),
    "Cos": _lipschitz(1.0, 2.0),
    "Sigmoid": _lipschitz(0.25, 1.0),
    "Softmax": _softmax,
    "Exp": _exp,
    "Log": _log,
    "Sqrt": _power,
    "Pow": _power,
}
