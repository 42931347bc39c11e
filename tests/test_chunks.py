"""However a sequence is cut, whole models give the bits of the whole run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnengine as rn
from conftest import ROOT
from engine import bits, run, same_bits
from example_models import HERE, source
from test_convolution_state import NETWORKS, network

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]

CUTTINGS = 50


def cuttings(rng: np.random.Generator, steps: int) -> Iterator[list[slice]]:
    """Random ways to cut a sequence: a few pieces or many, empty ones too."""
    for _ in range(CUTTINGS):
        cuts = np.sort(rng.integers(0, steps + 1, int(rng.integers(0, steps // 2 + 2))))
        yield [slice(a, b) for a, b in zip([0, *cuts], [*cuts, steps], strict=True)]


def piece(feeds: Feeds, axis: int, where: slice, drop: bool) -> Feeds:
    """A part of all inputs; one step may go without its time axis."""
    parts = {name: x[(slice(None),) * axis + (where,)] for name, x in feeds.items()}
    return {n: x.take(0, axis) for n, x in parts.items()} if drop else parts


def check(model: rn.Model, feeds: Feeds, whole: Feeds, axis: int, axes: dict[str, int]) -> None:
    """Hold all cuttings against the whole; outputs without a time axis are those of the last."""
    rng = np.random.default_rng(17)
    (first, *_) = feeds.values()
    steps, name = first.shape[axis], model.outputs[0].name
    stream = model.stream(first.shape[0])
    for cutting in cuttings(rng, steps):
        stream.reset()
        found: list[Feeds] = []
        for where in cutting:
            drop = where.stop - where.start == 1 and bool(rng.integers(2))
            made = stream.step(piece(feeds, axis, where, drop))
            made = made if isinstance(made, dict) else {name: made}
            if drop:
                made = {k: np.expand_dims(y, axes[k]) if k in axes else y for k, y in made.items()}
            found.append(made)
        joined = {
            k: np.concatenate([part[k] for part in found], axes[k]) if k in axes else found[-1][k]
            for k in whole
        }
        assert same_bits(joined, whole), cutting


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def digits() -> tuple[rn.Model, Feeds]:
    model = rn.load(ROOT / "examples/digits/digits.onnx")
    return model, {"rows": np.abs(normal(0, 3, 40, 8))}


def forecaster() -> tuple[rn.Model, Feeds]:
    model = rn.load(HERE / "forecaster.onnx")
    return model, {"series": source("data").loads(np.random.default_rng(1), 3, 40)}


def sampler() -> tuple[rn.Model, Feeds]:
    series = source("data").loads(np.random.default_rng(2), 3, 40)
    return rn.load(HERE / "deepar.onnx"), {"last": series[..., :1], "known": series[..., 2:]}


def encoder() -> tuple[rn.Model, Feeds]:
    tokens = np.random.default_rng(3).integers(2, 12, (3, 40))
    return rn.load(HERE / "dot_encoder.onnx"), {"tokens": tokens}


MODELS: dict[str, tuple[Callable[[], tuple[rn.Model, Feeds]], dict[str, int]]] = {
    "digits": (digits, {"probabilities": 1}),
    "forecaster": (forecaster, {"forecast": 1}),
    "sampler": (sampler, {"mean": 1, "deviation": 1}),
    "encoder": (encoder, {"memory": 1}),
}
"""What to load and feed, and the time axes of the outputs."""


@pytest.mark.parametrize("name", MODELS)
def test_recurrent_networks(name: str, isa: str) -> None:
    pytest.importorskip("onnx")
    make, axes = MODELS[name]
    model, feeds = make()
    check(model, feeds, run(model, feeds), 1, axes)


@pytest.mark.parametrize("name", ["a block", "cropped", "pools"])
def test_causal_convolutions_before_a_recurrent_layer(name: str, isa: str) -> None:
    """No state is in the graph: histories and h are found."""
    model = rn.load(network(NETWORKS[name]))
    feeds = {"x": normal(4, 2, 4, 40)}
    check(model, feeds, run(model, feeds), 2, {"y": 0, "v": 2})


def keras_network(padding: str) -> Any:
    keras = pytest.importorskip("keras")
    pytest.importorskip("pyfive")
    keras.utils.set_random_seed(5)
    layers = keras.layers
    x = first = keras.Input((None, 6), name="frames")
    for i, rate in enumerate((1, 2, 4)):
        y = layers.Conv1D(8, 3, padding="causal", dilation_rate=rate, name=f"dilated{i}")(x)
        y = layers.LayerNormalization(name=f"norm{i}")(layers.Activation("gelu")(y))
        x = layers.Add(name=f"sum{i}")([layers.Dense(8, name=f"entry{i}")(x), y])
    x = layers.Conv1D(8, 5, padding=padding, name="look")(x)
    x = layers.LSTM(7, return_sequences=True, name="lstm")(x)
    return keras.Model(first, layers.Dense(3, activation="softmax", name="head")(x))


@pytest.mark.filterwarnings("ignore")
def test_a_temporal_convolution_network_of_keras(tmp_path: Path) -> None:
    model = keras_network("causal")
    model.save(tmp_path / "causal.keras")
    ours, x = rn.load(tmp_path / "causal.keras"), normal(6, 3, 40, 6)
    whole = ours.run(x)
    np.testing.assert_allclose(whole, model.predict(x, verbose=0), rtol=0, atol=1e-5)
    output = ours.outputs[0].name
    check(ours, {ours.inputs[0].name: x}, {output: whole}, 1, {output: 1})


@pytest.mark.filterwarnings("ignore")
def test_what_looks_ahead_is_named_with_the_steps_it_would_wait(tmp_path: Path) -> None:
    keras_network("same").save(tmp_path / "same.keras")
    refused = {
        tmp_path / "same.keras": r"'look' \(Conv\).*5 time steps.*looks 2 steps ahead",
        HERE / "classifier.keras": r"'conv' \(Conv\).*3 time steps.*looks 1 step ahead",
        HERE / "additive_encoder.onnx": r"GRU is bidirectional",
        HERE / "crnn.onnx": r"MaxPool",
    }
    for path, message in refused.items():
        model = rn.load(path)
        with pytest.raises(rn.UnsupportedModelError, match=message):
            model.stream()


@pytest.mark.zoo
def test_a_denoiser_with_state_of_its_own(zoo: Path, isa: str) -> None:
    """DTLN: a step takes the one frame it was exported for, or any number of them."""
    model, frames = rn.load(zoo / "dtln/model_1.onnx"), np.abs(normal(7, 1, 24, 257))
    whole = model.stream().step(frames)
    for cutting in cuttings(np.random.default_rng(17), 24):
        stream = model.stream()
        parts = [stream.step(frames[:, where]) for where in cutting]
        assert np.array_equal(bits(np.concatenate(parts, axis=1)), bits(whole)), cutting


@pytest.mark.zoo
def test_a_denoiser_of_single_frames(zoo: Path) -> None:
    """GTCRN takes a frame a call; at every cut another stream takes over."""
    model, frames = rn.load(zoo / "gtcrn/gtcrn_simple.onnx"), normal(8, 12, 1, 257, 1, 2)
    pairs = {"conv_cache": 1, "tra_cache": 2, "inter_cache": 3}
    carried = {i.name: np.zeros([int(n) for n in i.shape], np.float32) for i in model.inputs[1:]}
    whole = []
    for frame in frames:
        made = list(run(model, {"mix": frame, **carried}).values())
        carried = {name: made[at] for name, at in pairs.items()}
        whole.append(made[0])
    for cutting in cuttings(np.random.default_rng(17), len(frames)):
        stream, found = model.stream(), []
        for where in cutting:
            found += [stream.step(frame) for frame in frames[where]]
            stream, left = model.stream(), stream
            stream.restore(left.snapshot())
        assert np.array_equal(bits(np.stack(found)), bits(np.stack(whole))), cutting
