"""Recurrent layers in their canonical form; the table of operands is in :mod:`.common`."""

from rnnengine.ops.recurrent.activations import ACTIVATIONS, Activation, apply, discontinuities
from rnnengine.ops.recurrent.common import DIRECTIONS, Probe, RecurrentAttrs

__all__ = [
    "ACTIVATIONS",
    "DIRECTIONS",
    "Activation",
    "Probe",
    "RecurrentAttrs",
    "apply",
    "discontinuities",
]
