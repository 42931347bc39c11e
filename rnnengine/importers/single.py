"""One recurrent layer of a checkpoint: its configuration from names, shapes and module records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.checkpoint import Checkpoint, Module
from rnnengine.importers.weights import Group, listed
from rnnengine.layers import GRU, LSTM, RNN, Architecture, Recurrent

__all__ = ["Found", "found_recurrent", "is_recurrent", "recurrent_of"]

_LEAF = re.compile(r"weight_ih(?:_l(?P<layer>\d{1,4})(?P<reverse>_reverse)?)?$")
_CELLS: dict[int, type[Recurrent]] = {4: LSTM, 3: GRU, 1: RNN}
_KINDS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


class Found:
    """Configuration of a recurrent layer as its tensors show it."""

    def __init__(self, source: str, group: Group) -> None:
        where = f"{source}: module {group.path!r}"
        matches = [m for leaf in group.tensors if (m := _LEAF.match(leaf))]
        layers = {int(m["layer"] or 0) for m in matches}
        end = "_l0" if "weight_ih_l0" in group.tensors else ""
        for leaf in (f"weight_ih{end}", f"weight_hh{end}"):
            if leaf not in group.tensors or group.tensors[leaf].ndim != 2:
                raise ModelFormatError(f"{where}: {leaf!r} is missing or no matrix")
        rows, columns = group.tensors[f"weight_hh{end}"].shape
        projection = group.tensors.get(f"weight_hr{end}")
        if projection is not None and projection.ndim != 2:
            raise ModelFormatError(f"{where}: 'weight_hr{end}' is no matrix")
        hidden = columns if projection is None else projection.shape[1]
        if hidden == 0 or rows % hidden or rows // hidden not in _CELLS:
            raise ModelFormatError(
                f"{where}: 'weight_hh{end}' has shape [{rows}, {columns}]; expected 1, 3 or 4 "
                f"times {hidden} rows"
            )
        self.cell = _CELLS[rows // hidden]
        self.words: dict[str, Any] = {
            "input_size": int(group.tensors[f"weight_ih{end}"].shape[1]),
            "hidden_size": int(hidden),
            "num_layers": len(layers),
            "bias": f"bias_ih{end}" in group.tensors,
            "bidirectional": any(m["reverse"] for m in matches),
        }
        if projection is not None:
            self.words["proj_size"] = int(columns)

    def __str__(self) -> str:
        words = ", ".join(f"{k}={v}" for k, v in self.words.items())
        return f"{self.cell.__name__}({words})"


def is_recurrent(group: Group) -> bool:
    """Whether a module's tensors are those of a recurrent layer or cell."""
    return any(_LEAF.match(leaf) for leaf in group.tensors)


def found_recurrent(source: str, groups: Mapping[str, Group]) -> dict[str, Found]:
    """Every recurrent layer of a checkpoint, by path."""
    return {path: Found(source, g) for path, g in groups.items() if is_recurrent(g)}


def recurrent_of(
    checkpoint: Checkpoint,
    groups: Mapping[str, Group],
    path: str,
    architecture: Architecture | None,
) -> tuple[Recurrent, dict[str, Group]]:
    """Return one recurrent layer as an architecture of its own, with its tensors.

    Sizes are those of the tensors; what these do not show (batch_first, nonlinearity) is what the
    file says of the module, or what the architecture says.
    """
    if isinstance(architecture, Recurrent) and architecture.weights is not None:
        names = set(architecture.weights.values())
        parts = {
            p: Group(p, {k: v for k, v in g.tensors.items() if g.full(k) in names})
            for p, g in groups.items()
        }
        return architecture, parts
    group = groups.get(path)
    if group is None or not is_recurrent(group):
        there = [repr(p) for p, g in groups.items() if is_recurrent(g)]
        raise ModelFormatError(
            f"{checkpoint.source}: layer {path!r} is no recurrent layer of the checkpoint; there "
            f"are {listed(there) or 'none'}"
        )
    if architecture is not None:
        if not isinstance(architecture, Recurrent) or architecture.name not in (None, path):
            raise UnsupportedModelError(
                f"{checkpoint.source}: architecture is {architecture!r}; together with "
                f"layer={path!r} it must be that recurrent layer alone"
            )
        named = type(architecture)(**{**_words(architecture), "name": path})
        return named, {path: group}
    found = Found(checkpoint.source, group)
    module = checkpoint.modules.get(path)
    said = {} if module is None else _said(checkpoint.source, path, module, found)
    if found.cell is RNN and "nonlinearity" not in said:
        raise UnsupportedModelError(
            f"{checkpoint.source}: layer {path!r} is a plain RNN, and the file does not say its "
            "nonlinearity; add architecture=rn.RNN(..., nonlinearity='tanh' or 'relu')"
        )
    return found.cell(**{**found.words, **said, "name": path}), {path: group}


def _words(layer: Recurrent) -> dict[str, Any]:
    """Constructor words of a layer."""
    return {k: v for k, v in vars(layer).items() if k not in ("units", "_")}


def _said(source: str, path: str, module: Module, found: Found) -> dict[str, Any]:
    """What a file's module record adds; it must not contradict the tensors."""
    kind = module.kind.removesuffix("Cell")
    mode = str(module.attrs.get("mode", ""))
    if kind in _KINDS and _KINDS[kind] is not found.cell:
        raise ModelFormatError(
            f"{source}: layer {path!r}: the file calls it {module.kind}, its tensors are those of "
            f"{found}"
        )
    for word, value in found.words.items():
        if word in module.attrs and module.attrs[word] != value:
            raise ModelFormatError(
                f"{source}: layer {path!r}: the file says {word}={module.attrs[word]!r}, its "
                f"tensors are those of {found}"
            )
    said: dict[str, Any] = {}
    if isinstance(module.attrs.get("batch_first"), bool):
        said["batch_first"] = module.attrs["batch_first"]
    if found.cell is RNN:
        word = module.attrs.get("nonlinearity") or mode.removeprefix("RNN_").lower()
        if word in ("tanh", "relu"):
            said["nonlinearity"] = word
    return said
