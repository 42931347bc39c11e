"""Which array of a file is which weight of which layer.

A layer says by :class:`Slots` what weights it has. Files of Keras 1 and 2 list the arrays of every
layer of the model in order, those of Keras 3 keep them in a tree of attributes and class names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rnnengine.errors import ModelFormatError
from rnnengine.importers.keras.hdf5 import Array, Group

__all__ = ["Flat", "Params", "Slots", "Source", "Tree", "source"]


@dataclass(frozen=True)
class Slots:
    """Weights of a layer.

    Attributes
    ----------
    own : tuple of (str, bool)
        Role of each array in the order of the files, and whether it is trainable.
    children : tuple of (str, str, Slots)
        For each layer inside: its key, its place in the tree of Keras 3, its slots. A place that
        ends in ``*`` is that of one of several children; the class of the child follows it.
    unknown : bool
        Which weights it has is not known: all that the file has for it, in its order, by their
        paths in the file.
    """

    own: tuple[tuple[str, bool], ...] = ()
    children: tuple[tuple[str, str, Slots], ...] = ()
    unknown: bool = False

    def __bool__(self) -> bool:
        return self.unknown or bool(self.own) or any(inner for _, _, inner in self.children)


@dataclass(frozen=True)
class Params:
    """Arrays of a layer by role, and those of the layers inside by key."""

    own: Mapping[str, Array] = field(default_factory=dict)
    children: Mapping[str, Params] = field(default_factory=dict)


class Source(Protocol):
    """Gives the weights of the layers of a model."""

    def load(self, name: str, slots: Slots, where: str) -> Params:
        """Arrays of the named layer of the model."""


def source(root: Group, slots: Slots, where: str) -> Source:
    """Tell the two layouts apart.

    Parameters
    ----------
    root : Group
        Root of the weights.
    slots : Slots
        Of the whole model, whose children are its layers by name.
    where : str
    """
    inner = root.groups.get("model_weights", root)
    if "layer_names" in inner.attrs or "layer_names0" in inner.attrs:
        return Flat(inner, where)
    if {"layers", "_layer_checkpoint_dependencies"} & set(root.groups):
        return Tree(_assign_tree(root, slots, where))
    raise ModelFormatError(
        f"{where}: no weights in it: neither 'layer_names' nor a group 'layers'; groups: "
        f"{', '.join(list(root.groups)[:10]) or 'none'}"
    )


def texts(group: Group, name: str, where: str) -> list[str]:
    """A list of texts among the attributes, which Keras splits where it is long."""
    found = group.attrs.get(name)
    parts: list[object] = [] if found is None else [found]
    while found is None and f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    if not parts:
        raise ModelFormatError(f"{where}: {group.path!r} has no attribute {name!r}")
    result: list[str] = []
    for part in parts:
        if isinstance(part, np.ndarray) and part.size == 0:
            continue
        if not isinstance(part, list) or not all(isinstance(p, str) for p in part):
            raise ModelFormatError(f"{where}: attribute {name!r} of {group.path!r} is no list")
        result += part
    return result


class Flat:
    """The layout of Keras 1 and 2: an ordered list of arrays for each layer of the model."""

    def __init__(self, root: Group, where: str) -> None:
        self.layers: dict[str, list[tuple[str, Array]]] = {}
        for name in texts(root, "layer_names", where):
            self.layers[name] = list(_listed(root, name, where))

    def load(self, name: str, slots: Slots, where: str) -> Params:
        """Arrays of a layer, given out in the order of its slots, the trainable ones first."""
        listed = [(n, a) for n, a in self.layers.get(name, []) if "seed_generator" not in n]
        taken = dict(_unknown(slots, name, listed))
        named = {path for own in taken.values() for path in own}
        arrays = [a for n, a in listed if n not in named]
        wanted = sum(1 for _ in _order(slots))
        if len(arrays) != wanted:
            raise ModelFormatError(
                f"{where}: the file has {len(arrays)} weights for it; its configuration asks for "
                f"{wanted}"
                + ("" if name in self.layers else " (no such name among the file's layers)")
            )
        queue: dict[tuple[str, ...], Array] = {}
        ordered = sorted(_order(slots), key=lambda item: not item[1])
        for (path, _), array in zip(ordered, arrays, strict=True):
            queue[path] = array
        return _assign_flat(slots, (), queue, taken)


def _listed(root: Group, name: str, where: str) -> Iterator[tuple[str, Array]]:
    group = _descend(root, name)
    if group is None:
        raise ModelFormatError(f"{where}: no group for layer {name!r}, which 'layer_names' lists")
    if not group.groups and not group.arrays:
        return
    for path in texts(group, "weight_names", where):
        array = group.find(path)
        if array is None:
            raise ModelFormatError(f"{where}: no dataset {path!r} in {group.path!r}")
        yield path, array


def _descend(root: Group, name: str) -> Group | None:
    """Group of a layer, whose name may contain slashes."""
    group: Group | None = root
    for part in name.split("/"):
        group = group.groups.get(part) if group is not None else None
    return group


def _order(slots: Slots, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], bool]]:
    for role, trainable in slots.own:
        yield (*path, role), trainable
    for key, _, inner in slots.children:
        yield from _order(inner, (*path, f"/{key}"))


def _unknown(
    slots: Slots, name: str, arrays: Sequence[tuple[str, Array]], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Array]]]:
    """Arrays of the layers whose weights are not known: those with the layer's name in their path.

    A layer of the model has all that the file lists for it.
    """
    if slots.unknown:
        inside = [(n, a) for n, a in arrays if not path or name in n.split("/")]
        yield path, dict(inside)
    for key, _, inner in slots.children:
        yield from _unknown(inner, key, arrays, (*path, f"/{key}"))


def _assign_flat(
    slots: Slots,
    path: tuple[str, ...],
    arrays: Mapping[tuple[str, ...], Array],
    unknown: Mapping[tuple[str, ...], Mapping[str, Array]],
) -> Params:
    if slots.unknown:
        return Params(unknown[path])
    own = {role: arrays[(*path, role)] for role, _ in slots.own}
    children = {
        key: _assign_flat(inner, (*path, f"/{key}"), arrays, unknown)
        for key, _, inner in slots.children
    }
    return Params(own, children)


class Tree:
    """The layout of Keras 3: groups named by attributes and, in lists, by class and number."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def load(self, name: str, slots: Slots, where: str) -> Params:
        """Arrays of a layer of the model."""
        return self.params.children.get(name, Params())


def _everything(group: Group, path: str = "") -> Iterator[tuple[str, Array]]:
    """All weights of a layer and of the layers inside, its own before theirs."""
    for name in sorted(group.groups, key=lambda name: name != "vars"):
        if name == "vars":
            own = group.groups[name].arrays
            yield from ((f"{path}vars/{n}", own[n]) for n in sorted(own, key=_number))
        elif "seed_generator" not in name:
            yield from _everything(group.groups[name], f"{path}{name}/")


def _number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() and len(name) < 7 else (1 << 30, name)


def _assign_tree(group: Group, slots: Slots, where: str) -> Params:
    if slots.unknown:
        return Params(dict(_everything(group)))
    variables = group.groups.get("vars")
    arrays = dict(variables.arrays) if variables is not None else {}
    if len(arrays) != len(slots.own) or set(arrays) != {str(i) for i in range(len(arrays))}:
        raise ModelFormatError(
            f"{where}: {group.path!r} has the variables {', '.join(arrays) or 'none'}; the "
            f"configuration asks for {len(slots.own)}: {', '.join(r for r, _ in slots.own)}"
        )
    own = {role: arrays[str(i)] for i, (role, _) in enumerate(slots.own)}
    children: dict[str, Params] = {}
    used: dict[tuple[str, str], int] = {}
    for key, place, inner in slots.children:
        if not inner:
            continue
        folder, _, kind = place.partition("*")
        if kind:
            number = used.get((folder, kind), 0)
            used[folder, kind] = number + 1
            found = _numbered(group, folder, kind, number)
        else:
            found = _descend(group, folder)
        if found is None and inner.unknown:
            children[key] = Params()
            continue
        if found is None:
            raise ModelFormatError(
                f"{where}: no weights of {key!r} (a {kind or folder}) below {group.path!r}"
            )
        children[key] = _assign_tree(found, inner, where)
    return Params(own, children)


def _numbered(group: Group, folder: str, kind: str, number: int) -> Group | None:
    """The n-th group with weights among those named after a class: `lstm`, `lstm_1`, ..."""
    names = [folder] if folder != "layers" else ["layers", "_layer_checkpoint_dependencies"]
    for name in names:
        if name not in group.groups:
            continue
        pattern = re.compile(re.escape(_snake(kind)) + r"(?:_(\d{1,6}))?")
        matches = [
            (m, g) for n, g in group.groups[name].groups.items() if (m := pattern.fullmatch(n))
        ]
        matches.sort(key=lambda item: int(item[0][1] or 0))
        filled = [g for _, g in matches if any(True for _ in g.walk())]
        return filled[number] if number < len(filled) else None
    return None


def _snake(kind: str) -> str:
    """Keras' name of a class in paths: SimpleRNN -> simple_rnn."""
    spaced = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub("([a-z])([A-Z])", r"\1_\2", spaced).lower()


def in_order(names: Sequence[str]) -> tuple[tuple[str, bool], ...]:
    """Slots of trainable arrays."""
    return tuple((name, True) for name in names)
