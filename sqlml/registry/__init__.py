"""A reference becomes a model version, its files and its history, from an MLflow registry or a path."""

from sqlml.registry.artifacts import Artifact, ArtifactFile, download
from sqlml.registry.references import ModelVersion, all_versions, resolve
from sqlml.registry.runs import RunFacts, TrainingDataset, run_facts, tag

__all__ = [
    "Artifact",
    "ArtifactFile",
    "ModelVersion",
    "RunFacts",
    "TrainingDataset",
    "all_versions",
    "download",
    "resolve",
    "run_facts",
    "tag",
]
