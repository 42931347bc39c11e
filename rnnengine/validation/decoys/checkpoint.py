"""The recurrent layers of the file that a model was made from, in canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.errors import RNNEngineError
from rnnengine.importers import gates
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.importers.single import found_recurrent
from rnnengine.importers.weights import Group, groups_of

__all__ = ["Module", "modules_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Module:
    """One layer of a stack in a checkpoint.

    Attributes
    ----------
    op, path : str
    layer, layers : int
        Which of how many.
    hidden_size : int
    operands : mapping of str to array
        ``W``, ``R``, and where they are there ``b_w``, ``b_r``, ``proj``, [D, ...].
    """

    op: str
    path: str
    layer: int
    layers: int
    hidden_size: int
    operands: Mapping[str, Array]


_LEAVES = {
    "W": "weight_ih", "R": "weight_hh", "b_w": "bias_ih", "b_r": "bias_hh", "proj": "weight_hr",
}  # fmt: skip


def modules_of(checkpoint: Checkpoint | None) -> list[Module]:
    """Every layer of every recurrent module; none where the file has a graph of its own."""
    if checkpoint is None or not checkpoint.tensors:
        return []
    try:
        groups = groups_of(checkpoint)
        found = found_recurrent(checkpoint.source, groups)
    except RNNEngineError:
        return []
    made = []
    for path, layer in found.items():
        op, words = layer.cell.__name__, layer.words
        for k in range(words["num_layers"]):
            operands = _operands(op, groups[path], k, words)
            if operands is not None:
                count, size = words["num_layers"], words["hidden_size"]
                made.append(Module(op, path, k, count, size, operands))
    return made


def _operands(
    op: str, group: Group, layer: int, words: Mapping[str, Any]
) -> dict[str, Array] | None:
    """Operands of one layer, gates in canonical order; None where tensors are missing."""
    end = f"_l{layer}" if "weight_ih_l0" in group.tensors else ""
    ends = [end, f"{end}_reverse"][: 1 + words["bidirectional"]]
    order, size = gates.permutation(gates.TORCH, op), words["hidden_size"]
    made: dict[str, Array] = {}
    for what, leaf in _LEAVES.items():
        tensors = [group.tensors.get(leaf + e) for e in ends]
        there = [t for t in tensors if t is not None]
        if len(there) != len(ends):
            if what in "WR":
                return None
            continue
        if what == "proj":
            made[what] = np.stack(there)
        else:
            made[what] = np.stack(
                [np.concatenate([t[g * size : (g + 1) * size] for g in order]) for t in there]
            )
    return made
