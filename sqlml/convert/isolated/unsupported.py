"""The one error of a conversion: this step has no exact translation."""

from __future__ import annotations


class Unsupported(Exception):
    """A step of the model that cannot be converted exactly.

    `step` is the path to it in the pipeline ("preprocess > num > scale"; empty for the model itself), `estimator` its class,
    `why` and `instead` whole sentences: what is in the way, and what the person can do.
    """

    def __init__(self, step: str, estimator: str, why: str, instead: str) -> None:
        place = f"Step '{step}' ({estimator})" if step else estimator
        super().__init__(f"{place} cannot be converted exactly: {why} {instead}")
        self.step = step
        self.estimator = estimator
        self.why = why
        self.instead = instead
