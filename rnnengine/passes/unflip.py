"""Layers that run over a sequence turned round run backwards instead.

Exporters without a reverse direction, and loops that run backwards, turn the input round, and the
output back again. ``y = flip(RNN(flip(x)))`` is the layer in the other direction.
"""

from __future__ import annotations

from rnnengine.graph import Graph, Node, TensorType, fresh
from rnnengine.ops import infer_types
from rnnengine.passes.prune import prune
from rnnengine.records import replace

__all__ = ["unflip"]

_RECURRENT = ("LSTM", "GRU", "RNN")
_OTHER = {"forward": "reverse", "reverse": "forward"}


def unflip(graph: Graph) -> Graph:
    """Return an equivalent graph in settled form without detours over reversed sequences."""
    types = infer_types(graph)
    makers = graph.producers()
    taken = set(types)
    names = {node.name for node in graph.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        source = makers.get(node.inputs[0] or "") if node.op in _RECURRENT else None
        plain = not any(node.inputs[i] for i in (5, 10) if i < len(node.inputs))
        direction = _OTHER.get(node.attrs.get("direction", "forward"))
        x = None
        if source is not None and direction is not None and plain:
            x = _unflipped(source, makers, types, taken, names, nodes)
        if x is None:
            nodes.append(node)
            continue
        y = node.outputs[0]
        turned = replace(
            node,
            inputs=(x, *node.inputs[1:]),
            outputs=(fresh(f"{node.name}.y", taken), *node.outputs[1:]),
            attrs={**node.attrs, "direction": direction},
        )
        nodes.append(turned)
        if y is not None:
            steps = types[y].shape[0]
            attrs = {"axes": (0,), "starts": (steps - 1,), "sizes": (steps,), "steps": (-1,)}
            name = fresh(f"{node.name}.flip", names)
            nodes.append(Node("Slice", name, turned.outputs[:1], (y,), attrs))
    return prune(_composed(graph.with_(nodes=tuple(nodes))))


def _unflipped(
    node: Node,
    makers: dict[str, Node],
    types: dict[str, TensorType],
    taken: set[str],
    names: set[str],
    nodes: list[Node],
) -> str | None:
    """The value that a node turns round, or several of them side by side."""
    if _is_flip(node, types):
        return node.inputs[0]
    if node.op != "Concat" or node.attrs["axis"] == 0:
        return None
    parts = [makers.get(name or "") for name in node.inputs]
    if not all(part is not None and _is_flip(part, types) for part in parts):
        return None
    result = fresh(f"{node.name}.unflipped", taken)
    inputs = tuple(part.inputs[0] for part in parts if part is not None)
    name = fresh(f"{node.name}.unflipped", names)
    nodes.append(replace(node, name=name, inputs=inputs, outputs=(result,)))
    return result


def _is_flip(node: Node, types: dict[str, TensorType]) -> bool:
    if node.op != "Slice" or node.attrs["axes"] != (0,):
        return False
    steps = types[node.inputs[0] or ""].shape[0]
    wanted = {"starts": (steps - 1,), "sizes": (steps,), "steps": (-1,)}
    return all(node.attrs[key] == value for key, value in wanted.items())


def _composed(graph: Graph) -> Graph:
    """Join slices of slices along one axis, also with a Squeeze of other axes between them."""
    made: dict[str, Node] = {}
    taken = set(infer_types(graph))
    names = {node.name for node in graph.nodes}
    nodes: list[Node] = []
    for node in graph.nodes:
        inner = made.get(node.inputs[0] or "") if node.op == "Slice" else None
        if inner is not None and inner.op == "Squeeze":
            inner = _before(inner, made, taken, names, nodes, node.attrs["axes"])
        joined = node
        if inner is not None and inner.op == "Slice" and len(node.attrs["axes"]) == 1:
            joined = _joined(inner, node)
        nodes.append(joined)
        made.update({name: joined for name in joined.outputs if name is not None})
    return graph.with_(nodes=tuple(nodes))


def _joined(inner: Node, outer: Node) -> Node:
    """The second of two slices, as one of what the first slices."""
    if inner.attrs["axes"] != outer.attrs["axes"]:
        return outer
    (first,), (step,) = inner.attrs["starts"], inner.attrs["steps"]
    (start,), (stride,) = outer.attrs["starts"], outer.attrs["steps"]
    attrs = {**outer.attrs, "starts": (first + start * step,), "steps": (step * stride,)}
    return replace(outer, inputs=inner.inputs, attrs=attrs)


def _before(
    squeeze: Node,
    made: dict[str, Node],
    taken: set[str],
    names: set[str],
    nodes: list[Node],
    axes: tuple[int, ...],
) -> Node | None:
    """Exchange a Squeeze and the Slice before it; return that Slice, None where it is another."""
    inner = made.get(squeeze.inputs[0] or "")
    if inner is None or inner.op != "Slice" or len(inner.attrs["axes"]) != 1:
        return None
    if inner.attrs["axes"][0] in squeeze.attrs["axes"]:
        return None
    axis = inner.attrs["axes"][0] - sum(a < inner.attrs["axes"][0] for a in squeeze.attrs["axes"])
    if axes != (axis,):
        return None
    result = fresh(f"{squeeze.name}.squeezed", taken)
    nodes.append(replace(squeeze, name=fresh(f"{squeeze.name}.squeezed", names),
                         inputs=inner.inputs, outputs=(result,)))  # fmt: skip
    return replace(inner, inputs=(result,), attrs={**inner.attrs, "axes": (axis,)})
