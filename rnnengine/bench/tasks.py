"""What published models are for, with fewer bytes a weight against float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import rnnengine as rn
from rnnengine.bench.phonemes import Phonemes
from rnnengine.bench.sound import frames, recording, samples
from rnnengine.bench.surnames import numbers, surnames
from rnnengine.bench.words import WORDS

__all__ = ["TASKS", "Task", "there"]

Array = np.ndarray[Any, Any]

NAMES = 2000


@dataclass(frozen=True)
class Task:
    """Something that a model does, and how much of it a compute type must do as float32 does.

    ``measure(zoo, compute_type)`` says how much; ``least`` is asked; ``files`` are needed.
    """

    name: str
    what: str
    measure: Callable[[Path, str], float]
    least: float
    digits: int
    files: tuple[str, ...]
    package: str | None = None


def same_labels(zoo: Path, compute_type: str) -> float:
    """Per cent of made-up names that ethnicolr puts into the same class."""
    folder = zoo / "ethnicolr"
    x = numbers(folder, surnames(folder, NAMES))
    path = folder / "census2010_ln_lstm.h5"
    wanted, found = (
        np.asarray(rn.load(path, compute_type=kind).run(x)).argmax(axis=-1)
        for kind in ("float32", compute_type)
    )
    return float(100 * np.mean(wanted == found))


def same_words(zoo: Path, compute_type: str) -> float:
    """Per cent of words that g2p_en spells with the same phonemes, all of them."""
    path = zoo / "g2p_en/checkpoint20.npz"
    plain, low = Phonemes(path), Phonemes(path, compute_type=compute_type)
    return 100 * sum(plain.say(word) == low.say(word) for word in WORDS) / len(WORDS)


def enhanced_snr(zoo: Path, compute_type: str) -> float:
    """Decibels of what gtcrn makes of a recording, over its difference from float32."""
    spectra = frames(recording(zoo / "gtcrn/mix.wav") / 32768)
    sounds = []
    for kind in ("float32", compute_type):
        stream = rn.load(zoo / "gtcrn/gtcrn_simple.onnx", compute_type=kind).stream()
        parts = [stream.step(frame[None, :, None, :])[0, :, 0, :] for frame in spectra]
        sounds.append(samples(np.stack(parts)))
    noise = sounds[1] - sounds[0]
    return float(10 * np.log10(np.sum(sounds[0] ** 2) / np.sum(noise**2)))


TASKS = (
    Task(
        "labels", f"labels of {NAMES} names, % the same", same_labels, 99.5, 2,
        ("ethnicolr/census2010_ln_lstm.h5",), "pyfive",
    ),
    Task(
        "phonemes", f"phonemes of {len(WORDS)} words, % the same", same_words, 99.0, 1,
        ("g2p_en/checkpoint20.npz",),
    ),
    Task(
        "speech", "enhanced speech, dB over the difference", enhanced_snr, 30.0, 1,
        ("gtcrn/gtcrn_simple.onnx", "gtcrn/mix.wav"), "onnx",
    ),
)  # fmt: skip


def there(zoo: Path) -> list[Task]:
    """Tasks whose files and packages are there."""
    return [
        task
        for task in TASKS
        if all((zoo / file).exists() for file in task.files)
        and (task.package is None or find_spec(task.package))
    ]
