"""Vector headers, vector mathematics and activations: errors, special values, equal bits.

``tests/c/math_sweep.c`` is compiled once for each vector header. The scalar build is the
specification; every other one must give its bits.
"""

from __future__ import annotations

import functools
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from int8_reference import exact_fma
from rnnengine.ops.recurrent.activations import ACTIVATIONS, Activation, apply

ROOT = Path(__file__).resolve().parent.parent
Array: TypeAlias = np.ndarray[Any, Any]

ISAS = ("scalar", "avx2", "avx512", "neon")
CPU_FLAGS = {
    "avx2": {"avx2", "fma", "f16c"},
    "avx2vnni": {"avx2", "fma", "avx_vnni"},
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    "avx512vnni": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
    "avx512amx": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "amx_int8"},
}
STRIDE, EMULATED_STRIDE = 1009, 40009  # primes, so that every bit of a pattern takes part
# Largest error in ULP over all 2^32 inputs, rounded up; measured by the exhaustive sweep.
FUNCTION_LIMITS = {
    "exp": 1.02,
    "exp_nonpos": 1.02,
    "expm1": 2.6,
    "sigmoid": 1.75,
    "tanh": 1.95,
    "log1p_unit": 1.98,
    "log": 1.98,
    "erf": 1.11,
}


@dataclass(frozen=True)
class Driver:
    """A compiled ``math_sweep``: the command that starts it, and whether a CPU is emulated."""

    command: tuple[str, ...]
    emulated: bool

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [*self.command, *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def text(self, *arguments: object) -> str:
        command = [*self.command, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def floats(self, values: Array, *arguments: object) -> Array:
        """Send float32 to standard input and read float32 from standard output."""
        command = [*self.command, *map(str, arguments)]
        data = np.ascontiguousarray(values, np.float32).tobytes()
        done = subprocess.run(command, input=data, capture_output=True, check=True)
        return np.frombuffer(done.stdout, np.float32)


def reported(line: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", line))


def host_flags() -> set[str]:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.exists() else ""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def toolchain(name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Compiler, further flags and the prefix of the command; skips where there is none."""
    compiler, machine = os.environ.get("CC", "cc"), platform.machine().lower()
    if shutil.which(compiler) is None:
        pytest.skip(f"no C compiler {compiler!r}")
    if name in ("neon", "neondot") and machine not in ("aarch64", "arm64"):
        compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
        if not (shutil.which(compiler) and shutil.which(emulator)):
            pytest.skip(f"64-bit ARM: {compiler} and {emulator} are needed and not both installed")
        return compiler, ("-static",), (emulator,)
    if name in CPU_FLAGS and machine not in ("x86_64", "amd64"):
        pytest.skip(f"{name} is not an instruction set of {machine}")
    missing = CPU_FLAGS.get(name, set()) - host_flags()
    if missing:
        pytest.skip(f"this CPU lacks {', '.join(sorted(missing))}")
    return compiler, (), ()


@pytest.fixture(scope="session")
def driver_for(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Driver]:
    folder = tmp_path_factory.mktemp("math")
    table = tomllib.loads((ROOT / "src_c" / "build.toml").read_text(encoding="utf-8"))

    @functools.cache
    def build(name: str) -> Driver:
        compiler, extra, prefix = toolchain(name)
        target = folder / name
        command = [
            compiler,
            *table["common"]["cflags"],
            *table["common"]["warnings"],
            *table["isa"][name]["cflags"],
            *extra,
            f"-I{ROOT / 'src_c'}",
            f'-DISA_HEADER="simd/{name}.h"',
            str(ROOT / "tests" / "c" / "math_sweep.c"),
            "-o",
            str(target),
            "-lm",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return Driver((*prefix, str(target)), bool(prefix))

    return build


@pytest.fixture(params=ISAS)
def driver(request: pytest.FixtureRequest, driver_for: Callable[[str], Driver]) -> Driver:
    return driver_for(request.param)


@pytest.fixture
def scalar(driver_for: Callable[[str], Driver]) -> Driver:
    return driver_for("scalar")


def canonical(values: Array) -> Array:
    """Bits, all NaN made the same."""
    return np.where(np.isnan(values), np.uint32(0x7FC00000), values.view(np.uint32))


def ulp(size: Array) -> Array:
    """Unit in the last place of a float32 of this size."""
    return np.asarray(np.ldexp(1.0, np.clip(np.frexp(size)[1], -125, 128) - 24))


def distance(got: Array, exact: Array) -> Array:
    """|got - exact|, 0 where got is the nearest float32; infinity stands for 2^128."""
    low, high = -(2.0**128), 2.0**128
    same = (got == exact) | (got == exact.astype(np.float32))
    apart = np.abs(np.clip(got.astype(np.float64), low, high) - np.clip(exact, low, high))
    return np.where(same, 0.0, apart)


# ---- the headers --------------------------------------------------------------------------------

SPECIAL = np.array(
    [
        *(0.0, 1.0, 1.5, 2.0, 3.0, 0.1, 1e-20, 1e20, 2.0**-126, 2.0**-149, 1.17e-38),
        *(2.0**24 + 2, 8388609.0, float(np.finfo(np.float32).max), np.inf, np.nan),
        *(1.0 + 2.0**-23, 1.0 - 2.0**-24),
    ],
    np.float32,
)


def on_bits(function: Callable[..., Array]) -> Callable[..., Array]:
    """Integer arithmetic on the bits of the operands, wrapping."""
    return lambda *operands: function(*(v.view(np.int32) for v in operands)).view(np.float32)


# How many of a, b, c an operation reads, and what it computes of them.
OPERATIONS: dict[str, tuple[int, Callable[..., Array]]] = {
    "add": (2, np.add),
    "sub": (2, np.subtract),
    "mul": (2, np.multiply),
    "div": (2, np.divide),
    "sqrt": (1, np.sqrt),
    "fma": (3, exact_fma),
    "fnma": (3, lambda a, b, c: exact_fma(-a, b, c)),
    "neg": (1, np.negative),
    "abs": (1, np.abs),
    "keep": (1, lambda a: a),
    "copysign": (2, np.copysign),
    "lt": (2, np.less),
    "le": (2, np.less_equal),
    "gt": (2, np.greater),
    "eq": (2, np.equal),
    "isnan": (1, np.isnan),
    "select": (3, lambda a, b, c: np.asarray(np.where(a < b, c, a))),
    "min": (2, lambda a, b: np.asarray(np.where(a < b, a, b))),
    "max": (2, lambda a, b: np.asarray(np.where(a > b, a, b))),
    "mask_and": (3, lambda a, b, c: (a < b) & (b < c)),
    "mask_or": (3, lambda a, b, c: (a < b) | (b < c)),
    "bits_add": (2, on_bits(np.add)),
    "bits_sub": (2, on_bits(np.subtract)),
    "bits_shl": (1, on_bits(lambda a: a << 23)),
    "bits_sar": (1, on_bits(lambda a: a >> 5)),
    "bits_and": (1, on_bits(lambda a: a & np.int32(-0x10000))),
    "bits_pairs": (1, on_bits(lambda a: a << 16)),
    "wide_f16": (1, lambda a: a.view(np.float16)[::2].astype(np.float32)),
    "bits_set1": (1, on_bits(lambda a: a - np.int32(7))),
    "bits_mul": (2, on_bits(np.multiply)),
    "bits_max": (2, on_bits(np.maximum)),
    "bits_memory": (1, on_bits(lambda a: a)),
    "bits_to_float": (1, lambda a: a.view(np.int32).astype(np.float32)),
}
# These move bits, so a NaN keeps its sign and payload.
BIT_EXACT = {"neg", "abs", "keep", "copysign", "select", "min", "max"} | {
    name for name in OPERATIONS if name.startswith("bits_")
}


@pytest.fixture(scope="module")
def triples() -> Array:
    """Every triple of the special values of both signs, and random bit patterns."""
    signed = np.concatenate([SPECIAL, -SPECIAL])
    product = np.array(list(itertools.product(signed, repeat=3)), np.float32)
    bits = np.random.default_rng(7).integers(0, 2**32, (20011, 3), np.uint32)
    return np.concatenate([product, bits.view(np.float32)])


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation(name: str, driver: Driver, triples: Array) -> None:
    got = driver.floats(triples, "op", name)
    count, function = OPERATIONS[name]
    with np.errstate(all="ignore"):
        expected = np.asarray(function(*np.ascontiguousarray(triples.T)[:count]), np.float32)
    if name in BIT_EXACT:
        wrong = np.flatnonzero(got.view(np.uint32) != expected.view(np.uint32))
    else:
        wrong = np.flatnonzero(canonical(got) != canonical(expected))
    first = [(triples[i], got[i], expected[i]) for i in wrong[:3]]
    assert wrong.size == 0, (
        f"{name}: {wrong.size} results differ, (a, b, c), got, expected: {first}"
    )


def test_every_half_is_widened_exactly(driver: Driver) -> None:
    halves = np.arange(2**16, dtype=np.uint32)
    triples = np.repeat(halves[:, None], 3, axis=1).view(np.float32)
    expected = halves.astype(np.uint16).view(np.float16).astype(np.float32)
    assert np.array_equal(canonical(driver.floats(triples, "op", "wide_f16")), canonical(expected))


def test_every_operation_of_the_driver_is_tested(scalar: Driver) -> None:
    assert set(scalar.text("ops").split()) == set(OPERATIONS)


def test_partial_vectors_touch_nothing_else(driver: Driver) -> None:
    assert reported(driver.text("lanes"))["faults"] == "0"


def test_headers_define_the_same_names() -> None:
    pattern = r"^VF_INLINE \S+ ((?:vf|vi|vm)_\w+)\(|^typedef .* (\w+);|^#define (VF_\w+)"
    names = {
        isa: set(re.findall(pattern, (ROOT / f"src_c/simd/{isa}.h").read_text(), re.MULTILINE))
        - {("vf_lanes_below", "", "")}
        for isa in ISAS
    }
    assert all(names[isa] == names["scalar"] for isa in ISAS), names
    used = "".join(path.read_text() for path in (ROOT / "src_c/kernels").glob("*.h"))
    functions = [name for name, *_ in names["scalar"] if name]
    assert [name for name in functions if not re.search(rf"\b{name}\b", used)] == []


# ---- functions over all inputs ------------------------------------------------------------------


def check_report(report: dict[str, str], function: str) -> None:
    assert float(report["max_ulp"]) <= FUNCTION_LIMITS[function], report
    assert (report["bound"], report["nan"], report["odd"]) == ("0", "0", "0"), report


@pytest.mark.parametrize("function", FUNCTION_LIMITS)
def test_function_on_a_sample_of_all_inputs(function: str, driver: Driver, scalar: Driver) -> None:
    stride = EMULATED_STRIDE if driver.emulated else STRIDE
    report = reported(driver.text("sweep", function, stride, 0, 0, 1))
    assert int(report["count"]) > 2**29 // stride
    check_report(report, function)
    expected = reported(scalar.text("sweep", function, stride, 0, 0, 1, "hash"))
    assert report["hash"] == expected["hash"]


def test_every_function_of_the_driver_is_tested(scalar: Driver) -> None:
    assert scalar.text("functions").split() == list(FUNCTION_LIMITS)


@pytest.mark.exhaustive
@pytest.mark.parametrize("function", FUNCTION_LIMITS)
@pytest.mark.parametrize("isa_name", ["scalar", "avx2", "avx512"])
def test_function_on_all_inputs(
    function: str, isa_name: str, driver_for: Callable[[str], Driver], scalar_hashes: HashCache
) -> None:
    driver = driver_for(isa_name)
    running = [driver.start("sweep", function, 1, 0, part, 2) for part in (0, 1)]
    reports = [reported(process.communicate()[0]) for process in running]
    for report in reports:
        check_report(report, function)
    assert [report["hash"] for report in reports] == scalar_hashes(function)


HashCache: TypeAlias = Callable[[str], list[str]]


@pytest.fixture(scope="session")
def scalar_hashes(driver_for: Callable[[str], Driver]) -> HashCache:
    """Hashes of both halves of all results of the scalar build."""

    @functools.cache
    def hashes(function: str) -> list[str]:
        driver = driver_for("scalar")
        running = [driver.start("sweep", function, 1, 0, part, 2, "hash") for part in (0, 1)]
        return [reported(process.communicate()[0])["hash"] for process in running]

    return hashes


def test_coefficients_are_those_of_the_fit() -> None:
    pytest.importorskip("mpmath")
    tool = ROOT / "tools" / "fit_math.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---- activations --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Parameters to test and the error allowed, in ULP of the result.

    With ``of_x``, in ULP of the larger of argument and 1. An intermediate result may be denormal,
    which costs up to ``denormal`` times the smallest denormal more.
    """

    ulps: float
    parameters: tuple[tuple[float, ...], ...] = ((),)
    of_x: bool = False
    denormal: float = 0.0


CASES: dict[str, Case] = {
    "identity": Case(0),
    "tanh": Case(1.95),
    "sigmoid": Case(1.75),
    "relu": Case(0),
    "relu_keras": Case(
        1.5,
        ((0, np.inf, 0), (0, 6, 0), (0.25, np.inf, 0), (0.1, 3, 1), (0, 2, -1), (0, np.inf, -1)),
    ),
    "leaky_relu": Case(0.5, ((0.01,), (0.25,), (-0.5,), (2,))),
    "thresholded_relu": Case(0, ((1,), (0,), (-0.5,))),
    "affine": Case(0.5, ((2, -1), (-0.3, 0.7))),
    "scaled_tanh": Case(3.5, ((1.7159, 0.6666667), (-2, 0.1))),
    "hard_sigmoid": Case(0.5, ((0.2, 0.5), (1 / 6, 0.5), (-0.4, 0.3))),
    "elu": Case(3.5, ((1,), (0.3,), (-2,))),
    "softsign": Case(1.5),
    "softplus": Case(3.5),
    "selu": Case(3.5),
    "celu": Case(3.5, ((1,), (0.25,), (7,), (-1,)), denormal=10),
    "silu": Case(3, denormal=64),
    "hard_silu": Case(2.5),
    "gelu": Case(1.5, of_x=True),
    "gelu_tanh": Case(2, of_x=True),
    "mish": Case(4, denormal=64),
    "exponential": Case(1.02),
    "hard_tanh": Case(0),
    "tanh_shrink": Case(1, of_x=True),
    "soft_shrink": Case(0.5, ((0.5,), (0,), (2,))),
    "hard_shrink": Case(0, ((0.5,), (0,), (2,))),
    "squareplus": Case(3, ((4,), (0,), (0.01,), (1e6,))),
    "sparse_plus": Case(2),
    "sparse_sigmoid": Case(0.5),
    "log_sigmoid": Case(3.5),
    "threshold": Case(0, ((0.5, -3), (0, 0), (-1, 20))),
    "log": Case(1.98),
    "sqrt": Case(0.5),
    "neg": Case(0),
    "abs": Case(0),
    "reciprocal": Case(0.5),
    "erf": Case(1.11),
    "shrink": Case(0.5, ((0.5, 0), (0.5, 0.5), (1, -2))),
    "sign": Case(0),
    "floor": Case(0),
    "ceil": Case(0),
    "round": Case(0),
    "sin": Case(0.51),
    "cos": Case(0.51),
    "tan": Case(0.51),
    "asin": Case(0.51),
    "acos": Case(0.51),
    "atan": Case(0.51),
    "sinh": Case(0.51),
    "cosh": Case(0.51),
    "asinh": Case(0.51),
    "acosh": Case(0.51),
    "atanh": Case(0.51),
}
EDGES = (
    *(
        -110,
        -104,
        -103.97,
        -103.28,
        -88.8,
        -87.34,
        -20,
        -18,
        -16.64,
        -9.02,
        -6,
        -5.6,
        -3.95,
        -3,
        -2,
    ),
    *(
        -1,
        -0.9,
        -0.6931472,
        -0.5,
        -0.34657359,
        0.34657359,
        0.5,
        0.6931472,
        0.70710678,
        0.9,
        1,
        1.4142,
    ),
    *(2, 3, 3.95, 5.6, 6, 8.32, 9.02, 10, 16.64, 18, 20, 88, 88.72284, 88.9, 2.0**60, 2.0**64),
)


def identifiers() -> dict[str, int]:
    text = (ROOT / "src_c" / "core" / "activation.h").read_text(encoding="utf-8")
    return {n.lower(): int(v) for n, v in re.findall(r"\bRNNE_ACT_(\w+) = (\d+),", text)}


@pytest.fixture(scope="module")
def arguments() -> Array:
    """A grid, all binades of both signs, the neighbourhood of every seam, special values."""
    edges = np.array(EDGES, np.float32)
    around = [edges]
    for direction in (-np.inf, np.inf):
        moved = edges
        for _ in range(2):
            moved = np.nextafter(moved, np.float32(direction))
            around.append(moved)
    binades = np.float32(1.37) * np.ldexp(np.float32(1), np.arange(-149, 128)).astype(np.float32)
    dense = np.linspace(-13, 13, 5003, dtype=np.float32)
    random = np.random.default_rng(11).integers(0, 2**32, 20011, np.uint32).view(np.float32)
    return np.concatenate([*around, binades, -binades, SPECIAL, -SPECIAL, dense, random])


@pytest.mark.parametrize("name", CASES)
def test_activation(name: str, driver: Driver, scalar: Driver, arguments: Array) -> None:
    case, number = CASES[name], identifiers()[name]
    for parameters in case.parameters:
        activation = Activation(name, *parameters)
        held = (activation.alpha, activation.beta, activation.gamma)
        got = driver.floats(arguments, "apply", number, *held)
        with np.errstate(invalid="ignore", over="ignore"):  # some of the NaN are signalling
            exact = apply(activation, arguments)
            size = np.maximum(np.abs(arguments), 1.0) if case.of_x else np.abs(exact)
            allowed = case.ulps * ulp(size) + case.denormal * 2.0**-149
            far = distance(got, exact) > allowed
        wrong = np.flatnonzero((np.isnan(got) != np.isnan(exact)) | far)
        first = [(arguments[i], got[i], exact[i]) for i in wrong[:4]]
        assert wrong.size == 0, f"{activation}: {wrong.size} wrong; x, got, exact: {first}"
        assert np.isnan(got[np.isnan(arguments)]).all()
        specified = scalar.floats(arguments, "apply", number, *held)
        assert np.array_equal(canonical(got), canonical(specified)), f"{activation}: bits differ"


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])
def test_length_changes_no_bit(length: int, driver: Driver, arguments: Array) -> None:
    number = identifiers()["tanh"]
    whole = driver.floats(arguments, "apply", number, 0, 0, 0)
    part = driver.floats(arguments[:length], "apply", number, 0, 0, 0)
    assert np.array_equal(canonical(part), canonical(whole[:length]))


def test_zeros_keep_their_sign(driver: Driver) -> None:
    zeros = np.array([0.0, -0.0], np.float32)
    for name in (
        "tanh",
        "erf",
        "relu",
        "identity",
        "leaky_relu",
        "elu",
        "softsign",
        "hard_tanh",
        "sign",
        "floor",
        "ceil",
        "round",
    ):
        got = driver.floats(zeros, "apply", identifiers()[name], 0.5, 0, 0)
        assert np.array_equal(got.view(np.uint32), zeros.view(np.uint32)), name


def test_every_activation_is_numbered_defined_and_tested() -> None:
    numbers = identifiers()
    assert numbers.pop("count") == len(numbers)
    assert sorted(numbers.values()) == list(range(len(numbers)))
    assert list(numbers) == list(ACTIVATIONS) == list(CASES)
