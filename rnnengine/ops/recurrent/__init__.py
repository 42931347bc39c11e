"""Recurrent layers in their canonical form; the table of operands is in :mod:`.common`."""

from rnnengine.ops.recurrent import gru, lstm, rnn
from rnnengine.ops.recurrent.activations import ACTIVATIONS, Activation, apply, discontinuities
from rnnengine.ops.recurrent.common import DIRECTIONS, Probe, RecurrentAttrs

__all__ = [
    "ACTIVATIONS",
    "DIRECTIONS",
    "RUN",
    "Activation",
    "Probe",
    "RecurrentAttrs",
    "apply",
    "discontinuities",
]

RUN = {"LSTM": lstm.run, "GRU": gru.run, "RNN": rnn.run}
"""The reference of each layer with its optional probe argument."""
