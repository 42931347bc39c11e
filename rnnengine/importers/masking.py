"""Steps that do not count in a described network, from an Embedding on, as Keras hands them on."""

from __future__ import annotations

from collections.abc import Sequence

from rnnengine.errors import UnsupportedModelError
from rnnengine.importers.emitting import Nodes
from rnnengine.layers import (
    BatchNorm1d,
    Elementwise,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    LogSoftmax,
    Recurrent,
    Softmax,
    describe,
)

__all__ = ["given_mask", "handed_mask"]


def given_mask(layer: Layer, masks: Sequence[str | None]) -> str | None:
    """Mask of the input of a layer, [batch, time] or as its ids are; None where all steps count.

    Parameters
    ----------
    layer : Layer
    masks : sequence of str or None
        Of each of its inputs.

    Raises
    ------
    UnsupportedModelError
        Keras' layer of that kind looks at the mask, drops it, or joins several.
    """
    mask = next((m for m in masks if m is not None), None)
    passes = isinstance(layer, Recurrent | Linear | LayerNorm | BatchNorm1d | Elementwise)
    if mask is None or (passes and not isinstance(layer, Softmax | LogSoftmax) and len(masks) == 1):
        return mask
    raise UnsupportedModelError(
        f"{describe(layer)}: some steps of its input do not count (mask_zero of an Embedding); "
        "accepted after it: recurrent layers without initial states, Linear, LayerNorm, "
        "BatchNorm1d, and elementwise layers but Softmax"
    )


def handed_mask(
    out: Nodes, layer: Layer, made: str, operands: Sequence[str], mask: str | None
) -> str | None:
    """Mask of what a layer gives: that of its input, as long as it has steps."""
    if isinstance(layer, Embedding) and layer.mask_zero:
        if out.type(operands[0]).rank != 2:
            raise UnsupportedModelError(
                f"{describe(layer)}: mask_zero with an input {out.type(operands[0])}; accepted: "
                "ids of two axes, batch and time"
            )
        return out.add("MaskIds", f"{made}.mask", operands)[0]
    return None if isinstance(layer, Recurrent) and not layer.return_sequences else mask
