"""Gate orders of other formats; nothing else in the project knows them.

The canonical orders are i, f, g, o for the LSTM (i, f, o for its peepholes) and r, z, n for the
GRU.
"""

from __future__ import annotations

__all__ = ["CANONICAL", "KERAS", "ONNX", "TORCH", "permutation"]

CANONICAL: dict[str, str] = {"LSTM": "ifgo", "LSTM.peephole": "ifo", "GRU": "rzn", "RNN": "h"}
"""Order of the gates in :mod:`rnnengine.ops.recurrent`."""

ONNX: dict[str, str] = {"LSTM": "iofg", "LSTM.peephole": "iof", "GRU": "zrn", "RNN": "h"}
"""W[iofc], P[iof] and W[zrh] of the ONNX operator texts, in canonical letters."""

TORCH: dict[str, str] = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
"""Blocks of rows of weight_ih and weight_hh of torch.nn."""

KERAS: dict[str, str] = {"LSTM": "ifgo", "GRU": "zrn", "RNN": "h"}
"""Blocks of columns of kernel and recurrent_kernel of Keras (i, f, c, o and z, r, h)."""


def permutation(foreign: dict[str, str], what: str) -> tuple[int, ...]:
    """For each canonical gate, its position in the foreign order."""
    return tuple(foreign[what].index(gate) for gate in CANONICAL[what])
