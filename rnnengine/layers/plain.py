"""Layers without memory."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, ClassVar

from rnnengine.layers.base import Layer, describe, positive
from rnnengine.layers.words import operator

__all__ = [
    "ELU", "GELU", "SELU", "Add", "Concatenate", "Dense", "Dropout", "Elementwise", "Embedding",
    "Hardsigmoid", "Identity", "LeakyReLU", "Linear", "LogSoftmax", "Merge", "Mish", "Multiply",
    "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """Product with a weight matrix over the last axis, bias and activation.

    Parameters
    ----------
    in_features : int, optional
        Taken from the weights where it is not given.
    out_features : int
    bias : bool
    activation : str
        Keras' word.
    """

    in_features: int | None = None
    out_features: int = 0
    bias: bool = True
    _: KW_ONLY
    activation: str = "linear"

    def __post_init__(self) -> None:
        positive(self, "in_features", optional=True)
        positive(self, "out_features")
        operator(self.activation, describe(self))


def Dense(
    units: int, activation: str = "linear", use_bias: bool = True, *, name: str | None = None
) -> Linear:
    """Return a :class:`Linear` layer in the words of Keras."""
    return Linear(None, units, use_bias, activation=activation, name=name)


@dataclass(frozen=True, eq=False)
class Embedding(Layer):
    """Row of a table for each id of the input.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
    padding_idx : int, optional
        Which row was not trained; no effect here.
    mask_zero : bool
        Keras: steps of id 0 do not count. The layers that follow hand this on as Keras' do, up to
        a recurrent layer with ``return_sequences=False``: a recurrent layer keeps its state in such
        steps, and repeats its last output (zeros where it is bidirectional and returns sequences).
        Layers of which Keras makes something else are refused.
    """

    num_embeddings: int = 0
    embedding_dim: int = 0
    padding_idx: int | None = None
    mask_zero: bool = False

    def __post_init__(self) -> None:
        positive(self, "num_embeddings")
        positive(self, "embedding_dim")


@dataclass(frozen=True, eq=False)
class Elementwise(Layer):
    """A function of the values alone; subclasses name the operator, fields are its attributes."""

    op: ClassVar[str] = "Identity"
    words: ClassVar[dict[str, str]] = {}

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of the operator."""
        return {ours: getattr(self, word) for word, ours in self.words.items()}


class Identity(Elementwise):
    """Pass the input on."""


@dataclass(frozen=True, eq=False)
class Dropout(Elementwise):
    """Pass the input on: dropping out is for training."""

    p: float = 0.5


class ReLU(Elementwise):
    """max(x, 0)."""

    op = "Relu"


class Tanh(Elementwise):
    """tanh(x)."""

    op = "Tanh"


class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    op = "Sigmoid"


class SELU(Elementwise):
    """Scaled exponential linear unit."""

    op = "Selu"


class GELU(Elementwise):
    """x * Phi(x), with the exact distribution function."""

    op = "Gelu"


class SiLU(Elementwise):
    """x * sigmoid(x)."""

    op = "Swish"


class Mish(Elementwise):
    """x * tanh(softplus(x))."""

    op = "Mish"


class Softplus(Elementwise):
    """log(1 + exp(x))."""

    op = "Softplus"


class Softsign(Elementwise):
    """x / (1 + abs(x))."""

    op = "Softsign"


@dataclass(frozen=True, eq=False)
class Hardsigmoid(Elementwise):
    """clip(alpha * x + beta, 0, 1); the defaults are those of torch and Keras 3."""

    alpha: float = 1 / 6
    beta: float = 0.5
    op = "HardSigmoid"
    words: ClassVar[dict[str, str]] = {"alpha": "alpha", "beta": "beta"}


@dataclass(frozen=True, eq=False)
class LeakyReLU(Elementwise):
    """x where it is positive, negative_slope * x elsewhere."""

    negative_slope: float = 0.01
    op = "LeakyRelu"
    words: ClassVar[dict[str, str]] = {"negative_slope": "alpha"}


@dataclass(frozen=True, eq=False)
class ELU(Elementwise):
    """x where it is positive, alpha * (exp(x) - 1) elsewhere."""

    alpha: float = 1.0
    op = "Elu"
    words: ClassVar[dict[str, str]] = {"alpha": "alpha"}


@dataclass(frozen=True, eq=False)
class Softmax(Elementwise):
    """exp(x) over its sum along an axis."""

    dim: int = -1
    op = "Softmax"
    words: ClassVar[dict[str, str]] = {"dim": "axis"}


@dataclass(frozen=True, eq=False)
class LogSoftmax(Elementwise):
    """Logarithm of :class:`Softmax`."""

    dim: int = -1
    op = "LogSoftmax"
    words: ClassVar[dict[str, str]] = {"dim": "axis"}


@dataclass(frozen=True, eq=False)
class Merge(Layer):
    """Combine several values of one shape."""

    op: ClassVar[str] = ""
    inputs: ClassVar[tuple[int, int]] = (2, 1 << 10)

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of the operator."""
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "weights")
        }


class Add(Merge):
    """Sum of the inputs."""

    op = "Add"


class Multiply(Merge):
    """Product of the inputs."""

    op = "Mul"


@dataclass(frozen=True, eq=False)
class Concatenate(Merge):
    """Inputs side by side along an axis."""

    axis: int = -1
    op = "Concat"
