"""Same bits on every instruction set, batch, row order and chunking: compared exactly."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import Case, case
from conv_cases import case as convolution
from engine import float_tables, load, rows, run, same_bits
from lowering import LOW_TYPES, lowered, mixed
from operator_programs import record_operators
from rnnengine._c import cpu
from rnnengine.importers import load_graph
from vectors import VectorFile

Array = np.ndarray[Any, Any]

CHUNK = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of seeds, as in the matrix; other seeds, so that more of the space is seen."""
    if "block" in metafunc.fixturenames:
        total = int(metafunc.config.getoption("--matrix-cases"))
        first = 500_000_000 + int(metafunc.config.getoption("--seed")) * 1_000_000
        blocks = [range(first + i, first + min(i + CHUNK, total)) for i in range(0, total, CHUNK)]
        some = blocks[: -(-len(blocks) // 4)]  # the other compute types share the code around them
        which = [(b, "float32") for b in blocks] + [(b, low) for low in LOW_TYPES for b in some]
        ids = [f"{b.start}-{b.stop - 1}-{kind}" for b, kind in which]
        metafunc.parametrize(("block", "compute_type"), which, ids=ids)


@pytest.mark.matrix
def test_bits_do_not_depend_on_anything(block: range, compute_type: str) -> None:
    """Kernel tables, single rows, row order and chunking into steps."""
    for seed in block:
        drawn = case(seed)
        rng = np.random.default_rng(seed)
        tables = cpu.available() if compute_type.startswith("int8") else float_tables()
        models = {isa: load(drawn, isa, compute_type) for isa in tables}
        whole = {isa: run(model, drawn.feeds) for isa, model in models.items()}
        first, *others = whole
        for isa in others:
            assert same_bits(whole[isa], whole[first]), f"{drawn}: {isa} differs from {first}"
        model = models[first]
        _check_rows(drawn, model, whole[first], rng)
        _check_chunks(drawn, model, whole[first], rng)


def _check_rows(
    drawn: Case, model: rn.Model, whole: dict[str, Array], rng: np.random.Generator
) -> None:
    """Each row alone, and all rows shuffled and repeated, give the bits of the batch."""
    spec = drawn.spec
    if not spec.symbolic or spec.batch == 0:
        return
    selections = [np.array([b]) for b in range(spec.batch)]
    selections.append(rng.permutation(spec.batch))
    selections.append(rng.integers(0, spec.batch, spec.batch + 7))
    for which in selections:
        part = run(model, rows(drawn.feeds, which, spec.layout))
        assert same_bits(part, rows(whole, which, spec.layout)), f"{drawn}: rows {which}"


def _check_chunks(
    drawn: Case, model: rn.Model, whole: dict[str, Array], rng: np.random.Generator
) -> None:
    """A stream fed in random pieces, single steps and empty ones included."""
    spec = drawn.spec
    names = set(drawn.feeds)
    if spec.batch == 0 and not spec.symbolic:
        return  # a state of no elements cannot be followed from input to output
    if spec.attrs.direction != "forward" or spec.lengths is not None or names - {"x", "h0", "c0"}:
        return
    starts = {name: drawn.feeds[name] for name in names - {"x"}}
    try:
        stream = model.stream(spec.batch if spec.symbolic else None)
    except rn.UnsupportedModelError:
        # An initial state without the final state among the outputs leaves nothing to carry on.
        assert starts and not all(spec.outputs[1:])
        return
    stream.state = starts
    time = 1 if spec.layout else 0
    cuts = np.sort(rng.integers(0, spec.steps + 1, int(rng.integers(0, spec.steps + 2))))
    pieces = np.split(drawn.feeds["x"], cuts, axis=time)
    parts = [_as_dict(model, stream, stream.step(piece)) for piece in pieces]
    if "y" in whole:
        joined = np.concatenate([part["y"] for part in parts], axis=time)
        assert same_bits({"y": joined}, {"y": whole["y"]}), f"{drawn}: chunks {cuts}"
    finals = {**parts[-1], **{n.replace("0", "_n"): v for n, v in stream.state.items()}}
    for name in ("h_n", "c_n"):
        if name in whole and name in finals:
            assert same_bits({name: finals[name]}, {name: whole[name]}), f"{drawn}: {name} {cuts}"


def _as_dict(model: rn.Model, stream: rn.Stream, result: Any) -> dict[str, Array]:
    if isinstance(result, dict):
        return result
    carried = {state.replace("0", "_n") for state in stream.state}
    left = [info.name for info in model.outputs if info.name not in carried]
    return {left[0]: result}


def _compile_replay(root: Path, folder: Path) -> Path:
    """Build the replay harness for 64-bit ARM, from the same table of sources as the package."""
    table = tomllib.loads((root / "src_c/build.toml").read_text())
    compiler = "aarch64-linux-gnu-gcc"
    flags = [*table["common"]["cflags"], *table["common"]["warnings"]]
    flags += [f"-I{root / 'src_c'}", f"-I{root / 'src_c/include'}"]
    groups = [(table["core"]["sources"], []), ([str(root / "tests/c/replay.c")], [])]
    groups += [
        (entry["sources"], entry["cflags"])
        for entry in table["isa"].values()
        if "aarch64" in entry["machines"]
    ]
    objects = []
    for sources, own in groups:
        for source in sources:
            objects.append(str(folder / f"{Path(source).stem}.o"))
            command = [compiler, *flags, *own, "-c", str(root / "src_c" / source)]
            subprocess.run([*command, "-o", objects[-1]], check=True)
    program = folder / "replay"
    subprocess.run([compiler, "-static", *objects, "-lm", "-o", str(program)], check=True)
    return program


CONVOLUTIONS = 100
"""Convolutions and pools that are replayed beside the cases of the matrix."""


def _record(count: int, first: int) -> VectorFile:
    """Record cases of the matrix and convolutions, with every input of the program fed."""
    vectors = VectorFile()
    for seed in range(CONVOLUTIONS):
        drawn_conv = convolution(seed)
        compiled = rn.load(drawn_conv.model(constant=False))._form.compiled
        vectors.add(compiled, [], list(drawn_conv.all_feeds.values()))
        if mixed(seed) != "float32":
            graph = lowered(load_graph(drawn_conv.model()), mixed(seed))
            vectors.add(rn.Model(graph)._form.compiled, [], [drawn_conv.operands[0]])
    for seed in range(first, first + count):
        drawn = case(seed)
        model = load(drawn, cpu.available()[0], mixed(seed))
        compiled = model._form.compiled
        spec = drawn.spec
        sizes = {"T": spec.steps, "B": spec.batch, "time": spec.steps}
        symbols = [sizes[name] for name in compiled.symbols]
        inputs = []
        for value in model._form.graph.inputs:
            shape = [s if isinstance(s, int) else sizes[str(s)] for s in value.type.shape]
            inputs.append(
                np.ascontiguousarray(drawn.feeds.get(value.name, np.zeros(shape, value.type.dtype)))
            )
        vectors.add(compiled, symbols, inputs)
    return vectors


def test_neon_gives_the_same_bits(
    tmp_path: Path, root: Path, request: pytest.FixtureRequest
) -> None:
    """Programs recorded here replay bit for bit on NEON and on ARM's scalar table, under qemu."""
    if not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64-static")):
        pytest.skip(
            "needs aarch64-linux-gnu-gcc and qemu-aarch64-static (Debian: "
            "gcc-aarch64-linux-gnu, qemu-user-static)"
        )
    count = max(100, int(request.config.getoption("--matrix-cases")) // 2)
    vectors = _record(count, 700_000_000)
    count += record_operators(vectors)
    vectors.write(tmp_path / "cases.vec")
    program = _compile_replay(root, tmp_path)
    command = ["qemu-aarch64-static", str(program), str(tmp_path / "cases.vec")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [
        "cases",
        str(count + CONVOLUTIONS + CONVOLUTIONS // 2),
        "tables",
        "neondot",
        "neon",
        "scalar",
        "different",
        "0",
    ]
