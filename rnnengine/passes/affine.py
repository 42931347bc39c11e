"""Values that are sums of matrix products with constant weights, whatever nodes say so.

Exporters write ``x W + h R + b`` in many ways: Gemm or MatMul, one product for all gates and a
Split, several products, one product of a Concat, the bias anywhere, a projection of the whole
sequence from which each step is sliced. :func:`affine` undoes all of these: a value becomes a list
of terms (source, matrix) and of bias rows.

Weights are expressions that are worked out when they are needed, in float64, and compare by what
they are made of; so whether two steps of an unrolled loop have the same weights costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rnnengine.graph import Node, Size
from rnnengine.ops.registry import Array
from rnnengine.passes.match import Index
from rnnengine.records import record, replace

__all__ = ["Affine", "Expr", "Memo", "Source", "Term", "affine", "as_rows", "evaluate_weight"]

Expr: TypeAlias = tuple[Any, ...]
"""An expression of constants: a word for the operation, then its operands."""

Link: TypeAlias = tuple[str, tuple[tuple[str, Any], ...]]
"""A layout operator on the axes before the last: its name and attributes."""


@record
class Source:
    """A value, and the layout operators to apply to it; they leave its last axis alone."""

    value: str
    chain: tuple[Link, ...] = ()


@record
class Term:
    """A source times a [K, N] matrix; without a matrix the source itself."""

    source: Source
    matrix: Expr | None


@record
class Affine:
    """Sum of terms and bias rows, ``width`` columns."""

    terms: tuple[Term, ...]
    bias: tuple[Expr, ...]
    width: int

    def columns(self, start: int, size: int, step: int) -> Affine | None:
        """Return some of the columns; None where a term without a matrix would be cut."""
        if any(t.matrix is None for t in self.terms):
            return None
        cut = ("columns", start, size, step)
        return Affine(
            tuple(replace(t, matrix=(*cut, t.matrix)) for t in self.terms),
            tuple((*cut, b) for b in self.bias),
            size,
        )


def evaluate_weight(index: Index, expr: Expr) -> Array:
    """Work out a weight expression in float64."""
    word = expr[0]
    if word == "constant":
        value = np.asarray(index.graph.constants[expr[1]], np.float64)
        return value.T if expr[2] else value
    if word == "row":
        return np.asarray(as_rows(index.graph.constants[expr[1]], expr[2]), np.float64)
    if word == "columns":
        start, size, step, inner = expr[1:]
        places = start + step * np.arange(size)
        return evaluate_weight(index, inner)[..., places]
    if word == "rows":
        start, size, inner = expr[1:]
        return evaluate_weight(index, inner)[start : start + size]
    if word == "scale":
        return np.asarray(evaluate_weight(index, expr[2]) * np.asarray(expr[1]))
    if word == "place":
        before, after, inner = expr[1:]
        value = evaluate_weight(index, inner)
        return np.pad(value, [(0, 0)] * (value.ndim - 1) + [(before, after)])
    raise AssertionError(word)


def as_rows(value: Array, width: int) -> Array | None:
    """Return the row that a constant adds to each row of a result; None where rows differ."""
    if value.dtype.kind != "f":
        return None
    if value.size == 1:
        return np.full(width, value.reshape(()))
    if value.shape[-1] not in (1, width):
        return None
    flat = np.broadcast_to(value, (*value.shape[:-1], width)).reshape(-1, width)
    return flat[0] if len(flat) and bool(np.all(flat == flat[0])) else None


class Memo(dict[str, "Affine | None"]):
    """Values that were decomposed already, and how deep the one at work is nested."""

    depth = 0


def affine(index: Index, value: str, memo: Memo) -> Affine | None:
    """Decompose a value of fixed width; None where its last axis has no fixed size.

    A value that is no sum or product, or is nested too deeply, is a single term without a matrix.
    """
    if value not in memo:
        memo[value] = None
        kind = index.types[value]
        width = kind.shape[-1] if kind.rank else None
        if isinstance(width, int) and width > 0 and kind.dtype.kind == "f":
            found = None
            if memo.depth < _DEEPEST:
                memo.depth += 1
                found = _decompose(index, value, width, memo)
                memo.depth -= 1
            memo[value] = found or _itself(value, width)
    return memo[value]


_DEEPEST = 64
"""Nested sums that are looked into."""


def _itself(value: str, width: int) -> Affine:
    return Affine((Term(Source(value), None),), (), width)


def _decompose(index: Index, value: str, width: int, memo: Memo) -> Affine | None:
    constant = index.constant(value)
    if constant is not None:
        return _constant(index, value, constant, width)
    node = index.makers.get(value)
    rule = _RULES.get(node.op) if node is not None else None
    if node is None or rule is None or node.outputs[0] != value:
        return None
    return rule(index, node, width, memo)


def _constant(index: Index, name: str, value: Array, width: int) -> Affine | None:
    if as_rows(value, width) is None:
        return None
    return Affine((), (("row", index.alias(name), width),), width)


def _operand(index: Index, node: Node, position: int, width: int, memo: Memo) -> Affine | None:
    """Operand of a sum: of the result's shape, or a constant that adds one row to all."""
    name, result = node.inputs[position], node.outputs[0]
    assert name is not None and result is not None
    constant = index.constant(name)
    if constant is not None:
        return _constant(index, name, constant, width)
    shape, whole = index.types[name].shape, index.types[result].shape
    value = affine(index, name, memo) if shape[-1:] == whole[-1:] else None
    extra = len(whole) - len(shape)
    if value is None or whole != (1,) * extra + shape:
        return None
    return _moved(value, "Unsqueeze", {"axes": tuple(range(extra))}) if extra else value


def _sum(index: Index, node: Node, width: int, memo: Memo) -> Affine | None:
    left, right = (_operand(index, node, i, width, memo) for i in (0, 1))
    if left is None or right is None:
        return None
    if node.op == "Sub":
        scaled = _scaled(right, (-1.0,))
        if scaled is None:
            return None
        right = scaled
    return Affine(left.terms + right.terms, left.bias + right.bias, width)


def _scaled(value: Affine, factor: tuple[float, ...]) -> Affine | None:
    if any(t.matrix is None for t in value.terms):
        return None
    return Affine(
        tuple(replace(t, matrix=("scale", factor, t.matrix)) for t in value.terms),
        tuple(("scale", factor, b) for b in value.bias),
        value.width,
    )


def _product(index: Index, node: Node, width: int, memo: Memo) -> Affine | None:
    """Multiplication with, or division by, a constant row."""
    for position in (1, 0) if node.op == "Mul" else (1,):
        constant = index.constant(node.inputs[position])
        if constant is None:
            continue
        row = as_rows(constant, width)
        value = _operand(index, node, 1 - position, width, memo)
        if row is None or value is None or not value.terms:
            return None
        with np.errstate(all="ignore"):
            row = row.astype(np.float64)
            row = 1.0 / row if node.op == "Div" else row
        return _scaled(value, tuple(row.tolist())) if bool(np.all(np.isfinite(row))) else None
    return None


def _negated(index: Index, node: Node, width: int, memo: Memo) -> Affine | None:
    value = _operand(index, node, 0, width, memo)
    return None if value is None else _scaled(value, (-1.0,))


def _matrix(index: Index, name: str | None, transposed: bool) -> Expr | None:
    value = index.constant(name)
    if name is None or value is None or value.ndim != 2 or value.dtype.kind != "f":
        return None
    return ("constant", index.alias(name), transposed)


def _times(index: Index, name: str, matrix: Expr) -> list[Term]:
    """Terms of a product: a Concat along the last axis gives one for each of its parts."""
    node = index.makers.get(name)
    rank = index.types[name].rank
    if node is None or node.op != "Concat" or node.attrs["axis"] % rank != rank - 1:
        return [Term(Source(name), matrix)]
    terms, start = [], 0
    for part in node.inputs:
        assert part is not None
        size = index.types[part].shape[-1]
        if not isinstance(size, int):
            return [Term(Source(name), matrix)]
        terms += _times(index, part, ("rows", start, size, matrix))
        start += size
    return terms


def _matmul(index: Index, node: Node, width: int, _: Memo) -> Affine | None:
    matrix = _matrix(index, node.inputs[1], False)
    name = node.inputs[0]
    if matrix is None or name is None or index.constant(name) is not None:
        return None
    return Affine(tuple(_times(index, name, matrix)), (), width)


def _gemm(index: Index, node: Node, width: int, memo: Memo) -> Affine | None:
    matrix = _matrix(index, node.inputs[1], bool(node.attrs.get("transB", 0)))
    name = node.inputs[0]
    if matrix is None or name is None or node.attrs.get("transA", 0):
        return None
    product = Affine(tuple(_times(index, name, matrix)), (), width)
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    scaled = product if alpha == 1.0 else _scaled(product, (alpha,))
    if scaled is None or len(node.inputs) < 3 or node.inputs[2] is None:
        return scaled
    added = _operand(index, node, 2, width, memo)
    if added is not None and beta != 1.0:
        added = _scaled(added, (beta,))
    if added is None:
        return None
    return Affine(scaled.terms + added.terms, added.bias, width)


def _concat(index: Index, node: Node, width: int, memo: Memo) -> Affine | None:
    """Columns side by side."""
    if node.attrs["axis"] != index.types[node.outputs[0] or ""].rank - 1:
        return None
    terms: list[Term] = []
    bias: list[Expr] = []
    start = 0
    for name in node.inputs:
        assert name is not None
        part = affine(index, name, memo)
        if part is None or any(t.matrix is None for t in part.terms):
            return None
        room = ("place", start, width - start - part.width)
        terms += [replace(t, matrix=(*room, t.matrix)) for t in part.terms]
        bias += [(*room, b) for b in part.bias]
        start += part.width
    return Affine(tuple(terms), tuple(bias), width)


def _slice(index: Index, node: Node, _: int, memo: Memo) -> Affine | None:
    source = node.inputs[0]
    assert source is not None
    last = index.types[source].rank - 1
    attrs = {k: node.attrs[k] for k in ("axes", "starts", "sizes", "steps")}
    value = affine(index, source, memo)
    if value is None:
        return None
    if last in attrs["axes"]:
        at = attrs["axes"].index(last)
        start, size, step = (attrs[k][at] for k in ("starts", "sizes", "steps"))
        if not isinstance(start, int) or not isinstance(size, int):
            return None
        value = value.columns(start, size, step)
        attrs = {k: v[:at] + v[at + 1 :] for k, v in attrs.items()}
    if value is None or not attrs["axes"]:
        return value
    return _moved(value, "Slice", attrs)


def _moved(value: Affine, op: str, attrs: dict[str, Any]) -> Affine | None:
    """The value behind one more layout operator; an Unsqueeze takes back the same Squeeze."""
    link: Link = (op, tuple(sorted(attrs.items())))
    undone = ("Squeeze", link[1]) if op == "Unsqueeze" else None

    def behind(chain: tuple[Link, ...]) -> tuple[Link, ...]:
        return chain[:-1] if chain and chain[-1] == undone else (*chain, link)

    terms = [replace(t, source=Source(t.source.value, behind(t.source.chain))) for t in value.terms]
    return Affine(tuple(terms), value.bias, value.width)


def _axes(index: Index, node: Node, width: int, memo: Memo) -> Affine | None:
    """Squeeze, Unsqueeze, Transpose, Reshape, where they keep the last axis as it is."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None and result is not None
    before, after = index.types[source], index.types[result]
    attrs = dict(node.attrs)
    last = before.rank - 1
    if node.op == "Squeeze":
        keeps = last not in attrs["axes"]
    elif node.op == "Unsqueeze":
        keeps = after.rank - 1 not in attrs["axes"]
    elif node.op == "Transpose":
        keeps = attrs["perm"][-1] == last
    else:
        keeps = before.rank > 0 and before.shape[-1] == width
    if not keeps:
        return None
    value = affine(index, source, memo)
    if value is None:
        return None
    if node.op == "Reshape":
        leading: tuple[Size, ...] = tuple(attrs["shape"][:-1])
        attrs = {"shape": (*leading, None)}
    return _moved(value, node.op, attrs)


_RULES: dict[str, Callable[[Index, Node, int, Memo], Affine | None]] = {
    "Add": _sum,
    "Sub": _sum,
    "Mul": _product,
    "Div": _product,
    "Neg": _negated,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _axes,
    "Unsqueeze": _axes,
    "Transpose": _axes,
    "Reshape": _axes,
}
