"""Weights of the layers of an architecture: which tensors of a checkpoint belong to which layer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.layers import (
    LSTM,
    BatchNorm1d,
    Conv1d,
    Embedding,
    Layer,
    LayerNorm,
    Linear,
    Recurrent,
    describe,
)

__all__ = ["Group", "Place", "assign", "expected", "groups_of", "has_weights", "suffixes"]

Array = np.ndarray[Any, Any]

_UNORDERED = ("keras3", "safetensors")
"""Formats that do not keep the order in which a network declares its layers."""

_COUNTERS = ("num_batches_tracked",)
"""Last names of tensors that no computation needs."""


@dataclass(frozen=True)
class Group:
    """The tensors of one module: arrays by last name, and where they stand if not under it."""

    path: str
    tensors: Mapping[str, Array]
    names: Mapping[str, str] | None = None

    def __str__(self) -> str:
        parts = [f"{k} {list(v.shape)}" for k, v in self.tensors.items()]
        shown = ", ".join(parts[:4]) + (", ..." if len(parts) > 4 else "")
        return f"{self.path or '(root)'}: {shown}"

    def full(self, leaf: str) -> str:
        """Name of a tensor in the checkpoint."""
        if self.names is not None:
            return self.names.get(leaf, leaf)
        return f"{self.path}.{leaf}" if self.path else leaf


@dataclass(frozen=True)
class Place:
    """A layer that has weights, and its path in the architecture."""

    layer: Layer
    path: str
    said: bool


def groups_of(checkpoint: Checkpoint, prefix: str = "") -> dict[str, Group]:
    """Collect tensors by module, in the order of the file, with the prefix taken off.

    Raises
    ------
    ModelFormatError
        Where nothing stands under the prefix.
    """
    start = f"{prefix}." if prefix else ""
    found: dict[str, dict[str, Array]] = {}
    for name, tensor in checkpoint.tensors.items():
        if name.startswith(start):
            path, _, leaf = name[len(start) :].rpartition(".")
            if leaf not in _COUNTERS:
                found.setdefault(path, {})[leaf] = tensor
    if not found:
        tops = sorted({name.split(".")[0] for name in checkpoint.tensors})
        raise ModelFormatError(
            f"{checkpoint.source}: no tensor stands under prefix {prefix!r}; names start with "
            f"{listed(tops) or 'nothing: the file has no tensors'}"
        )
    return {path: Group(path, tensors) for path, tensors in found.items()}


def listed(items: Iterable[object], most: int = 12) -> str:
    """Join a few items for a message."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (f", ... ({len(texts)} in all)" if len(texts) > most else "")


def suffixes(layer: Recurrent, group: Group) -> list[list[str]]:
    """Endings of the tensor names of each layer of a stack, one for each direction."""
    bare = layer.num_layers == 1 and layer.directions == 1 and "weight_ih" in group.tensors
    if bare:
        return [[""]]
    ends = ["", "_reverse"][: layer.directions]
    return [[f"_l{k}{end}" for end in ends] for k in range(layer.num_layers)]


def expected(layer: Layer, group: Group) -> dict[str, tuple[int | None, ...]]:
    """Shape of every tensor that a layer has in torch's names; None for any size."""
    if isinstance(layer, Linear):
        shapes: dict[str, tuple[int | None, ...]] = {
            "weight": (layer.out_features, layer.in_features)
        }
        return {**shapes, "bias": (layer.out_features,)} if layer.bias else shapes
    if isinstance(layer, Embedding):
        return {"weight": (layer.num_embeddings, layer.embedding_dim)}
    if isinstance(layer, Conv1d):
        inner = None if layer.in_channels is None else layer.in_channels // layer.groups
        shapes = {"weight": (layer.out_channels, inner, layer.kernel_size)}
        return {**shapes, "bias": (layer.out_channels,)} if layer.bias else shapes
    if isinstance(layer, LayerNorm):
        shapes = {"weight": layer.sizes} if layer.elementwise_affine else {}
        return {**shapes, "bias": layer.sizes} if layer.bias and shapes else shapes
    if isinstance(layer, BatchNorm1d):
        roles = ("weight", "bias") if layer.affine else ()
        return {r: (layer.num_features,) for r in (*roles, "running_mean", "running_var")}
    assert isinstance(layer, Recurrent)
    rows, shapes = layer.gates * layer.hidden, {}
    for k, ends in enumerate(suffixes(layer, group)):
        columns = layer.input_size if k == 0 else layer.directions * layer.width
        for end in ends:
            shapes[f"weight_ih{end}"] = (rows, columns)
            shapes[f"weight_hh{end}"] = (rows, layer.width)
            if layer.bias:
                shapes[f"bias_ih{end}"] = shapes[f"bias_hh{end}"] = (rows,)
            if isinstance(layer, LSTM) and layer.proj_size:
                shapes[f"weight_hr{end}"] = (layer.proj_size, layer.hidden)
    return shapes


def has_weights(layer: Layer) -> bool:
    """Whether a layer has tensors in the checkpoint."""
    if isinstance(layer, LayerNorm):
        return layer.elementwise_affine
    return isinstance(layer, Recurrent | Linear | Embedding | Conv1d | BatchNorm1d)


def misfit(layer: Layer, group: Group) -> str | None:
    """Why a group of tensors cannot be the weights of a layer."""
    wanted = expected(layer, group)
    for leaf, shape in wanted.items():
        if leaf not in group.tensors:
            text = ", ".join("any" if s is None else str(s) for s in shape)
            return f"{group.full(leaf)!r} is missing, expected shape [{text}]"
        found = group.tensors[leaf]
        fits = found.ndim == len(shape) and all(
            s in (None, f) for f, s in zip(found.shape, shape, strict=True)
        )
        if not fits:
            text = ", ".join("any" if s is None else str(s) for s in shape)
            return f"{group.full(leaf)!r} has shape {list(found.shape)}, expected [{text}]"
        if found.dtype.kind != "f":
            return f"{group.full(leaf)!r} is {found.dtype}, expected floating point"
    extra = [leaf for leaf in group.tensors if leaf not in wanted]
    if extra:
        return f"{group.full(extra[0])!r} is there, which the layer as described does not have"
    return None


def assign(
    checkpoint: Checkpoint, groups: Mapping[str, Group], places: Sequence[Place]
) -> dict[int, Group]:
    """Find the weights of every layer.

    By name where the architecture says names, or where all of its counted paths are in the
    checkpoint; else by order and shape.

    Returns
    -------
    dict of int to Group
        By ``id`` of the layer.

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        Naming missing tensors, tensors left over, shapes that differ, or the candidates where
        several assignments are possible.
    """
    said = [p for p in places if p.layer.weights is not None]
    found = {id(p.layer): _listed(checkpoint, groups, p.layer) for p in said}
    groups = _without(groups, {n for group in found.values() for n in (group.names or {}).values()})
    named = [p for p in places if p.said and p not in said]
    found.update((id(p.layer), _named(checkpoint, groups, p)) for p in named)
    open_ = [p for p in places if not p.said and p not in said]
    if all(p.path in groups and misfit(p.layer, groups[p.path]) is None for p in open_):
        found.update((id(p.layer), groups[p.path]) for p in open_)
    else:
        used = {group.path for group in found.values() if group.names is None}
        free = [group for group in groups.values() if group.path not in used]
        found.update(_by_shape(checkpoint, free, open_))
    used = {group.path for group in found.values() if group.names is None}
    left = [g.full(leaf) for g in groups.values() if g.path not in used for leaf in g.tensors]
    if left:
        raise UnsupportedModelError(
            f"{checkpoint.source}: no layer of the architecture takes {listed(left)}; describe "
            "the whole network, or pick a part of the checkpoint with prefix= or layer="
        )
    return found


def _listed(checkpoint: Checkpoint, groups: Mapping[str, Group], layer: Layer) -> Group:
    """Tensors that the architecture names one by one."""
    there = {g.full(leaf): t for g in groups.values() for leaf, t in g.tensors.items()}
    names = dict(layer.weights or {})
    for leaf, name in names.items():
        if name not in there:
            raise ModelFormatError(
                f"{checkpoint.source}: {describe(layer)}: weights names {name!r} for {leaf!r}; the "
                f"checkpoint has {listed(there)}"
            )
    group = Group("", {leaf: there[name] for leaf, name in names.items()}, names)
    reason = misfit(layer, group)
    if reason is not None:
        raise ModelFormatError(f"{checkpoint.source}: {describe(layer)}: {reason}")
    return group


def _without(groups: Mapping[str, Group], names: set[str]) -> dict[str, Group]:
    """Groups that keep tensors when those of the given names are taken."""
    kept = {
        path: {leaf: t for leaf, t in g.tensors.items() if g.full(leaf) not in names}
        for path, g in groups.items()
    }
    return {path: Group(path, tensors) for path, tensors in kept.items() if tensors}


def _named(checkpoint: Checkpoint, groups: Mapping[str, Group], place: Place) -> Group:
    where = f"{checkpoint.source}: {describe(place.layer)} at {place.path!r}"
    if place.path not in groups:
        raise ModelFormatError(
            f"{where}: the checkpoint has no such module; modules with weights: "
            f"{listed(repr(path) for path in groups)}"
        )
    reason = misfit(place.layer, groups[place.path])
    if reason is not None:
        raise ModelFormatError(f"{where}: {reason}")
    return groups[place.path]


def _by_shape(
    checkpoint: Checkpoint, free: list[Group], places: Sequence[Place]
) -> dict[int, Group]:
    """Match layers and groups whose candidates are as many as they are, until none is left."""
    candidates = {id(p.layer): [g.path for g in free if misfit(p.layer, g) is None] for p in places}
    for place in places:
        if not candidates[id(place.layer)]:
            reasons = [f"{g} ({misfit(place.layer, g)})" for g in free]
            raise ModelFormatError(
                f"{checkpoint.source}: nothing fits {place.layer!r}; there are: "
                f"{listed(reasons, 6) or 'no tensors'}"
            )
    by_path = {group.path: group for group in free}
    found: dict[int, Group] = {}
    waiting = list(places)
    while waiting:
        settled = next(
            (s for p in waiting if (s := _settled(checkpoint, p, waiting, candidates))), None
        )
        if settled is None:
            _refuse(checkpoint, waiting[0], candidates, by_path)
        assert settled is not None
        paths = list(candidates[id(settled[0].layer)])
        for place, path in zip(settled, paths, strict=True):
            found[id(place.layer)] = by_path[path]
        waiting = [p for p in waiting if p not in settled]
        for place in waiting:
            kept = [c for c in candidates[id(place.layer)] if c not in paths]
            candidates[id(place.layer)] = kept
            if not kept:
                _refuse(checkpoint, place, {id(place.layer): paths}, by_path)
    return found


def _settled(
    checkpoint: Checkpoint,
    first: Place,
    waiting: Sequence[Place],
    candidates: Mapping[int, list[str]],
) -> list[Place] | None:
    """Layers of one kind with the same candidates, if they are as many as the candidates."""
    mine = candidates[id(first.layer)]
    same = [p for p in waiting if candidates[id(p.layer)] == mine]
    if len(same) != len(mine):
        return None
    if len(same) == 1:
        return same
    ordered = checkpoint.framework not in _UNORDERED
    kinds = {type(p.layer) for p in same}
    return same if ordered and len(kinds) == 1 else None


def _refuse(
    checkpoint: Checkpoint,
    place: Place,
    candidates: Mapping[int, list[str]],
    groups: Mapping[str, Group],
) -> None:
    shown = "; ".join(
        str(groups[path]) for path in itertools.islice(candidates[id(place.layer)], 8)
    )
    raise UnsupportedModelError(
        f"{checkpoint.source}: which tensors belong to {place.layer!r} is ambiguous; candidates "
        f"are {shown}. Give the layers the names they have in the checkpoint: name=..."
    )
