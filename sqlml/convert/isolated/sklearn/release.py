"""Which scikit-learn this is: a few rules changed between releases without leaving a trace in the fitted state."""

from __future__ import annotations

import re

import sklearn


def since(major: int, minor: int) -> bool:
    """Is the installed scikit-learn of this release or a later one?"""
    return tuple(int(part) for part in re.findall(r"\d+", sklearn.__version__)[:2]) >= (major, minor)
