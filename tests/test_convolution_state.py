"""Streams through causal convolutions and pools: any cut gives the bits of the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import run, same_bits
from onnx_models import nodes
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate
from test_emission import node

Array = np.ndarray[Any, Any]
Steps = list[Any]

RNG = np.random.default_rng(11)
UNITS = 6


def real(*shape: int) -> Array:
    return (0.5 * RNG.standard_normal(shape)).astype(np.float32)


WEIGHTS = {
    "k3": real(5, 4, 3), "k3b": real(5, 5, 3), "k2": real(5, 1, 2), "c": real(5),
    "left": np.array([0, 0, 4, 0, 0, 0]), "both": np.array([0, 0, 1, 0, 0, 1]),
    "zero": np.array([0]), "end": np.array([-4]), "time": np.array([2]),
    "s": real(5, 1), "scale": real(5), "mean": real(5), "var": 0.5 + real(5) ** 2,
    "w": real(1, 3 * UNITS, 5), "r": real(1, 3 * UNITS, UNITS), "b": real(1, 6 * UNITS),
}  # fmt: skip

NETWORKS: dict[str, Steps] = {
    "padding in front": [node("Conv", ["x", "k3", "c"], "v", pads=[2, 0])],
    "dilated": [node("Conv", ["x", "k3"], "v", pads=[4, 0], dilations=[2])],
    "a Pad": [
        node("Pad", ["x", "left"], "p"),
        node("Conv", ["p", "k3", "c"], "v", dilations=[2]),
    ],
    "cropped": [
        node("Conv", ["x", "k3", "c"], "a", pads=[4, 4], dilations=[2]),
        node("Slice", ["a", "zero", "end", "time"], "v"),
    ],
    "a block": [
        node("Conv", ["x", "k3"], "a1", pads=[2, 0]),
        node("BatchNormalization", ["a1", "scale", "c", "mean", "var"], "a2"),
        node("PRelu", ["a2", "s"], "a3"),
        node("Conv", ["a3", "k3b", "c"], "a4", pads=[2, 0]),
        node("Add", ["a4", "a3"], "a5"),
        node("Conv", ["a5", "k2"], "a6", pads=[1, 0], group=5),
        node("Tanh", ["a6"], "v"),
    ],
    "pools": [
        node("Conv", ["x", "k3"], "a", pads=[2, 0]),
        node("MaxPool", ["a"], "m", kernel_shape=[3], pads=[2, 0]),
        node("AveragePool", ["m"], "v", kernel_shape=[2], pads=[1, 0], count_include_pad=1),
    ],
}


def network(steps: Steps, time: Any = "T", batch: Any = "B") -> bytes:
    """Steps that make v [B, 5, T] of x [B, 4, T], and a GRU over v."""
    after = [
        node("Transpose", ["v"], "seq", perm=[2, 0, 1]),
        node("GRU", ["seq", "w", "r", "b"], "y", hidden_size=UNITS),
    ]
    everything = [*steps, *after]
    used = {name for step in everything for name in step.input}
    constants = {name: value for name, value in WEIGHTS.items() if name in used}
    return nodes(everything, {"x": (batch, 4, time)}, ["y", "v"], constants)


def check_chunks(model: rn.Model, x: Array, steps: int = 20) -> None:
    whole = run(model, {"x": x})
    rng = np.random.default_rng(3)
    for _ in range(steps):
        cuts = np.sort(rng.integers(0, x.shape[2] + 1, int(rng.integers(0, 9))))
        stream = model.stream(x.shape[0])
        parts: list[Any] = [stream.step(piece) for piece in np.split(x, cuts, axis=2)]
        joined = {
            "y": np.concatenate([part["y"] for part in parts], axis=0),
            "v": np.concatenate([part["v"] for part in parts], axis=2),
        }
        assert same_bits(joined, whole), cuts


@pytest.mark.parametrize("name", NETWORKS)
def test_any_cut_gives_the_whole(name: str, isa: str) -> None:
    content = network(NETWORKS[name])
    model = rn.load(content)
    x = real(2, 4, 17)
    whole, wanted = run(model, {"x": x}), evaluate(load_graph(content), {"x": x})
    for output, value in wanted.items():
        np.testing.assert_allclose(whole[output], value, rtol=0, atol=2e-6)
    check_chunks(model, x)


def test_a_sequence_of_fixed_length_streams_in_any_steps() -> None:
    model = rn.load(network(NETWORKS["a block"], time=17, batch=2))
    check_chunks(model, real(2, 4, 17), 5)
    with pytest.raises(rn.ShapeError, match="fixed at 2"):
        model.stream(batch=3)


def test_history_is_state_with_a_name() -> None:
    model = rn.load(network(NETWORKS["dilated"]))
    stream = model.stream(batch=3)
    assert {name: value.shape for name, value in stream.state.items()} == {
        "the_y.h": (1, 3, UNITS),
        "the_v.past": (3, 4, 4),
    }
    x = real(3, 4, 9)
    stream.step(x)
    assert np.array_equal(stream.state["the_v.past"], x[:, :, -4:])
    assert [info.name for info in model.inputs] == ["x"]
    twin = stream.clone()
    more = real(3, 4, 2)
    assert same_bits(stream.step(more), twin.step(more))
    pools = rn.load(network(NETWORKS["pools"])).stream().state
    assert np.all(np.isneginf(pools["the_m.past"])) and not pools["the_v.past"].any()


def test_time_and_frequency() -> None:
    """A convolution over both axes, causal along time, and a GRU over the columns it leaves."""
    wide = {"k": real(3, 2, 3, 3), "c": real(3), "w": real(1, 18, 12), "r": real(1, 18, 6)}
    steps = [
        node("Conv", ["x", "k", "c"], "v", pads=[2, 1, 0, 1], strides=[1, 2]),
        node("Transpose", ["v"], "t", perm=[2, 0, 1, 3]),
        node("Reshape", ["t", "shape"], "seq"),
        node("GRU", ["seq", "w", "r"], "y", hidden_size=6),
    ]
    wide["shape"] = np.array([0, 0, 12])
    model = rn.load(nodes(steps, {"x": ("B", 2, "T", 8)}, ["y"], wide))
    x = real(2, 2, 11, 8)
    whole = model.run(x)
    stream = model.stream(2)
    parts = [np.asarray(stream.step(piece)) for piece in np.split(x, [1, 2, 7], axis=2)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            node("Conv", ["x", "k3"], "v", pads=[1, 1]),
            r"'the_v' \(Conv\).*3 time steps.*looks 1 step ahead",
        ),
        (
            node("Conv", ["x", "k3"], "v", pads=[2, 2], dilations=[2]),
            r"'the_v' \(Conv\).*looks 2 steps ahead",
        ),
        (node("Conv", ["x", "k3"], "v"), r"'the_v' \(Conv\).*looks 2 steps ahead"),
        (node("Conv", ["x", "k3"], "v", pads=[2, 0], strides=[2]), "moves on by 2"),
        (node("Conv", ["x", "k3"], "v", pads=[3, 0]), r"'the_v' \(Conv\)"),
    ],
)
def test_what_is_not_causal_is_refused_by_name(step: Any, message: str) -> None:
    model = rn.load(network([step], time=18))
    x = real(2, 4, 18)
    assert run(model, {"x": x})["v"].shape[0] == 2
    with pytest.raises(rn.UnsupportedModelError, match=message):
        model.stream(batch=2)


def test_a_mean_over_fewer_steps_at_the_start_is_refused() -> None:
    steps = [
        node("Conv", ["x", "k3"], "a", pads=[2, 0]),
        node("AveragePool", ["a"], "v", kernel_shape=[2], pads=[1, 0]),
    ]
    with pytest.raises(rn.UnsupportedModelError, match=r"the_v.*AveragePool"):
        rn.load(network(steps)).stream()
