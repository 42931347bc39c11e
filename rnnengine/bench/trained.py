"""Recurrent layers of trained models with what reaches them: weights, states and inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from rnnengine.bench.cases import Array, LayerCase
from rnnengine.graph import Graph, Node
from rnnengine.importers import gates
from rnnengine.model import Model, SizedModel
from rnnengine.ops import evaluate
from rnnengine.ops.recurrent import RecurrentAttrs
from rnnengine.validation.subject import Subject

__all__ = ["Call", "TrainedLayer", "trained_layers"]

Call = Mapping[str, Any]
"""Inputs of one call by name; state that is left out is that of the call before, or zero."""

_X, _W, _R, _B_W, _B_R, _LENGTHS, _H0, _C0 = 0, 1, 2, 3, 4, 5, 6, 7
_SAME = 1e-4
"""A state that came out of float32 is that of float64 up to this."""
_BEYOND = ("clip", "cell_clip", "proj_clip", "coupling")


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainedLayer(LayerCase):
    """One recurrent layer of a trained model, as a case that every engine can be given.

    Attributes
    ----------
    label : str
        Model and node.
    x : float32 array [T, B, I]
        What reaches the layer when its model runs.
    arrays : mapping of str to float32 array
        W [D, G*H, I], R [D, G*H, H], B [D, 2*G*H], in ONNX order.
    starts : mapping of str to float32 array
        ``h`` (and ``c``) before the first step, [D, B, H]; empty where they are zero.
    """

    label: str
    x: Array
    arrays: Mapping[str, Array]
    starts: Mapping[str, Array]

    @property
    def name(self) -> str:
        """The layer as reports name it."""
        return self.label

    @property
    def carries_state(self) -> bool:
        """No: the layer is compared over whole sequences."""
        return False

    def widths(self) -> list[int]:
        """Input size of the layer."""
        return [int(self.x.shape[2])]

    def input(self) -> Array:
        """Input [T, B, I]."""
        return self.x

    def weights(self, layer: int = 0) -> Mapping[str, Array]:  # noqa: ARG002 - there is one
        """W, R and B in ONNX order."""
        return self.arrays

    def initial(self) -> Mapping[str, Array]:
        """State before the first step."""
        return self.starts

    def rows(self) -> Iterator[TrainedLayer]:
        """Every row of the batch as a layer of its own."""
        for row in range(self.batch):
            yield TrainedLayer(
                self.cell, self.hidden, self.steps, 1, 1, self.directions,
                label=self.label, x=np.ascontiguousarray(self.x[:, row : row + 1]),
                arrays=self.arrays,
                starts={
                    k: np.ascontiguousarray(v[:, row : row + 1]) for k, v in self.starts.items()
                },
            )  # fmt: skip


def trained_layers(
    name: str, model: Model, calls: Iterable[Call], *, most_rows: int = 8
) -> list[TrainedLayer]:
    """Take the recurrent layers out of a model, with what reaches them in some calls.

    The calls are evaluated in float64, one after the other; a model that declares its state carries
    it from call to call. What reaches a layer that carries its state is one sequence, what reaches
    any other are rows of a batch. Layers with weights or options that an engine under comparison
    has no words for (a GRU that resets before its product, clipping, lengths) are left out.

    Parameters
    ----------
    name : str
        Of the model.
    model : Model
    calls : iterable of mapping of str to array
    most_rows : int
        Rows that are kept of a layer, spread evenly over all.
    """
    subject = Subject(model, None, {})
    pairs = [] if isinstance(model, SizedModel) else model._form.graph.states
    declared = {value.name: value.type for value in subject.inputs}
    pairs = [pair for pair in pairs if pair.input in declared]
    state = {p.input: np.zeros(_shape(declared[p.input].shape), np.float32) for p in pairs}
    seen: dict[str, list[dict[int, Array]]] = {}
    nodes: dict[str, tuple[Graph, Node]] = {}
    for call in calls:
        feeds = {**state, **call}
        graph = subject.settled(feeds)
        found = [node for node in graph.nodes if _plain(node, graph)]
        wanted = {n for node in found for n in (*_given(node), _final(node)) if n}
        values: dict[str, Any] = dict(graph.constants)
        values |= evaluate(graph.with_(outputs=tuple({*graph.outputs, *wanted})), feeds)
        for node in found:
            nodes.setdefault(node.name, (graph, node))
            read = {i: values[n] for i, n in zip((_X, _H0, _C0), _given(node), strict=True) if n}
            final = _final(node)
            if final:
                read[-1] = values[final]
            seen.setdefault(node.name, []).append(read)
        state = {p.input: _part(values[p.output], p.start, state[p.input].shape) for p in pairs}
    return [
        _layer(f"{name} {key}", graph, node, seen[key], most_rows)
        for key, (graph, node) in nodes.items()
    ]


def _shape(sizes: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else 1 for size in sizes)


def _part(whole: Array, start: tuple[int, ...] | None, shape: tuple[int, ...]) -> Array:
    """Elements of an output that are the next value of a state input."""
    at = sum(n * int(np.prod(whole.shape[i + 1 :])) for i, n in enumerate(start or ()))
    return whole.reshape(-1)[at : at + int(np.prod(shape))].reshape(shape)


def _plain(node: Node, graph: Graph) -> bool:
    """Whether every engine under comparison has the layer."""
    if node.op not in ("LSTM", "GRU", "RNN"):
        return False
    read = RecurrentAttrs.read(node.op, node.attrs)
    usual = RecurrentAttrs.read(node.op, {"hidden_size": 1, "direction": read.direction})
    operands = [*node.inputs, *[None] * 11]
    return (
        read.activations == usual.activations
        and all(getattr(read, word) is None for word in _BEYOND)
        and (node.op != "GRU" or read.reset_after)
        and read.direction != "reverse"
        and all(n in graph.constants for n in operands[_W : _B_R + 1] if n)
        and not any((operands[_LENGTHS], *operands[_C0 + 1 :]))
    )


def _given(node: Node) -> list[str | None]:
    """Names of x, h0 and c0."""
    operands = [*node.inputs, *[None] * 8]
    return [operands[i] for i in (_X, _H0, _C0)]


def _final(node: Node) -> str | None:
    return node.outputs[1] if len(node.outputs) > 1 else None


def _layer(
    label: str, graph: Graph, node: Node, seen: list[dict[int, Array]], most_rows: int
) -> TrainedLayer:
    """Put the calls together, in time where the state goes on, else as rows."""
    goes_on = len(seen) > 1 and all(
        _H0 in after and -1 in before and np.allclose(before[-1], after[_H0], rtol=0, atol=_SAME)
        for before, after in pairwise(seen)
    )
    x = np.concatenate([call[_X] for call in seen], axis=0 if goes_on else 1)
    starts = {}
    for word, place in (("h", _H0), ("c", _C0)):
        if place in seen[0]:
            parts = seen[:1] if goes_on else seen
            starts[word] = np.concatenate([call[place] for call in parts], axis=1)
    if not any(np.any(start) for start in starts.values()):
        starts = {}
    chosen = np.unique(np.linspace(0, x.shape[1] - 1, min(most_rows, x.shape[1])).astype(int))
    read = RecurrentAttrs.read(node.op, node.attrs)
    return TrainedLayer(
        node.op, read.hidden_size, x.shape[0], len(chosen), 1, len(read.reversed_directions),
        label=label, x=np.ascontiguousarray(x[:, chosen], np.float32),
        arrays=_onnx_order(graph, node),
        starts={k: np.ascontiguousarray(v[:, chosen], np.float32) for k, v in starts.items()},
    )  # fmt: skip


def _onnx_order(graph: Graph, node: Node) -> dict[str, Array]:
    """W, R and B of a node as ONNX orders them."""
    order = [gates.CANONICAL[node.op].index(gate) for gate in gates.ONNX[node.op]]
    operands = [*node.inputs, None, None]

    def rows(place: int) -> Array | None:
        name = operands[place]
        if not name:
            return None
        array = np.asarray(graph.constants[name], np.float32)
        parts = np.split(array, len(order), axis=1)
        return np.concatenate([parts[i] for i in order], axis=1)

    w, r = rows(_W), rows(_R)
    assert w is not None and r is not None
    none = np.zeros(w.shape[:2], np.float32)
    b = [none if bias is None else bias for bias in (rows(_B_W), rows(_B_R))]
    return {"W": w, "R": r, "B": np.concatenate(b, axis=1)}
