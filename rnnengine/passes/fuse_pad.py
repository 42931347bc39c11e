"""Work padding before a convolution, and cropping after it or a pool, into its ``pads``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.graph import Dim, Graph, Node
from rnnengine.ops import infer_types
from rnnengine.records import replace

__all__ = ["fuse_pad"]

_WINDOWS = ("Conv", "MaxPool", "AveragePool")


def fuse_pad(graph: Graph) -> Graph:
    """Pad less after windows whose last outputs a Slice drops, and in a Conv instead of before it.

    A Pad counts if it adds zeros to the spatial axes alone and the weights are finite constants; a
    Slice if it takes the first outputs of one spatial axis, where the windows move by single
    steps. Nobody else may read what lies between.
    """
    if not any(node.op in _WINDOWS for node in graph.nodes):
        return graph
    makers, readers = graph.producers(), graph.consumers()
    types = infer_types(graph)
    replaced: dict[int, Node] = {}
    dropped: set[int] = set()

    def alone(name: str | None) -> Node | None:
        found = readers.get(name or "", [])
        return found[0] if len(found) == 1 and name not in graph.outputs else None

    for node in graph.nodes:
        if node.op not in _WINDOWS or len(node.outputs) > 1 or node.attrs.get("ceil_mode"):
            continue
        joined, result = node, node.outputs[0]
        pad = makers.get(node.inputs[0] or "") if node.op == "Conv" else None
        if pad is not None and alone(node.inputs[0]) is node and _finite(graph, node):
            amounts = _added(pad)
            if amounts is not None:
                pads = tuple(a + b for a, b in zip(node.attrs["pads"], amounts, strict=True))
                attrs = {**node.attrs, "pads": pads}
                joined = replace(joined, inputs=(pad.inputs[0], *node.inputs[1:]), attrs=attrs)
                dropped.add(id(pad))
        crop = alone(result)
        if crop is not None and crop.op == "Slice":
            kept = _cropped(joined, crop, types[result or ""].shape)
            if kept is not None:
                attrs = {**joined.attrs, "pads": kept}
                joined = replace(joined, outputs=crop.outputs, attrs=attrs)
                dropped.add(id(crop))
        replaced[id(node)] = joined
    nodes = tuple(replaced.get(id(n), n) for n in graph.nodes if id(n) not in dropped)
    return graph.with_(nodes=nodes)


def _finite(graph: Graph, node: Node) -> bool:
    """Whether weights are known and times zero is zero."""
    weights = graph.constants.get(node.inputs[1] or "")
    return weights is not None and bool(np.all(np.isfinite(weights)))


def _added(pad: Node) -> tuple[int, ...] | None:
    """What a Pad adds to the spatial axes, in front and behind; None where it does more."""
    amounts = pad.attrs.get("pads")
    if pad.op != "Pad" or amounts is None or len(pad.inputs) > 1:
        return None
    if pad.attrs.get("mode", "constant") != "constant":
        return None
    if pad.attrs.get("value") not in (None, 0.0):
        return None
    if not all(isinstance(a, int) and a >= 0 for a in amounts):
        return None
    half = len(amounts) // 2
    if any((*amounts[:2], *amounts[half : half + 2])):
        return None
    return (*amounts[2:half], *amounts[half + 2 :])


def _cropped(node: Node, crop: Node, shape: Sequence[int | Dim]) -> tuple[int, ...] | None:
    """Pads with which the windows are only those that a Slice keeps; None where none do."""
    attrs = crop.attrs
    if len(crop.inputs) != 1 or len(attrs.get("axes", ())) != 1:
        return None
    (axis,), (start,), (size,), (step,) = (
        attrs[name] for name in ("axes", "starts", "sizes", "steps")
    )
    rank = len(shape) - 2
    if axis < 2 or isinstance(start, Dim) or start != 0 or step != 1:
        return None
    less = shape[axis] - size
    pads = list(node.attrs["pads"])
    at = rank + axis - 2
    if isinstance(less, Dim) or node.attrs["strides"][axis - 2] != 1 or not 0 <= less <= pads[at]:
        return None
    pads[at] -= less
    return tuple(pads)
