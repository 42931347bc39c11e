"""Weights of Keras layers in the names and layouts of torch, so that architectures find them.

Keras keeps a layer's arrays in a list: kernel [I, G*H], recurrent_kernel [H, G*H] and a bias of
[G*H], or [2, 3*H] for the GRU that resets after the product; a bidirectional layer has those of the
forward direction first. Files of weights alone do not say what kind of layer a list belongs to, but
the names of its arrays do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers import gates
from rnnengine.importers.checkpoint import Checkpoint

__all__ = ["keras_checkpoint"]

Array = np.ndarray[Any, Any]

_CELLS = {4: "LSTM", 3: "GRU", 1: "RNN"}


def keras_checkpoint(layers: Mapping[str, Sequence[tuple[str, Array]]], source: str) -> Checkpoint:
    """Turn the arrays of a file of Keras weights into a checkpoint.

    Parameters
    ----------
    layers : mapping of str to sequence of (str, array)
        For each layer, in order, its arrays with their names in the file.
    source : str
        Name of the file, for messages.

    Returns
    -------
    Checkpoint
        A module for each layer that has arrays, under the layer's name.

    Raises
    ------
    ModelFormatError
        Naming the layer whose arrays contradict each other.
    UnsupportedModelError
        Weights in the layout of cuDNN.
    """
    tensors: dict[str, Array] = {}
    for name, listed in layers.items():
        arrays = [(path.rpartition("/")[2].partition(":")[0], array) for path, array in listed]
        for leaf, array in _converted(arrays, f"{source}: layer {name!r}").items():
            tensors[f"{name}.{leaf}"] = array
    return Checkpoint(tensors, {}, "keras", source)


def _converted(arrays: Sequence[tuple[str, Array]], where: str) -> dict[str, Array]:
    leaves = [leaf for leaf, _ in arrays]
    if len(leaves) != len(set(leaves)) and leaves.count("recurrent_kernel") != 2:
        raise ModelFormatError(f"{where}: two arrays of one name: {', '.join(leaves)}")
    if "recurrent_kernel" in leaves:
        count = leaves.count("recurrent_kernel")
        size = len(arrays) // count
        parts = [dict(arrays[d * size : (d + 1) * size]) for d in range(count)]
        found: dict[str, Array] = {}
        for part, end in zip(parts, ("_l0", "_l0_reverse"), strict=False):
            if not {"kernel", "recurrent_kernel"} <= set(part) <= _RECURRENT:
                raise ModelFormatError(f"{where}: its arrays are {', '.join(leaves)}")
            found |= {leaf + end: value for leaf, value in _recurrent(part, where).items()}
        return found
    if set(leaves) <= {"kernel", "bias"} and dict(arrays)["kernel"].ndim == 2:
        return {"weight" if k == "kernel" else k: v.T for k, v in arrays}
    if leaves == ["embeddings"]:
        return {"weight": arrays[0][1]}
    return dict(arrays)


_RECURRENT = {"kernel", "recurrent_kernel", "bias"}


def _recurrent(part: Mapping[str, Array], where: str) -> dict[str, Array]:
    """Return the arrays of one direction as weight_ih, weight_hh, bias_ih and bias_hh."""
    kernel, recurrent = part["kernel"], part["recurrent_kernel"]
    hidden, columns = recurrent.shape if recurrent.ndim == 2 else (0, 0)
    if hidden == 0 or columns % hidden or columns // hidden not in _CELLS:
        raise ModelFormatError(
            f"{where}: recurrent_kernel has shape {list(recurrent.shape)}; expected 1, 3 or 4 "
            "times as many columns as rows"
        )
    if kernel.ndim != 2 or kernel.shape[1] != columns:
        raise ModelFormatError(
            f"{where}: kernel has shape {list(kernel.shape)}, expected {columns} columns"
        )
    cell = _CELLS[columns // hidden]
    order = [gates.KERAS[cell].index(gate) for gate in gates.TORCH[cell]]

    def rows(value: Array) -> Array:
        """Gates along the last axis to torch's order of rows."""
        blocks = [value[..., g * hidden : (g + 1) * hidden] for g in order]
        return np.ascontiguousarray(np.concatenate(blocks, axis=-1).T)

    found = {"weight_ih": rows(kernel), "weight_hh": rows(recurrent)}
    bias = part.get("bias")
    if bias is None:
        return found
    if bias.shape == (2 * columns,) and cell != "RNN":
        raise UnsupportedModelError(
            f"{where}: its bias has {2 * columns} numbers, so it was written by CuDNN{cell}; "
            "accepted: weights with the configuration of their model, which says so"
        )
    if bias.shape == (columns,):
        bias = np.stack([bias, np.zeros_like(bias)])
    elif bias.shape != (2, columns) or cell != "GRU":
        raise ModelFormatError(
            f"{where}: bias has shape {list(bias.shape)}; expected [{columns}]"
            + (f" or [2, {columns}]" if cell == "GRU" else "")
        )
    return {**found, "bias_ih": rows(bias[0]), "bias_hh": rows(bias[1])}
