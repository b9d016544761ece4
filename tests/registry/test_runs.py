"""What MLflow knows about a run, and what we leave on a version."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlml import registry


def test_the_run_and_its_training_data(registered: Any) -> None:
    facts = registry.run_facts(registry.resolve("churn:1", tracking_uri=registered.uri))

    assert facts is not None
    assert (facts.name, facts.experiment, facts.problem) == ("logistic regression", "churn", None)
    assert facts.params["estimator"] == "LogisticRegression"
    assert facts.metrics["roc_auc"] > 0.8
    (dataset,) = facts.datasets
    assert (dataset.name, dataset.context) == ("telco customers", "training")
    assert "wa_churn" in dataset.source
    assert dataset.digest
    assert ("total_charges", "double") in dataset.columns
    assert ("churn", "string") in dataset.columns


def test_a_model_without_a_run_has_no_facts(registered: Any) -> None:
    version = registry.resolve("churn:1", tracking_uri=registered.uri)

    assert registry.run_facts(replace(version, run_id=None)) is None


def test_a_run_that_is_gone_gives_a_problem_and_no_failure(registered: Any) -> None:
    version = registry.resolve("churn:1", tracking_uri=registered.uri)

    facts = registry.run_facts(replace(version, run_id="0" * 32))

    assert facts is not None
    assert "not found" in (facts.problem or "")


def test_tags_are_set_and_read_back(own_registry: Any) -> None:
    version = registry.resolve("churn:1", tracking_uri=own_registry.uri)

    assert registry.tag(version, {"sqlml.warehouse": "churn v1 'naïve'"}) is None

    tags = registry.resolve("churn:1", tracking_uri=own_registry.uri).tags
    assert tags["sqlml.warehouse"] == "churn v1 'naïve'"


def test_a_tag_that_cannot_be_set_is_a_warning(own_registry: Any) -> None:
    version = registry.resolve("churn:1", tracking_uri=own_registry.uri)
    (own_registry.folder / "mlflow.db").unlink()

    warning = registry.tag(version, {"a": "b"})

    assert warning is not None
    assert "does not exist" in warning
