"""Attention of ATen, written out as products and a softmax."""

from __future__ import annotations

import math

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim
from rnnengine.importers.torch.aten.call import Call, aten

__all__: list[str] = []


@aten("scaled_dot_product_attention.default")
def _attention(call: Call) -> str:
    """Softmax(q k^T * scale + mask) v, as ``torch.nn.functional`` defines it.

    A mask of truth values keeps the scores where it is true and makes the others -inf. A query
    all of whose keys are at -inf gets zeros.
    """
    query, key, value = (call.tensor(name) for name in ("query", "key", "value"))
    mask = call.optional("attn_mask")
    call.only("dropout_p", call.number("dropout_p", 0.0), 0.0)
    call.only("enable_gqa", call.flag("enable_gqa"), False)
    shape, keys = call.type(query).shape, call.type(key)
    width = shape[-1]
    if isinstance(width, Dim):
        raise UnsupportedModelError(
            f"{call.where}: the last axis of 'query' is {width}; accepted: a fixed size"
        )
    scale = call.take("scale")
    factor = 1 / math.sqrt(width) if scale is None else float(scale)
    turned = (*range(keys.rank - 2), keys.rank - 1, keys.rank - 2)
    scores = call.one("MatMul", [query, call.one("Transpose", [key], {"perm": turned})])
    scores = call.one("Mul", [scores, call.constant(factor)])
    never = call.constant(-math.inf)
    if call.flag("is_causal"):
        first, second = shape[-2], keys.shape[-2]
        if isinstance(first, Dim) or isinstance(second, Dim):
            raise UnsupportedModelError(
                f"{call.where}: argument 'is_causal' is True for {first} queries and {second} "
                "keys; accepted: fixed numbers, or a mask that is an input"
            )
        lower = call.constant(np.tri(first, second, dtype=np.bool_), np.bool_)
        scores = call.one("Where", [lower, scores, never])
    if mask is None:
        weights = call.one("Softmax", [scores], {"axis": -1})
        return call.one("MatMul", [weights, value])
    if call.type(mask).dtype.kind == "b":
        scores = call.one("Where", [mask, scores, never])
    else:
        scores = call.one("Add", [scores, mask])
    weights = call.one("Softmax", [scores], {"axis": -1})
    nothing = call.one("Equal", [scores, never])
    weights = call.one("Where", [nothing, call.constant(0.0), weights])
    return call.one("MatMul", [weights, value])
