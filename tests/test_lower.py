"""Compute types: which layers of a model get them, what is refused, what is kept and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine._c import cpu
from rnnengine.compiler import Source
from rnnengine.compiler.lowering import requested
from rnnengine.graph import Choice, Graph, Node, TensorType, Value, as_lowered, symbol
from rnnengine.graph.integers import ScaledIntegers
from rnnengine.graph.lowered import COMPUTE_TYPES
from rnnengine.graph.rounding import lower_matrix
from rnnengine.ops import evaluate
from rnnengine.ops.weights import choices_of, compute_type_of, lowered_weights
from rnnengine.passes.auto import Machine, automatic
from rnnengine.passes.lower import Lowering, lower

Array = np.ndarray[Any, Any]
SMALL = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "int8": 0.02, "int8_fast": 0.02}
"""Largest error of a weight, as a part of the largest of its row."""


def network(hidden: int = 24, inputs: int = 10, steps: str | int = "steps") -> Graph:
    """GRU, LSTM with a projection, convolutions, products: everything that has weights."""
    rng = np.random.default_rng(1)
    constants: dict[str, Array] = {}

    def weight(name: str, *shape: int) -> str:
        constants[name] = (rng.standard_normal(shape) / 4).astype(np.float32)
        return name

    time = symbol(steps) if isinstance(steps, str) else steps
    x = Value("x", TensorType(np.dtype(np.float32), (1, inputs, time)))
    proj = hidden // 2
    nodes = [
        Node("Conv", "conv", ("x", weight("cw", 12, inputs, 3), weight("cb", 12)), ("c",),
             {"kernel_shape": (3,), "strides": (1,), "dilations": (1,), "pads": (2, 0),
              "group": 1}),
        Node("Conv", "depth", ("c", weight("dw", 12, 1, 1)), ("d",),
             {"kernel_shape": (1,), "strides": (1,), "dilations": (1,), "pads": (0, 0),
              "group": 12}),
        Node("BatchNormalization", "norm",
             ("d", weight("n1", 12), weight("n2", 12), weight("n3", 12), "n4"), ("n",),
             {"epsilon": 1e-5}),
        Node("Transpose", "turn", ("n",), ("t",), {"perm": (2, 0, 1)}),
        Node("GRU", "block.gru",
             ("t", weight("gw", 1, 3 * hidden, 12), weight("gr", 1, 3 * hidden, hidden)), ("g",),
             {"hidden_size": hidden}),
        Node("Squeeze", "flat", ("g",), ("gf",), {"axes": (1,)}),
        Node("LSTM", "block.lstm",
             ("gf", weight("lw", 2, 4 * hidden, hidden), weight("lr", 2, 4 * hidden, proj),
              None, None, None, None, None, None, weight("lp", 2, proj, hidden)), ("l",),
             {"hidden_size": hidden, "direction": "bidirectional"}),
        Node("Reshape", "join", ("l",), ("lf",), {"shape": (time, 1, 2 * proj)}),
        Node("MatMul", "product", ("lf", weight("mw", 2 * proj, 20)), ("m",)),
        Node("Add", "bias", ("m", weight("mb", 20)), ("a",)),
        Node("Squeeze", "rows", ("a",), ("ar",), {"axes": (1,)}),
        Node("Gemm", "head", ("ar", weight("hw", 5, 20), weight("hb", 5)), ("y",),
             {"transB": 1, "alpha": 0.5, "beta": 1.0}),
    ]  # fmt: skip
    constants["n4"] = np.ones(12, np.float32)
    return Graph("net", (x,), ("y",), tuple(nodes), constants)


def feed(model: rn.Model, steps: int = 7) -> Array:
    rng = np.random.default_rng(0)
    (info,) = model.inputs
    shape = [s if isinstance(s, int) else steps for s in info.shape]
    return rng.standard_normal(shape).astype(np.float32)


class Loaded:
    """What a model holds, without the program that runs it."""

    def __init__(self, graph: Graph, *, compute_type: str | None = None, keep: Any = ()) -> None:
        lowering = requested(compute_type, keep, cpu.chosen())
        self.graph = Source(graph, cpu.chosen(), lowering=lowering).graph
        self.choices = choices_of(self.graph)
        self.compute_type = compute_type_of(self.graph)


LAYERS = ["conv", "depth", "block.gru", "block.lstm", "product", "head"]


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
def test_every_layer_with_weights_is_lowered(compute_type: str) -> None:
    model = Loaded(network(), compute_type=compute_type)
    assert model.compute_type == compute_type
    shown = {c.node: (c.compute_type, c.reason) for c in model.choices}
    assert list(shown) == LAYERS
    assert shown.pop("depth") == ("float32", "a convolution of 12 groups")
    assert set(shown.values()) == {(compute_type, "")}
    kept = {n: v for n, v in model.graph.constants.items() if as_lowered(v) is not None}
    assert len(kept) == 8
    assert all(v.compute_type == compute_type for v in kept.values())
    floats = {n: v for n, v in model.graph.constants.items() if n not in kept}
    assert max(v.size for v in floats.values()) <= 20, "no weights are left in float32"


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
def test_the_weights_are_those_of_the_model_rounded(compute_type: str) -> None:
    """By name in the graph, with what is folded before in float64."""
    graph = Loaded(network()).graph
    small = Loaded(network(), compute_type=compute_type).graph
    plain = {node.name: node for node in graph.nodes}
    checked = 0
    for node in small.nodes:
        for position, packing in lowered_weights(node).items():
            found = as_lowered(small.constants[node.inputs[position] or ""])
            if found is None:
                continue
            weights = np.asarray(graph.constants[plain[node.name].inputs[position] or ""])
            if node.name == "head":
                weights = (weights.astype(np.float64) * 0.5).astype(np.float32)
            expected = lower_matrix(weights, packing, compute_type)
            assert found.codes().tobytes() == expected.codes().tobytes()
            most = np.abs(weights).max(axis=-1, keepdims=True)
            assert np.all(np.abs(np.asarray(found) - weights) <= SMALL[compute_type] * most.max())
            checked += 1
    assert checked == 8


@pytest.mark.parametrize("compute_type", ["bfloat16", "float16"])
def test_the_engine_computes_with_the_rounded_weights(compute_type: str) -> None:
    small = rn.Model(network(), compute_type=compute_type)
    rounded = {k: np.asarray(v) for k, v in small.graph.constants.items()}
    plain = rn.Model(small.graph.with_(constants=rounded, choices=()))
    x = feed(small)
    assert small.run(x).tobytes() == plain.run(x).tobytes()
    assert all(f"{c.node}: {c.op} in {c.compute_type}" in repr(small) for c in small.choices)
    assert "layer" not in repr(plain)


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
def test_the_oracle_judges_by_the_rounded_weights(compute_type: str) -> None:
    small = rn.Model(network(), compute_type=compute_type)
    x = feed(small)
    expected = evaluate(small.imported_graph({"steps": 7}), {"x": x})["y"]
    # Activations are rounded to 1/32639 or 1/127 of the largest of a row, five layers one after the
    # other: some 1e-5 and 2e-3 where errors add like those of independent numbers.
    tolerance = {"int8": 5e-5, "int8_fast": 1e-2}.get(compute_type, 2e-6)
    np.testing.assert_allclose(small.run(x), expected, rtol=0, atol=tolerance)
    full = evaluate(Loaded(network()).graph, {"x": x})["y"]
    assert 1e-6 < np.abs(full - expected).max() < 0.1, "it is another model, but close"


def test_layers_are_kept_by_name() -> None:
    for keep, left in (
        ("block.gru", {"block.gru"}),
        (["block"], {"block.gru", "block.lstm"}),
        (["*.lstm", "head"], {"block.lstm", "head"}),
    ):
        model = Loaded(network(), compute_type="int8", keep=keep)
        kept = {c.node for c in model.choices if c.reason == "kept"}
        assert kept == left
        assert {c.node for c in model.choices if c.compute_type == "float32"} == left | {"depth"}


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "type": ({"compute_type": "int4"}, ValueError,
             "compute_type is 'int4'; accepted: float32, bfloat16, float16, int8, int8_fast, auto"),
    "keep": ({"compute_type": "int8", "keep": ["encoder"]}, rn.UnsupportedModelError,
             "keep: no layer is called 'encoder'; the layers with weights are 'conv', 'depth', "),
    "keep alone": ({"keep": ["head"]}, ValueError, r"keep is \['head'\] with compute_type None"),
    "keep float32": ({"compute_type": "float32", "keep": ["head"]}, ValueError, "keep is"),
    "all kept": ({"compute_type": "int8", "keep": "*"}, rn.UnsupportedModelError,
                 r"nothing in the model can be computed so: conv: Conv in float32 \(kept\);"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_requests_that_cannot_be_met(what: str) -> None:
    words, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        Loaded(network(), **words)


@pytest.mark.parametrize(
    ("value", "compute_type", "message"),
    [
        (np.nan, "int8", r"'block.gru' \(GRU\): 'gr' in int8: the weight at \[0, 3, 2\] is nan"),
        (-np.inf, "bfloat16", "'gr' in bfloat16: the weight at .* is -inf"),
        (1e5, "float16", "'gr' in float16: .* is 100000; the largest float16 is 65504"),
        (1e33, "int8_fast", "'gr' in int8_fast: row 3 has a weight of magnitude 1e"),
    ],
)
def test_weights_that_do_not_fit(value: float, compute_type: str, message: str) -> None:
    graph = network()
    graph.constants["gr"][0, 3, 2] = value
    with pytest.raises(rn.UnsupportedModelError, match=message):
        Loaded(graph, compute_type=compute_type)
    model = Loaded(graph, compute_type=compute_type, keep=["block.gru"])
    assert model.compute_type == compute_type


def test_weights_that_arrive_at_run_time_stay() -> None:
    graph = network()
    w = Value("gr", TensorType(np.dtype(np.float32), graph.constants["gr"].shape))
    constants = {k: v for k, v in graph.constants.items() if k != "gr"}
    graph = graph.with_(inputs=(*graph.inputs, w), constants=constants)
    model = Loaded(graph, compute_type="bfloat16")
    (choice,) = (c for c in model.choices if c.node == "block.gru")
    assert (choice.compute_type, choice.reason) == ("float32", "its weights arrive at run time")


def test_a_model_without_layers_is_refused() -> None:
    x = Value("x", TensorType(np.dtype(np.float32), (1, 3)))
    graph = Graph("tanh", (x,), ("y",), (Node("Tanh", "t", ("x",), ("y",)),), {})
    with pytest.raises(rn.UnsupportedModelError, match="no layer has weights"):
        Loaded(graph, compute_type="int8")
    assert Loaded(graph, compute_type="auto").compute_type == "float32"


def test_constants_that_others_read_stay_for_them() -> None:
    graph = network()
    use = Node("Mul", "use", ("x3", "mw"), ("z",))
    x3 = Node("ReduceMax", "x3", ("x",), ("x3",), {"keepdims": 1})
    graph = graph.with_(nodes=(*graph.nodes, x3, use), outputs=("y", "z"))
    model, small = rn.Model(graph), rn.Model(graph, compute_type="bfloat16")
    x = feed(model)
    assert small.run(x)["z"].tobytes() == model.run(x)["z"].tobytes()
    assert as_lowered(small.graph.constants["mw"]) is None
    (product,) = (n for n in small.graph.nodes if n.op == "MatMul")
    assert as_lowered(small.graph.constants[product.inputs[1] or ""]) is not None


def test_layers_that_share_weights_share_them_lowered() -> None:
    graph = network()
    again = Node("GRU", "again", ("t", "gw", "gr"), ("g2",), {"hidden_size": 24})
    graph = graph.with_(nodes=(*graph.nodes, again), outputs=("y", "g2"))
    small = Loaded(graph, compute_type="int8").graph
    one, other = (n for n in small.nodes if n.op == "GRU")
    assert one.inputs[1:3] == other.inputs[1:3]
    kept = Loaded(graph, compute_type="int8", keep="again").graph
    one, other = (n for n in kept.nodes if n.op == "GRU")
    assert as_lowered(kept.constants[one.inputs[1] or ""]) is not None
    assert as_lowered(kept.constants[other.inputs[1] or ""]) is None


def test_a_lowered_model_cannot_get_another_type() -> None:
    small = Loaded(network(), compute_type="int8").graph
    assert Loaded(small).compute_type == "int8"
    assert Loaded(small, compute_type="int8").compute_type == "int8"
    fast = Loaded(small, compute_type="int8_fast")
    assert fast.compute_type == "int8_fast", "the weights are the same"
    for words, asked in (
        ({"compute_type": "float32"}, "float32"),
        ({"compute_type": "bfloat16"}, "bfloat16"),
        ({"compute_type": "int8", "keep": "head"}, "float32"),
    ):
        with pytest.raises(
            rn.UnsupportedModelError,
            match=f"its weights are stored in int8; {asked} cannot be computed of them",
        ):
            Loaded(small, **words)  # type: ignore[arg-type]
    kept = Loaded(small, compute_type="auto")
    assert {c.reason for c in kept.choices} == {"as it is stored", "a convolution of 12 groups"}
    assert [m.blocks for m in _matrices(kept.graph)] == [m.blocks for m in _matrices(small)]


def _matrices(graph: Graph) -> list[Any]:
    return [v for v in graph.constants.values() if as_lowered(v) is not None]


def test_the_rule_of_auto() -> None:
    machine = Machine(32 << 10, 512 << 10, "avx512vnni")
    near = automatic("LSTM", 32768, machine)
    assert near == ("float32", "auto: 128 KB of float32 weights are within 4 times L1, 128 KB")
    far = automatic("LSTM", 32769, machine)
    assert far == ("int8", "auto: 129 KB of float32 weights are more than 4 times L1, 128 KB")
    assert automatic("LSTM", 32769, Machine(48 << 10, 1 << 20, "neondot"))[0] == "float32"
    for isa in ("avx2vnni", "avx512amx"):
        assert automatic("LSTM", 32769, Machine(32 << 10, 512 << 10, isa)) == far
    for isa in ("avx2", "avx512", "neon"):
        plain = Machine(32 << 10, 512 << 10, isa)
        assert automatic("LSTM", 131072, plain)[1].endswith("are within L2, 512 KB")
        assert automatic("GRU", 131073, plain)[0] == "int8"
    assert automatic("LSTM", 1 << 22, Machine(isa="scalar"))[0] == "float32"
    assert automatic("Conv", 1 << 22, machine)[0] == "float32"
    graph = lower(rn.Model(network(96)).graph, Lowering("auto", ("head",), machine))
    chosen = {c.node: c for c in choices_of(graph)}
    assert chosen["block.lstm"].compute_type == "int8"
    assert chosen["product"].compute_type == "float32" and "L1" in chosen["product"].reason
    assert chosen["head"].reason == "kept"


def test_this_machine_has_caches(tmp_path: Path) -> None:
    from rnnengine._c.caches import core_caches

    first, second = core_caches()
    assert 8 << 10 <= first < second <= 1 << 28
    assert core_caches(tmp_path) == (32 << 10, 1 << 20)
    (tmp_path / "index0").mkdir()
    assert core_caches(tmp_path) == (32 << 10, 1 << 20)


def causal(steps: str | int = "steps") -> Graph:
    """The network with an LSTM of one direction."""
    graph = network(steps=steps)
    constants = {k: v[:1] if k in ("lw", "lr", "lp") else v for k, v in graph.constants.items()}
    constants["mw"] = constants["mw"][:12]
    time = symbol(steps) if isinstance(steps, str) else steps
    changed = {"block.lstm": {"direction": "forward"}, "join": {"shape": (time, 1, 12)}}
    nodes = tuple(
        Node(n.op, n.name, n.inputs, n.outputs, {**n.attrs, **changed.get(n.name, {})})
        for n in graph.nodes
    )
    return graph.with_(nodes=nodes, constants=constants)


def test_snapshots_belong_to_a_compute_type() -> None:
    graph = causal()
    models = {t: rn.Model(graph, compute_type=t) for t in ("float32", *COMPUTE_TYPES)}
    x = feed(models["int8"])
    blobs = {}
    for compute_type, model in models.items():
        stream = model.stream()
        stream.step(x)
        blobs[compute_type] = stream.snapshot()
    for wanted, model in models.items():
        for compute_type, blob in blobs.items():
            stream = model.stream()
            if wanted == compute_type:
                stream.restore(blob)
                continue
            with pytest.raises(
                rn.StreamStateLost, match=f"computed in {compute_type}, this one .* in {wanted}"
            ):
                stream.restore(blob)
    other = rn.Model(graph, compute_type="int8", keep="head")
    with pytest.raises(rn.StreamStateLost, match="of another model"):
        other.stream().restore(blobs["int8"])


def written(steps: str | int) -> Graph:
    """A GRU whose number of steps comes back in a shape, as exporters write it."""
    rng = np.random.default_rng(2)
    time = symbol(steps) if isinstance(steps, str) else steps
    x = Value("x", TensorType(np.dtype(np.float32), (time, 1, 10)))
    weights = {
        "w": rng.standard_normal((1, 72, 10)).astype(np.float32) / 4,
        "r": rng.standard_normal((1, 72, 24)).astype(np.float32) / 4,
        "h": rng.standard_normal((24, 5)).astype(np.float32),
        "zero": np.int64([0]), "rest": np.int64([24]),
    }  # fmt: skip
    nodes = (
        Node("GRU", "gru", ("x", "w", "r"), ("g",), {"hidden_size": 24}),
        Node("Shape", "shape", ("x",), ("s",), {}),
        Node("Gather", "count", ("s", "zero"), ("n",), {"axis": 0}),
        Node("Concat", "sizes", ("n", "rest"), ("to",), {"axis": 0}),
        Node("Reshape", "flat", ("g", "to"), ("f",), {}),
        Node("MatMul", "head", ("f", "h"), ("y",)),
    )
    return Graph("written", (x,), ("y",), nodes, weights)


def test_a_fixed_number_of_steps_still_streams() -> None:
    """The graph as imported, which could free it, is given up, but not before."""
    fixed, free = (rn.Model(written(steps), compute_type="bfloat16") for steps in (7, "steps"))
    x = feed(free, 14)
    with pytest.raises(rn.ShapeError):
        fixed.run(x)
    whole = free.run(x)
    assert fixed.run(x[:7]).tobytes() == whole[:7].tobytes()
    stream = fixed.stream()
    parts = [stream.step(x[i : i + 2]) for i in range(0, 14, 2)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    graphs = fixed.graph, fixed._form.graph
    kept = [{id(b) for m in _matrices(g) for b in m.blocks} for g in graphs]
    assert kept[0] == kept[1] and len(kept[0]) == 4, "both forms share their weights"


def test_integers_that_a_model_came_with_stay() -> None:
    """Unless another type is asked for: then they are numbers like any others."""
    graph = network()
    rng = np.random.default_rng(0)
    w, r = (
        ScaledIntegers(
            rng.integers(-128, 128, graph.constants[name].shape, np.int8),
            rng.uniform(0.001, 0.01, (1, 72, 1)).astype(np.float32),
            rng.integers(-9, 9, (1, 72, 1)),
        )
        for name in ("gw", "gr")
    )
    head = ScaledIntegers(
        rng.integers(-127, 128, (5, 20), np.int8), np.float32([[0.01]]), np.zeros((1, 1), int)
    )
    graph = graph.with_(constants={**graph.constants, "gw": w, "gr": r, "hw": head})
    for words, compute_type in (({}, "int8"), ({"compute_type": "int8_fast"}, "int8_fast")):
        model = Loaded(graph, **words)  # type: ignore[arg-type]
        shown = {c.node: c.compute_type for c in model.choices}
        assert shown["block.gru"] == shown["head"] == compute_type
        assert shown["block.lstm"] == ("int8_fast" if words else "float32")
        node = next(n for n in model.graph.nodes if n.op == "GRU")
        for position, came in ((1, w), (2, r)):
            kept = as_lowered(model.graph.constants[node.inputs[position] or ""])
            assert kept is not None
            assert kept.codes().tobytes() == came.integers.tobytes()
            np.testing.assert_array_equal(kept.row_scales(), came.scale[..., 0])
            np.testing.assert_array_equal(kept.row_zeros(), came.zero[..., 0])
        node = next(n for n in model.graph.nodes if n.op == "Gemm")
        kept = as_lowered(model.graph.constants[node.inputs[1] or ""])
        assert kept is not None and kept.row_scales() is not None
        assert np.all(kept.row_scales() == np.float32(0.005)), "times alpha"
    mixed = Loaded(graph, compute_type="auto", keep="head")
    assert Choice("block.gru", "GRU", "int8", "as it is stored") in mixed.choices
    assert Choice("head", "Gemm", "float32", "kept") in mixed.choices
    assert Loaded(graph, compute_type="float32").compute_type == "float32"
    assert Loaded(graph, compute_type="bfloat16").compute_type == "bfloat16"


def test_a_model_for_given_sizes_is_lowered_at_each() -> None:
    content = Path(__file__).parent.parent / "examples" / "models" / "crnn.onnx"
    plain, small = rn.load(content), rn.load(content, compute_type="bfloat16", keep="*Conv")
    assert type(small).__name__ == "SizedModel"
    assert small.compute_type == "bfloat16" and len(small.choices) > 2
    assert "kept" in {c.reason for c in small.choices}
    (info,) = plain.inputs
    for width in (32, 48):
        shape = [s if isinstance(s, int) else width if i else 1 for i, s in enumerate(info.shape)]
        x = np.random.default_rng(0).random(shape, np.float32)
        sizes = {s: n for s, n in zip(info.shape, shape, strict=True) if isinstance(s, str)}
        graph = small.imported_graph(sizes)
        assert any(as_lowered(v) is not None for v in graph.constants.values())
        y = small.run(x)
        np.testing.assert_allclose(y, evaluate(graph, {info.name: x})[plain.outputs[0].name],
                                   rtol=0, atol=1e-5)  # fmt: skip
        assert y.tobytes() != plain.run(x).tobytes()
    with pytest.raises(rn.UnsupportedModelError, match="no layer is called 'nobody'"):
        rn.load(content, compute_type="bfloat16", keep=["nobody"])


@pytest.mark.filterwarnings("ignore")
def test_a_module_of_torch_is_lowered() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.GRU(8, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    plain = rn.from_torch(module, (x,))
    small = rn.from_torch(module, (x,), compute_type="bfloat16")
    assert small.compute_type == "bfloat16"
    name = plain.outputs[0].name
    error = np.abs(small.run(x.numpy())[name] - plain.run(x.numpy())[name]).max()
    assert 0 < error < 0.01
    with pytest.raises(ValueError, match="accepted: float32, bfloat16"):
        rn.from_torch(module, (x,), compute_type="half")
