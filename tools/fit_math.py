"""Fit the polynomials of ``src_c/kernels/math.inc.h`` and print them as C.

Each is a weighted minimax fit: Remez exchange on a grid, functions taken from mpmath. Coefficients
are rounded to float32 one at a time, lowest power first, and the rest are fitted again after each,
so that what follows a rounding makes it good.

``--check`` compares with the header instead of printing, and fails if a coefficient differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import mpmath
import numpy as np

HEADER = Path(__file__).resolve().parent.parent / "src_c" / "kernels" / "math.inc.h"
GRID = 1500
LN2 = float(mpmath.log(2))

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Function: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class Fit:
    """Coefficients named ``prefix + k`` of t**k for ``target(x)``, with t = x or x**2.

    The fit minimises the largest ``weight(x) * |polynomial - target(x)|`` over the interval. The
    ``known`` coefficients, lowest powers first, are given and not printed.
    """

    prefix: str
    degree: int
    interval: tuple[float, float]
    target: Function
    weight: Function
    even: bool = False
    known: tuple[float, ...] = ()


def _tanh_weight(r: Any) -> Any:
    """Error relative to tanh; at the end of the interval 1 - tanh(r) enlarges it, so 9 times."""
    return r**3 / mpmath.tanh(r) * (1 + 8 * (r / LN2) ** 16)


FITS = (
    # exp(r) = 1 + r E(r); the error is relative to exp(r).
    Fit(
        "EXP_C",
        5,
        (-LN2 / 2 * 1.0001, LN2 / 2 * 1.0001),
        lambda r: mpmath.expm1(r) / r,
        lambda r: r / mpmath.exp(r),
        known=(1.0,),
    ),
    # tanh(r) = r + r**3 T(r**2).
    Fit(
        "TANH_C",
        4,
        (1e-3, LN2 * 1.0001),
        lambda r: (mpmath.tanh(r) - r) / r**3,
        _tanh_weight,
        even=True,
    ),
    # 2 atanh(s) = 2 s + s**3 L(s**2); relative error.
    Fit(
        "LOG_C",
        3,
        (1e-3, 1.0001 / 3),
        lambda s: 2 * (mpmath.atanh(s) - s) / s**3,
        lambda s: s**3 / (2 * mpmath.atanh(s)),
        even=True,
    ),
    # erf(x) = x + x S(x**2) up to 0.9; relative error.
    Fit(
        "ERF_S",
        5,
        (1e-3, 0.9001),
        lambda x: mpmath.erf(x) / x - 1,
        lambda x: x / mpmath.erf(x),
        even=True,
    ),
    # erf(x) = 1 - exp(-G(x)) from 0.9 on; relative error.
    Fit(
        "ERF_G",
        6,
        (0.8999, 3.95),
        lambda x: -mpmath.log(mpmath.erfc(x)),
        lambda x: mpmath.erfc(x) / mpmath.erf(x),
    ),
)


def peaks_of(error: Array, wanted: int) -> np.ndarray[Any, Any]:
    """Grid positions of the largest error of each run of one sign; the smallest ends dropped."""
    starts = np.flatnonzero(np.diff(np.sign(error))) + 1
    runs = np.split(np.arange(len(error)), starts)
    peaks = [int(run[np.argmax(np.abs(error[run]))]) for run in runs]
    while len(peaks) > wanted:
        del peaks[0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1]
    return np.array(peaks)


def minimax(basis: Array, target: Array) -> Array:
    """Return the x that minimises the largest ``abs(basis @ x - target)``, by Remez exchange.

    Parameters
    ----------
    basis : float64 array [grid, n]
        Weighted basis functions, a Chebyshev system on the grid.
    target : float64 array [grid]
        Weighted function.

    Returns
    -------
    float64 array [n]
    """
    unknowns = basis.shape[1]
    at = np.round(np.linspace(0, len(target) - 1, unknowns + 1)).astype(int)
    level = (-1.0) ** np.arange(unknowns + 1)
    for _ in range(50):
        solution = np.linalg.solve(np.column_stack([basis[at], level]), target[at])[:-1]
        peaks = peaks_of(basis @ solution - target, unknowns + 1)
        if len(peaks) <= unknowns or np.array_equal(peaks, at):
            break
        at = peaks
    return solution


def fit(job: Fit) -> tuple[list[float], float]:
    """Fit one polynomial.

    Returns
    -------
    coefficients : list of float
        All of them, the known ones first, each exactly a float32.
    error : float
        Largest weighted error over the interval after rounding.
    """
    low, high = job.interval
    x = (low + high) / 2 - (high - low) / 2 * np.cos(np.linspace(0.0, np.pi, GRID))
    weight = np.array([float(job.weight(mpmath.mpf(v))) for v in x])
    target = weight * np.array([float(job.target(mpmath.mpf(v))) for v in x])
    powers = (x * x if job.even else x)[:, None] ** np.arange(job.degree + 1)
    basis = weight[:, None] * powers
    found = list(job.known)
    while len(found) <= job.degree:
        rest = target - basis[:, : len(found)] @ np.array(found)
        found.append(float(np.float32(minimax(basis[:, len(found) :], rest)[0])))
    return found, float(np.max(np.abs(basis @ np.array(found) - target)))


def main() -> int:
    """Print or check all coefficients; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the header")
    check = parser.parse_args().check
    pattern = r"^#define (\w+) (-?0x[0-9a-f.]+p[+-]?\d+)f"
    stored = dict(re.findall(pattern, HEADER.read_text(encoding="utf-8"), re.MULTILINE))
    faults = 0
    mpmath.mp.dps = 40
    for job in FITS:
        coefficients, error = fit(job)
        if not check:
            print(f"/* largest weighted error 2^{np.log2(error):.2f} */")
        for k, value in list(enumerate(coefficients))[len(job.known) :]:
            name = f"{job.prefix}{k}"
            if not check:
                print(f"#define {name} {c_float(value)}")
            elif name not in stored or float.fromhex(stored[name]) != value:
                print(
                    f"{name}: fitted {c_float(value)}, header {stored.get(name)}", file=sys.stderr
                )
                faults += 1
    return 1 if faults else 0


def c_float(value: float) -> str:
    """Hexadecimal C literal of a float32 value."""
    mantissa, exponent = value.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}f"


if __name__ == "__main__":
    sys.exit(main())
