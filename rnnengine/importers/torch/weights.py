"""From what a file calls its weights to plain arrays with plain names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.checkpoint import Module
from rnnengine.importers.torch.inert import Values
from rnnengine.importers.torch.modules import Found
from rnnengine.importers.torch.quantised import unpacked
from rnnengine.importers.torch.tensors import Budget, TensorRef, materialise

__all__ = ["finished", "plain", "weight_norm"]

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


def finished(found: Found, stored: int, where: str) -> tuple[dict[str, Array], dict[str, Module]]:
    """Make the arrays, fold what reparametrises them, and strip what wraps their names.

    Parameters
    ----------
    found : Found
    stored : int
        Bytes of the file.
    where : str
        Name of the file, for messages.

    Raises
    ------
    ModelFormatError
        A tensor reaches outside its storage.
    UnsupportedModelError
        A type or a parametrisation that is not supported.
    """
    unpacked(found, where)
    arrays = _without_compile(plain(found, stored, where), where)
    arrays = _fold(arrays, where)
    return _stripped(arrays, {_uncompiled(p): m for p, m in found.modules.items()})


def plain(found: Found, stored: int, where: str) -> dict[str, Array]:
    """Make the arrays under the names the file gives them.

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        As :func:`finished` does.
    """
    budget = Budget(stored)
    made: dict[int, Array] = {}
    arrays: Arrays = {}
    for name, leaf in found.leaves.items():
        if id(leaf) not in made:
            made[id(leaf)] = _array(leaf, f"{where}: tensor {name[:200]!r}", budget)
        arrays[name] = made[id(leaf)]
    return arrays


def _array(leaf: Any, where: str, budget: Budget) -> Array:
    if isinstance(leaf, TensorRef):
        return materialise(leaf, where, budget)
    array = leaf.array() if isinstance(leaf, Values) else None
    if array is None:
        raise UnsupportedModelError(
            f"{where} is no plain tensor; accepted: dense tensors and quantised weights of LSTM,"
            " GRU, their cells and Linear"
        )
    budget.take(array.nbytes, where)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _uncompiled(name: str) -> str:
    """Names without the wrapper of torch.compile, wherever it stands."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _without_compile(arrays: Arrays, where: str) -> Arrays:
    renamed = {_uncompiled(name): array for name, array in arrays.items()}
    if len(renamed) != len(arrays):
        raise ModelFormatError(f"{where}: names are not unique without their '_orig_mod'")
    return renamed


def _stripped(arrays: Arrays, modules: dict[str, Module]) -> tuple[Arrays, dict[str, Module]]:
    """Names without the wrappers that all of them share: DataParallel, Lightning."""
    while arrays:
        ahead = next((p for p in ("module.", "model.") if all(n.startswith(p) for n in arrays)), "")
        if not ahead:
            break
        arrays = {name[len(ahead) :]: array for name, array in arrays.items()}
        root = modules.get(ahead[:-1])
        modules = {p[len(ahead) :]: m for p, m in modules.items() if p.startswith(ahead)}
        if root is not None:
            modules = {"": root, **modules}
    return arrays, modules


_PARAMETRISED = re.compile(r"^((?:.*\.)?)parametrizations\.([^.]+)\.(.+)$")


def _fold(arrays: Arrays, where: str) -> Arrays:
    """Weights in the place of what parametrises them.

    Weight norm, w = g * v / ||v|| (``torch.nn.utils.weight_norm``): ``w_g``, ``w_v``, or
    ``parametrizations.w.original0`` and ``original1``. Spectral norm, w / (u . W v)
    (``torch.nn.utils.spectral_norm``, without a step of the power iteration, as in evaluation):
    ``w_orig``, ``w_u``, ``w_v``, or ``parametrizations.w.original``, ``0._u`` and ``0._v``.
    """
    groups: dict[str, Arrays] = {}
    for name in list(arrays):
        match = _PARAMETRISED.match(name)
        if match:
            groups.setdefault(match[1] + match[2], {})[match[3]] = arrays[name]
    folded: Arrays = {}
    for name, array in arrays.items():
        match = _PARAMETRISED.match(name)
        base = match[1] + match[2] if match else name
        if match:
            if base not in folded:
                folded[base] = _parametrised(groups[base], f"{where}: {base!r}")
        elif name.endswith("_g") and _is_weight_norm(name[:-2], arrays):
            folded[name[:-2]] = weight_norm(array, arrays[f"{name[:-2]}_v"], f"{where}: {name!r}")
        elif name.endswith("_orig") and f"{name[:-5]}_u" in arrays:
            base = name[:-5]
            vector = arrays.get(f"{base}_v")
            folded[base] = _spectral(array, arrays[f"{base}_u"], vector, f"{where}: {base!r}")
        elif not _belongs(name, arrays):
            folded.setdefault(name, array)
    return folded


def _belongs(name: str, arrays: Arrays) -> bool:
    """Whether an array is a part of a parametrised weight that is folded."""
    base = name[:-2]
    if name.endswith("_v") and _is_weight_norm(base, arrays):
        return True
    return name.endswith(("_u", "_v")) and f"{base}_orig" in arrays and f"{base}_u" in arrays


def _is_weight_norm(base: str, arrays: Arrays) -> bool:
    """Whether ``_g`` and ``_v`` after a name are lengths and directions, not names by chance."""
    g, v = arrays.get(f"{base}_g"), arrays.get(f"{base}_v")
    return g is not None and v is not None and base not in arrays and _fits(g, v)


def _fits(g: Array, v: Array) -> bool:
    """Whether there is one length for each index of one axis of v, or one for all of v."""
    if v.ndim < 2 or g.ndim not in (0, v.ndim) or g.dtype.kind != "f" or v.dtype.kind != "f":
        return False
    wide = [axis for axis, n in enumerate(g.shape) if n != 1]
    return len(wide) < 2 and all(g.shape[axis] == v.shape[axis] for axis in wide)


def _parametrised(parts: Arrays, where: str) -> Array:
    if set(parts) == {"original0", "original1"}:
        return weight_norm(parts["original0"], parts["original1"], where)
    if set(parts) == {"original", "0._u", "0._v"}:
        return _spectral(parts["original"], parts["0._u"], parts["0._v"], where)
    raise UnsupportedModelError(
        f"{where} is parametrised by {sorted(parts)}; accepted: weight_norm and spectral_norm. Call"
        " torch.nn.utils.parametrize.remove_parametrizations before saving"
    )


def weight_norm(g: Array, v: Array, where: str) -> Array:
    """Weight of lengths ``g`` and directions ``v``: g * v / ||v||, rounded once.

    Raises
    ------
    UnsupportedModelError
        Their shapes do not belong together.
    """
    if not _fits(g, v):
        raise UnsupportedModelError(
            f"{where}: weight_norm of shape {list(g.shape)} for a direction of {list(v.shape)}"
        )
    others = tuple(axis for axis in range(v.ndim) if g.ndim == 0 or g.shape[axis] == 1)
    exact = v.astype(np.float64)
    norm = np.sqrt(np.sum(exact * exact, axis=others, keepdims=True))
    with np.errstate(all="ignore"):
        scaled: Array = exact * (g.astype(np.float64) / norm)
        return scaled.astype(v.dtype)


def _spectral(weight: Array, u: Array, v: Array | None, where: str) -> Array:
    if v is None or u.ndim != 1 or v.ndim != 1 or weight.ndim < 2 or weight.dtype.kind != "f":
        raise UnsupportedModelError(
            f"{where}: spectral_norm without its vectors u and v, or of no matrix; call"
            " remove_spectral_norm before saving"
        )
    # The rows may lie along axis 1 (transposed convolutions): sizes tell, or nothing does.
    fitting = [a for a in (0, 1) if weight.shape[a] == u.size and weight.size == u.size * v.size]
    if not fitting or (len(fitting) > 1 and weight.ndim > 2):
        raise UnsupportedModelError(
            f"{where}: spectral_norm of a weight {list(weight.shape)} with vectors of {u.size} and"
            f" {v.size}; along which axis is not plain. Call remove_spectral_norm before saving"
        )
    matrix = np.moveaxis(weight, fitting[0], 0).reshape(u.size, v.size).astype(np.float64)
    sigma = u.astype(np.float64) @ matrix @ v.astype(np.float64)
    with np.errstate(all="ignore"):
        return (weight.astype(np.float64) / sigma).astype(weight.dtype)
