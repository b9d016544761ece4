"""A reference becomes a model version, its files and its history, from an MLflow registry or a path."""

from sqlml.registry.artifacts import DIGEST_TAG, Artifact, download
from sqlml.registry.files import ArtifactFile
from sqlml.registry.references import ModelVersion, all_versions, may_move, resolve
from sqlml.registry.runs import RunFacts, TrainingDataset, run_facts, tag
from sqlml.registry.standing import Question, Standing, standings
from sqlml.registry.store import in_passing
from sqlml.registry.store_manifest import StoredFile, StoreManifest

__all__ = [
    "DIGEST_TAG",
    "Artifact",
    "ArtifactFile",
    "ModelVersion",
    "Question",
    "RunFacts",
    "Standing",
    "StoreManifest",
    "StoredFile",
    "TrainingDataset",
    "all_versions",
    "download",
    "in_passing",
    "may_move",
    "resolve",
    "run_facts",
    "standings",
    "tag",
]
