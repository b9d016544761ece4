"""The `python` engine: onnxruntime behind an Arrow function that lives in this process only.

A macro of this engine calls a function whose name is a sentence, because in a shell that lacks it DuckDB says
`Scalar Function with name <name> does not exist!` and nothing else: so the name carries the remedy.

What the function answers depends on the ONNX bytes alone: class indices and reason numbers, which the macro turns into
labels and sentences. Two models with the same weights and other labels have the same bytes, and share the function.
"""

from __future__ import annotations

import atexit
import hashlib
import inspect
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from sqlglot import exp

from sqlml import sql
from sqlml.convert.onnx_model import MISSING_TEXT
from sqlml.engines.coded import Codes, code_texts
from sqlml.engines.outputs import Outputs
from sqlml.errors import DatabaseError
from sqlml.signature import Signature

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import onnxruntime as ort
    import pyarrow as pa

Load = Callable[[], bytes]

LET = "sqlml python"
MAX_FIELDS = 200
"""Up to so many classes each probability is a field of the result; beyond, they are one ARRAY."""

# DuckDB's catalog keeps only a bare pointer to a Python function; the reference is the registering connection's, and
# goes when that is closed. Measured: another connection to the same database then calls freed memory. So every function
# stays for the life of the process (a few hundred bytes, plus the session once it has been called).
_registered: list[Callable[..., object]] = []
_connections: weakref.WeakSet[duckdb.DuckDBPyConnection] = weakref.WeakSet()
_loaded: dict[str, Loaded] = {}
_registering = threading.Lock()
_loading = threading.Lock()


@dataclass(frozen=True)
class Loaded:
    """An onnxruntime session and how its text columns become what it takes."""

    session: ort.InferenceSession
    codes: Mapping[str, Codes]


class PythonEngine:
    """Calls the model's Arrow function once per row and takes its answer apart."""

    name = "python"
    reads_values = False

    def __init__(self, sha256: str, signature: Signature, reasons: Sequence[str]) -> None:
        self.sha256 = sha256
        self.signature = signature
        self.reasons = tuple(reasons)

    def outputs(self, features: Sequence[exp.Expression]) -> Outputs:
        answer = sql.column(LET)
        error = sql.field(answer, "error")
        return Outputs(
            lets=((LET, sql.call_quoted(function_name(self.sha256), *features)),),
            prediction=self._prediction(answer),
            probabilities=tuple(_probability(answer, i, len(self._scored)) for i in range(len(self._scored))),
            # Reason numbers start at 1, as positions in a list do; 0 never reaches SQL (it is NULL by then).
            error=sql.call("list_extract", _array([sql.text(r) for r in self.reasons], "VARCHAR"), error),
        )

    @property
    def _scored(self) -> Sequence[object]:
        return self.signature.classes if self.signature.probabilities else ()

    def _prediction(self, answer: exp.Expression) -> exp.Expression:
        if self.signature.kind == "classifier":
            labels = _array([sql.value(label) for label in self.signature.classes], self.signature.prediction)
            index = sql.field(answer, "prediction")
            return sql.call("list_extract", labels, exp.Add(this=index, expression=sql.integer(1)))
        if not self.signature.targets:
            return sql.field(answer, "t0")
        named = {target: sql.field(answer, f"t{i}") for i, target in enumerate(self.signature.targets)}
        present = exp.Is(this=sql.field(answer, "error"), expression=exp.Null())
        return sql.case([(present, sql.struct(named))])


def _array(values: Sequence[exp.Expression], type_name: str) -> exp.Expression:
    # The cast gives an empty list its type, and labels such as 1e0 the signature's.
    return sql.cast(exp.Array(expressions=list(values)), f"{type_name}[]")


def _probability(answer: exp.Expression, index: int, classes: int) -> exp.Expression:
    if classes <= MAX_FIELDS:
        return sql.field(answer, f"p{index}")
    return sql.call("array_extract", sql.field(answer, "p"), sql.integer(index + 1))


def function_name(sha256: str) -> str:
    """The name of a model's Arrow function: what a shell without sqlml shows when it is called there."""
    return f'sqlml python engine: open this file with sqlml.connect() or "sqlml sql" (model {sha256[:12]})'


def register(connection: duckdb.DuckDBPyConnection, sha256: str, signature: Signature, load: Load) -> None:
    """Make the model's Arrow function known to the database that `connection` has open, for as long as it is open.

    Harmless when it is there already. All connections of this process to that database see it. `load` fetches the ONNX
    bytes; it is called inside the first query that needs the model, on one of DuckDB's threads: it must not use a
    connection on which a query may be running (a cursor of its own is right).

    Call it before a transaction begins. DuckDB gives the function to transactions that start later, whatever becomes of
    the caller's own: measured, one that has already looked up any function does not see it, and one that registers for
    itself loses it on ROLLBACK and can then never register that name again.
    """
    import duckdb

    arguments = [duckdb.sqltype("VARCHAR" if column.is_text else "DOUBLE") for column in signature.columns]
    function = _arrow_function(sha256, signature, load)
    with _registering:
        if registered(connection, sha256):
            return
        cursor = connection.cursor()  # its transaction ends with the statement, whatever the caller has open
        try:
            # The stubs know only enums, whose module is another in 1.5; both versions take the words.
            cursor.create_function(  # type: ignore[call-overload]
                function_name(sha256),
                function,
                arguments,
                _result_type(signature),
                type="arrow",
                null_handling="special",
            )
        except duckdb.Error as error:
            raise DatabaseError(
                f"The Arrow function of model {sha256[:12]} could not be registered: {error}"
            ) from error
        finally:
            cursor.close()
        if not _registered:
            # Without this, a connection left open at exit makes DuckDB print a page about leaked objects.
            atexit.register(_close_connections)
        _registered.append(function)
        _connections.add(connection)


def registered(connection: duckdb.DuckDBPyConnection, sha256: str) -> bool:
    """Whether queries that start now on this database find the model's function."""
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT 1 FROM duckdb_functions() WHERE function_name = ? LIMIT 1", [function_name(sha256)])
        return bool(cursor.fetchall())
    finally:
        cursor.close()


def _close_connections() -> None:
    for connection in list(_connections):
        connection.close()


def _result_type(signature: Signature) -> Any:  # Any: DuckDB's type object has no public name
    import duckdb

    fields = {"error": "BIGINT"}
    if signature.kind == "classifier":
        fields["prediction"] = "BIGINT"
    else:
        fields |= {f"t{i}": "DOUBLE" for i in range(max(1, len(signature.targets)))}
    if signature.probabilities and len(signature.classes) <= MAX_FIELDS:
        fields |= {f"p{i}": "DOUBLE" for i in range(len(signature.classes))}
    elif signature.probabilities:
        fields["p"] = f"DOUBLE[{len(signature.classes)}]"
    return duckdb.struct_type({name: duckdb.sqltype(type_name) for name, type_name in fields.items()})


def _arrow_function(sha256: str, signature: Signature, load: Load) -> Callable[..., object]:
    names = ["error", "prediction"] + (["probabilities"] if signature.probabilities else [])
    columns = [(column.name, column.is_text) for column in signature.columns]

    def predict(*arrays: pa.ChunkedArray) -> pa.StructArray:
        model = _model(sha256, load)
        feeds = {
            name: _texts(array, model.codes.get(name)) if is_text else _numbers(array)
            for (name, is_text), array in zip(columns, arrays, strict=True)
        }
        try:
            return _answer(signature, *model.session.run(names, feeds))
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise DatabaseError(f"Model {sha256[:12]} failed in onnxruntime: {error}") from error

    # DuckDB counts parameters by the signature, and takes no *args without one.
    kind = inspect.Parameter.POSITIONAL_ONLY
    parameters = [inspect.Parameter(f"c{i}", kind) for i in range(len(columns))]
    predict.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it from any callable
    return predict


def _model(sha256: str, load: Load) -> Loaded:
    model = _loaded.get(sha256)
    if model is None:
        with _loading:
            model = _loaded.get(sha256)
            if model is None:
                model = _loaded[sha256] = _load(sha256, load)
    return model


def _load(sha256: str, load: Load) -> Loaded:
    onnx = load()
    if hashlib.sha256(onnx).hexdigest() != sha256:
        raise DatabaseError(
            f"The stored bytes of model {sha256[:12]} are not the ones that were deployed.", hint="Deploy it again."
        )
    coded, codes = code_texts(onnx)
    return Loaded(open_session(coded), codes)


def open_session(onnx: bytes) -> ort.InferenceSession:
    """An onnxruntime session on one thread (DuckDB has its own), silent, that any thread may call."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # Levels above replace operators by fused ones that round differently; the graphs are small, so nothing is lost.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    ort.disable_telemetry_events()
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def _one_chunk(array: pa.ChunkedArray | pa.Array) -> pa.Array:
    import pyarrow as pa

    if not isinstance(array, pa.ChunkedArray):
        return array
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


def _numbers(array: pa.ChunkedArray | pa.Array) -> np.ndarray[Any, Any]:
    chunk = _one_chunk(array)
    if chunk.null_count:
        chunk = chunk.fill_null(float("nan"))
    return cast("np.ndarray[Any, Any]", chunk.to_numpy().reshape(-1, 1))


def _texts(array: pa.ChunkedArray | pa.Array, codes: Codes | None) -> np.ndarray[Any, Any]:
    import numpy as np
    import pyarrow as pa

    chunk = _one_chunk(array)
    if not pa.types.is_string(chunk.type):
        chunk = chunk.cast(pa.string())  # views, if the caller has set produce_arrow_string_view
    if codes is not None:
        return codes.encode(chunk)
    # One Python string per distinct value, not per row.
    encoded = chunk.dictionary_encode()
    values = np.array([*encoded.dictionary.to_pylist(), MISSING_TEXT], dtype=object)
    return cast("np.ndarray[Any, Any]", values[encoded.indices.fill_null(len(values) - 1).to_numpy()].reshape(-1, 1))


def _answer(
    signature: Signature,
    error: np.ndarray[Any, Any],
    prediction: np.ndarray[Any, Any],
    probabilities: np.ndarray[Any, Any] | None = None,
) -> pa.StructArray:
    """The outputs of one chunk as the STRUCT that `_result_type` promises; NULLs where there is an error."""
    import numpy as np
    import pyarrow as pa

    rows = len(error)
    failed = error.ravel() != 0
    mask = failed if failed.any() else None

    def array(values: np.ndarray[Any, Any]) -> pa.Array:
        return pa.array(values, mask=mask, from_pandas=False)

    fields = {"error": pa.nulls(rows, pa.int64()) if mask is None else pa.array(error.ravel(), mask=~mask)}
    if signature.kind == "classifier":
        fields["prediction"] = array(prediction.ravel())
    else:
        fields |= {f"t{i}": array(column) for i, column in enumerate(np.ascontiguousarray(prediction.T))}
    if probabilities is not None and len(signature.classes) <= MAX_FIELDS:
        fields |= {f"p{i}": array(column) for i, column in enumerate(np.ascontiguousarray(probabilities.T))}
    elif probabilities is not None:
        missing = None if mask is None else pa.array(mask)
        flat = pa.array(probabilities.ravel())
        fields["p"] = pa.FixedSizeListArray.from_arrays(flat, probabilities.shape[1], mask=missing)
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
