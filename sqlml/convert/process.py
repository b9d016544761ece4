"""The parent's side of the isolated conversion: start it, ask it, bound it, end it, and say what went wrong."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlml import environments
from sqlml.convert import received, starting
from sqlml.convert.isolation import (
    MEMORY_BYTES,
    TIMEOUT_S,
    WORK_BYTES,
    Feature,
    bounds,
    features_of,
    require,
    summary,
)
from sqlml.convert.onnx_model import OnnxModel
from sqlml.convert.received import Reference, printable
from sqlml.convert.workdir import remove, size_below
from sqlml.environments import Choice, Environment
from sqlml.errors import ArtifactError, PolicyRefused, SqlmlError, UnsupportedModel, UsageError, WorkerError

if TYPE_CHECKING:
    import pyarrow as pa

# Any in this module: JSON.
LARGEST_REPLY = 32 << 20
KEPT_OUTPUT = 16 << 10
WATCH_SECONDS = 0.1
LAST_WORDS_SECONDS = 1.0
CONVERSION = "conversion"
"""What a worker is started for, as its errors call it; "model" where a python_function is asked."""
LARGER_LIMIT = "A smaller model would do; the limits are SQLML_MODEL_TIMEOUT (seconds) and SQLML_MODEL_MEMORY (MB)."

ERRORS: Mapping[str, type[SqlmlError]] = {
    "unsupported": UnsupportedModel,
    "policy": PolicyRefused,
    "artifact": ArtifactError,
    "usage": UsageError,
    "memory": WorkerError,
}


class Process:
    """One worker process and the pipes to it. Its lifetime is `start` to `close`; close is safe at any point.

    It must be used and closed by the thread that starts it: Linux ends the worker when that thread ends.
    """

    def __init__(
        self,
        work: Path,
        environment: Environment,
        *,
        artifact: Path | None,
        memory_bytes: int,
        timeout_s: float,
        task: str = CONVERSION,
    ) -> None:
        self._work = work
        self._task = task
        self._environment = environment
        self._artifact = artifact
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._popen: subprocess.Popen[bytes] | None = None
        self._requests = self._replies = self._output = -1
        self._pending = bytearray()
        self._printed = bytearray()

    def start(self) -> list[Feature]:
        """Start the worker, and wait until it has confined itself; returns what is in force."""
        their_requests, self._requests = os.pipe()
        self._replies, their_replies = os.pipe()
        self._output, their_output = os.pipe()
        theirs = (their_requests, their_replies)
        try:
            self._popen = subprocess.Popen(
                starting.command(self._environment, theirs),
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                pass_fds=theirs,
                env=starting.variables(self._work),
                cwd=self._work,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(f"The {self._task} process could not be started: {error.strerror}.") from error
        finally:
            for handle in (*theirs, their_output):
                os.close(handle)
        limits = bounds(
            self._work,
            starting.readable(self._environment),
            self._artifact,
            memory_bytes=self._memory_bytes,
            # A model that is asked may be asked for days; each request is bounded by wall time.
            cpu_seconds=int(self._timeout_s * 10) + 10 if self._task == CONVERSION else None,
        )
        return features_of(self._ask({"bounds": limits, "parent": os.getpid()}))

    def call(self, name: str, **arguments: object) -> Mapping[str, Any]:
        """One request and its reply; a refusal of the worker's is raised as sqlml's own error."""
        return self._ask({"call": name, **arguments})

    def _ask(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        line = memoryview(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + self._timeout_s
        os.set_blocking(self._requests, False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            selector.register(self._replies, selectors.EVENT_READ)
            selector.register(self._output, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(WATCH_SECONDS):
                    if key.fd == self._requests:
                        line = line[self._write(line) :]
                        if not line:
                            selector.unregister(self._requests)
                    elif key.fd == self._output:
                        if not self._drain():
                            selector.unregister(self._output)
                    elif (reply := self._receive()) is not None:
                        return self._checked(reply)
                self._watch(deadline)

    def _write(self, line: memoryview) -> int:
        try:
            return os.write(self._requests, line)
        except BlockingIOError:
            return 0
        except BrokenPipeError as error:
            raise self._ended() from error

    def _receive(self) -> bytes | None:
        chunk = os.read(self._replies, 1 << 16)
        if not chunk:
            raise self._ended()
        self._pending += chunk
        line, newline, rest = self._pending.partition(b"\n")
        if newline:
            self._pending = rest
            return bytes(line)
        if len(self._pending) > LARGEST_REPLY:
            self._kill()
            raise WorkerError(f"The {self._task} process gave an endless reply and was ended.")
        return None

    def _drain(self) -> bool:
        """Keep the last of what the model's code prints; False at its end."""
        chunk = os.read(self._output, 1 << 16)
        self._printed += chunk
        del self._printed[:-KEPT_OUTPUT]
        return bool(chunk)

    def _checked(self, line: bytes) -> Mapping[str, Any]:
        try:
            reply = json.loads(line)
            accepted = reply["ok"]
            if accepted is True:
                return dict(reply)
            kind, message, hint = ERRORS[reply["kind"]], printable(reply["message"]), reply["hint"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._kill()
            raise WorkerError(f"The {self._task} process gave a reply that is not of sqlml's protocol.") from error
        if kind is WorkerError:
            raise WorkerError(f"{message} ({self._memory_bytes >> 20} MB)", hint=LARGER_LIMIT)
        raise kind(message, hint=printable(hint) if hint else None)

    def _watch(self, deadline: float) -> None:
        """End a worker that takes too long, too much memory or too much disk."""
        assert self._popen is not None  # internal: `start` sets it first
        if time.monotonic() > deadline:
            self._kill()
            raise WorkerError(
                f"The {self._task} took more than {self._timeout_s:g} s and was ended.{self._last_words()}",
                hint=LARGER_LIMIT,
            )
        if _resident_bytes(self._popen.pid) > self._memory_bytes:
            self._kill()
            raise WorkerError(
                f"The {self._task} needs more than {self._memory_bytes >> 20} MB of memory.", hint=LARGER_LIMIT
            )
        size = size_below(self._work)
        if size is None or size > WORK_BYTES:
            self._kill()
            raise WorkerError(f"The {self._task} filled its temporary directory and was ended.")

    def _ended(self) -> WorkerError:
        """Why the worker is gone, with the last lines that it printed."""
        assert self._popen is not None  # internal: `start` sets it first
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(LAST_WORDS_SECONDS)  # a traceback is printed after the pipes have closed
        self._kill()  # it may have closed its pipes and live on
        os.set_blocking(self._output, False)
        with contextlib.suppress(BlockingIOError):
            while self._drain():
                pass
        code = self._popen.returncode
        if code == -signal.SIGXCPU:
            return WorkerError(f"The {self._task} used up its processor time and was ended.", hint=LARGER_LIMIT)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended by itself with code {code}"
        if code == -signal.SIGKILL:
            how = "closed its pipe, or was killed (out of memory?)"
        return WorkerError(f"The {self._task} process {how}.{self._last_words()}", code=code)

    def _last_words(self) -> str:
        lines = [line for line in self._printed.decode("utf-8", "replace").splitlines() if line.strip()]
        return " Its last lines: " + printable(" | ".join(line.strip() for line in lines[-4:]), 1200) if lines else ""

    def _kill(self) -> None:
        """The worker and everything it started; returns when it is reaped."""
        if self._popen is not None and self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.kill()
            self._popen.wait()

    def close(self) -> None:
        try:
            self._kill()
        finally:
            for handle in (self._requests, self._replies, self._output):
                if handle >= 0:
                    os.close(handle)
            self._requests = self._replies = self._output = -1


class Worker:
    """A model loaded in an isolated process. Made by `open_worker`."""

    def __init__(
        self, process: Process, work: Path, origin: Mapping[str, str], isolation: list[Feature], environment: Choice
    ) -> None:
        self.origin = dict(origin)
        """What is known of the artifact: flavor, file, its sha256, serialization, versions it was trained with, and in
        which environment it was loaded."""
        self.isolation = tuple(isolation)
        self.environment = environment
        self._process = process
        self._work = work
        self._converted: OnnxModel | None = None
        self._count = 0

    def convert(self, columns: Mapping[str, str] | None = None) -> OnnxModel:
        """The model as ONNX. `columns` (name -> SQL type of the bound table) helps where the model has no signature.

        Raises:
            UnsupportedModel: a step or operator has no exact translation.
            WorkerError: the process crashed, or took too long or too much memory.
        """
        to = self._file("onnx")
        reply = self._process.call("convert", columns=None if columns is None else dict(columns), to=to.name)
        self._converted = received.onnx_model(reply, received.file(to, received.LARGEST_ONNX), self.origin)
        to.unlink()
        return self._converted

    def input_example(self) -> pa.Table | None:
        """The input example logged with the model, with the signature's columns; None where there is none that fits."""
        self._signature()
        to = self._file("arrow")
        if self._process.call("example", to=to.name).get("found") is not True:
            return None
        found = received.table(to)
        if found.column_names != [column.name for column in self._signature().signature.columns]:
            raise WorkerError("The conversion process gave an input example with other columns than the signature's.")
        return found

    def reference(self, rows: pa.Table, *, alone_seconds: float = 1.0) -> Reference:
        """The original's own answers to these rows (columns by name, ignoring case; NULL is missing).

        Rows are also asked in another order, and for `alone_seconds` one by one.
        """
        import pyarrow as pa

        converted, started = self._signature(), time.monotonic()
        given, to = self._file("arrow"), self._file("arrow")
        with pa.OSFile(str(given), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        reply = self._process.call("reference", rows=given.name, to=to.name, alone_seconds=alone_seconds)
        answers = received.table(to)
        for path in (given, to):
            path.unlink()
        return received.reference(reply, answers, converted.signature, rows.num_rows, time.monotonic() - started)

    def _signature(self) -> OnnxModel:
        return self._converted or self.convert()

    def _file(self, suffix: str) -> Path:
        self._count += 1
        return self._work / f"{self._count}.{suffix}"


@contextlib.contextmanager
def open_worker(
    artifact: Path,
    *,
    log: Callable[[str], None],
    timeout_s: float = TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    allow_pickle: bool = True,
    require_isolation: bool = False,
    model_env: str = environments.CURRENT,
) -> Iterator[Worker]:
    """Load a model in a process of its own, confined as far as the machine can.

    Args:
        artifact: a directory with an MLmodel file, or one .onnx file.
        log: receives one line for each thing worth keeping in the job's log.
        timeout_s: for each request (loading, converting, answering), of wall time.
        model_env: the environment to load it in: "auto" is the model's own where that differs from this one (see
            `sqlml.environments`), "current" this one, anything else the path of one.

    Raises:
        ModelEnvironmentRefused: the environment can neither be found nor built.
        PolicyRefused: a pickle, or isolation that cannot be had, where the configuration forbids it.
        ArtifactError: the artifact is not whole or cannot be loaded.
        UnsupportedModel: its flavor is not one that sqlml converts.
        WorkerError: the process crashed, or took too long or too much memory.
    """
    with started(
        artifact,
        log=log,
        timeout_s=timeout_s,
        memory_bytes=memory_bytes,
        require_isolation=require_isolation,
        model_env=model_env,
    ) as (process, work, isolation, chosen):
        reply = process.call("load", artifact=str(artifact.resolve()), allow_pickle=allow_pickle)
        origin, notes = received.loaded(reply)
        if origin.get("serialization") in ("pickle", "cloudpickle"):
            log(
                f"{origin['file']} (sha256 {origin['file sha256']}) is a {origin['serialization']}, loaded in isolation"
            )
        for note in notes:
            log(note)
        origin |= chosen.origin | ({"notes": "; ".join(notes)} if notes else {})
        yield Worker(process, work, origin, isolation, chosen)


@contextlib.contextmanager
def started(
    artifact: Path,
    *,
    log: Callable[[str], None],
    timeout_s: float,
    memory_bytes: int,
    require_isolation: bool,
    model_env: str,
    task: str = CONVERSION,
    flavor: str | None = None,
    more: Sequence[str] = (),
) -> Iterator[tuple[Process, Path, list[Feature], Choice]]:
    """A process that may read the artifact, with its work directory, what confines it, and the environment it runs in.

    `flavor` and `more` are for `environments.choose`: what it is loaded as, and what that needs besides.
    """
    artifact = Path(artifact).absolute()
    if not artifact.exists():
        raise ArtifactError(f"There is no model at {artifact}.")
    chosen = environments.choose(artifact, model_env, log=log, flavor=flavor, more=more)
    for line in chosen.lines:
        log(line)
    work = Path(tempfile.mkdtemp(prefix="sqlml-worker-")).resolve()
    process = Process(
        work, chosen.environment, artifact=artifact.resolve(), memory_bytes=memory_bytes, timeout_s=timeout_s, task=task
    )
    try:
        isolation = process.start()
        log(summary(isolation))
        if require_isolation:
            require(isolation)
        yield process, work, isolation, chosen
    finally:
        try:
            process.close()
        finally:
            remove(work)


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0  # not Linux, or it just ended, which the pipes will tell
