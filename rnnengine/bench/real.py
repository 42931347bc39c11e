"""Trained models with inputs as they meet them: recordings, weather, names, words, examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench.phonemes import Phonemes
from rnnengine.bench.sound import frames, recording
from rnnengine.bench.surnames import numbers, surnames
from rnnengine.bench.trained import Call, TrainedLayer, trained_layers
from rnnengine.bench.words import WORDS

__all__ = ["layers"]

Array = np.ndarray[Any, Any]

FRAMES = 200
"""Frames of the recording that speech enhancers are given, from its second second on."""
ROWS, LETTERS = 8, 9
"""Names and words, and the letters of each word."""
DECODERS = ("additive_decoder", "dot_decoder")
EXAMPLES = {
    "onnx": ("crnn", "additive_encoder", "dot_encoder", "forecaster", "deepar", *DECODERS),
    "keras": ("classifier",),
}
"""Files of examples/models, by their ends."""
STEPS = 9
"""Steps of the decoders among the examples."""
_START = 16000
_NOAA = "noaa-lstm/cats-27_52_67-2015_12_01-2015_12_30.nc"
_RAIN, _WARMTH = (0.144850999, 0.865671992), (284.620910645, 45.767158508)
"""Mean and deviation of precipitation and temperature, of the model's train_data_scaler.yml."""


def layers(zoo: Path | None, root: Path | None) -> Iterator[TrainedLayer]:
    """Recurrent layers of all trained models that are there.

    Parameters
    ----------
    zoo : Path, optional
        Folder of the published models; what is absent, or needs a package that is absent, is left
        out.
    root : Path, optional
        The source tree, for the examples in it.
    """
    if zoo is not None:
        for file, package, make in _ZOO:
            if (zoo / file).exists() and (package is None or find_spec(package)):
                yield from make(zoo)
    if root is not None and find_spec("onnx"):
        yield from _examples(root / "examples")


def _dtln(zoo: Path) -> list[TrainedLayer]:
    sound = recording(zoo / "gtcrn/mix.wav")[_START:] / 32768
    blocks = np.stack([sound[128 * i : 128 * i + 512] for i in range(FRAMES)])
    found = np.abs(np.fft.rfft(blocks, axis=1)).astype(np.float32)
    calls: list[Call] = [{"input_2": frame.reshape(1, 1, 257)} for frame in found]
    return trained_layers("dtln", rn.load(zoo / "dtln/model_1.onnx"), calls)


def _gtcrn(zoo: Path) -> list[TrainedLayer]:
    sound = recording(zoo / "gtcrn/mix.wav")[_START:] / 32768
    calls: list[Call] = [{"mix": f[None, :, None, :]} for f in frames(sound)[: FRAMES // 2]]
    return trained_layers("gtcrn", rn.load(zoo / "gtcrn/gtcrn_simple.onnx"), calls)


def _ethnicolr(zoo: Path) -> list[TrainedLayer]:
    folder = zoo / "ethnicolr"
    model = rn.load(folder / "census2010_ln_lstm.h5")
    ids = numbers(folder, surnames(folder, ROWS))
    return trained_layers("ethnicolr", model, [{model.inputs[0].name: ids}])


def _noaa(zoo: Path) -> list[TrainedLayer]:
    """A month of hours in three catchments, of mean height and slope (the file does not say)."""
    pyfive: Any = import_module("pyfive")
    with pyfive.File(str(zoo / _NOAA)) as file:
        rain, warmth = (np.asarray(file[n][:]) for n in ("APCP_surface", "TMP_2maboveground"))
    series = [(rain - _RAIN[0]) / _RAIN[1], (warmth - _WARMTH[0]) / _WARMTH[1]]
    x = np.stack([*series, 0 * rain, 0 * rain], axis=-1).swapaxes(0, 1).astype(np.float32)
    model = rn.load(zoo / "noaa-lstm/model_epoch009.pt", layer="lstm")
    return trained_layers("noaa", model, [{model.inputs[0].name: x}])


def _g2p(zoo: Path) -> list[TrainedLayer]:
    """Words as letters for the encoder; for the decoder, the phonemes that it says itself."""
    phonemes = Phonemes(zoo / "g2p_en/checkpoint20.npz")
    words = [word for word in WORDS if len(word) == LETTERS][:ROWS]
    x = np.concatenate([phonemes.letters(word) for word in words], axis=1)
    found = trained_layers("g2p encoder", phonemes.encoder, [{"input": x}])
    spoken = [phonemes.heard(word) for word in words]
    steps = min(len(heard) for heard, _ in spoken)
    said = np.concatenate([heard[:steps] for heard, _ in spoken], axis=1)
    (decoder,) = trained_layers("g2p decoder", phonemes.decoder, [{"input": said}])
    start = np.concatenate([start for _, start in spoken], axis=1)
    return [*found, replace(decoder, starts={"h": start})]


def _examples(folder: Path) -> Iterator[TrainedLayer]:
    """Networks of examples/models and examples/digits, on the inputs stored beside them."""
    for path in (folder / "models" / f"{n}.{end}" for end in EXAMPLES for n in EXAMPLES[end]):
        if path.exists() and (path.suffix == ".onnx" or find_spec("pyfive")):
            name = path.stem
            model, stored = rn.load(path), _stored(folder / "models" / f"{name}.npz")
            feeds = {i.name: x for i, x in zip(model.inputs, stored.values(), strict=True)}
            calls = _decoded(model, feeds) if name in DECODERS else [feeds]
            yield from trained_layers(name, model, calls)
    digits = folder / "digits" / "digits.onnx"
    if digits.exists():
        model = rn.load(digits)
        with np.load(folder / "digits" / "expected.npz") as file:
            feeds = {model.inputs[0].name: file["rows"]}
        yield from trained_layers("digits", model, [feeds])


def _decoded(model: rn.Model, feeds: dict[str, Array]) -> Iterator[Call]:
    """Calls of a decoder that is fed with the likeliest answer and the state of the last call."""
    for _ in range(STEPS):
        yield feeds
        found = model.run(feeds)
        token = found["logits"].argmax(axis=-1).astype(feeds["token"].dtype)
        ends = {"state": "next", "fed": "fed_next", "h": "h_next", "c": "c_next"}
        states = {name: found[ends[name]] for name in feeds if name in ends}
        feeds = {**feeds, **states, "token": token}


def _stored(path: Path) -> dict[str, Array]:
    with np.load(path) as file:
        return {key[2:]: file[key] for key in file.files if key.startswith("x.")}


_ZOO: tuple[tuple[str, str | None, Callable[[Path], list[TrainedLayer]]], ...] = (
    ("dtln/model_1.onnx", "onnx", _dtln),
    ("gtcrn/gtcrn_simple.onnx", "onnx", _gtcrn),
    ("ethnicolr/census2010_ln_lstm.h5", "pyfive", _ethnicolr),
    ("noaa-lstm/model_epoch009.pt", "pyfive", _noaa),
    ("g2p_en/checkpoint20.npz", None, _g2p),
)
