"""Activations by name or configuration, with the meaning of the file's own Keras."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.context import Context
from rnnengine.importers.keras.version import Version
from rnnengine.ops.recurrent import Activation

__all__ = ["activation", "emit_activation", "recurrent_default"]

_PLAIN = {
    "linear": "identity",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "relu": "relu",
    "softplus": "softplus",
    "softsign": "softsign",
    "selu": "selu",
    "silu": "silu",
    "swish": "silu",
    "hard_silu": "hard_silu",
    "hard_swish": "hard_silu",
    "gelu": "gelu",
    "mish": "mish",
    "exponential": "exponential",
    "hard_tanh": "hard_tanh",
    "tanh_shrink": "tanh_shrink",
    "sparse_plus": "sparse_plus",
    "sparse_sigmoid": "sparse_sigmoid",
    "log_sigmoid": "log_sigmoid",
}
_WITH_DEFAULTS = {
    "elu": Activation("elu", 1.0),
    "celu": Activation("celu", 1.0),
    "leaky_relu": Activation("leaky_relu", 0.2),
    "relu6": Activation("relu_keras", 0.0, 6.0, 0.0),
    "soft_shrink": Activation("soft_shrink", 0.5),
    "hard_shrink": Activation("hard_shrink", 0.5),
    "squareplus": Activation("squareplus", 4.0),
}
_NORMALISING = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}


def recurrent_default(version: Version) -> str:
    """Default recurrent_activation: Keras 2.3 and tf.keras 2 changed it."""
    old = version.major < 2 or (version.major == 2 and version.minor < 3 and not version.tf)
    return "hard_sigmoid" if old else "sigmoid"


def _name(value: Any, where: str, key: str) -> tuple[str, Mapping[str, Any]]:
    """Name of an activation in lower case, and its parameters."""
    if value is None:
        return "linear", {}
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict):
        kind, config = value.get("class_name"), value.get("config")
        module = value.get("module") or "keras"
        own = isinstance(module, str) and module.split(".")[0] in (
            "keras",
            "tf_keras",
            "tensorflow",
        )
        if kind == "function" and isinstance(config, str):
            if own or (module == "builtins" and config in _known()):
                return config, {}
            raise UnsupportedModelError(
                f"{where}: {key} is the function {module}.{config}, which is not Keras' own"
            )
        if isinstance(kind, str) and own:
            return _LAYERS.get(kind, kind), config if isinstance(config, dict) else {}
        raise UnsupportedModelError(f"{where}: {key} is of class {kind!r}, which is not Keras' own")
    raise ModelFormatError(f"{where}: {key} is {value!r}; expected a name")


_LAYERS = {
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "Softmax": "softmax",
    "Activation": "linear",
}


def _known() -> list[str]:
    return sorted([*_PLAIN, *_WITH_DEFAULTS, *_NORMALISING, "hard_sigmoid"])


def activation(value: Any, version: Version, where: str, key: str = "activation") -> Activation:
    """The activation of a recurrent cell.

    Raises
    ------
    UnsupportedModelError
        It is a function of the user's, or one that looks at more than one element.
    """
    name, config = _name(value, where, key)
    if name == "hard_sigmoid":
        return Activation("hard_sigmoid", 1 / 6 if version.major >= 3 else 0.2, 0.5)
    if name == "relu" and config:
        return relu(config, where)
    if name == "leaky_relu" and config:
        slope = config.get("negative_slope", config.get("alpha", 0.3))
        return Activation("leaky_relu", _number(slope, where, key))
    if name == "elu" and config:
        return Activation("elu", _number(config.get("alpha", 1.0), where, key))
    if name == "gelu" and config.get("approximate"):
        return Activation("gelu_tanh")
    if name in _PLAIN and not config.keys() - {"name", "trainable", "dtype", "approximate"}:
        return Activation(_PLAIN[name])
    if name in _WITH_DEFAULTS and not config:
        return _WITH_DEFAULTS[name]
    raise UnsupportedModelError(
        f"{where}: {key} is {value!r}; accepted: {', '.join(_known())}"
        + (" (softmax not inside a cell)" if name in _NORMALISING else "")
    )


def relu(config: Mapping[str, Any], where: str) -> Activation:
    """Keras' ReLU with its slope, ceiling and threshold."""
    slope = _number(config.get("negative_slope") or config.get("alpha") or 0.0, where, "slope")
    ceiling = config.get("max_value")
    bound = math.inf if ceiling is None else _number(ceiling, where, "max_value")
    threshold = _number(config.get("threshold") or 0.0, where, "threshold")
    if slope == 0 and bound == math.inf and threshold == 0:
        return Activation("relu")
    return Activation("relu_keras", slope, bound, threshold)


def _number(value: Any, where: str, key: str) -> float:
    value = value.get("value") if isinstance(value, dict) else value
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelFormatError(f"{where}: {key} is {value!r}; expected a number")
    return float(value)


def emit_activation(ctx: Context, x: str, value: Any) -> str:
    """Append the activation of a layer that is not recurrent; return the result's name."""
    name, config = _name(value, ctx.where, "activation")
    if name in _NORMALISING:
        axis = config.get("axis", -1)
        return ctx.emit(_NORMALISING[name], [x], {"axis": axis}, "activation")
    act = activation(value, ctx.version, ctx.where)
    return apply(ctx, x, act)


def apply(ctx: Context, x: str, act: Activation) -> str:
    """Append an activation as operators."""
    if act.name == "identity":
        return x
    if act.name in _OPS:
        op, attrs = _OPS[act.name]
        return ctx.emit(op, [x], attrs(act), "activation")
    if act.name in _COMPOSED:
        return _COMPOSED[act.name](ctx, x, act)
    raise UnsupportedModelError(
        f"{ctx.where}: activation {act.name!r} is supported inside recurrent cells only"
    )


def _none(act: Activation) -> dict[str, Any]:
    return {}


def _alpha(act: Activation) -> dict[str, Any]:
    return {"alpha": act.alpha}


_OPS: dict[str, tuple[str, Callable[[Activation], dict[str, Any]]]] = {
    "tanh": ("Tanh", _none),
    "sigmoid": ("Sigmoid", _none),
    "relu": ("Relu", _none),
    "softplus": ("Softplus", _none),
    "softsign": ("Softsign", _none),
    "selu": ("Selu", _none),
    "silu": ("Swish", _none),
    "hard_silu": ("HardSwish", _none),
    "gelu": ("Gelu", _none),
    "gelu_tanh": ("Gelu", lambda a: {"approximate": "tanh"}),
    "mish": ("Mish", _none),
    "exponential": ("Exp", _none),
    "elu": ("Elu", _alpha),
    "celu": ("Celu", _alpha),
    "leaky_relu": ("LeakyRelu", _alpha),
    "hard_sigmoid": ("HardSigmoid", lambda a: {"alpha": a.alpha, "beta": a.beta}),
    "sparse_sigmoid": ("HardSigmoid", lambda a: {"alpha": 0.5, "beta": 0.5}),
    "hard_tanh": ("Clip", lambda a: {"min": -1.0, "max": 1.0}),
}


def _scalar(ctx: Context, value: float) -> str:
    return ctx.constant("scalar", np.array(value, np.float32))


def _relu_keras(ctx: Context, x: str, act: Activation) -> str:
    """X above the threshold, at most the ceiling; slope * (x - threshold) below."""
    slope, ceiling, threshold = act.alpha, act.beta, act.gamma
    if threshold == 0.0:
        y = ctx.emit("Relu", [x], None, "above")
    else:
        if threshold < 0:
            raise UnsupportedModelError(
                f"{ctx.where}: threshold is {threshold}; accepted: 0 or more"
            )
        y = ctx.emit("ThresholdedRelu", [x], {"alpha": threshold}, "above")
    if ceiling < math.inf:
        y = ctx.emit("Clip", [y], {"min": 0.0, "max": ceiling}, "above")
    if slope == 0.0:
        return y
    gap = ctx.emit("Sub", [_scalar(ctx, threshold), x], None, "below")
    below = ctx.emit("Relu", [gap], None, "below")
    scaled = ctx.emit("Mul", [below, _scalar(ctx, slope)], None, "below")
    return ctx.emit("Sub", [y, scaled], None, "activation")


def _tanh_shrink(ctx: Context, x: str, act: Activation) -> str:
    return ctx.emit("Sub", [x, ctx.emit("Tanh", [x], None, "tanh")], None, "activation")


def _log_sigmoid(ctx: Context, x: str, act: Activation) -> str:
    plus = ctx.emit("Softplus", [ctx.emit("Neg", [x], None, "neg")], None, "softplus")
    return ctx.emit("Neg", [plus], None, "activation")


_COMPOSED: dict[str, Callable[[Context, str, Activation], str]] = {
    "relu_keras": _relu_keras,
    "tanh_shrink": _tanh_shrink,
    "log_sigmoid": _log_sigmoid,
}
