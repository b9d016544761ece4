"""Whether OpenLineage is configured, by the rules of its own client, without importing it.

https://openlineage.io/docs/client/python#configuration: OPENLINEAGE_CONFIG, ./openlineage.yml,
~/.openlineage/openlineage.yml, OPENLINEAGE__TRANSPORT__..., OPENLINEAGE_URL; OPENLINEAGE_DISABLED=true.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

FILE = "openlineage.yml"
INSTALL = "pip install 'sqlml[openlineage]'"


def is_configured() -> bool:
    if os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true":
        return False
    if any(name == "OPENLINEAGE_URL" or name.startswith("OPENLINEAGE__TRANSPORT") for name in os.environ):
        return True
    return _file() is not None


def why_not_sent() -> str | None:
    """What is wrong with a configuration that is there; None where nothing is."""
    named = os.environ.get("OPENLINEAGE_CONFIG")
    if named and not Path(named).is_file():
        return f"OPENLINEAGE_CONFIG names {named}, which does not exist; no events are sent"
    try:
        is_installed = importlib.util.find_spec("openlineage.client") is not None
    except ModuleNotFoundError:
        is_installed = False
    return (
        None if is_installed else f"it is configured, but its client is not installed ({INSTALL}); no events are sent"
    )


def _file() -> str | None:
    """The configuration file; one that OPENLINEAGE_CONFIG names counts even if it is missing, so that this is told."""
    named = os.environ.get("OPENLINEAGE_CONFIG")
    if named:
        return named
    try:
        candidates = (Path.cwd() / FILE, Path.home() / ".openlineage" / FILE)
        return next((str(path) for path in candidates if path.is_file()), None)
    except (OSError, RuntimeError):  # the working directory was removed; no home
        return None
