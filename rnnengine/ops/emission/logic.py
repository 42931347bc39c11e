"""Comparison, logic and choice. Truth values are int32, 0 or 1."""

from __future__ import annotations

import numpy as np

from rnnengine.graph import Node
from rnnengine.ops.registry import attach
from rnnengine.program import BINARY_IDS, COMPARISON_IDS, Emitter, Opcode, View

__all__: list[str] = []


def _result(node: Node) -> str:
    name = node.outputs[0]
    assert name is not None
    return name


def _operands(out: Emitter, node: Node) -> list[View]:
    shape = out.types[_result(node)].shape
    return [out.read(name).broadcast(shape) for name in node.inputs if name]


def _emit_comparison(out: Emitter, node: Node) -> None:
    """Greater is Less with the operands exchanged."""
    a, b = _operands(out, node)
    op = node.op
    if op.startswith("Greater"):
        a, b, op = b, a, op.replace("Greater", "Less")
    out.emit(node, Opcode.COMPARE, [a, b, out.write(_result(node))], [COMPARISON_IDS[op]])


def _emit_boolean(out: Emitter, node: Node) -> None:
    """And is the smaller, Or the larger of two truth values; Xor is whether they differ."""
    a, b = _operands(out, node)
    target = out.write(_result(node))
    if node.op == "Xor":
        out.emit(node, Opcode.COMPARE, [a, b, target], [COMPARISON_IDS["NotEqual"]])
        return
    out.emit(
        node, Opcode.BINARY, [a, b, target], [BINARY_IDS[{"And": "Min", "Or": "Max"}[node.op]]]
    )


def _emit_not(out: Emitter, node: Node) -> None:
    (x,) = _operands(out, node)
    zero = out.builder.constant(np.zeros((), np.int32)).broadcast(x.shape)
    out.emit(node, Opcode.COMPARE, [x, zero, out.write(_result(node))], [COMPARISON_IDS["Equal"]])


def _emit_where(out: Emitter, node: Node) -> None:
    operands = _operands(out, node)
    out.emit(node, Opcode.SELECT, [*operands, out.write(_result(node))])


def _emit_is_nan(out: Emitter, node: Node) -> None:
    """NaN alone differs from itself."""
    (x,) = _operands(out, node)
    out.emit(node, Opcode.COMPARE, [x, x, out.write(_result(node))], [COMPARISON_IDS["NotEqual"]])


def _emit_is_inf(out: Emitter, node: Node) -> None:
    (x,) = _operands(out, node)
    target = out.write(_result(node))
    signs = [
        np.float32(sign * np.inf)
        for sign, key in ((1, "detect_positive"), (-1, "detect_negative"))
        if node.attrs.get(key, True)
    ]
    if not signs:
        out.copy(out.builder.constant(np.zeros((), np.int32)).broadcast(x.shape), target)
        return
    found = [target] if len(signs) == 1 else [out.temporary(x.shape, 1) for _ in signs]
    for sign, place in zip(signs, found, strict=True):
        infinity = out.builder.constant(np.asarray(sign)).broadcast(x.shape)
        out.emit(node, Opcode.COMPARE, [x, infinity, place], [COMPARISON_IDS["Equal"]])
    if len(found) == 2:
        out.emit(node, Opcode.BINARY, [*found, target], [BINARY_IDS["Max"]])


for _name in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
    attach(_name, _emit_comparison)
for _name in ("And", "Or", "Xor"):
    attach(_name, _emit_boolean)
attach("Not", _emit_not)
attach("Where", _emit_where)
attach("IsNaN", _emit_is_nan)
attach("IsInf", _emit_is_inf)
