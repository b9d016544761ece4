#!/usr/bin/env python3
"""Builds the extension with cargo and puts it where it is wanted; says what is missing if it cannot.

Needs nothing but Python and cargo: the wheel's build hook and `make ext` both run it. Exits with 3 where nothing was tried,
because there is no cargo or its compiler is too old.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
NOT_TRIED = 3
LIBRARIES = {"darwin": "libsqlml.dylib", "win32": "sqlml.dll"}
HOW_TO_GET_RUST = (
    "Rust comes from rustup.rs, or from the system: on Debian 12 the packages cargo-web and rustc-web are new enough,"
    " cargo and rustc are not."
)


def needed_rust() -> tuple:
    """The version that Cargo.toml asks for."""
    found = re.search(r'^rust-version = "(\d+)\.(\d+)', (FOLDER / "Cargo.toml").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit("Cargo.toml names no rust-version")
    return int(found[1]), int(found[2])


def installed_rust() -> "tuple | None":
    """The compiler that cargo would use; None without one."""
    compiler = os.environ.get("RUSTC", "rustc")
    try:
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, cwd=FOLDER).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.match(r"rustc (\d+)\.(\d+)", said)
    return None if found is None else (int(found[1]), int(found[2]))


def why_not() -> "str | None":
    """What keeps this machine from building, as a sentence; None if nothing does."""
    cargo = os.environ.get("CARGO", "cargo")
    if shutil.which(cargo) is None:
        return f"There is no cargo here, which builds the native extension. {HOW_TO_GET_RUST}"
    rust, needed = installed_rust(), needed_rust()
    wanted = ".".join(map(str, needed))
    if rust is None:
        return f"cargo is here, but no Rust compiler that works: the native extension needs Rust {wanted}. {HOW_TO_GET_RUST}"
    if rust < needed:
        return f"Rust here is {rust[0]}.{rust[1]}, and the native extension needs {wanted} or newer. {HOW_TO_GET_RUST}"
    return None


def target_folder() -> Path:
    return FOLDER / os.environ.get("CARGO_TARGET_DIR", "target")


def build(extension: Path, profile: str) -> None:
    cargo = os.environ.get("CARGO", "cargo")
    subprocess.run([cargo, "build", "--locked", "--quiet", "--profile", profile], cwd=FOLDER, check=True)
    library = target_folder() / profile / LIBRARIES.get(sys.platform, "libsqlml.so")
    if extension.exists() and extension.stat().st_mtime > library.stat().st_mtime:
        return
    subprocess.run([sys.executable, str(FOLDER / "append_metadata.py"), str(library), str(extension)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the native extension.")
    parser.add_argument("extension", type=Path, help="the file to write, named sqlml.duckdb_extension")
    parser.add_argument("--profile", default="release", help="cargo's (default: release)")
    parser.add_argument(
        "--where-possible", action="store_true", help="succeed where it cannot be built, having said why"
    )
    options = parser.parse_args()
    missing = why_not()
    if missing is not None:
        print(missing, file=sys.stderr)
        return 0 if options.where_possible else NOT_TRIED
    if not options.extension.exists():
        print("Building the native extension with cargo: a minute or two the first time.", file=sys.stderr)
    try:
        build(options.extension.absolute(), options.profile)
    except subprocess.CalledProcessError as error:
        print(f"The native extension could not be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
