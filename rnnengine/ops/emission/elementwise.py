"""Elementwise operators: one instruction each, broadcasting by strides of 0."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node
from rnnengine.ops.elementwise import UNARY, unary_activation
from rnnengine.ops.recurrent.activations import Activation
from rnnengine.ops.registry import attach
from rnnengine.program import ACTIVATION_IDS, BINARY_IDS, COMPARISON_IDS, Emitter, Opcode, View

__all__ = ["emit_activation"]


_POWERS = (0.5, 1.0, 2.0, 3.0, 4.0)
"""Magnitudes of the exponents that Pow computes by products and a square root."""


def emit_activation(out: Emitter, node: Node, x: View, y: View, act: Activation) -> None:
    """Append y = act(x)."""
    out.emit(
        node, Opcode.UNARY, [x, y], [ACTIVATION_IDS[act.name]], [act.alpha, act.beta, act.gamma]
    )


def _names(node: Node) -> tuple[str, str]:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    return source, result


def _emit_integer(out: Emitter, node: Node, x: View, y: View) -> None:
    """Neg, Abs, Relu and Sign of integers, from operations of two operands."""

    def constant(value: int) -> View:
        return out.builder.constant(np.full((), value, np.int32)).broadcast(x.shape)

    def binary(op: str, a: View, b: View, target: View) -> View:
        out.emit(node, Opcode.BINARY, [a, b, target], [BINARY_IDS[op]])
        return target

    if node.op == "Relu":
        binary("Max", x, constant(0), y)
    elif node.op == "Sign":
        low = binary("Max", x, constant(-1), out.temporary(x.shape, 1))
        binary("Min", low, constant(1), y)
    elif node.op == "Neg":
        binary("Sub", constant(0), x, y)
    else:
        negative = binary("Sub", constant(0), x, out.temporary(x.shape, 1))
        binary("Max", x, negative, y)


def _emit_unary(out: Emitter, node: Node) -> None:
    source, result = _names(node)
    if out.types[source].dtype.kind != "f":
        _emit_integer(out, node, out.read(source), out.write(result))
        return
    act = unary_activation(node.op, node.attrs)
    emit_activation(out, node, out.read(source), out.write(result), act)


def _emit_binary(out: Emitter, node: Node) -> None:
    """Fold any number of operands from the left (Min and Max take several)."""
    result = node.outputs[0]
    assert result is not None
    shape = out.types[result].shape
    views = [out.read(name).broadcast(shape) for name in node.inputs if name]
    if len(views) == 1:
        out.alias(result, views[0])
        return
    left = views[0]
    for i, right in enumerate(views[1:], 2):
        target = out.write(result) if i == len(views) else out.temporary(shape, left.buffer.dtype)
        out.emit(node, Opcode.BINARY, [left, right, target], [_binary_id(node)])
        left = target


def _binary_id(node: Node) -> int:
    if node.op == "Mod" and not node.attrs.get("fmod", 0):
        return BINARY_IDS["Mod_Floor"]
    return BINARY_IDS[node.op]


def _emit_pow(out: Emitter, node: Node) -> None:
    """Whole powers as products from the left, one half as a square root, negative ones inverted."""
    exponent = out.known(node.inputs[1])
    source, result = _names(node)
    power = float(exponent.reshape(-1)[0]) if exponent is not None and exponent.size == 1 else 0.0
    shape = out.types[result].shape
    x = out.read(source).broadcast(shape)
    if x.buffer.dtype != 0:
        raise UnsupportedModelError(
            f"{node.name}: Pow of {out.types[source].dtype} at run time; accepted: float32"
        )
    if abs(power) not in _POWERS:
        _emit_any_power(out, node, x)
        return
    if power == 1.0:
        out.alias(result, x)
        return
    last = [Activation("reciprocal")] if power < 0 else []
    if abs(power) == 0.5:
        last.insert(0, Activation("sqrt"))
    products = max(int(abs(power)) - 1, 0)
    value = x
    for left in reversed(range(products + len(last))):
        target = out.temporary(shape) if left else out.write(result)
        if left >= len(last):
            out.emit(node, Opcode.BINARY, [value, x, target], [BINARY_IDS["Mul"]])
        else:
            emit_activation(out, node, value, target, last[-1 - left])
        value = target


def _emit_any_power(out: Emitter, node: Node, x: View) -> None:
    """pow, of an exponent that may be an integer."""
    name, result = node.inputs[1], node.outputs[0]
    assert name is not None and result is not None
    exponent = out.read(name)
    if exponent.buffer.dtype != 0:
        made = out.temporary(exponent.shape)
        out.emit(node, Opcode.CONVERT, [exponent, made])
        exponent = made
    operands = [x, exponent.broadcast(x.shape), out.write(result)]
    out.emit(node, Opcode.BINARY, operands, [BINARY_IDS["Pow"]])


def _emit_clip(out: Emitter, node: Node) -> None:
    """Clip to bounds, settled as attributes or computed; an absent bound is no bound."""
    source, result = _names(node)
    shape = out.types[result].shape
    view = out.read(source)
    bounds: list[tuple[str, View]] = []
    for op, key, name in zip(
        ("Max", "Min"), ("min", "max"), (*node.inputs[1:], None, None), strict=False
    ):
        if name is not None:
            bounds.append((op, out.read(name)))
        elif node.attrs.get(key) is not None:
            number = np.full((), node.attrs[key], out.types[source].dtype)
            bounds.append((op, out.builder.constant(number)))
    if not bounds:
        out.alias(result, view)
    for i, (op, bound) in enumerate(bounds, 1):
        last = i == len(bounds)
        target = out.write(result) if last else out.temporary(shape, view.buffer.dtype)
        operands = [view, bound.broadcast(shape), target]
        out.emit(node, Opcode.BINARY, operands, [BINARY_IDS[op]])
        view = target


def _emit_cast(out: Emitter, node: Node) -> None:
    """Integers and truth values share one form; a number is true where it is not 0."""
    source, result = _names(node)
    before, after = out.types[source].dtype, out.types[result].dtype
    x = out.read(source)
    if after == np.bool_ and before != np.bool_:
        zero = out.builder.constant(np.zeros((), before)).broadcast(x.shape)
        out.emit(node, Opcode.COMPARE, [x, zero, out.write(result)], [COMPARISON_IDS["NotEqual"]])
    elif (before.kind == "f") != (after.kind == "f"):
        out.emit(node, Opcode.CONVERT, [x, out.write(result)])
    elif before == after or after in (np.int32, np.int64):
        out.alias(result, x)
    else:
        raise UnsupportedModelError(
            f"{node.name}: Cast from {before} to {after} at run time; accepted: float32, int32, "
            "int64, bool, and any cast of constants and shapes"
        )


for _name in UNARY:
    attach(_name, _emit_unary)
for _name in ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu", "Mod"):
    attach(_name, _emit_binary)
attach("Pow", _emit_pow)
attach("Clip", _emit_clip)
attach("Cast", _emit_cast)
