"""int8 products of every table against the specification in int8_reference.py, bit for bit.

``tests/c/int8_products.c`` is compiled once for each table, with its kernels alone.
"""

from __future__ import annotations

import functools
import struct
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import int8_reference as ref
from rnnengine._c import cpu
from test_math import ROOT, canonical, toolchain

Array = np.ndarray[Any, Any]
Runner = Callable[["list[Case]"], "list[list[Array]]"]

TABLES = ("scalar", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512amx", "neon", "neondot")
BESIDE = {"avx512amx": "isa/int8_avx512vnni.c"}  # tables whose kernels another one calls


@dataclass(frozen=True)
class Case:
    """One matrix and the rows it is multiplied with."""

    matrix: ref.Matrix
    bias: Array  # [G, U]
    rows: Array  # [R, K]
    bits: int
    bounded: bool = False
    panels: tuple[int, int] | None = None

    @property
    def panel_range(self) -> tuple[int, int]:
        """The panels that are asked for: all of them unless said."""
        return self.panels or (0, -(-self.matrix.q.shape[1] // ref.PANEL))

    def encoded(self) -> bytes:
        """The case as the harness reads it."""
        gates, units, k = self.matrix.q.shape
        zero = self.matrix.zero
        fields = [gates, units, k, len(self.rows), self.bits, self.bounded, zero is not None]
        arrays = [
            ref.pack_weights(self.matrix),
            ref.pack_units(self.matrix.scale),
            ref.pack_offsets(self.matrix),
            ref.pack_units(np.zeros((0, 0), np.int32) if zero is None else zero.astype(np.int32)),
            ref.pack_units(self.bias),
            np.ascontiguousarray(self.rows, np.float32),
        ]
        head = struct.pack("<10q", *fields, units, *self.panel_range)
        return head + b"".join(array.tobytes() for array in arrays)

    def expected(self) -> list[Array]:
        """What the specification says: the sums, and the outputs of a matrix of one gate."""
        integers, scale = ref.quantize(self.rows, self.bits, self.bounded)
        full = ref.product(self.matrix, integers, scale, self.bias[None])
        begin, end = (16 * edge for edge in self.panel_range)
        part = np.broadcast_to(self.bias[None], full.shape).copy()
        part[:, :, begin:end] = full[:, :, begin:end]
        return [part, full[:, 0]] if len(self.bias) == 1 else [part]

    def decoded(self, data: Array) -> tuple[list[Array], Array]:
        """Results from the head of the harness's output, and what is left of it."""
        gates, units, _ = self.matrix.q.shape
        panels, rows = -(-units // ref.PANEL), len(self.rows)
        size = panels * rows * gates * ref.PANEL
        sums = data[:size].reshape(panels, rows, gates, ref.PANEL)
        found, data = [ref.unpack_panels(sums, units)], data[size:]
        if gates == 1:
            found.append(data[: rows * units].reshape(rows, units))
            data = data[rows * units :]
        return found, data


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Runner]:
    folder = tmp_path_factory.mktemp("int8")
    build_table = tomllib.loads((ROOT / "src_c" / "build.toml").read_text(encoding="utf-8"))

    @functools.cache
    def compiled(name: str) -> Runner:
        compiler, extra, prefix = toolchain(name)
        if name in BESIDE and name not in cpu.available():
            pytest.skip(f"the system does not let this process use the registers of {name}")
        command = [compiler, *build_table["common"]["cflags"], *build_table["common"]["warnings"]]
        # The package's own objects are compared in test_int8_engine.py; -O1 compiles twice as fast.
        command += [*build_table["isa"][name]["cflags"], *extra, "-Wno-unused-function", "-O1"]
        command += [f"-I{ROOT / 'src_c'}", f"-I{ROOT / 'src_c/include'}"]
        command += [f'-DINT8_SOURCE="isa/int8_{name}.c"', f"-DINT8_TABLE=rnne_int8_{name}"]
        target = folder / name
        sources = ["tests/c/int8_products.c", "src_c/core/os_posix.c"]
        sources += [f"src_c/{BESIDE[name]}"] if name in BESIDE else []
        command += [str(ROOT / source) for source in sources]
        command += ["-pthread", "-o", str(target), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return lambda cases: run((*prefix, str(target)), cases)

    return compiled


def run(command: tuple[str, ...], cases: list[Case]) -> list[list[Array]]:
    """All cases through one start of the harness."""
    given = b"".join(case.encoded() for case in cases)
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    data = np.frombuffer(done.stdout, np.float32)
    results = []
    for case in cases:
        found, data = case.decoded(data)
        results.append(found)
    assert data.size == 0
    return results


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, build: Callable[[str], Runner]) -> Runner:
    return build(request.param)


def draw(rng: np.random.Generator, **fixed: Any) -> Case:
    """Any small case; `fixed` holds what is not to be drawn."""
    shape = {
        "gates": int(rng.integers(1, 5)),
        "units": int(rng.choice([1, 7, 16, 33, 80, 129])),
        "k": int(rng.choice([1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 100, 255, 256, 257])),
        "rows": int(rng.choice([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13])),
        "zero": bool(rng.integers(0, 4) == 0),
        "bits": int(rng.choice([8, 16])),
    } | fixed
    outputs = (shape["gates"], shape["units"])
    q = rng.integers(-128 if shape["zero"] else -127, 128, (*outputs, shape["k"]))
    zero = rng.integers(-128, 128, outputs) if shape["zero"] else None
    scale = np.exp(rng.normal(-5, 2, outputs)).astype(np.float32)
    rows = rng.normal(0, 1, (shape["rows"], shape["k"])).astype(np.float32)
    rows *= np.exp(rng.normal(0, 3, (shape["rows"], 1))).astype(np.float32)
    panels = -(-shape["units"] // ref.PANEL)
    begin = int(rng.integers(0, panels))
    return Case(
        ref.Matrix(q, scale, zero),
        rng.normal(0, 1, outputs).astype(np.float32),
        rows,
        shape["bits"],
        bounded=bool(rng.integers(0, 2)),
        panels=(begin, int(rng.integers(begin, panels + 1))),
    )


def check(table: Runner, cases: list[Case]) -> None:
    """Every output has the bits of the specification; NaN is NaN."""
    for number, (case, found) in enumerate(zip(cases, table(cases), strict=True)):
        for got, expected in zip(found, case.expected(), strict=True):
            assert got.shape == expected.shape
            shape, rows = case.matrix.q.shape, case.rows.shape[0]
            same = canonical(got.ravel()) == canonical(expected.ravel())
            assert same.all(), f"case {number}: {shape}, {rows} rows, {case.bits} bits"


@pytest.mark.parametrize("bits", [8, 16])
def test_drawn_products(table: Runner, bits: int) -> None:
    rng = np.random.default_rng(bits)
    check(table, [draw(rng, bits=bits) for _ in range(120)])


@pytest.mark.parametrize("bits", [8, 16])
def test_every_block_shape(table: Runner, bits: int) -> None:
    """Rows 1 to 17 of every number of gates, with panels left over."""
    rng = np.random.default_rng(11)
    shapes = [(gates, rows) for gates in (1, 2, 3, 4) for rows in range(1, 18)]
    check(table, [draw(rng, bits=bits, gates=g, rows=r, units=144, k=20) for g, r in shapes])


@pytest.mark.parametrize("bits", [8, 16])
def test_many_rows(table: Runner, bits: int) -> None:
    """More rows than any block has, of one and more blocks of k, whole and not."""
    rng = np.random.default_rng(12)
    shapes = [(4, 33, 64), (3, 48, 512), (2, 65, 600), (1, 100, 1088), (1, 31, 130), (3, 17, 257)]
    check(table, [draw(rng, bits=bits, gates=g, rows=r, units=40, k=k) for g, r, k in shapes])


@pytest.mark.parametrize("k", [511, 512, 513, 1024, 1026, 4096])
def test_sums_do_not_overflow(table: Runner, k: int) -> None:
    """The largest sums of either sign: every weight -128 or 127, every activation the largest."""
    cases = []
    for weight in (-128, 127):
        for zero in (None, -128, 127):
            for bits in (8, 16):
                q = np.full((1, 33, k), weight)
                point = None if zero is None else np.full((1, 33), zero)
                matrix = ref.Matrix(q, np.full((1, 33), 0.25, np.float32), point)
                rows = np.stack([np.full(k, 3.0), np.full(k, -3.0), np.resize([3.0, -3.0], k)])
                bias = np.zeros((1, 33), np.float32)
                cases.append(Case(matrix, bias, rows.astype(np.float32), bits))
    check(table, cases)


SPOILT = (np.nan, np.inf, -np.inf)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_row_that_is_not_finite_spoils_itself_alone(table: Runner, bits: int) -> None:
    rng = np.random.default_rng(3)
    for value in SPOILT:
        clean = replace(draw(rng, bits=bits, rows=7, units=33, k=70), panels=None)
        rows = clean.rows.copy()
        rows[4, 69] = value
        before, after = table([clean, replace(clean, rows=rows)])
        assert np.isnan(after[0][4]).all()
        others = [0, 1, 2, 3, 5, 6]
        assert np.array_equal(before[0][others].view(np.int32), after[0][others].view(np.int32))


@pytest.mark.parametrize("bits", [8, 16])
def test_extreme_rows(table: Runner, bits: int) -> None:
    """Zeros of both signs, subnormals, tiny and huge rows, and rows at the edge of a range."""
    rng = np.random.default_rng(5)
    largest = float(np.finfo(np.float32).max)
    scales = [0.0, -0.0, 2.0**-149, 2.0**-126, 2.0**-101, 2.0**-100, 2.0**-99, 1e-10, 1.0]
    scales += [np.nextafter(np.float32(1), np.float32(2)), 50.0, 1e30, largest]
    unit = rng.uniform(-1, 1, (len(scales), 40)).astype(np.float32)
    unit[:, 17] = 1.0
    with np.errstate(under="ignore"):
        rows = (unit * np.array(scales)[:, None]).astype(np.float32)
    for bounded in (False, True):
        case = replace(draw(rng, bits=bits, k=40, units=33), rows=rows, bounded=bounded)
        tiny = replace(case.matrix, scale=np.full_like(case.matrix.scale, 2.0**-120))
        check(table, [case, replace(case, matrix=tiny)])


def test_other_rows_change_nothing(table: Runner) -> None:
    """The neighbour test: other rows 50 times larger, no bit of a row changes."""
    rng = np.random.default_rng(9)
    for bits in (8, 16):
        for gates in (1, 2, 3, 4):
            case = draw(rng, bits=bits, gates=gates, rows=9, units=80, k=100)
            rows = case.rows * np.float32(50)
            rows[3] = case.rows[3]
            alone = replace(case, rows=case.rows[3:4])
            results = table([case, replace(case, rows=rows), alone])
            first, second, third = (found[0].view(np.int32) for found in results)
            assert np.array_equal(first[3], second[3])
            assert np.array_equal(first[3], third[0])


def test_ties_are_rounded_to_even(table: Runner) -> None:
    """Activations that fall between two integers, each in a column of its own."""
    k = 127
    rows = (np.arange(k, dtype=np.float32) + np.float32(0.5))[None, :].copy()
    rows[0, -1] = 127.0
    q = np.zeros((1, k, k), np.int64)
    q[0, np.arange(k), np.arange(k)] = 1
    matrix = ref.Matrix(q, np.ones((1, k), np.float32))
    case = Case(matrix, np.zeros((1, k), np.float32), rows, 8)
    [found] = table([case])
    assert np.array_equal(found[0][0, 0], np.rint(rows[0].astype(np.float64)))
    check(table, [case])


def test_file_of_every_table(root: Path) -> None:
    """No table is forgotten here."""
    files = {path.stem for path in (root / "src_c/isa").glob("int8_*.c")}
    assert files == {f"int8_{name}" for name in TABLES}
