"""Environments are built once, whole or not at all, and from wheels: with wheels of next to nothing, without a network."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sqlml.environments import build, choose
from sqlml.environments import cache as caching
from sqlml.errors import ModelEnvironmentRefused
from tests.environments.artifacts import model, wheel

PYTHON = platform.python_version()


@pytest.fixture
def artifact(tmp_path: Path, wheels: Path) -> Path:
    """A model of a LightGBM that is a wheel of nothing."""
    wheel(wheels, "lightgbm", "4.1.0")
    return model(
        tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0"}, "python_function": {"python_version": PYTHON}}
    )


def kept(cache: Path) -> list[str]:
    return sorted(entry.name for entry in cache.iterdir() if entry.is_dir())


def test_it_is_built_once_and_found_again(artifact: Path, cache: Path) -> None:
    lines: list[str] = []

    built = choose(artifact, log=lines.append)
    again = choose(artifact, log=lines.append)

    assert built.environment.origin == "built"
    assert again.environment.origin == "cached"
    assert built.environment.path == again.environment.path
    assert dict(again.environment.packages) == {"lightgbm": "4.1.0"}
    assert again.mismatch == ()
    assert [line.partition(":")[2].split()[0] for line in lines] == ["its", "building", "compiling"]
    assert again.sentence == f"model environment: Python {PYTHON}, lightgbm 4.1.0 (from cache)"
    assert again.origin == {
        "model environment": f"Python {PYTHON}, lightgbm 4.1.0 (cached)",
        "model environment key": again.environment.key,
    }


def test_the_interpreter_runs_what_was_installed(artifact: Path, cache: Path) -> None:
    own = choose(artifact).environment
    code = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); import lightgbm; print(lightgbm.__version__)"

    said = subprocess.check_output([own.executable, "-ISB", "-c", code, json.dumps(own.path)], text=True)

    assert said == "4.1.0\n"


def test_other_pins_are_another_environment(artifact: Path, cache: Path, wheels: Path, tmp_path: Path) -> None:
    wheel(wheels, "lightgbm", "4.2.0")
    other = model(tmp_path / "other", {"lightgbm": {"lgb_version": "4.2.0"}})

    assert choose(artifact).environment.key != choose(other).environment.key
    assert len(kept(cache)) == 2


def test_two_at_once_build_one(artifact: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds: list[str] = []
    install = build._install
    waiting = threading.Event()

    def counted(*arguments: object) -> tuple[str, ...]:
        builds.append("")
        waiting.wait(20)  # the second one has met the lock
        return install(*arguments)  # type: ignore[arg-type]

    def log(line: str) -> None:
        if "waiting for it" in line:
            waiting.set()

    monkeypatch.setattr(build, "_install", counted)
    found: list[str] = []
    both = [threading.Thread(target=lambda: found.append(choose(artifact, log=log).environment.path[-1])) for _ in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()

    assert len(builds) == 1
    assert len(set(found)) == 1
    assert len(found) == 2


def test_one_that_was_killed_while_building_leaves_nothing_that_is_used(artifact: Path, cache: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from sqlml.environments import choose, requirements\n"
        "requirements.NEEDS, requirements.UNDECLARED = {}, ()\n"
        "def log(line):\n"
        "    if 'compiling' in line: os.kill(os.getpid(), signal.SIGKILL)\n"
        "choose(Path(sys.argv[1]), log=log)\n"
    )
    root = str(Path(build.__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", script, artifact], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    (remains,) = kept(cache)
    assert remains.startswith(".building-")

    assert caching.all_of(cache) == []
    assert choose(artifact).environment.origin == "built"
    (whole,) = kept(cache)
    assert not whole.startswith(".")


@pytest.mark.parametrize("damage", ["cut", "gone", "another key", "no interpreter", "not a list", "no libraries"])
def test_a_damaged_one_is_built_again(artifact: Path, cache: Path, damage: str) -> None:
    import shutil

    own = choose(artifact).environment
    home = cache / str(own.key)
    marker = home / caching.MARKER
    said = json.loads(marker.read_text())
    if damage == "gone":
        marker.unlink()
    elif damage == "no libraries":
        shutil.rmtree(home / said["site_packages"])
    else:
        changed = {
            "cut": marker.read_text()[:50],
            "another key": json.dumps({**said, "key": "0" * 24}),
            "no interpreter": json.dumps({**said, "interpreter": str(home / "none")}),
            "not a list": json.dumps({**said, "readable": "/"}),
        }
        marker.write_text(changed[damage])

    again = choose(artifact)

    assert again.environment.origin == "built"
    assert dict(again.environment.packages) == {"lightgbm": "4.1.0"}
    assert choose(artifact).environment.origin == "cached"
    assert len(kept(cache)) == 1


def test_nothing_of_a_package_runs_while_it_is_installed(wheels: Path, cache: Path, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    run = f"open({str(owned)!r}, 'w').close()"
    wheel(wheels, "lightgbm", "4.1.0", evil__dot__pth=f"import os; {run}\n", sitecustomize__dot__py=run)

    choose(model(tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0"}}))

    assert not owned.exists()


def test_a_source_distribution_is_not_built(wheels: Path, cache: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    owned = tmp_path / "owned"
    with tarfile.open(wheels / "lightgbm-4.1.0.tar.gz", "w:gz") as archive:
        for name, text in {
            "setup.py": f"open({str(owned)!r}, 'w').close()",
            "PKG-INFO": "Metadata-Version: 2.1\nName: lightgbm\nVersion: 4.1.0\n",
        }.items():
            entry = tarfile.TarInfo(f"lightgbm-4.1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))

    with pytest.raises(ModelEnvironmentRefused, match=r"lightgbm==4.1.0.*could not be built from wheels"):
        choose(model(tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0"}}))
    assert not owned.exists()


def test_what_matters_less_is_left_out_where_it_cannot_be_had(artifact: Path, cache: Path) -> None:
    (artifact / "requirements.txt").write_text("psycopg2==2.9.9\n", encoding="utf-8")

    found = choose(artifact)

    assert found.environment.notes == ("left out, for with it there is no solution of wheels only: psycopg2==2.9.9",)
    assert f"model environment: {found.environment.notes[0]}" in choose(artifact).lines


def test_what_the_caller_needs_goes_in_too(artifact: Path, cache: Path, wheels: Path) -> None:
    wheel(wheels, "mlflow", "2.9.2")

    found = choose(artifact, more=["mlflow==2.9.2"])

    assert found.environment.packages["mlflow"] == "2.9.2"


def test_without_network_the_refusal_says_what_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    artifact = model(tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0"}})

    with pytest.raises(ModelEnvironmentRefused) as raised:
        choose(artifact)

    assert "lightgbm==4.1.0" in raised.value.message
    assert "is not in the cache and could not be built" in raised.value.message
    assert "network was disabled" in raised.value.message
    for remedy in ("sqlml env build", "PIP_INDEX_URL", "--model-env PATH", "--model-env current"):
        assert remedy in str(raised.value.hint)
    assert kept(cache) == []


def test_an_address_that_cannot_be_reached_is_not_shown(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_HTTP_RETRIES", "UV_HTTP_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@127.0.0.1:9/simple")

    with pytest.raises(ModelEnvironmentRefused) as raised:
        choose(model(tmp_path / "model", {"lightgbm": {"lgb_version": "4.1.0"}}))

    assert "secret" not in str(raised.value)
    assert "127.0.0.1" not in str(raised.value)


def test_a_python_that_is_not_there_is_named(cache: Path, wheels: Path, tmp_path: Path) -> None:
    artifact = model(tmp_path / "model", {"sklearn": {}}, python_env_yaml="python: 3.99.1\n")

    with pytest.raises(ModelEnvironmentRefused, match=r"there is no CPython 3.99 on this machine") as raised:
        choose(artifact)
    assert "Install Python 3.99" in str(raised.value.hint)


def test_a_python_that_is_too_old_is_named(cache: Path, wheels: Path, tmp_path: Path) -> None:
    artifact = model(tmp_path / "model", {"sklearn": {}}, python_env_yaml="python: 3.8.18\n")

    with pytest.raises(ModelEnvironmentRefused, match=r"Python 3.8.18, and sqlml converts models with Python 3.9"):
        choose(artifact)


def test_a_cache_that_cannot_be_written_is_named(
    artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SQLML_MODEL_ENV_CACHE", str(tmp_path / "file"))

    with pytest.raises(ModelEnvironmentRefused, match=r"file, cannot be used") as raised:
        choose(artifact)
    assert "SQLML_MODEL_ENV_CACHE" in str(raised.value.hint)


def test_pruning_deletes_what_is_not_used_and_what_is_not_whole(artifact: Path, cache: Path) -> None:
    own = choose(artifact).environment
    home = cache / str(own.key)
    (cache / f".building-{'a' * 24}-xyz").mkdir()
    (cache / "something of mine").mkdir()

    assert [name for name, _ in caching.prune(cache, unused_for=3600)] == [f".building-{'a' * 24}-xyz"]
    long_ago = time.time() - 7200
    os.utime(home / caching.MARKER, (long_ago, long_ago))
    assert [name for name, _ in caching.prune(cache, unused_for=3600)] == [own.key]
    assert kept(cache) == ["something of mine"]


def test_one_that_is_being_built_is_not_pruned(artifact: Path, cache: Path) -> None:
    with caching.building(cache, "b" * 24, print) as home:
        assert caching.prune(cache, unused_for=0) == []
        assert home.exists()
    assert not home.exists()
