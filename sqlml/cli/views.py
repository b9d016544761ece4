"""Results as a person reads them; each view takes what its API function returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlml.cli import output
from sqlml.cli.output import cell, data

if TYPE_CHECKING:
    from sqlml.checking import Checked
    from sqlml.comparison import Difference
    from sqlml.deploy.state import Event, Status
    from sqlml.doctor import Finding
    from sqlml.forgetting import Forgotten
    from sqlml.jobs import JobRecord
    from sqlml.lineage.dependents import Dependent, Dependents
    from sqlml.lineage.tree import Node
    from sqlml.planning import Plan
    from sqlml.promoting import Promoted
    from sqlml.recalling import Recalled
    from sqlml.replaying import Replay
    from sqlml.scoring import Scored
    from sqlml.verification import Check, Verification


class Reported(Protocol):
    """What can be printed as JSON."""

    def to_dict(self) -> dict[str, Any]: ...  # Any: JSON


Lineage = TypeVar("Lineage", bound=Reported)


def result(done: Reported, sentence: str, as_json: bool) -> None:
    if as_json:
        output.as_json(done.to_dict())
    else:
        data(sentence)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; what is not known is left out."""
    known = [(name, value) for name, value in pairs if value not in (None, "", ())]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        data(f"{name.ljust(width)}  {cell(value)}")


def checked(found: Checked) -> None:
    if not found.works:
        facts([("model", found.model), ("works", "no"), ("why", found.why), ("what to do", found.hint)])
        return
    facts(
        [
            ("model", found.model),
            ("works", "yes"),
            ("engine", f"{found.engine}: {found.why}"),
            ("estimator", found.estimator),
            ("inputs", ", ".join(found.inputs)),
            ("outputs", found.outputs),
            ("environment", found.environment),
        ]
    )


def statements(texts: Iterable[str]) -> None:
    for text in texts:
        data(text.rstrip().rstrip(";") + ";")


def plan(planned: Plan) -> None:
    facts(
        [
            ("deployment", f"{planned.name} v{planned.version}"),
            ("model", planned.resolved),
            ("engine", f"{planned.engine}: {planned.engine_why}"),
            ("keeps", KEPT.get(planned.keep or "")),
        ]
    )
    if planned.binding:
        data()
        rows = [
            (b.column.name, b.column.type, b.source, b.source_type, b.how, b.null, b.misfit or "")
            for b in planned.binding
        ]
        output.table(("input", "type", "bound to", "its type", "a value is", "NULL is", "what does not fit"), rows)
    for title, lines in (
        ("The contract changes (deploy needs --accept-contract-change):", planned.contract_changes),
        ("What would change for readers:", planned.would_change),
        ("Worth knowing:", planned.notes),
    ):
        if lines:
            data(f"\n{title}")
            for line in lines:
                data(f"  {cell(line)}")
    data("\nThe SQL that would run:")
    statements(planned.statements)


def scored(results: Sequence[Scored], as_json: bool) -> None:
    if as_json:
        output.as_json([one.to_dict() for one in results])
        return
    for one in (found for result in results for found in (result, *result.shadows)):
        parts = [f"{one.rows:,} rows scored"]
        parts += [f"{one.failed:,} of them without a prediction (see their error)"] if one.failed else []
        parts += [f"{one.removed:,} removed"] if one.removed else []
        parts += [f"{one.unchanged:,} unchanged"] if one.unchanged else []
        data(f"{one.deployment} v{one.version}: {', '.join(parts)}, {one.source} -> {one.target}, {one.seconds:.1f} s")


def difference(found: Difference) -> None:
    for sentence in found.sentences():
        data(sentence)
    if found.only_before or found.only_after:
        data(f"only in v{found.before}: {found.only_before:,} rows; only in v{found.after}: {found.only_after:,} rows")
    if found.confusion:
        data("\nLabels, all of them:")
        _confusion(found)
    if found.movers:
        data("\nRows that move most:")
        output.table((*found.key_columns, f"v{found.before}", f"v{found.after}", "move"), found.movers)


WIDEST = 12
"""Classes that a table has columns for; of more, the pairs that occur are listed."""


def _confusion(found: Difference) -> None:
    """A row for each label of the version before, a column for each of the other one, and how many were kept."""
    labels = sorted({label for pair in found.confusion for label in pair[:2]}, key=lambda label: (label is None, label))
    if len(labels) > WIDEST:
        output.table((f"v{found.before}", f"v{found.after}", "rows"), found.confusion)
        return
    counts = {(before, after): rows for before, after, rows in found.confusion}
    shown = ["(none)" if label is None else label for label in labels]
    rows = []
    for name, before in zip(shown, labels, strict=True):
        line = [counts.get((before, after), 0) for after in labels]
        kept = f"{counts.get((before, before), 0) / sum(line):.1%}" if sum(line) else ""
        rows.append((name, *line, kept))
    output.table((f"v{found.before} \\ v{found.after}", *shown, "kept"), rows)


def promoted(done: Promoted) -> None:
    if done.from_version == done.to_version:
        data(f"{done.name} v{done.to_version} is the active version already.")
        return
    for sentence in done.changes:
        data(sentence)
    data(f"{done.name} v{done.to_version} is active (it was v{done.from_version}).")


def statuses(found: Sequence[Status]) -> None:
    from sqlml.engines.pyfunc import NO_SHELL  # by now what it needs is loaded anyway

    if not found:
        data("Nothing is deployed here.")
    for number, one in enumerate(found):
        if number:
            data()
        active = f"v{one.active_version}, {one.resolved}" if one.active_version else "no version is active"
        facts(
            [
                ("deployment", f"{one.name} {active}"),
                ("files", None if one.artifact_store is None else one.artifact_store.where),
                ("engine", f"{one.engine}: {NO_SHELL}" if one.engine == "pyfunc" else one.engine),
                ("source", f"{one.source}, key {', '.join(one.key_columns)}" if one.source else "functions only"),
                ("live", "yes" if one.live else None),
                ("keeps", KEPT.get(one.keep or "")),
                ("predictions", _predictions(one)),
                ("parity", one.parity),
                ("recalled", one.recalled and f"{one.recalled} (it goes on answering)"),
                *(("follows", followed) for followed in one.follows),
                ("versions", ", ".join(one.versions)),
                *(("problem", problem) for problem in one.problems),
            ]
        )


KEPT = {
    "none": "nothing of the inputs: no prediction can be replayed",
    "hash": "a hash of the inputs",
    "inputs": "the inputs, whenever they change",
}


def _predictions(one: Status) -> str | None:
    if one.predictions is None:
        return None
    failed = f", {one.failed:,} of them errors" if one.failed else ""
    when = f", last scored {cell(one.scored_at)} UTC" if one.scored_at else ""
    return f"{one.predictions:,} rows{failed}{when}"


def events(found: Sequence[Event]) -> None:
    rows = [
        (
            e.happened_at,
            e.deployment,
            e.action,
            _step(e.from_version, e.to_version),
            e.who,
            e.database_user or "",
            e.why or "",
            e.job_id or "",
        )
        for e in found
    ]
    output.table(("when (UTC)", "deployment", "action", "version", "who", "database user", "why", "job"), rows)


def _step(before: int | None, after: int | None) -> str:
    return " -> ".join(f"v{number}" for number in (before, after) if number is not None)


def verifications(found: Sequence[Verification]) -> None:
    if not found:
        data("No version is active here: there is nothing to verify (see sqlml status).")
        return
    rows = [
        (f"{one.deployment} v{one.version}", check.name, _verdict(check), check.detail)
        for one in found
        for check in one.checks
    ]
    output.table(("deployment", "check", "", "detail"), rows)


def _verdict(check: Check) -> str:
    if not check.checked:
        return "NOT COMPARED"
    return "ok" if check.passed else "DIFFERS"


def replayed(found: Replay) -> None:
    rows = [
        (f"{found.deployment} v{one.version}", outcome, f"{number:,}", "")
        for one in found.versions
        for outcome, number in one.outcomes.items()
    ]
    rows += [
        (f"{found.deployment} v{v.version}", "not replayed", "", v.skipped or "no predictions")
        for v in found.versions
        if not v.rows
    ]
    moment = "" if found.as_of is None else f", as of {cell(found.as_of)} UTC"
    output.table(("deployment", f"outcome{moment}", "predictions", ""), rows)
    for one in found.versions:
        for why, number in one.reasons.items():
            data(f"v{one.version}: {number:,} of them: {why}")
    for row in found.rows:
        data()
        data(
            f"v{row.version}, {', '.join(f'{k} = {cell(v)}' for k, v in row.key.items())}: {row.outcome}, scored {cell(row.scored_at)} UTC"
        )
        names = row.stored or row.computed or {}
        values = [(n, (row.stored or {}).get(n, ""), (row.computed or {}).get(n, "")) for n in names]
        output.table(("", "stored", "computed now"), [(n, _exact(a), _exact(b)) for n, a, b in values])
    for note in found.notes:
        data(note)


def _exact(value: object) -> object:
    """All digits: two numbers that differ must not look the same."""
    return repr(value) if isinstance(value, float) else value


def forgotten(done: Forgotten) -> None:
    if not done.erased:
        data(f"{done.deployment} held nothing about that key.")
    else:
        output.table(("erased from", "rows", "what"), [(e.table, f"{e.rows:,}", e.what) for e in done.erased])
    data()
    for sentence in done.left:
        data(sentence)


def findings(found: Sequence[Finding]) -> None:
    marks = {"ok": "", "warn": "NOTE", "missing": "MISSING"}
    output.table(
        ("what", "", "found", "what to do"), [(f.name, marks[f.state], f.found, f.remedy or "") for f in found]
    )


def tree(found: Lineage, as_tree: Callable[[Lineage], Node], as_json: bool) -> None:
    if as_json:
        output.as_json(found.to_dict())
        return
    from sqlml.lineage.tree import lines

    for line in lines(as_tree(found)):
        data(line)


def jobs(found: Sequence[JobRecord], as_json: bool) -> None:
    if as_json:
        output.as_json(
            [
                {
                    "id": job.id,
                    "kind": job.kind,
                    "deployment": job.subject,
                    "state": job.state,
                    "error": job.error,
                    "started_at": job.started_at,
                }
                for job in found
            ]
        )
        return
    rows = [(job.id, job.subject or "", job.state, job.started_at, job.error or "") for job in found]
    output.table(("job", "deployment", "state", "started (UTC)", "error"), rows)


def dependents(found: Dependents) -> None:
    """Directly, downstream, and what nobody can know; each with its rows."""
    if not found.found:
        data(f"No deployment version is known to depend on {found.kind} {cell(found.value)}.")
        if found.hint:
            data(f"  {cell(found.hint)}")
    for title, listed, rows in (
        (f"{found.kind} {cell(found.value)}", found.found, found.rows),
        ("what reads these predictions", found.downstream, found.downstream_rows),
    ):
        if listed:
            data(f"{title}: {rows:,} predictions")
            table = [
                (d.name, d.state, d.rows, d.prediction_table or "", len(d.scorings), d.how, _marked(d)) for d in listed
            ]
            output.table(("version", "state", "predictions", "in", "scorings", "how", "recalled"), table)
            for one in listed:
                for copy in one.elsewhere:
                    data(
                        f"  {one.name} also wrote {cell(copy.rows)} to {cell(copy.target)} at {cell(copy.scored_at)} UTC"
                    )
    if found.uncertain:
        data("may depend on it (not known):")
        rows_of = [(f"{u.deployment} v{u.version}", u.state, u.rows, u.why) for u in found.uncertain]
        output.table(("version", "state", "predictions", "why"), rows_of)


def _marked(one: Dependent) -> str:
    return "" if one.recalled_at is None else f"{cell(one.recalled_at)} UTC"


def recalled(done: Recalled) -> None:
    dependents(done.dependents)
    if done.action is None:
        marked = f" Marked already: {', '.join(done.already)}." if done.already else ""
        data(f"Nothing was changed: --apply marks them.{marked}" if done.dependents.found else "Nothing was changed.")
        return
    verb = "recalled" if done.action == "recall" else "no longer recalled"
    if done.marked:
        data(f"{verb}: {', '.join(done.marked)}")
    if done.already:
        data(f"recalled before, for the same: {', '.join(done.already)}")
    if not done.marked and not done.already:
        data(
            "There was nothing to do: no recall of this stands."
            if done.action == "undo"
            else "Nothing was marked, and nothing was recorded: a recall is one of deployment versions, and of none here it is"
            " known. A deploy of it after this is not refused; recall it again then."
        )
    for one in done.still:
        data(f"still recalled for something else: {one}")
    if done.action == "recall" and done.active:
        data(f"{', '.join(done.active)} is active, and goes on answering: roll back, or deploy another version.")
