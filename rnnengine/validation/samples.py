"""Inputs to validate a model with: generated ones, the edges, and the caller's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Graph, Node, Value, substitute, symbols_of
from rnnengine.ops import infer_types

__all__ = ["Roles", "Sample", "generated", "given", "roles_of"]

Array = np.ndarray[Any, Any]

RECURRENT = ("LSTM", "GRU", "RNN")
_LENGTHS, _MASK = 5, 10


@dataclass(frozen=True)
class Sample:
    """Inputs of one run, by name, and the number of time steps in them (0 where unknown)."""

    name: str
    feeds: Mapping[str, Array]
    steps: int


@dataclass(frozen=True)
class Roles:
    """What the sizes and the whole numbers of a model's inputs stand for.

    Attributes
    ----------
    time, batch : set of str
        Free sizes that a recurrent node sees as its time or its batch.
    fixed : int
        Time steps of a recurrent node where they are fixed; else 0.
    below : mapping of str to int
        Integer inputs, and what their numbers stay below.
    lengths : set of str
        Inputs that count the steps of each row.
    """

    time: frozenset[str]
    batch: frozenset[str]
    fixed: int
    below: Mapping[str, int]
    lengths: frozenset[str]


def roles_of(graph: Graph) -> Roles:
    """Read the roles off a settled graph."""
    types = infer_types(graph)
    time: set[str] = set()
    batch: set[str] = set()
    fixed = 0
    for node in graph.nodes:
        if node.op in RECURRENT:
            steps, rows = types[str(node.inputs[0])].shape[:2]
            time |= symbols_of(steps)
            batch |= symbols_of(rows)
            fixed = max(fixed, steps if isinstance(steps, int) else 0)
    below: dict[str, int] = {}
    lengths: set[str] = set()
    consumers = graph.consumers()
    for value in graph.inputs:
        if value.type.dtype.kind in "iu":
            bounds = [*_bounds(consumers, types, value.name)]
            below[value.name] = min((b for b in bounds if b is not None), default=2)
            if None in bounds:
                lengths.add(value.name)
    return Roles(frozenset(time), frozenset(batch - time), fixed, below, frozenset(lengths))


def _bounds(
    consumers: Mapping[str, list[Node]], types: Mapping[str, Any], name: str
) -> Iterator[int | None]:
    """Rows of the tables that an input indexes; None where it is used as lengths."""
    seen, waiting = {name}, [name]
    while waiting:
        current = waiting.pop()
        for node in consumers.get(current, ()):
            if node.op in RECURRENT:
                if current in node.inputs[_LENGTHS : _LENGTHS + 1]:
                    yield None
                continue
            if node.op == "Gather" and current == node.inputs[1]:
                size = types[str(node.inputs[0])].shape[node.attrs.get("axis", 0)]
                if isinstance(size, int):
                    yield size
                continue
            fresh = [o for o in node.outputs if o and o not in seen]
            seen.update(fresh)
            waiting += fresh


def generated(graph: Graph, *, seed: int = 0) -> list[Sample]:
    """Draw inputs for a settled graph: usual ones of several sizes, and the edges.

    Parameters
    ----------
    graph : Graph
    seed : int

    Returns
    -------
    list of Sample
        Where the model fixes a size, samples that would differ in it alone are left out.
    """
    roles = roles_of(graph)
    found: list[Sample] = []
    seen: set[tuple[str, tuple[tuple[str, int], ...]]] = set()
    for name, kind, batch, time in (
        ("usual", "normal", 3, 7), ("one row", "normal", 1, 5), ("five rows", "normal", 5, 4),
        ("one step", "normal", 2, 1), ("long", "normal", 2, 64),
        ("zeros", "zeros", 2, 6), ("large", "large", 2, 6), ("tiny", "tiny", 2, 6),
        ("gaps", "gaps", 3, 7), ("no steps", "normal", 2, 0),
    ):  # fmt: skip
        sizes = _sizes(graph, roles, batch, time)
        key = (kind, tuple(sorted(sizes.items())))
        if key not in seen:
            seen.add(key)
            rng = np.random.default_rng([seed, len(found)])
            steps = max((sizes[n] for n in roles.time), default=roles.fixed)
            feeds = {v.name: _drawn(v, roles, sizes, steps, kind, rng) for v in graph.inputs}
            found.append(Sample(name, feeds, steps))
    return found


def _sizes(graph: Graph, roles: Roles, batch: int, time: int) -> dict[str, int]:
    names = {n for v in graph.inputs for s in v.type.shape for n in symbols_of(s)}
    known = {n: time if n in roles.time else batch for n in names}
    return dict(sorted(known.items()))


def _drawn(
    value: Value,
    roles: Roles,
    sizes: Mapping[str, int],
    steps: int,
    kind: str,
    rng: np.random.Generator,
) -> Array:
    shape = [int(substitute(s, sizes)) for s in value.type.shape]
    dtype = value.type.dtype
    if value.name in roles.lengths:
        # Rows without steps are not drawn: frameworks differ in what their final state is.
        full = np.full(shape, steps, dtype)
        least = min(1, steps)
        return full if kind != "gaps" else rng.integers(least, steps + 1, shape).astype(dtype)
    if dtype.kind in "iu":
        most = max(1, roles.below[value.name])
        drawn = {
            "zeros": np.zeros(shape, dtype),
            "large": np.full(shape, most - 1, dtype),
        }.get(kind, rng.integers(0, most, shape).astype(dtype))
    elif dtype.kind == "b":
        drawn = rng.integers(0, 2, shape).astype(dtype)
    else:
        scale = {"large": 1e3, "tiny": 1e-40, "zeros": 0.0}.get(kind, 1.0)
        drawn = (rng.standard_normal(shape) * scale).astype(dtype)
    if kind == "gaps":
        _cut(drawn, [i for i, s in enumerate(value.type.shape) if symbols_of(s) & roles.time])
    return drawn


def _cut(drawn: Array, time_axes: Sequence[int]) -> None:
    """Zero the first steps of row 0, one step in row 1, the last steps of the last row."""
    if drawn.ndim < 2 or len(time_axes) != 1 or time_axes[0] > 1:
        return
    rows = np.moveaxis(drawn, time_axes[0], 1) if time_axes[0] else np.moveaxis(drawn, 0, 1)
    if rows.shape[0] > 2 and rows.shape[1] > 4:
        rows[0, :2] = 0
        rows[1, rows.shape[1] // 2] = 0
        rows[-1, -3:] = 0


def given(graph: Graph, inputs: Mapping[str, Any], name: str) -> Sample:
    """Take the caller's inputs, in the types that the model declares.

    Raises
    ------
    ShapeError
        Naming the inputs that are missing or not known.
    """
    declared = {v.name: v.type.dtype for v in graph.inputs}
    if set(inputs) != set(declared):
        raise ShapeError(
            f"{name}: inputs are {', '.join(sorted(inputs)) or 'none'}; the model takes "
            f"{', '.join(sorted(declared))}"
        )
    feeds = {k: np.asarray(inputs[k]).astype(dtype) for k, dtype in declared.items()}
    roles = roles_of(graph)
    steps = roles.fixed
    for value in graph.inputs:
        for axis, size in enumerate(value.type.shape):
            if symbols_of(size) & roles.time and axis < feeds[value.name].ndim:
                steps = max(steps, feeds[value.name].shape[axis])
    return Sample(name, feeds, steps)
