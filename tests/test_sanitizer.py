"""The C core under the sanitizers: recorded programs, and mutants of them, stay in their buffers.

By default the scalar kernels alone are built with the sanitizer, which is a matter of seconds; with
``--full`` those of every table of this machine are.
"""

from __future__ import annotations

import platform
import re
import subprocess
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from cases import case
from conv_cases import case as convolution
from engine import load
from lowering import lowered, mixed
from operator_programs import record_operators
from random_graphs import random_graph
from rnnengine._c import cpu
from rnnengine.importers import load_graph
from stacks import stack
from vectors import VectorFile

pytestmark = pytest.mark.slow

CORE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-wrapv"]
# The kernels hold no arithmetic on sizes, and are compiled several times faster this way.
KERNELS = ["-fsanitize=address"]
RACES = ["-fsanitize=thread"]


def _compile(
    root: Path, folder: Path, all_tables: bool, core: list[str], kernels: list[str]
) -> list[str]:
    """Objects of the C core, with every table of this machine."""
    table = tomllib.loads((root / "src_c/build.toml").read_text())
    include = [f"-I{root / 'src_c'}", f"-I{root / 'src_c/include'}"]
    # Lines for the reports are enough; all of -g takes half of the compiler's time.
    common = ["cc", *table["common"]["cflags"], "-O1", "-g1", *include]
    jobs = [(source, core) for source in table["core"]["sources"]]
    for isa, entry in table["isa"].items():
        if platform.machine().lower() in entry["machines"]:
            flags = [*entry["cflags"], *(kernels if all_tables or isa == "scalar" else [])]
            jobs += [(source, flags) for source in entry["sources"]]

    def one(job: tuple[str, list[str]]) -> str:
        source, flags = job
        target = folder.parent / f"{'_'.join([source, *flags])}.o".replace("/", "_")
        if target.exists():  # both builds have the tables that no sanitizer sees
            return str(target)
        command = [*common, *flags, "-c", str(root / "src_c" / source), "-o", str(target)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return str(target)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, jobs))


def _build(
    root: Path, folder: Path, all_tables: bool, core: list[str], kernels: list[str], *names: str
) -> dict[str, Path]:
    """Programs of tests/c with the C core, under a sanitizer; skips where it is missing."""
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n")
    linked = ["cc", *core, str(probe), "-o", str(folder / "probe")]
    if (
        subprocess.run(linked, check=False, capture_output=True).returncode
        or subprocess.run([str(folder / "probe")], check=False, capture_output=True).returncode
    ):
        pytest.skip(f"this compiler or machine cannot run {core[0]}")
    objects = _compile(root, folder, all_tables, core, kernels)
    programs = {}
    for name in names:
        programs[name] = folder / name
        include = f"-I{root / 'src_c/include'}"
        source = str(root / f"tests/c/{name}.c")
        command = ["cc", "-std=c11", "-g", *core, include, source, *objects, "-lm", "-pthread"]
        subprocess.run([*command, "-o", str(programs[name])], check=True)
    return programs


@pytest.fixture(scope="module")
def drivers(
    tmp_path_factory: pytest.TempPathFactory, root: Path, request: pytest.FixtureRequest
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sanitizer")
    full = bool(request.config.getoption("--full"))
    return _build(root, folder, full, CORE, KERNELS, "replay", "mutants")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of the matrix, of random graphs and of every operator, at changing sizes."""
    vectors = VectorFile()
    isa = cpu.available()[0]
    models: list[rn.Model] = [
        load(case(seed), isa, mixed(seed)) for seed in range(800_000_000, 800_000_040)
    ]
    models += [rn.load(random_graph(seed).content) for seed in range(60)]
    models += [rn.load(convolution(seed).model(constant=seed % 2 == 0)) for seed in range(60)]
    models += [stack(seed, mixed(seed))[0] for seed in range(12)]
    models += [
        rn.Model(lowered(load_graph(convolution(seed).model()), mixed(seed)))
        for seed in range(60, 120)
        if mixed(seed) != "float32"
    ]
    rng = np.random.default_rng(0)
    for model in models:
        compiled = model._form.compiled
        symbols = [int(n) for n in rng.integers(3, 6, len(compiled.symbols))]
        inputs = []
        for value in model._form.graph.inputs:
            bound = dict(zip(compiled.symbols, symbols, strict=True))
            shape = [s if isinstance(s, int) else bound[str(s)] for s in value.type.shape]
            array: Any = rng.standard_normal(shape)
            inputs.append(np.ascontiguousarray(np.abs(array) % 2, value.type.dtype))
        vectors.add(compiled, symbols, inputs)
    record_operators(vectors)
    path = tmp_path_factory.mktemp("recorded") / "cases.vec"
    vectors.write(path)
    return path


def test_recorded_programs_touch_nothing_but_their_buffers(
    drivers: dict[str, Path], recorded: Path
) -> None:
    """On every table, with the same bits as the build under test."""
    done = _run(drivers["replay"], recorded)
    assert re.search(r"^cases [1-9]\d\d tables .*scalar different 0$", done.stdout)


def test_shared_programs_have_no_race(
    tmp_path_factory: pytest.TempPathFactory, root: Path, recorded: Path
) -> None:
    """Three threads on every instruction that can be shared: the same bits, and no data race."""
    folder = tmp_path_factory.mktemp("races")
    replay = _build(root, folder, False, RACES, RACES, "replay")["replay"]
    done = _run(replay, recorded, 3)
    assert re.search(r"^cases [1-9]\d\d tables .*scalar different 0$", done.stdout)


@pytest.mark.parametrize("seed", range(2))
def test_mutants_are_refused_or_stay_in_their_buffers(
    drivers: dict[str, Path], recorded: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    """Every table of a program is data that the C core does not trust."""
    full = bool(request.config.getoption("--full"))
    rounds = 3000 if full else 60
    number = 2 * int(request.config.getoption("--seed")) + seed
    for isa in cpu.available() if full else ["scalar"]:
        done = _run(drivers["mutants"], recorded, number, rounds, isa)
        tried, ran = (int(n) for n in re.findall(r"\d+", done.stdout))
        assert tried == int.from_bytes(recorded.read_bytes()[8:16], "little") * rounds
        assert ran > tried / 20


def _run(program: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"ASAN_OPTIONS": "allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1"},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return done
