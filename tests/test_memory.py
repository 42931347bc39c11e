"""A step allocates nothing; runs of changing length compile once and keep memory flat."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnengine._c import core

STEPS = """
import ctypes, itertools, sys
import numpy as np
import rnnengine as rn
from onnx_models import layer
calls = ctypes.CDLL(None).allocation_calls
calls.restype = ctypes.c_ulonglong
for cell in ("LSTM", "GRU", "RNN"):
    model = rn.load(layer(cell, 40, 24))
    stream = model.stream(batch=3)
    x = np.ones((1, 3, 24), np.float32)
    out = {info.name: np.empty(info.shape and [1 if s == "time" else 3 if s == "batch" else s
                               for s in info.shape], np.float32) for info in model.outputs}
    for _ in range(1000):
        stream.step(x, out=out)
    before = calls()
    for _ in itertools.repeat(None, 100_000):
        stream.step(x, out=out)
    print(cell, calls() - before)
"""

CYCLES = """
import gc
import numpy as np
import rnnengine as rn
from onnx_models import layer
gc.disable()
for _ in range(20):
    model = rn.load(layer("GRU", 4, 3))
    model.run(np.zeros((1, 1, 3), np.float32))
    workers = [o for o in gc.get_objects() if type(o).__name__ == "Worker"]
    assert len(workers) == 1
    cycle = [workers.pop()]
    cycle.append(cycle)
    del model, cycle
    gc.collect()
"""

LENGTHS = """
import gc, resource
import numpy as np
import rnnengine as rn
import rnnengine.compiler.forms
from onnx_models import layer

def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()

model = rn.load(layer("LSTM", 64, 32))
compiled = 0
original = rnnengine.compiler.forms.compile_graph
def counting(*args, **kwargs):
    global compiled
    compiled += 1
    return original(*args, **kwargs)
rnnengine.compiler.forms.compile_graph = counting
rng = np.random.default_rng(0)
x = rng.standard_normal((2000, 1, 32)).astype(np.float32)
for _ in range(3):
    model.run(x)
gc.collect()
start = resident()
for _ in range(5000):
    model.run(x[: rng.integers(1, 2001)])
gc.collect()
print(compiled, resident() - start)
"""


def _run(script: str, root: Path, environment: dict[str, str]) -> list[str]:
    import os

    paths = [str(root / "tests"), *(p for p in sys.path if p)]
    full = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=full, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_step_with_out_allocates_nothing(tmp_path: Path, root: Path) -> None:
    """100 000 steps of each cell, counted by a preloaded malloc, calloc, realloc and mmap."""
    library = tmp_path / "count_alloc.so"
    source = root / "tests/c/count_alloc.c"
    subprocess.run(
        ["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library), "-ldl"], check=True
    )
    lines = _run(STEPS, root, {"LD_PRELOAD": str(library)})
    assert lines == ["LSTM 0", "GRU 0", "RNN 0"]


def test_models_in_reference_cycles_are_collected(root: Path) -> None:
    """The collector clears what a call's memory refers to before the memory itself goes.

    What a mistake reads then depends on where things lie, so it takes some processes to crash one.
    """
    for _ in range(6):
        _run(CYCLES, root, {})


@pytest.mark.slow
def test_changing_lengths_compile_once_and_keep_memory_flat(root: Path) -> None:
    """5 000 runs with T random in 1..2000: no compilation after the load, resident memory flat."""
    (line,) = _run(LENGTHS, root, {})
    compilations, growth = (int(field) for field in line.split())
    assert compilations == 0
    assert growth < 2 << 20


def test_peak_memory_of_a_run_does_not_grow_with_its_length() -> None:
    """No layer needs the sequence whole: at 100 and at 20 000 steps a call adds next to nothing.

    20 000 steps of anything as wide as a layer's state would be 5 MB.
    """
    from rnnengine.bench.steady import memory

    for row in memory([100, 20_000], hidden=64):
        assert max(row["bytes"], row["stack_bytes"], row["stream_bytes"]) < 2 << 20, row


def test_long_weights_lie_on_huge_pages_where_there_are_any() -> None:
    huge = 2 << 20
    for count in (1, 1000, huge // 4 - 1, huge // 4, 5 * huge // 8 + 3):
        array = core.aligned(count)
        assert array.shape == (count,)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0
        if count * 4 >= huge and hasattr(mmap, "MADV_HUGEPAGE"):
            assert array.ctypes.data % huge == 0
        array[:] = 1.0
        assert array.sum(dtype=np.float64) == count


def test_long_weights_are_given_back() -> None:
    script = """
import resource
from rnnengine._c import core
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()
core.aligned(3 << 20)[:] = 1.0
start = resident()
for _ in range(50):
    core.aligned(3 << 20)[:] = 1.0
print(resident() - start)
kept = core.aligned((3 << 20) + 1)
kept[:] = 1.0
print(resident() - start - kept.nbytes)
"""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    given_back, beyond = map(int, out.stdout.split())
    assert given_back < 1 << 20
    assert beyond < 1 << 20
