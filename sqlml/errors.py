"""Every error that sqlml raises on purpose.

SqlmlError                    anything below; `exit_code` says what a command line returns
├── UsageError           (2)  the call itself is wrong: unknown option value, bad configuration
├── RegistryError        (1)  the MLflow registry could not be read
│   ├── ModelNotFound    (1)  no such model, alias, version, run or path
│   ├── ArtifactError    (1)  the artifact is missing, not whole, or not what its hash says
│   └── StoreError       (1)  an artifact store did not answer, or answered with an error
│       ├── StoreTimeout (1)  it did not answer within the deadline
│       └── StoreConflict (1) somebody else changed the same file, again and again
├── WorkerError          (1)  the isolated conversion process died, ran out of time or memory
├── DatabaseError        (1)  DuckDB could not open, read or write
│   ├── DatabaseLocked   (1)  another process holds the file
│   ├── CatalogTooNew    (1)  the file was made by a newer sqlml
│   ├── ExtensionUnavailable (1) the native extension is not there, or cannot be loaded into this connection
│   └── Conflict         (1)  another transaction changed the same deployment first
├── JobFailed            (1)  a job that was watched ended in failure
├── Refused              (3)  sqlml could do it and will not
│   ├── UnsupportedModel (3)  no exact conversion exists: the operator or estimator is named
│   ├── ParityFailed     (3)  the SQL does not give the model's own answers
│   ├── ContractChanged  (3)  the new version's signature differs from the active one's
│   ├── BindingError     (3)  the table does not fit the signature
│   ├── KeyRefused       (3)  key values are NULL or not unique
│   ├── NameRefused      (3)  a name that cannot become a schema of ours
│   ├── LocationRefused  (3)  an artifact location that is malformed, or that the configuration does not allow
│   ├── ModelEnvironmentRefused (3) the model's own environment can neither be found nor built
│   ├── PolicyRefused    (3)  forbidden by configuration (pickles, missing isolation)
│   ├── NotDeployed      (3)  there is no such deployment or deployment version
│   └── IllegalMove      (3)  a version's state does not allow what is asked of it
└── Drifted              (4)  a check found that reality differs from the record

Each message says what happened, to what, what was expected, and what to do (`hint`).
What a caller may want to act on is an attribute, so that nobody parses text.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class SqlmlError(Exception):
    """Base of all errors raised on purpose; `hint` is the remedy, in one sentence."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(SqlmlError):
    exit_code = 2


class RegistryError(SqlmlError):
    pass


class ModelNotFound(RegistryError):
    pass


class ArtifactError(RegistryError):
    pass


class StoreError(RegistryError):
    pass


class StoreTimeout(StoreError):
    pass


class StoreConflict(StoreError):
    pass


class WorkerError(SqlmlError):
    pass


class DatabaseError(SqlmlError):
    pass


class DatabaseLocked(DatabaseError):
    pass


class CatalogTooNew(DatabaseError):
    pass


class ExtensionUnavailable(DatabaseError):
    pass


class Conflict(DatabaseError):
    pass


class JobFailed(SqlmlError):
    pass


class Refused(SqlmlError):
    exit_code = 3


class UnsupportedModel(Refused):
    pass


class EngineUnavailable(UnsupportedModel):
    """The engine that was asked for cannot compute it, or not here; another one can."""


class ParityFailed(Refused):
    pass


class ContractChanged(Refused):
    pass


class BindingError(Refused):
    pass


class KeyRefused(Refused):
    pass


class NameRefused(Refused):
    pass


class LocationRefused(Refused):
    pass


class ModelEnvironmentRefused(Refused):
    pass


class PolicyRefused(Refused):
    pass


class NotDeployed(Refused):
    pass


class IllegalMove(Refused):
    pass


class Drifted(SqlmlError):
    exit_code = 4


def choices(valid: Sequence[str], *, wrong: str | None = None, limit: int = 10) -> str:
    """A sentence that lists the valid choices, close matches first.

    >>> choices(["age", "tenure"], wrong="tenur")
    "Did you mean 'tenure'? Valid: 'tenure', 'age'."
    >>> choices([])
    'There are none.'
    """
    if not valid:
        return "There are none."
    by_folded = {name.casefold(): name for name in valid}
    close = [by_folded[m] for m in get_close_matches((wrong or "").casefold(), by_folded, n=3, cutoff=0.6)]
    ordered = close + [name for name in valid if name not in close]
    shown = ", ".join(repr(name) for name in ordered[:limit])
    more = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    guess = f"Did you mean {close[0]!r}? " if close and wrong else ""
    return f"{guess}Valid: {shown}{more}."
