"""Synthetic tasks: what the networks of this folder learn, drawn from a numpy generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["lines", "loads", "sentences", "words"]

Array = npt.NDArray[Any]

FONT = (
    "111 010 111 111 101 111 111 111 111 111",
    "101 110 001 001 101 100 100 001 101 101",
    "101 010 111 111 111 111 111 010 111 111",
    "101 010 100 001 001 001 101 010 101 001",
    "111 111 111 111 001 111 111 010 111 111",
)
GLYPHS = np.array([[[int(pixel) for pixel in one] for one in row.split()] for row in FONT])
"""The digits in three by five pixels: [5, 10, 3]."""
LETTERS = 20
"""Letters of the words that are classified; 0 pads."""


def lines(rng: np.random.Generator, count: int, digits: int) -> tuple[Array, Array]:
    """Images float32 [count, 1, 16, 16 + 12 * digits] of lines, and their digits [count, digits].

    A digit is six by ten pixels, somewhere in its twelve columns; the whole is noisy.
    """
    labels = rng.integers(0, 10, (count, digits))
    images = np.zeros((count, 16, 16 + 12 * digits))
    for image, label in zip(images, labels, strict=True):
        for place, digit in enumerate(label):
            glyph = GLYPHS[:, digit].repeat(2, 0).repeat(2, 1)
            top, left = rng.integers(2, 5), 8 + 12 * place + rng.integers(0, 3)
            image[top : top + 10, left : left + 6] = glyph
    images += 0.05 * rng.standard_normal(images.shape)
    return images[:, None].astype(np.float32), labels


def sentences(rng: np.random.Generator, count: int, longest: int) -> tuple[Array, Array, Array]:
    """Sentences [count, longest] padded with 0, their lengths, and their answers.

    The answer [count, longest + 2] is the sentence backwards between two ones, padded with 0.
    """
    lengths = rng.integers(2, longest + 1, count)
    lengths[0] = longest
    tokens = rng.integers(2, 12, (count, longest))
    answers = np.zeros((count, longest + 2), np.int64)
    for row, answer, length in zip(tokens, answers, lengths, strict=True):
        row[length:] = 0
        answer[: length + 2] = [1, *row[:length][::-1], 1]
    return tokens, lengths, answers


def words(rng: np.random.Generator, count: int, longest: int) -> tuple[Array, Array]:
    """Words int32 [count, longest] padded with 0, and the class of each.

    One of four groups of three letters, written once somewhere, gives the class.
    """
    groups = np.array([[3, 7, 5], [5, 7, 3], [11, 3, 14], [14, 9, 11]])
    x = rng.integers(1, LETTERS, (count, longest))
    classes = rng.integers(0, 4, count)
    for row, kind in zip(x, classes, strict=True):
        length = rng.integers(8, longest + 1)
        start = rng.integers(0, length - 2)
        row[start : start + 3] = groups[kind]
        row[length:] = 0
    return x.astype(np.int32), classes


def loads(rng: np.random.Generator, count: int, hours: int) -> Array:
    """Series float32 [count, hours, 4]: load, temperature, and the time of day as sine and cosine.

    The load has a daily course of its own height and phase, follows the temperature, and is noisy.
    """
    hour = np.arange(hours) + rng.integers(0, 24, (count, 1))
    height, phase = rng.uniform(0.5, 1.5, (count, 1)), rng.uniform(-1, 1, (count, 1))
    warmth = np.cumsum(0.1 * rng.standard_normal((count, hours)), axis=1)
    day = 2 * np.pi * hour / 24
    noise = 0.1 * rng.standard_normal((count, hours))
    load = height * np.sin(day + phase) + 0.3 * np.sin(2 * day) - 0.5 * warmth + noise
    return np.stack([load, warmth, np.sin(day), np.cos(day)], axis=-1).astype(np.float32)
