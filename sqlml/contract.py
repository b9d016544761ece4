"""What changes for the users of a deployment when a version with another signature takes over."""

from __future__ import annotations

from sqlml.errors import ContractChanged
from sqlml.signature import Signature


def differences(before: Signature, after: Signature) -> list[str]:
    """One sentence per difference that a query or a table could notice; empty where there is none."""
    found: list[str] = []
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    found += [f"new input column {name} ({new[name].type})" for name in new if name not in old]
    found += [f"input column {name} is no longer used" for name in old if name not in new]
    for name in old.keys() & new.keys():
        if old[name].type != new[name].type:
            found.append(f"input column {name}: {old[name].type} -> {new[name].type}")
        elif old[name].nulls != new[name].nulls and new[name].nulls == "refused":
            found.append(f"input column {name} may no longer be NULL")
    if before.kind != after.kind:
        found.append(f"{before.kind} -> {after.kind}")
    if before.prediction != after.prediction:
        found.append(f"prediction: {before.prediction} -> {after.prediction}")
    if before.classes != after.classes:
        found.append(f"classes: {_listed(before.classes)} -> {_listed(after.classes)}")
    if before.probabilities and not after.probabilities:
        found.append("no probabilities any more")
    if before.targets != after.targets:
        found.append(f"targets: {_listed(before.targets)} -> {_listed(after.targets)}")
    elif before.target_types != after.target_types:
        found.append(f"types of the targets: {_listed(before.target_types)} -> {_listed(after.target_types)}")
    if after.kind == "pyfunc" != before.kind:
        found.append("no functions any more: a python_function fills the prediction table, and no shell can call it")
    return found


def _listed(values: tuple[object, ...]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return f"{shown} and {len(values) - 10} more" if len(values) > 10 else shown or "none"


def check(name: str, before: Signature, after: Signature, *, accepted: bool) -> list[str]:
    """The differences, if they are accepted or none.

    Raises:
        ContractChanged: there are some and nobody accepted them.
    """
    found = differences(before, after)
    if found and not accepted:
        raise ContractChanged(
            f"The new version changes what {name} takes or gives: {'; '.join(found)}.",
            hint="If its users are ready for that, deploy with --accept-contract-change.",
            differences=found,
        )
    return found
