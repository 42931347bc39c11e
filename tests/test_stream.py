"""Streams: state owned, found, set, cloned; pieces of any size give the bits of the whole."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from onnx_models import layer, nodes

Array = np.ndarray[Any, Any]
CELLS = ("LSTM", "GRU", "RNN")


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_any_chunking_equals_the_whole(cell: str, isa: str) -> None:
    model = rn.load(layer(cell, 19, 7))
    x = values(40, 3, 7)
    whole = model.run(x)
    rng = np.random.default_rng(0)
    for _ in range(50):
        stream = model.stream(batch=3)
        cuts = np.sort(rng.integers(0, 41, int(rng.integers(0, 12))))
        parts = [stream.step(piece) for piece in np.split(x, cuts)]
        assert np.array_equal(np.concatenate([p["y"] for p in parts]), whole["y"])
        assert np.array_equal(parts[-1]["h_n"], whole["h_n"])


def test_one_step_needs_no_time_axis() -> None:
    model = rn.load(layer("GRU", 8, 4))
    x = values(5, 2, 4)
    with_axis, without = model.stream(2), model.stream(2)
    for t in range(5):
        a, b = with_axis.step(x[t : t + 1]), without.step(x[t])
        assert b["y"].shape == (1, 2, 8)
        assert np.array_equal(a["y"][0], b["y"])


def test_no_steps_change_nothing() -> None:
    stream = rn.load(layer("LSTM", 8, 4)).stream()
    stream.step(values(3, 1, 4))
    before = stream.state
    result = stream.step(np.zeros((0, 1, 4), np.float32))
    assert result["y"].shape == (0, 1, 1, 8)
    assert all(np.array_equal(stream.state[k], before[k]) for k in before)


def test_state_is_named_readable_and_settable() -> None:
    model = rn.load(layer("LSTM", 8, 4))
    stream, other = model.stream(2), model.stream(2)
    assert set(stream.state) == {"layer.h", "layer.c"}
    assert stream.state["layer.h"].shape == (1, 2, 8)
    x = values(6, 2, 4)
    stream.step(x[:3])
    other.state = stream.state
    assert np.array_equal(stream.step(x[3:])["y"], other.step(x[3:])["y"])
    with pytest.raises(rn.ShapeError, match=r"no state named 'h'; states: layer.h, layer.c"):
        stream.state = {"h": x}
    with pytest.raises(rn.ShapeError, match=r"'layer.h': expected shape \[1, 2, 8\], got \[2, 8\]"):
        stream.state = {"layer.h": np.zeros((2, 8), np.float32)}
    with pytest.raises(TypeError, match=r"layer\.h"):
        stream.state = {"layer.h": np.zeros((1, 2, 8), np.int64)}


def test_a_failed_assignment_sets_nothing() -> None:
    stream = rn.load(layer("LSTM", 8, 4)).stream()
    with pytest.raises(rn.ShapeError):
        stream.state = {
            "layer.h": np.ones((1, 1, 8), np.float32),
            "layer.c": np.ones(3, np.float32),
        }
    assert not stream.state["layer.h"].any()


def test_reset_and_clone() -> None:
    model = rn.load(layer("GRU", 8, 4))
    x = values(9, 1, 4)
    stream = model.stream()
    first = stream.step(x)["y"]
    stream.reset()
    assert np.array_equal(stream.step(x)["y"], first)
    twin = stream.clone()
    assert np.array_equal(twin.step(x)["y"], stream.step(x)["y"])
    twin.step(x)
    assert not np.array_equal(twin.state["layer.h"], stream.state["layer.h"])


def test_repr_tells_the_state() -> None:
    text = repr(rn.load(layer("LSTM", 8, 4)).stream(batch=5))
    assert "batch 5" in text
    assert "layer.h[1, 5, 8]" in text


def test_run_takes_and_returns_state() -> None:
    model = rn.load(layer("LSTM", 8, 4))
    x = values(10, 3, 4)
    whole = model.run(x)
    first, state = model.run(x[:6], return_state=True)
    second, final = model.run(x[6:], state=state, return_state=True)
    assert np.array_equal(np.concatenate([first["y"], second["y"]]), whole["y"])
    assert np.array_equal(final["layer.h"], whole["h_n"])


@pytest.mark.parametrize("cell", CELLS)
def test_explicit_states_are_found_by_structure(cell: str) -> None:
    model = rn.load(layer(cell, 8, 4, initial=True))
    stream = model.stream(batch=2)
    names = ["h0", "c0"] if cell == "LSTM" else ["h0"]
    assert list(stream.state) == names
    x = values(6, 2, 4)
    zeros = {n: np.zeros((1, 2, 8), np.float32) for n in names}
    whole = model.run({"x": x, **zeros})
    parts = [stream.step(x[t : t + 1]) for t in range(6)]
    assert np.array_equal(np.concatenate(parts), whole["y"])
    assert np.array_equal(stream.state["h0"], whole["h_n"])


def _stacked() -> bytes:
    """Two GRUs whose final states come back stacked in one output."""
    from onnx import helper

    rng = np.random.default_rng(0)
    weights = {
        f"{n}{i}": (rng.standard_normal(s) / 4).astype(np.float32)
        for i in (1, 2)
        for n, s in (("W", (1, 15, 5)), ("R", (1, 15, 5)))
    }
    operators = [
        helper.make_node(
            "GRU", ["x", "W1", "R1", "", "", "s1"], ["y1", "f1"], "one", hidden_size=5
        ),
        helper.make_node("Squeeze", ["y1", "axes"], ["z1"]),
        helper.make_node(
            "GRU", ["z1", "W2", "R2", "", "", "s2"], ["y2", "f2"], "two", hidden_size=5
        ),
        helper.make_node("Squeeze", ["y2", "axes"], ["y"]),
        helper.make_node("Concat", ["f1", "f2"], ["states"], axis=0),
    ]
    constants = {**weights, "axes": np.array([1])}
    inputs = {"x": ("t", 1, 5), "s1": (1, 1, 5), "s2": (1, 1, 5)}
    return nodes(operators, inputs, ["y", "states"], constants)


def test_slices_of_one_stacked_output_feed_several_inputs() -> None:
    model = rn.load(_stacked())
    stream = model.stream()
    x = values(8, 1, 5)
    zero = np.zeros((1, 1, 5), np.float32)
    whole = model.run({"x": x, "s1": zero, "s2": zero})
    assert np.array_equal(np.concatenate([stream.step(x[t : t + 1]) for t in range(8)]), whole["y"])
    assert np.array_equal(stream.state["s2"], whole["states"][1:])


def test_the_caller_can_say_the_pairs() -> None:
    model = rn.load(_stacked())
    said = model.stream(state={"states[0:1]": "s1", "states[1:2]": "s2"})
    found = model.stream()
    x = values(4, 1, 5)
    assert np.array_equal(said.step(x), found.step(x))
    with pytest.raises(
        rn.UnsupportedModelError, match=r"outputs are y, states; inputs are x, s1, s2"
    ):
        model.stream(state={"state": "s1"})
    with pytest.raises(rn.UnsupportedModelError, match="shapes"):
        model.stream(state={"states": "s1"})


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_a_layer_that_looks_ahead_is_named(direction: str) -> None:
    model = rn.load(layer("LSTM", 4, 3, direction=direction))
    with pytest.raises(rn.UnsupportedModelError, match=rf"'layer' \(LSTM\): LSTM is {direction}"):
        model.stream()
    assert "no streams" in repr(model)


def test_an_initial_state_computed_from_the_input_is_refused() -> None:
    from onnx import helper

    rng = np.random.default_rng(0)
    constants = {
        "W": rng.standard_normal((1, 4, 4)).astype(np.float32),
        "R": rng.standard_normal((1, 4, 4)).astype(np.float32),
        "axes": np.array([0]),
    }
    operators = [
        helper.make_node("Tanh", ["context"], ["start"]),
        helper.make_node("Unsqueeze", ["start", "axes"], ["h0"]),
        helper.make_node("RNN", ["x", "W", "R", "", "", "h0"], ["y"], "cell", hidden_size=4),
    ]
    model = rn.load(nodes(operators, {"x": ("t", "b", 4), "context": ("b", 4)}, ["y"], constants))
    with pytest.raises(rn.UnsupportedModelError, match=r"'cell'.*initial state 'h0'"):
        model.stream()


def test_a_learned_initial_state_starts_and_resets_the_stream() -> None:
    from onnx import helper

    rng = np.random.default_rng(0)
    constants = {
        "W": rng.standard_normal((1, 4, 4)).astype(np.float32),
        "R": rng.standard_normal((1, 4, 4)).astype(np.float32),
        "h0": rng.standard_normal((1, 1, 4)).astype(np.float32),
    }
    operators = [
        helper.make_node("RNN", ["x", "W", "R", "", "", "h0"], ["y"], "cell", hidden_size=4)
    ]
    model = rn.load(nodes(operators, {"x": ("t", 1, 4)}, ["y"], constants))
    x = values(6, 1, 4)
    whole = model.run(x)
    stream = model.stream()
    for _ in range(2):
        assert np.array_equal(stream.state["cell.h"], constants["h0"])
        assert np.array_equal(np.concatenate([stream.step(x[:2]), stream.step(x[2:])]), whole)
        stream.reset()


def test_a_fixed_time_axis_streams_at_any_length_and_runs_as_declared() -> None:
    model = rn.load(layer("GRU", 8, 4, time=5, batch=2))
    x = values(5, 2, 4)
    whole = model.run(x)
    stream = model.stream()
    assert np.array_equal(
        np.concatenate([stream.step(x[:2])["y"], stream.step(x[2:])["y"]]), whole["y"]
    )
    with pytest.raises(rn.ShapeError, match="axis 0 must be 5"):
        model.run(values(6, 2, 4))
    with pytest.raises(rn.ShapeError, match="batch is fixed"):
        model.stream(batch=3)


def test_errors_leave_the_state_unchanged() -> None:
    stream = rn.load(layer("LSTM", 8, 4)).stream()
    stream.step(values(3, 1, 4))
    before = stream.state
    with pytest.raises(rn.ShapeError):
        stream.step(values(1, 2, 4))
    with pytest.raises(TypeError):
        stream.step(np.zeros((1, 1, 4), np.int32))
    with pytest.raises(rn.ShapeError):
        stream.step(values(1, 1, 4), out={"y": np.empty(3, np.float32)})
    assert all(np.array_equal(stream.state[k], before[k]) for k in before)


def test_two_threads_in_one_stream_are_told() -> None:
    stream = rn.load(layer("LSTM", 256, 256)).stream()
    x = values(4000, 1, 256)
    seen: list[str] = []
    inside = threading.Event()

    def work() -> None:
        inside.set()
        stream.step(x)
        seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    busy = 0
    while thread.is_alive():
        try:
            stream.step(x[:1])
        except rn.StreamBusyError:
            busy += 1
    thread.join()
    assert seen == ["done"]
    assert busy > 0


def test_streams_of_one_model_do_not_touch_each_other() -> None:
    model = rn.load(layer("GRU", 16, 8))
    inputs = [values(30, 1, 8, seed=s) for s in range(6)]
    expected = [model.run(x)["y"] for x in inputs]
    streams = [model.stream() for _ in inputs]
    parts: list[list[Array]] = [[] for _ in inputs]
    for t in range(30):
        for stream, x, part in zip(streams, inputs, parts, strict=True):
            part.append(stream.step(x[t : t + 1])["y"])
    for part, whole in zip(parts, expected, strict=True):
        assert np.array_equal(np.concatenate(part), whole)
