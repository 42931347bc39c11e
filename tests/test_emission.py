"""Graphs of every operator that becomes instructions: engine, float64 oracle, onnxruntime."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import float_tables, run, same_bits
from onnx_models import nodes
from random_graphs import SIZES, Made, random_graph
from rnnengine._c import cpu
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.program import Buffer, View

Array = np.ndarray[Any, Any]

GRAPHS, BLOCK = 160, 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Blocks of seeds, so that processes share them; 20 times as many with --full."""
    if "seeds" in metafunc.fixturenames:
        total = GRAPHS * (20 if metafunc.config.getoption("--full") else 1)
        first = int(metafunc.config.getoption("--seed")) * 1_000_000
        blocks = [range(i, i + BLOCK) for i in range(first, first + total, BLOCK)]
        metafunc.parametrize("seeds", blocks, ids=[f"{b.start}-{b.stop - 1}" for b in blocks])


def on_all_tables(content: bytes) -> dict[str, rn.Model]:
    models = {}
    for isa in float_tables():
        with cpu.use(isa):
            models[isa] = rn.load(content)
    return models


def outputs_on_all(models: dict[str, rn.Model], feeds: dict[str, Array]) -> dict[str, Array]:
    """The outputs, which must be the same bits on every table."""
    results = {isa: run(model, feeds) for isa, model in models.items()}
    first, *others = results
    for isa in others:
        assert same_bits(results[isa], results[first]), f"{isa} differs from {first}"
    return results[first]


def expected(content: bytes, feeds: dict[str, Array]) -> tuple[dict[str, Array], float]:
    """Outputs in float64, and the largest finite magnitude of any value on the way."""
    graph = load_graph(content)
    everything = graph.with_(outputs=tuple({**dict.fromkeys(graph.outputs), **graph.producers()}))
    values = evaluate(everything, feeds)
    finite = [np.abs(v[np.isfinite(v)]).max(initial=0) for v in values.values() if v.dtype == float]
    return {name: values[name] for name in graph.outputs}, max([1.0, *map(float, finite)])


def check(got: dict[str, Array], wanted: dict[str, Array], tolerance: float) -> None:
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert got[name].shape == value.shape, name
        with np.errstate(over="ignore"):
            rounded = value.astype(np.float32)
        np.testing.assert_allclose(got[name], rounded, rtol=tolerance, atol=tolerance, err_msg=name)


def check_against_onnxruntime(made: Made, feeds: dict[str, Array], got: dict[str, Array]) -> None:
    """Where onnxruntime is a witness: it accepts the graph, and nothing in it is empty."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    refused = ort.capi.onnxruntime_pybind11_state
    try:
        session = ort.InferenceSession(made.content, providers=["CPUExecutionProvider"])
    except (refused.InvalidGraph, refused.Fail):
        return
    theirs = dict(zip(made.outputs, session.run(made.outputs, feeds), strict=True))
    check(got, theirs, 1e-4)


def test_random_graphs(seeds: range) -> None:
    """Fixed and free sizes, several readers of a value, outputs read by others, slices beyond ends.

    One model serves all sizes, empty ones included.
    """
    for seed in seeds:
        made = random_graph(seed)
        models = on_all_tables(made.content)
        for sizes in SIZES:
            feeds = made.feeds(sizes, seed)
            got = outputs_on_all(models, feeds)
            wanted, largest = expected(made.content, feeds)
            try:
                check(got, wanted, 3e-6 * largest)
                if seed % 2 == 0 and not made.empty and 0 not in sizes.values():
                    check_against_onnxruntime(made, feeds, got)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, {sizes}, {made.steps}: {error}") from None


def node(op: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs, [output], f"the_{output}", **attributes)


def odd(*shape: int) -> Array:
    """Ordinary numbers with every special one among them."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 3
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 1e30, -1e30, 1e-30]
    flat = x.reshape(-1)
    flat[: len(special)] = special[: flat.size]
    return x


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@pytest.mark.parametrize(
    "shapes", [((5, 7), (5, 7)), ((5, 7), (7,)), ((5, 1), (1, 7)), ((), (35,))]
)
def test_binary_operators_on_special_values(op: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    content = nodes([node(op, ["a", "b"], "y")], dict(zip("ab", shapes, strict=True)), ["y"])
    a = odd(5, 7)[tuple(slice(None, n) for n in shapes[0])].reshape(shapes[0]) if shapes[0] else 3.0
    b = np.flip(odd(*shapes[1])) if shapes[1] != (1, 7) else odd(5, 7)[:1]
    feeds = {"a": np.asarray(a, np.float32), "b": np.ascontiguousarray(b)}
    check(outputs_on_all(on_all_tables(content), feeds), expected(content, feeds)[0], 1e-6)


@pytest.mark.parametrize(
    "op", ["Exp", "Log", "Sqrt", "Reciprocal", "Softplus", "Elu", "Tanh", "Abs"]
)
def test_unary_operators_on_special_values(op: str) -> None:
    content = nodes([node(op, ["x"], "y")], {"x": (4, "T")}, ["y"])
    feeds = {"x": odd(4, 9)}
    check(outputs_on_all(on_all_tables(content), feeds), expected(content, feeds)[0], 1e-6)


@pytest.mark.parametrize("power", [1, 2, 3, 4, 0.5, -0.5, -1, -2, -3, -4])
@pytest.mark.parametrize("shape", [(), (1, 1, 1)])
def test_powers(power: float, shape: tuple[int, ...]) -> None:
    exponent = np.full(shape, power, np.float32)
    content = nodes([node("Pow", ["x", "p"], "y")], {"x": ("T", 9)}, ["y"], {"p": exponent})
    x = np.abs(odd(4, 9)) if power % 1 else odd(4, 9)
    feeds = {"x": x}
    check(outputs_on_all(on_all_tables(content), feeds), expected(content, feeds)[0], 1e-6)


@pytest.mark.parametrize("kind", ["constant", "input", "integers"])
def test_any_power_is_rounded_once(kind: str) -> None:
    """Every pair of special and ordinary numbers, within 0.51 ULP of the exact power."""
    x = np.concatenate([odd(30), np.float32([0.1, 2, 10, 1 - 2**-24, 1 + 2**-23, 1e-45, 3e38])])
    y = np.concatenate([odd(30), np.float32([2.5, 7, -3, 1e9, 0.1, 1e-40, 16777217, -0.2, 128.5])])
    if kind == "integers":
        y = np.arange(-40, 41).astype(np.float32)
    feeds = {"a": np.where(np.abs(x) < 1e-38, 0, x)[:, None].astype(np.float32)}
    names = ["a", "b"]
    constants = {}
    if kind == "input":
        y = np.where(np.abs(y) < 1e-38, 0, y).astype(np.float32)
        feeds["b"] = y
    else:
        constants["b"] = y.astype(np.int64) if kind == "integers" else y
    shapes = {name: value.shape for name, value in feeds.items()}
    content = nodes([node("Pow", names, "y")], shapes, ["y"], constants)
    with np.errstate(all="ignore"):
        exact = np.power(feeds["a"].astype(np.float64), y.astype(np.float64))
        step = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
        for loaded in on_all_tables(content).values():
            got = loaded.run(feeds if kind == "input" else feeds["a"]).astype(np.float64)
            same = (got == exact.astype(np.float32)) | (np.isnan(got) & np.isnan(exact))
            assert np.all(same | (np.abs(got - exact) <= 0.51 * step))


@pytest.mark.parametrize("low", [None, -1.0, np.nan, 5.0])
@pytest.mark.parametrize("high", [None, 1.0, np.nan])
def test_clip_with_bounds_absent_crossed_or_nan(low: float | None, high: float | None) -> None:
    bounds = {"lo": low, "hi": high}
    constants = {n: np.array(v, np.float32) for n, v in bounds.items() if v is not None}
    operands = ["x", *("" if v is None else n for n, v in bounds.items())]
    content = nodes([node("Clip", operands, "y")], {"x": ("T", 9)}, ["y"], constants)
    feeds = {"x": odd(4, 9)}
    check(outputs_on_all(on_all_tables(content), feeds), expected(content, feeds)[0], 0)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("beta", [1.0, -2.0])
@pytest.mark.parametrize("flips", [(0, 0), (1, 1)])
def test_gemm_of_computed_operands(alpha: float, beta: float, flips: tuple[int, int]) -> None:
    operators = [
        node("Tanh", ["b"], "b2"),
        node("Neg", ["c"], "c2"),
        node(
            "Gemm", ["a", "b2", "c2"], "y",
            alpha=alpha, beta=beta, transA=flips[0], transB=flips[1],
        ),
    ]  # fmt: skip
    shapes = {"a": (4, 3), "b": (3, 18), "c": (1, 18)}
    inputs = {n: s[::-1] if n in "ab" and flips["ab".index(n)] else s for n, s in shapes.items()}
    content = nodes(operators, inputs, ["y"])
    rng = np.random.default_rng(0)
    feeds = {n: rng.standard_normal(s).astype(np.float32) for n, s in inputs.items()}
    check(outputs_on_all(on_all_tables(content), feeds), expected(content, feeds)[0], 3e-6)


PLACED: dict[str, list[tuple[str, list[str], str, dict[str, Any]]]] = {
    "softmax under a transpose": [
        ("Softmax", ["x"], "a", {"axis": -1}),
        ("Transpose", ["a"], "y", {"perm": [2, 0, 1]}),
    ],
    "one value twice in a concatenation": [
        ("Tanh", ["x"], "a", {}),
        ("Concat", ["a", "a"], "y", {"axis": 2}),
    ],
    "a part and its mirror image": [
        ("Tanh", ["x"], "a", {}),
        ("Transpose", ["a"], "b", {"perm": [0, 1, 2]}),
        ("Slice", ["a", "zero", "end", "axis2", "minus"], "c", {}),
        ("Concat", ["b", "x", "a", "c"], "y", {"axis": 1}),
    ],
    "concatenations in concatenations": [
        ("Tanh", ["x"], "a", {}),
        ("Concat", ["a", "x"], "b", {"axis": 1}),
        ("Concat", ["b", "b", "a"], "c", {"axis": 1}),
        ("Transpose", ["c"], "y", {"perm": [1, 0, 2]}),
    ],
    "a product in the middle of a transposed concatenation": [
        ("MatMul", ["x", "w"], "a", {}),
        ("Add", ["a", "row"], "b", {}),
        ("Tanh", ["b"], "c", {}),
        ("Concat", ["x", "c"], "d", {"axis": 2}),
        ("Transpose", ["d"], "y", {"perm": [0, 2, 1]}),
    ],
    "a row of higher rank than the product it is added to": [
        ("MatMul", ["x", "w"], "a", {}),
        ("Unsqueeze", ["row", "axes"], "r", {}),
        ("Add", ["a", "r"], "y", {}),
    ],
    "tiles of a placed value": [
        ("Tanh", ["x"], "a", {}),
        ("Tile", ["a", "times"], "b", {}),
        ("Transpose", ["b"], "y", {"perm": [2, 1, 0]}),
    ],
    "gathered rows, some of them twice": [
        ("Gather", ["x", "index"], "a", {"axis": 2}),
        ("Transpose", ["a"], "y", {"perm": [2, 3, 0, 1]}),
    ],
    "a row that is repeated into an output": [
        ("Expand", ["row", "shape"], "y", {}),
        ("Add", ["x", "x"], "z", {}),
    ],
}
CONSTANTS = {
    "w": np.linspace(-1, 1, 4 * 17, dtype=np.float32).reshape(4, 17),
    "row": np.linspace(-2, 2, 17, dtype=np.float32),
    "zero": np.array([3]),
    "end": np.array([-9]),
    "axis2": np.array([2]),
    "minus": np.array([-1]),
    "axes": np.array([0, 1, 2]),
    "times": np.array([2, 1, 3]),
    "index": np.array([[3, 1], [0, 3]]),
    "shape": np.array([2, 3, 17]),
}


@pytest.mark.parametrize("name", PLACED)
@pytest.mark.parametrize("all_outputs", [False, True])
def test_values_that_are_written_where_their_readers_want_them(
    name: str, all_outputs: bool
) -> None:
    """With every value an output as well, and with only the last."""
    operators = [node(op, inputs, output, **attrs) for op, inputs, output, attrs in PLACED[name]]
    used = {n for _, inputs, _, _ in PLACED[name] for n in inputs}
    names = [output for _, _, output, _ in PLACED[name]]
    content = nodes(
        operators,
        {"x": ("T", "B", 4)},
        [*names, "x"] if all_outputs else names[-1:],
        {n: v for n, v in CONSTANTS.items() if n in used},
    )
    models = on_all_tables(content)
    for shape in ((3, 2, 4), (1, 1, 4), (0, 2, 4), (5, 0, 4)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        wanted, largest = expected(content, {"x": x})
        check(outputs_on_all(models, {"x": x}), wanted, 3e-6 * largest)


def test_a_constant_and_an_input_as_outputs() -> None:
    copy = node("Identity", ["c"], "y")
    content = nodes([copy], {"x": ("T",)}, ["y", "x"], {"c": CONSTANTS["w"]})
    x = odd(12)
    result = rn.load(content).run(x)
    assert np.array_equal(result["y"], CONSTANTS["w"])
    assert np.array_equal(result["x"], x, equal_nan=True)


def test_a_tile_is_one_copy_however_often_it_repeats() -> None:
    times = {"r": np.array([1, 10**6])}
    content = nodes([node("Tile", ["x", "r"], "y")], {"x": ("T", 2)}, ["y"], times)
    model = rn.load(content)
    assert len(model._form.compiled.tables.tables["instrs"]) == 1
    assert np.array_equal(model.run(np.array([[1.0, 2.0]]))[0, -4:], [1, 2, 1, 2])


def test_a_gather_of_sliding_windows_is_a_view() -> None:
    """Also under operators that read it in rows, and where it is an output."""
    index = np.arange(6)[:, None] + 2 * np.arange(3)
    turned = {"perm": [0, 2, 1]}
    operators = [
        node("Gather", ["x", "i"], "a", axis=1),
        node("Transpose", ["a"], "b", **turned),
        node("Softmax", ["b"], "y", axis=-1),
    ]
    x = odd(4, 10)
    for outputs in (["y"], ["a", "y"]):
        content = nodes(operators, {"x": ("T", 10)}, outputs, {"i": index})
        models = on_all_tables(content)
        wanted, _ = expected(content, {"x": x})
        check(outputs_on_all(models, {"x": x}), wanted, 1e-6)
    content = nodes(operators[:1], {"x": ("T", 10)}, ["a"], {"i": index})
    assert len(rn.load(content)._form.compiled.tables.tables["instrs"]) == 1


@pytest.mark.parametrize("shape", [(2, 3, 4), (4, 1, 6), (1, 6), (8, 3)])
def test_a_view_takes_the_shapes_that_need_no_copy(shape: tuple[int, ...]) -> None:
    """Whatever order the axes have: the elements are those that NumPy shows, or it is a copy."""
    whole = View.whole(Buffer(3, 0, 0, 100), shape)
    found = 0
    for perm in itertools.permutations(range(len(shape))):
        view, array = whole.permute(perm), np.arange(np.prod(shape)).reshape(shape).transpose(perm)
        for target in (
            (24,),
            (2, 12),
            (12, 2),
            (2, 3, 4),
            (4, 6),
            (3, 8),
            (2, 2, 6),
            (6, 1, 4),
            (6,),
        ):
            shaped = view.reshape(target) if np.prod(target) == array.size else None
            if shaped is None:
                continue
            steps = [np.arange(n) * s for n, s in zip(shaped.shape, shaped.strides, strict=True)]
            places = sum(np.ix_(*steps)) + shaped.offset
            assert np.array_equal(places, array.reshape(target))
            found += 1
    assert found >= 2  # the row-major order alone takes two


def test_a_gather_of_too_many_scattered_places_is_refused() -> None:
    places = np.arange(20000) ** 2 % 20011
    content = nodes([node("Gather", ["x", "i"], "y")], {"x": (20011,)}, ["y"], {"i": places})
    with pytest.raises(rn.UnsupportedModelError, match=r"'the_y' \(Gather\).*unevenly spaced"):
        rn.load(content)


def test_integer_outputs_have_their_declared_type() -> None:
    from onnx import TensorProto, helper

    infos = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in (("x", TensorProto.FLOAT, [2, "T"]), ("y", TensorProto.INT64, [2]))
    ]
    graph = helper.make_graph(
        [node("ArgMax", ["x"], "y", axis=1, keepdims=0)], "arg", infos[:1], infos[1:]
    )
    opset = helper.make_opsetid("", 17)
    content = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    result = rn.load(content).run(np.array([[1, 3, 2], [5, 4, 0]], np.float32))
    assert result.dtype == np.int64 and result.tolist() == [1, 0]


def test_weights_of_one_name_in_two_layouts() -> None:
    """A node named as the owner of its weight does not change what another node reads."""
    w = np.arange(9, dtype=np.float32).reshape(3, 3)
    from onnx import helper

    operators = [
        helper.make_node("Gemm", ["x", "fc.W"], ["a"], "fc", transB=1),
        helper.make_node("MatMul", ["a", "fc.W"], ["y"], "other"),
    ]
    content = nodes(operators, {"x": ("T", 3)}, ["y"], {"fc.W": w})
    x = np.eye(3, dtype=np.float32)
    assert np.array_equal(rn.load(content).run(x), w.T @ w)
