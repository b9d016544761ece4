"""The wheel carries the native extension where cargo can build it, and is a pure one where it cannot.

SQLML_BUILD_EXTENSION says otherwise: `require` fails without it, `skip` leaves it out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "SQLML_BUILD_EXTENSION"
WISHES = ("auto", "require", "skip")
INSIDE = "sqlml/native/sqlml.duckdb_extension"


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds the extension into the wheel; hatchling finds the class by its name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # Any: hatchling's own
        if self.target_name != "wheel":
            return
        wish = os.environ.get(VARIABLE, "auto")
        if wish not in WISHES:
            raise SystemExit(f"{VARIABLE}={wish} is none of {', '.join(WISHES)}")
        if version == "editable":
            # What is edited is built where it lies: `make ext`.
            say("An editable installation: `make ext` builds the native extension.")
            return
        extension = Path(self.root, "build", "native", Path(INSIDE).name)
        if wish == "skip" or not self._built(extension, required=wish == "require"):
            say("This wheel has no native extension: the engines sql and python work without it.")
            return
        build_data["force_include"][str(extension)] = INSIDE
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(extension)}"

    def _built(self, extension: Path, *, required: bool) -> bool:
        script = Path(self.root, "udfs", "build.py")
        done = subprocess.run([sys.executable, str(script), str(extension)])
        if done.returncode != 0 and required:
            raise SystemExit(f"{VARIABLE}=require, and the native extension was not built.")
        return done.returncode == 0


def platform_tag(extension: Path) -> str:
    """The oldest platform that the file runs on: of Linux's C library it names the versions that it needs."""
    here = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    needed = [int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)\0", extension.read_bytes())]
    if not here.startswith("linux_") or not needed:
        return here
    return f"manylinux_2_{max(*needed, 17)}_{here.removeprefix('linux_')}"


def say(text: str) -> None:
    print(text, file=sys.stderr)
