"""What may stand for a layer of a file that cannot be read: a description, or a function.

A function takes a :class:`LayerCall` and the layer's inputs, and writes what the layer computes in
operators of the graph, which have ONNX's names and the meaning of its newest version::

    def weighted_average(layer, x):
        (w,) = layer.weights
        scores = layer.op("MatMul", x, w)
        parts = layer.op("Softmax", scores, axis=1)
        return layer.op("ReduceSum", layer.op("Mul", x, parts), axes=(1,), keepdims=False)

    rn.load("model.h5", replacements={"AttentionWeightedAverage": weighted_average})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np

from rnnengine.graph import Size
from rnnengine.layers.base import Layer

__all__ = ["LayerCall", "Replacement", "Value"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Value:
    """A value of the graph under construction.

    Attributes
    ----------
    name : str
        In the graph.
    shape : tuple of int and symbolic sizes
        Batch first.
    mask : Value or None
        int32 [batch, time], 1 where a step counts.
    """

    name: str
    shape: tuple[Size, ...]
    mask: Value | None = None

    def masked(self, mask: Value | None) -> Value:
        """Return the value with another mask, which the layers after this one see."""
        return replace(self, mask=mask)


class LayerCall(Protocol):
    """One call of a layer, as a function that stands for the layer sees it.

    Attributes
    ----------
    name, kind : str
        Of the layer, and of its class.
    config : mapping
        The layer's configuration, as the file has it.
    weights : tuple of array
        The layer's weights in the order of the file.
    """

    @property
    def name(self) -> str:
        """Name of the layer."""

    @property
    def kind(self) -> str:
        """Name of its class."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its configuration, as the file has it."""

    @property
    def weights(self) -> tuple[Array, ...]:
        """Its weights, in the order of the file."""

    def op(
        self, name: str, /, *inputs: Value | Array | float | None, outputs: int = 1, **attrs: Any
    ) -> Any:
        """Append an operator.

        Parameters
        ----------
        name : str
            Of the operator, as ONNX has it.
        *inputs : Value, array, number or None
            Its operands; arrays and numbers become constants, of float32 or int64; None leaves an
            optional one out.
        outputs : int
            How many outputs are wanted.
        **attrs
            Its attributes; operands that ONNX made of attributes, such as ``axes``, may be given
            here.

        Returns
        -------
        Value or tuple of Value
            Without a mask.
        """


Replacement: TypeAlias = Layer | Callable[..., Value | Sequence[Value]]
"""A description of a layer, or ``function(layer_call, *inputs)``."""
