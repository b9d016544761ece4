"""What of a version can be measured against labels, and how the labels of a source are read as the model's own."""

from __future__ import annotations

from sqlglot import exp

from sqlml import sql
from sqlml.binding import FRACTIONS, WHOLE
from sqlml.engines.surface import MANY_CLASSES, class_fields, label_text
from sqlml.errors import BindingError, UsageError, choices
from sqlml.signature import Label, Signature

TRUTHS = {"true": True, "yes": True, "t": True, "y": True, "1": True} | dict.fromkeys(
    ("false", "no", "f", "n", "0"), False
)
"""Class texts that a BOOLEAN label can mean: those that DuckDB itself reads as one."""
TEXTS = frozenset({"VARCHAR", "ENUM", "UUID"})
NUMBERS = WHOLE | FRACTIONS


def is_number(signature: Signature) -> bool:
    """Whether a prediction is a quantity, and not a class."""
    return signature.kind != "classifier" and not signature.targets and signature.prediction in ("DOUBLE", "BIGINT")


def require_measurable(signature: Signature, version: str) -> None:
    """Refuse a version whose predictions no single label can be held against.

    Raises:
        UsageError: several targets, or a python_function that answers with times or bytes.
    """
    if is_number(signature) or signature.kind == "classifier" or signature.prediction in ("VARCHAR", "BOOLEAN"):
        return
    what = f"{len(signature.targets)} targets" if signature.targets else signature.prediction
    raise UsageError(
        f"{version} cannot be labelled: it predicts {what}, and a label is one class or one number.",
        hint="Join its predictions with what was observed in a query of your own.",
    )


def classes_of(signature: Signature) -> tuple[Label, ...]:
    """The classes, also of a python_function that says true or false; none where it says any text."""
    return (False, True) if not signature.classes and signature.prediction == "BOOLEAN" else signature.classes


def positive_of(signature: Signature) -> Label | None:
    """The class that precision, recall and probability are about; None unless there are two."""
    classes = () if is_number(signature) else classes_of(signature)
    return classes[1] if len(classes) == 2 else None


def label_type(signature: Signature) -> str:
    return "DOUBLE" if is_number(signature) else signature.prediction


def probability_columns(signature: Signature) -> tuple[str, ...]:
    """One column per class; none where there are no probabilities, or one MAP of them."""
    if not signature.probabilities or len(signature.classes) > MANY_CLASSES:
        return ()
    return tuple(f"probability_{name}" for name in class_fields(signature))


def base_type(declared: str) -> str:
    """The type without its parameters; a list, whatever it is of, as LIST."""
    declared = declared.strip().upper()
    return "LIST" if declared.endswith("]") else declared.split("(")[0].strip()


def is_missing(node: exp.Expression, declared: str) -> exp.Expression:
    """No label: NULL, and what is no number among numbers."""
    null = exp.Is(this=node, expression=exp.Null())
    if base_type(declared) not in ("DOUBLE", "FLOAT"):
        return null
    return sql.any_of([null, exp.Not(this=sql.call("isfinite", node.copy()))])


def as_label(signature: Signature, node: exp.Expression, declared: str, what: str) -> exp.Expression:
    """The label in the version's own type; NULL where it is none of its classes.

    Texts are read as numbers and truth values where the classes are those, and the other way round where it is plain
    which class is meant: 0 and 1 for false and true, true and false for 'Yes' and 'No'.

    Raises:
        BindingError: the type cannot mean one of the classes; `what` names the column.
    """
    base = base_type(declared)
    if is_number(signature):
        if base not in NUMBERS | {"BOOLEAN"}:
            raise _misfit(what, declared, "a number", "TRY_CAST it to DOUBLE in a view.")
        return sql.cast(node, "DOUBLE")
    classes = classes_of(signature)
    if not classes:
        if base not in TEXTS:
            raise _misfit(what, declared, "a text", "Cast it to VARCHAR in a view, spelt as the model does.")
        return sql.cast(node, "VARCHAR")
    pairs = _forms(classes, node, base)
    if pairs is None:
        shown = choices([label_text(label) for label in classes], limit=5)
        raise _misfit(what, declared, "one of the model's labels", f"{shown} A view can say which is which (CASE).")
    form, forms = pairs
    own = label_type(signature)
    if forms == classes and own == base:  # as it is, if it is one of them
        known = exp.In(this=form, expressions=[sql.value(label) for label in classes])
        return sql.case([(known, sql.cast(form.copy(), own))])
    return sql.case(
        [
            (exp.EQ(this=form.copy(), expression=sql.value(said)), sql.cast(sql.value(label), own))
            for said, label in zip(forms, classes, strict=True)
        ]
    )


def _forms(
    classes: tuple[Label, ...], node: exp.Expression, base: str
) -> tuple[exp.Expression, tuple[Label, ...]] | None:
    """The source's value in a form, and each class in that form; None where they have none in common."""
    if all(isinstance(label, str) for label in classes):
        texts = tuple(str(label) for label in classes)
        if base in TEXTS:
            return sql.cast(node, "VARCHAR"), texts
        if base == "BOOLEAN":
            return (node, truths) if (truths := _as_truths(texts)) is not None else None
        return (sql.cast(node, "DOUBLE"), numbers) if base in NUMBERS and (numbers := _as_numbers(texts)) else None
    if all(isinstance(label, bool) for label in classes):
        if base in NUMBERS:
            return sql.cast(node, "DOUBLE"), tuple(float(label) for label in classes)
        return (sql.try_cast(node, "BOOLEAN"), classes) if base in TEXTS | {"BOOLEAN"} else None
    if base in WHOLE and all(isinstance(label, int) for label in classes):
        return sql.try_cast(node, "BIGINT"), classes
    if base in NUMBERS | {"BOOLEAN"}:
        return sql.cast(node, "DOUBLE"), tuple(float(label) for label in classes)
    return (sql.try_cast(node, "DOUBLE"), tuple(float(label) for label in classes)) if base in TEXTS else None


def _as_truths(texts: tuple[str, ...]) -> tuple[Label, ...] | None:
    truths = tuple(TRUTHS.get(text.lower()) for text in texts)
    return truths if len(texts) == 2 and set(truths) == {True, False} else None  # type: ignore[return-value]  # no None


def _as_numbers(texts: tuple[str, ...]) -> tuple[Label, ...] | None:
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        return None
    return numbers if len(set(numbers)) == len(texts) else None


def _misfit(what: str, declared: str, wanted: str, hint: str) -> BindingError:
    return BindingError(f"{what} is {declared}, which cannot be {wanted}.", hint=hint)
