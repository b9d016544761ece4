"""The wheel with the native extension, where cargo can build it, and without, where it cannot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sqlml.version import __version__

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "udfs" / "build.py"
INSIDE = "sqlml/native/sqlml.duckdb_extension"


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def build(path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(
        [sys.executable, str(BUILD), str(path), *arguments], env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture
def toolchain(tmp_path: Path) -> dict[str, str]:
    """A cargo that "builds" at once: what is tested is what becomes of the file."""
    library = 'mkdir -p "$CARGO_TARGET_DIR/release" && printf "a library GLIBC_2.31\\000" > "$CARGO_TARGET_DIR/release/libsqlml.so"'
    return {
        "CARGO": str(program(tmp_path, "cargo", library)),
        "RUSTC": str(program(tmp_path, "rustc", "echo rustc 1.999.0")),
        "CARGO_TARGET_DIR": str(tmp_path / "target"),
    }


def test_without_cargo_nothing_is_tried_and_it_says_what_is_missing(tmp_path: Path) -> None:
    done = build(tmp_path / "made", CARGO="no-such-cargo")
    assert done.returncode == 3
    assert "There is no cargo here" in done.stderr
    assert "rustup" in done.stderr
    assert build(tmp_path / "made", "--where-possible", CARGO="no-such-cargo").returncode == 0


def test_a_compiler_that_is_too_old_is_named_with_the_version_that_is_needed(
    tmp_path: Path, toolchain: dict[str, str]
) -> None:
    toolchain["RUSTC"] = str(program(tmp_path, "rustc", "echo 'rustc 1.63.0 (Debian)'"))
    done = build(tmp_path / "made", **toolchain)
    needed = re.search(r'^rust-version = "([0-9.]+)', (ROOT / "udfs/Cargo.toml").read_text("utf-8"), re.MULTILINE)
    assert done.returncode == 3
    assert needed is not None
    assert f"Rust here is 1.63, and the native extension needs {needed[1]}" in done.stderr


def test_a_build_that_fails_is_a_failure(tmp_path: Path, toolchain: dict[str, str]) -> None:
    toolchain["CARGO"] = str(program(tmp_path, "cargo", "exit 101"))
    assert build(tmp_path / "made", "--where-possible", **toolchain).returncode == 1


def test_the_extension_and_the_package_have_one_version() -> None:
    found = re.search(r'^version = "([^"]+)"', (ROOT / "udfs" / "Cargo.toml").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__


def wheel(folder: Path, **environment: str) -> Path | str:
    """The wheel's file, or what was said when there was none."""
    sources = folder / "sources"
    ignored = shutil.ignore_patterns("target", "build", "native", "__pycache__")
    for name in ("sqlml", "udfs"):
        shutil.copytree(ROOT / name, sources / name, ignore=ignored)
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=sources,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    made = list((folder / "dist").glob("*.whl"))
    return made[0] if made else done.stdout + done.stderr


def test_the_wheel_carries_the_extension_and_names_its_platform(tmp_path: Path, toolchain: dict[str, str]) -> None:
    made = wheel(tmp_path, **toolchain)
    assert isinstance(made, Path), made
    assert re.search(r"-py3-none-(manylinux_2_31|macosx)_\w+\.whl$", made.name)
    with zipfile.ZipFile(made) as opened:
        assert opened.read(INSIDE).startswith(b"a library")
        assert not [name for name in opened.namelist() if name.startswith(("udfs", "hatch_build"))]


@pytest.mark.parametrize("environment", [{"CARGO": "no-such-cargo"}, {"SQLML_BUILD_EXTENSION": "skip"}])
def test_without_the_extension_the_wheel_is_for_every_platform(
    tmp_path: Path, toolchain: dict[str, str], environment: dict[str, str]
) -> None:
    made = wheel(tmp_path, **{**toolchain, **environment})
    assert isinstance(made, Path), made
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as opened:
        assert INSIDE not in opened.namelist()


def test_a_wheel_that_must_carry_it_is_not_made_without(tmp_path: Path) -> None:
    said = wheel(tmp_path, CARGO="no-such-cargo", SQLML_BUILD_EXTENSION="require")
    assert isinstance(said, str)
    assert "There is no cargo here" in said
    assert "SQLML_BUILD_EXTENSION=require" in said
