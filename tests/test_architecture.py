"""Checkpoints with an architecture, against the torch modules their weights come from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import bits
from rnnengine.importers.architecture import build_graph
from rnnengine.importers.checkpoint import Checkpoint, Module
from rnnengine.ops import evaluate

torch = pytest.importorskip("torch")
Array = np.ndarray[Any, Any]

STEPS, BATCH, INPUT, HIDDEN = 7, 3, 5, 6


def checkpoint(module: Any, prefix: str = "", **modules: Module) -> Checkpoint:
    """The state dict of a module, in float32, as a reader would return it."""
    tensors = {prefix + k: v.detach().numpy() for k, v in module.float().state_dict().items()}
    return Checkpoint(tensors, modules, "torch", "test.pt")


def witness(module: Any, *inputs: Any) -> Any:
    with torch.no_grad():
        return module.double().eval()(*inputs)


def data(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def wide(x: Array) -> Any:
    return torch.from_numpy(x.astype(np.float64))


def close(got: Array, expected: Any) -> None:
    expected = expected.numpy()
    assert got.shape == expected.shape
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    assert float(np.abs(got - expected).max(initial=0.0)) <= 2e-6 * scale


OPTIONS = [
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"num_layers": 3, "bidirectional": True},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False},
]
LAYERS = [
    *(("LSTM", o) for o in OPTIONS),
    *(("LSTM", {**o, "proj_size": 4}) for o in OPTIONS),
    *(("GRU", o) for o in OPTIONS),
    *(("RNN", o) for o in OPTIONS),
    *(("RNN", {**o, "nonlinearity": "relu"}) for o in OPTIONS),
]


def names(cases: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [" ".join([c, *(f"{k}={v}" for k, v in o.items())]) for c, o in cases]


def made(cell: str, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return getattr(torch.nn, cell)(INPUT, HIDDEN, **options)


@pytest.mark.parametrize(("cell", "options"), LAYERS, ids=names(LAYERS))
def test_lone_layers_compute_what_torch_computes(cell: str, options: dict[str, Any]) -> None:
    module = made(cell, options)
    graph = build_graph(checkpoint(module), getattr(rn, cell)(INPUT, HIDDEN, **options))
    model = rn.Model(graph)
    assert [o.name for o in model.outputs] == ["output", "h_n", "c_n"][: 3 if cell == "LSTM" else 2]
    x = data(BATCH, STEPS, INPUT) if options.get("batch_first") else data(STEPS, BATCH, INPUT)
    got, oracle = model.run(x), evaluate(graph, {"input": x})
    output, final = witness(module, wide(x))
    finals = final if isinstance(final, tuple) else (final,)
    for name, expected in zip(["output", "h_n", "c_n"], (output, *finals), strict=False):
        close(got[name], expected)
        np.testing.assert_allclose(oracle[name], expected.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_stacked_layers_stream_bit_equal(cell: str, batch_first: bool) -> None:
    options = {"num_layers": 2, "batch_first": batch_first}
    module = made(cell, options)
    model = rn.Model(build_graph(checkpoint(module), getattr(rn, cell)(INPUT, HIDDEN, **options)))
    axis = 1 if batch_first else 0
    x = data(BATCH, STEPS, INPUT) if batch_first else data(STEPS, BATCH, INPUT)
    stream = model.stream(batch=BATCH)
    parts = [stream.step(np.take(x, [t], axis=axis)) for t in range(STEPS)]
    parts = [p["output"] if isinstance(p, dict) else p for p in parts]
    assert np.array_equal(bits(np.concatenate(parts, axis=axis)), bits(model.run(x)["output"]))
    path = cell.lower()
    letters = "hc" if cell == "LSTM" else "h"
    assert set(stream.state) == {f"{path}.l{k}.{s}" for k in range(2) for s in letters}


def test_initial_states_are_inputs_where_the_network_says_so() -> None:
    module = made("LSTM", {"num_layers": 2, "bidirectional": True})
    h0, c0 = data(4, BATCH, HIDDEN), data(4, BATCH, HIDDEN)[::-1].copy()
    start = [rn.Input((4, "batch", HIDDEN), name=n) for n in ("h0", "c0")]
    x = rn.Input(("time", "batch", INPUT), name="x")
    y = rn.LSTM(INPUT, HIDDEN, num_layers=2, bidirectional=True)(x, *start)
    graph = build_graph(checkpoint(module), {"y": y, "h": y.h_n, "c": y.c_n})
    value = data(STEPS, BATCH, INPUT)
    got = rn.Model(graph).run({"x": value, "h0": h0, "c0": c0})
    output, (h, c) = witness(module, wide(value), (wide(h0), wide(c0)))
    for name, expected in (("y", output), ("h", h), ("c", c)):
        close(got[name], expected)


class Tagger(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.Linear(INPUT, 8)
        self.encoder = torch.nn.LSTM(8, HIDDEN, 2, bidirectional=True, batch_first=True)
        self.second = torch.nn.GRU(2 * HIDDEN, HIDDEN, batch_first=True)
        self.head = torch.nn.Linear(HIDDEN, 4)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.norm(x))
        y, _ = self.encoder(y)
        y, _ = self.second(y)
        return torch.softmax(self.head(y), -1)


def tagger(**words: str) -> rn.Sequential:
    def name(key: str) -> Any:
        return {"name": words[key]} if key in words else {}

    return rn.Sequential(
        rn.Linear(INPUT, 8, **name("norm")),
        rn.ReLU(),
        rn.LSTM(8, HIDDEN, 2, bidirectional=True, batch_first=True, **name("encoder")),
        rn.Dropout(0.3),
        rn.GRU(2 * HIDDEN, HIDDEN, batch_first=True, **name("second")),
        rn.Linear(HIDDEN, 4, **name("head")),
        rn.Softmax(dim=-1),
    )


@pytest.mark.parametrize(
    "words",
    [{}, {"norm": "norm", "encoder": "encoder", "second": "second", "head": "head"}],
    ids=["by shape", "by name"],
)
def test_chains_are_matched_by_name_or_by_shape(words: dict[str, str]) -> None:
    torch.manual_seed(0)
    module = Tagger()
    model = rn.Model(build_graph(checkpoint(module, "model."), tagger(**words), prefix="model"))
    assert {node.name for node in model.graph.nodes} >= {"encoder.l0", "encoder.l1", "second"}
    x = data(BATCH, STEPS, INPUT)
    assert [str(i) for i in model.inputs] == ["input: float32[batch, time, 5]"]
    close(model.run(x), witness(module, wide(x)))


def test_counted_paths_of_sequential() -> None:
    """torch.nn.Sequential counts, and equal shapes do not matter where paths are there."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(5, 5), torch.nn.Tanh(), torch.nn.Sequential(torch.nn.Linear(5, 5))
    )
    tensors = dict(reversed(checkpoint(module).tensors.items()))
    net = rn.Sequential(rn.Linear(5, 5), rn.Tanh(), rn.Sequential(rn.Linear(5, 5)))
    for framework in ("torch", "safetensors"):
        model = rn.Model(build_graph(Checkpoint(tensors, {}, framework, "f"), net))
        close(model.run(data(BATCH, 5)), witness(module, wide(data(BATCH, 5))))


def test_networks_with_shared_layers_and_merges() -> None:
    torch.manual_seed(0)
    lstm, head = torch.nn.LSTM(INPUT, HIDDEN, batch_first=True), torch.nn.Linear(HIDDEN, INPUT)
    both = torch.nn.ModuleDict({"lstm": lstm, "head": head})
    x = rn.Input(("batch", "time", INPUT), name="mix")
    layer, out = rn.LSTM(INPUT, HIDDEN, batch_first=True), rn.Linear(INPUT, INPUT)
    out = rn.Linear(HIDDEN, INPUT, name="head")
    once = out(layer(x))
    twice = out(layer(once))
    joined = rn.Concatenate()(rn.Multiply()(rn.Sigmoid()(once), x), rn.Add()(twice, x))
    model = rn.Model(build_graph(checkpoint(both), {"y": joined}))
    value = data(BATCH, STEPS, INPUT)

    def net(v: Any) -> Any:
        return head(lstm(v)[0])

    w = wide(value)
    with torch.no_grad():
        both.double()
        one = net(w)
        expected = torch.cat([torch.sigmoid(one) * w, net(one) + w], -1)
    close(model.run(value), expected)


MERGES = {
    "concat": lambda a, b: torch.cat([a, b], -1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}


@pytest.mark.parametrize("mode", MERGES)
@pytest.mark.parametrize("sequences", [True, False])
def test_keras_words_for_directions(mode: str, sequences: bool) -> None:
    module = made("GRU", {"bidirectional": True, "batch_first": True})
    net = rn.GRU(units=HIDDEN, bidirectional=True, merge_mode=mode, return_sequences=sequences)
    x = data(BATCH, STEPS, INPUT)
    got = rn.Model(build_graph(checkpoint(module), rn.Sequential(net, rn.Identity()))).run(x)
    y, h = witness(module, wide(x))
    parts = (y[..., :HIDDEN], y[..., HIDDEN:]) if sequences else (h[0], h[1])
    close(got, MERGES[mode](*parts))


def test_go_backwards_returns_the_order_of_computation() -> None:
    module = made("LSTM", {"batch_first": True})
    x = data(BATCH, STEPS, INPUT)
    expected, (h, _) = witness(module, wide(x[:, ::-1].copy()))
    for sequences, value in ((True, expected), (False, h[0])):
        net = rn.LSTM(units=HIDDEN, go_backwards=True, return_sequences=sequences)
        graph = build_graph(checkpoint(module), rn.Sequential(net, rn.Identity()))
        close(rn.Model(graph).run(x), value)


def test_embedding_is_a_lookup_by_ids() -> None:
    torch.manual_seed(0)
    table, lstm = torch.nn.Embedding(11, INPUT), torch.nn.LSTM(INPUT, HIDDEN, batch_first=True)
    both = torch.nn.ModuleDict({"table": table, "lstm": lstm})
    net = rn.Sequential(rn.Embedding(11, INPUT), rn.LSTM(INPUT, HIDDEN, batch_first=True))
    graph = build_graph(checkpoint(both), net)
    ids = np.random.default_rng(0).integers(0, 11, (BATCH, STEPS)).astype(np.int32)
    both.double()
    with torch.no_grad():
        expected, _ = lstm(table(torch.from_numpy(ids)))
    (got,) = evaluate(graph, {"input": ids}).values()
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1e-12)


def test_reset_before_and_other_activations_follow_the_words() -> None:
    """Against the equations, since torch has neither."""
    module = made("GRU", {"bias": False})
    weights = {k: v.astype(np.float64) for k, v in checkpoint(module).tensors.items()}
    net = rn.GRU(
        INPUT, HIDDEN, bias=False, reset_after=False, activation="softsign",
        recurrent_activation="hard_sigmoid_keras2",
    )  # fmt: skip
    graph = build_graph(checkpoint(module), net)
    x = data(1, 1, INPUT)
    h = data(1, 1, HIDDEN)
    start = rn.Model(graph).stream(batch=1)
    start.state = {"gru.h": h}
    got = start.step(x)
    w, u = weights["weight_ih_l0"] @ x[0, 0], weights["weight_hh_l0"]
    a, b = np.split(w, 3), np.split(u, 3)
    r, z = (np.clip(0.2 * (a[i] + b[i] @ h[0, 0]) + 0.5, 0, 1) for i in (0, 1))
    inner = a[2] + b[2] @ (r * h[0, 0])
    expected = (1 - z) * inner / (1 + np.abs(inner)) + z * h[0, 0]
    np.testing.assert_allclose(np.ravel(got["output"] if isinstance(got, dict) else got),
                               expected, rtol=0, atol=2e-6)  # fmt: skip


def test_layer_takes_its_configuration_from_the_tensors() -> None:
    for cell, options in LAYERS:
        if cell == "RNN":
            continue
        module = made(cell, options)
        said = {"batch_first": options.get("batch_first", False)}
        tensors = checkpoint(module, "net.encoder.rnn.").tensors | {"net.other.weight": data(2, 2)}
        found = Checkpoint(tensors, {"encoder.rnn": Module(cell, said)}, "torch", "f")
        graph = build_graph(found, None, prefix="net", layer="encoder.rnn")
        x = data(BATCH, STEPS, INPUT) if said["batch_first"] else data(STEPS, BATCH, INPUT)
        close(rn.Model(graph).run(x)["output"], witness(module, wide(x))[0])


def test_layer_of_a_cell_and_of_a_plain_rnn() -> None:
    torch.manual_seed(0)
    cell = torch.nn.GRUCell(INPUT, HIDDEN)
    model = rn.Model(build_graph(checkpoint(cell), None, layer=""))
    x = data(1, BATCH, INPUT)
    close(model.run(x)["output"][0], witness(cell, wide(x[0])))
    module = made("RNN", {"nonlinearity": "relu"})
    said = Checkpoint(
        checkpoint(module).tensors, {"": Module("RNN", {"mode": "RNN_RELU"})}, "torch", "f"
    )
    x = data(STEPS, BATCH, INPUT)
    for graph in (
        build_graph(said, None, layer=""),
        build_graph(checkpoint(module), rn.RNN(INPUT, HIDDEN, nonlinearity="relu"), layer=""),
    ):
        close(rn.Model(graph).run(x)["output"], witness(module, wide(x))[0])


def _refused(found: Checkpoint, net: Any, *parts: str, **how: Any) -> None:
    with pytest.raises(rn.RNNEngineError) as caught:
        build_graph(found, net, **how)
    for part in ("test.pt", *parts):
        assert part in str(caught.value)


def test_what_does_not_fit_is_refused_by_name() -> None:
    torch.manual_seed(0)
    found = checkpoint(Tagger())
    chain = tagger()
    _refused(found, None, "architecture=", "encoder: weight_ih_l0 [24, 8]")
    _refused(found, chain, "prefix 'net'", "encoder, head", prefix="net")
    _refused(found, tagger(head="fc"), "'fc'", "no such module", "'head'")
    _refused(found, tagger(head="norm"), "'norm.weight' has shape [8, 5], expected [4, 6]")
    _refused(
        found, rn.Sequential(*chain.layers[:3]), "no layer", "second.weight_ih_l0", "head.bias"
    )
    shallow = rn.LSTM(8, HIDDEN, bidirectional=True, name="encoder")
    _refused(found, shallow, "'encoder.weight_ih_l1' is there")
    _refused(found, rn.LSTM(8, HIDDEN, 3, bidirectional=True, name="encoder"), "_l2' is missing")
    _refused(found, rn.Sequential(rn.LSTM(3, 3)), "nothing fits LSTM(", "encoder.weight_ih_l0")
    _refused(found, None, "'lstm' is no recurrent layer", "'encoder', 'second'", layer="lstm")
    _refused(checkpoint(made("RNN", {})), None, "nonlinearity", layer="")
    wrong = checkpoint(made("LSTM", {}), lstm=Module("GRU"))
    tensors = {f"lstm.{k}": v for k, v in wrong.tensors.items()}
    lying = Checkpoint(tensors, wrong.modules, "torch", "test.pt")
    _refused(lying, None, "calls it GRU", "LSTM(input_size=5", layer="lstm")


def test_ambiguity_lists_the_candidates() -> None:
    tensors = {k: data(5, 5) for k in ("a.weight", "b.weight", "c.weight")}
    found = Checkpoint(tensors, {}, "torch", "test.pt")
    two = rn.Sequential(rn.Linear(5, 5, False), rn.Linear(5, 5, False))
    _refused(found, two, "ambiguous", "a: weight [5, 5]; b: weight [5, 5]; c: weight [5, 5]")
    mixed = rn.Sequential(rn.Embedding(5, 5), rn.Linear(5, 5, False), rn.Linear(5, 5, False))
    _refused(found, mixed, "ambiguous", "a: weight")
    three = rn.Sequential(*(rn.Linear(5, 5, False) for _ in range(3)))
    build_graph(found, three)
    _refused(Checkpoint(tensors, {}, "safetensors", "test.pt"), three, "ambiguous", "name=")


BAD = {
    "hidden_size": lambda: rn.LSTM(5),
    "num_layers is 0": lambda: rn.GRU(5, 5, 0),
    "two meanings": lambda: rn.LSTM(5, 5, recurrent_activation="hard_sigmoid"),
    "activation is 'swoosh'": lambda: rn.RNN(5, 5, nonlinearity="swoosh"),
    "softmax": lambda: rn.RNN(5, 5, activation="softmax"),
    "merge_mode is None": lambda: rn.LSTM(5, 5, merge_mode=None),
    "one by one": lambda: rn.LSTM(5, 5, bidirectional=True, go_backwards=True),
    "give one": lambda: rn.LSTM(5, 5, units=5),
    "out_features is 0": lambda: rn.Linear(5),
    "proj_size": lambda: rn.LSTM(5, 5, proj_size=-1),
    "got no layers": rn.Sequential,
    "expected layers": lambda: rn.Sequential(torch.nn.ReLU()),
    "dtype is 'int8'": lambda: rn.Input((1,), "int8"),
    "has no c_n": lambda: rn.GRU(5, 5)(rn.Input(("t", "b", 5))).c_n,
    "called with 1": lambda: rn.Add()(rn.Input((1,))),
}


@pytest.mark.parametrize("message", BAD)
def test_descriptions_that_mean_nothing_are_refused(message: str) -> None:
    with pytest.raises(rn.UnsupportedModelError, match=message):
        BAD[message]()
