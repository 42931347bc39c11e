"""Masks in the float64 definition of the recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import TensorType
from rnnengine.ops import NotAlongTime, get

Array = np.ndarray[Any, Any]
STEPS, BATCH, SIZE = 6, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def operands(op: str, directions: int, seed: int = 0) -> list[Array | None]:
    rng = np.random.default_rng(seed)
    rows = GATES[op] * SIZE
    shapes = [(STEPS, BATCH, 2), (directions, rows, 2), (directions, rows, SIZE)]
    values: list[Array | None] = [rng.normal(0, 0.7, s) for s in shapes]
    return [*values, rng.normal(size=(directions, rows)), *[None] * 6]


def outputs(op: str, attrs: dict[str, Any], values: list[Array | None]) -> list[Array]:
    return get(op).reference({"hidden_size": SIZE, **attrs}, values)


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("masked_output", ["carry", "zero"])
def test_masked_steps_might_as_well_not_be_there(
    op: str, direction: str, masked_output: str
) -> None:
    """Every row gives what the row without its masked steps gives, put back into their places."""
    directions = 2 if direction == "bidirectional" else 1
    values = operands(op, directions)
    mask = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 0]], np.int32)
    attrs = {"direction": direction, "masked_output": masked_output}
    y, *states = outputs(op, attrs, [*values, mask])
    for row in range(BATCH):
        kept = np.nonzero(mask[:, row])[0]
        assert values[0] is not None
        part = [values[0][kept][:, row : row + 1], *values[1:]]
        short, *finals = outputs(op, {"direction": direction}, part)
        for got, want in zip(states, finals, strict=True):
            np.testing.assert_allclose(got[:, row], want[:, 0], rtol=1e-12)
        for d in range(directions):
            backwards = direction == "reverse" or d == 1
            before = np.zeros(SIZE)
            for t in range(STEPS)[:: -1 if backwards else 1]:
                if mask[t, row]:
                    before = short[list(kept).index(t), d, 0]
                    np.testing.assert_allclose(y[t, d, row], before, rtol=1e-12)
                else:
                    want = before if masked_output == "carry" else np.zeros(SIZE)
                    np.testing.assert_allclose(y[t, d, row], want, rtol=1e-12)


def test_a_given_state_is_not_an_output() -> None:
    values = operands("GRU", 1)
    values[6] = np.ones((1, BATCH, SIZE))
    mask = np.ones((STEPS, BATCH), np.int32)
    mask[:2] = 0
    y, final = outputs("GRU", {}, [*values, mask])
    assert np.all(y[:2] == 0) and np.all(y[2:] != 0)
    assert np.all(outputs("GRU", {}, [*values, np.zeros_like(mask)])[1] == values[6])
    np.testing.assert_array_equal(final[0], y[-1, 0])


def test_lengths_and_mask_together() -> None:
    values = operands("LSTM", 1)
    values[5] = np.array([6, 3, 0], np.int32)
    mask = np.ones((STEPS, BATCH), np.int32)
    mask[2] = 0
    y, h, _ = outputs("LSTM", {}, [*values, mask])
    assert np.array_equal(y[2, 0, :2], y[1, 0, :2]) and np.all(y[3:, 0, 1] == 0)
    assert np.array_equal(h[0, 1], y[1, 0, 1]) and np.all(h[0, 2] == 0)


def types(op: str, mask: TensorType) -> list[TensorType | None]:
    found = [
        None if v is None else TensorType(np.dtype(np.float32), v.shape) for v in operands(op, 1)
    ]
    return [*found, mask]


def test_the_mask_is_int32_of_time_and_batch() -> None:
    wrong = TensorType(np.dtype(np.int32), (BATCH, STEPS))
    with pytest.raises(ShapeError, match="LSTM: mask is"):
        get("LSTM").infer({"hidden_size": SIZE}, types("LSTM", wrong), [])
    with pytest.raises(UnsupportedModelError, match="masked_output is 'keep'"):
        get("LSTM").infer({"hidden_size": SIZE, "masked_output": "keep"}, types("LSTM", wrong), [])


def test_along_time() -> None:
    mask = TensorType(np.dtype(np.int32), (STEPS, BATCH))
    kinds, axes = types("GRU", mask), [0, *[None] * 9, 0]
    zero = {"hidden_size": SIZE, "masked_output": "zero"}
    assert get("GRU").stream(zero, kinds, [], axes) == [0, None]
    assert get("GRU").stream(zero, kinds, [], [1, *[None] * 9, 1]) == [2, 1]
    with pytest.raises(NotAlongTime, match="repeats the output before it"):
        get("GRU").stream({"hidden_size": SIZE}, kinds, [], axes)
    for wrong in ([0, *[None] * 10], [1, *[None] * 10]):
        with pytest.raises(NotAlongTime):
            get("GRU").stream(zero, kinds, [], wrong)


def test_masks_from_numbers_and_features() -> None:
    ids = np.array([[0, 3, -1]], np.int32)
    assert get("MaskIds").reference({}, [ids])[0].tolist() == [[0, 1, 1]]
    x = np.array([[[0.1, 0.1], [0.1, 0.2], [np.nan, 0.1], [0.0, -0.0]]], np.float32)
    (mask,) = get("MaskValues").reference({"mask_value": 0.1}, [x])
    assert mask.tolist() == [[0, 1, 1, 1]] and mask.dtype == np.int32
    assert get("MaskValues").reference({"mask_value": 0.0}, [x])[0].tolist() == [[1, 1, 1, 0]]
    kinds = [TensorType(np.dtype(np.float32), (2, 5, 3))]
    assert get("MaskValues").infer({"mask_value": 0.0}, kinds, [])[0].shape == (2, 5)
    assert get("MaskValues").stream({}, kinds, [], [1]) == [1]
    with pytest.raises(NotAlongTime):
        get("MaskValues").stream({}, kinds, [], [2])
    with pytest.raises(ShapeError, match="MaskIds: ids is float32"):
        get("MaskIds").infer({}, kinds, [])
