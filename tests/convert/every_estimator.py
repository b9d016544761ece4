"""Every case of bench.sweep as it is expected to end: exact, or refused for the reason in this table."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

from bench.sweep.cases import Case
from sqlml.convert.isolated.unsupported import Unsupported
from tests.convert.sklearn_parity import check

NONE = "there is no exact translation"

# A class, or one case of it ("KMeans pipeline"), and a piece of the reason that is given. Everything else is exact.
REFUSED: Mapping[str, str] = {
    "AdaBoostRegressor": NONE,
    "AdditiveChi2Sampler": NONE,
    "BernoulliRBM": NONE,
    "CalibratedClassifierCV": NONE,
    "ClassifierChain": NONE,
    "CountVectorizer": "as one dimension",
    "DictionaryLearning": NONE,
    "FactorAnalysis": NONE,
    "FastICA": NONE,
    "FeatureAgglomeration": NONE,
    "FixedThresholdClassifier": NONE,
    "GaussianRandomProjection": NONE,
    "HalvingGridSearchCV": NONE,
    "HalvingRandomSearchCV": NONE,
    "HashingVectorizer": "as one dimension",
    "IncrementalPCA": NONE,
    "Isomap": NONE,
    "IsotonicRegression": NONE,
    "IterativeImputer": NONE,
    "KNNImputer": NONE,
    "KNeighborsTransformer": NONE,
    "KernelCenterer": NONE,
    "KernelPCA": NONE,
    "LatentDirichletAllocation": NONE,
    "LocallyLinearEmbedding": NONE,
    "MiniBatchDictionaryLearning": NONE,
    "MiniBatchNMF": NONE,
    "MiniBatchSparsePCA": NONE,
    "MultiOutputClassifier": NONE,
    "MultiOutputRegressor": NONE,
    "NMF": NONE,
    "NeighborhoodComponentsAnalysis": NONE,
    "Nystroem": NONE,
    "OneVsOneClassifier": NONE,
    "OneVsRestClassifier": NONE,
    "OutputCodeClassifier": NONE,
    "PLSSVD": NONE,
    "PolynomialCountSketch": NONE,
    "PowerTransformer": NONE,
    "QuantileTransformer": NONE,
    "RBFSampler": NONE,
    "RadiusNeighborsTransformer": NONE,
    "RandomTreesEmbedding": NONE,
    "RegressorChain": NONE,
    "SelfTrainingClassifier": NONE,
    "SkewedChi2Sampler": NONE,
    "SparseCoder": NONE,
    "SparsePCA": NONE,
    "SparseRandomProjection": NONE,
    "SplineTransformer": NONE,
    "TargetEncoder": NONE,
    "TfidfTransformer": NONE,
    "TfidfVectorizer": "as one dimension",
    "TunedThresholdClassifierCV": NONE,
}


def reason(case: Case) -> str | None:
    """Why the case is expected to be refused."""
    return REFUSED.get(str(case), REFUSED.get(case.name))


@dataclass(frozen=True)
class Outcome:
    """`refusal` is None where the conversion gives the original's answers; `largest` is the largest difference then."""

    refusal: str | None
    largest: float = 0.0


def outcome(case: Case) -> Outcome:
    """Convert and compare; anything but exact answers or a refusal raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, frame = case.fit()
        try:
            report, _ = check(model, frame, count=12, sums=case.sums)
        except Unsupported as refusal:
            return Outcome(str(refusal))
    return Outcome(None, report.largest)
