"""Fetching HBase, with a Maven that writes one jar and counts how often it was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAVEN = """\
#!/bin/sh
echo asked >> "$ASKED"
for argument; do case $argument in -DoutputDirectory=*) folder=${argument#*=};; esac; done
mkdir "$folder" && echo > "$folder/hbase-thrift-1.jar"
"""
NO_NETWORK = "#!/bin/sh\necho '[ERROR] Unknown host'; exit 1\n"
JAVA = "#!/bin/sh\necho 'openjdk version \"%s\"' >&2\n"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of programs, with a Java 17 and a Maven; its cache is beside them."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program(programs / "java", JAVA % "17.0.1")
    program(programs / "mvn", MAVEN)
    return tmp_path


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def fetching(machine: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(machine / "bin"), os.environ["PATH"])),
        "XDG_CACHE_HOME": str(machine / "cache"),
        "ASKED": str(machine / "asked"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.hbase.server", "fetch"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fetched(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out.strip(), err


def test_two_that_fetch_at_once_get_one_whole_folder(machine: Path) -> None:
    answers = [fetched(process) for process in [fetching(machine) for _ in range(3)]]

    [folder] = {Path(out) for code, out, _ in answers if code == 0}
    assert [path.name for path in folder.iterdir()] == ["hbase-thrift-1.jar"]
    assert (machine / "asked").read_text() == "asked\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]


def test_what_is_there_needs_no_maven(machine: Path) -> None:
    fetched(fetching(machine))
    program(machine / "bin" / "mvn", NO_NETWORK)

    code, _, err = fetched(fetching(machine))

    assert (code, err) == (0, "")


def test_a_maven_that_cannot_is_quoted_and_nothing_is_left(machine: Path) -> None:
    program(machine / "bin" / "mvn", NO_NETWORK)

    code, out, err = fetched(fetching(machine))

    assert (code, out) == (1, "")
    assert "Maven could not fetch HBase. Is there a network?" in err
    assert "[ERROR] Unknown host" in err
    assert [path.suffix for path in (machine / "cache" / "sqlml").iterdir()] == [".lock"]


def test_an_older_java_is_refused(machine: Path) -> None:
    program(machine / "bin" / "java", JAVA % "1.8.0_372")

    code, _, err = fetched(fetching(machine))

    assert code == 1
    assert "java is of version 8, and HBase is run with 17 or newer" in err
