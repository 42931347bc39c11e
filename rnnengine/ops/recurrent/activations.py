"""Float64 definitions of every activation, under the names of ``src_c/core/activation.h``.

All of them give NaN for NaN and, at plus and minus infinity, the limit of the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rnnengine.records import record

__all__ = ["ACTIVATIONS", "Activation", "apply", "discontinuities"]

Array: TypeAlias = np.ndarray[Any, Any]


@record
class Activation:
    """An activation function and its parameters, rounded to float32 as the engine holds them.

    Parameters
    ----------
    name : str
        A key of :data:`ACTIVATIONS`.
    alpha, beta, gamma : float
        Parameters in the sense of the definition; unused ones are 0.
    """

    name: str
    alpha: float = 0.0
    beta: float = 0.0
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.name!r}; known: {', '.join(ACTIVATIONS)}")
        for field in ("alpha", "beta", "gamma"):
            with np.errstate(over="ignore"):
                object.__setattr__(self, field, float(np.float32(getattr(self, field))))

    def __str__(self) -> str:
        parameters = [f"{v:.9g}" for v in (self.alpha, self.beta, self.gamma)]
        while parameters and parameters[-1] == "0":
            parameters.pop()
        return self.name + (f"({', '.join(parameters)})" if parameters else "")


def _sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x), np.float64)


def _limit_below(x: Array, value: Array, limit: float) -> Array:
    """Replace the value at minus infinity, where the formula reads infinity times zero."""
    return np.where(np.isneginf(x), limit, value)


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return np.clip(alpha * x + beta, 0.0, 1.0)


def _relu_keras(x: Array, slope: float, ceiling: float, threshold: float) -> Array:
    """Keras' ReLU: x above the threshold, slope * (x - threshold) below, at most the ceiling."""
    above = np.where(x <= threshold, 0.0, x)
    if ceiling < math.inf:
        above = np.clip(above, 0.0, ceiling)
    if slope == 0.0:
        return above
    return above - slope * np.maximum(threshold - x, 0.0)


def _soft_shrink(x: Array, alpha: float) -> Array:
    return np.where(x > alpha, x - alpha, np.where(x < -alpha, x + alpha, 0.0 * np.isnan(x)))


def _squareplus(x: Array, b: float) -> Array:
    """(x + sqrt(x*x + b)) / 2, written for x < 0 without cancellation."""
    root = np.hypot(x, math.sqrt(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        negative = np.where(x < 0, b / (2.0 * (root - x)), 0.0)
    return np.where(x < 0, negative, (x + root) / 2.0)


def _sparse_plus(x: Array) -> Array:
    return np.where(x <= -1, 0.0, np.where(x < 1, (x + 1) ** 2 / 4, x))


def _gelu_tanh(x: Array) -> Array:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return _limit_below(x, 0.5 * x * (1.0 + np.tanh(inner)), 0.0)


def _keep_nan(function: Callable[[Array, float, float, float], Array]) -> Definition:
    """Let NaN through comparisons, and silence the warnings of limits taken on purpose."""

    def definition(x: Array, alpha: float, beta: float, gamma: float) -> Array:
        with np.errstate(all="ignore"):
            return np.where(np.isnan(x), np.nan, function(x, alpha, beta, gamma))

    return definition


Definition: TypeAlias = Callable[[Array, float, float, float], Array]

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805

_DEFINITIONS: dict[str, Definition] = {
    "identity": lambda x, a, b, c: x,
    "tanh": lambda x, a, b, c: np.tanh(x),
    "sigmoid": lambda x, a, b, c: _sigmoid(x),
    "relu": lambda x, a, b, c: np.maximum(x, 0.0),
    "relu_keras": _relu_keras,
    "leaky_relu": lambda x, a, b, c: np.where(x >= 0, x, a * x),
    "thresholded_relu": lambda x, a, b, c: np.where(x >= a, x, 0.0),
    "affine": lambda x, a, b, c: a * x + b,
    "scaled_tanh": lambda x, a, b, c: a * np.tanh(b * x),
    "hard_sigmoid": lambda x, a, b, c: _hard_sigmoid(x, a, b),
    "elu": lambda x, a, b, c: np.where(x >= 0, x, a * np.expm1(x)),
    "softsign": lambda x, a, b, c: np.where(np.isinf(x), np.sign(x), x / (1.0 + np.abs(x))),
    "softplus": lambda x, a, b, c: _softplus(x),
    "selu": lambda x, a, b, c: _SELU_SCALE * np.where(x >= 0, x, _SELU_ALPHA * np.expm1(x)),
    "celu": lambda x, a, b, c: np.maximum(x, 0.0) + np.minimum(0.0, a * np.expm1(x / a)),
    "silu": lambda x, a, b, c: _limit_below(x, x * _sigmoid(x), 0.0),
    "hard_silu": lambda x, a, b, c: _limit_below(x, x * np.clip(x / 6 + 0.5, 0.0, 1.0), 0.0),
    "gelu": lambda x, a, b, c: _limit_below(x, 0.5 * x * _erfc(-x / math.sqrt(2.0)), 0.0),
    "gelu_tanh": lambda x, a, b, c: _gelu_tanh(x),
    "mish": lambda x, a, b, c: _limit_below(x, x * np.tanh(_softplus(x)), 0.0),
    "exponential": lambda x, a, b, c: np.exp(x),
    "hard_tanh": lambda x, a, b, c: np.clip(x, -1.0, 1.0),
    "tanh_shrink": lambda x, a, b, c: x - np.tanh(x),
    "soft_shrink": lambda x, a, b, c: _soft_shrink(x, a),
    "hard_shrink": lambda x, a, b, c: np.where(np.abs(x) > a, x, 0.0),
    "squareplus": lambda x, a, b, c: _squareplus(x, a),
    "sparse_plus": lambda x, a, b, c: _sparse_plus(x),
    "sparse_sigmoid": lambda x, a, b, c: np.clip(0.5 * (x + 1.0), 0.0, 1.0),
    "log_sigmoid": lambda x, a, b, c: -_softplus(-x),
    "threshold": lambda x, a, b, c: np.where(x > a, x, b),
    "log": lambda x, a, b, c: np.log(x),
    "sqrt": lambda x, a, b, c: np.sqrt(x),
    "neg": lambda x, a, b, c: -x,
    "abs": lambda x, a, b, c: np.abs(x),
    "reciprocal": lambda x, a, b, c: 1.0 / x,
    "erf": lambda x, a, b, c: _erf(x),
    "shrink": lambda x, a, b, c: np.where(x < -a, x + b, np.where(x > a, x - b, 0.0)),
    "sign": lambda x, a, b, c: np.sign(x),
    "floor": lambda x, a, b, c: np.floor(x),
    "ceil": lambda x, a, b, c: np.ceil(x),
    "round": lambda x, a, b, c: np.rint(x),
    "sin": lambda x, a, b, c: np.sin(x),
    "cos": lambda x, a, b, c: np.cos(x),
    "tan": lambda x, a, b, c: np.tan(x),
    "asin": lambda x, a, b, c: np.arcsin(x),
    "acos": lambda x, a, b, c: np.arccos(x),
    "atan": lambda x, a, b, c: np.arctan(x),
    "sinh": lambda x, a, b, c: np.sinh(x),
    "cosh": lambda x, a, b, c: np.cosh(x),
    "asinh": lambda x, a, b, c: np.arcsinh(x),
    "acosh": lambda x, a, b, c: np.arccosh(x),
    "atanh": lambda x, a, b, c: np.arctanh(x),
}


def _erfc(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erfc, otypes=[np.float64])(x), np.float64)


ACTIVATIONS: dict[str, Definition] = {k: _keep_nan(v) for k, v in _DEFINITIONS.items()}
"""Definition(x, alpha, beta, gamma) of each activation, float64 in and out."""


def apply(activation: Activation, x: Array) -> Array:
    """Evaluate an activation in float64.

    Parameters
    ----------
    activation : Activation
    x : array
        Any shape; converted to float64.

    Returns
    -------
    array of float64, shape of ``x``
    """
    definition = ACTIVATIONS[activation.name]
    value = np.asarray(x, np.float64)
    return definition(value, activation.alpha, activation.beta, activation.gamma)


def discontinuities(activation: Activation) -> tuple[float, ...]:
    """Points where the function jumps: no float32 computation can be held to a bound there."""
    alpha, beta, gamma = activation.alpha, activation.beta, activation.gamma
    if activation.name == "thresholded_relu" and alpha != 0:
        return (alpha,)
    if activation.name == "threshold" and alpha != beta:
        return (alpha,)
    if activation.name == "shrink" and alpha != beta:
        return (-alpha, alpha)
    if activation.name == "hard_shrink" and alpha > 0:
        return (-alpha, alpha)
    if activation.name == "relu_keras" and gamma != 0:
        return (gamma,)
    return ()
