"""Long sequences run in chunks by one call, with the bits of a run that holds all at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
import test_convolution_state as convolutions
from cases import case
from engine import load, run, same_bits
from lowering import mixed
from onnx_models import layer, nodes
from rnnengine._c.plan import Plan

Array = np.ndarray[Any, Any]


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def chunked(model: rn.Model, most: int = 0, *, lengths: bool = False) -> Plan | None:
    """The plan that a model runs long sequences with, in chunks of so many steps at most."""
    plan = model._with_lengths if lengths else model.plan
    assert plan is not None and plan.in_chunks is not None
    made = plan.in_chunks()
    if made is not None:
        made.most_steps = most
    return made


def named(model: rn.Model, result: Any) -> dict[str, Array]:
    return result if isinstance(result, dict) else {model.outputs[0].name: result}


def in_chunks(model: rn.Model, plan: Plan, feeds: Any, threads: int = 1) -> dict[str, Array]:
    return named(model, model._execute(plan, feeds, None, threads))


@pytest.mark.parametrize("block", range(8))
def test_layers_of_the_matrix(block: int, isa: str) -> None:
    """Cells, options, batches, lengths and initial states; in single steps and small chunks."""
    found = {"x": 0, "lengths": 0, "h0": 0, "c0": 0}
    for seed in range(910_000_000 + 60 * block, 910_000_000 + 60 * (block + 1)):
        drawn = case(seed)
        model = load(drawn, isa, mixed(seed))
        plan = chunked(model, 1 + seed % 4)
        if plan is None or drawn.spec.steps == 0:
            continue
        for name in found.keys() & drawn.feeds.keys():
            found[name] += 1
        whole = run(model, drawn.feeds)
        assert same_bits(in_chunks(model, plan, drawn.feeds), whole), str(drawn)
    assert min(found.values()) >= 1, found


@pytest.mark.parametrize(
    ("name", "fixed"), [*((name, False) for name in convolutions.NETWORKS), ("a block", True)]
)
def test_causal_windows(name: str, *, fixed: bool) -> None:
    """Their history goes from chunk to chunk, chunks shorter than it included."""
    sizes = {"time": 17, "batch": 2} if fixed else {}
    model = rn.load(convolutions.network(convolutions.NETWORKS[name], **sizes))
    x = convolutions.real(2, 4, 17)
    whole = run(model, {"x": x})
    for most in (1, 2, 5, 16):
        plan = chunked(model, most)
        assert plan is not None
        assert same_bits(in_chunks(model, plan, x), whole), most


def stack(*, batch_first: bool, layers: int = 3, wide: int = 24) -> rn.Model:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.LSTM(7, wide, num_layers=layers, batch_first=batch_first)
            self.b = torch.nn.Linear(wide, 5)

    net = Net().state_dict()
    words = rn.Sequential(
        rn.LSTM(7, wide, num_layers=layers, batch_first=batch_first), rn.Linear(wide, 5)
    )
    import io

    file = io.BytesIO()
    torch.save({k.replace("a.", "0.").replace("b.", "1."): v for k, v in net.items()}, file)
    return rn.load(file.getvalue(), architecture=words)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_stack_by_itself_when_the_sequence_is_long(*, batch_first: bool) -> None:
    """Nobody asks for chunks: `run` takes them where much would lie between the layers."""
    model = stack(batch_first=batch_first)
    shape = (3, 4000, 7) if batch_first else (4000, 3, 7)
    x = values(*shape)
    calls = 0
    maker = model.plan.in_chunks
    assert maker is not None

    def counted() -> Plan | None:
        nonlocal calls
        calls += 1
        return maker()

    model.plan.in_chunks = None
    whole = model.run(x)
    tails = x.copy()
    tails.reshape(-1)[[5, 3000 * 7, -1]] = [1e-41, -3e-39, 1e-45]
    whole_tails = model.run(tails)
    model.plan.in_chunks = counted
    few = x[:, :5] if batch_first else x[:5]
    assert np.array_equal(model.run(few), whole[:, :5] if batch_first else whole[:5])
    assert calls == 0
    for threads in (1, 2):
        assert np.array_equal(model.run(x, threads=threads), whole)
        assert np.array_equal(model.run(tails, threads=threads), whole_tails)
    out = np.full_like(whole, np.nan)
    assert model.run(x[..., ::-1][..., ::-1], out=out) is out
    assert np.array_equal(out, whole)
    assert calls == 1


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths(*, batch_first: bool) -> None:
    model = stack(batch_first=batch_first, layers=2)
    x = values(4, 23, 7)
    lengths = [23, 9, 0, 10]
    feeds = {"x": x if batch_first else x.transpose(1, 0, 2), "lengths": np.int32(lengths)}
    feeds = {model.inputs[0].name: feeds["x"], "lengths": feeds["lengths"]}
    want = named(model, model.run(feeds[model.inputs[0].name], lengths=lengths))
    for most in (1, 5, 9, 22):
        plan = chunked(model, most, lengths=True)
        assert plan is not None
        assert same_bits(in_chunks(model, plan, feeds), want), most
        for wrong in (24, -1):
            with pytest.raises(ValueError, match=f"length is negative or larger.*{wrong}"):
                in_chunks(model, plan, {**feeds, "lengths": np.int32([1, 2, wrong, 3])})


def test_states_of_the_caller() -> None:
    """Given as inputs and returned as outputs; arrays are read and written in place."""
    model = rn.load(layer("LSTM", 9, 5, initial=True))
    feeds = {"x": values(12, 2, 5), "h0": values(1, 2, 9, seed=1), "c0": values(1, 2, 9, seed=2)}
    whole = run(model, feeds)
    plan = chunked(model, 5)
    assert plan is not None
    kept = {name: value.copy() for name, value in feeds.items()}
    for _ in range(2):
        assert same_bits(in_chunks(model, plan, feeds), whole)
        assert same_bits(feeds, kept)


def follows(model: rn.Model, pieces: list[Any], most: int, batch: int | None) -> None:
    """A stream that takes each piece in chunks, and one that holds it, are bit for bit the same."""
    plan = chunked(model, most)
    assert plan is not None
    model.plan.in_chunks = lambda: plan
    far, near = model.stream(batch), model.stream(batch)
    for piece in pieces:
        found, wanted = far._over_long(piece), near.step(piece)
        assert same_bits(_named(found), _named(wanted))
        assert same_bits(far.state, near.state)
    assert same_bits(_named(far.step(pieces[0])), _named(near.step(pieces[0])))
    assert same_bits(far.state, near.state)


def _named(result: Any) -> dict[str, Array]:
    return result if isinstance(result, dict) else {"": result}


@pytest.mark.parametrize("block", range(2))
def test_streams_of_the_matrix(block: int, isa: str) -> None:
    """Cells and options: a step of many steps goes on from the stream's state, and leaves it."""
    found = 0
    for seed in range(912_000_000 + 30 * block, 912_000_000 + 30 * (block + 1)):
        drawn = case(seed)
        model = load(drawn, isa)
        if model._form.refusal is not None or drawn.spec.steps < 2 or chunked(model) is None:
            continue
        batch = model._batch_of(drawn.feeds)
        states = model.stream(batch).state
        feeds = {name: value for name, value in drawn.feeds.items() if name not in states}
        follows(model, [feeds, feeds], 1 + seed % 4, batch)
        found += 1
    assert found >= 4


@pytest.mark.parametrize("name", convolutions.NETWORKS)
def test_streams_of_causal_windows(name: str) -> None:
    model = rn.load(convolutions.network(convolutions.NETWORKS[name]))
    x = convolutions.real(2, 4, 17)
    for most in (1, 3, 16):
        follows(model, [x, x[..., :5], x], most, 2)


def test_streams_whose_state_the_graph_declares() -> None:
    model = rn.load(layer("LSTM", 9, 5, initial=True))
    x = values(12, 2, 5)
    follows(model, [x, x[3:], x], 5, 2)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_stream_by_itself_when_many_steps_come(*, batch_first: bool) -> None:
    model = stack(batch_first=batch_first)
    x = values(*((3, 4000, 7) if batch_first else (4000, 3, 7)))
    maker = model.plan.in_chunks
    model.plan.in_chunks = None
    held = model.stream(3)
    model.plan.in_chunks = maker
    stream = model.stream(3)
    for _ in range(2):
        wanted = held.step(x)
        assert np.array_equal(stream.step(x), wanted)
        assert same_bits(stream.state, held.state)
    out = np.full_like(wanted, np.nan)
    stream.reset()
    start = model.stream(3).state
    assert stream.step(x, out=out) is out
    y, state = model.run(x, state=start, return_state=True)
    assert np.array_equal(out, y)
    assert same_bits(stream.state, state)
    before = stream.state
    with pytest.raises(rn.ShapeError):
        stream.step(x, out=out[:-1])
    with pytest.raises(rn.ShapeError):
        stream.step(x[..., :-1])
    assert same_bits(stream.state, before)
    assert np.array_equal(stream.clone().step(x), stream.step(x))


def test_a_stream_of_pairs_that_the_caller_says_holds_all_steps() -> None:
    """Its form is another than that of a run in chunks, so it takes the steps at once."""
    model = rn.load(layer("LSTM", 9, 5, initial=True))
    pairs = {name: given for name, given in zip(("h_n", "c_n"), ("h0", "c0"), strict=True)}
    names = {info.name for info in model.outputs}
    assert names >= set(pairs), names
    stream, whole = model.stream(2, state=pairs), model.stream(2)
    x = values(20_000, 2, 5)
    assert same_bits(_named(stream.step(x)), _named(whole.step(x)))


W = {"W": values(1, 12, 4), "R": values(1, 12, 4, seed=1), "W2": values(1, 12, 4, seed=2)}


def gru(x: str, y: str, h_n: str, h0: str = "", weights: str = "W", **attributes: Any) -> Any:
    from onnx import helper

    given = [x, weights, "R", "", "", h0]
    return helper.make_node("GRU", given, [y, h_n], f"gru_{y}", hidden_size=4, **attributes)


def node(op: str, given: list[str], made: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, given, [made], f"the_{made}", **attributes)


def test_what_follows_from_the_last_step() -> None:
    model = rn.load(
        nodes([gru("x", "y", "h"), node("Tanh", ["h"], "z")], {"x": ("T", "B", 4)}, ["y", "z"], W)
    )
    x = values(11, 2, 4)
    plan = chunked(model, 4)
    assert plan is not None
    assert same_bits(in_chunks(model, plan, x), run(model, {"x": x}))


AXES = {"ax": np.array([0])}
WHOLE: dict[str, tuple[list[Any], dict[str, tuple[Any, ...]], list[str]]] = {
    "every step meets the last": (
        [gru("x", "y", "h"), node("Unsqueeze", ["h", "ax"], "u"), node("Add", ["y", "u"], "z")],
        {"x": ("T", "B", 4)},
        ["z"],
    ),
    "a decoder starts from the encoder's end": (
        [gru("x", "y", "h"), gru("x", "z", "g", "h", "W2")],
        {"x": ("T", "B", 4)},
        ["z"],
    ),
    "one state starts two layers": (
        [gru("x", "y", "h", "s"), gru("x", "z", "g", "s", "W2")],
        {"x": ("T", "B", 4), "s": (1, "B", 4)},
        ["y", "z", "h"],
    ),
    "the state is read elsewhere": (
        [gru("x", "y", "h", "s"), node("Neg", ["s"], "z")],
        {"x": ("T", "B", 4), "s": (1, "B", 4)},
        ["y", "h", "z"],
    ),
    "a layer backwards": (
        [gru("x", "y", "h", direction="reverse")],
        {"x": ("T", "B", 4)},
        ["y", "h"],
    ),
    "softmax along time": (
        [gru("x", "y", "h"), node("Softmax", ["y"], "z", axis=0)],
        {"x": ("T", "B", 4)},
        ["z"],
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_needs_the_whole_sequence_has_no_chunks(name: str) -> None:
    operators, inputs, outputs = WHOLE[name]
    used = {n for operator in operators for n in operator.input}
    constants = {n: v for n, v in {**W, **AXES}.items() if n in used}
    model = rn.load(nodes(operators, inputs, outputs, constants))
    assert chunked(model) is None
    feeds = {n: values(*[{"T": 70_000, "B": 1}.get(s, s) for s in inputs[n]]) for n in inputs}
    first = run(model, feeds)
    model.plan.in_chunks = None
    assert same_bits(run(model, feeds), first)


MEMORY = """
import sys
import numpy as np
import rnnengine.compiler.forms as forms
from test_long_runs import stack, values

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

model = stack(batch_first=True)
x = values(1, 100_000, 7)
stream = model.stream(1)
calls = {
    "run": lambda: model.run(x),
    "run that returns its state": lambda: model.run(x, return_state=True)[0],
    "step": lambda: stream.step(x),
}
model.run(x[:, :10_000])
model.run(x[:, :10_000], return_state=True)
stream.step(x[:, :10_000])
compiled, original = [], forms.compile_graph
forms.compile_graph = lambda *a, **k: compiled.append(1) or original(*a, **k)
open("/proc/self/clear_refs", "w").write("5")
before = peak()
y = calls[sys.argv[1]]()
print(peak() - before - y.nbytes, len(compiled))
"""


@pytest.mark.parametrize("way", ["run", "run that returns its state", "step"])
def test_memory_does_not_grow_with_the_sequence(root: Path, way: str) -> None:
    """100 000 steps of three layers: the outputs and at most 2 MB; they would hold 19 MB whole."""
    paths = [str(root / "tests"), *(p for p in sys.path if p)]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, way],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    growth, compiled = (int(field) for field in done.stdout.split())
    assert growth <= 2 << 20
    assert compiled == 0


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("path", "lengthy"),
    [
        ("dtln/model_1.onnx", True),
        ("dtln-pytorch/model_p1.onnx", False),
        ("gtcrn/gtcrn_simple.onnx", False),
    ],
)
def test_published_models(zoo: Path, path: str, *, lengthy: bool) -> None:
    """With the states that their callers carry; two keep steps apart from each other no longer."""
    model = rn.load(zoo / path, time="dynamic") if lengthy else rn.load(zoo / path)
    plan = chunked(model, 7)
    assert (plan is not None) == lengthy
    if plan is not None:
        feeds = {
            info.name: np.abs(values(*[30 if isinstance(s, str) else s for s in info.shape]))
            for info in model.inputs
        }
        assert same_bits(in_chunks(model, plan, feeds), run(model, feeds))
