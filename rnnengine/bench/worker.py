"""One process for each engine, so that no engine's threads, heap or caches help or hurt another's.

Only one process works at any time; the others wait on their pipes. Their threads may spin for a
while after a call that several of them shared: 20 ms and more with onnxruntime's, 5 ms with
PyTorch's. An engine's turn so ends when its process has stopped computing, whichever engine it is;
otherwise the next one would share its cores with those threads.
"""

from __future__ import annotations

import gc
import glob
import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from rnnengine.bench.cases import Array, Case

__all__ = ["Worker", "settle"]

BLOCK_SECONDS = 0.002
"""Calls are timed in blocks of at least this length."""
WARM_UP_SECONDS = 0.05
IDLE_SECONDS = 0.001
"""A process is idle that computes for less than the ``IDLE_SHARE`` of so long a time."""
IDLE_SHARE = 0.1
MOST_IDLE_SECONDS = 1.0
"""No longer than this is waited for: threads that never sleep do not stop a benchmark."""


class Worker:
    """The parent's end of a process that measures; a context manager.

    Parameters
    ----------
    kind : str
        An engine of ``peers.ENGINES``, or ``roof``.
    """

    def __init__(self, kind: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._kind = kind
        self._pipe, far_end = context.Pipe()
        self._process = context.Process(target=_serve, args=(kind, far_end), daemon=True)
        self._process.start()
        far_end.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def prepare(self, case: Case) -> tuple[Array, list[str]]:
        """Load a case and warm up: what it computes and the names of the ways to call."""
        output, ways = self._ask("prepare", case)
        return output, ways

    def output(self, case: Case) -> Array:
        """What the engine computes of a case, without warming up."""
        output: Array = self._ask("output", case)
        return output

    def seconds_per_call(self, way: str) -> float:
        """Time one block of calls of the prepared case, after a short warm-up."""
        return float(self._ask("time", way))

    def bandwidth(self, size: int) -> float:
        """Read bandwidth of one core over a working set of ``size`` bytes, in bytes a second."""
        return float(self._ask("bandwidth", size))

    def fma_peak(self) -> float:
        """Floating-point operations a second of one core."""
        return float(self._ask("fma_peak", None))

    def about(self) -> dict[str, Any]:
        """What the process runs: versions and the instruction set in use."""
        answer: dict[str, Any] = self._ask("about", None)
        return answer

    def _ask(self, request: str, argument: object) -> Any:
        try:
            self._pipe.send((request, argument))
            answer = self._pipe.recv()
        except (EOFError, BrokenPipeError):
            raise RuntimeError(
                f"the process of {self._kind} ended while asked to {request}"
            ) from None
        if isinstance(answer, BaseException):
            raise RuntimeError(f"{self._kind} failed to {request}: {answer!r}") from answer
        return answer


def _serve(kind: str, pipe: Connection) -> None:
    """Answer requests until the pipe closes; an exception is an answer like any other."""
    gc.disable()
    handlers = _roof_handlers() if kind == "roof" else _engine_handlers(kind)
    while True:
        try:
            request, argument = pipe.recv()
        except EOFError:
            return
        try:
            answer = handlers[request](argument)
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        settle()
        pipe.send(answer)


def settle() -> bool:
    """Wait until no thread of this process computes; False when some still did in the end.

    Threads that wait for a core, which others have, compute nothing and have not ended.
    """
    end = time.perf_counter() + MOST_IDLE_SECONDS
    while (start := time.perf_counter()) < end:
        computed = time.process_time()
        time.sleep(IDLE_SECONDS)
        share = (time.process_time() - computed) / (time.perf_counter() - start)
        if share < IDLE_SHARE and not _others_run():
            return True
    return False


def _others_run() -> bool:
    """Whether a thread of this process other than the calling one runs or waits for a core."""
    own = str(threading.get_native_id())
    for path in glob.glob("/proc/self/task/*/stat"):
        try:
            with open(path, encoding="latin-1") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            continue  # it has ended
        if state == "R" and path.split("/")[-2] != own:
            return True
    return False


def _roof_handlers() -> dict[str, Callable[[Any], Any]]:
    from rnnengine._c import roof

    return {
        "bandwidth": lambda size: roof.read_bandwidth(size) * 1e9,
        "fma_peak": lambda _: roof.fma_peak() * 1e9,
    }


def _engine_handlers(kind: str) -> dict[str, Callable[[Any], Any]]:
    import rnnengine as rn
    from rnnengine.bench.peers import prepare_case
    from rnnengine.bench.peers.base import Loop, Prepared

    ready: dict[str, tuple[Loop, int]] = {}

    def prepare(case: Case) -> tuple[Array, list[str]]:
        prepared: Prepared = prepare_case(kind, case)
        ready.clear()
        gc.collect()
        for way, loop in prepared.ways.items():
            ready[way] = loop, _calls_per_block(loop)
        return prepared.output, list(ready)

    def measure(way: str) -> float:
        loop, count = ready[way]
        _seconds(loop, max(2, count // 8 * 2))
        return _seconds(loop, count) / count

    return {
        "prepare": prepare,
        "output": lambda case: prepare_case(kind, case).output,
        "time": measure,
        "about": lambda _: rn.cpu_info(),
    }


def _seconds(loop: Callable[[int], object], count: int) -> float:
    start = time.perf_counter()
    loop(count)
    return time.perf_counter() - start


def _calls_per_block(loop: Callable[[int], object]) -> int:
    """Warm up, then count how many calls fill a block; always an even number."""
    count, spent = 2, 0.0
    while spent < WARM_UP_SECONDS:
        took = _seconds(loop, count)
        spent += took
        if took < BLOCK_SECONDS:
            count *= 2
    return count
