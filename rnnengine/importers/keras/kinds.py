"""The classes of layers that are understood: how each is converted, and which weights it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.names import Slots
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__ = ["KINDS", "REPLACED", "Convert", "Kind", "known", "register", "slots_of"]

Convert: TypeAlias = Callable[[Context, Sequence[Tensor]], list[Tensor]]
SlotsOf: TypeAlias = Callable[[Layer, Version], Slots]


@dataclass(frozen=True)
class Kind:
    """What is known of a class of layers.

    Attributes
    ----------
    convert : callable(context, inputs) -> list of Tensor
    slots : callable(layer, version) -> Slots
    inputs : int or None
        How many tensors it takes; None: one or more.
    timewise : bool
        It works on the last axis alone, so it means the same inside TimeDistributed.
    options : tuple of str
        Arguments that its calls may set to true.
    """

    convert: Convert
    slots: SlotsOf
    inputs: int | None = 1
    timewise: bool = False
    options: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {}
"""Class names of Keras that are understood; filled by :mod:`rnnengine.importers.keras.layers`."""

REPLACED = "(replaced)"
"""The entry for layers that something of the caller's stands for."""

_REFUSED = {
    "Lambda": "it holds code, which is never run",
    "TFOpLambda": "it is a call of a TensorFlow function",
    "SlicingOpLambda": "it is a slice written in Python",
    "ConvLSTM1D": "recurrent convolutions are not computed",
    "ConvLSTM2D": "recurrent convolutions are not computed",
    "ConvLSTM3D": "recurrent convolutions are not computed",
}


def _no_slots(layer: Layer, version: Version) -> Slots:
    return Slots()


def register(
    *kinds: str,
    slots: SlotsOf = _no_slots,
    inputs: int | None = 1,
    timewise: bool = False,
    options: tuple[str, ...] = (),
) -> Callable[[Convert], Convert]:
    """Make a function the conversion of some classes of layers."""

    def decorate(function: Convert) -> Convert:
        for kind in kinds:
            KINDS[kind] = Kind(function, slots, inputs, timewise, options)
        return function

    return decorate


def known(layer: Layer, path: str) -> Kind:
    """What is known of a layer's class.

    Raises
    ------
    UnsupportedModelError
        Nothing.
    """
    found = KINDS.get(REPLACED if layer.replacement is not None else layer.kind)
    if found is None:
        listed = ", ".join(sorted(kind for kind in KINDS if kind[0].isupper()))
        foreign = f"it is not Keras' own; accepted: {listed}"
        reason = _REFUSED.get(layer.kind, foreign)
        raise UnsupportedModelError(
            f"layer {path!r} is of class {layer.kind!r}, which is not supported: {reason}. Where "
            f"other layers compute the same, pass replacements={{{layer.name!r}: ...}}"
        )
    return found


def slots_of(layer: Layer, version: Version, path: str) -> Slots:
    """Weights that a layer has in its files; those of a frozen layer count as not trainable."""
    slots = known(layer, path).slots(layer, version)
    return _frozen(slots) if layer.config.get("trainable") is False else slots


def _frozen(slots: Slots) -> Slots:
    own = tuple((role, False) for role, _ in slots.own)
    return Slots(own, tuple((k, p, _frozen(inner)) for k, p, inner in slots.children))
