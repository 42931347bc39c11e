"""Work a batch normalisation into the weights of the product before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np

from rnnengine.graph import Graph, Node, TensorType, as_integers, as_lowered, fresh
from rnnengine.ops import infer_types
from rnnengine.ops.batchnorm import scale_and_shift
from rnnengine.ops.registry import Array
from rnnengine.ops.sizes import element

__all__ = ["fold_batch_norm"]


def fold_batch_norm(graph: Graph) -> Graph:
    """Scale the weights of a convolution, Gemm or MatMul by the BatchNormalization after it.

    Both must have constant parameters, and nobody else may read the product. Weights are scaled in
    float64 and rounded once; of integers with scales, the scales are, where the factors are
    positive. Weights in the layout of fewer bytes stay as they are. A MatMul becomes a Gemm,
    because it gains a bias.
    """
    if not any(node.op == "BatchNormalization" for node in graph.nodes):
        return graph
    types = infer_types(graph)
    constants = dict(graph.constants)
    taken = set(types)
    readers = graph.consumers()
    replaced: dict[int, Node] = {}
    dropped: set[int] = set()
    for node in graph.nodes:
        product = node.outputs[0]
        following = readers.get(product or "", [])
        if len(following) != 1 or product in graph.outputs:
            continue
        normal = following[0]
        pair = _parameters(normal, product, constants)
        scaled = None if pair is None else _scaled(node, types, constants, *pair)
        if scaled is None:
            continue
        names = [fresh(f"{node.name}.{part}", taken) for part in ("W", "B")]
        constants.update(zip(names, scaled, strict=True))
        op = "Gemm" if node.op == "MatMul" else node.op
        attrs = {**node.attrs, "beta": 1.0} if op == "Gemm" else node.attrs
        inputs = (node.inputs[0], *names, *node.inputs[3:])
        replaced[id(node)] = Node(op, node.name, inputs, normal.outputs, attrs)
        dropped.add(id(normal))
    nodes = tuple(replaced.get(id(n), n) for n in graph.nodes if id(n) not in dropped)
    return graph.with_(nodes=nodes, constants=constants)


def _parameters(
    node: Node, product: str | None, constants: Mapping[str, Array]
) -> tuple[Array, Array] | None:
    """Factor and summand of a BatchNormalization of a product; None for any other node."""
    if node.op != "BatchNormalization" or node.inputs[0] != product:
        return None
    known = [constants.get(name or "") for name in node.inputs[1:5]]
    if any(value is None for value in known):
        return None
    return scale_and_shift(node.attrs, [None, *known])


def _scaled(
    node: Node,
    types: Mapping[str, TensorType],
    constants: Mapping[str, Array],
    factor: Array,
    shift: Array,
) -> tuple[Array, Array] | None:
    """Weights and bias that give the normalised product; None where they are not constant."""
    weights = constants.get(element(node.inputs, 1) or "")
    bias_name = element(node.inputs, 2)
    bias = None if bias_name is None else constants.get(bias_name)
    if weights is None or weights.dtype != np.float32 or (bias_name and bias is None):
        return None
    if as_lowered(weights) is not None:
        return None
    axis = _output_axis(node, types, weights)
    if axis is None:
        return None
    start = np.zeros(()) if bias is None else bias.astype(np.float64)
    start = start * (node.attrs.get("beta", 1.0) if node.op == "Gemm" else 1.0)
    if start.size not in (1, factor.size) or start.shape[-1:] not in ((), (1,), factor.shape):
        return None
    bias = (start.reshape(-1) * factor + shift).astype(np.float32)
    kept = as_integers(weights)
    if kept is not None and node.op != "ConvTranspose" and np.all(factor > 0):
        return cast(Array, kept.scaled(_along(factor, axis, kept.ndim))), bias
    if kept is not None:
        return None
    wide = weights.astype(np.float64)
    if node.op == "ConvTranspose":
        group, shape = node.attrs.get("group", 1), wide.shape
        split = wide.reshape(group, -1, *shape[1:]) * factor.reshape(
            group, 1, -1, *(1,) * (wide.ndim - 2)
        )
        wide = split.reshape(shape)
    else:
        wide = wide * _along(factor, axis, wide.ndim)
    return wide.astype(np.float32), bias


def _along(factor: Array, axis: int, rank: int) -> Array:
    return factor.reshape([-1 if i == axis else 1 for i in range(rank)])


def _output_axis(node: Node, types: Mapping[str, TensorType], weights: Array) -> int | None:
    """Axis of the weights that runs over output channels; None where a scaling cannot move in."""
    if node.op in ("Conv", "ConvTranspose"):
        return None if "activation" in node.attrs or not weights.size else int(node.op != "Conv")
    if node.op == "Gemm":
        return 0 if node.attrs.get("transB", 0) else 1
    if node.op == "MatMul" and weights.ndim == 2 and types[node.outputs[0] or ""].rank == 2:
        return 1
    return None
