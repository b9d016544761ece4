"""Everything behind one prediction, put together: `sqlml why churn 4711`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from sqlml.catalog import activity, collected, records
from sqlml.catalog.migrations import asked_once
from sqlml.catalog.records import Deployment, Version
from sqlml.catalog.turning import turning_of
from sqlml.compile.turning import Turning
from sqlml.connecting import prepare_connection
from sqlml.database import first_line, is_interrupt, refuse_open_transaction
from sqlml.engines.surface import class_fields
from sqlml.errors import BindingError, DatabaseError, NotDeployed, UsageError
from sqlml.keys import key_values
from sqlml.predictions import Target, hash_check, target_of, target_on
from sqlml.reasoning import record
from sqlml.reasoning.asking import Answer, Asker
from sqlml.reasoning.contributions import NONE, contributions
from sqlml.reasoning.facts import BY_HASH, KEPT, UNKNOWN, Contributions, Flips, Input, Inputs, Predicted, Why
from sqlml.reasoning.flips import flips
from sqlml.reasoning.grids import grid_of
from sqlml.reasoning.rows import Kept, Values, as_source_holds, closest_keys, kept_row, source_row, stored_row
from sqlml.reasoning.spread import spreads
from sqlml.relation import Relation, table_exists
from sqlml.replaying import moment_of
from sqlml.signature import Column, Signature

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

# Any in this module: SQL values.
STAMPS = frozenset({"input_hash", "scoring_id", "scored_at"})


def why(
    connection: Connection,
    name: str,
    key: Sequence[object] | object,
    *,
    version: int | None = None,
    as_of: datetime | str | None = None,
) -> Why:
    """Everything behind the prediction of one row: inputs then and now, what each of them contributes, the nearest change
    that would give another label, who scored and deployed it, the model's bytes, run and training data.

    Args:
        key: A value per key column.
        version: The deployment version whose prediction is meant; the active one by default.
        as_of: A moment in UTC (a date means its end): what `current` showed then, by the version that was active.

    Raises:
        NotDeployed: there is no such deployment or version, or no prediction of this key; whether the source has the key
            is said.
        UsageError: another number of values than key columns.
    """
    refuse_open_transaction(connection)
    if as_of is not None and version is not None:
        raise UsageError("The version that was active at a moment is known: leave the version out.")
    with asked_once(connection):
        prepare_connection(connection)
        deployment = records.deployment(connection, name)
        values = key_values(key)
        moment = None if as_of is None else moment_of(as_of)
        chosen = _version(connection, deployment, version, moment)
        target, problem = _target(connection, chosen, values)
        return _Asked(connection, deployment, chosen, target, problem, values, moment).answer()


def _version(connection: Connection, deployment: Deployment, number: int | None, moment: datetime | None) -> Version:
    if moment is not None:
        number = activity.active_at(activity.changes(connection, deployment.name), moment)
        if number is None:
            raise NotDeployed(f"No version of {deployment.name} was active at {moment} UTC, so nothing was shown.")
    chosen = (
        records.active(connection, deployment) if number is None else records.version(connection, deployment, number)
    )
    if chosen.prediction_table is None:
        raise NotDeployed(
            f"{deployment.name} v{chosen.version} stores no predictions: it was deployed without a table.",
            hint="Deploy it with --table and --key to have predictions that can be asked about.",
        )
    if not table_exists(connection, (chosen.deployment, chosen.prediction_table)):
        raise NotDeployed(
            f"{deployment.name} v{chosen.version} has no predictions any more ({chosen.state}).",
            hint="Name another version with --version: see sqlml status.",
        )
    gone = collected.of(connection, chosen.deployment, chosen.version)
    if missing := collected.in_the_way(gone, chosen.keeps, as_of=moment is not None):
        raise NotDeployed(
            f"The {missing.part} of {deployment.name} v{chosen.version} were {missing.sentence()}.",
            hint=f"Deploying {chosen.reference} again brings the version back. Others are in sqlml status.",
        )
    return chosen


def _target(connection: Connection, version: Version, values: Sequence[str]) -> tuple[Target, str | None]:
    """With the source as it is, or without it and why it cannot be read."""
    if len(values) != len(version.key_columns):
        raise UsageError(
            f"The key of {version.deployment} v{version.version} is {', '.join(version.key_columns)}:"
            f" {len(version.key_columns)} values, and {len(values)} were given.",
            hint="Give one value for each key column.",
        )
    try:
        return target_of(connection, version), None
    except (BindingError, DatabaseError) as error:  # gone, with other columns, or a view over what is gone
        return target_on(connection, version, Relation((version.source or "",), "missing", {})), error.message


class _Asked:
    """One question while it is answered."""

    def __init__(
        self,
        connection: Connection,
        deployment: Deployment,
        version: Version,
        target: Target,
        problem: str | None,
        values: Sequence[str],
        moment: datetime | None,
    ) -> None:
        self.connection, self.deployment, self.version, self.target = connection, deployment, version, target
        self.problem, self.values, self.moment = problem, values, moment
        self.signature = version.contract
        self.is_asked = version.engine == "pyfunc"
        self.notes: list[str] = []

    def answer(self) -> Why:
        stored, place = stored_row(self.connection, self.target, self.values) or (None, None)
        now = self._now(place)
        then, stored = self._then(stored, place)
        if stored is None and then is None:
            raise self._nothing(now)
        stamp = stored or {"scoring_id": then and then.scoring_id, "scored_at": then and then.seen_at}
        scoring = record.scoring(self.connection, str(stamp["scoring_id"]))
        comparable = scoring.get("hash_check") == hash_check(self.connection)
        digest = stored["input_hash"] if stored is not None else None if then is None else then.input_hash
        if then is not None and digest is not None and comparable and then.input_hash != digest:
            self.notes.append("The inputs that were kept last are those of another prediction.")
            then = None
        unreadable = None if then is None else then.unreadable
        then = then if unreadable is None else None  # what was kept is not what was there
        base = then.inputs if then is not None else now
        asker = None if base is None else self._asker(base)
        changes = self._flips(asker, stored)  # before all that asks about the row itself, which this does too
        here = self._here(now, asker)
        known, inputs = self._inputs(digest, comparable, then, now, here, unreadable)
        of = "then" if known != UNKNOWN else None if now is None else "now"
        outputs = self._said(stored, then, asker, unreadable)
        history = record.history(self.connection, self.version)
        run, datasets = record.run(self.version)
        return Why(
            deployment=self.deployment.name,
            version=self.version.version,
            key=self._key(stored),
            as_of=self.moment,
            prediction=self._predicted(outputs, stamp, stored is not None),
            inputs=inputs,
            contributions=self._contributions(base, of, outputs if of == "then" else inputs.now),
            flips=replace(changes, of=of),
            scoring={k: v for k, v in scoring.items() if k != "hash_check"},
            deployed=record.deployed(self.version, history),
            history=history,
            parity=record.parity(self.connection, self.version),
            model=record.model(self.connection, self.version),
            run=run,
            datasets=datasets,
            recalled=record.recall_of(self.connection, self.version, str(stamp["scoring_id"])),
            notes=tuple(self.notes),
        )

    def _key(self, stored: dict[str, Any] | None) -> dict[str, Any]:
        if stored is not None:
            return {name: stored[name] for name in self.target.keys}
        return dict(zip(self.target.keys, self.values, strict=True))

    def _asker(self, inputs: Values) -> Asker:
        return Asker(self.connection, self.signature, inputs, self.target.rows_query, predicts=not self.is_asked)

    def _now(self, place: int | None) -> Values | None:
        import duckdb

        if self.problem is None:
            try:
                return source_row(self.connection, self.target, self.signature, self.values, place)
            except duckdb.Error as error:  # a view may fail on its own rows
                if is_interrupt(error):
                    raise
                self.problem = first_line(error)
        self.notes.append(f"The source cannot be read any more: {self.problem}")
        return None

    def _then(self, stored: dict[str, Any] | None, place: int | None) -> tuple[Kept | None, dict[str, Any] | None]:
        """(the inputs that were kept, the stored row if it is what was said)."""
        if stored is not None and self.moment is not None and stored["scored_at"] > self.moment:
            stored = None  # of a later time
            if self.target.kept is None:
                raise NotDeployed(
                    f"{self._named()} was scored again after {self.moment} UTC, and what was shown then was not kept.",
                    hint="Without --as-of the present prediction is explained. --keep inputs keeps what is needed.",
                )
        until = self.moment if self.moment is not None else stored["scored_at"] if stored is not None else None
        if self.target.kept is None or until is None:
            return None, stored
        kept = self.target.kept
        found = kept_row(self.connection, self.target, kept, self.signature, self.values, until, stored, place)
        if found is not None and self.problem is None:
            held = as_source_holds(self.connection, self.signature, found.inputs, self.target.relation)
            found = replace(found, inputs=held)
        return found, stored

    def _said(
        self, stored: dict[str, Any] | None, then: Kept | None, asker: Asker | None, unreadable: str | None
    ) -> dict[str, Any]:
        """What was stored, or else what the version says about what was kept."""
        if stored is not None:
            return {name: stored[name] for name in self.target.outputs}
        if unreadable is not None:
            return {**dict.fromkeys(self.target.outputs), "error": unreadable}
        return (None if asker is None or then is None else asker.own().outputs) or {}

    def _here(self, now: Values | None, asker: Asker | None) -> Answer | None:
        """What the version says about the inputs of now."""
        if now is None or asker is None:
            return None
        is_asked = (now.texts, now.types) == (asker.base.texts, asker.base.types)
        return (asker if is_asked else self._asker(now)).own()

    def _inputs(
        self,
        digest: int | None,
        comparable: bool,
        then: Kept | None,
        now: Values | None,
        here: Answer | None,
        unreadable: str | None,
    ) -> tuple[str, Inputs]:
        is_same = digest is not None and comparable and here is not None and here.input_hash == digest
        known, note = self._known(digest, comparable, then, is_same=is_same, in_source=now is not None)
        if unreadable is not None and known == UNKNOWN:
            note = f"The inputs of then are not known: one could not be kept as it was ({unreadable})."
        columns = []
        for i, column in enumerate(self.signature.columns):
            value = None if now is None else now.values[i]
            before = then.inputs.values[i] if known == KEPT and then else value if known == BY_HASH else None
            changed: bool | None = None
            if known != UNKNOWN and now is not None:
                changed = False if is_same else _differs(column, before, value)
            columns.append(Input(column.name, column.type, before, value, changed))
        in_source = None if self.problem is not None else now is not None
        return known, Inputs(known, in_source, note, tuple(columns), None if here is None else here.outputs)

    def _known(
        self, digest: int | None, comparable: bool, then: Kept | None, *, is_same: bool, in_source: bool
    ) -> tuple[str, str]:
        if then is not None:
            return KEPT, f"The inputs of then were kept at {then.seen_at:%Y-%m-%d %H:%M:%S} UTC."
        if digest is None:
            return UNKNOWN, "The inputs of then are not known: nothing was kept of them (--keep none)."
        only = "Only a hash of the inputs was kept"
        if not comparable:
            return UNKNOWN, f"{only}, by a DuckDB that hashes otherwise: whether they are those of now is not known."
        if self.problem is not None:
            return UNKNOWN, f"{only}, and the source cannot be read any more."
        if not in_source:
            return UNKNOWN, f"{only}, and the key has left the source."
        if is_same:
            return BY_HASH, "The inputs are unchanged since: their hash is that of then."
        return UNKNOWN, f"{only}, and the source has other inputs now: those of then are not known."

    def _predicted(self, outputs: dict[str, Any], stamp: dict[str, Any], is_stored: bool) -> Predicted:
        signature, value = self.signature, outputs.get("prediction")
        score, score_of = None, None
        if signature.probabilities:
            names = [f"probability_{name}" for name in class_fields(signature)]
            wanted = 1 if signature.is_binary else _place(signature, value)
            if wanted is not None and names[wanted] in outputs:
                score, score_of = outputs[names[wanted]], names[wanted]
        threshold = self.version.threshold
        note = None
        if signature.is_binary and signature.probabilities:
            note = "the deployment's own" if threshold is not None else "the model's own rule"
        return Predicted(
            stored=is_stored,
            outputs={name: found for name, found in outputs.items() if name not in STAMPS},
            value=value,
            error=outputs.get("error"),
            score=score,
            score_of=score_of,
            threshold=threshold,
            threshold_note=note,
            scored_at=stamp["scored_at"],
            scoring_id=str(stamp["scoring_id"]),
        )

    def _contributions(self, base: Values | None, of: str | None, outputs: dict[str, Any] | None) -> Contributions:
        nothing = Contributions(of, None, None, None, None, ())
        if base is None:
            return _noted(nothing, "The inputs are not known, so that nothing can be said about them.")
        if self.is_asked:
            return _noted(nothing, "A python_function says what it predicts, and not of what.")
        if outputs is not None and outputs.get("error") is not None:
            return _noted(nothing, NONE)
        return contributions(self.connection, self.version, base, of or "", outputs)

    def _flips(self, asker: Asker | None, stored: dict[str, Any] | None) -> Flips:
        def none(note: str) -> Flips:
            return Flips(None, (), (), None, 0, note)

        if self.is_asked:
            return none("A python_function is not asked about rows that do not exist.")
        if self.signature.kind != "classifier":
            return none("The prediction is a number: there is no label that could change.")
        if asker is None:
            return none("The inputs are not known, so that nothing can be said about them.")
        if (stored is None or stored["error"] is not None) and (asker.own().outputs or {}).get("error") is not None:
            return none("The row has no prediction that could change.")
        found = self._turning()
        if isinstance(found, str):
            return none(found)
        of_text = [grid_of(c, kind) is None for c, kind in zip(self.signature.columns, asker.base.types, strict=True)]
        relation = None if self.problem is not None else self.target.relation
        known = spreads(self.connection, relation, self.signature, of_text)
        if known.problem is not None:
            self.notes.append(
                f"What values {self.target.relation.label} has is not known, nor how far changes are: reading all its rows"
                f" fails ({known.problem}). Mend the row or the view."
            )
        return flips(asker, self.signature, found, known, self.version.threshold)

    def _turning(self) -> tuple[Turning, ...] | str:
        found = turning_of(self.connection, self.version.model_sha256)
        return "The model's bytes are not in the database any more." if found is None else found

    def _named(self) -> str:
        return ", ".join(f"{name} = {value}" for name, value in zip(self.target.keys, self.values, strict=True))

    def _nothing(self, now: Values | None) -> NotDeployed:
        label = self.target.relation.label
        if self.moment is not None and self.target.kept is None:
            return NotDeployed(f"{self.deployment.name} v{self.version.version} has no prediction for {self._named()}.")
        said = f"{self.deployment.name} v{self.version.version} has no prediction for {self._named()}"
        if now is not None:
            hint = f"sqlml score {self.deployment.name} makes one."
            return NotDeployed(f"{said}, though {label} has that row.", hint=hint, in_source=True)
        others = [
            other.version
            for other in records.versions(self.connection, self.deployment.name)
            if other.version != self.version.version and self._has(other)
        ]
        if others:
            return NotDeployed(f"{said}.", hint=f"v{others[-1]} has one: --version {others[-1]}.", in_source=False)
        near = closest_keys(self.connection, self.target, self.values)
        hint = f"The closest keys are {' and '.join(near)}." if near else "Check the key."
        where = "" if self.problem is not None else f", and {label} has no such row"
        return NotDeployed(f"{said}{where}.", hint=hint, in_source=None if self.problem else False, closest=near)

    def _has(self, other: Version) -> bool:
        if other.prediction_table is None or other.key_columns != self.version.key_columns:
            return False
        if not table_exists(self.connection, (other.deployment, other.prediction_table)):
            return False
        return (
            stored_row(self.connection, target_on(self.connection, other, self.target.relation), self.values)
            is not None
        )


def _noted(nothing: Contributions, note: str) -> Contributions:
    return Contributions(nothing.of, None, None, None, None, (), note)


def _place(signature: Signature, value: Any) -> int | None:
    return next((i for i, label in enumerate(signature.classes) if label == value), None)


def _differs(column: Column, before: Any, now: Any) -> bool:
    """To the model: a DECIMAL in the source is the DOUBLE that was kept of it, true is 1, and NaN is missing."""
    return bool(_seen(column, before) != _seen(column, now))


def _seen(column: Column, value: Any) -> Any:
    if column.is_text:
        return None if value is None else str(value)
    if isinstance(value, float | Decimal):
        number = float(np.float32(value) if column.type == "FLOAT" else value)
        return None if math.isnan(number) else number
    return value
