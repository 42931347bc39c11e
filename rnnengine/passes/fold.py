"""Fold what is known at load into constants and attributes.

A value that follows from constants becomes a constant, rounded once to its declared type. A value
that follows from constants and input shapes may hold symbolic sizes; it cannot be a constant, so
the operators that read it take it as an attribute instead. After this pass every operator is in its
**settled form**, in which nothing that decides a shape is an operand. Sizes are ``int`` or ``Dim``:

==================  ==========================================================================
Reshape             inputs (x); ``shape``: tuple of sizes, the whole result, no 0 or -1 codes.
                    Flatten becomes a Reshape
Expand              inputs (x); ``shape``: tuple of sizes, the whole result. ConstantOfShape
                    becomes the Expand of a scalar constant
Tile                inputs (x); ``repeats``: tuple of sizes
Squeeze, Unsqueeze  inputs (x); ``axes``: ascending, not negative
Slice               inputs (x); ``axes`` ascending, ``starts``, ``sizes``, ``steps``: element k of
                    the result's axis is element ``start + k*step``. Split becomes Slices, and so
                    does Gather at a constant index or at evenly spaced ones (with a Squeeze where
                    the index is a scalar)
Gather              inputs (data, indices); ``axis`` not negative
Clip                inputs (x); ``min``, ``max``: number or None (bounds that are computed from
                    data stay inputs 1 and 2)
Range               no inputs; ``start``, ``limit``, ``delta``: sizes; ``dtype``
Conv, ConvTranspose ``kernel_shape``, ``strides``, ``dilations``, ``pads``, ``group`` present, no
                    ``auto_pad``; ConvTranspose: ``output_padding`` present, no ``output_shape``
MaxPool, LpPool,    ``kernel_shape``, ``strides``, ``dilations``, ``pads`` present, no ``auto_pad``
AveragePool
Transpose           ``perm`` always present
Concat, Softmax,    ``axis`` not negative
LogSoftmax, ArgMax,
LayerNormalization
Reduce...           inputs (x); ``axes`` ascending, not negative, all of them listed; ``keepdims``;
                    ``noop_with_empty_axes`` true where no axis is left
CumSum              inputs (x); ``axis`` not negative
Pad                 inputs (x); ``pads``: sizes, two for every axis, and ``value`` (a computed
                    value stays input 2)
==================  ==========================================================================

Symbolic positions of a Slice are in range for the sizes the model was made for; whoever binds the
symbols checks ``0 <= start`` and ``start + (size-1)*step`` against the axis, and ``size >= 0``.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from rnnengine.graph import Dim, Graph, Node, Size, as_integers, as_kept
from rnnengine.ops import registry
from rnnengine.ops.registry import Array
from rnnengine.ops.sizes import as_sizes, axis_of
from rnnengine.ops.types import Inference
from rnnengine.passes.prune import prune

__all__ = ["fold"]


def fold(graph: Graph) -> Graph:
    """Return an equivalent graph in settled form, without constant computations or copies.

    Raises
    ------
    ShapeError, UnsupportedModelError, ModelFormatError
        Naming the node that is contradictory, or whose shape depends on data.
    """
    inference = Inference(graph.inputs, graph.constants)
    folder = _Folder(graph, inference)
    for node in graph.nodes:
        inference.add(node)
        if not all(folder.constant(name) for name in node.outputs if name is not None):
            folder.settle(node)
    settled = graph.with_(nodes=tuple(folder.nodes), constants={})
    used = {n for node in settled.nodes for n in node.inputs} | set(settled.outputs)
    computed = settled.producers()
    constants = {
        name: _rounded(value, inference.types[name].dtype)
        for name, value in inference.values.items()
        if name in used and name not in computed
    }
    return prune(settled.with_(constants=constants))


def _rounded(value: Array, dtype: np.dtype[np.generic]) -> Array:
    kept = as_kept(value), as_integers(value)
    if value.dtype == dtype and any(form is not None for form in kept):
        return value
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(value.astype(dtype, copy=False)).reshape(value.shape)


class _Folder:
    """Collects the nodes that remain."""

    def __init__(self, graph: Graph, inference: Inference) -> None:
        self.inference = inference
        self.nodes: list[Node] = []
        self._taken = {*inference.types, *graph.producers(), *(node.name for node in graph.nodes)}

    def constant(self, name: str) -> bool:
        """Whether a value is known and free of symbols."""
        value = self.inference.values.get(name)
        return value is not None and value.dtype != object

    def fresh(self, base: str) -> str:
        """Return a name that no value or node has."""
        name, count = base, 0
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def put(self, node: Node) -> None:
        """Keep a node that the graph did not have, and work out its types."""
        self.inference.add(node)
        self.nodes.append(node)

    def settle(self, node: Node) -> None:
        """Append a node in settled form."""
        op = registry.get(node.op)
        if node.op == "ConstantOfShape":
            self._fill(node)
            return
        types = [self.inference.types[n] if n is not None else None for n in node.inputs]
        known = [self.inference.values.get(n) if n is not None else None for n in node.inputs]
        if op.settle is not None:
            settled = op.settle(node.attrs, types, known)
            if settled is not None:
                inputs = node.inputs[: settled.inputs]
                node = Node(settled.op, node.name, inputs, node.outputs, settled.attrs)
        if node.op == "Split":
            self._split(node)
        elif node.op == "Gather":
            self._gather(node, known[1])
        elif node.op == "ScatterND":
            self._scatter(node, known[1])
        else:
            self.nodes.append(node)

    def _fill(self, node: Node) -> None:
        (output,) = node.outputs
        assert output is not None
        name = self.fresh(f"{output}.fill")
        value = node.attrs.get("value")
        fill = np.zeros((), np.float32) if value is None else np.asarray(value).reshape(())
        self.inference.add_constant(name, fill)
        shape = self.inference.types[output].shape
        self.nodes.append(Node("Expand", node.name, (name,), (output,), {"shape": shape}))

    def _split(self, node: Node) -> None:
        start: Size = 0
        for i, (output, size) in enumerate(zip(node.outputs, node.attrs["split"], strict=True)):
            if output is not None:
                attrs = _slice(node.attrs["axis"], start, size)
                name = self.fresh(f"{node.name}.{i}")
                self.nodes.append(Node("Slice", name, node.inputs[:1], (output,), attrs))
            start = start + size

    def _gather(self, node: Node, indices: Array | None) -> None:
        source, output = node.inputs[0], node.outputs[0]
        assert source is not None and output is not None
        shape = self.inference.types[source].shape
        axis = axis_of(node.attrs["axis"], len(shape))
        attrs = None if indices is None else _as_slice(axis, shape[axis], indices)
        if indices is None or attrs is None:
            self.nodes.append(node)
        elif indices.ndim:
            self.nodes.append(Node("Slice", node.name, (source,), (output,), attrs))
        else:
            picked = self.fresh(f"{output}.slice")
            name = self.fresh(f"{node.name}.slice")
            self.put(Node("Slice", name, (source,), (picked,), attrs))
            self.nodes.append(Node("Squeeze", node.name, (picked,), (output,), {"axes": (axis,)}))

    def _scatter(self, node: Node, indices: Array | None) -> None:
        """A scatter into a box of places joins the updates with the data around the box."""
        source, updates, output = node.inputs[0], node.inputs[2], node.outputs[0]
        assert source is not None and updates is not None and output is not None
        kind = self.inference.types[source]
        box = None if indices is None else _as_box(indices, kind.shape)
        if box is None or node.attrs.get("reduction", "none") != "none":
            self.nodes.append(node)
            return
        shape = tuple(stop - start for start, stop in box) + kind.shape[len(box) :]
        inside = self.fresh(f"{output}.inside")
        name = self.fresh(f"{node.name}.inside")
        self.put(Node("Reshape", name, (updates,), (inside,), {"shape": shape}))
        partial = [a for a, (start, stop) in enumerate(box) if (start, stop) != (0, kind.shape[a])]
        around = [source]
        for axis in partial[:-1]:
            around.append(self._piece(node, around[-1], axis, *box[axis]))
        for axis, data in zip(reversed(partial), reversed(around[: len(partial)]), strict=True):
            size = self.inference.types[data].shape[axis]
            assert isinstance(size, int)
            start, stop = box[axis]
            parts = [inside]
            if start > 0:
                parts.insert(0, self._piece(node, data, axis, 0, start))
            if stop < size:
                parts.append(self._piece(node, data, axis, stop, size))
            inside = self.fresh(f"{output}.joined")
            name = self.fresh(f"{node.name}.joined")
            self.put(Node("Concat", name, tuple(parts), (inside,), {"axis": axis}))
        self.nodes.append(Node("Identity", node.name, (inside,), (output,)))

    def _piece(self, node: Node, source: str, axis: int, start: int, stop: int) -> str:
        piece = self.fresh(f"{source}.piece")
        attrs = _slice(axis, start, stop - start)
        self.put(Node("Slice", self.fresh(f"{node.name}.piece"), (source,), (piece,), attrs))
        return piece


def _as_box(indices: Array, shape: tuple[Size, ...]) -> list[tuple[int, int]] | None:
    """(start, stop) of each indexed axis where indices [.., depth] are a box in row-major order."""
    depth = indices.shape[-1]
    sizes = [s for s in shape[:depth] if isinstance(s, int)]
    if indices.dtype == object or indices.size == 0 or len(sizes) != depth:
        return None
    places = indices.reshape(-1, depth)
    places = np.where(places < 0, places + np.asarray(sizes), places)
    box = [(int(a), int(b) + 1) for a, b in zip(places[0], places[-1], strict=True)]
    if any(not 0 <= start < stop <= size for (start, stop), size in zip(box, sizes, strict=True)):
        return None
    counts = [stop - start for start, stop in box]
    if int(np.prod(counts)) != len(places):
        return None
    starts = np.asarray([start for start, _ in box])
    wanted = np.indices(counts).reshape(depth, -1).T + starts
    return box if np.array_equal(places, wanted) else None


def _slice(axis: int, start: Size, size: Size, step: int = 1) -> dict[str, tuple[Size, ...]]:
    return {"axes": (axis,), "starts": (start,), "sizes": (size,), "steps": (step,)}


def _as_slice(axis: int, dim: Size, indices: Array) -> dict[str, tuple[Size, ...]] | None:
    """Slice that takes evenly spaced indices; None where they are not, or are a matrix."""
    if indices.ndim > 1 or indices.size == 0:
        return None
    places = [dim + i if isinstance(i, int) and i < 0 else i for i in as_sizes(indices)]
    if len(places) == 1:
        return _slice(axis, places[0], 1)
    step = places[1] - places[0]
    if isinstance(step, Dim) or step == 0:
        return None
    if any(b - a != step for a, b in pairwise(places)):
        return None
    return _slice(axis, places[0], len(places), step)
