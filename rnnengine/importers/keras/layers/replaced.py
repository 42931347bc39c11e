"""Layers that cannot be read, and what the caller says they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import Value as Typed
from rnnengine.importers.architecture import build_layer
from rnnengine.importers.keras.checkpoint import layer_checkpoint
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.hdf5 import Array
from rnnengine.importers.keras.kinds import REPLACED, register
from rnnengine.importers.keras.names import Slots
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version
from rnnengine.layers import Layer as Description
from rnnengine.layers import Value

__all__: list[str] = []


def _slots(layer: Layer, version: Version) -> Slots:
    return Slots(unknown=True)


@register(REPLACED, slots=_slots, inputs=None)
def _replaced(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Whatever stands for the layer; a description drops the mask, a function says what it gets."""
    for tensor in inputs:
        if tensor.steps is not None:
            raise UnsupportedModelError(f"{ctx.where}: its input is a mask; accepted: numbers")
    given = ctx.layer.replacement
    tensors = [ctx.settled(t) for t in inputs]
    if isinstance(given, Description):
        return [_described(ctx, given, tensors)]
    assert given is not None
    call = _Call(ctx)
    masks = ctx.masks(tensors)
    made = given(call, *(call.value(t, m) for t, m in zip(tensors, masks, strict=True)))
    return [call.result(v) for v in (made if isinstance(made, tuple | list) else [made])]


def _described(ctx: Context, layer: Description, inputs: Sequence[Tensor]) -> Tensor:
    types = [Typed(f"input{i}", ctx.type(t)) for i, t in enumerate(inputs)]
    checkpoint = layer_checkpoint(ctx.params.own, ctx.where)
    graph = build_layer(checkpoint, layer, types)
    (name,) = ctx.builder.inline(graph, [t.name for t in inputs], ctx.path)
    return Tensor(name)


class _Call:
    """What a function that stands for a layer writes the graph with."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    @property
    def name(self) -> str:
        return self._ctx.path

    @property
    def kind(self) -> str:
        return self._ctx.layer.kind

    @property
    def config(self) -> Mapping[str, Any]:
        return self._ctx.layer.config

    @property
    def weights(self) -> tuple[Array, ...]:
        return tuple(self._ctx.params.own.values())

    def value(self, tensor: Tensor, mask: str | None) -> Value:
        """A tensor of the importer as the function sees it."""
        return self._named(tensor.name).masked(None if mask is None else self._named(mask))

    def result(self, value: Any) -> Tensor:
        """What the function returned, as a tensor of the importer."""
        name = self._known(value)
        if value.mask is None:
            return Tensor(name)
        mask = self._known(value.mask)
        found = self._ctx.type(mask)
        if found.dtype != np.int32 or found.rank != 2:
            raise UnsupportedModelError(
                f"{self._ctx.where}: its replacement returned the mask {found}; expected int32 "
                "[batch, time]"
            )
        return Tensor(name, mask)

    def op(self, name: str, /, *inputs: Any, outputs: int = 1, **attrs: Any) -> Any:
        """See :meth:`rnnengine.layers.LayerCall.op`."""
        operands = [None if v is None else self._operand(v) for v in inputs]
        attrs = {key: tuple(v) if isinstance(v, list) else v for key, v in attrs.items()}
        if "to" in attrs:
            attrs["to"] = np.dtype(attrs["to"])
        try:
            names = self._ctx.emit_many(name, operands, outputs, attrs)
        except RNNEngineError as error:
            error.args = (f"{self._ctx.where}: its replacement: {error}",)
            raise
        except (LookupError, TypeError, ValueError) as error:
            raise UnsupportedModelError(
                f"{self._ctx.where}: its replacement writes {name} with {len(inputs)} inputs and "
                f"attributes {attrs}, which do not fit ({type(error).__name__}: {error})"
            ) from error
        values = tuple(self._named(n) for n in names)
        return values[0] if outputs == 1 else values

    def _named(self, name: str) -> Value:
        return Value(name, self._ctx.type(name).shape)

    def _known(self, value: Any) -> str:
        if not isinstance(value, Value) or value.name not in self._ctx.builder.inference.types:
            raise UnsupportedModelError(
                f"{self._ctx.where}: its replacement used {value!r}; expected a value made by "
                "layer.op or one of its inputs"
            )
        return value.name

    def _operand(self, value: Any) -> str:
        if isinstance(value, Value):
            return self._known(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._ctx.constant("number", np.array(value, np.float32))
        array = np.asarray(value)
        dtypes = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}
        if array.dtype.kind not in dtypes:
            return self._known(value)
        return self._ctx.constant("array", array.astype(dtypes[array.dtype.kind]))
