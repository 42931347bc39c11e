"""Weights of a Keras file without its configuration, in the names and the order of torch.

Every layer is a module of its own name: recurrent layers have ``weight_ih_l0``, ``weight_hh_l0``,
``bias_ih_l0``, ``bias_hh_l0`` (and those with ``_reverse`` inside Bidirectional), Dense and
Embedding have ``weight`` and ``bias``. What is neither keeps its name and its layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError
from rnnengine.importers.checkpoint import Checkpoint, Module
from rnnengine.importers.keras.hdf5 import Array, Group, read_hdf5
from rnnengine.importers.keras.layers.cells import COUNT, arranged
from rnnengine.importers.keras.names import Flat

__all__ = ["read_checkpoint"]

_ROLES = ("kernel", "recurrent_kernel", "bias")


def read_checkpoint(content: bytes, name: str) -> Checkpoint:
    """Read the weights of an HDF5 file of Keras.

    Parameters
    ----------
    content : bytes
    name : str
        Name of the file for messages.

    Returns
    -------
    Checkpoint
        Its framework is ``'keras'``, or ``'keras3'`` for files of Keras 3 alone, in which the
        layers stand in the order of their classes and not in that of the model.

    Raises
    ------
    ModelFormatError, UnsupportedModelError, UnsafeFileError
        As for :func:`rnnengine.importers.keras.hdf5.read_hdf5`; a recurrent layer whose weights do
        not fit each other.
    """
    root = read_hdf5(content, name)
    inner = root.groups.get("model_weights", root)
    flat = "layer_names" in inner.attrs or "layer_names0" in inner.attrs
    found = list(_flat(inner, name) if flat else _tree(root, ""))
    layers: dict[str, list[tuple[str, dict[str, Array]]]] = {}
    for layer, part, arrays in found:
        layers.setdefault(layer, []).append((part, arrays))
    tensors: dict[str, Array] = {}
    modules: dict[str, Module] = {}
    for layer, parts in layers.items():
        _layer(name, layer, parts, tensors, modules)
    return Checkpoint(tensors, modules, "keras" if flat else "keras3", name)


def _flat(root: Group, name: str) -> Iterator[tuple[str, str, dict[str, Array]]]:
    """Layer, part of it, and arrays by role, from the lists of Keras 1 and 2."""
    for layer, listed in Flat(root, name).layers.items():
        parts: dict[str, dict[str, Array]] = {}
        for path, array in listed:
            part, _, role = path.rpartition("/")
            parts.setdefault(part, {})[role.split(":")[0]] = array
        for part, arrays in parts.items():
            yield layer, part, arrays


def _tree(group: Group, path: str) -> Iterator[tuple[str, str, dict[str, Array]]]:
    """The same from the tree of Keras 3, whose arrays have numbers: the roles follow the shapes."""
    variables = group.groups.get("vars")
    if variables is not None and variables.arrays:
        listed = [variables.arrays[k] for k in sorted(variables.arrays)]
        layer, _, part = path.partition("/")
        yield layer, part, _named(layer, listed)
    for name, inner in group.groups.items():
        if name == "vars":
            continue
        root = not path and name in ("layers", "_layer_checkpoint_dependencies")
        own = inner.groups["vars"].attrs.get("name") if "vars" in inner.groups else None
        shown = own if isinstance(own, str) and own and not path else name
        yield from _tree(inner, "" if root else f"{path}/{shown}".lstrip("/"))


def _named(layer: str, arrays: list[Array]) -> dict[str, Array]:
    """Roles of the variables of one layer or cell."""
    if "embedding" in layer and len(arrays) == 1:
        return {"embeddings": arrays[0]}
    ranks = [a.ndim for a in arrays]
    if ranks[:2] == [2, 2] and len(arrays) <= 3:
        return dict(zip(_ROLES, arrays, strict=False))
    if ranks in ([2], [2, 1]):
        return dict(zip(("kernel", "bias"), arrays, strict=False))
    return {str(i): array for i, array in enumerate(arrays)}


def _layer(
    name: str,
    layer: str,
    parts: list[tuple[str, dict[str, Array]]],
    tensors: dict[str, Array],
    modules: dict[str, Module],
) -> None:
    """Add the tensors of one layer, those of a Bidirectional as one layer of two directions."""
    recurrent = [(p, a) for p, a in parts if "recurrent_kernel" in a]
    sides = ["backward" in p for p, _ in recurrent]
    joined = len(parts) == len(recurrent) == 2 and sorted(sides) == [False, True]
    for number, (part, arrays) in enumerate(parts):
        single = len(parts) == 1 or joined
        path = layer if single else f"{layer}.{part.replace('/', '.') or number}"
        if "recurrent_kernel" in arrays:
            end = "_l0_reverse" if joined and "backward" in part else "_l0"
            _recurrent(f"{name}: layer {path!r}", path, end, arrays, tensors, modules)
        elif set(arrays) <= {"kernel", "bias"} and arrays.get("kernel", np.zeros(0)).ndim == 2:
            tensors[f"{path}.weight"] = np.ascontiguousarray(arrays["kernel"].T)
            if "bias" in arrays:
                tensors[f"{path}.bias"] = arrays["bias"]
            modules[path] = Module("Linear", {})
        elif set(arrays) == {"embeddings"}:
            tensors[f"{path}.weight"] = arrays["embeddings"]
            modules[path] = Module("Embedding", {})
        else:
            tensors.update({f"{path}.{role}": array for role, array in arrays.items()})


def _recurrent(
    where: str,
    path: str,
    end: str,
    arrays: dict[str, Array],
    tensors: dict[str, Array],
    modules: dict[str, Module],
) -> None:
    """Add one direction of a recurrent layer."""
    kernel, recurrent, bias = (arrays.get(role) for role in _ROLES)
    assert recurrent is not None
    units, columns = recurrent.shape if recurrent.ndim == 2 else (0, 0)
    ops = [op for op, count in COUNT.items() if units and columns == count * units]
    biases = [(columns,), (2, columns), (2 * columns,)]
    fits = kernel is not None and kernel.ndim == 2 and kernel.shape[1] == columns
    if not ops or not fits or kernel is None or (bias is not None and bias.shape not in biases):
        shapes = ", ".join(f"{role} {list(a.shape)}" for role, a in arrays.items())
        raise ModelFormatError(f"{where}: {shapes} are no weights of an LSTM, GRU or SimpleRNN")
    op = ops[0]
    w, r, b_w, b_r = arranged(op, kernel, recurrent, bias)
    tensors[f"{path}.weight_ih{end}"], tensors[f"{path}.weight_hh{end}"] = w, r
    attrs: dict[str, Any] = {"batch_first": True}
    if b_w is not None:
        tensors[f"{path}.bias_ih{end}"] = b_w
        tensors[f"{path}.bias_hh{end}"] = np.zeros_like(b_w) if b_r is None else b_r
    if op == "GRU" and bias is not None:
        attrs["reset_after"] = bias.shape != (columns,)
    modules[path] = Module(op, attrs)
