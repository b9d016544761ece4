"""Registered machine-learning models as SQL inside a DuckDB database."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sqlml.version import __version__

if TYPE_CHECKING:
    from sqlml.catalog.records import Deployment, Version
    from sqlml.checking import Checked, check, check_all
    from sqlml.collecting import Collection, gc
    from sqlml.comparison import Difference, diff
    from sqlml.connecting import connect
    from sqlml.convert.pyfunc import Policy
    from sqlml.deploy.deployment import Deployed
    from sqlml.deploy.routine import deploy_db
    from sqlml.deploy.state import Event, Status, history, status
    from sqlml.errors import SqlmlError
    from sqlml.external import score_to
    from sqlml.forgetting import Forgotten, forget
    from sqlml.jobs import Job, watch_job
    from sqlml.labelling import Labelled, label
    from sqlml.lifecycle import rollback, set_live, undeploy
    from sqlml.lineage.dependents import Dependents
    from sqlml.measuring import Measured, metrics
    from sqlml.planning import Plan, plan
    from sqlml.promoting import Promoted, Retired, promote, retire
    from sqlml.publishing import publish
    from sqlml.reasoning import Why, why
    from sqlml.recalling import Recalled, depends, recall
    from sqlml.replaying import Replay, replay
    from sqlml.retention import Retention
    from sqlml.scoring import Scored, score, score_all_deployments
    from sqlml.syncing.acting import follow, sync
    from sqlml.syncing.outcomes import Outcome, Synced
    from sqlml.verification import Verification, verify

# Loaded when first used (PEP 562): `import sqlml` takes milliseconds, DuckDB and sqlglot alone would take 150.
# No module has the name of a function here: importing it would put the module in the function's place.
_HOMES = {
    "Checked": "checking",
    "Collection": "collecting",
    "Dependents": "lineage.dependents",
    "Deployed": "deploy.deployment",
    "Deployment": "catalog.records",
    "Difference": "comparison",
    "Event": "deploy.state",
    "Forgotten": "forgetting",
    "Job": "jobs",
    "Labelled": "labelling",
    "Measured": "measuring",
    "Outcome": "syncing.outcomes",
    "Plan": "planning",
    "Policy": "convert.pyfunc",
    "Promoted": "promoting",
    "Recalled": "recalling",
    "Replay": "replaying",
    "Retention": "retention",
    "Retired": "promoting",
    "Scored": "scoring",
    "SqlmlError": "errors",
    "Status": "deploy.state",
    "Synced": "syncing.outcomes",
    "Verification": "verification",
    "Version": "catalog.records",
    "Why": "reasoning",
    "check": "checking",
    "check_all": "checking",
    "connect": "connecting",
    "depends": "recalling",
    "deploy_db": "deploy.routine",
    "diff": "comparison",
    "forget": "forgetting",
    "gc": "collecting",
    "follow": "syncing.acting",
    "history": "deploy.state",
    "label": "labelling",
    "metrics": "measuring",
    "plan": "planning",
    "promote": "promoting",
    "publish": "publishing",
    "recall": "recalling",
    "replay": "replaying",
    "retire": "promoting",
    "rollback": "lifecycle",
    "score": "scoring",
    "score_all_deployments": "scoring",
    "score_to": "external",
    "set_live": "lifecycle",
    "status": "deploy.state",
    "sync": "syncing.acting",
    "undeploy": "lifecycle",
    "verify": "verification",
    "watch_job": "jobs",
    "why": "reasoning",
}

__all__ = [
    "Checked",
    "Collection",
    "Dependents",
    "Deployed",
    "Deployment",
    "Difference",
    "Event",
    "Forgotten",
    "Job",
    "Labelled",
    "Measured",
    "Outcome",
    "Plan",
    "Policy",
    "Promoted",
    "Recalled",
    "Replay",
    "Retention",
    "Retired",
    "Scored",
    "SqlmlError",
    "Status",
    "Synced",
    "Verification",
    "Version",
    "Why",
    "__version__",
    "check",
    "check_all",
    "connect",
    "depends",
    "deploy_db",
    "diff",
    "follow",
    "forget",
    "gc",
    "history",
    "label",
    "metrics",
    "plan",
    "promote",
    "publish",
    "recall",
    "replay",
    "retire",
    "rollback",
    "score",
    "score_all_deployments",
    "score_to",
    "set_live",
    "status",
    "sync",
    "undeploy",
    "verify",
    "watch_job",
    "why",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'sqlml' has no attribute {name!r}")
    return getattr(import_module(f"sqlml.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
