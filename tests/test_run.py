"""Model.run: what it accepts, what it refuses, what it gives back."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rnnengine as rn
from onnx_models import layer

Array = np.ndarray[Any, Any]

CELLS = ("LSTM", "GRU", "RNN")


@pytest.fixture(scope="module")
def model() -> rn.Model:
    return rn.load(layer("LSTM", 20, 6))


def values(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def equal(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return all(np.array_equal(a[k], b[k], equal_nan=True) for k in b) and a.keys() == b.keys()


def test_repr_names_what_there_is(model: rn.Model) -> None:
    text = repr(model)
    assert "x: float32[time, batch, 6]" in text
    assert "h_n: float32[1, batch, 20]" in text
    assert "layer.h" in text
    assert model.isa in text


def test_inputs_and_outputs_are_declared_as_in_the_file(model: rn.Model) -> None:
    assert [(i.name, i.shape) for i in model.inputs] == [("x", ("time", "batch", 6))]
    assert [o.name for o in model.outputs] == ["y", "h_n", "c_n"]
    assert model.outputs[0].shape == ("time", 1, "batch", 20)


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed time": lambda x: x[::-1].copy()[::-1],
    "every other": lambda x: np.repeat(x, 2, axis=0)[::2],
    "transposed": lambda x: np.ascontiguousarray(x.transpose(2, 0, 1)).transpose(1, 2, 0),
    "big-endian": lambda x: x.astype(">f4"),
    "float64": lambda x: x.astype(np.float64),
    "big-endian float64": lambda x: x.astype(">f8"),
    "longdouble": lambda x: x.astype(np.longdouble),
    "list": lambda x: x.tolist(),
    "memoryview": memoryview,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_that_can_be_meant(model: rn.Model, layout: str) -> None:
    x = values(5, 3, 6)
    given_as: Any = LAYOUTS[layout](x)
    assert equal(model.run(given_as), model.run(x))


def test_read_only_broadcast_and_misaligned_arrays(model: rn.Model) -> None:
    x = values(5, 3, 6)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert equal(model.run(frozen), model.run(x))
    row = values(1, 1, 6)
    assert equal(model.run(np.broadcast_to(row, (5, 3, 6))), model.run(np.tile(row, (5, 3, 1))))
    raw = np.zeros(x.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(x.shape)
    shifted[...] = x
    assert not shifted.flags.aligned
    assert equal(model.run(shifted), model.run(x))


@given(
    st.permutations([0, 1, 2]),
    st.lists(st.sampled_from([-2, -1, 1, 2, 3]), min_size=3, max_size=3),
)
def test_strides_never_change_the_answer(order: list[int], steps: list[int]) -> None:
    shape = np.array([4, 2, 6])
    big = values(*(shape * np.abs(steps)), seed=1)
    cut = big[tuple(slice(None, None, s) for s in steps)][:4, :2, :6]
    strided = np.ascontiguousarray(cut.transpose(order)).transpose(np.argsort(order))
    model = _shared()
    assert equal(model.run(cut), model.run(np.ascontiguousarray(cut)))
    assert equal(model.run(strided), model.run(np.ascontiguousarray(cut)))


_MODEL: list[rn.Model] = []


def _shared() -> rn.Model:
    if not _MODEL:
        _MODEL.append(rn.load(layer("GRU", 5, 6)))
    return _MODEL[0]


REFUSED_TYPES = {
    "int16 samples": np.zeros((5, 3, 6), np.int16),
    "bool": np.zeros((5, 3, 6), np.bool_),
    "complex": np.zeros((5, 3, 6), np.complex64),
    "object": np.full((5, 3, 6), None),
    "strings": np.full((5, 3, 6), "1.0"),
    "datetimes": np.zeros((5, 3, 6), "M8[s]"),
    "None": None,
    "masked": np.ma.masked_array(np.zeros((5, 3, 6), np.float32), mask=True),
}


@pytest.mark.parametrize("name", REFUSED_TYPES)
def test_types_that_cannot_be_meant(model: rn.Model, name: str) -> None:
    with pytest.raises(TypeError, match="input 'x'"):
        model.run(REFUSED_TYPES[name])


def test_a_double_too_large_for_float32_is_not_made_infinite(model: rn.Model) -> None:
    x = np.zeros((2, 1, 6))
    x[1, 0, 3] = 1e300
    with pytest.raises(ValueError, match=r"input 'x'.*too large for float32"):
        model.run(x)
    x[1, 0, 3] = np.inf
    assert np.isfinite(model.run(x)["y"][0]).all()


@pytest.mark.parametrize("shape", [(5, 3, 7), (5, 6), (6,), (), (5, 3, 6, 1), (5, 3, 0)])
def test_wrong_shapes_name_input_expected_and_got(model: rn.Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(rn.ShapeError) as caught:
        model.run(np.zeros(shape, np.float32))
    message = str(caught.value)
    assert "'x'" in message
    assert "[time, batch, 6]" in message
    assert str(list(shape)) in message


def test_dict_of_inputs_is_checked_by_name(model: rn.Model) -> None:
    x = values(5, 3, 6)
    assert equal(model.run({"x": x}), model.run(x))
    with pytest.raises(rn.ShapeError, match=r"missing x; unknown X; expected x"):
        model.run({"X": x})
    two = rn.load(layer("GRU", 4, 6, initial=True))
    with pytest.raises(TypeError, match=r"2 inputs; pass a dict.*x, h0"):
        two.run(x)


def test_sizes_shared_by_inputs_must_agree() -> None:
    two = rn.load(layer("GRU", 4, 6, initial=True))
    with pytest.raises(rn.ShapeError, match=r"'h0'.*\[1, 2, 4\].*axis 1 must be 3 here"):
        two.run({"x": values(5, 3, 6), "h0": np.zeros((1, 2, 4), np.float32)})


def test_out_is_written_and_returned(model: rn.Model) -> None:
    x = values(5, 3, 6)
    expected = model.run(x)
    y = np.empty((5, 1, 3, 20), np.float32)
    result = model.run(x, out={"y": y})
    assert result["y"] is y
    assert equal(result, expected)


def test_strided_or_overlapping_out_gets_the_same_numbers() -> None:
    single = rn.load(layer("RNN", 6, 6))
    x = values(4, 2, 6)
    expected = single.run(x)["y"]
    wide = np.zeros((4, 1, 2, 12), np.float32)
    single.run(x, out={"y": wide[..., ::2]})
    assert np.array_equal(wide[..., ::2], expected)
    assert not wide[..., 1::2].any()
    memory = np.concatenate([x.reshape(-1), np.zeros(8, np.float32)])
    overlapping = memory[4 : 4 + 48].reshape(4, 1, 2, 6)
    single.run(memory[:48].reshape(4, 2, 6), out={"y": overlapping})
    assert np.array_equal(overlapping, expected)


def test_out_that_cannot_take_the_result(model: rn.Model) -> None:
    x = values(5, 3, 6)
    with pytest.raises(TypeError, match=r"out for 'y'.*float32"):
        model.run(x, out={"y": np.empty((5, 1, 3, 20))})
    with pytest.raises(rn.ShapeError, match=r"out for 'y'.*\[5, 1, 3, 20\].*\[5, 3, 20\]"):
        model.run(x, out={"y": np.empty((5, 3, 20), np.float32)})
    frozen = np.empty((5, 1, 3, 20), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match="read-only"):
        model.run(x, out={"y": frozen})
    with pytest.raises(rn.ShapeError, match=r"no output named 'z'; outputs: y, h_n, c_n"):
        model.run(x, out={"z": frozen})
    with pytest.raises(TypeError, match="dict of arrays"):
        model.run(x, out=frozen)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0, 0)])
def test_empty_sequences_and_batches(cell: str, direction: str, shape: tuple[int, int]) -> None:
    model = rn.load(layer(cell, 5, 6, direction=direction, initial=True))
    directions = 2 if direction == "bidirectional" else 1
    states = {"h0": values(directions, shape[1], 5)}
    if cell == "LSTM":
        states["c0"] = values(directions, shape[1], 5, seed=1)
    result = model.run({"x": np.zeros((*shape, 6), np.float32), **states})
    assert result["y"].shape == (shape[0], directions, shape[1], 5)
    for name, state in states.items():
        final = result[name.replace("0", "_n")]
        assert final.shape == state.shape
        if shape[0] == 0:
            assert np.array_equal(final, state)


@pytest.mark.parametrize("cell", CELLS)
def test_nan_and_infinity_stay_in_their_row(cell: str, isa: str) -> None:
    model = rn.load(layer(cell, 21, 6))
    x = values(7, 9, 6)
    clean = model.run(x)
    x[3, 4, 2] = np.nan
    x[2, 6, 1] = np.inf
    dirty = model.run(x)
    rows = [b for b in range(9) if b not in (4, 6)]
    assert np.array_equal(dirty["y"][:, :, rows], clean["y"][:, :, rows])
    assert np.array_equal(dirty["h_n"][:, rows], clean["h_n"][:, rows])
    assert np.isnan(dirty["y"][3:, 0, 4]).all()
    assert not np.isnan(dirty["y"][:3, 0, 4]).any()


@pytest.mark.parametrize("cell", CELLS)
def test_states_stay_within_one(cell: str, isa: str) -> None:
    model = rn.load(layer(cell, 33, 6))
    x = values(200, 5, 6) * 1e4
    assert np.abs(model.run(x)["y"]).max() <= 1.0


@pytest.mark.parametrize("cell", CELLS)
def test_subnormals_count_as_zero_and_slow_nothing(cell: str, isa: str) -> None:
    model = rn.load(layer(cell, 9, 6, initial=False))
    x = values(6, 2, 6)
    tiny = x.copy()
    tiny[2] = 1e-41
    zeroed = x.copy()
    zeroed[2] = 0.0
    assert equal(model.run(tiny), model.run(zeroed))


def test_every_subnormal_input_is_found(isa: str) -> None:
    """One among others, at any place; zeros and the numbers beside it are none."""
    from onnx import TensorProto, helper

    count, smallest, largest = 79, np.float32(1e-45), np.nextafter(np.float32(2.0**-126), 0)
    node = helper.make_node("Mul", ["x", "k"], ["y"])
    scale = helper.make_tensor("k", TensorProto.FLOAT, [], [2.0**100])
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [count]) for n in ("x", "y")]
    graph = helper.make_graph([node], "scaled", ends[:1], ends[1:], [scale])
    model = rn.load(helper.make_model(graph).SerializeToString())
    others = np.resize(np.float32([1, 0, -0.0, -(2.0**-126), 2.0**-126, -1]), count)
    for value in (smallest, -smallest, largest, -largest):
        for place in range(count):
            x = others.copy()
            x[place] = value
            expected = others * np.float32(2.0**100)
            expected[place] = 0
            assert np.array_equal(model.run(x), expected)


def test_the_floating_point_environment_is_left_alone(model: rn.Model) -> None:
    tiny = np.float32(1e-41)
    model.run(values(50, 3, 6))
    assert tiny * np.float32(1.0) == tiny


def test_many_threads_share_one_model() -> None:
    model = rn.load(layer("LSTM", 64, 32))
    inputs = [values(int(t), 2, 32, seed=int(t)) for t in range(1, 25)]
    expected = [model.run(x) for x in inputs]
    wrong: list[int] = []

    def work(start: int) -> None:
        for k in range(120):
            i = (start + k) % len(inputs)
            if not equal(model.run(inputs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNENGINE_ISA", "sse9")
    with pytest.raises(rn.CPUError, match=r"RNNENGINE_ISA=sse9.*available here: .*scalar"):
        rn.load(layer("RNN", 3, 3))


def test_instruction_set_is_forced(isa: str) -> None:
    assert rn.load(layer("RNN", 3, 3)).isa == isa


def test_cpu_info_names_table_and_features() -> None:
    info = rn.cpu_info()
    assert info["isa"] in info["available"]
    assert "scalar" in info["available"]
