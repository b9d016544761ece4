"""Model code that means harm: each attempt is stopped, leaves nothing behind and ends in one clear error."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sqlml import environments
from sqlml.convert import isolation_in_force, open_worker, process
from sqlml.convert.isolation import Feature, require
from sqlml.environments import Environment, interpreters
from sqlml.environments.environment import directories
from sqlml.environments.uv import Uv
from sqlml.errors import ArtifactError, ModelEnvironmentRefused, PolicyRefused, SqlmlError, WorkerError

MLMODEL = """
flavors:
  sklearn: {pickled_model: model.pkl, serialization_format: pickle, sklearn_version: 1.9.1}
mlflow_version: 3.17.2
"""


class Runs:
    """Unpickling this runs `source`."""

    def __init__(self, source: str) -> None:
        self.source = source

    def __reduce__(self):
        return exec, (self.source,)


@pytest.fixture
def attack(tmp_path, monkeypatch):
    """Loads a pickle that runs the source; returns what the person is told. Afterwards nothing may be left."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    artifact = tmp_path / "model"
    artifact.mkdir()
    (artifact / "MLmodel").write_text(MLMODEL)

    def run(source: str, **options: object) -> str:
        (artifact / "model.pkl").write_bytes(pickle.dumps(Runs(source)))
        with pytest.raises(SqlmlError) as raised, open_worker(artifact, log=lambda line: None, **options):
            pass
        assert list(temporary.iterdir()) == []
        return str(raised.value)

    return run


def needs(name: str) -> pytest.MarkDecorator:
    found = {feature.name: feature for feature in isolation_in_force()}
    reason = found[name].why if name in found else "not known here"
    return pytest.mark.skipif(not (name in found and found[name].in_force), reason=f"{name}: {reason}")


@needs("writes")
@pytest.mark.parametrize(
    "harm",
    [
        "open({target!r}, 'w').write('x')",
        "open({target!r}, 'a').write('x')",
        "import os; os.truncate({target!r}, 0)",
        "import os; os.unlink({target!r})",
        "import os; os.chmod({target!r}, 0o777)",
        "import os; os.utime({target!r}, (0, 0))",
        "import os; os.rename({target!r}, 'mine')",
        "import os; os.link({target!r}, 'mine')",
        "import os; os.setxattr({target!r}, 'user.sqlml', b'x')",
    ],
)
def test_files_outside_stay_as_they_are(attack, tmp_path, harm):
    target = tmp_path / "precious"
    target.write_text("precious")
    before = target.stat()

    said = attack(harm.format(target=str(target)))

    assert "could not be loaded: " in said
    assert target.read_text() == "precious"
    assert (target.stat().st_mode, target.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@needs("writes")
def test_no_file_is_made_outside(attack, tmp_path):
    said = attack(f"open({str(tmp_path / 'new')!r}, 'w')")

    assert "PermissionError" in said
    assert not (tmp_path / "new").exists()


@needs("reads")
def test_files_of_the_user_cannot_be_read(attack, tmp_path):
    (tmp_path / "secret").write_text("swordfish")

    said = attack(f"raise ValueError(open({str(tmp_path / 'secret')!r}).read())")

    assert "PermissionError" in said
    assert "swordfish" not in said


def test_the_environment_holds_no_secrets(attack, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "swordfish")
    monkeypatch.setenv("https_proxy", "http://user:swordfish@proxy:1")

    said = attack("import os; raise ValueError(sorted(os.environ.items()))")

    assert "swordfish" not in said
    assert "MLFLOW" not in said
    assert "HOME" in said


@needs("reads")
def test_the_environment_of_the_parent_cannot_be_read(attack, monkeypatch):
    said = attack("import os; raise ValueError(open(f'/proc/{os.getppid()}/environ').read())")

    assert "PermissionError" in said


@needs("network")
@pytest.mark.parametrize(
    "how",
    [
        "socket.create_connection(('127.0.0.1', {port}), timeout=5)",
        "socket.socket(socket.AF_UNIX).connect({path!r})",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect({path!r})",
    ],
)
def test_nobody_can_be_called(attack, tmp_path, how):
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        path = str(tmp_path / "s")
        local.bind(path)
        local.listen()
        server.setblocking(False)
        local.setblocking(False)

        said = attack("import socket; " + how.format(port=server.getsockname()[1], path=path))

        assert "could not be loaded" in said
        for listener in (server, local):
            with pytest.raises(BlockingIOError):
                listener.accept()


@needs("processes")
@pytest.mark.parametrize(
    "source",
    [
        "import os\nfor _ in range(20): os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.execv('/bin/true', ['true'])",
    ],
)
def test_no_process_is_started(attack, source):
    assert "PermissionError" in attack(source)


@needs("signals")
@pytest.mark.parametrize(
    "source",
    [
        "import os; os.kill(os.getppid(), 9)",
        "import os; os.kill(-1, 9)",
        "import os, signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
        "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))",
        "import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    ],
)
def test_other_processes_are_out_of_reach(attack, source):
    assert "PermissionError" in attack(source)


@needs("memory")
def test_a_hundred_gigabytes_are_refused(attack):
    assert "memory" in attack("x = b'x' * (100 << 30)")


def test_memory_is_watched_from_outside(attack, monkeypatch):
    monkeypatch.setattr(process, "_resident_bytes", lambda pid: 1 << 50)

    assert "needs more than 4096 MB of memory" in attack("while True: pass")


def test_an_endless_loop_is_ended(attack):
    said = attack("print('on my way', flush=True)\nwhile True: pass", timeout_s=1.5)

    assert "took more than 1.5 s" in said
    assert "on my way" in said


@needs("file size")
def test_a_full_disk_is_prevented(attack, monkeypatch):
    monkeypatch.setattr(process, "WORK_BYTES", 10_000)

    said = attack("for i in range(10**6): open(f'{i}', 'w').write('x' * 1000)")

    assert "filled its temporary directory" in said


@pytest.mark.parametrize(
    "source",
    [
        "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nwhile True: pass",
        "import os\nos.mkdir('d', 0o000); os.mkdir('e'); os.mkdir('e/f', 0o100)\nos.symlink('/', 'e/g')",
        "for i in range(15_000): open(str(i), 'w').close()",
    ],
)
def test_whatever_it_did_in_its_directory_is_removed(attack, source):
    assert attack(source, timeout_s=20)


def test_leaving_in_the_middle_is_told_with_the_last_words(attack):
    said = attack("import os, sys\nprint('goodbye', file=sys.stderr, flush=True)\nos._exit(7)")

    assert "ended by itself with code 7" in said
    assert "goodbye" in said


def test_a_crash_is_told(attack):
    assert "SIGSEGV" in attack("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


@pytest.mark.parametrize(
    "text", ["garbage\\n", "\\x00" * 5, '{"ok": true}\\n', '{"ok": false, "kind": "none"}\\n', "[" * 99_999 + "\\n"]
)
def test_garbage_instead_of_a_reply_is_refused(attack, text):
    source = f"import os\nfor fd in range(3, 30):\n  try: os.write(fd, {text!r}.encode().decode('unicode_escape').encode())\n  except OSError: pass\nos._exit(0)"

    assert "conversion process" in attack(source)


def test_printing_is_harmless_and_bounded(attack):
    said = attack("print('{\"ok\": true}\\n\\x1b[31m' * 10**6)\nraise ValueError('\\x1b[2Jred')")

    assert "could not be loaded: ValueError" in said
    assert "\x1b" not in said
    assert len(said) < 5000


def test_what_is_not_an_estimator_is_named(attack):
    assert "model.pkl holds a NoneType, not a scikit-learn estimator" in attack("pass")


def test_a_pickle_is_refused_by_name_where_pickles_are_forbidden(attack, tmp_path):
    said = attack("open('ran', 'w')", allow_pickle=False)

    assert "model.pkl (sha256 " in said
    assert "SQLML_ALLOW_PICKLE=0" in said


def test_the_worker_ends_and_is_reaped_when_the_caller_is_interrupted(tmp_path):
    artifact = tmp_path / "model"
    artifact.mkdir()
    (artifact / "MLmodel").write_text(MLMODEL)
    (artifact / "model.pkl").write_bytes(pickle.dumps(Runs("while True: pass")))
    children = []

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(1.0, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt), open_worker(artifact, log=children.append):
        pass
    timer.join()

    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_the_worker_dies_with_its_parent(tmp_path):
    artifact = tmp_path / "model"
    artifact.mkdir()
    (artifact / "MLmodel").write_text(MLMODEL)
    source = "import os\nprint('worker', os.getpid(), flush=True)\nwhile True: pass"
    (artifact / "model.pkl").write_bytes(pickle.dumps(Runs(source)))
    script = (
        "import sys; from pathlib import Path; from sqlml.convert import open_worker, process\n"
        "watch = process._resident_bytes\n"
        "def show(pid): print(pid, flush=True); return watch(pid)\n"
        "process._resident_bytes = show\n"
        f"with open_worker(Path({str(artifact)!r}), log=lambda line: None): pass\n"
    )
    root = str(Path(process.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root}
    ) as parent:
        worker = int(parent.stdout.readline())
        handle = os.pidfd_open(worker)
        parent.kill()
        import select

        assert select.select([handle], [], [], 10)[0] == [handle]
        os.close(handle)


def test_required_isolation_is_refused_where_it_cannot_be_had():
    features = [Feature("network", False, "no namespaces"), Feature("writes", True, "Landlock ABI 1")]

    with pytest.raises(PolicyRefused, match=r"network: NOT in force \(no namespaces\)") as raised:
        require(features)
    assert raised.value.exit_code == 3
    with pytest.raises(PolicyRefused):
        require([])


def test_required_isolation_is_checked_before_the_model_is_loaded(attack, monkeypatch):
    monkeypatch.setattr(process, "features_of", lambda reply: [Feature("network", False, "none")])

    assert "SQLML_REQUIRE_ISOLATION=1" in attack("raise ValueError('ran')", require_isolation=True)


@pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux")
@pytest.mark.parametrize(
    ("absent", "lost"),
    [
        (["restrict_files"], {"writes", "reads"}),
        (["refuse_system_calls", "enter_network_namespace"], {"network"}),
        (["refuse_system_calls"], set()),
        (["enter_network_namespace"], set()),
        (["drop_capabilities", "die_with_parent"], {"capabilities", "end of the parent"}),
    ],
)
def test_what_the_kernel_lacks_is_said_with_its_reason(tmp_path, absent, lost):
    script = f"""
import json
from sqlml.convert.isolated import confine, kernel
def none(*arguments): raise OSError(38, "not in this kernel")
for name in {absent!r}: setattr(kernel, name, none)
print(json.dumps(confine.confine(confine.Bounds({str(tmp_path)!r}, (), 1 << 30, 60, 1 << 20))))
"""
    root = str(Path(process.__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": root}, check=True, capture_output=True
    )

    features = json.loads(run.stdout)

    usual = {feature.name for feature in isolation_in_force() if not feature.in_force}
    assert {feature["name"] for feature in features if not feature["in_force"]} >= lost
    assert {feature["name"] for feature in features if not feature["in_force"]} - lost <= usual
    assert all("not in this kernel" in feature["why"] for feature in features if feature["name"] in lost)


def test_a_missing_artifact_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="There is no model at"), open_worker(tmp_path / "no", log=print):
        pass


def test_the_project_is_not_on_the_import_path_of_the_worker(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))

    assert str(tmp_path) not in environments.current().path
    assert "" not in environments.current().path


def test_a_worker_that_cannot_start_is_told(monkeypatch, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))

    with pytest.raises(WorkerError, match="could not be started"), open_worker(tmp_path / "m.onnx", log=print):
        pass


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_the_same_confines_the_worker_under_every_python(version, tmp_path):
    try:
        found = interpreters.find(version, Uv({**os.environ, "UV_PYTHON_DOWNLOADS": "never"}))
    except ModelEnvironmentRefused:
        pytest.skip(f"there is no Python {version} here")
    bare = Environment(found.executable, found.version, found.path, directories(found), {}, "given")
    worker = process.Process(tmp_path.resolve(), bare, artifact=None, memory_bytes=1 << 30, timeout_s=30)
    try:
        features = worker.start()
    finally:
        worker.close()

    assert [(one.name, one.in_force) for one in features] == [(f.name, f.in_force) for f in isolation_in_force()]
