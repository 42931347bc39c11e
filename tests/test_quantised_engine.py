"""Models that were quantised before, on the engine as they came: int8, activations in 16 bits.

Held against float64 on the numbers that the integers stand for, beside what the framework that made
the file computes of it. A bound of 1e-4 * max(1, max|y|) is what 16 bits may do: half a step is
2^-16 of a row's range, and the products of these small layers add up a few dozen of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from golden_files import FILES, Golden, load, outputs
from rnnengine._c import cpu

Array = np.ndarray[Any, Any]

BOUND = 1e-4
AHEAD = 20
"""How much closer to float64 than the framework, in the root of the mean square."""

STORED = {name: one for name, one in FILES.items() if "compute_type" in one.arguments}
ROUNDING = {name for name in STORED if "_static" in name}
FLOAT_LAYERS = {name for name in STORED if name.startswith(("quantised/gru_", "quantised/rnn_"))}
"""quantize_dynamic leaves GRU and RNN in float32, so only the product after them is rounded."""


def words(one: Golden) -> dict[str, Any]:
    """What its manifest says of a golden file, without asking for float32 numbers."""
    arguments: dict[str, Any] = {k: v for k, v in one.arguments.items() if k != "compute_type"}
    if "architecture" in arguments:
        arguments["architecture"] = eval(arguments["architecture"], {"rn": rn})
    return arguments


def opened(name: str, **options: Any) -> tuple[Golden, rn.Model]:
    """A golden file as it came."""
    one = STORED[name]
    return one, rn.load(one.path, **words(one), **options)


def rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


@pytest.mark.parametrize("name", sorted(set(STORED) - ROUNDING))
def test_close_to_float64_and_closer_than_the_framework(name: str) -> None:
    one, model = opened(name)
    kept = [c for c in model.choices if c.compute_type == "int8"]
    assert kept and all("as it is stored" in str(c) for c in kept)
    assert len(kept) == len(model.choices) or name in FLOAT_LAYERS
    found = outputs(one, model)
    for y, exact, theirs in zip(found, one.arrays("y"), one.arrays("w"), strict=True):
        largest = max(1.0, float(np.abs(exact).max()))
        assert np.abs(y - exact).max() <= BOUND * largest
        assert rms(y - exact) * AHEAD <= rms(theirs - exact)


@pytest.mark.parametrize("name", sorted(ROUNDING))
def test_models_that_round_activations_themselves(name: str) -> None:
    """The model's own rounding turns 16 bits into whole steps: rarely another one, never two."""
    one, model = opened(name)
    assert any(c.compute_type == "int8" for c in model.choices)
    (y,), (exact,) = outputs(one, model), one.arrays("y")
    off = np.abs(y - exact) > BOUND * max(1.0, float(np.abs(exact).max()))
    assert off.mean() <= 0.05
    step = np.diff(np.unique(exact)).min()
    assert np.abs(y - exact).max() <= 2.001 * step


@pytest.mark.parametrize("name", sorted(STORED))
def test_saved_and_loaded_again(name: str, tmp_path: Any) -> None:
    """`.rnne` has the integers; both files give the same bits, on every table."""
    one, model = opened(name)
    rn.save(model, tmp_path / "m.rnne")
    again = rn.load(tmp_path / "m.rnne")
    assert [c.compute_type for c in again.choices] == [c.compute_type for c in model.choices]
    wanted = [y.tobytes() for y in outputs(one, model)]
    assert [y.tobytes() for y in outputs(one, again)] == wanted
    for table in cpu.available():
        with cpu.use(table):
            _, other = opened(name)
        assert [y.tobytes() for y in outputs(one, other)] == wanted, table


def test_what_may_be_asked_of_integers() -> None:
    name = "quantised/lstm_dynamic.onnx"
    one, fast = opened(name, compute_type="int8_fast")
    assert {c.compute_type for c in fast.choices} == {"int8_fast"}
    (y,), (exact,), (theirs,) = outputs(one, fast), one.arrays("y"), one.arrays("w")
    assert np.abs(y - exact).max() > BOUND and rms(y - exact) <= rms(theirs - exact)
    _, kept = opened(name, compute_type="int8", keep=["cells_quant"])
    assert [c.compute_type for c in kept.choices] == ["float32", "int8"]
    plain = load(one)
    assert plain.compute_type == "float32"
    assert np.abs(outputs(one, plain)[0] - exact).max() <= 2e-6 * max(1, np.abs(exact).max())


@pytest.mark.parametrize("name", ["quantised/lstm_rows.onnx", "quantised/lstm_unsigned.onnx"])
def test_loud_neighbours_change_no_bit(name: str) -> None:
    """Other rows fifty times larger: the framework's answer to a row changes, ours does not."""
    one, model = opened(name)
    (x,) = one.arrays("x")
    loud = x.copy()
    loud[:, 1:] *= 50
    results = [np.asarray(model.run(v)[model.outputs[0].name]) for v in (x, loud)]
    assert results[0][:, :, 0].tobytes() == results[1][:, :, 0].tobytes()
