"""Layers of Keras, one module for each family; importing them makes them known."""

from rnnengine.importers.keras.layers import (
    attention,
    conv,
    dense,
    masks,
    merge,
    norms,
    pooling,
    recurrent,
    replaced,
    shapes,
)

__all__ = ["FAMILIES"]

FAMILIES = (
    attention,
    conv,
    dense,
    masks,
    merge,
    norms,
    pooling,
    recurrent,
    replaced,
    shapes,
)
