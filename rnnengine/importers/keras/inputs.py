"""What a Keras model takes: types and open sizes of its inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size, TensorType, Value, substitute, symbol
from rnnengine.importers.keras import config
from rnnengine.importers.keras.config import NETWORKS
from rnnengine.importers.keras.records import Layer, Network, Ref
from rnnengine.importers.keras.version import Version
from rnnengine.layers import Embedding

__all__ = ["IDS", "Inputs"]

IDS = ("Embedding",)
"""Layers that look numbers up in a table."""
_INPUTS = ("float32", "float16", "bfloat16", "float64", "int32", "int64", "uint8", "int16")
"""Declared types of inputs that a float32 or, for a table, int32 array stands for."""


class Inputs:
    """What a model takes."""

    def __init__(self, network: Network, version: Version, where: str) -> None:
        self.network = network
        self.version = version
        self.where = where

    def values(self, sizes: Mapping[str, Size]) -> list[Value]:
        """Inputs with the sizes that are known."""
        entries = [self._entry(ref) for ref in self.network.inputs]
        names = [layer.name for layer in entries]
        if len(set(names)) != len(names):
            raise ModelFormatError(f"{self.where}: two inputs of the model have one name: {names}")
        return [self._input(layer, i, sizes) for i, layer in enumerate(entries)]

    def _entry(self, ref: Ref) -> Layer:
        layer = next(one for one in self.network.layers if one.name == ref.layer)
        if layer.kind != "InputLayer":
            raise UnsupportedModelError(
                f"{self.where}: input {ref.layer!r} of the model is a {layer.kind}; accepted: "
                "InputLayer"
            )
        return layer

    def _input(self, layer: Layer, position: int, known: Mapping[str, Size]) -> Value:
        """Declared type of an input: a free batch, int32 where it is looked up in a table."""
        shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
        if shape is None:
            shape = self._guessed(layer)
        if (
            not isinstance(shape, list)
            or not shape
            or not all(s is None or (isinstance(s, int) and 0 < s < 1 << 31) for s in shape)
        ):
            raise ModelFormatError(
                f"{self.where}: input {layer.name!r} has shape {shape!r}; expected a list of sizes"
            )
        if layer.config.get("sparse") or layer.config.get("ragged"):
            raise UnsupportedModelError(
                f"{self.where}: input {layer.name!r} is sparse or ragged; accepted: dense"
            )
        sizes = [symbol("batch")]
        for axis, size in enumerate(shape[1:], 1):
            sizes.append(size if size is not None else symbol(_word(axis, position)))
        if layer.config.get("dtype") not in (None, *_INPUTS):
            raise UnsupportedModelError(
                f"{self.where}: input {layer.name!r} has dtype {layer.config['dtype']!r}; "
                f"accepted: {', '.join(_INPUTS)}"
            )
        bound = tuple(substitute(s, known) for s in sizes)
        dtype = np.int32 if self._looked_up(self.network, layer.name) else np.float32
        return Value(layer.name, TensorType(np.dtype(dtype), bound))

    def _guessed(self, layer: Layer) -> list[int | None]:
        """Shape of an input that the configuration leaves out: [batch, time, features]."""
        fed = [one for one in self.network.layers if _feeds(one, layer.name)]
        first = fed[0] if fed else layer
        if isinstance(first.input_shape, list):
            return first.input_shape
        if first.kind in IDS:
            length = first.config.get("input_length")
            return [None, length if isinstance(length, int) else None]
        size = first.config.get("input_dim")
        if isinstance(size, int) and first.kind == "Dense":
            return [None, size]
        if isinstance(size, int):
            length = first.config.get("input_length")
            return [None, length if isinstance(length, int) else None, size]
        raise ModelFormatError(
            f"{self.where}: {first.where} does not say the shape of its input; expected "
            "batch_input_shape or an InputLayer"
        )

    def _looked_up(self, network: Network, name: str) -> bool:
        """Whether an input goes into an Embedding."""
        for one in network.layers:
            if not _feeds(one, name):
                continue
            if one.kind in IDS or isinstance(one.replacement, Embedding):
                return True
            if one.replacement is None and one.kind in NETWORKS:
                inner = config.network(one, self.version, self.where)
                if any(self._looked_up(inner, ref.layer) for ref in inner.inputs):
                    return True
        return False


def _word(axis: int, position: int) -> str:
    """Symbol of an open axis of an input; every input starts with its own."""
    word = "time" if axis == 1 else f"axis{axis}"
    return word if position == 0 else f"{word}_{position + 1}"


def _feeds(layer: Layer, name: str) -> bool:
    return any(ref.layer == name for call in layer.calls for ref in call.inputs)
