"""int8 layers of the engine against their specification, bit for bit, and rows among neighbours.

Products are those of int8_reference.py; what is between them is the engine's own float32 functions,
which have tests of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import int8_reference as ref
import rnnengine as rn
from conv_cases import WIDE, wide_case
from conv_cases import case as convolution
from engine import run, same_bits
from lowering import lowered
from rnnengine._c import core, cpu
from rnnengine.graph import Graph, Node, TensorType, Value, as_lowered, symbol
from rnnengine.importers import load_graph
from rnnengine.ops.conv import read_conv
from rnnengine.ops.recurrent.activations import Activation
from rnnengine.program import ACTIVATION_IDS

Array = np.ndarray[Any, Any]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
BITS = {"int8": 16, "int8_fast": 8}
F32 = np.dtype(np.float32)


def layer(op: str, size: int, inputs: int, seed: int, **attrs: Any) -> Graph:
    """A recurrent layer over x [T, B, inputs] with biases."""
    rng = np.random.default_rng(seed)
    rows, x = GATES[op] * size, Value("x", TensorType(F32, (symbol("T"), symbol("B"), inputs)))
    names = ("x", "w", "r", "b_w", "b_r")
    shapes = {"w": (1, rows, inputs), "r": (1, rows, size), "b_w": (1, rows), "b_r": (1, rows)}
    scale = 2 / np.sqrt(size + inputs)
    constants = {n: (rng.normal(0, scale, s)).astype(F32) for n, s in shapes.items()}
    node = Node(op, "layer", names, ("y",), {"hidden_size": size, **attrs})
    return Graph("g", (x,), ("y",), (node,), constants)


def function(name: str, x: Array) -> Array:
    """A function of the scalar table, which is the specification of its bits."""
    return np.asarray(core.unary("scalar", ACTIVATION_IDS[name], 0.0, 0.0, 0.0, x))


def settled(x: Array) -> Array:
    return np.where(np.abs(x) < np.float32(2.0**-64), np.float32(0), x)


class Layer:
    """The steps of a layer as the text says them: y [T, B, H]."""

    def __init__(self, graph: Graph, op: str, compute_type: str) -> None:
        self.op, self.bits = op, BITS[compute_type]
        self.gates = GATES[op]
        (node,) = graph.nodes
        values = [graph.constants[name] for name in node.inputs[1:5] if name is not None]
        self.matrices = {"w": self._matrix(values[0]), "r": self._matrix(values[1])}
        self.b_w, self.b_r = (np.array(v, F32).reshape(self.gates, -1) for v in values[2:])

    def _matrix(self, value: Array) -> ref.Matrix:
        kept = as_lowered(value)
        assert kept is not None
        scales = kept.row_scales()
        assert scales is not None
        codes = kept.codes()[0].reshape(self.gates, -1, kept.shape[-1])
        return ref.Matrix(codes, scales.reshape(self.gates, -1))

    def product(self, name: str, rows: Array, start: Array, bounded: bool, gates: slice) -> Array:
        whole = self.matrices[name]
        matrix = ref.Matrix(whole.q[gates], whole.scale[gates])
        return ref.product(matrix, *ref.quantize(rows, self.bits, bounded), start)

    def run(self, x: Array, after: bool, bounded: bool = True) -> Array:
        size = self.b_w.shape[1]
        h = c = np.zeros((x.shape[1], size), F32)
        every, made = slice(None), []
        for step in x:
            if self.op == "GRU":
                h = self._gru(step, h, after)
            else:
                a = self.product("w", step, (self.b_w + self.b_r)[None], False, every)
                a = self.product("r", h, a, bounded, every)
                if self.op == "RNN":
                    h = settled(function("tanh" if bounded else "relu", a[:, 0]))
                else:
                    i, f, o = (function("sigmoid", a[:, g]) for g in (0, 1, 3))
                    c = settled(ref.exact_fma(f, c, i * function("tanh", a[:, 2])))
                    h = settled(o * function("tanh", c))
            made.append(h)
        return np.stack(made)

    def _gru(self, step: Array, h: Array, after: bool) -> Array:
        bias, gates, candidate = self.b_w + self.b_r, slice(0, 2), slice(2, 3)
        if after:
            bias[2] = self.b_w[2]
        xp = self.product("w", step, bias[None], False, slice(None))
        rz = self.product("r", h, xp[:, :2], True, gates)
        r, z = function("sigmoid", rz[:, 0]), function("sigmoid", rz[:, 1])
        if after:
            inner = self.product("r", h, self.b_r[None, 2:], True, candidate)[:, 0]
            n = function("tanh", ref.exact_fma(r, inner, xp[:, 2]))
        else:
            n = function("tanh", self.product("r", r * h, xp[:, 2:], True, candidate)[:, 0])
        return settled(ref.exact_fma(z, h - n, n))


@pytest.mark.parametrize("compute_type", BITS)
@pytest.mark.parametrize(
    ("op", "attrs", "size", "inputs"),
    [
        ("LSTM", {}, 37, 30),
        ("LSTM", {}, 20, 515),
        ("GRU", {"reset_after": True}, 37, 30),
        ("GRU", {"reset_after": False}, 37, 30),
        ("RNN", {}, 37, 30),
        ("RNN", {"activations": "relu"}, 12, 9),
    ],
)
def test_a_layer_is_its_specification(
    op: str, attrs: dict[str, Any], size: int, inputs: int, compute_type: str
) -> None:
    relu = attrs.get("activations") == "relu"
    if relu:
        attrs = {"activations": ((Activation("relu"),),)}
    graph = lowered(layer(op, size, inputs, 5, **attrs), compute_type)
    x = np.random.default_rng(6).normal(0, 1, (4, 3, inputs)).astype(F32)
    expected = Layer(graph, op, compute_type).run(x, attrs.get("reset_after", False), not relu)
    for isa in cpu.available():
        with cpu.use(isa):
            got = run(rn.Model(graph), {"x": x})["y"]
        assert np.array_equal(got.reshape(expected.shape).view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("compute_type", BITS)
def test_other_rows_change_nothing(compute_type: str) -> None:
    """The neighbour test: the other rows are 50 times larger, and no bit of a row changes."""
    for op, attrs in (("LSTM", {}), ("GRU", {"reset_after": True}), ("RNN", {})):
        model = rn.Model(lowered(layer(op, 40, 24, 7, **attrs), compute_type))
        x = np.random.default_rng(8).normal(0, 1, (6, 9, 24)).astype(F32)
        loud = x * F32.type(50)
        loud[:, 4] = x[:, 4]
        first, second = (np.asarray(model.run(v)) for v in (x, loud))
        alone = np.asarray(model.run(x[:, 4:5]))
        rows = [v.reshape(6, -1, 40) for v in (first, second, alone)]
        assert np.array_equal(rows[0][:, 4].view(np.int32), rows[1][:, 4].view(np.int32))
        assert np.array_equal(rows[0][:, 4].view(np.int32), rows[2][:, 0].view(np.int32))


@pytest.mark.parametrize("compute_type", BITS)
def test_convolutions_are_their_specification(compute_type: str) -> None:
    """Windows gathered here by their definition; equal bits on every table."""
    found = 0
    for drawn in (*map(convolution, range(120)), *map(wide_case, range(len(WIDE)))):
        if drawn.op != "Conv" or drawn.attrs.get("group", 1) != 1:
            continue
        graph = lowered(load_graph(drawn.model()), compute_type)
        expected = specified_convolution(graph, drawn.operands, compute_type)
        for isa in cpu.available():
            with cpu.use(isa):
                got = run(rn.Model(graph), drawn.feeds)["y"]
            assert same_bits({"y": got}, {"y": expected}), f"{drawn}: {isa}"
        found += 1
    assert found > 15 + len(WIDE)


def specified_convolution(graph: Graph, operands: list[Array], compute_type: str) -> Array:
    (node,) = graph.nodes
    assert node.inputs[1] is not None
    kept = as_lowered(graph.constants[node.inputs[1]])
    assert kept is not None
    scales = kept.row_scales()
    assert scales is not None
    types = [TensorType(F32, value.shape) for value in operands]
    read = read_conv(node.attrs, types)
    x, units = operands[0], kept.shape[0]
    pads = [(0, 0), (0, 0), *((s.before, 10**3) for s in read.slides)]
    wide = np.pad(x, pads)
    places = [
        np.arange(n)[:, None] * s.stride + np.arange(s.kernel) * s.dilation
        for s, n in zip(read.slides, outputs_of(read, x), strict=True)
    ]
    if len(places) == 1:
        windows = wide[:, :, places[0]].transpose(0, 2, 1, 3)
        spots = windows.shape[:2]
    else:
        picked = wide[:, :, places[0][:, None, :, None], places[1][None, :, None, :]]
        windows = picked.transpose(0, 2, 3, 1, 4, 5)
        spots = windows.shape[:3]
    rows = windows.reshape(int(np.prod(spots)), -1)
    matrix = ref.Matrix(kept.codes().reshape(1, units, -1), scales.reshape(1, units))
    bias = operands[2] if len(operands) > 2 else np.zeros(units, F32)
    made = ref.product(
        matrix, *ref.quantize(rows, BITS[compute_type], False), bias.reshape(1, 1, -1)
    )
    return np.ascontiguousarray(np.moveaxis(made.reshape(*spots, units), -1, 1))


def outputs_of(read: Any, x: Array) -> list[int]:
    """Outputs along each spatial axis."""
    return [
        (size + s.before + s.after - s.dilation * (s.kernel - 1) - 1) // s.stride + 1
        for s, size in zip(read.slides, x.shape[2:], strict=True)
    ]
