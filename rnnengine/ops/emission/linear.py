"""Matrix products: the right-hand side is packed, at load where it is constant."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, Node, Size
from rnnengine.ops.recurrent.activations import Activation
from rnnengine.ops.registry import Array, attach
from rnnengine.program import ACTIVATION_IDS, BINARY_IDS, Emitter, Matrix, Opcode, View

__all__ = ["pack_matrix"]


def pack_matrix(out: Emitter, node: Node, view: View) -> View:
    """Pack a run-time [gates, units, k] view into a temporary; returns the flat packed view."""
    sizes = [int(s) if not isinstance(s, Dim) else None for s in view.shape]
    if None in sizes:
        raise UnsupportedModelError(
            f"{node.name}: a matrix of shape {view.shape} whose size varies between runs"
        )
    gates, units, k = (int(s or 0) for s in sizes)
    packed = out.temporary((gates * (-(-units // 16) * 16) * k,))
    out.emit(node, Opcode.PACK, [view, packed])
    return packed


def _weights(out: Emitter, node: Node, name: str, transpose: bool, scale: float) -> Matrix:
    """Pack a [K, N] matrix (or [N, K] when transposed), times a number."""
    known = out.known(name)
    if known is not None and scale != 1.0:
        known = (known.astype(np.float64) * scale).astype(np.float32)
    if known is not None:
        matrix = known if transpose else known.T
        return out.builder.matrix(matrix)
    view = _scaled(out, node, out.read(name), scale)
    turned = view if transpose else view.permute((1, 0))
    return Matrix(pack_matrix(out, node, turned.unsqueeze([0])))


def _vector(out: Emitter, node: Node, name: str) -> Matrix:
    """Pack a vector [K] as the matrix [K, 1]."""
    known = out.known(name)
    if known is not None:
        return Matrix(out.builder.packed(known.reshape(1, -1)))
    return Matrix(pack_matrix(out, node, out.read(name).unsqueeze([0, 1])))


def _scaled(out: Emitter, node: Node, view: View, scale: float) -> View:
    """Multiply by a number at run time, unless it is 1."""
    if scale == 1.0:
        return view
    factor = out.builder.constant(np.full((), scale, np.float32)).broadcast(view.shape)
    made = out.temporary(view.shape)
    out.emit(node, Opcode.BINARY, [view, factor, made], [BINARY_IDS["Mul"]])
    return made


def _bias(out: Emitter, name: str | None, units: int, scale: float) -> View | None:
    """Packed bias of the product's sums, where C is a constant that adds one value to a unit."""
    value: Array | None = np.zeros(units, np.float32) if name is None else out.known(name)
    if (
        value is None
        or value.size not in (1, units)
        or value.shape[-1:] not in ((1,), (units,), ())
    ):
        return None
    if any(size != 1 for size in value.shape[:-1]):
        return None
    row = np.broadcast_to(value.reshape(-1), (units,)).astype(np.float64) * scale
    return out.builder.packed(row.astype(np.float32).reshape(units, 1))


def _emit_product(
    out: Emitter,
    node: Node,
    x: View,
    matrix: Matrix,
    bias: View,
    target: View,
    act: Activation,
) -> None:
    units = target.shape[-1]
    if isinstance(units, Dim):
        raise UnsupportedModelError(f"{node.name}: the number of columns {units} varies")
    ints = [ACTIVATION_IDS[act.name], units, matrix.bits]
    floats = [act.alpha, act.beta, act.gamma]
    place = target if target.rows_packed else out.temporary(target.shape)
    operands = [out.rows(x), matrix.weights, bias, place, *matrix.beside]
    out.emit(node, Opcode.LINEAR, operands, ints, floats)
    if place is not target:
        out.copy(place, target)


def _columns(node: Node, shape: tuple[Size, ...], axis: int) -> int:
    size = shape[axis]
    if isinstance(size, Dim):
        raise UnsupportedModelError(f"{node.name}: the number of columns {size} varies")
    return size


def _emit_matmul(out: Emitter, node: Node) -> None:
    a, b = node.inputs[:2]
    result = node.outputs[0]
    assert a is not None and b is not None and result is not None
    shape = out.types[b].shape
    if out.known(b) is None or len(shape) > 2:
        _emit_variable_product(out, node, out.read(a), out.read(b), out.write(result))
        return
    x = out.read(a)
    target = out.write(result)
    vector = len(shape) == 1
    target = target.unsqueeze([target.rank]) if vector else target
    if x.rank == 1:
        x, target = x.unsqueeze([0]), target.unsqueeze([0])
    bias = _bias(out, None, 1 if vector else _columns(node, shape, 1), 1.0)
    assert bias is not None
    weights = _vector(out, node, b) if vector else _weights(out, node, b, False, 1.0)
    _emit_product(out, node, x, weights, bias, target, Activation("identity"))


def _emit_variable_product(out: Emitter, node: Node, a: View, b: View, target: View) -> None:
    """A product for every place of the leading axes; the second operand is packed while running."""
    if b.rank == 1:
        b, target = b.unsqueeze([1]), target.unsqueeze([target.rank])
    if a.rank == 1:
        a, target = a.unsqueeze([0]), target.unsqueeze([target.rank - 1])
    batch = target.shape[:-2]
    left = out.rows(a)
    left = left.broadcast((*batch, *left.shape[-2:]))
    right = b.broadcast((*batch, *b.shape[-2:]))
    place = target if target.rows_packed else out.temporary(target.shape)
    out.emit(node, Opcode.MATMUL, [left, right, place])
    if place is not target:
        out.copy(place, target)


def _emit_gemm(out: Emitter, node: Node) -> None:
    a, b = node.inputs[:2]
    c = node.inputs[2] if len(node.inputs) > 2 else None
    result = node.outputs[0]
    assert a is not None and b is not None and result is not None
    attrs = node.attrs
    transposed = bool(attrs.get("transB", 0))
    units = _columns(node, out.types[b].shape, 0 if transposed else 1)
    x = out.read(a).permute((1, 0)) if attrs.get("transA", 0) else out.read(a)
    weights = _weights(out, node, b, transposed, attrs.get("alpha", 1.0))
    bias = _bias(out, c, units, attrs.get("beta", 1.0))
    target = out.write(result)
    if bias is not None:
        _emit_product(out, node, x, weights, bias, target, Activation("identity"))
        return
    assert c is not None
    zero = _bias(out, None, units, 1.0)
    assert zero is not None
    product = out.temporary(target.shape)
    _emit_product(out, node, x, weights, zero, product, Activation("identity"))
    added = _scaled(out, node, out.read(c), attrs.get("beta", 1.0)).broadcast(target.shape)
    out.emit(node, Opcode.BINARY, [product, added, target], [BINARY_IDS["Add"]])


def _emit_linear(out: Emitter, node: Node) -> None:
    a, b = node.inputs[:2]
    c = node.inputs[2] if len(node.inputs) > 2 else None
    result = node.outputs[0]
    assert a is not None and b is not None and result is not None
    bias = _bias(out, c, _columns(node, out.types[b].shape, 1), 1.0)
    assert bias is not None
    act = node.attrs.get("activation") or Activation("identity")
    weights = _weights(out, node, b, False, 1.0)
    _emit_product(out, node, out.read(a), weights, bias, out.write(result), act)


attach("MatMul", _emit_matmul)
attach("Gemm", _emit_gemm)
attach("Linear", _emit_linear)
