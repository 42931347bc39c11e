"""Reference frameworks, each in a child process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnengine.errors import FrameworkError
from rnnengine.validation.samples import Sample

__all__ = ["Answer", "Job", "Reply", "ask", "installed"]

Array = np.ndarray[Any, Any]

FRAMEWORKS = ("torch", "keras", "tf_keras", "onnxruntime")
_CHILD = Path(__file__).with_name("children") / "child.py"
_CRASHES = 4
"""Samples that a framework may crash on before it is given up."""

_BACKENDS = ("torch", "tensorflow", "jax")


@dataclass(frozen=True)
class Job:
    """What a framework is asked to do.

    Attributes
    ----------
    framework : str
    samples : sequence of Sample
    file : tuple of (str, bytes), optional
        Name and content of the file that the framework opens; it gets a copy.
    words : mapping
        What the child's program takes besides.
    weights : mapping of str to array
    """

    framework: str
    samples: Sequence[Sample]
    file: tuple[str, bytes] | None = None
    words: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Array] | None = None


@dataclass(frozen=True)
class Answer:
    """Outputs of one sample in float32, and in float64 where the framework can; or the reason."""

    outputs: Mapping[str, Array] | None
    exact: Mapping[str, Array] | None = None
    error: str = ""


@dataclass(frozen=True)
class Reply:
    """What a framework said: its name with the version, an answer for each sample, and notes."""

    version: str
    answers: tuple[Answer, ...]
    notes: tuple[str, ...] = ()


def installed(framework: str, python: str | os.PathLike[str] | None = None) -> bool:
    """Whether an interpreter finds a framework; it is not imported."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({framework!r}) is None)"
    command = [os.fspath(python or sys.executable), "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FrameworkError(f"python {command[0]!r} cannot be started: {error}") from None
    return done.returncode == 0


def ask(job: Job, *, python: str | os.PathLike[str] | None, timeout: float) -> Reply:
    """Have a framework answer every sample.

    Parameters
    ----------
    job : Job
    python : path or None
        The interpreter that has the framework; default the one that runs.
    timeout : float
        Seconds after which the child is ended.

    Raises
    ------
    FrameworkError
        The framework is not installed, cannot do the job, crashed, or took too long.
    """
    interpreter = os.fspath(python or sys.executable)
    if not installed(job.framework, python):
        raise FrameworkError(
            f"{job.framework} is not installed for {interpreter}; install it, or name an "
            "interpreter that has it with python= (--python)"
        )
    with tempfile.TemporaryDirectory(prefix="rnnengine-") as name:
        folder, crashed = Path(name), dict[int, str]()
        command = [interpreter, str(_CHILD), name]
        while True:
            _prepare(folder, job, crashed)
            code, text = _run(command, job.framework, timeout)
            if code == 0:
                return _reply(folder, job, crashed)
            left = [i for i in range(len(job.samples)) if not (folder / f"said{i}.json").exists()]
            open_ = [i for i in left if i not in crashed]
            if not (folder / "result.json").exists() or not open_ or len(crashed) == _CRASHES:
                raise FrameworkError(
                    f"{job.framework} failed with exit code {code}: {text.strip()[-500:]}"
                )
            crashed[open_[0]] = f"{job.framework} crashed with exit code {code}"
            if len(open_) == 1:
                return _reply(folder, job, crashed)


def _prepare(folder: Path, job: Job, crashed: Mapping[int, str]) -> None:
    """Write the job into a folder, without the samples that the framework crashed on."""
    program = "keras" if job.framework == "tf_keras" else job.framework
    said: dict[str, Any] = {"program": program, "framework": job.framework, **job.words}
    said["skip"] = list(crashed)
    if job.file is not None:
        name, content = job.file
        (folder / name).write_bytes(content)
        said["file"] = str(folder / name)
    if job.weights is not None:
        said["weights"] = _save(folder / "weights.npz", job.weights)
    said["inputs"] = [_save(folder / f"in{i}.npz", s.feeds) for i, s in enumerate(job.samples)]
    (folder / "job.json").write_text(json.dumps(said), encoding="utf-8")


def _save(path: Path, arrays: Mapping[str, Array]) -> list[str]:
    numbered: dict[str, Any] = {f"a{i}": value for i, value in enumerate(arrays.values())}
    np.savez(path, **numbered)
    return list(arrays)


def _read(path: Path, names: Sequence[str]) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[f"a{i}"] for i, name in enumerate(names)}


def _run(command: list[str], framework: str, timeout: float) -> tuple[int, str]:
    """Run the child to its end, or end it with all that it started; return code and output."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=_environment(framework), start_new_session=True, text=True, errors="replace",
    ) as child:  # fmt: skip
        try:
            text, _ = child.communicate(timeout=timeout)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise FrameworkError(
                    f"{framework} did not answer within {timeout:g} s; allow more with timeout="
                ) from None
            raise
    return child.returncode, text


def _environment(framework: str) -> dict[str, str]:
    """Environment of the child: quiet, and Keras with a backend that is there."""
    import importlib.util

    said = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    if framework == "keras" and "KERAS_BACKEND" not in said:
        found = [name for name in _BACKENDS if importlib.util.find_spec(name) is not None]
        said.update({"KERAS_BACKEND": found[0]} if found else {})
    return said


def _reply(folder: Path, job: Job, crashed: Mapping[int, str]) -> Reply:
    """Read what the child left."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "refused" in result:
            raise FrameworkError(f"{job.framework} does not take the model: {result['refused']}")
        answers = [
            Answer(None, error=crashed[i]) if i in crashed else _answer(folder, i)
            for i in range(len(job.samples))
        ]
        return Reply(result["version"], tuple(answers), tuple(result["notes"]))
    except (OSError, ValueError, KeyError) as error:
        raise FrameworkError(f"{job.framework} left no result: {error}") from None


def _answer(folder: Path, i: int) -> Answer:
    said = json.loads((folder / f"said{i}.json").read_text(encoding="utf-8"))
    if "error" in said:
        return Answer(None, error=said["error"])
    exact = _read(folder / f"exact{i}.npz", said["exact"]) if "exact" in said else None
    return Answer(_read(folder / f"out{i}.npz", said["out"]), exact)
