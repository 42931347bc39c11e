"""Pools: one instruction over two spatial axes."""

from __future__ import annotations

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Node
from rnnengine.ops.emission.conv import plane, window_ints
from rnnengine.ops.pool import POOLS, read_pool
from rnnengine.ops.registry import attach
from rnnengine.program import Emitter, Opcode

__all__: list[str] = []

_MAX, _MEAN = 0, 1
_NORMS = {1: 2, 2: 3}
"""Exponent of a norm to the number of its kind, ``rnne_pool_kind`` of ``kernels.h``."""


def _kind(node: Node) -> int:
    if node.op != "LpPool":
        return _MAX if node.op == "MaxPool" else _MEAN
    p = int(node.attrs.get("p", 2))
    if p not in _NORMS:
        raise UnsupportedModelError(f"{node.name}: LpPool with p={p}; accepted at run time: 1, 2")
    return _NORMS[p]


def _emit(out: Emitter, node: Node) -> None:
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    slides, _ = read_pool(node.op, node.attrs, [out.types[source]])
    after = [s.after for s in slides]
    ints = [_kind(node), int(node.attrs.get("count_include_pad", 0))]
    ints += after if len(after) == 2 else [0, *after]
    operands = [plane(node, out.read(source)), plane(node, out.write(result))]
    out.emit(node, Opcode.POOL, operands, [*ints, *window_ints(tuple(slides))])


for _name in POOLS:
    attach(_name, _emit)
