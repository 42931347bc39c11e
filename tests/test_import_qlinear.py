"""Products that take integers and give integers: the oracle, onnxruntime, the engine.

What a result is, is worked out in whole numbers. Where it lies in the middle between two steps of
its scale, to a few roundings of float32, either step may come out; anywhere else all must agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import quantised_models as qm
import rnnengine as rn
from quantised_models import MICROSOFT
from rnnengine.graph import as_integers
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from onnx import helper

Array = np.ndarray[Any, Any]
f4 = np.float32
MIDDLE = 1e-4
"""Steps from the middle within which float32 may round either way: sums of up to 2**9 of them."""


class Case:
    """A product between QuantizeLinear and DequantizeLinear, and its result in whole numbers."""

    def __init__(
        self,
        op: str,
        seed: int = 0,
        kinds: tuple[Any, Any] = (np.uint8, np.int8),
        rows: bool = False,
        bias: bool = True,
        attrs: dict[str, Any] | None = None,
        between: tuple[Any, ...] = (),
        power: bool = False,
        **extra: Array,
    ) -> None:
        rng = np.random.default_rng(seed)
        attrs = dict(attrs or {})
        conv, gemm = op == "QLinearConv", op == "QGemm"
        turned = bool(attrs.get("transB"))
        group = attrs.get("group", 1)
        shape = (8, 6 // group, 3) if conv else (7, 12) if turned else (12, 7)
        units, axis = (8, 0) if conv else (7, 0 if turned else 1)
        many = (units,) if rows else ()
        a, b = (np.iinfo(kind) for kind in kinds)
        x = rng.normal(size=(2, 6, 20) if conv else (5, 12)).astype(f4)
        scale = rng.uniform(0.01, 0.03, many).astype(f4)
        if power:  # every middle is hit exactly, and all products are exact in float32
            scale = np.full(many, 2.0**-6, f4)
        zeros = (b.min + b.max + 1) // 2 + rng.integers(-9, 9, many)
        self.constants: dict[str, Array] = {
            "xs": f4(2.0**-5 if power else 0.021),
            "xz": np.asarray((a.min + a.max) // 2 + 7, kinds[0]),
            "w": rng.integers(b.min, b.max, shape, kinds[1], endpoint=True),
            "ws": np.asarray(scale, f4), "wz": np.asarray(zeros, kinds[1]),
            "ys": f4(2.0**-3 if power else 0.17),
            "yz": np.asarray((a.min + a.max) // 2 - 5, kinds[0]),
            **extra,
        }  # fmt: skip
        if bias and op != "QLinearMatMul":
            self.constants["c"] = rng.integers(-3000, 3000, units, np.int32)
        given = ["xq", "xs", "xz", "w", "ws", "wz"]
        tail = ["c"] if "c" in self.constants else [""]
        operands = {
            "QLinearMatMul": [*given, "ys", "yz"],
            "QLinearConv": [*given, "ys", "yz", *tail],
            "QGemm": [*given, *tail, "ys", "yz"],
        }[op]
        domain = MICROSOFT if gemm else ""
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
            helper.make_node(op, operands, ["p"], "product", domain=domain, **attrs),
            *between,
            helper.make_node("DequantizeLinear", ["q" if between else "p", "ys", "yz"], ["y"]),
        ]
        self.feeds = {"x": x}
        self.content = qm.model(nodes, {"x": (f4, x.shape)}, ["y"], self.constants, 13)
        self.exact = self._exact(x, conv, turned, axis, attrs, kinds[0])

    def _exact(
        self, x: Array, conv: bool, turned: bool, axis: int, attrs: dict[str, Any], kind: Any
    ) -> Array:
        """The result in steps of its scale less its zero point, before it is rounded."""
        c = {name: np.asarray(value) for name, value in self.constants.items()}
        limits = np.iinfo(kind)
        whole = np.clip(np.rint(x / c["xs"]) + int(c["xz"]), limits.min, limits.max) - int(c["xz"])
        wide = [1] * c["w"].ndim
        wide[axis] = -1
        w = c["w"].astype(int) - (
            c["wz"].astype(int).reshape(wide) if c["wz"].ndim else int(c["wz"])
        )
        if conv:
            import torch

            tensors = [torch.from_numpy(np.asarray(v, np.float64)) for v in (whole, w)]
            before, after = attrs.get("pads", (0, 0))
            padded = torch.nn.functional.pad(tensors[0], (before, after))
            words = {"stride": attrs.get("strides", [1])[0], "groups": attrs.get("group", 1)}
            sums = torch.nn.functional.conv1d(padded, tensors[1], **words).numpy()
        else:
            sums = whole @ (w.T if turned else w)
        line = [1, -1, 1][: sums.ndim]
        sums = sums + (c["c"].reshape(line) if "c" in c else 0)
        step = c["xs"].astype(float) * c["ws"].astype(float) / c["ys"].astype(float)
        steps = sums * (step.reshape(line) if step.ndim else step)
        return np.asarray(np.clip(steps, limits.min - int(c["yz"]), limits.max - int(c["yz"])))


CASES: dict[str, dict[str, Any]] = {
    "matmul": {"op": "QLinearMatMul"},
    "matmul signed": {"op": "QLinearMatMul", "kinds": (np.int8, np.int8)},
    "matmul unsigned": {"op": "QLinearMatMul", "kinds": (np.uint8, np.uint8)},
    "matmul columns": {"op": "QLinearMatMul", "rows": True},
    "matmul middles": {"op": "QLinearMatMul", "power": True},
    "conv": {"op": "QLinearConv"},
    "conv signed rows": {"op": "QLinearConv", "kinds": (np.int8, np.int8), "rows": True},
    "conv unsigned": {"op": "QLinearConv", "kinds": (np.uint8, np.uint8), "bias": False},
    "conv padded": {"op": "QLinearConv", "attrs": {"pads": [2, 1]}, "rows": True},
    "conv strides": {"op": "QLinearConv", "attrs": {"strides": [2], "group": 2}},
    "conv middles": {"op": "QLinearConv", "power": True, "rows": True},
    "gemm": {"op": "QGemm"},
    "gemm turned": {
        "op": "QGemm", "attrs": {"transB": 1}, "rows": True, "kinds": (np.int8, np.int8),
    },
    "gemm bare": {"op": "QGemm", "bias": False, "kinds": (np.uint8, np.uint8)},
}  # fmt: skip


def check(case: Case, y: Array, middle: float) -> None:
    """In whole steps, the nearest one wherever the exact result is not beside a middle."""
    scale = case.constants["ys"]
    found = np.asarray(y, np.float64) / float(scale)
    np.testing.assert_allclose(found, np.rint(found), rtol=0, atol=1e-4)
    off = np.abs(case.exact - np.floor(case.exact) - 0.5)
    wrong = np.rint(found) != np.rint(case.exact)
    assert not np.any(wrong & (off > middle)), np.argwhere(wrong & (off > middle))
    assert np.all(np.abs(np.rint(found) - case.exact) <= 0.5 + middle)


@pytest.mark.parametrize("name", CASES)
def test_products_of_integers(name: str) -> None:
    case = Case(**CASES[name])
    clipped = np.rint(case.exact)
    assert len(np.unique(clipped)) > 20, "the case says nothing"
    graph = load_graph(case.content)
    weights = [as_integers(v) for v in fold(graph).constants.values()]
    assert [v.shape for v in weights if v is not None] == [case.constants["w"].shape]
    check(case, evaluate(graph, case.feeds)["y"], 1e-5)
    check(case, qm.witness(case.content, case.feeds, plain=True)[0], MIDDLE)
    check(case, np.asarray(rn.load(case.content, compute_type="float32").run(case.feeds)), MIDDLE)


@pytest.mark.parametrize("name", CASES)
def test_products_of_integers_in_int8(name: str) -> None:
    """As they are stored: activations of 16 bits, which move a result by less than a 20th step."""
    case = Case(**CASES[name])
    model = rn.load(case.content)
    assert [c.compute_type for c in model.choices] == ["int8"] or "group" in str(CASES[name])
    check(case, np.asarray(model.run(case.feeds)), 0.05)


def test_middles_go_to_the_even_step() -> None:
    """Scales that are powers of two make every number on the way exact."""
    case = Case(**CASES["matmul middles"])
    assert np.any(case.exact - np.floor(case.exact) == 0.5)
    y = evaluate(load_graph(case.content), case.feeds)["y"]
    np.testing.assert_array_equal(y / float(case.constants["ys"]), np.rint(case.exact))
    y = np.asarray(rn.load(case.content, compute_type="float32").run(case.feeds))
    np.testing.assert_array_equal(y / case.constants["ys"], np.rint(case.exact))


BETWEEN: dict[str, Any] = {
    "MaxPool": (["p"], {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "Flatten": (["p"], {}),
    "Transpose": (["p"], {"perm": [0, 2, 1]}),
    "Reshape": (["p", "shape"], {}),
}


@pytest.mark.parametrize("op", BETWEEN)
def test_integers_may_move_between_products(op: str) -> None:
    """A model in whole numbers: a convolution, what moves its result, a matrix product."""
    given, attrs = BETWEEN[op]
    node = helper.make_node(op, given, ["q"], **attrs)
    case = Case("QLinearConv", between=(node,), shape=np.array([2, 4, -1]))
    content = case.content
    y = evaluate(load_graph(content), case.feeds)["y"]
    (theirs,) = qm.witness(content, case.feeds, plain=True)
    assert y.shape == theirs.shape
    assert np.mean(np.abs(y - theirs) > 1e-6) < 0.01  # beside a middle
    assert np.abs(y - theirs).max() <= 1.001 * case.constants["ys"]
    ours = np.asarray(rn.load(content, compute_type="float32").run(case.feeds))
    assert np.mean(np.abs(ours - y) > 1e-6) < 0.01


ELEMENTWISE: dict[str, Any] = {
    "QLinearAdd": (2, {}, lambda a, b: a + b),
    "QLinearMul": (2, {}, lambda a, b: a * b),
    "QLinearSigmoid": (1, {}, lambda a: 1 / (1 + np.exp(-a))),
    "QLinearLeakyRelu": (1, {"alpha": 0.125}, lambda a: np.where(a < 0, a * float(f4(0.125)), a)),
}


@pytest.mark.parametrize("op", ELEMENTWISE)
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_elementwise_operators_on_integers(op: str, kind: Any) -> None:
    """A constant as the second operand; its integers are the numbers they stand for."""
    count, attrs, function = ELEMENTWISE[op]
    rng = np.random.default_rng(count)
    limits = np.iinfo(kind)
    middle = int(limits.min) + 120
    scales = {
        "xs": f4(0.021),
        "bs": f4(0.013),
        "ys": f4(0.0037 if op == "QLinearSigmoid" else 0.05),
    }
    zeros = {"xz": middle, "bz": middle + 9, "yz": middle - (100 if op == "QLinearSigmoid" else 3)}
    b = rng.integers(limits.min, limits.max, 11, kind, endpoint=True)
    constants = {**scales, **{n: np.asarray(v, kind) for n, v in zeros.items()}, "b": b}
    operands = ["xq", "xs", "xz", *(["b", "bs", "bz"] if count == 2 else []), "ys", "yz"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node(op, operands, ["q"], domain=MICROSOFT, **attrs),
        helper.make_node("DequantizeLinear", ["q", "ys", "yz"], ["y"]),
    ]
    x = rng.normal(size=(40, 11)).astype(f4)
    content = qm.model(nodes, {"x": (f4, x.shape)}, ["y"], constants)
    whole = np.clip(np.rint(x / scales["xs"]) + middle, limits.min, limits.max) - middle
    numbers = [whole * float(scales["xs"]), (b.astype(int) - zeros["bz"]) * float(scales["bs"])]
    steps = function(*numbers[:count]) / float(scales["ys"])
    exact = np.clip(steps, limits.min - zeros["yz"], limits.max - zeros["yz"])
    assert len(np.unique(np.rint(exact))) > 20, "the case says nothing"
    (theirs,) = qm.witness(content, {"x": x}, plain=True)
    ours = np.asarray(rn.load(content).run({"x": x}))
    for found in (evaluate(load_graph(content), {"x": x})["y"], theirs, ours):
        in_steps = np.rint(found / float(scales["ys"]))
        assert np.all(np.abs(in_steps - exact) <= 0.5 + MIDDLE)


@pytest.mark.parametrize("turned", [0, 1])
def test_a_float32_result(turned: int) -> None:
    """QGemm without a scale of its result."""
    case = Case("QGemm", attrs={"transB": turned, "alpha": 0.5})
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        helper.make_node(
            "QGemm", ["xq", "xs", "xz", "w", "ws", "wz", "c"], ["y"],
            domain=MICROSOFT, transB=turned, alpha=0.5,
        ),
    ]  # fmt: skip
    content = qm.model(nodes, {"x": (f4, (5, 12))}, ["y"], case.constants)
    exact = evaluate(load_graph(content), case.feeds)["y"]
    (theirs,) = qm.witness(content, case.feeds, plain=True)
    ours = np.asarray(rn.load(content, compute_type="float32").run(case.feeds))
    for found in (theirs, ours):
        np.testing.assert_allclose(found, exact, rtol=2e-6, atol=2e-6)


def test_integers_fed_at_run_time() -> None:
    """The oracle takes them; programs have no inputs of bytes."""
    rng = np.random.default_rng(3)
    case = Case("QLinearMatMul")
    x = rng.integers(0, 255, (5, 12), np.uint8, endpoint=True)
    nodes = [
        helper.make_node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "ys", "yz"], ["y"]),
    ]
    content = qm.model(nodes, {"x": (np.uint8, x.shape)}, ["y"], case.constants)
    y = evaluate(load_graph(content), {"x": x})["y"]
    (theirs,) = qm.witness(content, {"x": x}, plain=True)
    np.testing.assert_allclose(theirs, y, rtol=1e-6)
    assert len(np.unique(y)) > 20
