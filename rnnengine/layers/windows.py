"""Convolutions and pools over time, and normalisations, in the words of torch.nn and of Keras.

torch keeps the channels before time, [batch, channels, time]; ``channels_last`` says that they are
behind it, [batch, time, channels], as in Keras, and as ``batch_first`` has it for recurrent layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

from rnnengine.errors import UnsupportedModelError
from rnnengine.layers.base import Layer, describe, positive
from rnnengine.layers.words import operator

__all__ = [
    "AvgPool1d", "BatchNorm1d", "BatchNormalization", "Conv1D", "Conv1d", "LayerNorm",
    "LayerNormalization", "MaxPool1d", "Pool", "Windowed",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Windowed(Layer):
    """What slides over time."""

    _: KW_ONLY
    channels_last: bool = False

    def windows(self) -> dict[str, Any]:
        """Return the attributes of the operator."""
        raise AssertionError("every layer defines its own")


def _padding(layer: Layer, value: int | str, words: tuple[str, ...], before: int) -> dict[str, Any]:
    """Attributes for elements added at both ends; causal ones all stand before."""
    if isinstance(value, str) and value in words:
        if value == "causal":
            return {"pads": (before, 0)}
        return {"auto_pad": "SAME_UPPER" if value == "same" else "VALID"}
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        accepted = ", ".join(map(repr, words))
        raise UnsupportedModelError(
            f"{describe(layer)}: padding is {value!r}; accepted: a number from 0, {accepted}"
        )
    return {"pads": (value, value)}


@dataclass(frozen=True, eq=False)
class Conv1d(Windowed):
    """Cross-correlation over time.

    Parameters
    ----------
    in_channels : int, optional
        Taken from the weights where it is not given.
    out_channels, kernel_size, stride : int
    padding : int or str
        Zeros at both ends, or ``'same'``, ``'valid'``, or Keras' ``'causal'``.
    dilation, groups : int
    bias : bool
    channels_last : bool
    activation : str
        Keras' word.
    """

    in_channels: int | None = None
    out_channels: int = 0
    kernel_size: int = 0
    stride: int = 1
    padding: int | str = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = True
    _: KW_ONLY
    activation: str = "linear"

    def __post_init__(self) -> None:
        positive(self, "in_channels", optional=True)
        for word in ("out_channels", "kernel_size", "stride", "dilation", "groups"):
            positive(self, word)
        if (self.in_channels or 0) % self.groups or self.out_channels % self.groups:
            raise UnsupportedModelError(
                f"{describe(self)}: groups is {self.groups}; expected a divisor of "
                f"{self.in_channels} in_channels and {self.out_channels} out_channels"
            )
        operator(self.activation, describe(self))
        self.windows()

    def windows(self) -> dict[str, Any]:
        """Return the attributes of the operator."""
        before = self.dilation * (self.kernel_size - 1)
        padding = _padding(self, self.padding, ("valid", "same", "causal"), before)
        return {
            "kernel_shape": (self.kernel_size,),
            "strides": (self.stride,),
            "dilations": (self.dilation,),
            "group": self.groups,
            **padding,
        }


def Conv1D(
    filters: int,
    kernel_size: int,
    strides: int = 1,
    padding: str = "valid",
    dilation_rate: int = 1,
    groups: int = 1,
    activation: str = "linear",
    use_bias: bool = True,
    *,
    name: str | None = None,
    weights: Mapping[str, str] | None = None,
) -> Conv1d:
    """Return a :class:`Conv1d` in the words of Keras, whose channels are last."""
    words = (filters, kernel_size, strides, padding, dilation_rate, groups, use_bias)
    return Conv1d(
        None, *words, channels_last=True, activation=activation, name=name, weights=weights
    )


@dataclass(frozen=True, eq=False)
class Pool(Windowed):
    """What pools share; see :class:`MaxPool1d`."""

    kernel_size: int = 0
    stride: int | None = None
    padding: int | str = 0
    op: ClassVar[str] = ""

    def __post_init__(self) -> None:
        positive(self, "kernel_size")
        positive(self, "stride", optional=True)
        self.windows()

    def windows(self) -> dict[str, Any]:
        """Return the attributes of the operator."""
        padding = _padding(self, self.padding, ("valid", "same"), 0)
        strides = (self.stride or self.kernel_size,)
        return {"kernel_shape": (self.kernel_size,), "strides": strides, **padding}


@dataclass(frozen=True, eq=False)
class MaxPool1d(Pool):
    """Largest element of each window.

    Parameters
    ----------
    kernel_size : int
    stride : int, optional
        By default that of the window.
    padding : int or str
        Elements at both ends that never win, or Keras' ``'same'`` and ``'valid'``.
    channels_last : bool
    """

    op = "MaxPool"


@dataclass(frozen=True, eq=False)
class AvgPool1d(Pool):
    """Mean of each window; the further parameters are those of :class:`MaxPool1d`.

    Parameters
    ----------
    count_include_pad : bool
        Whether padding counts, as it does in torch; never with ``'same'``.
    """

    _: KW_ONLY
    count_include_pad: bool = True
    op = "AveragePool"

    def windows(self) -> dict[str, Any]:
        """Return the attributes of the operator."""
        counted = self.count_include_pad and self.padding != "same"
        return {**super().windows(), "count_include_pad": int(counted)}


@dataclass(frozen=True, eq=False)
class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axes.

    Parameters
    ----------
    normalized_shape : int or tuple of int, optional
        Sizes of those axes; by default the last axis, whose size the weights say.
    eps : float
    elementwise_affine, bias : bool
        Whether there is a weight, and with it a bias.
    """

    normalized_shape: int | tuple[int, ...] | None = None
    eps: float = 1e-5
    elementwise_affine: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        if not all(type(s) is int and s > 0 for s in self.sizes if s is not None) or not self.sizes:
            raise UnsupportedModelError(
                f"{describe(self)}: normalized_shape is {self.normalized_shape!r}; expected sizes"
            )

    @property
    def sizes(self) -> tuple[int | None, ...]:
        """Sizes of the axes that are normalised over, None where it is open."""
        shape = self.normalized_shape
        return tuple(shape) if isinstance(shape, tuple | list) else (shape,)


def LayerNormalization(
    epsilon: float = 1e-3, center: bool = True, *, name: str | None = None
) -> LayerNorm:
    """Return a :class:`LayerNorm` over the last axis in the words of Keras."""
    return LayerNorm(None, epsilon, True, center, name=name)


@dataclass(frozen=True, eq=False)
class BatchNorm1d(Layer):
    """(x - running_mean) / sqrt(running_var + eps) * weight + bias along the channels.

    Parameters
    ----------
    num_features : int, optional
        Taken from the weights where it is not given.
    eps : float
    momentum : float
        For training; no effect here.
    affine : bool
        Whether there are weight and bias.
    channels_last : bool
    """

    num_features: int | None = None
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    _: KW_ONLY
    channels_last: bool = False

    def __post_init__(self) -> None:
        positive(self, "num_features", optional=True)


def BatchNormalization(epsilon: float = 1e-3, *, name: str | None = None) -> BatchNorm1d:
    """Return a :class:`BatchNorm1d` in the words of Keras, whose channels are last."""
    return BatchNorm1d(None, epsilon, channels_last=True, name=name)
