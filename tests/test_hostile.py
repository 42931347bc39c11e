"""Calls that nobody should make: each gives a clear error, and nothing that was there is harmed."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from onnx_models import layer, nodes
from rnnengine.importers import load_graph
from rnnengine.ops import evaluate

Array = np.ndarray[Any, Any]
CELLS = ("LSTM", "GRU", "RNN")


@pytest.fixture(scope="module")
def model() -> rn.Model:
    return rn.load(layer("LSTM", 20, 6))


@pytest.fixture(scope="module")
def explicit() -> rn.Model:
    return rn.load(layer("GRU", 5, 5, initial=True))


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def node(op: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(op, inputs, [output], f"the_{output}", **attributes)


# ---- wrong types of every argument -------------------------------------------------------------

NOT_INPUTS: dict[str, Any] = {
    "None": None,
    "text": "abc",
    "bytes": b"abc",
    "an object": object(),
    "a class": dict,
    "ragged lists": [[1.0, 2.0], [3.0]],
    "an iterator": iter([1.0]),
    "a mapping that is no dict": MappingProxyType({"x": np.zeros((2, 1, 6), np.float32)}),
    "a set": {1.0, 2.0},
    "complex": 1j,
    "a huge integer": 10**400,
}


@pytest.mark.parametrize("name", NOT_INPUTS)
@pytest.mark.parametrize("words", [{}, {"return_state": True}, {"lengths": [1, 1]}])
def test_inputs_that_are_no_arrays(model: rn.Model, name: str, words: dict[str, Any]) -> None:
    for given in (NOT_INPUTS[name], {"x": NOT_INPUTS[name]}):
        with pytest.raises(TypeError, match="input 'x'"):
            model.run(given, **words)
    with pytest.raises(TypeError, match="input 'x'"):
        model.stream().step(NOT_INPUTS[name])


@pytest.mark.parametrize("lengths", ["ab", [1, None], [1.5, 2.0], object(), {1, 2}, [[1], [1, 2]]])
def test_lengths_that_are_no_integers(model: rn.Model, lengths: Any) -> None:
    with pytest.raises(TypeError, match="input 'lengths'"):
        model.run(values(3, 2, 6), lengths=lengths)


def test_no_lengths_for_no_rows(model: rn.Model) -> None:
    assert model.run(values(3, 0, 6), lengths=[])["y"].shape == (3, 1, 0, 20)


@pytest.mark.parametrize("lengths", [5, [[1, 2]], [], [1, 2, 3], np.zeros((2, 0), int)])
def test_lengths_of_another_shape(model: rn.Model, lengths: Any) -> None:
    with pytest.raises(rn.ShapeError, match=r"'lengths': expected \[batch\]"):
        model.run(values(3, 2, 6), lengths=lengths)


@pytest.mark.parametrize("lengths", [[-1, 2], [2, -(2**31)], np.array([4, 1], np.uint64)])
def test_lengths_outside_the_sequence(model: rn.Model, lengths: Any) -> None:
    with pytest.raises(ValueError, match="length is negative or larger"):
        model.run(values(3, 2, 6), lengths=lengths)


@pytest.mark.parametrize("state", [5, "layer.h", [1], [("layer.h", values(1, 2, 20))], {1, 2}])
def test_states_that_are_no_dict(model: rn.Model, state: Any) -> None:
    with pytest.raises(TypeError, match="state: expected a dict of arrays"):
        model.run(values(3, 2, 6), state=state)
    stream = model.stream()
    with pytest.raises(TypeError, match="state: expected a dict of arrays"):
        stream.state = state


@pytest.mark.parametrize("batch", [1.5, "two", [1], None.__class__, 2 + 0j])
def test_batches_that_are_no_integers(model: rn.Model, batch: Any) -> None:
    with pytest.raises(TypeError, match=r"stream: batch is .*; expected an integer"):
        model.stream(batch=batch)


@pytest.mark.parametrize("batch", [-1, 2**31, 2**62, 2**64, -(2**70)])
def test_batches_out_of_range(model: rn.Model, batch: int) -> None:
    with pytest.raises(rn.ShapeError, match="stream: batch is"):
        model.stream(batch=batch)


def test_a_batch_may_be_any_integer(model: rn.Model) -> None:
    assert model.stream(batch=np.int64(3)).batch == 3  # type: ignore[arg-type]
    assert model.stream(batch=0).step(values(2, 0, 6))["y"].shape == (2, 1, 0, 20)


@pytest.mark.parametrize("out", [5, "y", [], [np.empty((3, 1, 2, 20), np.float32)]])
def test_outs_that_are_no_dict(model: rn.Model, out: Any) -> None:
    with pytest.raises(TypeError, match="out: expected a dict"):
        model.run(values(3, 2, 6), out=out)
    with pytest.raises(TypeError, match="out for 'y': expected a numpy array"):
        model.run(values(3, 2, 6), out={"y": out})


def test_dicts_of_any_class_are_dicts(model: rn.Model) -> None:
    class Feeds(dict[str, Any]):
        pass

    x = values(3, 2, 6)
    expected = model.run(x)
    assert np.array_equal(model.run(Feeds(x=x))["y"], expected["y"])
    out = OrderedDict(y=np.empty_like(expected["y"]))
    assert model.run(OrderedDict(x=x), out=out)["y"] is out["y"]
    single = rn.load(nodes([node("Relu", ["x"], "y")], {"x": ("T",)}, ["y"]))
    y = np.empty(3, np.float32)
    assert single.run(OrderedDict(x=np.ones(3)), out=OrderedDict(y=y)) is y


@pytest.mark.parametrize("constants", [5, "x", [1], {"z": 1}, {"x": "a"}, {"x": [[1], [1, 2]]}])
def test_constants_that_do_not_fit(constants: Any) -> None:
    with pytest.raises((TypeError, ValueError, rn.RNNEngineError)):
        rn.load(layer("GRU", 3, 3), constants=constants)


@pytest.mark.parametrize("source", [None, 5, [], object(), 1.5, {"a": 1}])
def test_sources_that_are_no_files(source: Any) -> None:
    with pytest.raises(TypeError, match="source"):
        rn.load(source)


PAIRS: dict[str, tuple[Any, str]] = {
    "a place beyond the output": ({"h_n[5]": "h0"}, "within a first axis"),
    "a slice beyond the output": ({"h_n[0:9]": "h0"}, "within a first axis"),
    "a slice that is empty": ({"h_n[1:1]": "h0"}, "within a first axis"),
    "a slice that runs backwards": ({"h_n[3:1]": "h0"}, "within a first axis"),
    "a place on an axis that varies": ({"y[0]": "h0"}, "within a first axis"),
    "a place too large for any array": ({"h_n[99999999999999999999]": "h0"}, "outputs are"),
    "no such output": ({"z": "h0"}, "outputs are y, h_n"),
    "no such input": ({"h_n": "z"}, "inputs are x, h0"),
    "an input said twice": ({"h_n": "h0", "h_n[0]": "h0"}, "said twice"),
    "shapes that differ": ({"h_n": "x"}, "shapes"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_state_that_do_not_exist(explicit: rn.Model, name: str) -> None:
    mapping, words = PAIRS[name]
    with pytest.raises(rn.UnsupportedModelError, match=words):
        explicit.stream(state=mapping)


@pytest.mark.parametrize("mapping", [5, "h_n", [("h_n", "h0")], {3: "h0"}, {"h_n": 3}, {("a",): 1}])
def test_pairs_of_state_that_are_no_names(explicit: rn.Model, mapping: Any) -> None:
    with pytest.raises(TypeError, match="state: expected a dict of names"):
        explicit.stream(state=mapping)


def test_an_integer_input_carries_no_state() -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [node("Relu", ["x"], "y")],
        "integer",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("n", TensorProto.INT32, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    opset = helper.make_opsetid("", 17)
    content = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    with pytest.raises(rn.UnsupportedModelError, match=r"float32\[2\] and int32\[2\]"):
        rn.load(content).stream(state={"y": "n"})


# ---- memory shared between arguments -----------------------------------------------------------


def test_out_may_be_the_input_itself(explicit: rn.Model) -> None:
    x, h0 = values(4, 2, 5), values(1, 2, 5)
    expected = explicit.run({"x": x, "h0": h0})
    shared, state = x.copy(), h0.copy()
    out = {"y": shared.reshape(4, 1, 2, 5), "h_n": state}
    got = explicit.run({"x": shared, "h0": state}, out=out)
    assert np.array_equal(got["y"], expected["y"])
    assert np.array_equal(state, expected["h_n"])


def test_out_of_a_step_may_be_its_input() -> None:
    stream, other = (rn.load(layer("RNN", 6, 6)).stream(2) for _ in range(2))
    x = values(3, 2, 6)
    expected = [other.step(x[t])["y"].copy() for t in range(3)]
    for t in range(3):
        stream.step(x[t], out={"y": x[t].reshape(1, 2, 6)})
    assert np.array_equal(x, np.stack(expected)[:, 0])


def test_two_outputs_in_one_array_are_refused() -> None:
    operators = [node("Relu", ["x"], "a"), node("Neg", ["x"], "b")]
    twins = rn.load(nodes(operators, {"x": ("T", 4)}, ["a", "b"]))
    x = values(3, 4)
    memory = np.zeros((4, 4), np.float32)
    strided = np.zeros((3, 8), np.float32)[:, ::2]
    for a, b in ((memory[:3], memory[:3]), (memory[:3], memory[1:]), (strided, strided)):
        with pytest.raises(ValueError, match="out for 'b': shares memory"):
            twins.run(x, out={"a": a, "b": b})
    wide = np.zeros((3, 8), np.float32)
    twins.run(x, out={"a": wide[:, ::2], "b": wide[:, 1::2]})
    assert np.array_equal(wide[:, ::2], np.maximum(x, 0))
    assert np.array_equal(wide[:, 1::2], -x)


def test_a_state_that_was_read_is_a_copy(model: rn.Model) -> None:
    stream = model.stream()
    x = values(4, 1, 6)
    first = stream.step(x)["y"]
    stream.state["layer.h"][...] = 7.0
    given = {name: np.asfortranarray(array) for name, array in stream.state.items()}
    stream.state = given
    for array in given.values():
        array[...] = 9.0
    stream.reset()
    assert np.array_equal(stream.step(x)["y"], first)


def test_states_of_any_layout(model: rn.Model) -> None:
    x = values(4, 3, 6)
    wanted = {n: values(1, 3, 20, seed=i) for i, n in enumerate(("layer.h", "layer.c"))}
    plain, odd = model.stream(3), model.stream(3)
    plain.state = wanted
    odd.state = {
        "layer.h": np.repeat(wanted["layer.h"], 2, axis=2)[:, :, ::2].astype(">f8"),
        "layer.c": wanted["layer.c"][:, ::-1].copy()[:, ::-1],
    }
    assert np.array_equal(plain.step(x)["y"], odd.step(x)["y"])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1e-42])
def test_odd_initial_states_stay_in_their_row(cell: str, value: float, isa: str) -> None:
    content = layer(cell, 18, 5, initial=True)
    model = rn.load(content)
    names = [info.name for info in model.inputs if info.name != "x"]
    feeds = {"x": values(5, 4, 5), **{n: np.zeros((1, 4, 18), np.float32) for n in names}}
    clean = model.run(feeds)["y"]
    feeds["h0"][:, 2, 3] = value
    stream = model.stream(4)
    stream.state = {name: feeds[name] for name in names}
    got = stream.step(feeds["x"])
    wanted = evaluate(load_graph(content), feeds)["y"]
    np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6)
    assert np.array_equal(got[:, :, [0, 1, 3]], clean[:, :, [0, 1, 3]])
    assert np.array_equal(got[:, :, 2], clean[:, :, 2]) == (abs(value) < 1e-30)


# ---- sizes -------------------------------------------------------------------------------------


def test_more_rows_than_memory_is_an_error_and_the_model_lives_on() -> None:
    model = rn.load(layer("LSTM", 512, 64))
    with pytest.raises(MemoryError):
        model.stream(batch=2**31 - 1)
    with pytest.raises(MemoryError):
        model.run(np.broadcast_to(np.float32(0), (2**20, 2**20, 64)))
    assert model.run(values(2, 1, 64))["y"].shape == (2, 1, 1, 512)


def test_sizes_that_no_machine_has_are_refused_at_load() -> None:
    for shape in ((2**40, 2**40), (2**62, 4), (2**31, 2**31, 2**31)):
        with pytest.raises(rn.UnsupportedModelError, match="too large"):
            rn.load(nodes([node("Relu", ["x"], "y")], {"x": shape}, ["y"]))


def test_a_large_fixed_input_costs_nothing_before_it_is_fed() -> None:
    """Loading follows no element of an input that is no state."""
    start = time.perf_counter()
    model = rn.load(nodes([node("Relu", ["x"], "y")], {"x": (2**20, 2**20)}, ["y"]))
    assert time.perf_counter() - start < 1
    with pytest.raises(rn.ShapeError, match=r"\[1048576, 1048576\]"):
        model.run(values(2, 2))


@pytest.mark.parametrize("rank", [9, 12])
def test_ranks_that_no_program_has(rank: int) -> None:
    operators = [node("Squeeze", ["x"], "a"), node("Relu", ["a"], "y")]
    with pytest.raises(rn.UnsupportedModelError, match=rf"input 'x' has rank {rank}"):
        rn.load(nodes(operators, {"x": (*[1] * (rank - 1), 4)}, ["y"]))
    axes = {"axes": np.arange(rank - 1)}
    operators = [node("Relu", ["x"], "a"), node("Unsqueeze", ["a", "axes"], "y")]
    with pytest.raises(rn.UnsupportedModelError, match=rf"output 'y' has rank {rank}"):
        rn.load(nodes(operators, {"x": (4,)}, ["y"], axes))


def test_more_outputs_than_a_program_has() -> None:
    names = [f"y{i}" for i in range(4097)]
    with pytest.raises(rn.UnsupportedModelError, match="4097 outputs"):
        rn.load(nodes([node("Relu", ["x"], name) for name in names], {"x": (2,)}, names))


# ---- state that comes back in a place that depends on sizes ------------------------------------


def _final_state_after_the_batch() -> bytes:
    """The final state follows B other rows of one output: its place depends on B."""
    rng = np.random.default_rng(0)
    constants = {n: rng.standard_normal((1, 4, 4)).astype(np.float32) for n in ("W", "R")}
    constants["axes"] = np.array([0])
    operators = [
        node("Unsqueeze", ["s", "axes"], "h0"),
        _rnn(),
        node("Squeeze", ["f", "axes"], "g"),
        node("Concat", ["x0", "g"], "rows", axis=0),
    ]
    inputs = {"x": ("T", "B", 4), "x0": ("B", 4), "s": ("B", 4)}
    return nodes(operators, inputs, ["y", "rows"], constants)


def _rnn() -> Any:
    from onnx import helper

    return helper.make_node("RNN", ["x", "W", "R", "", "", "h0"], ["y", "f"], "cell", hidden_size=4)


def test_a_state_whose_place_depends_on_the_batch_is_not_followed() -> None:
    model = rn.load(_final_state_after_the_batch())
    with pytest.raises(rn.UnsupportedModelError, match="depends on the sizes"):
        model.stream(batch=3)
    with pytest.raises(rn.UnsupportedModelError, match="within a first axis of fixed size"):
        model.stream(batch=3, state={"rows[2:4]": "s"})


# ---- copies, pickles, lives --------------------------------------------------------------------


def test_models_are_shared_and_streams_are_cloned(model: rn.Model) -> None:
    assert copy.copy(model) is model
    assert copy.deepcopy({"m": model})["m"] is model
    stream = model.stream()
    stream.step(values(2, 1, 6))
    for twin in (copy.copy(stream), copy.deepcopy(stream)):
        assert np.array_equal(twin.state["layer.h"], stream.state["layer.h"])
        twin.step(values(2, 1, 6))
        assert not np.array_equal(twin.state["layer.h"], stream.state["layer.h"])


def test_pickling_is_refused_in_words(model: rn.Model) -> None:
    with pytest.raises(TypeError, match="a model cannot be pickled; load"):
        pickle.dumps(model)
    with pytest.raises(TypeError, match="a stream cannot be pickled; carry its state"):
        pickle.dumps(model.stream())
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps([model.plan], protocol)


def test_objects_made_without_their_constructor_do_not_crash() -> None:
    with pytest.raises(TypeError, match="without its constructor"):
        rn.Model.__new__(rn.Model).run(values(1, 1, 6))
    bare = rn.Stream.__new__(rn.Stream)
    for use in (lambda: bare.step(values(1, 1, 6)), bare.reset, lambda: bare.state):
        with pytest.raises((TypeError, AttributeError)):
            use()


def test_a_stream_outlives_its_model() -> None:
    model = rn.load(layer("GRU", 30, 6))
    x = values(50, 1, 6)
    expected = model.run(x)["y"]
    stream = model.stream()
    del model
    gc.collect()
    assert np.array_equal(
        np.concatenate([stream.step(x[:20])["y"], stream.step(x[20:])["y"]]), expected
    )


def test_a_model_may_go_while_a_thread_runs_its_stream() -> None:
    model = rn.load(layer("GRU", 256, 64))
    x = values(2000, 1, 64)
    expected = model.run(x)["y"]
    got: list[Array] = []
    inside = threading.Event()
    stream = model.stream()

    def work() -> None:
        inside.set()
        got.append(stream.step(x)["y"])

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    del model
    gc.collect()
    thread.join()
    assert np.array_equal(got[0], expected)


def test_arrays_may_go_while_they_are_read() -> None:
    """The buffers of a call are held until it ends."""
    model = rn.load(layer("LSTM", 128, 64))
    x = values(500, 1, 64)
    expected = model.run(x)["y"]
    feeds = {"x": x.copy()}
    results: list[Array] = []
    thread = threading.Thread(target=lambda: results.append(model.run(feeds)["y"]))
    thread.start()
    feeds.clear()
    gc.collect()
    junk = [values(500, 1, 64, seed=i) for i in range(20)]
    thread.join()
    assert np.array_equal(results[0], expected) or not junk


def test_streams_in_many_threads(model: rn.Model) -> None:
    inputs = [values(40, 1, 6, seed=s) for s in range(8)]
    expected = [model.run(x)["y"] for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            stream = model.stream()
            parts = [stream.step(inputs[i][t : t + 1])["y"] for t in range(40)]
            if not np.array_equal(np.concatenate(parts), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_input_that_calls_back_finds_the_stream_busy(model: rn.Model) -> None:
    stream = model.stream()
    seen: list[type[BaseException]] = []

    class Sneaky:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
            for use in (lambda: stream.step(values(1, 1, 6)), stream.reset, lambda: stream.state):
                try:
                    use()
                except rn.StreamBusyError as error:
                    seen.append(type(error))
            return values(1, 1, 6)

    stream.step(Sneaky())
    stream.state = {"layer.h": np.zeros((1, 1, 20))}
    assert seen == [rn.StreamBusyError] * 3
    with pytest.raises(ZeroDivisionError):
        stream.step(type("Bad", (), {"__array__": lambda self, *a, **k: 1 // 0})())
    stream.step(values(1, 1, 6))


# ---- processes and signals ---------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_during_a_run_leaves_both_sides_working() -> None:
    script = """
import os, sys, threading, warnings
import numpy as np
import rnnengine as rn
from onnx_models import layer
warnings.simplefilter("ignore")
model = rn.load(layer("LSTM", 256, 64))
x = np.random.default_rng(0).standard_normal((300, 1, 64)).astype(np.float32)
expected = model.run(x)["y"]
stop = threading.Event()
def work():
    while not stop.is_set():
        assert np.array_equal(model.run(x)["y"], expected)
thread = threading.Thread(target=work)
thread.start()
stream = model.stream()
stream.step(x[:100])
for _ in range(20):
    child = os.fork()
    if child == 0:
        good = np.array_equal(model.run(x)["y"], expected)
        good = good and np.array_equal(stream.step(x[100:])["y"], expected[100:])
        os._exit(0 if good else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop.set()
thread.join()
print("done")
"""
    root = Path(__file__).resolve().parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=60, cwd=root, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "done", done.stderr


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_an_interrupt_between_calls_leaves_streams_whole() -> None:
    model = rn.load(layer("GRU", 32, 16))
    x = values(64, 1, 16)
    expected = model.run(x)["y"]
    stream, taken = model.stream(), 0
    parts: list[Array] = []
    before = signal.getsignal(signal.SIGALRM)
    armed = False

    def interrupt(*_: Any) -> None:
        if armed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(200):
            signal.setitimer(signal.ITIMER_REAL, 0.0004)
            try:
                armed = True
                while taken < 64:
                    # A list goes through Python code on its way in, where interrupts are seen.
                    y = stream.step(x[taken : taken + 1].tolist())["y"]
                    parts.append(y)
                    taken += 1
                    y = None
                armed = False
            except KeyboardInterrupt:
                done = int(not np.array_equal(_after(model, x, taken), stream.state["layer.h"]))
                if done and len(parts) == taken:
                    parts.append(expected[taken : taken + 1])
                taken += done
            finally:
                armed = False  # the next alarm may come before its calls have begun
                signal.setitimer(signal.ITIMER_REAL, 0)
            if taken == 64:
                stream.reset()
                assert np.array_equal(np.concatenate(parts[:64]), expected)
                parts, taken = [], 0
    finally:
        signal.signal(signal.SIGALRM, before)


def _after(model: rn.Model, x: Array, steps: int) -> Array:
    stream = model.stream()
    stream.step(x[:steps])
    return stream.state["layer.h"]


# ---- the kernel table --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["sse9", "avx2;", "AVX2 AVX512", "0", "scalar\n neon", "é", "x" * 10**5]
)
def test_kernel_tables_that_do_not_exist(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNENGINE_ISA", value)
    with pytest.raises(rn.CPUError, match="available here"):
        rn.load(layer("RNN", 3, 3))


@pytest.mark.parametrize("value", ["", "  ", " Scalar ", "SCALAR"])
def test_kernel_tables_in_any_spelling(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNENGINE_ISA", value)
    isa = rn.load(layer("RNN", 3, 3)).isa
    assert isa == ("scalar" if value.strip() else rn.cpu_info()["available"][0])
