"""Convolutions: one instruction over two spatial axes, weights in panels of output channels."""

from __future__ import annotations

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, Node, as_lowered
from rnnengine.ops.conv import Convolution, read_conv, read_conv_transpose
from rnnengine.ops.emission.linear import pack_matrix
from rnnengine.ops.recurrent.activations import Activation
from rnnengine.ops.registry import Array, attach
from rnnengine.ops.windows import Slide
from rnnengine.program import ACTIVATION_IDS, Emitter, Matrix, Opcode, View

__all__ = ["plane", "window_ints"]

_OWN_PANELS = 8
"""Output channels from which a group has panels of its own, instead of sharing them."""


def plane(node: Node, view: View) -> View:
    """Return the view with two spatial axes, the first of size 1 where there is only one."""
    if view.rank not in (3, 4):
        raise UnsupportedModelError(
            f"{node.name}: {node.op} over {view.rank - 2} spatial axes; accepted at run time: 1, 2"
        )
    return view if view.rank == 4 else view.unsqueeze([2])


def window_ints(slides: tuple[Slide, ...]) -> list[int]:
    """Kernel, stride, dilation and padding in front of both axes, as ``window.h`` reads them."""
    both = slides if len(slides) == 2 else (Slide(1), *slides)
    return [n for s in both for n in (s.kernel, s.stride, s.dilation, s.before)]


def _sizes(node: Node, view: View) -> list[int]:
    sizes = [s for s in view.shape if not isinstance(s, Dim)]
    if len(sizes) != view.rank:
        raise UnsupportedModelError(
            f"{node.name}: weights of shape {view.shape} whose size varies between runs"
        )
    return sizes


def _pack(out: Emitter, node: Node, weights: Array | View, own: bool) -> View:
    """Pack [group, M/group, K] weights, each group in panels of its own or all together."""
    if not isinstance(weights, View):
        group, units, k = weights.shape
        return out.builder.packed(weights if own else weights.reshape(group * units, k))
    group, units, k = _sizes(node, weights)
    rows = out.contiguous(weights).reshape((1, group * units, k))
    assert rows is not None
    if not own or group == 1:
        return pack_matrix(out, node, rows)
    each = -(-units // 16) * 16 * k
    whole = out.temporary((group * each,))
    for g in range(group):
        part = rows.slice(1, g * units, units)
        out.emit(node, Opcode.PACK, [part, whole.slice(0, g * each, each)])
    return whole


def _kernel(out: Emitter, node: Node, read: Convolution) -> Array | View:
    """Weights as [group, M/group, K], k over the channels of the group, then over the kernel."""
    name = node.inputs[1]
    assert name is not None
    group, units = read.group, read.units // read.group
    known = out.known(name)
    if known is not None:
        if node.op == "Conv":
            return known.reshape(group, units, -1 if known.size else 0)
        split = known.reshape(group, known.shape[0] // group, units, *known.shape[2:])
        swapped = np.ascontiguousarray(split.swapaxes(1, 2))
        return swapped.reshape(group, units, -1 if known.size else 0)
    view = out.read(name)
    sizes = _sizes(node, view)
    if node.op == "ConvTranspose":
        split_view = view.split(0, group, sizes[0] // group)
        view = split_view.permute((0, 2, 1, *range(3, split_view.rank)))
    k = 1
    for size in sizes:
        k *= size
    shaped = out.contiguous(view).reshape((group, units, k // (group * units)))
    assert shaped is not None
    return shaped


def _lowered(out: Emitter, node: Node) -> Matrix | None:
    """Weights that were lowered, as they lie; None for others."""
    kept = as_lowered(out.known(node.inputs[1]))
    return None if kept is None else out.builder.block(kept.blocks[0])


def _bias(out: Emitter, node: Node, read: Convolution) -> Array | View:
    """Bias as [group, M/group, 1]; zeros where there is none."""
    shape = (read.group, read.units // read.group, 1)
    name = node.inputs[2] if len(node.inputs) > 2 else None
    if name is None:
        return np.zeros(shape, np.float32)
    known = out.known(name)
    if known is not None:
        return known.reshape(shape)
    view = out.contiguous(out.read(name)).reshape(shape)
    assert view is not None
    return view


def _emit(out: Emitter, node: Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    transposed = node.op == "ConvTranspose"
    types = [out.types[n] if n is not None else None for n in node.inputs]
    read = (read_conv_transpose if transposed else read_conv)(node.attrs, types)
    own = read.group == 1 or read.units // read.group >= _OWN_PANELS
    matrix = _lowered(out, node) if read.group == 1 else None
    slope = node.inputs[3] if len(node.inputs) > 3 else None
    act = node.attrs.get("activation") or Activation("identity")
    if slope is not None:
        act = Activation("leaky_relu")
    matrix = matrix or Matrix(_pack(out, node, _kernel(out, node, read), own))
    bias = _pack(out, node, _bias(out, node, read), own)
    operands = [
        plane(node, out.read(source)),
        matrix.weights,
        bias,
        out.rows(out.read(slope)) if slope is not None else None,
        plane(node, out.write(result)),
        *matrix.beside,
    ]
    ints = [ACTIVATION_IDS[act.name], read.group, int(own), int(transposed), matrix.bits]
    floats = [act.alpha, act.beta, act.gamma]
    out.emit(node, Opcode.CONV, operands, [*ints, *window_ints(read.slides)], floats)


attach("Conv", _emit)
attach("ConvTranspose", _emit)
