"""Batch normalisation that no pass could join to a convolution: a factor and a summand."""

from __future__ import annotations

import numpy as np

from rnnengine.graph import Node
from rnnengine.ops.batchnorm import scale_and_shift
from rnnengine.ops.registry import attach
from rnnengine.program import ACTIVATION_IDS, BINARY_IDS, Emitter, Opcode, View

__all__: list[str] = []


def _parameters(out: Emitter, node: Node) -> tuple[View, View]:
    """Factor and summand of each channel: rounded once where they are known at load."""
    names = node.inputs[1:5]
    known = [out.known(name) for name in names]
    if all(value is not None for value in known):
        pair = scale_and_shift(node.attrs, [None, *known])
        factor, shift = (out.builder.constant(v.astype(np.float32)) for v in pair)
        return factor, shift
    scale, shift, mean, var = (out.read(name) for name in names if name is not None)
    epsilon = np.full((), node.attrs.get("epsilon", 1e-5), np.float32)
    spread = _binary(out, node, "Add", var, out.builder.constant(epsilon).broadcast(var.shape))
    root = out.temporary(var.shape)
    out.emit(node, Opcode.UNARY, [spread, root], [ACTIVATION_IDS["sqrt"]], [0.0, 0.0, 0.0])
    factor = _binary(out, node, "Div", scale, root)
    return factor, _binary(out, node, "Sub", shift, _binary(out, node, "Mul", mean, factor))


def _binary(out: Emitter, node: Node, op: str, a: View, b: View) -> View:
    made = out.temporary(a.shape)
    out.emit(node, Opcode.BINARY, [a, b, made], [BINARY_IDS[op]])
    return made


def _emit(out: Emitter, node: Node) -> None:
    """Emit y = x * factor + shift, rounded after each of the two."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    x, y = out.read(source), out.write(result)
    ones = range(1, x.rank - 1)
    factor, shift = (view.unsqueeze(ones).broadcast(x.shape) for view in _parameters(out, node))
    scaled = _binary(out, node, "Mul", x, factor)
    out.emit(node, Opcode.BINARY, [scaled, shift, y], [BINARY_IDS["Add"]])


attach("BatchNormalization", _emit)
