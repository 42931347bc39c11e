"""What the words for activations mean."""

from __future__ import annotations

from rnnengine.errors import UnsupportedModelError
from rnnengine.ops.elementwise import unary_activation
from rnnengine.ops.recurrent import Activation

__all__ = ["cell_activation", "operator"]

_OPERATORS: dict[str, tuple[str, dict[str, float]]] = {
    "linear": ("Identity", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "silu": ("Swish", {}),
    "swish": ("Swish", {}),
    "gelu": ("Gelu", {}),
    "mish": ("Mish", {}),
    "exponential": ("Exp", {}),
    "hard_sigmoid_keras2": ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
    "hard_sigmoid_keras3": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "softmax": ("Softmax", {"axis": -1}),
}
"""Operator and attributes of each activation word."""

_CELL_WORDS = [word for word in _OPERATORS if word != "softmax"]


def operator(word: str, where: str) -> tuple[str, dict[str, float]]:
    """Return the operator and the attributes of an activation word.

    Raises
    ------
    UnsupportedModelError
        Naming the word and those that are accepted.
    """
    if word == "hard_sigmoid":
        raise UnsupportedModelError(
            f"{where}: activation 'hard_sigmoid' has two meanings; say 'hard_sigmoid_keras2' for "
            "clip(0.2x + 0.5) or 'hard_sigmoid_keras3' (and torch) for clip(x/6 + 0.5)"
        )
    if word not in _OPERATORS:
        raise UnsupportedModelError(
            f"{where}: activation is {word!r}; accepted: {', '.join(_OPERATORS)}"
        )
    return _OPERATORS[word]


def cell_activation(word: str, where: str) -> Activation:
    """Return the activation that a word means inside a recurrent cell."""
    op, attrs = operator(word, where)
    if op == "Softmax":
        raise UnsupportedModelError(
            f"{where}: activation 'softmax' inside a cell; accepted: {', '.join(_CELL_WORDS)}"
        )
    return Activation("identity") if op == "Identity" else unary_activation(op, attrs)
