"""Constants of a ``.rnne`` file: which are stored packed, and the proof that they are what is said.

The description's ``packed`` maps the name of a tensor to ``[layout, shape, gates, columns]``: the
tensor is flat and holds the blocks of :mod:`rnnengine.graph.packed`, one after the other. ``shape``
is the constant's. In the layout ``panels16`` pad units are zero, and nothing is below FLT_MIN.
Weights of fewer bytes say more: :mod:`rnnengine.importers.native_lowered`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, PackedMatrix, Packing, as_lowered, as_packed
from rnnengine.graph.packed import LAYOUT, aligned, to_panels
from rnnengine.importers.safetensors import Content, Header, tensor
from rnnengine.ops.weights import packings

__all__ = ["constants", "settled", "stored"]

Array = np.ndarray[Any, Any]

_PANEL = 16
_FIELDS = 4
"""Of what is said of a packed tensor of float32."""


def stored(graph: Graph) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors of a file that holds a graph, and what its description says of the packed ones."""
    chosen = packings(graph)
    tensors: dict[str, Array] = {}
    packed: dict[str, Any] = {}
    taken = set(graph.constants)
    for name, value in graph.constants.items():
        packing = chosen.get(name)
        lowered = as_lowered(value)
        if lowered is not None and packing is not None:
            from rnnengine.importers import native_lowered

            parts, packed[name] = native_lowered.stored(name, lowered.packed_as(packing), taken)
            tensors |= parts
            continue
        if packing is None:
            tensors[name] = np.asarray(value)
            continue
        tensors[name] = _flat(value, packing)
        packed[name] = [LAYOUT, list(value.shape), list(packing.gates), packing.columns]
    return tensors, packed


def _flat(value: Array, packing: Packing) -> Array:
    """All blocks of a constant, one after the other."""
    kept = as_packed(value)
    if kept is not None and kept.packing == packing and kept.layout == LAYOUT:
        return np.concatenate(kept.blocks)
    whole = np.asarray(value)
    directions, rows, k = packing.matrices(whole.shape) or (0, 0, 0)
    matrices = (whole.T if packing.columns else whole).reshape(directions, rows, k)
    units = rows // sum(packing.gates)
    ends = np.cumsum(packing.gates) * units
    parts = np.split(matrices, ends[:-1], axis=1)
    blocks = [to_panels(m, gates) for m, gates in zip(parts, packing.gates, strict=True)]
    return np.concatenate(blocks)


def constants(
    content: Content, header: Header, names: list[str], packed: Mapping[str, Any]
) -> dict[str, Array]:
    """Constants of a graph, of which ``packed`` are stored packed.

    Raises
    ------
    ModelFormatError
        A packed tensor is not what the description says.
    UnsupportedModelError
        It is packed in a way that this version does not know.
    """
    unknown = [name for name in packed if name not in names]
    if unknown:
        raise ModelFormatError(f"packed tensor {str(unknown[0])[:80]!r} is not in the file")
    tensors = {name: tensor(content, header, name) for name in names}
    if all(len(said) == _FIELDS for said in packed.values()):
        return {k: _proven(k, v, packed[k]) if k in packed else v for k, v in tensors.items()}
    from rnnengine.importers import native_lowered

    beside = native_lowered.others(packed)
    absent = beside - tensors.keys()
    if absent:
        raise ModelFormatError(f"packed tensor {min(absent)[:80]!r} is not in the file")
    found: dict[str, Any] = {}
    for name, value in tensors.items():
        said = packed.get(name)
        if said is not None and len(said) == native_lowered.FIELDS:
            found[name] = native_lowered.proven(name, tensors, said)
        elif name not in beside:
            found[name] = value if said is None else _proven(name, value, said)
    return found


def _proven(name: str, flat: Array, said: Any) -> Any:
    where = f"packed tensor {name!r}"
    layout, shape, gates, columns = said
    if layout != LAYOUT:
        raise UnsupportedModelError(
            f"{where}: its layout is {str(layout)[:80]!r}; this version reads {LAYOUT!r}"
        )
    whole = [*shape, *gates]
    if any(type(n) is not int or n < 1 for n in whole) or type(columns) is not bool or not gates:
        raise ModelFormatError(f"{where}: it is said to be {str(said)[:80]}")
    packing = Packing(tuple(gates), columns)
    sizes = packing.sizes(tuple(shape)) if packing.matrices(tuple(shape)) else None
    if sizes is None or flat.dtype != np.float32 or flat.shape != (sum(sizes),):
        raise ModelFormatError(
            f"{where}: {flat.dtype}{list(flat.shape)} is not the packed form of a constant of "
            f"shape {list(shape)} in gates of {list(gates)}"
        )
    flat = aligned(flat)
    blocks = tuple(np.split(flat, np.cumsum(sizes)[:-1]))
    matrix = PackedMatrix(tuple(shape), packing, blocks)
    if not _padded_with_zeros(matrix):
        raise ModelFormatError(f"{where}: its pad units are not zero")
    return matrix


def _padded_with_zeros(matrix: PackedMatrix) -> bool:
    directions, rows, k = matrix.packing.matrices(matrix.shape) or (0, 0, 0)
    units = rows // sum(matrix.packing.gates)
    used = units % _PANEL
    if not used:
        return True
    panels = -(-units // _PANEL)
    for gates, block in zip(matrix.packing.gates, matrix.blocks, strict=True):
        last = block.reshape(directions, panels, k * gates, _PANEL)[:, -1]
        if np.any(last[..., used:].view(np.int32)):
            return False
    return True


def settled(graph: Graph) -> Graph:
    """Return the graph with those constants unpacked that its nodes do not read as packed."""
    chosen = packings(graph)
    kept: dict[str, Any] = {}
    for name, value in graph.constants.items():
        packing, packed, lowered = chosen.get(name), as_packed(value), as_lowered(value)
        if lowered is not None:
            kept[name] = lowered.unpacked() if packing is None else lowered.packed_as(packing)
        else:
            wanted = packed is None or packed.packing == packing
            kept[name] = value if packed is None or wanted else packed.unpacked()
    return graph.with_(constants=kept)
