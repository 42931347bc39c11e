"""Mistakes inside a cell: order of the gates, reset, activations, biases, transposes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rnnengine.graph import Graph, Node
from rnnengine.importers import gates
from rnnengine.ops.recurrent import Activation, RecurrentAttrs
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.decoys.record import (
    Array,
    Change,
    Decoy,
    Variant,
    constant,
    with_attrs,
    with_operands,
)

__all__ = ["DECOYS"]

Arrays = dict[str, Array | None]


def _blocks(graph: Graph, node: Node, op: str, what: Sequence[str]) -> dict[str, Array] | None:
    """Constant operands of a node of the kind; None where it is of another, or they are none."""
    if node.op != op:
        return None
    found = {w: v for w in what if (v := constant(graph, node, w)) is not None}
    return found if found.keys() >= set(what) - {"b_w", "b_r"} else None


def _permuted(op: str, order: Sequence[int], what: Sequence[str]) -> Change:
    """Canonical gate k is what stands at ``order[k]``."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        found = _blocks(graph, node, op, what)
        if not found:
            return None
        count = len(order)
        moved: Arrays = {
            w: np.concatenate([np.split(v, count, axis=1)[i] for i in order], axis=1)
            for w, v in found.items()
        }
        return with_operands(graph, node, moved)

    return change


def _orders(kind: str, op: str, what: Sequence[str], words: str) -> Iterator[Variant]:
    """Every order of the gates, named after the formats where it is one's read as another's."""
    canonical = gates.CANONICAL[kind]
    formats: dict[str, list[str]] = {}
    for name, orders in gates.ORDERS.items():
        if kind in orders:
            formats.setdefault(orders[kind], []).append(name)
    named: dict[str, list[str]] = {}
    for a, b in itertools.permutations(formats, 2):
        letters = "".join(b[a.index(gate)] for gate in canonical)
        said = f"{a} ({', '.join(formats[a])}), read as {b} ({', '.join(formats[b])})"
        named.setdefault(letters, []).append(said)
    every = ["".join(p) for p in itertools.permutations(canonical)]
    for letters in sorted(every, key=lambda letters: letters not in named):
        if letters != canonical:
            order = [canonical.index(letter) for letter in letters]
            said = ", or ".join(named.get(letters, [])) or f"{letters} where it has {canonical}"
            yield Variant(f"{words} are in the order {said}", _permuted(op, order, what))


_GATE_ORDER = Decoy(
    "gate_order", "gate order",
    "formats keep the gates of a cell in different orders, and every wrong one loads",
    tuple(
        v for op in ("LSTM", "GRU")
        for v in (
            *_orders(op, op, ("W", "R", "b_w", "b_r"), "its gates"),
            *_orders(op, op, ("b_w", "b_r"), "the gates of its biases alone"),
        )
    ) + tuple(_orders("LSTM.peephole", "LSTM", ("peephole",), "its peepholes")),
)  # fmt: skip


def _reset(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    if node.op != "GRU":
        return None
    return with_attrs(graph, node, reset_after=not node.attrs.get("reset_after", False))


def _inverted(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    """Let h' be (1-z) h + z n: the update gate at minus its argument."""
    found = _blocks(graph, node, "GRU", ("W", "R", "b_w", "b_r"))
    if not found:
        return None
    size = node.attrs["hidden_size"]
    signs = np.repeat([1.0, -1.0, 1.0], size)
    return with_operands(
        graph, node, {w: v * (signs[:, None] if v.ndim == 3 else signs) for w, v in found.items()}
    )


_HARD_2, _HARD_3 = Activation("hard_sigmoid", 0.2, 0.5), Activation("hard_sigmoid", 1 / 6, 0.5)
_SIGMOID = Activation("sigmoid")


def _exchanged(old: Activation, new: Activation) -> Change:
    """One activation in the place of another, in cells and outside."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op in ("LSTM", "GRU", "RNN"):
            rows = RecurrentAttrs.read(node.op, node.attrs).activations
            if not any(a == old for row in rows for a in row):
                return None
            swapped = tuple(tuple(new if a == old else a for a in row) for row in rows)
            return with_attrs(graph, node, activations=swapped)
        if node.op != "HardSigmoid" or old.name != "hard_sigmoid" or new.name != "hard_sigmoid":
            return None
        given = Activation(
            "hard_sigmoid", node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
        )
        return with_attrs(graph, node, alpha=new.alpha, beta=new.beta) if given == old else None

    return change


_HARD = tuple(
    Variant(f"its gates are {new} where the model has {old}", _exchanged(old, new))
    for old, new in [
        (_HARD_3, _HARD_2), (_HARD_2, _HARD_3), (_SIGMOID, _HARD_2), (_SIGMOID, _HARD_3),
        (_HARD_2, _SIGMOID), (_HARD_3, _SIGMOID),
    ]
)  # fmt: skip

_NONLINEARITY = tuple(
    Variant(f"it has {new} where the model has {old}", _exchanged(Activation(old), Activation(new)))
    for old, new in [("tanh", "relu"), ("relu", "tanh")]
)


def _forget(shift: float) -> Change:
    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        w = constant(graph, node, "W") if node.op == "LSTM" else None
        if w is None:
            return None
        size = node.attrs["hidden_size"]
        bias = constant(graph, node, "b_w")
        moved = np.zeros(w.shape[:2]) if bias is None else bias.astype(np.float64)
        moved[:, size : 2 * size] += shift
        return with_operands(graph, node, {"b_w": moved})

    return change


def _cudnn_kernel(block: Array) -> Array:
    """What Keras makes of a CuDNN kernel, in rows: block [H, I] of one gate."""
    kernel = block.T
    return np.asarray(kernel.T.reshape(kernel.shape, order="F").T)


def _keras_kernel(block: Array) -> Array:
    """The inverse of :func:`_cudnn_kernel`."""
    kernel = block.T
    return np.asarray(kernel.reshape(kernel.shape[::-1], order="F"))


def _each_gate(value: Array, count: int, change: Callable[[Array], Array]) -> Array:
    """Change the block of every gate, [D, G*H, ...]."""
    rows = [[change(b) for b in np.split(direction, count)] for direction in value]
    return np.stack([np.concatenate(blocks) for blocks in rows])


def _transposed(kernel: Callable[[Array], Array] | None, recurrent: bool) -> Change:
    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        count = {"LSTM": 4, "GRU": 3, "RNN": 1}.get(node.op)
        w = constant(graph, node, "W") if count is not None else None
        r = constant(graph, node, "R") if count is not None else None
        if count is None or w is None or r is None or r.shape[1] != count * r.shape[2]:
            return None
        moved: Arrays = {}
        if kernel is not None:
            moved["W"] = _each_gate(w, count, kernel)
        if recurrent:
            moved["R"] = _each_gate(r, count, np.transpose)
        return with_operands(graph, node, moved)

    return change


_CUDNN = (
    Variant("its kernels are CuDNN's, transposed for each gate", _transposed(_cudnn_kernel, True)),
    Variant("its input kernels alone are CuDNN's", _transposed(_cudnn_kernel, False)),
    Variant("its recurrent kernels are transposed for each gate", _transposed(None, True)),
    Variant(
        "its kernels are no CuDNN kernels, and were transposed as if they were",
        _transposed(_keras_kernel, True),
    ),
    Variant(
        "its input kernels are no CuDNN kernels, and were turned as if they were",
        _transposed(_keras_kernel, False),
    ),
)


def _sum_in(target: str) -> Change:
    """Both biases in one of them."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        found = _blocks(graph, node, "GRU", ("b_w", "b_r"))
        if not found or len(found) != 2:
            return None
        other = "b_r" if target == "b_w" else "b_w"
        return with_operands(graph, node, {target: found["b_w"] + found["b_r"], other: None})

    return change


def _crossed(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    found = _blocks(graph, node, "GRU", ("b_w", "b_r"))
    if not found:
        return None
    return with_operands(graph, node, {"b_w": found.get("b_r"), "b_r": found.get("b_w")})


def _separate(graph: Graph, node: Node, modules: Sequence[Module]) -> Graph | None:
    """The two biases of the checkpoint, where the model has their sum."""
    bias, w = constant(graph, node, "b_w"), constant(graph, node, "W")
    if node.op != "GRU" or bias is None or w is None:
        return None
    second = constant(graph, node, "b_r")
    if second is not None and np.any(second):
        return None
    for module in modules:
        parts = module.operands
        if module.op == "GRU" and "b_r" in parts and np.array_equal(parts["W"], w):
            both = parts["b_w"].astype(np.float64) + parts["b_r"]
            if np.allclose(both, bias, rtol=0, atol=1e-5):
                return with_operands(graph, node, {"b_w": parts["b_w"], "b_r": parts["b_r"]})
    return None


def _clip_h(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    if node.op != "LSTM" or node.attrs.get("clip") is None:
        return None
    return with_attrs(graph, node, clip_before_h=not node.attrs.get("clip_before_h", False))


DECOYS = (
    _GATE_ORDER,
    Decoy(
        "reset_after", "reset_after",
        "the reset gate multiplies the recurrent product (torch, CuDNN, new Keras) or the state",
        (Variant("it applies the reset gate at the other place", _reset),),
    ),
    Decoy(
        "hard_sigmoid", "hard_sigmoid",
        "clip(0.2x + 0.5) in Keras 1 and 2, clip(x/6 + 0.5) in Keras 3 and torch", _HARD,
    ),
    Decoy(
        "nonlinearity", "nonlinearity", "weights do not say whether a plain RNN has tanh or relu",
        _NONLINEARITY,
    ),
    Decoy(
        "forget_bias", "forget_bias",
        "TensorFlow 1 adds 1.0 to the forget gate at run time and does not store it",
        (
            Variant("it adds 1.0 to the forget gate", _forget(1.0)),
            Variant("it does not add the 1.0 that the model adds to the forget gate",
                    _forget(-1.0)),
        ),
    ),
    Decoy(
        "cudnn", "CuDNN transposes",
        "CuDNNLSTM and CuDNNGRU keep kernels of the same shape in another layout", _CUDNN,
    ),
    Decoy(
        "merged_bias", "merged biases",
        "the recurrent bias of the GRU's candidate stands inside the reset gate's product",
        (
            Variant("it keeps bias_ih and bias_hh apart, as the checkpoint does; the model has "
                    "their sum", _separate),
            Variant("it has the sum of both biases beside the input", _sum_in("b_w")),
            Variant("it has the sum of both biases beside the state", _sum_in("b_r")),
            Variant("its two biases are exchanged", _crossed),
        ),
    ),
    Decoy(
        "update_gate", "update gate", "h' = (1-z) n + z h, or z n + (1-z) h",
        (Variant("its update gate means the opposite", _inverted),),
    ),
    Decoy(
        "clip", "clip", "the text of ONNX clips the input of h() too, onnxruntime does not",
        (Variant("it treats the input of the output activation h() the other way", _clip_h),),
    ),
)  # fmt: skip
