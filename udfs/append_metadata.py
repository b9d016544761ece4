#!/usr/bin/env python3
"""Makes a DuckDB extension of a shared library: DuckDB's footer appended, in a new file.

The footer is a custom section as WebAssembly has them (22 bytes of header), eight fields of 32 bytes from the last to the
first, and 256 zero bytes where DuckDB's build puts a signature: what extension-ci-tools' script of the same name writes.

The file is replaced by a rename: a process that has the old one loaded keeps it, where one rewritten in place took the
process down (measured, DuckDB 1.5.6 and 2.0.0).
"""

import argparse
import os
import platform
import sys
from pathlib import Path

API_VERSION = "v1.5.6"  # of DuckDB's C API, as src/lib.rs asks for it; not the extension's own version
ABI = "C_STRUCT"  # C_STRUCT_UNSTABLE would pin the file to one DuckDB release

SYSTEMS = {"linux": "linux", "darwin": "osx", "win32": "windows"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def this_platform() -> str:
    """The platform of this machine in DuckDB's words, as `PRAGMA platform` gives it."""
    system, machine = SYSTEMS.get(sys.platform), MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        raise SystemExit(
            f"{sys.platform} on {platform.machine()} is none of DuckDB's platforms: name one with --platform"
        )
    return f"{system}_{machine}"


def footer(duckdb_platform: str, extension_version: str, api_version: str = API_VERSION, abi: str = ABI) -> bytes:
    """The bytes that follow the library. Field 1 is DuckDB's mark of an extension, fields 6 to 8 are unused."""
    fields = ["4", duckdb_platform, api_version, extension_version, abi, "", "", ""]
    padded = [field.encode("ascii").ljust(32, b"\0") for field in reversed(fields)]
    if any(len(field) != 32 for field in padded):
        raise SystemExit(f"a field of the footer has at most 32 characters: {fields}")
    return b"\x00\x93\x04\x10duckdb_signature\x80\x04" + b"".join(padded) + bytes(256)


def crate_version() -> str:
    """The version in Cargo.toml (Python 3.10 has no tomllib, and extension-ci-tools may run any)."""
    for line in Path(__file__).with_name("Cargo.toml").read_text("utf-8").splitlines():
        if line.startswith("version = "):
            return "v" + line.split('"')[1]
    raise SystemExit("Cargo.toml names no version")


def append(library: Path, extension: Path, duckdb_platform: str, extension_version: str) -> None:
    extension.parent.mkdir(parents=True, exist_ok=True)
    part = extension.with_name(f"{extension.name}.{os.getpid()}.part")
    part.write_bytes(library.read_bytes() + footer(duckdb_platform, extension_version))
    part.replace(extension)


def main() -> None:
    parser = argparse.ArgumentParser(description="Append DuckDB's footer to a shared library.")
    parser.add_argument("library", type=Path, help="what cargo built")
    parser.add_argument("extension", type=Path, help="the file to write, named sqlml.duckdb_extension")
    parser.add_argument("--platform", help="DuckDB's name of the platform (default: this machine's)")
    parser.add_argument("--version", help="the extension's version (default: the crate's)")
    options = parser.parse_args()
    append(options.library, options.extension, options.platform or this_platform(), options.version or crate_version())


if __name__ == "__main__":
    main()
