"""The work of a graph: multiply-adds of its products, and bytes of weights that they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from rnnengine.graph import Graph, Node, Size, substitute
from rnnengine.ops import infer_types

__all__ = ["Work", "work_of"]

_RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Work:
    """What one call does.

    Attributes
    ----------
    multiply_adds : int
        Of all matrix products and convolutions, padding included.
    weight_bytes : int
        Float32 constants that are read: those of a recurrent product in every step, others once,
        tables of rows not at all.
    working_set : int
        The same with each counted once.
    """

    multiply_adds: int
    weight_bytes: int
    working_set: int


def work_of(graph: Graph, sizes: Mapping[str, int]) -> Work:
    """Count the work of a settled graph.

    Parameters
    ----------
    graph : Graph
    sizes : mapping of str to int
        Of the free sizes of its inputs.

    Raises
    ------
    KeyError
        A free size is not given.
    """
    shapes = {
        name: tuple(_number(size, sizes) for size in kind.shape)
        for name, kind in infer_types(graph).items()
    }
    used = {
        name
        for node in graph.nodes
        for name in node.inputs[node.op == "Gather" :]  # of a table, rows are read
        if name
    }
    working_set = weights = sum(
        4 * int(np.size(array))
        for name, array in graph.constants.items()
        if name in used and np.dtype(array.dtype) == np.float32
    )
    products = 0
    for node in graph.nodes:
        products += _multiply_adds(node, shapes)
        if node.op in _RECURRENT:
            x, _, r = (shapes[name or ""] for name in node.inputs[:3])
            steps, again = x[0], prod(r)
            weights += 4 * (steps - 1) * again
    return Work(products, weights, working_set)


def _number(size: Size, sizes: Mapping[str, int]) -> int:
    found = substitute(size, sizes)
    if not isinstance(found, int):
        raise KeyError(f"a free size of {found} has no number")
    return found


def _multiply_adds(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> int:
    given = [shapes[name] if name else () for name in node.inputs]
    made = [shapes[name] if name else () for name in node.outputs]
    if node.op in _RECURRENT:
        x, w, r = given[:3]
        return x[0] * x[1] * (prod(w) + prod(r))
    if node.op == "Conv":  # one weight [C / group, ...] for each output
        return prod(made[0]) * prod(given[1][1:])
    if node.op == "ConvTranspose":  # one weight [M / group, ...] for each input
        return prod(given[0]) * prod(given[1][1:])
    if node.op in ("MatMul", "Gemm"):
        return prod(made[0]) * given[0][-2 if node.attrs.get("transA") else -1]
    return 0
