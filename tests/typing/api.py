"""The public interface as a typed program uses it; checked by mypy --strict, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnengine as rn
from rnnengine.errors import RNNEngineError, ShapeError, UnsupportedModelError

Array = npt.NDArray[np.float32]


def load(path: Path) -> rn.Model:
    """Load from a path, a string, or bytes, with the options of an ONNX file."""
    rn.load(str(path))
    rn.load(path.read_bytes())
    rn.load(path, constants={"sr": np.int64(16000)}, external_data=path.parent)
    try:
        return rn.load(path)
    except UnsupportedModelError as refusal:
        raise SystemExit(str(refusal)) from None


def load_weights(path: Path) -> rn.Model:
    """Files of weights, with their network in layers, in calls, or as one layer."""
    rn.load(path, layer="encoder.lstm", prefix="model")
    chain = rn.Sequential(
        rn.LSTM(40, 64, num_layers=2, batch_first=True, name="encoder"),
        rn.Dropout(0.1),
        rn.Dense(2, activation="softmax"),
    )
    rn.load(path, architecture=chain)
    x = rn.Input(("batch", "time", 40))
    y = rn.GRU(40, 40, batch_first=True)(x)
    model = rn.load(path, architecture={"y": rn.Add()(x, y), "h": y.h_n})
    rn.save(model, path.with_suffix(".rnne"), overwrite=True, origin={"file": path.name})
    found: rn.Inspection = rn.inspect(path)
    print(found, found.layers[0].words, found.as_dict())
    return rn.load(path.with_suffix(".rnne"), verify=True)


def describe(model: rn.Model) -> list[str]:
    """Names, types and shapes; open dimensions are strings."""
    lines = []
    for info in (*model.inputs, *model.outputs):
        name: str = info.name
        shape: tuple[int | str, ...] = info.shape
        lines.append(f"{name} {info.dtype} {shape}")
    return lines


def run(model: rn.Model, x: Array) -> Array:
    """Run whole sequences with one input or several."""
    out = np.empty_like(x)
    model.run(x, out=out)
    model.run({"x": x}, lengths=[3, 2])
    try:
        y: Array = model.run(x)
    except ShapeError as wrong:
        raise ValueError(str(wrong)) from None
    return y


def stream(model: rn.Model, x: Array) -> Array:
    """Step, reset, copy, and exchange state."""
    single = model.stream()
    paired = model.stream(state={"state_out": "state_in"})
    several: rn.Stream = model.stream(batch=4)
    several.reset()
    twin: rn.Stream = several.clone()
    twin.state = several.state
    state: dict[str, npt.NDArray[Any]] = dict(single.state)
    paired.step({"x": x, **state})
    y: Array = several.step(x, out=np.empty_like(x))
    return y


def machine() -> str:
    """The instruction set in use."""
    info = rn.cpu_info()
    return f"{info['isa']} of {info['available']}, {info['features']}"


def is_ours(error: Exception) -> bool:
    """Every error the engine raises on its own account has one base."""
    return isinstance(error, RNNEngineError)
