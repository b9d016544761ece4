"""Transformers that have no exact translation, each with why, and with what to use instead.

Text: scikit-learn's tokens are the matches of a regular expression in Unicode text in lower case (Python's `re` and
`str.lower`), and it counts them. Of ONNX's standard operators, StringNormalizer takes lower case from the operating
system's locale, which containers lack (onnxruntime then fails); StringSplit splits at one fixed delimiter, not at a class
of characters; RegexFullMatch says whether a whole text matches: with a pattern per word of the vocabulary, that tells
whether the word occurs, never how often (a pattern for each number of occurrences has no end); StringConcat and Equal
see whole texts only. So no graph of standard operators gives the counts. Python and RE2 (onnxruntime's and DuckDB's)
also disagree on letters: "İ".lower() is two characters in Python, the second of which ends a word; Σ becomes ς at a
word's end; (?i)s matches ſ, which str.lower leaves alone; their tables are of different versions of Unicode.
A vectorizer at the head of a pipeline would be given a DataFrame by MLflow, whose column names it would count.
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
