"""ONNX models that were quantised before: their integers stay, and the numbers are the right ones.

Three answers are compared. The oracle on the imported graph must be the one on the float model with
the weights that the integers stand for, which onnxruntime confirms in float32. onnxruntime's answer
to the quantised model differs by its 8-bit activations: written down again in float64 they give its
numbers, a hundred times closer than the difference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantised_models as qm
import rnnengine as rn
from quantised_models import MICROSOFT
from rnnengine.graph import Graph, as_integers
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
from onnx import helper

Array = np.ndarray[Any, Any]
f4 = np.float32
I, H, T, B, O = 5, 8, 7, 3, 6  # noqa: E741
FLOAT32 = 5e-6
"""What onnxruntime's float32 is held to, of max(1, largest magnitude)."""


def rms(x: Any) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def close(found: Any, wanted: Any, tolerance: float = FLOAT32) -> None:
    assert np.shape(found) == np.shape(wanted)
    largest = max(1.0, float(np.abs(wanted).max(initial=0)))
    assert np.abs(np.asarray(found, np.float64) - wanted).max(initial=0) <= tolerance * largest


def explained(witness: Array, rounded: Array, exact: Array, times: float = 100) -> None:
    """The witness differs from the exact answer by the rounding that was written down for it.

    A sum in float32 may fall on the other side of a rounding step than that in float64, now and
    then; so the mean square is compared.
    """
    error = rms(witness - exact)
    assert error > 1e-5, "the witness rounds nothing"
    assert rms(witness - rounded) * times <= error


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def in_float32(source: Any) -> rn.Model:
    """The model with its weights as float32 numbers: right to the last bits of float32."""
    return rn.load(source, compute_type="float32")


def kept(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Constants of the settled graph that are still integers."""
    found = {n: as_integers(v) for n, v in fold(graph).constants.items()}
    return {n: v.shape for n, v in found.items() if v is not None}


LSTMS: dict[str, dict[str, Any]] = {
    "int8": {},
    "uint8": {"dtype": np.uint8},
    "int8 zeros": {"zeros": True},
    "uint8 rows": {"dtype": np.uint8, "rows": True, "zeros": True},
    "int8 rows": {"rows": True},
    "reverse": {"rows": True, "direction": "reverse"},
    "bidirectional": {"direction": "bidirectional"},
    "bidirectional rows": {"rows": True, "direction": "bidirectional", "dtype": np.uint8},
    "peepholes": {"extras": "B P"},
    "states": {"extras": "B h c"},
    "lengths": {"extras": "B lens"},
    "everything": {
        "rows": True, "direction": "bidirectional", "zeros": True, "extras": "B P h c lens",
    },
    "bare": {"extras": ""},
    "clip": {"attrs": {"clip": 0.7}},
    "coupled": {"attrs": {"input_forget": 1}},
}  # fmt: skip


class DynamicLSTM:
    """A DynamicQuantizeLSTM and the LSTM of the numbers that its integers stand for."""

    def __init__(
        self,
        dtype: Any = np.int8,
        rows: bool = False,
        zeros: bool = False,
        direction: str = "forward",
        extras: str = "B",
        attrs: dict[str, Any] | None = None,
    ) -> None:
        rng = np.random.default_rng(7)
        count = 2 if direction == "bidirectional" else 1
        shape = (count, 4 * H) if rows else (count,)
        constants: dict[str, Array] = {}
        self.weights: dict[str, Array] = {}
        for name, k in (("W", I), ("R", H)):
            q = integers(rng, (count, k, 4 * H), dtype)
            scale = rng.uniform(0.002, 0.006, shape).astype(f4)
            middle = 0 if dtype == np.int8 else 128
            zero = middle + rng.integers(-9, 9, shape) * zeros
            wide = (count, 1, 4 * H if rows else 1)
            numbers = (q.astype(int) - zero.reshape(wide)) * scale.reshape(wide).astype(float)
            self.weights[name] = np.ascontiguousarray(numbers.astype(f4).transpose(0, 2, 1))
            constants |= {name: q, f"{name}.scale": scale, f"{name}.zero": zero.astype(dtype)}
        self.feeds: dict[str, Array] = {"x": rng.normal(size=(T, B, I)).astype(f4)}
        given = set(extras.split())
        beside = {"B": (count, 8 * H), "P": (count, 3 * H)}
        self.beside = {n: rng.normal(size=s).astype(f4) for n, s in beside.items() if n in given}
        for name in sorted(given & {"h", "c"}):
            self.feeds[name] = rng.normal(size=(count, B, H)).astype(f4)
        if "lens" in given:
            self.feeds["lens"] = np.array([T, 3, 1], np.int32)
        operands = [
            "x",
            "W",
            "R",
            *((n if n in given else "") for n in ("B", "lens", "h", "c", "P")),
        ]
        attrs = {"hidden_size": H, "direction": direction, **(attrs or {})}
        parts = [f"{n}.{part}" for n in "WR" for part in ("scale", "zero")]
        quantised = helper.make_node(
            "DynamicQuantizeLSTM", [*operands, *parts], ["y", "h_n", "c_n"], "lstm",
            domain=MICROSOFT, **attrs,
        )  # fmt: skip
        plain = helper.make_node("LSTM", operands, ["y", "h_n", "c_n"], "lstm", **attrs)
        inputs = {n: (v.dtype, v.shape) for n, v in self.feeds.items()}
        names = ["y", "h_n", "c_n"]
        self.quantised = qm.model([quantised], inputs, names, {**constants, **self.beside})
        self.plain = qm.model([plain], inputs, names, {**self.weights, **self.beside})


@pytest.mark.parametrize("name", LSTMS)
def test_dynamic_quantize_lstm(name: str) -> None:
    made = DynamicLSTM(**LSTMS[name])
    graph = load_graph(made.quantised)
    shapes = sorted(kept(graph).values())
    assert shapes == sorted(w.shape for w in made.weights.values())
    exact = evaluate(graph, made.feeds)
    wanted = evaluate(load_graph(made.plain), made.feeds)
    for key, value in wanted.items():
        np.testing.assert_array_equal(exact[key], value)
    if name != "clip":  # docs/deviations.md: onnxruntime does not clip before h()
        for found, value in zip(qm.witness(made.plain, made.feeds), wanted.values(), strict=True):
            close(found, value)
    found = in_float32(made.quantised).run(made.feeds)
    for key, value in exact.items():
        close(found[key], value)


@pytest.mark.parametrize(
    "name", sorted(set(LSTMS) - {"clip", "coupled", "lengths", "everything", "uint8 rows"})
)
def test_what_onnxruntime_rounds_in_the_lstm(name: str) -> None:
    """x as a whole and h of every step as a whole, to 8 bits: that alone is its difference.

    onnxruntime refuses zero points that differ from row to row.
    """
    made = DynamicLSTM(**LSTMS[name])
    y = qm.witness(made.quantised, made.feeds)[0]
    exact = evaluate(load_graph(made.quantised), made.feeds)["y"]
    reverse = LSTMS[name].get("direction") == "reverse"
    for d in range(y.shape[1]):
        beside = [made.beside[n][d] if n in made.beside else None for n in "BP"]
        states = [made.feeds[n][d] if n in made.feeds else None for n in "hc"]
        weights = [made.weights[n][d] for n in "WR"]
        way = reverse or d == 1
        right = qm.lstm(made.feeds["x"], *weights, *beside, *states, reverse=way, rounded=False)[0]
        close(right, exact[:, d], 1e-12)
        rounded = qm.lstm(made.feeds["x"], *weights, *beside, *states, reverse=way)[0]
        explained(y[:, d], rounded, exact[:, d])


def product(
    seed: int, dtype: Any, columns: bool, shape: tuple[int, ...] = (I, O)
) -> dict[str, Array]:
    """Integers, scale and zero point of a matrix."""
    rng = np.random.default_rng(seed)
    many = shape[-1:] if columns else ()
    zero = (0 if dtype == np.int8 else 128) + rng.integers(-20, 20, many)
    scale = np.asarray(rng.uniform(0.01, 0.03, many), f4)
    return {"w": integers(rng, shape, dtype), "ws": scale, "wz": np.asarray(zero, dtype)}


def numbers(parts: dict[str, Array]) -> Array:
    return ((parts["w"].astype(int) - parts["wz"].astype(int)) * parts["ws"].astype(float)).astype(
        f4
    )


QUANTISE = helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], "quantise")
TO_FLOAT = helper.make_node("Cast", ["p"], ["pf"], "cast", to=1)
MATMUL = helper.make_node("MatMulInteger", ["xq", "w", "xz", "wz"], ["p"], "product")
ORDERS: dict[str, list[Any]] = {
    "scales first": [
        helper.make_node("Mul", ["xs", "ws"], ["s"]), helper.make_node("Mul", ["pf", "s"], ["y"]),
    ],
    "scales last": [
        helper.make_node("Mul", ["ws", "xs"], ["s"]), helper.make_node("Mul", ["s", "pf"], ["y"]),
    ],
    "weights first": [
        helper.make_node("Mul", ["pf", "ws"], ["s"]), helper.make_node("Mul", ["s", "xs"], ["y"]),
    ],
    "activations first": [
        helper.make_node("Mul", ["xs", "pf"], ["s"]), helper.make_node("Mul", ["s", "ws"], ["y"]),
    ],
}  # fmt: skip


@pytest.mark.parametrize("columns", [False, True], ids=["one", "columns"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("order", ORDERS)
def test_matmul_integer(order: str, dtype: Any, columns: bool) -> None:
    parts = product(1, dtype, columns)
    content = qm.model(
        [QUANTISE, MATMUL, TO_FLOAT, *ORDERS[order]], {"x": (f4, ("T", "B", I))}, ["y"], parts
    )
    feeds = {"x": np.random.default_rng(2).normal(size=(T, B, I)).astype(f4)}
    graph = load_graph(content)
    assert list(kept(graph).values()) == [(I, O)]
    exact = evaluate(graph, feeds)["y"]
    whole = numbers(parts).astype(float)
    if order != "activations first":
        np.testing.assert_array_equal(exact, feeds["x"].astype(float) @ whole)
    close(exact, feeds["x"].astype(float) @ whole, 1e-6)
    explained(qm.witness(content, feeds)[0], qm.eight_bits(feeds["x"]) @ whole, exact)
    close(in_float32(content).run(feeds["x"]), exact)


def test_matmul_integer_without_zero_points() -> None:
    parts = {**product(1, np.int8, False), "wz": np.int8(0)}
    bare = helper.make_node("MatMulInteger", ["xq", "w", "xz"], ["p"], "product")
    nodes = [QUANTISE, bare, TO_FLOAT, *ORDERS["scales first"]]
    del (constants := dict(parts))["wz"]
    content = qm.model(nodes, {"x": (f4, (B, I))}, ["y"], constants)
    x = np.random.default_rng(2).normal(size=(B, I)).astype(f4)
    exact = evaluate(load_graph(content), {"x": x})["y"]
    np.testing.assert_array_equal(exact, x.astype(float) @ numbers(parts))


def test_matmul_integer_of_a_moved_matrix() -> None:
    """Operators that move constants may stand between the integers and the product."""
    parts = product(1, np.int8, False, (O, I))
    turn = helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0])
    dot = helper.make_node("MatMulInteger", ["xq", "wt", "xz", "wz"], ["p"], "product")
    nodes = [QUANTISE, turn, dot, TO_FLOAT, *ORDERS["scales first"]]
    content = qm.model(nodes, {"x": (f4, (B, I))}, ["y"], parts)
    x = np.random.default_rng(2).normal(size=(B, I)).astype(f4)
    graph = load_graph(content)
    assert list(kept(graph).values()) == [(I, O)]
    exact = evaluate(graph, {"x": x})["y"]
    np.testing.assert_array_equal(exact, x.astype(float) @ numbers(parts).T)


def test_several_products_of_one_activation() -> None:
    """One DynamicQuantizeLinear may feed several products, each with its own scale."""
    parts = product(1, np.int8, True)
    second = {f"{n}2": v for n, v in product(2, np.uint8, False).items()}
    nodes = [QUANTISE]
    for end in ("", "2"):
        names = [f"{n}{end}" for n in ("w", "wz", "p", "pf", "s", "ws", "y")]
        w, wz, p, pf, s, ws, y = names
        nodes += [
            helper.make_node("MatMulInteger", ["xq", w, "xz", wz], [p]),
            helper.make_node("Cast", [p], [pf], to=1),
            helper.make_node("Mul", ["xs", ws], [s]),
            helper.make_node("Mul", [pf, s], [y]),
        ]
    content = qm.model(nodes, {"x": (f4, (B, I))}, ["y", "y2"], {**parts, **second})
    x = np.random.default_rng(2).normal(size=(B, I)).astype(f4)
    exact = evaluate(load_graph(content), {"x": x})
    np.testing.assert_array_equal(exact["y"], x.astype(float) @ numbers(parts))
    other = numbers({n[:-1]: v for n, v in second.items()})
    np.testing.assert_array_equal(exact["y2"], x.astype(float) @ other)
    rounded = qm.eight_bits(x)
    explained(qm.witness(content, {"x": x})[0], rounded @ numbers(parts), exact["y"])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("op", ["DynamicQuantizeMatMul", "MatMulIntegerToFloat"])
def test_products_of_microsoft(op: str, bias: bool) -> None:
    parts = {**product(1, np.uint8, True), "b": np.linspace(-1, 1, O, dtype=f4)}
    end = ["b"] if bias else []
    if op == "DynamicQuantizeMatMul":
        nodes = [helper.make_node(op, ["x", "w", "ws", "wz", *end], ["y"], domain=MICROSOFT)]
    else:
        names = ["xq", "w", "xs", "ws", "xz", "wz", *end]
        nodes = [QUANTISE, helper.make_node(op, names, ["y"], domain=MICROSOFT)]
    content = qm.model(nodes, {"x": (f4, (T, I))}, ["y"], parts)
    x = np.random.default_rng(2).normal(size=(T, I)).astype(f4)
    graph = load_graph(content)
    assert list(kept(graph).values()) == [(I, O)]
    exact = evaluate(graph, {"x": x})["y"]
    offset = parts["b"].astype(float) if bias else 0
    np.testing.assert_array_equal(exact, x.astype(float) @ numbers(parts) + offset)
    rounded = qm.eight_bits(x) @ numbers(parts) + offset
    explained(qm.witness(content, {"x": x})[0], rounded, exact)


@pytest.mark.parametrize("attrs", [{}, {"pads": [2, 1], "strides": [2]}, {"dilations": [2]}])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_conv_integer(dtype: Any, attrs: dict[str, Any]) -> None:
    parts = product(1, dtype, False, (O, I, 3))
    conv = helper.make_node("ConvInteger", ["xq", "w", "xz", "wz"], ["p"], "product", **attrs)
    nodes = [QUANTISE, conv, TO_FLOAT, *ORDERS["scales first"]]
    content = qm.model(nodes, {"x": (f4, (B, I, 9))}, ["y"], parts)
    plain = helper.make_node("Conv", ["x", "w"], ["y"], "product", **attrs)
    x = np.random.default_rng(2).normal(size=(B, I, 9)).astype(f4)
    float_one = qm.model([plain], {"x": (f4, (B, I, 9))}, ["y"], {"w": numbers(parts)})
    graph = load_graph(content)
    assert list(kept(graph).values()) == [(O, I, 3)]
    exact = evaluate(graph, {"x": x})["y"]
    np.testing.assert_array_equal(exact, evaluate(load_graph(float_one), {"x": x})["y"])
    rounded = evaluate(load_graph(float_one), {"x": qm.eight_bits(x)})["y"]
    explained(qm.witness(content, {"x": x})[0], rounded, exact)
    close(in_float32(content).run(x), exact)


# Models as onnxruntime's tool writes them


def network(cell: str) -> bytes:
    """A layer of embedded words, a recurrent layer in both directions and a product; or Conv."""
    rng = np.random.default_rng(11)

    def drawn(*shape: int) -> Array:
        return rng.normal(size=shape).astype(f4) * f4(0.4)

    if cell == "Conv":
        node = helper.make_node("Conv", ["x", "K", "k"], ["y"], "conv", pads=[1, 1])
        constants = {"K": drawn(O, I, 3), "k": drawn(O)}
        return qm.model([node], {"x": (f4, (B, I, T))}, ["y"], constants)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    names = {"W": (2, gates * H, I), "R": (2, gates * H, H), "B": (2, 2 * gates * H)}
    constants = {n: drawn(*s) for n, s in names.items()}
    constants |= {"E": drawn(40, I), "M": drawn(2 * H, O), "b": drawn(O)}
    nodes = [
        helper.make_node("Gather", ["E", "x"], ["e"], "words"),
        helper.make_node(
            cell, ["e", "W", "R", "B"], ["s"], "cells", hidden_size=H, direction="bidirectional"
        ),
        helper.make_node("Transpose", ["s"], ["t"], "turn", perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["t", "shape"], ["r"], "join"),
        helper.make_node("MatMul", ["r", "M"], ["m"], "product"),
        helper.make_node("Add", ["m", "b"], ["y"], "bias"),
    ]
    whole = {**constants, "shape": np.array([0, 0, -1])}
    return qm.model(nodes, {"x": (np.int64, ("T", "B"))}, ["y"], whole)


def given(cell: str) -> Array:
    rng = np.random.default_rng(5)
    return rng.normal(size=(B, I, T)).astype(f4) if cell == "Conv" else rng.integers(0, 40, (T, B))


KEPT = {
    "LSTM": [(2, 4 * H, I), (2, 4 * H, H), (2 * H, O), (40, I)],
    "GRU": [(2 * H, O), (40, I)],
    "RNN": [(2 * H, O), (40, I)],
    "Conv": [(O, I, 3)],
}


@pytest.mark.parametrize("cell", KEPT)
@pytest.mark.parametrize("options", [{}, {"per_channel": True}, {"reduce_range": True}], ids=str)
@pytest.mark.parametrize("signed", [True, False])
def test_quantize_dynamic(cell: str, options: dict[str, Any], signed: bool, tmp_path: Path) -> None:
    from onnxruntime import quantization

    source, target = tmp_path / "float.onnx", tmp_path / "q.onnx"
    source.write_bytes(network(cell))
    kind = quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8
    quantization.quantize_dynamic(source, target, weight_type=kind, **options)
    graph = load_graph(target)
    assert sorted(kept(graph).values()) == sorted(KEPT[cell])
    x = given(cell)
    exact = evaluate(graph, {"x": x})["y"]
    (found,) = qm.witness(target.read_bytes(), {"x": x})
    (in_float,) = qm.witness(source.read_bytes(), {"x": x})
    assert rms(exact - found) < 0.03 * max(1, rms(in_float))
    assert rms(exact - in_float) <= 1.1 * rms(found - in_float)
    close(in_float32(target).run(x), exact)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN", "Conv"])
@pytest.mark.parametrize("options", [{}, {"per_channel": True}], ids=str)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_quantize_static(
    cell: str, options: dict[str, Any], signed: bool, form: str, tmp_path: Path
) -> None:
    """Activations are rounded where the model says so, and nowhere else."""
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{"x": given(cell)}]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    source, target = tmp_path / "float.onnx", tmp_path / "q.onnx"
    source.write_bytes(network(cell))
    kind = quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8
    quantization.quantize_static(
        source, target, Reader(), quant_format=quantization.QuantFormat[form],
        activation_type=kind, weight_type=kind, **options,
    )  # fmt: skip
    x = given(cell)
    graph = load_graph(target)
    assert (
        (O, I, 3) in kept(graph).values() if cell == "Conv" else (2 * H, O) in kept(graph).values()
    )
    exact = evaluate(graph, {"x": x})["y"]
    (found,) = qm.witness(target.read_bytes(), {"x": x}, plain=True)
    # Sums in float32 and float64 may round to neighbouring steps, rarely.
    off = np.abs(found - exact) > FLOAT32 * max(1, np.abs(exact).max())
    assert off.mean() <= 0.01
    ours = in_float32(target).run(x)
    assert (np.abs(ours - exact) > FLOAT32 * max(1, np.abs(exact).max())).mean() <= 0.01


# QuantizeLinear and DequantizeLinear by themselves


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize(
    ("opset", "dtype"),
    [(13, "int8"), (13, "uint8"), (21, "int8"), (21, "uint8"), (21, "int16"), (21, "uint16")],
)
def test_rounding_an_activation(opset: int, dtype: str, axis: int | None) -> None:
    """The engine gives onnxruntime's bits: one division, one rounding, one product."""
    rng = np.random.default_rng(3)
    shape = (4, 3, 5)
    many = () if axis is None else (shape[axis],)
    limits = np.iinfo(dtype)
    wide = (limits.max - limits.min) / 255
    constants = {
        "s": np.asarray(rng.uniform(0.01, 0.03, many) / wide, f4),
        "z": np.asarray(rng.integers(limits.min // 2, limits.max // 2, many), dtype),
    }
    attrs = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attrs),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attrs),
    ]
    content = qm.model(nodes, {"x": (f4, shape)}, ["y"], constants, opset)
    x = (rng.normal(size=shape) * 3).astype(f4)
    x.reshape(-1)[:3] = 1e30, -1e30, 0  # saturates
    np.testing.assert_array_equal(
        in_float32(content).run(x), qm.witness(content, {"x": x}, plain=True)[0]
    )
    close(
        evaluate(load_graph(content), {"x": x})["y"], qm.witness(content, {"x": x}, plain=True)[0]
    )


def test_ties_go_to_even() -> None:
    constants = {"s": f4(0.5), "z": np.int8(1)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    content = qm.model(nodes, {"x": (f4, (8,))}, ["y"], constants)
    x = np.array([0.25, 0.75, 1.25, -0.25, -0.75, -1.25, 63.2, -64.6], f4)
    wanted = np.array([0, 1, 1, -0.0, -1, -1, 63, -64.5], f4)
    np.testing.assert_array_equal(in_float32(content).run(x), wanted)
    np.testing.assert_array_equal(qm.witness(content, {"x": x}, plain=True)[0], wanted)


def test_read_with_other_numbers_than_written() -> None:
    """Integers made with one scale and zero point, read with another."""
    constants = {"s": f4(0.1), "z": np.uint8(7), "s2": f4(0.3), "z2": np.uint8(200)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s2", "z2"], ["y"]),
    ]
    content = qm.model(nodes, {"x": (f4, (50,))}, ["y"], constants)
    x = np.linspace(-20, 40, 50, dtype=f4)
    np.testing.assert_array_equal(
        in_float32(content).run(x), qm.witness(content, {"x": x}, plain=True)[0]
    )


def test_weights_quantised_in_the_graph() -> None:
    """QuantizeLinear of a constant makes integers at once; int32 biases are plain numbers."""
    rng = np.random.default_rng(4)
    constants = {
        "W": rng.normal(size=(I, O)).astype(f4), "s": rng.uniform(0.01, 0.02, O).astype(f4),
        "z": np.zeros(O, np.int8), "b": rng.integers(-9999, 9999, O).astype(np.int32),
        "bs": f4(1e-4),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["W", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("DequantizeLinear", ["b", "bs"], ["c"]),
        helper.make_node("Gemm", ["x", "w", "c"], ["y"]),
    ]
    content = qm.model(nodes, {"x": (f4, (B, I))}, ["y"], constants)
    graph = load_graph(content)
    assert list(kept(graph).values()) == [(I, O)]
    x = rng.normal(size=(B, I)).astype(f4)
    q = np.clip(np.rint(constants["W"] / constants["s"]), -128, 127)
    w = (q * constants["s"].astype(float)).astype(f4).astype(float)
    exact = evaluate(graph, {"x": x})["y"]
    close(exact, x @ w + constants["b"] * 1e-4, 1e-6)
    close(qm.witness(content, {"x": x}, plain=True)[0], exact)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("axis", [1, 2])
def test_dequantized_recurrent_weights(cell: str, axis: int) -> None:
    """Scales of rows stay with the integers; scales along k make numbers, which are right too."""
    rng = np.random.default_rng(9)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    constants: dict[str, Array] = {}
    nodes, numbers_of = [], {}
    for name, k in (("W", I), ("R", H)):
        shape = (1, gates * H, k)
        q, scale = integers(rng, shape, np.int8), rng.uniform(0.002, 0.005, shape[axis]).astype(f4)
        zero = rng.integers(-5, 5, shape[axis]).astype(np.int8)
        constants |= {f"{name}q": q, f"{name}s": scale, f"{name}z": zero}
        names = [f"{name}q", f"{name}s", f"{name}z"]
        nodes.append(helper.make_node("DequantizeLinear", names, [name], axis=axis))
        wide = (1, -1, 1) if axis == 1 else (1, 1, -1)
        exact = (q.astype(int) - zero.reshape(wide)) * scale.reshape(wide).astype(float)
        numbers_of[name] = exact.astype(f4)
    layer = helper.make_node(cell, ["x", "W", "R"], ["y"], "layer", hidden_size=H)
    content = qm.model([*nodes, layer], {"x": (f4, ("T", "B", I))}, ["y"], constants)
    plain = qm.model([layer], {"x": (f4, ("T", "B", I))}, ["y"], numbers_of)
    x = rng.normal(size=(T, B, I)).astype(f4)
    graph = load_graph(content)
    wanted = evaluate(load_graph(plain), {"x": x})["y"]
    np.testing.assert_array_equal(evaluate(fold(graph), {"x": x})["y"], wanted)
    close(qm.witness(content, {"x": x})[0], wanted)
    close(in_float32(content).run(x), wanted)


def test_a_scale_below_the_smallest_weight_is_zero() -> None:
    """Scales that are 0 or subnormal stand for numbers that count as 0 in every weight."""
    constants = {
        "q": np.full((I, O), 100, np.int8),
        "s": np.array([0, 1e-40, 0.1, 0.2, 0.3, 0.4], f4), "z": np.zeros(O, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    content = qm.model(nodes, {"x": (f4, (1, I))}, ["y"], constants)
    assert not kept(load_graph(content))
    y = in_float32(content).run(np.ones((1, I), f4))
    np.testing.assert_allclose(y[0], [0, 0, 50, 100, 150, 200], rtol=1e-6)


def test_saved_and_exported(tmp_path: Path) -> None:
    made = DynamicLSTM(**LSTMS["int8 rows"])
    model = in_float32(made.quantised)
    y = model.run(made.feeds)
    rn.save(model, tmp_path / "m.rnne")
    rn.export_onnx(model, tmp_path / "m.onnx")
    for name in ("m.rnne", "m.onnx"):
        again = rn.load(tmp_path / name).run(made.feeds)
        for key, value in y.items():
            np.testing.assert_array_equal(again[key], value, err_msg=f"{name}: {key}")
