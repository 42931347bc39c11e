"""The recurrent layers' reference against a scalar transcription, and their rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from case_models import GATES
from cases import Case, case
from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Graph, Node, TensorType, symbol
from rnnengine.ops import NotAlongTime, evaluate, get, infer_types
from rnnengine.ops.recurrent import Activation, RecurrentAttrs, apply

Array = np.ndarray[Any, Any]


def act(activation: Activation, value: float) -> float:
    return float(apply(activation, np.array(value)))


def clamp(value: float, bound: float | None) -> float:
    return value if bound is None else min(max(value, -bound), bound)


class Scalar:
    """One direction and one row of a layer, one number at a time, as the equations stand."""

    def __init__(self, drawn: Case, d: int, row: int) -> None:
        self.attrs = drawn.spec.attrs
        self.op = drawn.spec.op
        self.f, *self.rest = self.attrs.activations[d]
        _, w, r, b_w, b_r, _, h0, c0, peephole, proj = drawn.operands
        size = self.attrs.hidden_size
        zero = np.zeros(GATES[self.op] * size)
        self.w, self.r = np.float64(w[d]), np.float64(r[d])
        self.b_w = zero if b_w is None else np.float64(b_w[d])
        self.b_r = zero if b_r is None else np.float64(b_r[d])
        self.p = np.zeros(3 * size) if peephole is None else np.float64(peephole[d])
        self.proj = None if proj is None else np.float64(proj[d])
        self.h = np.zeros(drawn.spec.width) if h0 is None else np.float64(h0[d, row])
        self.c = np.zeros(size) if c0 is None else np.float64(c0[d, row])

    def sum(self, gate: int, unit: int, x: Array) -> tuple[float, float]:
        """The input and the recurrent part of one pre-activation."""
        row = gate * self.attrs.hidden_size + unit
        left = sum(self.w[row, k] * x[k] for k in range(len(x))) + self.b_w[row]
        right = sum(self.r[row, k] * self.h[k] for k in range(len(self.h))) + self.b_r[row]
        return float(left), float(right)

    def step(self, x: Array) -> None:
        getattr(self, self.op.lower())(x)

    def rnn(self, x: Array) -> None:
        clip = self.attrs.clip
        self.h = np.array(
            [act(self.f, clamp(sum(self.sum(0, u, x)), clip)) for u in range(len(self.h))]
        )

    def gru(self, x: Array) -> None:
        clip, units = self.attrs.clip, range(len(self.h))
        r = [act(self.f, clamp(sum(self.sum(0, u, x)), clip)) for u in units]
        z = [act(self.f, clamp(sum(self.sum(1, u, x)), clip)) for u in units]
        h = []
        for u in units:
            left, right = self.sum(2, u, x)
            if not self.attrs.reset_after:
                row = 2 * len(self.h) + u
                right = sum(self.r[row, k] * r[k] * self.h[k] for k in units) + self.b_r[row]
            n = act(
                self.rest[0], clamp(left + (r[u] if self.attrs.reset_after else 1) * right, clip)
            )
            h.append((1 - z[u]) * n + z[u] * self.h[u])
        self.h = np.array(h)

    def lstm(self, x: Array) -> None:
        a, size = self.attrs, self.attrs.hidden_size
        g_act, h_act = self.rest
        c, m = np.zeros(size), np.zeros(size)
        for u in range(size):
            before = self.c[u]
            i = act(self.f, clamp(sum(self.sum(0, u, x)) + self.p[u] * before, a.clip))
            f = act(self.f, clamp(sum(self.sum(1, u, x)) + self.p[size + u] * before, a.clip))
            g = act(g_act, clamp(sum(self.sum(2, u, x)), a.clip))
            if a.coupling == "f=1-i":
                f = 1 - i
            if a.coupling == "i=1-f":
                i = 1 - f
            c[u] = clamp(f * before + i * g, a.cell_clip)
            o = act(self.f, clamp(sum(self.sum(3, u, x)) + self.p[2 * size + u] * c[u], a.clip))
            m[u] = o * act(h_act, clamp(c[u], a.clip if a.clip_before_h else None))
        self.c = c
        if self.proj is None:
            self.h = m
        else:
            self.h = np.array([clamp(float(row @ m), a.proj_clip) for row in self.proj])


def transcribed(drawn: Case) -> dict[str, Array]:
    """All outputs of a case, row by row and direction by direction."""
    spec = drawn.spec
    x = drawn.operands[0]
    y = np.zeros((spec.steps, spec.directions, spec.batch, spec.width))
    h = np.zeros((spec.directions, spec.batch, spec.width))
    c = np.zeros((spec.directions, spec.batch, spec.attrs.hidden_size))
    for d, backwards in enumerate(spec.attrs.reversed_directions):
        for row in range(spec.batch):
            cell = Scalar(drawn, d, row)
            length = spec.steps if spec.lengths is None else spec.lengths[row]
            for t in reversed(range(length)) if backwards else range(length):
                cell.step(np.float64(x[t, row]))
                y[t, d, row] = cell.h
            h[d, row], c[d, row] = cell.h, cell.c
    return {"y": y, "h_n": h, "c_n": c}


def small(seed: int) -> Case | None:
    drawn = case(seed)
    spec = drawn.spec
    work = spec.steps * spec.batch * spec.attrs.hidden_size * (spec.inputs + spec.width)
    return drawn if spec.kind == "graph" and work < 4000 else None


def test_the_reference_is_the_equations() -> None:
    drawn = [found for seed in range(900) if (found := small(seed))]
    attrs = [d.spec.attrs for d in drawn if d.spec.op == "LSTM"]
    assert {a.coupling for a in attrs} == {None, "f=1-i", "i=1-f"}
    assert any(a.proj_clip for a in attrs) and any(a.cell_clip for a in attrs)
    for one in drawn:
        expected = transcribed(one)
        for name, value in one.expected.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-12, err_msg=str(one))


def layer(op: str = "GRU", **attrs: Any) -> Graph:
    """A layer of 3 units on 2 features with symbolic time and batch, state in and out."""
    options = RecurrentAttrs(3, **attrs)
    d, gates = len(options.reversed_directions), GATES[op]
    rng = np.random.default_rng(0)
    constants = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in {"W": (d, 3 * gates, 2), "R": (d, 3 * gates, 3)}.items()
    }
    f4, t, b = np.dtype(np.float32), symbol("T"), symbol("B")
    from rnnengine.graph import Value

    inputs = [Value("x", TensorType(f4, (t, b, 2))), Value("h0", TensorType(f4, (d, b, 3)))]
    names: list[str | None] = ["x", "W", "R", None, None, None, "h0"]
    outputs = ["y", "h_n"]
    if op == "LSTM":
        inputs.append(Value("c0", TensorType(f4, (d, b, 3))))
        names.append("c0")
        outputs.append("c_n")
    node = Node(op, "layer", tuple(names), tuple(outputs), options.mapping())
    return Graph("layer", tuple(inputs), tuple(outputs), (node,), constants)


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_chunks_with_the_state_carried_are_the_whole(op: str) -> None:
    graph = layer(op)
    rng = np.random.default_rng(1)
    feeds = {v.name: rng.standard_normal((1, 4, 3)) for v in graph.inputs}
    feeds["x"] = rng.standard_normal((6, 4, 2))
    whole = evaluate(graph, feeds)
    states = {k: v for k, v in feeds.items() if k != "x"}
    parts = []
    for part in np.split(feeds["x"], [0, 1, 4]):
        out = evaluate(graph, {"x": part, **states})
        parts.append(out["y"])
        states = {"h0": out["h_n"], **({"c0": out["c_n"]} if op == "LSTM" else {})}
    np.testing.assert_allclose(np.concatenate(parts), whole["y"], atol=1e-14)
    np.testing.assert_allclose(states["h0"], whole["h_n"], atol=1e-14)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_no_steps_leave_the_state_unchanged(direction: str) -> None:
    graph = layer(direction=direction)
    d = 2 if direction == "bidirectional" else 1
    h0 = np.random.default_rng(0).standard_normal((d, 4, 3))
    out = evaluate(graph, {"x": np.zeros((0, 4, 2)), "h0": h0})
    assert out["y"].shape == (0, d, 4, 3)
    np.testing.assert_array_equal(out["h_n"], h0)
    empty = evaluate(graph, {"x": np.zeros((5, 0, 2)), "h0": np.zeros((d, 0, 3))})
    assert empty["y"].shape == (5, d, 0, 3) and empty["h_n"].shape == (d, 0, 3)


def stream_axes(graph: Graph, axes: dict[str, int]) -> list[int | None]:
    (node,) = graph.nodes
    types = infer_types(graph)
    return get(node.op).stream(
        node.attrs,
        [None if n is None else types[n] for n in node.inputs],
        [None] * len(node.inputs),
        [None if n is None else axes.get(n) for n in node.inputs],
    )


def test_time_axes_of_a_layer() -> None:
    assert stream_axes(layer("LSTM"), {"x": 0}) == [0, None, None]
    assert stream_axes(layer("GRU"), {}) == [None, None]
    assert stream_axes(layer("GRU"), {"x": 1, "h0": 1}) == [2, 1]
    for graph, axes, words in (
        (layer(direction="reverse"), {"x": 0}, "is reverse: it starts at the last step"),
        (layer(direction="bidirectional"), {"x": 0}, "is bidirectional"),
        (layer(), {"x": 1}, "h0 has a row for each time step"),
        (layer(), {"x": 2}, "not the sequence or batch axis"),
        (layer(), {"x": 0, "W": 0}, "not the sequence or batch axis"),
    ):
        with pytest.raises(NotAlongTime, match=words):
            stream_axes(graph, axes)


def changed(graph: Graph, **attrs: Any) -> Graph:
    (node,) = graph.nodes
    return graph.with_(nodes=(replace(node, attrs={**node.attrs, **attrs}),))


def test_contradictory_layers_are_refused() -> None:
    for graph, words in (
        (changed(layer(), direction="backward"), "direction is 'backward'"),
        (changed(layer("LSTM"), coupling="both"), "coupling is 'both'"),
        (changed(layer(), activations=((Activation("tanh"),),)), "expected 2 for each of 1"),
        (changed(layer(), zoneout=0.1), r"unknown attributes \['zoneout'\]"),
    ):
        with pytest.raises(UnsupportedModelError, match=words):
            infer_types(graph)
    with pytest.raises(ShapeError, match=r"W is float32\[1, 9, 2\].*\[1, 12, 2\]"):
        infer_types(changed(layer(), hidden_size=4))


def test_lengths_outside_the_sequence_are_refused() -> None:
    drawn = next(d for d in map(case, range(200)) if d.spec.lengths and d.kind == "graph")
    feeds = dict(drawn.feeds)
    for wrong in (-1, drawn.spec.steps + 1):
        feeds["lengths"] = np.full(drawn.spec.batch, wrong, np.int32)
        with pytest.raises(ShapeError, match=r"expected 0\.\."):
            evaluate(drawn.graph, feeds)


def test_nan_stays_in_its_row() -> None:
    for op in ("LSTM", "GRU", "RNN"):
        graph = layer(op)
        feeds = {v.name: np.zeros((1, 3, 3)) for v in graph.inputs}
        feeds["x"] = np.random.default_rng(0).standard_normal((4, 3, 2))
        clean = evaluate(graph, feeds)["y"]
        feeds["x"][1, 2, 0] = np.nan
        out = evaluate(graph, feeds)["y"]
        np.testing.assert_array_equal(out[:, :, :2], clean[:, :, :2])
        assert np.isnan(out[1:, :, 2]).all() and np.isfinite(out[0]).all()
