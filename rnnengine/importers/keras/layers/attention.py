"""Dot, Attention and AdditiveAttention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.context import Context, Tensor
from rnnengine.importers.keras.kinds import register
from rnnengine.importers.keras.layers.norms import unit_length
from rnnengine.importers.keras.names import Slots, in_order
from rnnengine.importers.keras.records import Layer
from rnnengine.importers.keras.version import Version

__all__: list[str] = []

_FAR = 1e9
"""What Keras takes from the scores of steps that do not count."""


@register("Dot", inputs=2)
def _dot(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Sum of products over one axis of each input, for every row of the batch; no mask."""
    x, y = (ctx.settled(t).name for t in inputs)
    ranks = [ctx.type(x).rank, ctx.type(y).rank]
    axes = ctx.get("axes")
    pair = [axes, axes] if isinstance(axes, int) else axes
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or not all(isinstance(a, int) and -r <= a < r for a, r in zip(pair, ranks, strict=True))
    ):
        raise ModelFormatError(f"{ctx.where}: axes is {axes!r}; expected an axis of each input")
    first, second = (a % r for a, r in zip(pair, ranks, strict=True))
    if 0 in (first, second) or not set(ranks) <= {2, 3}:
        raise UnsupportedModelError(
            f"{ctx.where}: axes is {axes!r} on inputs of ranks {ranks[0]} and {ranks[1]}; "
            "accepted: axes behind the batch, ranks 2 and 3"
        )
    if ctx.flag("normalize"):
        least = 1e-7 if ctx.version.major >= 3 else 1e-6
        x, y = unit_length(ctx, x, (first,), least), unit_length(ctx, y, (second,), least)
    if ranks[0] == 2:
        x = ctx.emit("Unsqueeze", [x], {"axes": (1,)}, "row")
    elif first == 1:
        x = ctx.emit("Transpose", [x], {"perm": (0, 2, 1)}, "row")
    if ranks[1] == 2:
        y = ctx.emit("Unsqueeze", [y], {"axes": (2,)}, "column")
    elif second == 2:
        y = ctx.emit("Transpose", [y], {"perm": (0, 2, 1)}, "column")
    product = ctx.emit("MatMul", [x, y])
    if 2 in ranks:
        axis = 1 if ranks[0] == 2 else 2
        product = ctx.emit("Squeeze", [product], {"axes": (axis,)}, "flat")
    return [Tensor(product)]


def _slots(layer: Layer, version: Version) -> Slots:
    own = ["scale"] if layer.config.get("use_scale", layer.kind == "AdditiveAttention") else []
    concat = layer.kind == "Attention" and layer.config.get("score_mode", "dot") == "concat"
    return Slots(in_order([*own, *(["concat_score_weight"] if concat else [])]))


@register(
    "Attention",
    "AdditiveAttention",
    slots=_slots,
    inputs=None,
    options=("use_causal_mask", "return_attention_scores"),
)
def _attention(ctx: Context, inputs: Sequence[Tensor]) -> list[Tensor]:
    """softmax(scores of query and key) value; steps of the value that do not count weigh nothing.

    The mask of the query is that of the result, whose masked steps are zero.
    """
    if not 2 <= len(inputs) <= 3:
        raise ModelFormatError(
            f"{ctx.where}: has {len(inputs)} inputs; expected query, value and perhaps key"
        )
    masks = ctx.masks(inputs)
    query, value, *rest = (ctx.settled(t) for t in inputs)
    key = rest[0] if rest else value
    for tensor in (query, value, key):
        ctx.rank(tensor, 3)
    scores = _scores(ctx, query.name, key.name)
    keep = _kept(ctx, scores, masks[1])
    if keep is not None:
        one, far = (ctx.constant(n, np.array(v, np.float32)) for n, v in (("1", 1), ("far", _FAR)))
        penalty = ctx.emit("Mul", [ctx.emit("Sub", [keep, one], None, "far"), far], None, "far")
        scores = ctx.emit("Add", [scores, penalty], None, "kept")
    weights = ctx.emit("Softmax", [scores], {"axis": 2}, "weights")
    result = ctx.emit("MatMul", [weights, value.name])
    if masks[0] is not None:
        rows = ctx.emit("Unsqueeze", [_floats(ctx, masks[0])], {"axes": (2,)}, "rows")
        result = ctx.emit("Mul", [result, rows], None, "rows")
    out = [Tensor(result, masks[0])]
    return [*out, Tensor(weights)] if "return_attention_scores" in ctx.options else out


def _floats(ctx: Context, mask: str) -> str:
    return ctx.emit("Cast", [ctx.steps_mask(mask)], {"to": np.dtype(np.float32)}, "mask")


def _scores(ctx: Context, query: str, key: str) -> str:
    """Query times key, or the sum of tanh of their sum: [batch, queries, keys]."""
    mode = ctx.get("score_mode", "dot")
    additive = ctx.layer.kind == "AdditiveAttention"
    if mode not in ("dot", "concat"):
        raise UnsupportedModelError(f"{ctx.where}: score_mode is {mode!r}; accepted: dot, concat")
    if not additive and mode == "dot":
        turned = ctx.emit("Transpose", [key], {"perm": (0, 2, 1)}, "key")
        scores = ctx.emit("MatMul", [query, turned], None, "scores")
        return _times(ctx, scores, "scale") if "scale" in ctx.params.own else scores
    q = ctx.emit("Unsqueeze", [query], {"axes": (2,)}, "query")
    k = ctx.emit("Unsqueeze", [key], {"axes": (1,)}, "key")
    total = ctx.emit("Add", [q, k], None, "sum")
    scaled = "scale" in ctx.params.own
    if scaled and not additive:
        total = _times(ctx, total, "scale")
    total = ctx.emit("Tanh", [total], None, "sum")
    if scaled and additive:
        total = _times(ctx, total, "scale", ctx.features(Tensor(query)))
    scores = ctx.emit("ReduceSum", [total], {"axes": (3,), "keepdims": False}, "scores")
    return scores if additive else _times(ctx, scores, "concat_score_weight")


def _times(ctx: Context, value: str, role: str, *shape: int) -> str:
    return ctx.emit("Mul", [value, ctx.constant(role, ctx.weight(role, *shape))], None, role)


def _kept(ctx: Context, scores: str, mask: str | None) -> str | None:
    """1 where a query may look at a key, [batch or 1, queries or 1, keys]; None: everywhere."""
    keep = None
    if mask is not None:
        keep = ctx.emit("Unsqueeze", [_floats(ctx, mask)], {"axes": (1,)}, "keys")
    if not (ctx.flag("causal") or "use_causal_mask" in ctx.options):
        return keep
    queries, keys = ctx.type(scores).shape[1:]
    if not isinstance(queries, int) or not isinstance(keys, int):
        raise UnsupportedModelError(
            f"{ctx.where}: use_causal_mask over {queries} and {keys} steps; accepted: known numbers"
        )
    past = ctx.constant("past", np.tri(queries, keys, dtype=np.float32)[None])
    return past if keep is None else ctx.emit("Mul", [keep, past], None, "keys")
