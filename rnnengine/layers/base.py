"""Layers in general, values of a network, inputs and chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, TypeAlias

from rnnengine.errors import UnsupportedModelError

__all__ = [
    "Architecture", "Call", "Input", "InputLayer", "Layer", "Sequential", "Tensor", "describe",
    "positive",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value in a network that is written by calling layers.

    Attributes
    ----------
    call : Call
        What computes it.
    result : str
        ``'output'``, or ``'h_n'`` and ``'c_n'`` of a recurrent layer.
    """

    call: Call
    result: str = "output"

    @property
    def h_n(self) -> Tensor:
        """Final hidden state of the recurrent layer, [num_layers * directions, batch, hidden]."""
        return self._final("h_n")

    @property
    def c_n(self) -> Tensor:
        """Final cell state of the LSTM, [num_layers * directions, batch, hidden]."""
        return self._final("c_n")

    def _final(self, result: str) -> Tensor:
        if result not in self.call.layer.results:
            raise UnsupportedModelError(
                f"{describe(self.call.layer)} has no {result}; its results are "
                f"{', '.join(self.call.layer.results)}"
            )
        return Tensor(self.call, result)


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer; a layer called twice shares its weights."""

    layer: Layer
    inputs: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Layer:
    """What all layers share.

    Parameters
    ----------
    name : str, optional
        Path of the layer in the checkpoint.
    weights : mapping of str to str, optional
        Where each tensor stands that torch would call ``weight_ih_l0``, ``bias_hh_l0``,
        ``weight`` and so on, for files with other names: ``{"weight_ih_l0": "enc_w_ih", ...}``.
    """

    _: KW_ONLY
    name: str | None = None
    weights: Mapping[str, str] | None = None
    inputs: ClassVar[tuple[int, int]] = (1, 1)
    results: ClassVar[tuple[str, ...]] = ("output",)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Apply the layer to values of a network."""
        least, most = self.inputs
        if not least <= len(inputs) <= most or not all(isinstance(t, Tensor) for t in inputs):
            raise UnsupportedModelError(
                f"{describe(self)}: called with {len(inputs)} arguments; expected "
                f"{least}{'' if least == most else f' to {most}'} values made by rn.Input or by "
                "calling a layer"
            )
        return Tensor(Call(self, inputs))


def describe(layer: Layer) -> str:
    """Name a layer the way error messages do."""
    return f"layer {layer.name!r} ({type(layer).__name__})" if layer.name else type(layer).__name__


def positive(layer: Layer, word: str, optional: bool = False) -> None:
    """Refuse a field that is no positive integer."""
    value = getattr(layer, word)
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UnsupportedModelError(
            f"{describe(layer)}: {word} is {value!r}; expected a positive integer"
        )


@dataclass(frozen=True, eq=False)
class InputLayer(Layer):
    """What :func:`Input` makes."""

    shape: tuple[int | str, ...] = ()
    dtype: str = "float32"
    inputs: ClassVar[tuple[int, int]] = (0, 0)


def Input(shape: tuple[int | str, ...], dtype: str = "float32", *, name: str = "input") -> Tensor:
    """Declare an input of a network.

    Parameters
    ----------
    shape : tuple of int and str
        All axes; strings name sizes that are free.
    dtype : str
        ``'float32'``, or ``'int32'`` for ids.
    name : str

    Returns
    -------
    Tensor
    """
    if dtype not in ("float32", "int32"):
        raise UnsupportedModelError(
            f"input {name!r}: dtype is {dtype!r}; accepted: 'float32', 'int32'"
        )
    for size in shape:
        named = isinstance(size, str) and size.isidentifier()
        if not named and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
            raise UnsupportedModelError(
                f"input {name!r}: shape has {size!r}; expected sizes and names of free sizes"
            )
    return InputLayer(tuple(shape), dtype, name=name)()


class Sequential(Layer):
    """Layers one after the other; recurrent layers pass their sequence on.

    Parameters
    ----------
    *layers : Layer
    name : str, optional
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer, name: str | None = None) -> None:
        super().__init__(name=name)
        for layer in layers:
            if getattr(layer, "inputs", (0,))[0] != 1:
                raise UnsupportedModelError(
                    f"Sequential: got {layer!r}; expected layers of one input, such as "
                    "rn.LSTM(40, 64)"
                )
        if not layers:
            raise UnsupportedModelError("Sequential: got no layers; expected one or more")
        object.__setattr__(self, "layers", layers)

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))})"


Architecture: TypeAlias = "Layer | Tensor | dict[str, Tensor]"
"""What ``load(architecture=)`` takes: a layer, a value of a network, or values by output name."""
