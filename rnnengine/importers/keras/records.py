"""A Keras network as plain records: layers, their calls, and the tensors between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rnnengine.errors import ModelFormatError
from rnnengine.importers.keras.version import bare
from rnnengine.layers import Replacement

__all__ = ["Call", "Config", "Layer", "Network", "Ref", "listed", "mapping"]

Config: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Ref:
    """Output ``tensor`` of call ``node`` of the named layer."""

    layer: str
    node: int
    tensor: int


@dataclass(frozen=True)
class Call:
    """One call of a layer: inputs, initial state, masks, numbers, and arguments that are true."""

    inputs: tuple[Ref, ...]
    states: tuple[Ref, ...] = ()
    masks: tuple[Ref | None, ...] = ()
    numbers: tuple[float, ...] = ()
    options: frozenset[str] = frozenset()

    @property
    def refs(self) -> tuple[Ref, ...]:
        """Everything it needs: inputs, states, and the masks that there are."""
        return (*self.inputs, *self.states, *(ref for ref in self.masks if ref is not None))


@dataclass(frozen=True)
class Layer:
    """One layer: class, name, configuration, where it is called, and what stands for it."""

    kind: str
    name: str
    config: Config
    calls: tuple[Call, ...] = ()
    input_shape: Any = None
    replacement: Replacement | None = None

    @property
    def bare(self) -> str:
        """Name of the class without its module."""
        return bare(self.kind)

    @property
    def where(self) -> str:
        """The layer as messages name it."""
        return f"layer {self.name!r} ({self.kind})"


@dataclass(frozen=True)
class Network:
    """Layers in the order of the file; refs to the tensors that go in and come out."""

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]


def mapping(value: Any, where: str) -> Config:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where} is {type(value).__name__}; expected an object")
    return value


def listed(value: Any, where: str) -> list[Any]:
    """The value, which must be a list."""
    if not isinstance(value, list):
        raise ModelFormatError(f"{where} is {type(value).__name__}; expected a list")
    return value
