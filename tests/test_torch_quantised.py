"""Models of PyTorch's dynamic quantisation: their integers stay, the numbers are the right ones.

PyTorch in float64 on the weights that the integers stand for is the witness of the numbers. What
PyTorch itself makes of a quantised model differs by its 7-bit activations: written down again in
float64 they give its numbers, a hundred times closer than the difference.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantised_models as qm
import rnnengine as rn
from rnnengine.graph import Graph, as_integers
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from rnnengine.passes.fold import fold

torch = pytest.importorskip("torch", reason="torch is not installed")
from torch import nn  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

Array = np.ndarray[Any, Any]
I, H, T, B, O = 6, 8, 7, 3, 5  # noqa: E741
SEVEN_BITS = 127


@pytest.fixture(autouse=True)
def engine() -> Iterator[None]:
    """The kernels that torch quantises for: the same on every x86 machine."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    yield
    torch.backends.quantized.engine = before


class Net(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(I, H, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(2 * H, H, batch_first=True)
        self.fc = nn.Linear(H, O)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.gru(self.lstm(x)[0])[0])


def described() -> Any:
    return rn.Sequential(
        rn.LSTM(I, H, num_layers=2, bidirectional=True, batch_first=True, name="lstm"),
        rn.GRU(2 * H, H, batch_first=True, name="gru"),
        rn.Linear(H, O, name="fc"),
    )


def quantised(net: Any, per_channel: bool) -> Any:
    import torch.ao.quantization as ao

    kinds = {nn.LSTM, nn.GRU, nn.Linear, nn.LSTMCell, nn.GRUCell, nn.RNNCell}
    how = ao.per_channel_dynamic_qconfig if per_channel else ao.default_dynamic_qconfig
    return ao.quantize_dynamic(net, dict.fromkeys(kinds, how))


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def scripted(module: Any) -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(module), file)
    return file.getvalue()


def kept(graph: Graph) -> dict[str, tuple[int, ...]]:
    found = {n: as_integers(v) for n, v in fold(graph).constants.items()}
    return {n: v.shape for n, v in found.items() if v is not None}


def in_float64(net: Any, made: Any) -> Any:
    """The float network in float64, with the weights that the integers stand for."""
    exact = copy.deepcopy(net).double()
    for path, module in made.named_modules():
        if type(module).__name__ in ("LSTM", "GRU") and hasattr(module, "_all_weight_values"):
            count = 2 if module.bidirectional else 1
            for index, values in enumerate(module._all_weight_values):
                _, biases, _, _, weights = values.param.__getstate__()[0]
                end = f"_l{index // count}" + ("_reverse" if index % count else "")
                for side, weight, bias in zip(("ih", "hh"), weights, biases, strict=True):
                    ours = exact.get_submodule(path)
                    put(ours, f"weight_{side}{end}", weight.__getstate__()[0][0].dequantize())
                    put(ours, f"bias_{side}{end}", bias)
        elif hasattr(module, "_packed_weight_ih"):
            for side in ("ih", "hh"):
                weight, bias = getattr(module, f"_packed_weight_{side}").__getstate__()[0]
                ours = exact.get_submodule(path)
                put(ours, f"weight_{side}", weight.dequantize())
                put(ours, f"bias_{side}", bias)
        elif hasattr(module, "_packed_params") and callable(getattr(module, "weight", None)):
            put(exact.get_submodule(path), "weight", module.weight().dequantize())
    return exact


def put(module: Any, name: str, value: Any) -> None:
    with torch.no_grad():
        getattr(module, name).copy_(value.double())


def close(found: Any, wanted: Any, tolerance: float) -> None:
    largest = max(1.0, float(np.abs(wanted).max()))
    assert np.abs(np.asarray(found, np.float64) - wanted).max() <= tolerance * largest


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "rows"])
@pytest.mark.parametrize("form", ["state_dict", "module", "script", "wrapped"])
def test_a_network(form: str, per_channel: bool) -> None:
    torch.manual_seed(1)
    net = Net().eval()
    made = quantised(net, per_channel)
    content = {
        "state_dict": lambda: saved(made.state_dict()),
        "module": lambda: saved(made),
        "script": lambda: scripted(made),
        "wrapped": lambda: saved({"epoch": 3, "model_state_dict": made.state_dict()}),
    }[form]()
    graph = load_graph(content, architecture=described())
    shapes = [(2, 4 * H, I), (2, 4 * H, H), (2, 4 * H, 2 * H), (2, 4 * H, H)]
    shapes += [(1, 3 * H, 2 * H), (1, 3 * H, H), (H, O)]
    assert sorted(kept(graph).values()) == sorted(shapes)
    scales = {
        n: as_integers(v).scale.size for n, v in fold(graph).constants.items() if n in kept(graph)
    }  # type: ignore[union-attr]
    assert (max(scales.values()) > 2) == per_channel
    x = torch.randn(B, T, I)
    with torch.no_grad():
        wanted = in_float64(net, made)(x.double()).numpy()
        theirs = made(x).numpy()
    name = graph.inputs[0].name
    exact = evaluate(graph, {name: x.numpy()})["output"]
    close(exact, wanted, 1e-12)
    assert 1e-4 < np.abs(theirs - wanted).max() < 0.1, "PyTorch rounds activations, and only these"
    found = rn.load(content, architecture=described(), compute_type="float32").run(x.numpy())
    close(found, wanted, 2e-6)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "Linear"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "rows"])
def test_what_torch_rounds(kind: str, per_channel: bool) -> None:
    """x as a whole and h of every step as a whole, to 7 bits: that alone is its difference."""
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(I, O) if kind == "Linear" else getattr(nn, kind)(I, H)).eval()
    made = quantised(net, per_channel)
    x = torch.randn(T, B, I)
    exact = in_float64(net, made)[0]
    with torch.no_grad():
        results = [layer(value) for layer, value in ((made[0], x), (exact, x.double()))]
    theirs, wanted = ((r if kind == "Linear" else r[0]).numpy() for r in results)
    rounded = qm.eight_bits(x.numpy(), SEVEN_BITS)
    weights = {n: p.detach().numpy() for n, p in exact.named_parameters()}
    if kind == "Linear":
        again = rounded @ weights["weight"].T + weights["bias"]
    else:
        again = steps(kind, rounded, weights)
    error = np.sqrt(np.mean((theirs - wanted) ** 2))
    assert error > 1e-4
    assert np.sqrt(np.mean((theirs - again) ** 2)) * 100 <= error


def steps(kind: str, x: Array, weights: dict[str, Array]) -> Array:
    """torch.nn's LSTM or GRU over time, h rounded before each step."""
    h, c, ys = np.zeros((B, H)), np.zeros((B, H)), []
    for x_t in x:
        rounded = qm.eight_bits(h, SEVEN_BITS)
        a = x_t @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        r = rounded @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        if kind == "LSTM":
            i, f, g, o = np.split(a + r, 4, axis=1)
            c = qm.sigmoid(f) * c + qm.sigmoid(i) * np.tanh(g)
            h = qm.sigmoid(o) * np.tanh(c)
        else:
            (ar, az, an), (rr, rz, rn_) = np.split(a, 3, axis=1), np.split(r, 3, axis=1)
            z = qm.sigmoid(az + rz)
            h = (1 - z) * np.tanh(an + qm.sigmoid(ar + rr) * rn_) + z * h
        ys.append(h)
    return np.stack(ys)


CELLS = {
    "LSTMCell": rn.LSTM(I, H, name="cell"),
    "GRUCell": rn.GRU(I, H, name="cell"),
    "RNNCell tanh": rn.RNN(I, H, nonlinearity="tanh", name="cell"),
    "RNNCell relu": rn.RNN(I, H, nonlinearity="relu", name="cell"),
}


@pytest.mark.parametrize("whole", [False, True], ids=["state_dict", "module"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "rows"])
@pytest.mark.parametrize("cell", CELLS)
def test_cells(cell: str, per_channel: bool, whole: bool) -> None:
    """Cells run as layers of one step after the other."""
    torch.manual_seed(3)
    kind, _, how = cell.partition(" ")
    options = {"nonlinearity": how} if how else {}
    net = nn.ModuleDict({"cell": getattr(nn, kind)(I, H, **options)}).eval()
    made = quantised(net, per_channel)
    content = saved(made if whole else made.state_dict())
    options = {"layer": "cell"} if not how else {"layer": "cell", "architecture": CELLS[cell]}
    graph = load_graph(content, **options)
    gates = {"LSTMCell": 4, "GRUCell": 3}.get(kind, 1)
    assert sorted(kept(graph).values()) == sorted([(1, gates * H, I), (1, gates * H, H)])
    x = torch.randn(T, B, I)
    exact, state, ys = in_float64(net, made)["cell"], None, []
    with torch.no_grad():
        for x_t in x.double():
            state = exact(x_t, state)
            ys.append((state[0] if isinstance(state, tuple) else state).numpy())
    found = evaluate(graph, {graph.inputs[0].name: x.numpy()})["output"]
    close(found, np.stack(ys), 1e-12)


def test_unsigned_rows_and_other_integers(tmp_path: Path) -> None:
    """Zero points of rows, quint8, and 32-bit integers, which are numbers at once."""
    torch.manual_seed(4)
    weight = torch.quantize_per_channel(
        torch.randn(O, I), torch.linspace(0.01, 0.03, O).double(), torch.arange(100, 100 + O), 0,
        torch.quint8,
    )  # fmt: skip
    bias = torch.quantize_per_tensor(torch.randn(O), 1e-4, 0, torch.qint32)
    torch.save({"fc.weight": weight, "fc.bias": bias}, tmp_path / "m.pt")
    graph = load_graph(tmp_path / "m.pt", architecture=rn.Sequential(rn.Linear(I, O, name="fc")))
    assert list(kept(graph).values()) == [(I, O)]
    x = torch.randn(B, I)
    wanted = x.double() @ weight.dequantize().double().T + bias.dequantize().double()
    close(evaluate(graph, {graph.inputs[0].name: x.numpy()})["output"], wanted.numpy(), 1e-7)


def test_a_live_module_is_refused_by_name() -> None:
    made = quantised(Net().eval(), False)
    with pytest.raises(rn.UnsupportedModelError, match=r"module 'lstm' is torch\.ao.*torch\.save"):
        rn.from_torch(made, torch.zeros(1, 2, I))
