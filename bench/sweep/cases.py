"""Every estimator of scikit-learn that predicts or transforms rows: alone, with text classes, in a mixed pipeline."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from bench.sweep import data, estimators

# Any in this module: scikit-learn ships no types.
Kind = Literal["alone", "string classes", "pipeline"]


@dataclass(frozen=True)
class Case:
    """One model to be converted and compared.

    `fit` gives it fitted, with the table it was fitted on. `sums`: it sums products of its inputs, so a row with several
    huge values may overflow or cancel in another order; such rows say nothing but whether the original raises.
    """

    name: str
    kind: Kind
    fit: Callable[[], tuple[Any, pd.DataFrame]]
    sums: bool

    def __str__(self) -> str:
        return f"{self.name} {self.kind}"


def cases() -> Iterator[Case]:
    """All of them in alphabetical order; nothing is fitted yet."""
    for name, cls in sorted(estimators.public().items()):
        if name not in estimators.EXCLUDED:
            yield from cases_of(name, cls)


def cases_of(name: str, cls: type) -> Iterator[Case]:
    sums = name not in estimators.COMPARING
    yield Case(name, "alone", quiet(lambda: alone(name, cls, text=False)), sums)
    if name in estimators.ALONE_ONLY:
        return
    if has_text_classes(name, cls):
        predicts = answers(name, cls)
        # A transformer's columns are judged through a linear model, which sums them.
        yield Case(name, "string classes", quiet(lambda: alone(name, cls, text=True)), sums or not predicts)
    yield Case(name, "pipeline", quiet(lambda: pipeline(name, cls)), True)


def has_text_classes(name: str, cls: type) -> bool:
    """Not so for regressors, clusterers and outlier detectors: their answers are numbers of their own."""
    if name in estimators.NUMBERED_CLASSES:
        return False
    return is_classifier(name, cls) or not answers(name, cls)


def answers(name: str, cls: type) -> bool:
    """Does it end a pipeline? A transformer that predicts too (KMeans) does."""
    return hasattr(cls, "predict") or name == "FrozenEstimator"


def is_classifier(name: str, cls: type) -> bool:
    from sklearn.base import is_classifier as said

    if not answers(name, cls):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(said(estimators.made(name, cls)))


def quiet(fit: Callable[[], tuple[Any, pd.DataFrame]]) -> Callable[[], tuple[Any, pd.DataFrame]]:
    """Small data gives many warnings of convergence, which are not the point."""

    def fitted() -> tuple[Any, pd.DataFrame]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit()

    return fitted


def table_for(name: str) -> pd.DataFrame:
    if name in estimators.POSITIVE:
        return data.positive()
    if name in estimators.CODES:
        return data.codes()
    if name in estimators.REVIEWS:
        return data.reviews()
    if name in estimators.WORDS:
        return data.mixed()[list(data.TEXTS)]
    if name in estimators.GAPS:
        return data.numbers().mask(data.numbers() > 2.5)
    if name == "KernelCenterer":
        kernel = data.numbers()[:5].to_numpy()
        return pd.DataFrame(kernel @ kernel.T, columns=list("abcde"))
    return data.numbers(1 if name in estimators.ONE_COLUMN else 3)


def target_for(name: str, cls: type, frame: pd.DataFrame, *, text: bool) -> Any:
    signal = data.signal(frame)
    if name in estimators.SEVERAL_TARGETS:
        return pd.DataFrame({"first": signal, "second": signal * 2 + frame.index % 5})
    if name in estimators.POSITIVE_TARGET:
        return abs(signal) + 0.1
    if name in estimators.SEVERAL_CLASSES:
        return several_classes(frame, text=text)
    if not answers(name, cls) or is_classifier(name, cls):
        labels = data.classes(frame, text=text, count=2 if name in estimators.TWO_CLASSES else 3)
        return data.partly(labels) if name in estimators.PARTLY_LABELLED else labels
    return signal


def several_classes(frame: pd.DataFrame, *, text: bool) -> pd.DataFrame:
    two = data.classes(frame, text=text, count=2)
    return pd.DataFrame({"first": two, "second": two[::-1]})


def alone(name: str, cls: type, *, text: bool) -> tuple[Any, pd.DataFrame]:
    """The estimator itself, on numbers; a transformer with text classes stands before a classifier."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler

    frame = table_for(name)
    model = estimators.made(name, cls)
    if name in estimators.REVIEWS:
        model = vectorized(model)
    if name in estimators.BOUNDED:
        model = make_pipeline(MinMaxScaler(clip=True), model)
    if text and not answers(name, cls):
        model = make_pipeline(model, estimators.logistic())
    target = target_for(name, cls, frame, text=text)
    return fitted(model, frame, target), frame


def fitted(model: Any, frame: pd.DataFrame, target: Any) -> Any:
    from sklearn.base import clone

    if type(model).__name__ == "FrozenEstimator":
        return type(model)(clone(model.estimator).fit(frame, target))
    return model.fit(frame, target)


def vectorized(vectorizer: Any) -> Any:
    """A text vectorizer takes one column as a list of texts."""
    from sklearn.compose import ColumnTransformer

    return ColumnTransformer([("words", vectorizer, "review")])


def pipeline(name: str, cls: type) -> tuple[Any, pd.DataFrame]:
    """Numbers with gaps and text are filled, scaled and encoded; then comes the estimator.

    A classifier predicts text. A transformer stands before a classifier; one that makes categories into numbers, or
    fills gaps, or reads words, stands in the place where people put it.
    """
    from sklearn.pipeline import make_pipeline

    frame = data.mixed()
    if name in estimators.REVIEWS:
        frame = frame.assign(review=data.reviews().review)
    model = estimators.made(name, cls)
    frozen = name == "FrozenEstimator"
    text = name not in estimators.NUMBERED_CLASSES
    target = target_for(name, cls, frame, text=text)
    if answers(name, cls):
        head = prepared(name)
        last = model
        if frozen:
            last = fitted(model, pd.DataFrame(head.fit_transform(frame)), target)
    else:
        head, last = transforming(name, model), estimators.logistic()
    whole = make_pipeline(*(head if isinstance(head, tuple) else (head,)), last)
    return whole.fit(frame, target), frame


def prepared(name: str) -> Any:
    """The usual first half: what it gives is numbers, all of them from 0 to 1 where the estimator needs that."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

    if name in estimators.ONE_COLUMN:
        return ColumnTransformer([("numbers", SimpleImputer(), ["fee"])])
    if name in estimators.CODES:
        filled = SimpleImputer(strategy="most_frequent")
        encoded = OrdinalEncoder()
        return ColumnTransformer(
            [("words", make_pipeline(filled, encoded), list(data.TEXTS)), ("kids", "passthrough", ["kids"])]
        )
    scale = MinMaxScaler(clip=True) if name in estimators.POSITIVE else StandardScaler()
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [("numbers", make_pipeline(SimpleImputer(), scale), list(data.NUMBERS)), ("words", encode, list(data.TEXTS))]
    )


def transforming(name: str, transformer: Any) -> Any:
    """The first half with the transformer in its place."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    numbers, texts = list(data.NUMBERS), list(data.TEXTS)
    encode = OneHotEncoder(handle_unknown="ignore")
    if name in estimators.REVIEWS:
        return ColumnTransformer(
            [("numbers", SimpleImputer(), numbers), ("words", encode, texts), ("review", transformer, "review")]
        )
    if name == "MissingIndicator":
        seen = [("numbers", SimpleImputer(), numbers), ("gaps", transformer, numbers), ("words", encode, texts)]
        return ColumnTransformer(seen)
    if name in estimators.GAPS:
        return ColumnTransformer([("numbers", transformer, numbers), ("words", encode, texts)])
    if name in estimators.WORDS:
        return ColumnTransformer([("numbers", SimpleImputer(), numbers), ("words", transformer, texts)])
    if name in ("SparseCoder", "SkewedChi2Sampler"):
        # A dictionary is of three columns.
        return ColumnTransformer(
            [("numbers", make_pipeline(SimpleImputer(), transformer), numbers), ("words", encode, texts)]
        )
    if name == "KernelCenterer":
        from sklearn.gaussian_process.kernels import RBF
        from sklearn.kernel_approximation import Nystroem

        return prepared(name), Nystroem(kernel=RBF(), n_components=data.ROWS, random_state=0), transformer
    return prepared(name), transformer
