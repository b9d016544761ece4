"""Transformers that have no exact translation, each with why, and with what to use instead.

Text: scikit-learn's tokens are matches of a regular expression on Unicode text in lower case (Python's `re` and
`str.lower`). ONNX's standard operators have StringNormalizer (lower case by the operating system's locale, which
containers lack: onnxruntime then fails), StringSplit (on one fixed delimiter: no classes of characters) and
RegexFullMatch (is the whole text a match? it finds no tokens, and its RE2 has neither Python's \\w nor Unicode word
boundaries); StringConcat and Equal see whole texts only. None of them finds the words inside a text, so no graph of
standard operators gives their counts. Python and DuckDB also disagree on what a letter is ("İ".lower() has two
characters in Python, Σ at a word's end becomes ς), so SQL of our own would be wrong where nobody looks.
"""

from __future__ import annotations

from typing import NoReturn

from sqlml.convert.isolated.sklearn.context import Context, Estimator, Transform, Transforms, refuse
from sqlml.convert.isolated.table import Table


def refusing(why: str, instead: str) -> Transform:
    def transform(ctx: Context, est: Estimator, table: Table, step: str) -> NoReturn:
        raise refuse(est, step, why, instead)

    return transform


def text(verb: str) -> Transform:
    why = (
        f"it {verb} by a Unicode regular expression on lower-case text, and neither ONNX nor SQL finds those words "
        "exactly as Python does."
    )
    return refusing(why, "Count the words before the model (in Python or SQL) and train on these columns.")


PROJECT = "Use PCA, TruncatedSVD, FactorAnalysis or FastICA."
LABELS = refusing("it encodes targets, not columns.", "Leave it out: sqlml gives the labels themselves.")

TRANSFORMERS: Transforms = {
    "decomposition.NMF": refusing(
        "it solves for all rows of a call together, and stops when they all have converged: an answer depends on the "
        "other rows.",
        PROJECT,
    ),
    "decomposition.MiniBatchNMF": refusing(
        "it solves for all rows of a call together, and stops when they all have converged: an answer depends on the "
        "other rows.",
        PROJECT,
    ),
    "decomposition.LatentDirichletAllocation": refusing(
        "it finds a row's topics by up to a hundred rounds, and stops by a comparison that hangs on rounding.", PROJECT
    ),
    "impute.KNNImputer": refusing(
        "which of several equally distant donors it takes is left to numpy's partition, which differs between "
        "processors.",
        "Use IterativeImputer or SimpleImputer.",
    ),
    "feature_extraction.text.CountVectorizer": text("finds words"),
    "feature_extraction.text.TfidfVectorizer": text("finds words"),
    "feature_extraction.text.HashingVectorizer": text("finds words"),
    "feature_extraction.FeatureHasher": refusing(
        "it takes dictionaries or lists, and a table has columns.", "Use OneHotEncoder on columns."
    ),
    "feature_extraction.DictVectorizer": refusing(
        "it takes dictionaries, and a table has columns.", "Use OneHotEncoder on columns."
    ),
    "feature_extraction.image.PatchExtractor": refusing(
        "it cuts random patches from images.", "Register a model of table columns."
    ),
    "preprocessing.LabelEncoder": LABELS,
    "preprocessing.LabelBinarizer": LABELS,
    "preprocessing.MultiLabelBinarizer": LABELS,
}
