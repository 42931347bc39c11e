"""Layer normalisation that exporters wrote out becomes LayerNormalization."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from rnnengine.graph import Fusion, Graph, Node, fresh
from rnnengine.ops.registry import Array
from rnnengine.passes.match import Index, Is, Number, Pattern, Var, match
from rnnengine.passes.order import ordered
from rnnengine.passes.prune import remove_dead

__all__ = ["fuse_layer_norm"]

_CENTRED = Is("Sub", (Var("x"), Is("ReduceMean", (Var("x"),), "mean")), "d")
_SQUARES: tuple[Pattern, ...] = (
    Is("Pow", (_CENTRED, Number(2.0))),
    Is("Mul", (_CENTRED, _CENTRED)),
)


def _forms() -> Iterator[Pattern]:
    for square in _SQUARES:
        variance = Is("ReduceMean", (square,), "variance")
        root = Is("Sqrt", (Is("Add", (variance, Var("epsilon"))),))
        yield Is("Div", (_CENTRED, root))
        yield Is("Mul", (_CENTRED, Is("Reciprocal", (root,))))
        yield Is("Mul", (_CENTRED, Is("Div", (Number(1.0), root))))
        inverse = Is("Pow", (Is("Add", (variance, Var("epsilon"))), Number(-0.5)))
        yield Is("Mul", (_CENTRED, inverse))


_FORMS = tuple(_forms())
"""(x - mean) / sqrt(mean((x - mean)^2) + epsilon) as exporters write it."""


def fuse_layer_norm(graph: Graph) -> Graph:
    """Replace written-out normalisations over the last axes, with their factor and bias.

    The graph must be in settled form.
    """
    if not any(node.op == "ReduceMean" for node in graph.nodes):
        return graph
    index = Index(graph)
    taken, names = set(index.types), {node.name for node in graph.nodes}
    constants: dict[str, Array] = {}
    made: dict[str, Node] = {}
    fusions = []
    for node in graph.nodes:
        if node.op not in ("Div", "Mul") or node.outputs[0] is None:
            continue
        found = _normalised(index, node.outputs[0])
        if found is None:
            continue
        axis = index.makers[found["mean"]].attrs["axes"][0]
        shape = index.types[found["x"]].shape[axis:]
        if not all(isinstance(size, int) for size in shape):
            continue
        target, scale = _followed(index, node.outputs[0], "Mul", axis)
        target, bias = _followed(index, target, "Add", axis)
        inputs = [found["x"], fresh(f"{node.name}.scale", taken)]
        plain = np.ones([int(s) for s in shape], np.float32)
        constants[inputs[1]] = plain if scale is None else scale
        if bias is not None:
            inputs.append(fresh(f"{node.name}.bias", taken))
            constants[inputs[2]] = bias
        epsilon = float(index.graph.constants[found["epsilon"]].reshape(()))
        name = fresh(f"{node.name}.norm", names)
        attrs = {"axis": axis, "epsilon": epsilon}
        made[target] = Node("LayerNormalization", name, tuple(inputs), (target,), attrs)
        parts = [part.name for part in index.region([target], {found["x"]})]
        fusions.append(Fusion(name, "LayerNormalization", tuple(parts)))
    if not made:
        return graph
    nodes = [node for node in graph.nodes if not made.keys() & set(node.outputs)]
    return remove_dead(
        graph.with_(
            nodes=ordered([*nodes, *made.values()]),
            constants={**graph.constants, **constants},
            fused=(*graph.fused, *fusions),
        )
    )


def _normalised(index: Index, value: str) -> Mapping[str, str] | None:
    for form in _FORMS:
        for found in match(index, form, value):
            rank = index.types[found["x"]].rank
            nodes = [index.makers[found[word]] for word in ("mean", "variance")]
            axes = nodes[0].attrs["axes"]
            epsilon = index.constant(found["epsilon"])
            if (
                all(node.attrs["axes"] == axes and node.attrs["keepdims"] for node in nodes)
                and axes == tuple(range(rank - len(axes), rank))
                and axes
                and epsilon is not None
                and epsilon.size == 1
            ):
                return found
    return None


def _followed(index: Index, value: str, op: str, axis: int) -> tuple[str, Array | None]:
    """The result of the factor or bias that alone follows a value, and its constant."""
    readers = index.readers.get(value, [])
    if len(readers) != 1 or readers[0].op != op or value in index.graph.outputs:
        return value, None
    other = [name for name in readers[0].inputs if name != value]
    constant = index.constant(other[0]) if len(other) == 1 else None
    result = readers[0].outputs[0]
    if constant is None or result is None or index.types[result] != index.types[value]:
        return value, None
    rank = index.types[value].rank
    leading = constant.shape[: max(constant.ndim - (rank - axis), 0)]
    if any(size != 1 for size in leading):
        return value, None
    return result, np.ascontiguousarray(constant.reshape(constant.shape[len(leading) :]))
