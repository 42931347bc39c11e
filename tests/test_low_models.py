"""Real models in fewer bytes: the same bits on every table, in any batch, threaded, as a stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from engine import run, same_bits
from rnnengine._c import cpu

Array = np.ndarray[Any, Any]

ROOT = Path(__file__).parent.parent
SHIPPED = {
    "digits": "examples/digits/digits.onnx",
    "forecaster": "examples/models/forecaster.onnx",
    "deepar": "examples/models/deepar.onnx",
    "crnn": "examples/models/crnn.onnx",
    "classifier": "examples/models/classifier.keras",
}
PUBLISHED = {
    "dtln": "dtln/model_1.onnx",
    "dtln-pytorch": "dtln-pytorch/model_p1.onnx",
    "gtcrn": "gtcrn/gtcrn_simple.onnx",
    "ethnicolr": "ethnicolr/census2010_ln_lstm.h5",
}
TYPES = ("bfloat16", "float16", "int8", "int8_fast")
BATCH, STEPS = 5, 12


@pytest.fixture(params=[*SHIPPED, *PUBLISHED])
def path(request: pytest.FixtureRequest) -> Path:
    """File of a model."""
    name = request.param
    if name in ("classifier", "ethnicolr"):
        pytest.importorskip("pyfive", reason="pyfive is not installed")
    if name in SHIPPED:
        return ROOT / SHIPPED[name]
    zoo: Path = request.getfixturevalue("zoo")
    return zoo / PUBLISHED[name]


def load(path: Path, isa: str, compute_type: str) -> rn.Model:
    with cpu.use(isa):
        return rn.load(path, compute_type=compute_type)


def feeds(model: rn.Model) -> dict[str, Array]:
    """Inputs of ``BATCH`` rows and ``STEPS`` steps, where these are open."""
    rng = np.random.default_rng(7)
    sizes: dict[str, int] = {"batch": BATCH}
    found = {}
    for info in model.inputs:
        shape = [d if isinstance(d, int) else sizes.get(d, STEPS) for d in info.shape]
        if info.dtype.kind == "i":
            found[info.name] = rng.integers(1, 20, shape).astype(info.dtype)
        else:
            found[info.name] = rng.normal(size=shape).astype(np.float32)
    return found


def rows(arrays: dict[str, Array], which: list[int]) -> dict[str, Array]:
    """Some rows of the batch, in the given order; no other axis has its size."""
    return {
        name: np.take(value, which, axis=value.shape.index(BATCH)) for name, value in arrays.items()
    }


@pytest.mark.parametrize("compute_type", TYPES)
def test_bits_of_a_model(path: Path, compute_type: str) -> None:
    model = load(path, cpu.available()[0], compute_type)
    assert compute_type in {choice.compute_type for choice in model.choices}
    given = feeds(model)
    want = run(model, given)
    assert all(np.isfinite(value).all() for value in want.values())
    for isa in cpu.available()[1:]:
        assert same_bits(run(load(path, isa, compute_type), given), want), isa
    shared = model.run(given, threads=2)
    assert same_bits(shared if isinstance(shared, dict) else dict.fromkeys(want, shared), want)
    if any("batch" in info.shape for info in model.inputs):
        for which in ([3, 0, 4, 4, 1], [2]):
            picked = run(model, rows(given, which))
            assert same_bits(picked, rows(want, which)), which


@pytest.mark.parametrize("compute_type", TYPES)
@pytest.mark.parametrize("name", ["digits", "forecaster", "deepar"])
def test_bits_of_a_stream(name: str, compute_type: str) -> None:
    model = load(ROOT / SHIPPED[name], cpu.available()[0], compute_type)
    given = feeds(model)
    want = run(model, given)
    stream = model.stream(batch=BATCH)
    pieces: dict[str, list[Array]] = {key: [] for key in want}
    for begin, end in ((0, 1), (1, 2), (2, 9), (9, STEPS)):
        part = {key: value[:, begin:end] for key, value in given.items()}
        y = stream.step(part if len(part) > 1 else next(iter(part.values())))
        for key in want:
            pieces[key].append(y[key] if isinstance(y, dict) else y)
    assert same_bits({key: np.concatenate(parts, axis=1) for key, parts in pieces.items()}, want)
