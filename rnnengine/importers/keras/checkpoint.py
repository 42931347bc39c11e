"""Weights of a Keras file without its configuration, in the names and the order of torch.

Every layer is a module of its own name: recurrent layers have ``weight_ih_l0``, ``weight_hh_l0``,
``bias_ih_l0``, ``bias_hh_l0`` (and those with ``_reverse`` inside Bidirectional), Dense,
Embedding, convolutions and normalisations have ``weight`` and ``bias``. What is neither keeps its
name and its layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError
from rnnengine.importers.checkpoint import Checkpoint, Module
from rnnengine.importers.keras.hdf5 import Array, Group, read_hdf5
from rnnengine.importers.keras.layers.cells import COUNT, arranged
from rnnengine.importers.keras.names import Flat

__all__ = ["layer_checkpoint", "read_checkpoint"]

_ROLES = ("kernel", "recurrent_kernel", "bias")
_NORMS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Words of Keras' normalisations, in the order of their weights, and those of torch."""
_WEIGHTED = {2: "Linear", 3: "Conv1d", 4: "Conv2d"}
"""Class of a layer with a kernel of so many axes."""


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


def layer_checkpoint(arrays: Mapping[str, Array], name: str) -> Checkpoint:
    """Weights of one layer, which is the root, in torch's names where they are known.

    Parameters
    ----------
    arrays : mapping of str to array
        By path in the file, as :class:`rnnengine.importers.keras.names.Params` has them for layers
        whose weights are not known.
    name : str
        Of the file and the layer, for messages.
    """
    parts: dict[str, dict[str, Array]] = {}
    for path, array in arrays.items():
        part, _, role = path.rpartition("/")
        parts.setdefault(part.removesuffix("vars").strip("/"), {})[role.split(":")[0]] = array
    shared = _shared(list(parts))
    tensors: dict[str, Array] = {}
    modules: dict[str, Module] = {}
    listed = []
    for part, own in parts.items():
        numbered = all(role.isdigit() for role in own)
        named = _named(part, [own[r] for r in sorted(own, key=int)]) if numbered else own
        listed.append((part[len(shared) :].strip("/"), named))
    _layer(name, "", listed, tensors, modules)
    return Checkpoint(tensors, modules, "keras", name)


def _shared(paths: list[str]) -> str:
    """Folders that all paths start with."""
    split = [path.split("/") for path in paths]
    count = 0
    while all(len(p) > count and p[count] == split[0][count] for p in split) and split:
        count += 1
    return "/".join(split[0][:count]) if split else ""


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
    if ranks in ([2], [2, 1], [3], [3, 1], [4], [4, 1]):
        return dict(zip(("kernel", "bias"), arrays, strict=False))
    if ranks in ([1, 1], [1, 1, 1, 1]) and len({a.shape for a in arrays}) == 1:
        return dict(zip(_NORMS, arrays, strict=False))
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
        path = layer if single else _under(layer, part.replace("/", ".") or str(number))
        if "recurrent_kernel" in arrays:
            end = "_l0_reverse" if joined and "backward" in part else "_l0"
            _recurrent(f"{name}: layer {path!r}", path, end, arrays, tensors, modules)
        else:
            kind, found = _plain(arrays)
            tensors.update({_under(path, leaf): array for leaf, array in found.items()})
            if kind:
                modules[path] = Module(kind, {})


def _under(path: str, leaf: str) -> str:
    return f"{path}.{leaf}" if path else leaf


def _plain(arrays: Mapping[str, Array]) -> tuple[str, dict[str, Array]]:
    """Class and tensors of a layer without memory, in torch's words; '' where it is not known."""
    kernel = arrays.get("kernel", np.zeros(0))
    if set(arrays) <= {"kernel", "bias"} and kernel.ndim in _WEIGHTED:
        weight = np.moveaxis(kernel, (-1, -2), (0, 1))
        found = {"weight": np.ascontiguousarray(weight)}
        found.update({"bias": arrays["bias"]} if "bias" in arrays else {})
        return _WEIGHTED[kernel.ndim], found
    if set(arrays) == {"embeddings"}:
        return "Embedding", {"weight": arrays["embeddings"]}
    if set(arrays) <= set(_NORMS):
        kind = "BatchNorm1d" if "moving_mean" in arrays else "LayerNorm"
        return kind, {_NORMS[role]: array for role, array in arrays.items()}
    return "", dict(arrays)


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
    tensors[_under(path, f"weight_ih{end}")] = w
    tensors[_under(path, f"weight_hh{end}")] = r
    attrs: dict[str, Any] = {"batch_first": True}
    if b_w is not None:
        tensors[_under(path, f"bias_ih{end}")] = b_w
        tensors[_under(path, f"bias_hh{end}")] = np.zeros_like(b_w) if b_r is None else b_r
    if op == "GRU" and bias is not None:
        attrs["reset_after"] = bias.shape != (columns,)
    modules[path] = Module(op, attrs)
