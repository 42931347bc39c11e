"""Gate orders of other formats; nothing else in the project knows them.

The canonical orders are i, f, g, o for the LSTM (i, f, o for its peepholes) and r, z, n for the
GRU.
"""

from __future__ import annotations

__all__ = ["CANONICAL", "KERAS", "KERAS_1", "ONNX", "ORDERS", "TORCH", "permutation"]

CANONICAL: dict[str, str] = {"LSTM": "ifgo", "LSTM.peephole": "ifo", "GRU": "rzn", "RNN": "h"}
"""Order of the gates in :mod:`rnnengine.ops.recurrent`."""

ONNX: dict[str, str] = {"LSTM": "iofg", "LSTM.peephole": "iof", "GRU": "zrn", "RNN": "h"}
"""W[iofc], P[iof] and W[zrh] of the ONNX operator texts, in canonical letters."""

TORCH: dict[str, str] = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}
"""Blocks of rows of weight_ih and weight_hh of torch.nn."""

KERAS: dict[str, str] = {"LSTM": "ifgo", "GRU": "zrn", "RNN": "h"}
"""Columns of kernel, recurrent_kernel and bias since Keras 2: i, f, c, o and z, r, h."""

KERAS_1: dict[str, str] = {"LSTM": "igfo", "GRU": "zrn"}
"""Order of the arrays of Keras 1, which kept three for each gate: i, c, f, o and z, r, h."""

ORDERS: dict[str, dict[str, str]] = {
    "ONNX": ONNX,
    "PyTorch": TORCH,
    "Keras": KERAS,
    "Keras 1": KERAS_1,
    "TensorFlow 1": {"LSTM": "igfo", "GRU": "rzn"},
    "OpenVINO": {"LSTM": "figo", "GRU": "zrn"},
    "ncnn": {"LSTM": "ifog", "GRU": "rzn"},
    "TFLite": {"LSTM": "ifgo", "LSTM.peephole": "ifo"},
}
"""Every format that is known to be mistaken for another: BasicLSTMCell's i, j, f, o; LSTMCell of
OpenVINO's operator set, f, i, c, o; ncnn's I, F, O, G."""


def permutation(foreign: dict[str, str], what: str) -> tuple[int, ...]:
    """For each canonical gate, its position in the foreign order."""
    return tuple(foreign[what].index(gate) for gate in CANONICAL[what])
