"""Every operator on the engine: against the oracle, on all tables, and at hostile values."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from operator_programs import OPERATORS
from oracle.forms import Form, integers, model, real
from rnnengine._c import core, cpu
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

pytest.importorskip("onnx", reason="onnx is not installed")

Array = np.ndarray[Any, Any]
TABLES = [name for name, usable in core.tables() if usable]
REFUSED = {
    "GatherND batch_dims=1 ": "batch_dims 1 at run time",
}
"""Forms that the engine refuses, and the words it does it with."""


def on_all_tables(content: bytes) -> list[rn.Model]:
    models = []
    for isa in TABLES:
        with cpu.use(isa):
            models.append(rn.load(content))
    return models


def results(model: rn.Model, feeds: dict[str, Array]) -> dict[str, Array]:
    found = model.run(feeds)
    return found if isinstance(found, dict) else {model.outputs[0].name: found}


def patterns(array: Array) -> Array:
    """Bits of an array, all NaN alike."""
    if array.dtype != np.float32:
        return array
    return np.where(np.isnan(array), np.int32(0x7FC00000), np.asarray(array).view(np.int32))


def check(content: bytes, feeds: dict[str, Array], bound: float = 2e-6) -> None:
    """Values as the oracle has them, element types as declared, one set of bits."""
    graph = load_graph(content)
    wanted = evaluate(graph, feeds)
    first: dict[str, Array] | None = None
    for loaded in on_all_tables(content):
        found = results(loaded, feeds)
        for name, value in found.items():
            exact = wanted[name]
            assert value.shape == exact.shape
            if exact.dtype.kind != "f":
                assert value.dtype == exact.dtype
                np.testing.assert_array_equal(value, exact)
                continue
            finite = exact[np.isfinite(exact)]
            size = max(1.0, float(np.abs(finite).max())) if finite.size else 1.0
            np.testing.assert_allclose(value, exact, rtol=0, atol=bound * size)
            if first is not None:
                np.testing.assert_array_equal(patterns(value), patterns(first[name]))
        first = first or found


@pytest.mark.parametrize("axis", [None, 0], ids=["fixed", "symbolic"])
@pytest.mark.parametrize("form", OPERATORS, ids=str)
def test_operator_agrees_with_the_oracle(form: Form, axis: int | None) -> None:
    content, feeds = model(form, form.opsets[-1], axis)
    if str(form) in REFUSED:
        with pytest.raises(rn.UnsupportedModelError, match=REFUSED[str(form)]):
            rn.load(content)
        return
    check(content, feeds)


ODD = np.array(
    [0.0, -0.0, 1.0, -2.5, np.nan, np.inf, -np.inf, 1e30, -1e-30, 3.0, 0.5, -0.5, 7.0], np.float32
)
LONG = np.concatenate([ODD, np.random.default_rng(1).standard_normal(40).astype(np.float32)])


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSumExp"])
def test_reductions_of_special_values(op: str) -> None:
    rows = np.stack([np.roll(LONG, k) for k in (0, 1, 17)])
    plain = np.random.default_rng(2).standard_normal((3, 53)).astype(np.float32)
    infinite = np.where(plain > 1.5, np.inf, plain).astype(np.float32)
    for x in (rows, plain, infinite, -infinite, plain[:, :0]):
        form = Form(f"Reduce{op}", [x], (18,), [integers(1)])
        if x.size == 0 and op == "Mean":
            continue  # 0 / 0, of which NumPy warns
        check(*model(form, 18), bound=1e-5)


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 1, 1), (3, 0, 2), (2, 40, 17)])
@pytest.mark.parametrize("perm", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_strided_operands(shape: tuple[int, ...], perm: tuple[int, ...]) -> None:
    """Operators of rows after a transposition, which is a view."""
    from onnx import TensorProto, helper, numpy_helper

    width = shape[perm[2]]
    factor = real(width)
    inner = [
        helper.make_node("Transpose", ["x"], ["t"], perm=perm),
        helper.make_node("ReduceMean", ["t"], ["a"], axes=[0, 2], keepdims=0),
        helper.make_node("ReduceMax", ["t"], ["b"], axes=[1]),
        helper.make_node("LayerNormalization", ["t", "f", "f"], ["c"], axis=-1),
        helper.make_node("CumSum", ["t", "axis"], ["d"], reverse=1),
        helper.make_node("Pad", ["t", "pads", "two"], ["e"]),
    ]
    constants = {"f": factor, "axis": np.array(1), "pads": integers(1, 0, 2, 0, 1, 0),
                 "two": np.array(2, np.float32)}  # fmt: skip
    graph = helper.make_graph(
        inner,
        "strided",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.ValueInfoProto(name=n) for n in "abcde"],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's mean of nothing
        check(made.SerializeToString(), {"x": real(*shape)}, 1e-5)


@pytest.mark.parametrize(
    ("op", "a", "b"),
    [
        ("Add", [2**31 - 1], [1]),
        ("Sub", [-(2**31)], [1]),
        ("Mul", [2**20], [2**20]),
        ("Div", [5], [0]),
        ("Div", [-(2**31)], [-1]),
        ("Mod", [5], [0]),
    ],
)
def test_integers_that_are_undefined_or_too_large_raise(op: str, a: Any, b: Any) -> None:
    content, _ = model(Form(op, [integers(*a), integers(*b)]), 13)
    for loaded in on_all_tables(content):
        with pytest.raises(ValueError, match="an integer computed at run time"):
            loaded.run({"in0": integers(*a), "in1": integers(*b)})


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**31, -(2.0**31) - 512])
def test_numbers_that_no_integer_holds_are_not_cast(value: float) -> None:
    from onnx import TensorProto

    form = Form("Cast", [np.array([1.0, value], np.float32)], attrs={"to": TensorProto.INT64})
    content, feeds = model(form, 13)
    with pytest.raises(ValueError, match="an integer computed at run time"):
        rn.load(content).run(feeds["in0"])


@pytest.mark.parametrize(
    "form",
    [
        Form("Gather", [real(3, 4), integers(0, 9)], attrs={"axis": 1}),
        Form("GatherElements", [real(3, 4), integers([0, 9])], attrs={"axis": 1}),
        Form("GatherND", [real(3, 4), integers([0, -5])]),
        Form("ScatterND", [real(3, 4), integers([3]), real(1, 4)]),
        Form("ScatterElements", [real(3, 4), integers([-4]), real(1, 1)]),
    ],
    ids=str,
)
def test_indices_outside_are_named(form: Form) -> None:
    content, feeds = model(form, 13)
    with pytest.raises(ValueError, match=r"outside the table it selects from: -?[3459]"):
        rn.load(content).run(feeds)


def test_integer_and_boolean_inputs_and_outputs() -> None:
    content, feeds = model(
        Form("Where", [np.array([True, False]), integers(1, 2), integers(3)]), 16
    )
    loaded = rn.load(content)
    assert [v.dtype for v in loaded.inputs] == [np.bool_, np.int64, np.int64]
    result = loaded.run(feeds)
    assert result.dtype == np.int64 and result.tolist() == [1, 3]
    out = np.zeros(2, np.int64)
    assert loaded.run(feeds, out=out) is out and out.tolist() == [1, 3]
    with pytest.raises(TypeError, match="out for 'out0': expected int64, got float32"):
        loaded.run(feeds, out=np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="input 'in0': expected bool, got an array of int64"):
        loaded.run({**feeds, "in0": integers(1, 0)})
    with pytest.raises(ValueError, match="input 'in1': an integer does not fit int32"):
        loaded.run({**feeds, "in1": integers(2**31, 0)})


def test_reflected_pads_need_enough_elements_at_run_time() -> None:
    content, feeds = model(
        Form("Pad", [real(5)], (13,), [integers(2, 3)], {"mode": "reflect"}), 13, 0
    )
    loaded = rn.load(content)
    assert np.array_equal(loaded.run(feeds["in0"]), np.pad(feeds["in0"], (2, 3), "reflect"))
    assert np.array_equal(loaded.run(feeds["in0"][:4]), np.pad(feeds["in0"][:4], (2, 3), "reflect"))
    with pytest.raises(rn.ShapeError, match="3 elements cannot add 3"):
        loaded.run(feeds["in0"][:3])


@pytest.mark.parametrize("free", [None, 0])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 18)), ((4,), (4, 2)),
        ((2, 3, 4), (4,)), ((4,), (4,)), ((3, 4), (2, 4, 5)), ((2, 3, 0), (2, 0, 5)),
        ((200, 7), (7, 33)), ((5, 1, 8), (5, 8, 1)),
    ],
)  # fmt: skip
def test_products_of_two_inputs(a: tuple[int, ...], b: tuple[int, ...], free: int | None) -> None:
    check(*model(Form("MatMul", [real(*a), real(*b)]), 13, free))


def test_a_product_of_two_inputs_has_the_bits_of_one_with_constants() -> None:
    x, w = real(3, 5, 70), real(70, 33)
    varying, feeds = model(Form("MatMul", [x, w]), 13)
    fixed, _ = model(Form("MatMul", [x], constants=[w]), 13)
    for first, second in zip(on_all_tables(varying), on_all_tables(fixed), strict=True):
        assert np.array_equal(patterns(first.run(feeds)), patterns(second.run(x)))
