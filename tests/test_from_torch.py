"""Live modules and .pt2 files against PyTorch in float64: every ATen operator that is mapped."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.importers import load_graph, module_content
from rnnengine.ops import evaluate

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

BOUND = 2e-6


class Of(nn.Module):
    """A module whose forward is a function, with parts whose weights it uses."""

    def __init__(self, function: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, *inputs)


def flat(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [leaf for item in items for leaf in flat(item)]


def exact(module: Any, inputs: tuple[Any, ...]) -> list[Any]:
    """Outputs of a module in float64."""
    wide = copy.deepcopy(module).double()
    with torch.no_grad():
        found = wide(*(x.double() if x.is_floating_point() else x for x in inputs))
    return [leaf.numpy() for leaf in flat(found)]


def feeds(model: Any, inputs: tuple[Any, ...]) -> dict[str, Any]:
    return {v.name: x.numpy() for v, x in zip(model.inputs, inputs, strict=True)}


def outputs(model: rn.Model, inputs: tuple[Any, ...]) -> list[Any]:
    found = model.run(feeds(model, inputs))
    return list(found.values()) if isinstance(found, dict) else [found]


def agree(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=BOUND * scale)


def pt2(module: Any, inputs: tuple[Any, ...], **options: Any) -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, inputs, **options), file)
    return file.getvalue()


def check(module: Any, shapes: tuple[tuple[int, ...], ...]) -> rn.Model:
    """Compare with PyTorch at the sizes of the example."""
    torch.manual_seed(0)
    module = module.eval()
    inputs = tuple(torch.randn(shape) for shape in shapes)
    model = rn.from_torch(module, inputs)
    agree(outputs(model, inputs), exact(module, inputs))
    return model


UNARY = {
    "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "gelu": F.gelu,
    "gelu-tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "elu": F.elu,
    "elu-2": lambda x: F.elu(x, 2.0), "leaky": lambda x: F.leaky_relu(x, 0.3), "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.7), "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.25),
    "relu6": lambda x: F.relu6(4 * x), "hardsigmoid": F.hardsigmoid, "hardswish": F.hardswish,
    "softplus": F.softplus, "softplus-2": lambda x: F.softplus(x, 2.0, 30.0), "mish": F.mish,
    "softsign": F.softsign, "logsigmoid": F.logsigmoid, "exp": torch.exp,
    "log": lambda x: torch.log(x.abs() + 1), "sqrt": lambda x: (x * x + 1).sqrt(),
    "rsqrt": lambda x: (x.square() + 1).rsqrt(), "reciprocal": lambda x: 1 / (x.abs() + 1),
    "neg": lambda x: -x, "erf": torch.erf, "clamp": lambda x: x.clamp(min=-0.2),
    "clamp-max": lambda x: x.clamp_max(0.1), "scalars": lambda x: (2 * x + 3 - x / 7 - 0.5) * 0.1,
    "rsub": lambda x: 1 - x, "alpha": lambda x: torch.add(x, x, alpha=3), "pow": lambda x: x**2,
    "softmax": lambda x: x.softmax(-1), "log_softmax": lambda x: F.log_softmax(x, dim=1),
    "glu": lambda x: F.glu(x, -1), "tanhshrink": F.tanhshrink,
    "maximum": lambda x: torch.maximum(x, -x) + torch.minimum(x, x * 2),
}  # fmt: skip


def test_elementwise_functions() -> None:
    """One module that returns all of them: PyTorch's exporter is what takes the time."""

    def forward(module: Any, x: Any) -> Any:
        y = module.fc(x)
        return {name: function(y) for name, function in UNARY.items()}

    module = Of(forward, fc=nn.Linear(4, 4))
    model = check(module, ((2, 3, 4),))
    assert {info.name for info in model.outputs} >= {"gelu-tanh", "hardsigmoid"}
    x = torch.randn(5, 3, 4)
    agree(outputs(model, (x,)), exact(module, (x,)))


LAYOUT = {
    "cat": lambda x: torch.cat([x, x * 2], -1), "stack": lambda x: torch.stack([x, -x], 1),
    "split": lambda x: torch.cat(x.split(3, -1)[::-1], -1),
    "split-sizes": lambda x: x.split([1, 5], -1)[1], "chunk": lambda x: x.chunk(2, -1)[1],
    "unbind": lambda x: x.unbind(-1)[2], "slice": lambda x: x[..., 1:5:2],
    "slice-end": lambda x: x[:, :-1], "select": lambda x: x[:, -1],
    "narrow": lambda x: x.narrow(-1, 2, 3), "flip": lambda x: x.flip(1),
    "squeeze": lambda x: x[..., :1].squeeze(-1), "unsqueeze": lambda x: x.unsqueeze(1),
    "transpose": lambda x: x.transpose(1, 2), "permute": lambda x: x.permute(2, 0, 1),
    "mT": lambda x: x.mT, "movedim": lambda x: x.movedim(0, 2),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "view": lambda x: x.reshape(x.shape[0], -1), "flatten": lambda x: x.flatten(0, 1),
    "unflatten": lambda x: x.unflatten(-1, (2, 3)),
    "expand": lambda x: x[..., :1].expand(-1, -1, 4),
    "repeat": lambda x: x.repeat(1, 1, 2), "repeat-more": lambda x: x.repeat(2, 1, 1, 1),
    "clone": lambda x: x.clone().contiguous().detach(),
    "pad": lambda x: F.pad(x, (1, 2), value=0.5),
    "pad-negative": lambda x: F.pad(x, (-1, 1)),
    "index": lambda x: x[..., [0, 2, 3]],
    "index_select": lambda x: x.index_select(-1, torch.tensor([5, 0])),
    "zeros": lambda x: torch.cat([torch.zeros(x.shape[0], x.shape[1], 1), x], -1),
    "full": lambda x: x + torch.full((6,), 0.25), "like": lambda x: x + torch.ones_like(x),
    "new": lambda x: x + x.new_zeros(6) + x.new_full((6,), 3.0),
    "arange": lambda x: x + torch.arange(6),
    "inplace": lambda x: (x * 2).add_(1).relu_(), "dropout": lambda x: F.dropout(x, 0.5, False),
}  # fmt: skip


def test_layouts_and_constants() -> None:
    module = Of(lambda m, x: {name: function(x) for name, function in LAYOUT.items()})
    model = check(module, ((2, 5, 6),))
    assert model.inputs[0].shape == ("inputs_0_0", "inputs_0_1", 6) or 6 in model.inputs[0].shape
    x = torch.randn(3, 7, 6)
    agree(outputs(model, (x,)), exact(module, (x,)))


def test_products() -> None:
    parts = {"fc": nn.Linear(6, 4), "bare": nn.Linear(6, 3, bias=False)}
    module = Of(
        lambda m, x: {
            "linear": m.fc(x),
            "bare": m.bare(x),
            "matmul": x @ m.fc.weight.T,
            "addmm": torch.addmm(m.fc.bias, x[0], m.fc.weight.t(), beta=2, alpha=0.5),
            "mm": torch.mm(x[0], m.bare.weight.t()),
            "mv": torch.mv(m.fc.weight, m.bare.weight[0]) + x[0, 0, :1],
            "no_grad": _without_gradients(m, x),
        },
        **parts,
    )
    model = check(module, ((2, 5, 6),))
    x = torch.randn(4, 2, 6)
    agree(outputs(model, (x,)), exact(module, (x,)))


def _without_gradients(module: Any, x: Any) -> Any:
    with torch.no_grad():
        return module.fc(x) * 2


def test_attention() -> None:
    """Masks of both types; a query that may look at nothing gets zeros, as in PyTorch."""

    def forward(m: Any, query: Any, key: Any, keep: Any, bias: Any) -> Any:
        y, attend = m.fc(query), F.scaled_dot_product_attention
        return {
            "plain": attend(y, key, key * 2),
            "scaled": attend(y, key, key, scale=0.3),
            "kept": attend(y, key, key, keep),
            "biased": attend(y, key, key, bias),
            "broadcast": attend(y, key, key, keep[:1, :1]),
            "heads": attend(y.unflatten(-1, (2, 2)).mT, key.unflatten(-1, (2, 2)).mT, m.values),
        }

    torch.manual_seed(0)
    fixed = nn.Parameter(torch.randn(2, 6, 2, 3))
    module = Of(forward, fc=nn.Linear(4, 4), values=fixed).eval()
    keep, bias = torch.rand(2, 6, 6) > 0.4, torch.randn(2, 6, 6)
    keep[0, 1], bias[0, 2], bias[1, 1, 2] = False, -torch.inf, -torch.inf
    inputs = (torch.randn(2, 6, 4), torch.randn(2, 6, 4), keep, bias)
    model = rn.from_torch(module, inputs)
    found = outputs(model, inputs)
    agree(found, exact(module, inputs))
    assert not found[2][0, 1].any() and not found[3][0, 2].any()


def test_attention_that_looks_back_only() -> None:
    """The mask needs the length: compiled for each that is met."""
    module = Of(lambda m, x: F.scaled_dot_product_attention(m.fc(x), x, x, is_causal=True))
    module.fc = nn.Linear(4, 4)
    x = torch.randn(2, 5, 4)
    model = rn.load(pt2(module.eval(), (x,)))
    agree(outputs(model, (x,)), exact(module, (x,)))
    live = rn.from_torch(module, (x,))
    for length in (5, 1, 8):
        x = torch.randn(2, length, 4)
        agree(outputs(live, (x,)), exact(module, (x,)))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding(mode: str) -> None:
    for pads, shape in (((2, 1), (2, 3, 5)), ((1, 2, 0, 1), (2, 3, 4, 5))):
        module = Of(lambda m, x, p=pads: F.pad(x, p, mode=mode) * 2)
        x = torch.randn(shape)
        agree(outputs(rn.load(pt2(module, (x,))), (x,)), exact(module, (x,)))


FROM_THE_END = {
    "last": lambda y: y[:, -1], "last step": lambda y: y[:, -1:], "tail": lambda y: y[:, -3:],
    "without": lambda y: y[:, :-2], "between": lambda y: y[:, 1:-1],
    "turned": lambda y: y.flip(1), "mean": lambda y: y.mean(1), "second": lambda y: y[:, 1],
}  # fmt: skip


@pytest.mark.parametrize("free", [("time",), ("time", "batch")])
def test_what_counts_from_the_end_follows_a_freed_size(free: tuple[str, ...]) -> None:
    """A program written down for six steps takes the last of nine as PyTorch does."""

    def forward(m: Any, x: Any) -> Any:
        y = m.gru(x)[0]
        return {name: cut(y) * 2 for name, cut in FROM_THE_END.items()}

    module = Of(forward, gru=nn.GRU(4, 5, batch_first=True)).eval()
    content = pt2(module, (torch.randn(2, 6, 4),))
    model = rn.load(content, **dict.fromkeys(free, "dynamic"))
    for steps in (6, 9, 5):
        x = torch.randn(3 if "batch" in free else 2, steps, 4)
        agree(outputs(model, (x,)), exact(module, (x,)))


def test_a_convolution_that_pads_in_front_streams() -> None:
    """F.pad and the cut of what is too long become the padding of the windows: state."""

    def forward(m: Any, x: Any) -> Any:
        y = F.relu(m.front(F.pad(x.mT, (2, 0))))
        y = y + m.cut(y)[:, :, :-4]
        return m.fc(m.gru(y.mT)[0])

    parts: dict[str, Any] = {"front": nn.Conv1d(4, 6, 3), "gru": nn.GRU(6, 5, batch_first=True)}
    parts |= {"cut": nn.Conv1d(6, 6, 3, dilation=2, padding=4), "fc": nn.Linear(5, 2)}
    model = check(Of(forward, **parts), ((2, 9, 4),))
    x = np.random.default_rng(0).standard_normal((2, 9, 4)).astype(np.float32)
    stream = model.stream(batch=2)
    assert len(stream.state) == 3
    pieces = [stream.step(piece) for piece in np.split(x, [1, 4], axis=1)]
    assert np.concatenate(pieces, 1).tobytes() == model.run(x).tobytes()
    written = rn.load(pt2(Of(forward, **parts).eval(), (torch.from_numpy(x),))).stream()
    pieces = [written.step(piece) for piece in np.split(x, [1, 4], axis=1)]
    assert np.concatenate(pieces, 1).tobytes() == model.run(x).tobytes()


PARTS = {
    "same": nn.Conv1d(4, 6, 4, padding="same", dilation=2, groups=2),
    "causal": nn.Conv1d(4, 6, 3, bias=False), "up": nn.ConvTranspose1d(4, 6, 3, 2, 1, 1),
    "batch": nn.BatchNorm1d(4), "bare": nn.BatchNorm1d(4, affine=False),
    "group": nn.GroupNorm(2, 4), "prelu": nn.PReLU(4), "mean": nn.AdaptiveAvgPool1d(1),
    "largest": nn.AdaptiveMaxPool1d(1), "layer": nn.LayerNorm(6),
    "plain": nn.LayerNorm(6, elementwise_affine=False), "rms": nn.RMSNorm(6, eps=1e-6),
}  # fmt: skip


def test_convolutions_norms_and_reductions() -> None:
    def forward(m: Any, x: Any) -> Any:
        rows = m.same(x).transpose(1, 2)
        made = {n: part(x) for n, part in m.named_children() if n not in ("layer", "plain", "rms")}
        made |= {n: getattr(m, n)(rows) for n in ("layer", "plain", "rms")}
        made["sum"] = x.sum(-1, keepdim=True) + x.mean((1, 2), keepdim=True)
        made["max"] = x.max(1).values + x.amax(1) - x.amin(1)
        made["where"] = torch.where(x > 0, x, 0.1 * x).masked_fill(x < -1, -3.0)
        made["bmm"] = x @ x.mT
        return made

    torch.manual_seed(0)
    for norm in (PARTS["batch"], PARTS["bare"]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    module = Of(forward, **PARTS)
    model = check(module, ((2, 4, 9),))
    x = torch.randn(5, 4, 9)
    agree(outputs(model, (x,)), exact(module, (x,)))


def test_sizes_without_a_general_answer() -> None:
    """Strides and pools divide the number of steps: compiled for the sizes at hand."""
    layers = (nn.Conv1d(4, 6, 3, 2, 1), nn.ReLU(inplace=True), nn.AvgPool1d(3, 2, 1))
    module = nn.Sequential(*layers)
    model = check(module, ((2, 4, 9),))
    for shape in ((3, 4, 12), (1, 4, 31)):
        x = torch.randn(shape)
        agree(outputs(model, (x,)), exact(module, (x,)))


def test_reparametrised_weights() -> None:
    """weight_norm and spectral_norm of both kinds, of layers and of a recurrent matrix."""
    new = nn.utils.parametrizations
    parts = {
        "a": new.weight_norm(nn.Linear(6, 4)),
        "b": new.spectral_norm(nn.Linear(6, 4)),
        "c": nn.utils.spectral_norm(nn.Linear(6, 4)),
        "lstm": new.weight_norm(nn.LSTM(6, 4, batch_first=True), "weight_hh_l0"),
    }
    module = Of(lambda m, x: (m.a(x), m.b(x), m.c(x), m.lstm(x)[0]), **parts)
    check(module, ((2, 5, 6),))


RECURRENT = {
    "lstm": nn.LSTM(5, 6), "gru": nn.GRU(5, 6, 2, batch_first=True),
    "rnn": nn.RNN(5, 6, nonlinearity="relu", bias=False), "tanh": nn.RNN(5, 6, bidirectional=True),
    "stack": nn.LSTM(5, 4, 3, bidirectional=True, batch_first=True, dropout=0.5),
    "proj": nn.LSTM(5, 6, 2, proj_size=3, bidirectional=True),
}  # fmt: skip


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers(name: str) -> None:
    """All sizes stay open in a live module; outputs have torch's words."""
    module = RECURRENT[name]
    model = check(module, ((4, 3, 5),))
    words = ("output", "h_n", "c_n")[: len(model.outputs)]
    assert tuple(info.name for info in model.outputs) == words
    assert model.inputs[0].shape[2] == 5
    assert all(isinstance(size, str) for size in model.inputs[0].shape[:2])
    for shape in ((9, 2, 5), (1, 1, 5)):
        x = torch.randn(shape)
        agree(outputs(model, (x,)), exact(module, (x,)))


def test_streams_of_live_modules() -> None:
    """The state is implicit, or the pair of input and output that the module shows."""
    lstm = nn.LSTM(5, 6, 2, batch_first=True).eval()
    fc = nn.Linear(6, 2)
    x = torch.randn(3, 8, 5)
    model = rn.from_torch(Of(lambda m, x: m.fc(m.lstm(x)[0]), lstm=lstm, fc=fc), (x,))
    whole = model.run(x.numpy())
    stream = model.stream(batch=3)
    parts = [stream.step(x[:, t].numpy()) for t in range(8)]
    assert np.stack(parts, 1).tobytes() == np.ascontiguousarray(whole).tobytes()

    state = tuple(torch.zeros(2, 3, 6) for _ in range(2))
    shown = Of(lambda m, x, h, c: m.lstm(x, (h, c)), lstm=lstm)
    model = rn.from_torch(shown, (x, *state))
    whole = model.run(feeds(model, (x, *state)))["lstm.output"]
    stream = model.stream(batch=3)
    assert len(stream.state) == 2
    parts = [stream.step(x[:, t : t + 1].numpy()) for t in range(8)]
    parts = [p["lstm.output"] if isinstance(p, dict) else p for p in parts]
    assert np.concatenate(parts, 1).tobytes() == np.ascontiguousarray(whole).tobytes()


def test_cells_in_a_loop() -> None:
    """Unrolled by the module's own code; the weights are held once."""
    cells = {"lstm": nn.LSTMCell(5, 6), "gru": nn.GRUCell(6, 4), "rnn": nn.RNNCell(4, 3)}

    def forward(m: Any, x: Any) -> Any:
        h = c = x.new_zeros(x.shape[0], 6)
        g, r = x.new_zeros(x.shape[0], 4), x.new_zeros(x.shape[0], 3)
        for t in range(4):
            h, c = m.lstm(x[:, t], (h, c))
            g = m.gru(h, g)
            r = m.rnn(g, r)
        return h, c, g, r

    module = Of(forward, **cells)
    model = check(module, ((2, 4, 5),))
    weights = [v for v in model.graph.constants.values() if v.ndim == 3]
    assert len(weights) == 6
    x = torch.randn(5, 4, 5)
    agree(outputs(model, (x,)), exact(module, (x,)))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 5, padding_idx=0)
        self.lstm = nn.LSTM(5, 6, bidirectional=True, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.fc = nn.Linear(12, 3)

    def forward(self, ids, scale=None):  # type: ignore[no-untyped-def]
        y = self.drop(self.lstm(self.table(ids))[0])
        y = self.fc(y).log_softmax(-1)
        return {"tags": y if scale is None else y * scale, "last": y[:, -1]}


def test_files_of_torch_export() -> None:
    """PyTorch fixes the number of steps of a recurrent layer; a stream takes any number."""
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(5, 5), nn.LSTM(5, 6, 2)).eval(), torch.randn(4, 3, 5)
    content = pt2(module, (x,))
    model = rn.load(content)
    agree(outputs(model, (x,)), exact(module, (x,)))
    (layer, second) = rn.inspect(content).layers
    assert (layer.path, second.path) == ("1.l0", "1.l1")
    stream = model.stream()
    parts = [stream.step(x[t : t + 1].numpy())["1.output"] for t in range(4)]
    assert np.concatenate(parts).tobytes() == outputs(model, (x,))[0].tobytes()
    alone = rn.load(content, layer="1")
    assert alone.inputs[0].shape == ("time", "batch", 5)
    with pytest.raises(rn.UnsupportedModelError, match="an exported program takes no constants"):
        rn.load(content, constants={"x": x.numpy()})


def test_ids_and_keyword_arguments() -> None:
    torch.manual_seed(0)
    module, ids = Tagger().eval(), torch.randint(0, 10, (3, 7))
    model = rn.from_torch(module, torch.zeros(2, 4, dtype=torch.long))
    assert [info.name for info in model.outputs] == ["tags", "last"]
    assert model.inputs[0].dtype == np.int32
    agree(outputs(model, (ids,)), exact(module, (ids,)))
    scale = torch.tensor([[[2.0, 3.0, 4.0]]])
    model = rn.from_torch(module, (ids,), kwargs={"scale": scale})
    found = model.run({"ids": ids.numpy(), "scale": scale.numpy()})["tags"]
    with torch.no_grad():
        wide = copy.deepcopy(module).double()
        expected = wide(ids, scale=scale.double())["tags"].numpy()
    agree([found], [expected])


def test_sizes_the_caller_says() -> None:
    module, x = nn.GRU(5, 6), torch.randn(4, 3, 5)
    time = torch.export.Dim("time")
    model = rn.from_torch(module, (x,), dynamic_shapes=({0: time},))
    assert model.inputs[0].shape == ("input_0", 3, 5)
    limited = torch.export.Dim("time", min=3, max=64)
    with pytest.raises(rn.UnsupportedModelError, match=r"<GRU>: .*axis 0 is limited to 3\.\.64"):
        rn.from_torch(module, (x,), dynamic_shapes=({0: limited},))


def test_the_graph_is_the_module_in_float64() -> None:
    """What is imported is the module itself, before any kernel: to float64's own accuracy."""
    torch.manual_seed(1)
    module = Tagger().eval()
    ids = torch.randint(0, 10, (2, 5))
    graph = load_graph(module_content(module, (ids,), kwargs=None, dynamic_shapes=None)[0])
    found = evaluate(graph, {"ids": ids.numpy().astype(np.int32)})
    for ours, theirs in zip(found.values(), exact(module, (ids,)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_decomposed_programs() -> None:
    """After run_decompositions the layer is unrolled: many small operators, the same numbers."""
    torch.manual_seed(0)
    parts = {"lstm": nn.LSTM(3, 4), "fc": nn.Linear(4, 2)}
    module = Of(lambda m, x: F.softmax(m.fc(m.lstm(x)[1][0][0]), -1), **parts).eval()
    x = torch.randn(3, 2, 3)
    program = torch.export.export(module, (x,)).run_decompositions()
    file = io.BytesIO()
    torch.export.save(program, file)
    model = rn.load(file.getvalue())
    assert not any(node.op == "LSTM" for node in model.graph.nodes)
    agree(outputs(model, (x,)), exact(module, (x,)))


def test_older_archives() -> None:
    """Before PyTorch 2.8: one JSON, and weights as files of torch.save."""
    torch.manual_seed(0)
    module = Of(lambda m, x: m.fc(x) + torch.tensor([1.0, 2.0]), fc=nn.Linear(3, 2)).eval()
    x = torch.randn(2, 3)
    with zipfile.ZipFile(io.BytesIO(pt2(module, (x,)))) as archive:
        program = archive.read(next(n for n in archive.namelist() if n.endswith("model.json")))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("serialized_exported_program.json", program)
        for name, tensors in (
            ("state_dict", module.state_dict()),
            ("constants", {"lifted_tensor_0": torch.tensor([1.0, 2.0])}),
        ):
            part = io.BytesIO()
            torch.save(dict(tensors), part)
            archive.writestr(f"serialized_{name}.pt", part.getvalue())
    agree(outputs(rn.load(file.getvalue()), (x,)), exact(module, (x,)))


REFUSED = {
    "train": (nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)),
              r"aten\.dropout\.default.*\.eval\(\)"),
    "operator": (Of(lambda m, x: torch.linalg.inv(x)), r"operator aten\.\S+ is not supported"),
    "double": (nn.Linear(3, 3).double(), r"of type float64; accepted: float32"),
    "argument": (Of(lambda m, x: torch.div(x, 2, rounding_mode="floor")), "'rounding_mode' is"),
    "mutated": (Of(lambda m, x: x.add_(1)), "in place"),
    "shared": (Of(lambda m, x: _through_a_view(x)), "memory .* shares"),
    "branch": (Of(lambda m, x: x if x.sum() > 0 else -x), "torch.export cannot follow"),
    "threshold": (nn.Softplus(1, 5), "'threshold' 5"),
}  # fmt: skip


def _through_a_view(x: Any) -> Any:
    y = x * 2
    y[0].add_(1)
    return y


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    module, message = REFUSED[name]
    x = torch.randn(3, 3, dtype=torch.float64 if name == "double" else torch.float32)
    with pytest.raises(rn.UnsupportedModelError, match=message) as caught:
        rn.from_torch(module.train(name == "train"), (x,))
    assert str(caught.value).startswith("<")


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got dict"):
        rn.from_torch({}, ())


def _changed(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A .pt2 file with another program in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("models/model.json"):
                program = json.loads(data)
                change(program["graph_module"])
                data = json.dumps(program).encode()
            new.writestr(name, data)
    return file.getvalue()


def _set(*path: Any, to: Any) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        for key in path[:-1]:
            module = module[key]
        if to is None:
            del module[path[-1]]
        else:
            module[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Symbol('s0', positive=True, integer=True)", "s0"),
        ("Mul(Integer(2), Symbol('s0', integer=True))", "2*s0"),
        ("Add(Mul(Integer(-1), Symbol('u1')), Integer(3))", "-1*u1 + 3"),
        ("2*s0*s1 + 1", "2*s0*s1 + 1"),
        ("s7", "s7"),
        ("Integer(4)", "4"),
        ("__import__('os')", None),
        ("Symbol(", None),
        ("Symbol('s0'", None),
        ("s0 s1", None),
        ("s0**2", None),
        ("Max(1, s0)", None),
        ("(" * 5000, None),
        ("-" * 5000 + "1", None),
        ("", None),
    ],
)
def test_sizes_as_sympy_writes_them(text: str, expected: str | None) -> None:
    from rnnengine.importers.torch.aten.sizes import parse_size

    if expected is None:
        with pytest.raises((ValueError, RecursionError)):
            parse_size(text)
    else:
        assert str(parse_size(text)) == expected


NODE = ("graph", "nodes", -1)
DAMAGED = {
    "no nodes": _set("graph", "nodes", to=None),
    "no specs": _set("signature", "input_specs", to={}),
    "target": _set(*NODE, "target", to=3),
    "unknown target": _set(*NODE, "target", to="torch.ops.evil.run.default"),
    "python target": _set(*NODE, "target", to="os.system"),
    "unknown value": _set(*NODE, "inputs", 0, "arg", to={"as_tensor": {"name": "nothing"}}),
    "twice": _set(*NODE, "outputs", to=[{"as_tensor": {"name": "x"}}]),
    "wrong kind": _set(*NODE, "inputs", 0, "arg", to={"as_int": 3}),
    "extra argument": lambda m: m["graph"]["nodes"][-1]["inputs"].append(
        {"name": "beta", "arg": {"as_int": 3}, "kind": 1}
    ),
    "symbol": _set("graph", "tensor_values", "x", "sizes", to=[
        {"as_expr": {"expr_str": "__import__('os').getcwd()", "hint": None}}, {"as_int": 3}]),
    "no size": _set("graph", "tensor_values", "x", "sizes", to=[{"as_int": -3}, {"as_int": 3}]),
    "type": _set("graph", "tensor_values", "x", "dtype", to=99),
    "parameter": _set("signature", "input_specs", 0, "parameter", "parameter_name", to="gone"),
    "mutation": _set("signature", "output_specs", 0, to={
        "buffer_mutation": {"arg": {"name": "linear"}, "buffer_name": "b"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_programs_that_mean_nothing(name: str) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.fc(x)

    content = _changed(pt2(Small(), (torch.zeros(2, 3),)), DAMAGED[name])
    with pytest.raises((rn.ModelFormatError, rn.UnsupportedModelError)) as caught:
        load_graph(content)
    assert str(caught.value).startswith("<bytes>: ")


@pytest.mark.parametrize(
    "cut",
    [lambda y: y.chunk(2, 1)[1], lambda y: y.unbind(1)[-1], lambda y: y.split(4, 1)[-1]],
    ids=["chunk", "unbind", "split"],
)
def test_pieces_of_all_steps_hold_for_the_written_number_alone(cut: Any) -> None:
    """With the number of steps freed they would be the pieces of another length."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Any) -> Any:
            return cut(self.gru(x)[0])

    module, x = Net().eval(), torch.randn(2, 6, 3)
    torch.export.save(torch.export.export(module, (x,)), file := io.BytesIO())
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_allclose(rn.load(file.getvalue()).run(x.numpy()), want, atol=1e-6)
    for batch in (None, "dynamic"):
        with pytest.raises(rn.UnsupportedModelError, match="Slice selects steps of the time axis"):
            rn.load(file.getvalue(), time="dynamic", batch=batch)
