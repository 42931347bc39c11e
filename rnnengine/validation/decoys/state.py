"""Mistakes of state: h and c, initial values, masked steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnengine.graph import Graph, Node
from rnnengine.validation.decoys.checkpoint import Module
from rnnengine.validation.decoys.record import (
    OPERAND,
    RECURRENT,
    Array,
    Change,
    constant,
    decoy,
    made_of,
    with_attrs,
    with_operands,
)

__all__ = ["DECOYS"]


def _state(inputs: bool, outputs: bool) -> Change:
    """Put h and c in each other's place."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op != "LSTM":
            return None
        operands, results = [*node.inputs, *[None] * 11][:11], [*node.outputs, None, None][:3]
        h, c = OPERAND["h0"], OPERAND["c0"]
        there = [inputs and (operands[h] or operands[c]), outputs and (results[1] or results[2])]
        if not all(bool(t) == wanted for t, wanted in zip(there, (inputs, outputs), strict=True)):
            return None
        if constant(graph, node, "proj") is not None:
            return None
        if inputs:
            operands[h], operands[c] = operands[c], operands[h]
        if outputs:
            results[1], results[2] = results[2], results[1]
        return made_of(
            graph, node, Node(node.op, node.name, tuple(operands), tuple(results), node.attrs)
        )

    return change


def _initial(how: str) -> Change:
    """Initial states that are constants."""

    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        if node.op not in RECURRENT:
            return None
        found = {w: v for w in ("h0", "c0") if (v := constant(graph, node, w)) is not None}
        if not found:
            return None
        if how == "zeros":
            return with_operands(graph, node, dict.fromkeys(found))
        first: dict[str, Array | None] = {
            w: np.broadcast_to(v[:, :1], v.shape).copy() for w, v in found.items()
        }
        return with_operands(graph, node, first)

    return change


def _mask(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
    if node.op not in RECURRENT or len(node.inputs) <= OPERAND["mask"]:
        return None
    if node.inputs[OPERAND["mask"]] is None:
        return None
    carried = node.attrs.get("masked_output", "carry") == "carry"
    return with_attrs(graph, node, masked_output="zero" if carried else "carry")


def _without(what: str) -> Change:
    def change(graph: Graph, node: Node, _: Sequence[Module]) -> Graph | None:
        position = OPERAND[what]
        if node.op not in RECURRENT or len(node.inputs) <= position:
            return None
        return with_operands(graph, node, {what: None}) if node.inputs[position] else None

    return change


DECOYS = (
    decoy(
        "state_order", "h and c", "TensorFlow keeps (c, h), all others (h, c)",
        ("its initial h and c are exchanged", _state(True, False)),
        ("its final h and c are exchanged", _state(False, True)),
        ("its h and c are exchanged, initial and final ones", _state(True, True)),
    ),
    decoy(
        "baked_batch", "batch baked into the initial state",
        "an export keeps the state, and the batch, of the example it was traced with",
        ("its initial state is zero for every row; the model has that of an example",
         _initial("zeros"), True),
        ("its initial state is that of row 0 for every row", _initial("first")),
    ),
    decoy(
        "mask", "masked steps",
        "a masked step repeats the last output (Keras) or gives zeros (Bidirectional, ONNX)",
        ("its masked steps give the other of zero and the carried output", _mask),
        ("it has no mask", _without("mask")),
        ("it has no sequence lengths", _without("lengths")),
    ),
)  # fmt: skip
