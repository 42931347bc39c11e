"""A lowered model keeps its small weights alone."""

from __future__ import annotations

import gc
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from rnnengine.graph import as_lowered
from rnnengine.graph.lowered import COMPUTE_TYPES
from test_lower import network

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("loaded", ["graph", "file"])
def test_memory(loaded: str, tmp_path: Path) -> None:
    """Bytes of all weights that a model keeps, in its graph and in its programs."""

    def held(model: rn.Model) -> int:
        gc.collect()
        arrays: dict[int, int] = {}
        for value in model.graph.constants.values():
            for array in _stored(value):
                arrays[array.ctypes.data] = array.nbytes
        for constant in model._form.compiled.constants:
            arrays[constant.ctypes.data] = constant.nbytes
        return sum(arrays.values())

    def made(**words: Any) -> rn.Model:
        model = rn.load(_lstm(128), architecture=rn.Sequential(rn.LSTM(128, 128)), **words)
        if loaded == "file":
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.rnne"
            rn.save(model, path)
            return rn.load(path)
        return model

    plain, small = made(), made(compute_type="int8")
    weights = 4 * 4 * 128 * 256
    assert held(plain) >= weights
    matrices = [m for v in small.graph.constants.values() if (m := as_lowered(v)) is not None]
    blocks = [b for m in matrices for b in m.blocks]
    assert sum(b.stored_bytes + b.offsets.nbytes for b in blocks) <= 0.27 * weights
    biases = held(small) - sum(b.stored_bytes + b.offsets.nbytes for b in blocks)
    assert biases <= 4 * 2 * 3 * 4 * 128, "whatever else there is are biases"


def _stored(value: Any) -> list[Array]:
    kept = as_lowered(value)
    if kept is not None:
        found = [a for b in kept.blocks for a in (b.codes, b.scales, b.zeros) if a is not None]
        return found
    return list(getattr(value, "blocks", [value]))


def _lstm(hidden: int) -> bytes:
    rng = np.random.default_rng(0)
    shapes = {"0.weight_ih_l0": (4 * hidden, hidden), "0.weight_hh_l0": (4 * hidden, hidden),
              "0.bias_ih_l0": (4 * hidden,), "0.bias_hh_l0": (4 * hidden,)}  # fmt: skip
    file = io.BytesIO()
    arrays = {k: (rng.standard_normal(s) / 12).astype(np.float32) for k, s in shapes.items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("compute_type", ["bfloat16", "int8"])
def test_no_array_of_float32_weights_survives(compute_type: str) -> None:
    """Whatever NumPy array the process still has is smaller than the weights."""
    content = _lstm(160)
    net = rn.Sequential(rn.LSTM(160, 160))
    gc.collect()
    before = {id(a) for a in _arrays()}
    model = rn.load(content, architecture=net, compute_type=compute_type)
    model.run(np.ones((5, 2, 160), np.float32))
    gc.collect()
    largest = max((a.nbytes for a in _arrays() if id(a) not in before), default=0)
    assert largest < 4 * 4 * 160 * 160
    plain = rn.load(content, architecture=net)
    assert max(a.nbytes for a in _arrays()) >= 4 * 4 * 160 * 160, plain


@pytest.mark.parametrize("compute_type", COMPUTE_TYPES)
def test_no_layer_of_any_kind_keeps_float32_weights(compute_type: str) -> None:
    """No float32 array of program or graph is as large as the weights of the smallest layer."""
    model = rn.Model(network(128, 128), compute_type=compute_type, keep="head")
    model.run(np.ones((1, 128, 4), np.float32))
    floats = [a for a in model._form.compiled.constants if a.dtype == np.float32]
    floats += [np.asarray(v) for v in model.graph.constants.values() if as_lowered(v) is None]
    scales = 4 * 128 * 2  # of the widest matrix, both directions
    assert max(a.size for a in floats) <= scales < 12 * 128 * 3, "fewer than a convolution has"


def _arrays() -> list[Array]:
    """Arrays that something the collector knows of refers to, and what they are views of."""
    found: dict[int, Array] = {}
    for holder in gc.get_objects():
        for thing in gc.get_referents(holder) if not issubclass(type(holder), type) else ():
            array = thing
            while issubclass(type(array), np.ndarray):  # no proxies are asked for their class
                found[id(array)] = array
                array = array.base
    return list(found.values())
