"""Everything of a deployment that needs no transaction: the model, its conversion, its own answers, the engine."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sqlglot import exp

from sqlml import convert, jobs, live, names, parity, pyfunc, registry, sql
from sqlml.binding import Bound, bind
from sqlml.catalog import model_files, records
from sqlml.convert import OnnxModel
from sqlml.convert.pyfunc import PyfuncModel, open_pyfunc
from sqlml.database import atomic, facts
from sqlml.deploy.deployment import Options
from sqlml.engines import native
from sqlml.engines.choose import choose_engine
from sqlml.engines.outputs import Engine
from sqlml.engines.pyfunc import NOTE, PyfuncEngine
from sqlml.engines.surface import feature, output_columns
from sqlml.errors import BindingError, NameRefused, Refused, UsageError
from sqlml.kept import STAMP
from sqlml.objects import RECALLED_AT
from sqlml.registry import Artifact, ModelVersion, RunFacts
from sqlml.relation import Relation, check_keys, count, find, resolve_columns
from sqlml.signature import Signature

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection as Connection

SAMPLE_ROWS = 500
"""Rows of the bound table that the parity check compares, beside the hostile ones."""
SAMPLE_SEED = 20


@dataclass(frozen=True)
class Prepared:
    """A model version ready to be staged. `questions` are the rows of the parity check with the original's answers."""

    name: str
    model: ModelVersion
    artifact: Artifact
    run: RunFacts | None
    content: OnnxModel | PyfuncModel
    engine: Engine | PyfuncEngine
    engine_why: str
    relation: Relation | None
    keys: tuple[str, ...]
    makes_inputs: bool
    bound: tuple[Bound, ...]
    notes: tuple[str, ...]
    questions: parity.Questions | pyfunc.Questions | None

    @property
    def run_json(self) -> str | None:
        return None if self.run is None else json.dumps(asdict(self.run), default=str, ensure_ascii=False)


def prepare(connection: Connection, options: Options, job: jobs.Job, *, with_reference: bool) -> Prepared:
    """Resolve, download, convert, bind, choose the engine, and (unless only planning) ask the original.

    Nothing in the database is changed. The phases are logged as they begin.
    """
    job.log("resolve", f"looking up {options.reference}")
    model = registry.resolve(options.reference, tracking_uri=options.tracking_uri, registry_uri=options.registry_uri)
    name = job.subject = options.name or model.name  # where it is refused next, its log says of what it was
    job.log("resolve", f"{options.reference} is {model.description}")
    with atomic(connection, name):  # of one moment: another connection may be deploying under this name
        names.check_name(connection, facts(connection), name)
        _check_function(connection, options, name)
    relation, keys = _source(connection, options, name)
    if relation is not None and options.score:
        # Before the minutes that a conversion may take, and so that nothing is written if it fails.
        check_keys(connection, relation, keys, count(connection, relation))
    with tempfile.TemporaryDirectory(prefix="sqlml-") as folder:
        artifact = registry.download(model, Path(folder) / "artifact")
        job.log("download", artifact.summary)
        run = registry.run_facts(model, artifact.run_id)
        if run is not None and run.problem:
            job.log("download", f"the run is not known: {run.problem}")
        made = (_asked if options.engine == "pyfunc" else _converted)(
            connection, options, name, artifact, relation, keys, job, with_reference
        )
    return Prepared(
        name=name,
        model=model,
        artifact=artifact,
        run=run,
        content=made.content,
        engine=made.engine,
        engine_why=made.why,
        relation=made.relation,
        keys=made.keys,
        makes_inputs=made.makes_inputs,
        bound=made.bound,
        notes=tuple(made.notes),
        questions=made.questions,
    )


@dataclass(frozen=True)
class _Made:
    """What became of the artifact, with the fields of Prepared that depend on it."""

    content: OnnxModel | PyfuncModel
    engine: Engine | PyfuncEngine
    why: str
    relation: Relation | None
    keys: tuple[str, ...]
    makes_inputs: bool
    bound: tuple[Bound, ...]
    notes: list[str]
    questions: parity.Questions | pyfunc.Questions | None


def _converted(
    connection: Connection,
    options: Options,
    name: str,
    artifact: Artifact,
    relation: Relation | None,
    keys: tuple[str, ...],
    job: jobs.Job,
    with_reference: bool,
) -> _Made:
    with (
        pyfunc.named_as_way_out(artifact.flavors),
        convert.open_worker(
            artifact.entry,
            log=lambda text: job.log("convert", text),
            timeout_s=options.policy.timeout_s,
            memory_bytes=options.policy.memory_bytes,
            allow_pickle=options.allow_pickle,
            require_isolation=options.require_isolation,
            model_env=options.model_env,
        ) as worker,
    ):
        onnx = worker.convert(None if relation is None else relation.types)
        job.log(
            "convert",
            f"{onnx.origin.get('estimator', 'model')}: {len(onnx.onnx):,} bytes of ONNX in {onnx.precision}",
        )
        relation, keys, makes_inputs = _with_inputs(connection, options, name, onnx.signature, relation, keys)
        bound = () if relation is None else bind(onnx.signature, relation)
        notes = _notes(name, onnx.signature, relation, keys, bound)
        follows = options.live or makes_inputs or (options.live is None and _is_live(connection, name))
        chosen, why = choose_engine(
            onnx, options.engine, native=partial(native.why_not, connection), for_any_shell=bool(follows)
        )
        engine = _engine(chosen, onnx)
        job.log("compile", f"engine {chosen}: {why}")
        if options.live and relation is not None and not makes_inputs:
            upstream = live.upstream_table(connection, relation, keys)
            live.require(facts(connection), relation, upstream, chosen, asked_for=options.engine != "auto")
        if options.threshold is not None and not (onnx.signature.is_binary and onnx.signature.probabilities):
            raise Refused(
                "A threshold needs a model of two classes with probabilities, and this one is not.",
                hint="Deploy it without --threshold.",
            )
        questions = None
        if with_reference:
            sample = None if relation is None or makes_inputs else _sample(connection, onnx.signature, relation)
            questions = parity.ask(worker, onnx, sample)
            job.log("parity", f"the original answered {len(questions.rows):,} rows")
    return _Made(onnx, engine, why, relation, keys, makes_inputs, bound, notes, questions)


def _asked(
    connection: Connection,
    options: Options,
    name: str,
    artifact: Artifact,
    relation: Relation | None,
    keys: tuple[str, ...],
    job: jobs.Job,
    with_reference: bool,
) -> _Made:
    """A python_function: what it takes is found out, and by asking it what it gives."""
    owner = records.find_deployment(connection, name)
    if relation is None or (owner is not None and owner.owns_source and options.table is None):
        raise UsageError(
            f"--engine pyfunc needs a table to fill predictions for, and {name} has none"
            + ("." if relation is None else f" but {relation.label}, whose triggers cannot ask a python_function."),
            hint="Name it with --table, and what identifies a row of it with --key.",
        )
    columns = {column: kind for column, kind in relation.types.items() if column not in keys}
    with open_pyfunc(artifact.entry, options.policy, log=lambda text: job.log("load", text)) as worker:
        job.log("load", f"{worker.origin.get('estimator')} of MLflow {worker.origin.get('mlflow', '')}, in isolation")
        described = worker.describe(columns)
        bound = bind(described.signature, relation)
        rows = sql.sampled(sql.render(exp.select("*").from_(relation.node)), SAMPLE_ROWS, SAMPLE_SEED)
        questions = pyfunc.ask(connection, worker, described, rows, thorough=with_reference)
        signature = questions.examined.form.on(described.signature)
        job.log("parity", f"the model was asked about {len(questions.examined.rows):,} rows, several times each")
    model_files.take(connection, artifact.directory, (file.path for file in artifact.files))
    notes = [
        NOTE.format(name=name),
        f"The model's {len(artifact.files)} files ({artifact.size:,} bytes) are kept in the database, and are asked there.",
        *pyfunc.notes(described),
        *_notes(name, signature, relation, keys, bound),
    ]
    for note in notes[:1]:
        job.log("compile", note)
    content = PyfuncModel(artifact.sha256, signature, worker.origin)
    return _Made(
        content, PyfuncEngine(), "asked for: a python_function", relation, keys, False, bound, notes, questions
    )


def _engine(name: str, onnx: OnnxModel) -> Engine:
    if name == "sql":
        from sqlml.engines.sql import SqlEngine

        return SqlEngine(onnx)
    if name == "native":
        return native.NativeEngine.of(onnx)
    from sqlml.engines.python import PythonEngine

    return PythonEngine(onnx.sha256, onnx.signature, onnx.reasons)


def _is_live(connection: Connection, name: str) -> bool:
    existing = records.find_deployment(connection, name)
    return existing is not None and existing.live


def _check_function(connection: Connection, options: Options, name: str) -> None:
    """A plain function (--as) may replace only the one that this deployment made."""
    if options.function is None:
        return
    schema, function = options.function
    existing = records.find_deployment(connection, name)
    names.refuse_taken_function(connection, options.function, None if existing is None else existing.function_name)
    if (
        connection.execute(
            "SELECT 1 FROM duckdb_schemas() WHERE database_name = current_database() AND schema_name = ?", [schema]
        ).fetchone()
        is None
    ):
        raise NameRefused(
            f"There is no schema {schema!r} for the function {function!r}.", hint="Use main, or create it first."
        )


def _source(connection: Connection, options: Options, name: str) -> tuple[Relation | None, tuple[str, ...]]:
    """The table named, or the one that the deployment has already."""
    existing = records.find_deployment(connection, name)
    if options.table is not None:
        relation = find(connection, options.table)
        return relation, resolve_columns(relation, options.key, "key")
    if not options.key and existing is not None and existing.source is not None:
        relation = find(connection, existing.source)
        return relation, resolve_columns(relation, existing.key_columns, "key")
    return None, ()


def _with_inputs(
    connection: Connection,
    options: Options,
    name: str,
    signature: Signature,
    relation: Relation | None,
    keys: tuple[str, ...],
) -> tuple[Relation | None, tuple[str, ...], bool]:
    """`<name>.inputs`, made by sqlml when a typed key is given without a table, and kept by later versions."""
    owner = records.find_deployment(connection, name)
    owns = owner is not None and owner.owns_source and options.table is None
    if not options.key_types and not owns:
        return relation, keys, False
    live.require_triggers(facts(connection))
    typed = (
        dict(zip(options.key, options.key_types, strict=True))
        if options.key_types
        else {key: relation.types[key] for key in keys if relation is not None}
    )
    clash = {key.lower() for key in typed} & {column.name.lower() for column in signature.columns}
    if clash:
        raise BindingError(
            f"The key {sorted(clash)[0]!r} is also an input column of the model.", hint="Name the key otherwise."
        )
    columns = {**typed, **{column.name: column.type for column in signature.columns}}
    return Relation((name, "inputs"), "table", columns), tuple(typed), True


def _notes(
    name: str, signature: Signature, relation: Relation | None, keys: tuple[str, ...], bound: tuple[Bound, ...]
) -> list[str]:
    """What a person should know before: how values are read, and names that give way."""
    notes = [f"{b.source}: {b.note}" for b in bound if b.note]
    if relation is None:
        return notes
    added = [output for output, _ in output_columns(signature)]
    taken = {column.lower() for column in relation.types}
    notes += [
        f"in {name}.scored, {output} is called {name}_{output}: the source has a column {output}"
        for output in added
        if output.lower() in taken
    ]
    own = [*added, *(stamp for stamp, _ in STAMP), "deployment_version", RECALLED_AT]
    reserved = {output.lower() for output in own}
    for key in keys:
        if key.lower() in reserved:
            raise BindingError(
                f"The key column {key!r} has the name of a column of the prediction table.",
                hint="Deploy on a view that gives the key another name.",
            )
    return notes


def _sample(connection: Connection, signature: Signature, relation: Relation) -> pa.Table:
    """Some rows of the table as the model takes them, the same ones each time."""
    columns = [sql.alias(feature(c, sql.column(c.name)), c.name) for c in signature.columns]
    chosen = sql.sampled(sql.render(exp.select("*").from_(relation.node)), SAMPLE_ROWS, SAMPLE_SEED)
    return connection.sql(sql.select_from(sql.render(exp.select(*columns)), chosen)).to_arrow_table()
