"""Layers of Keras, one module for each family; importing them makes them known."""

from rnnengine.importers.keras.layers import dense, masks, merge, recurrent, replaced, shapes

__all__ = ["FAMILIES"]

FAMILIES = (dense, masks, merge, recurrent, replaced, shapes)
