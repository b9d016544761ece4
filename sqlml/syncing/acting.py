"""A round: look, ask, decide, and do what the policies say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlml import jobs, writing_back
from sqlml.catalog import following, migrations, records
from sqlml.catalog.following import Followed
from sqlml.catalog.policies import DEPLOY, FAILED, NEW, REFUSED, SETTLED, SHADOW, TRYING
from sqlml.database import atomic, facts, refuse_open_transaction, require_writable, translated
from sqlml.deploy.deployment import Deployed, checked_policy
from sqlml.deploy.routine import deploy_db
from sqlml.errors import BindingError, Conflict, DatabaseLocked, KeyRefused, Refused, UsageError
from sqlml.syncing import outcomes
from sqlml.syncing.deciding import Decision, decide
from sqlml.syncing.looking import Answers, Looked, ask, look, place_of
from sqlml.syncing.outcomes import Outcome, Synced
from sqlml.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


OF_THE_ROWS = (KeyRefused, BindingError)
"""Refused for what is in the table now: a key that is there twice may not be in an hour, with the very same model."""

Due = frozenset[tuple[str, int]]
"""Deployment versions that MLflow is to be told about now."""


@dataclass(frozen=True)
class How:
    """How a round asks and deploys: arguments of `sync` that stay the same from one to the next."""

    tracking_uri: str | None = None
    registry_uri: str | None = None
    retry: bool = False
    conversion: tuple[tuple[str, Any], ...] = ()  # Any: keyword arguments of deploy_db
    listener: jobs.Listener | None = None


def sync(
    connection: Connection,
    name: str | None = None,
    *,
    policy: str | None = None,
    check: bool = False,
    retry: bool = False,
    why: str | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str | None = None,
    model_timeout: float | None = None,
    model_memory: int | None = None,
    listener: jobs.Listener | None = None,
) -> Synced:
    """Follow the registry once: where an alias or a stage has moved, deploy, deploy as a shadow, or tell, by policy.

    Args:
        name: Only this deployment; every one by default.
        policy: From now on, for the deployment that is named: "tell", "deploy" or "shadow".
        check: Change nothing; the outcomes say what would be done.
        retry: Also what was refused, and what failed and would be tried again later.
        why: Kept in the history with the policy.
        tracking_uri, registry_uri: The registry that is asked; by default the one each deployment came from.
        allow_pickle, require_isolation, model_env, model_timeout, model_memory: As for deploy_db.
        listener: Called with each line of the job's log, and of the deploys'.

    Returns:
        What was found and done for each deployment. A deploy that fails is an outcome, and keeps no other from its own.

    Raises:
        NotDeployed: there is no deployment of that name.
        UsageError: a policy without a name, or one that there is not.
    """
    refuse_open_transaction(connection)
    if not check:
        require_writable(facts(connection))
    if policy is not None:
        if name is None or check:
            raise UsageError(
                "A policy is one deployment's, and --check changes nothing.",
                hint="For example: sqlml sync churn --policy shadow",
            )
        follow(connection, name, policy, why=why)
    how = How(
        tracking_uri,
        registry_uri,
        retry,
        conversion(allow_pickle, require_isolation, model_env, model_timeout, model_memory),
        listener,
    )
    looked = look(connection, name)
    answers = ask(looked, tracking_uri=tracking_uri, registry_uri=registry_uri)
    if check:
        return checked(looked, answers, retry=retry)
    return act(connection, name, answers, how)


def conversion(
    allow_pickle: bool,
    require_isolation: bool,
    model_env: str | None = None,
    model_timeout: float | None = None,
    model_memory: int | None = None,
) -> tuple[tuple[str, Any], ...]:  # Any: keyword arguments of deploy_db
    given = {
        "allow_pickle": allow_pickle,
        "require_isolation": require_isolation,
        "model_env": model_env,
        "model_timeout": model_timeout,
        "model_memory": model_memory,
    }
    return tuple((key, value) for key, value in given.items() if value is not None)


def follow(connection: Connection, name: str, policy: str, *, why: str | None = None) -> None:
    """Say what `sync` may do when what a deployment follows moves; the history keeps who said so.

    Raises:
        NotDeployed, UsageError: see `sync`.
    """
    checked_policy(policy)
    deployment = records.deployment(connection, name)
    migrations.migrate(connection)
    changed = []
    for one in look(connection, deployment.name):
        # What a shadow follows is deployed as a shadow, whatever the deployment's own policy.
        wanted = SHADOW if one.row is not None and one.row.beside and policy == DEPLOY else policy
        if one.row is None or one.row.policy == wanted:
            continue
        was_shadow = one.row.state == SETTLED and any(
            v.version == one.row.version and v.state == "shadow" for v in one.versions
        )
        renewed = NEW if was_shadow and wanted == DEPLOY else one.row.state
        changed.append((one.row.policy, replace(one.row, policy=wanted, state=renewed)))
    if not changed:
        return
    with atomic(connection, deployment.name):
        records.begin_change(connection, deployment.name)
        for _, row in changed:
            following.write(connection, row)
        said = f"{changed[0][0]} -> {changed[0][1].policy}" + (f": {why}" if why else "")
        records.record_history(connection, deployment.name, "follow", who=jobs.user(), job_id=None, why=said)


def checked(looked: Sequence[Looked], answers: Answers, *, retry: bool = False) -> Synced:
    """What would be done."""
    now = records.now()
    return Synced(now, tuple(d.outcome for d in decisions(looked, answers, now=now, retry=retry)))


def decisions(looked: Sequence[Looked], answers: Answers, *, now: datetime, retry: bool) -> list[Decision]:
    made = []
    for one in looked:
        question = one.question()
        standing = None
        if question is not None and one.row is not None:
            standing = answers.get((one.name, one.row.beside, question))
        made.append(decide(one, standing, now=now, retry=retry))
    return made


def is_anything_to_do(looked: Sequence[Looked], due: Due, answers: Answers, *, retry: bool) -> bool:
    """Whether a round would write: then, and only then, the database is opened for that."""
    made = decisions(looked, answers, now=records.now(), retry=retry)
    return any(decision.is_something for decision in made) or bool(_of_those_there(due, answers))


def _of_those_there(due: Due, answers: Answers) -> Due:
    """Without those whose registry has just not answered: nobody waits for it again with the database open."""
    away = {name for (name, _, _), standing in answers.items() if standing.problem is not None}
    return frozenset(one for one in due if one[0] not in away)


def act(connection: Connection, name: str | None, answers: Answers, how: How) -> Synced:
    """What the registry's answers ask for, on the catalog as it is now."""
    now = records.now()
    made = decisions(look(connection, name), answers, now=now, retry=how.retry)
    due = _of_those_there(writing_back.due(connection, name, now=now, everything=how.retry), answers)
    if not due and not any(decision.is_something for decision in made):
        return Synced(now, tuple(decision.outcome for decision in made))
    migrations.migrate(connection)
    job = jobs.Job("sync", name, jobs.folder_of(facts(connection)), how.listener)
    with jobs.running(connection, job):
        found = tuple(_done(connection, decision, how, job) for decision in made)
        written = writing_back.write_back(connection, name, only=due)
        for told in written.told:
            job.log(writing_back.PHASE, f"MLflow says where {told} is deployed")
        for pending, problem in written.pending:
            job.log(writing_back.PHASE, f"MLflow was not told about {pending}: {problem}")
    return Synced(now, found, written.told, written.pending, job.id)


def _done(connection: Connection, decision: Decision, how: How, job: jobs.Job) -> Outcome:
    row, outcome = decision.row, decision.outcome
    if row is None or not decision.is_something:
        return outcome
    try:
        if decision.action is None:
            _write(connection, row)
            job.log("sync", f"{outcome.name}: {outcome.sentence}")
            return outcome
        return _deployed(connection, decision, row, how, job)
    except (Conflict, DatabaseLocked) as error:
        job.log("sync", f"{outcome.name}: {error.message}")
        return replace(outcome, what=outcomes.BUSY, sentence=error.message)


def _deployed(connection: Connection, decision: Decision, row: Followed, how: How, job: jobs.Job) -> Outcome:
    """The deploy, between a row that says that it has begun and one that says what came of it."""
    outcome, found = decision.outcome, decision.found
    assert found is not None
    row = replace(row, state=TRYING, tries=row.tries + 1, tried_at=records.now(), tried_with=__version__)
    _write(connection, row)
    is_shadow = decision.action == SHADOW
    job.log("sync", f"{outcome.name}: {outcome.sentence}")
    try:
        with translated(outcome.name):
            done = _deploy(connection, decision, how, is_shadow)
    except (Conflict, DatabaseLocked):
        _settle(connection, row, state=NEW, problem=None)
        raise
    except Exception as error:  # whatever it is: it is told, and the other deployments have their turn
        refused = isinstance(error, Refused) and not isinstance(error, OF_THE_ROWS)
        _settle(connection, row, state=REFUSED if refused else FAILED, problem=str(error))
        said = f"{row.reference} is {found.name} v{found.number}, which "
        said += f"{'was refused' if refused else 'failed'}: {error}"
        job.log("sync", f"{outcome.name}: {said}")
        return replace(outcome, what=outcomes.REFUSED if refused else outcomes.FAILED, sentence=said)
    made = next(v for v in records.versions(connection, outcome.name) if v.version == done.version)
    # Other runs may have the very same files: then it is the version that was there, and what was asked for all the same.
    meant = {"number": row.number, "model": row.model} if made.model_version == str(row.number) else {}
    _settle(connection, row, state=SETTLED, problem=None, version=done.version, **meant)
    job.log("sync", f"{outcome.name}: {done.sentence()} (job {done.job_id})")
    what = outcomes.SHADOWED if done.state == "shadow" else outcomes.DEPLOYED
    return replace(outcome, what=what, sentence=done.sentence(), to_version=done.version, job_id=done.job_id)


def _deploy(connection: Connection, decision: Decision, how: How, is_shadow: bool) -> Deployed:
    """With the options of the version that it comes after."""
    one, found = decision.looked, decision.found
    assert one.row is not None
    assert one.like is not None
    assert found is not None
    like = next(v for v in records.versions(connection, one.name) if v.version == one.like.version)
    tracking_uri, registry_uri = place_of(one, how.tracking_uri, how.registry_uri)
    options = dict(how.conversion)
    options.setdefault("model_env", like.model_env or "auto")
    done = deploy_db(
        connection,
        one.row.reference,
        name=one.name,
        # What was asked for is asked for again; what was chosen is chosen again.
        engine=like.engine if like.engine_why.startswith("asked for") else "auto",
        threshold=like.threshold,
        shadow=is_shadow,
        why=f"{one.row.reference} is {found.name} v{found.number} now (sqlml sync)",
        tracking_uri=tracking_uri,
        registry_uri=registry_uri,
        listener=how.listener,
        **options,
    )
    assert isinstance(done, Deployed)
    return done


def _write(connection: Connection, row: Followed) -> None:
    with atomic(connection, row.deployment):
        records.begin_change(connection, row.deployment)
        following.write(connection, row)


def _settle(connection: Connection, tried: Followed, **changes: Any) -> None:  # Any: fields of Followed
    """What came of it, on the row as the deploy left it: the reference may have moved once more before it was resolved."""
    with atomic(connection, tried.deployment):
        records.begin_change(connection, tried.deployment)
        row = following.row_of(connection, tried.deployment, beside=tried.beside) or tried
        following.write(connection, replace(row, **changes))
