"""Float64 activations against other libraries' definitions, and at special values."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnengine.ops.recurrent import ACTIVATIONS, Activation, apply, discontinuities

GRID = np.concatenate([np.linspace(-12, 12, 4001), np.geomspace(1e-12, 80, 200)])
GRID = np.concatenate([GRID, -GRID])
SIXTH = 1 / 6
EXAMPLES = {
    "relu_keras": [(0.25, 2.0, 0.5), (0.0, 6.0, 0.0), (0.25, np.inf, 0.0), (0.5, np.inf, -0.5)],
    "leaky_relu": [(0.1,)],
    "thresholded_relu": [(0.5,)],
    "affine": [(0.5, -0.25)],
    "scaled_tanh": [(1.5, 0.5)],
    "hard_sigmoid": [(0.25, 0.5)],
    "elu": [(0.75,)],
    "celu": [(0.75,)],
    "soft_shrink": [(0.5,)],
    "hard_shrink": [(0.5,)],
    "squareplus": [(4.0,)],
    "threshold": [(0.5, -1.0)],
    "shrink": [(0.5, 0.25)],
}


def examples() -> list[Activation]:
    return [Activation(name, *p) for name in ACTIVATIONS for p in EXAMPLES.get(name, [()])]


def test_names_are_those_of_the_kernels(root: Path) -> None:
    header = (root / "src_c" / "core" / "activation.h").read_text(encoding="utf-8")
    names = re.findall(r"RNNE_ACT_([A-Z_0-9]+) = \d+", header)
    assert {n.lower() for n in names if n != "COUNT"} == set(ACTIVATIONS)


@pytest.mark.parametrize("activation", examples(), ids=str)
def test_nan_and_shape_pass_through(activation: Activation) -> None:
    values = np.array([[np.nan, 0.5], [-0.5, np.nan]])
    out = apply(activation, values)
    assert out.shape == values.shape and out.dtype == np.float64
    assert np.isnan(out[0, 0]) and np.isnan(out[1, 1])


LIMITS = {
    "tanh": (-1, 1), "sigmoid": (0, 1), "relu": (0, np.inf), "softsign": (-1, 1),
    "softplus": (0, np.inf), "silu": (0, np.inf), "hard_silu": (0, np.inf), "gelu": (0, np.inf),
    "gelu_tanh": (0, np.inf), "mish": (0, np.inf), "exponential": (0, np.inf),
    "squareplus": (0, np.inf), "sparse_plus": (0, np.inf), "sparse_sigmoid": (0, 1),
    "log_sigmoid": (-np.inf, 0), "erf": (-1, 1), "hard_tanh": (-1, 1), "elu": (-0.75, np.inf),
    "celu": (-0.75, np.inf), "tanh_shrink": (-np.inf, np.inf), "hard_sigmoid": (0, 1),
    "scaled_tanh": (-1.5, 1.5), "reciprocal": (0, 0), "selu": (-1.7580993408473766, np.inf),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits_at_infinity(name: str) -> None:
    activation = Activation(name, *EXAMPLES.get(name, [()])[0])
    out = apply(activation, np.array([-np.inf, np.inf]))
    np.testing.assert_allclose(out, LIMITS[name], rtol=1e-15)


NOT_IN_KERAS = {
    "thresholded_relu", "affine", "scaled_tanh", "log", "sqrt", "neg", "abs", "reciprocal", "erf",
    "shrink", "sign", "floor", "ceil", "round", "sin", "cos", "tan", "asin", "acos", "atan", "sinh",
    "cosh", "asinh", "acosh", "atanh",
}  # fmt: skip


@pytest.mark.parametrize(
    "activation", [a for a in examples() if a.name not in NOT_IN_KERAS], ids=str
)
def test_definitions_agree_with_keras(activation: Activation) -> None:
    pytest.importorskip("keras", reason="keras is not installed")
    from oracle.witnesses import keras_activation

    if activation.name == "hard_sigmoid":
        activation = Activation("hard_sigmoid", SIXTH, 0.5)
    function = keras_activation(activation)
    points = np.array(discontinuities(activation) or [np.inf])
    grid = GRID[np.abs(GRID[:, None] - points).min(1) > 1e-9]
    theirs: Any = function(grid.copy())
    loose = activation.name == "hard_sigmoid"  # Keras' slope 1/6 is no float32 number
    np.testing.assert_allclose(
        apply(activation, grid), np.asarray(theirs), rtol=1e-7, atol=3e-7 if loose else 1e-12
    )


@pytest.mark.parametrize(
    "name", ["erf", "gelu", "log", "sqrt", "reciprocal", "abs", "neg", "log_sigmoid"]
)
def test_definitions_agree_with_scipy(name: str) -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is not installed")
    grid = GRID[GRID != 0]
    grid = np.abs(grid) if name in ("log", "sqrt") else grid
    expected = {
        "erf": special.erf,
        "gelu": lambda x: x * special.ndtr(x),
        "log": np.log,
        "sqrt": np.sqrt,
        "reciprocal": lambda x: 1 / x,
        "abs": np.abs,
        "neg": np.negative,
        "log_sigmoid": special.log_expit,
    }[name](grid)
    np.testing.assert_allclose(apply(Activation(name), grid), expected, rtol=1e-12)


def test_an_activation_is_held_to_float32_and_checked() -> None:
    assert Activation("elu", 0.1).alpha == float(np.float32(0.1))
    assert str(Activation("hard_sigmoid", 0.25, 0.5)) == "hard_sigmoid(0.25, 0.5)"
    with pytest.raises(ValueError, match="unknown activation 'softmax'"):
        Activation("softmax")
