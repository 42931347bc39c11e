"""Matrix products and embeddings of ATen."""

from __future__ import annotations

import numpy as np

from rnnengine.importers.torch.aten.call import Call, aten

__all__: list[str] = []


def _scaled(call: Call, value: str, factor: float) -> str:
    return value if factor == 1 else call.one("Mul", [value, call.constant(factor)])


def _swapped(call: Call, value: str) -> str:
    """The last two axes exchanged; of constants at once."""
    if value in call.builder.constants:
        array = np.ascontiguousarray(np.swapaxes(call.builder.constants[value], -1, -2))
        return call.builder.exact(f"{call.builder.paths.get(value, value)}.transpose", array)
    rank = call.type(value).rank
    return call.one("Transpose", [value], {"perm": (*range(rank - 2), rank - 1, rank - 2)})


@aten("linear.default")
def _linear(call: Call) -> str:
    """Y = x W^T + b."""
    x, weight, bias = call.tensor("input"), call.tensor("weight"), call.optional("bias")
    y = call.one("MatMul", [x, _swapped(call, weight)])
    return y if bias is None else call.one("Add", [y, bias])


@aten("addmm.default", "baddbmm.default", "addmv.default")
def _addmm(call: Call) -> str:
    """Beta * self + alpha * (mat1 @ mat2)."""
    base = call.tensor()
    first, second = {
        "aten.addmm": ("mat1", "mat2"),
        "aten.baddbmm": ("batch1", "batch2"),
        "aten.addmv": ("mat", "vec"),
    }[call.target.rpartition(".")[0]]
    product = call.one("MatMul", [call.tensor(first), call.tensor(second)])
    alpha, beta = call.number("alpha", 1), call.number("beta", 1)
    product = _scaled(call, product, alpha)
    return product if beta == 0 else call.one("Add", [product, _scaled(call, base, beta)])


@aten("mm.default", "bmm.default", "matmul.default", "mv.default", "dot.default", "vdot.default")
def _matmul(call: Call) -> str:
    second = {"mm": "mat2", "bmm": "mat2", "mv": "vec", "dot": "tensor"}
    name = second.get(call.target.split(".")[1], "other")
    return call.one("MatMul", [call.tensor(), call.tensor(name)])


@aten("embedding.default")
def _embedding(call: Call) -> str:
    """Rows of the table; the further arguments concern gradients."""
    table, ids = call.tensor("weight"), call.tensor("indices")
    call.integer("padding_idx", -1)
    call.flag("scale_grad_by_freq")
    call.flag("sparse")
    return call.one("Gather", [table, ids], {"axis": 0})
