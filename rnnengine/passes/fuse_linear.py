"""Join a matrix product with the bias and the activation that follow it."""

from __future__ import annotations

import numpy as np

from rnnengine.graph import Graph, Node, fresh
from rnnengine.ops import infer_types
from rnnengine.ops.elementwise import UNARY, unary_activation
from rnnengine.ops.recurrent.activations import Activation
from rnnengine.ops.registry import Array

__all__ = ["fuse_linear"]


def fuse_linear(graph: Graph) -> Graph:
    """Replace MatMul or Gemm with constant weights, Add of a constant row, activation by Linear.

    Only values that nobody else reads are absorbed. The bias starts the sum instead of ending it,
    as the numeric contract asks of every matrix product.
    """
    readers = graph.consumers()
    types = infer_types(graph)
    taken = set(types)
    constants = dict(graph.constants)
    nodes: list[Node] = []
    absorbed: set[int] = set()

    def only_reader(name: str | None) -> Node | None:
        found = readers.get(name or "", [])
        return found[0] if len(found) == 1 and name not in graph.outputs else None

    for node in graph.nodes:
        if id(node) in absorbed:
            continue
        weights = _weights(node, constants)
        if weights is None:
            nodes.append(node)
            continue
        matrix, bias = weights
        result = node.outputs[0]
        follower = only_reader(result)
        if bias is None and follower is not None and follower.op == "Add":
            bias = _row(follower, result, constants, matrix.shape[1])
            if types[follower.outputs[0] or ""].rank != types[result or ""].rank:
                bias = None  # a row of higher rank adds axes to the result
            if bias is not None:
                absorbed.add(id(follower))
                result = follower.outputs[0]
                follower = only_reader(result)
        act = Activation("identity")
        if follower is not None and follower.op in UNARY and follower.inputs == (result,):
            act = unary_activation(follower.op, follower.attrs)
            absorbed.add(id(follower))
            result = follower.outputs[0]
        w_name, b_name = (fresh(f"{node.name}.{part}", taken) for part in "Wb")
        constants[w_name] = matrix
        if bias is not None:
            constants[b_name] = bias
        inputs = (node.inputs[0], w_name, b_name if bias is not None else None)
        nodes.append(Node("Linear", node.name, inputs, (result,), {"activation": act}))
    return graph.with_(nodes=tuple(nodes), constants=constants)


def _weights(node: Node, constants: dict[str, Array]) -> tuple[Array, Array | None] | None:
    """[K, N] matrix and bias of a product that can be fused, None for any other node."""
    b = constants.get(node.inputs[1] or "") if len(node.inputs) > 1 else None
    if b is None or b.ndim != 2 or b.dtype != np.float32:
        return None
    if node.op == "MatMul":
        return b, None
    attrs = node.attrs
    if node.op != "Gemm" or attrs.get("transA", 0):
        return None
    if attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0:
        return None
    matrix = b.T if attrs.get("transB", 0) else b
    c = node.inputs[2] if len(node.inputs) > 2 else None
    if c is None:
        return matrix, None
    row = _as_row(constants.get(c), matrix.shape[1])
    return None if row is None else (matrix, row)


def _row(node: Node, product: str | None, constants: dict[str, Array], units: int) -> Array | None:
    """Constant row that an Add puts on top of the product."""
    others = [name for name in node.inputs if name != product]
    return _as_row(constants.get(others[0] or ""), units) if len(others) == 1 else None


def _as_row(value: Array | None, units: int) -> Array | None:
    if value is None or value.dtype != np.float32 or value.shape[-1:] != (units,):
        return None
    return value.reshape(units) if value.size == units else None
