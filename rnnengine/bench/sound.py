"""Recordings as spectra and back, as the published speech enhancers take and give them."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["WINDOW", "frames", "recording", "samples"]

Array = np.ndarray[Any, Any]

WINDOW: Array = np.sqrt(np.hanning(513)[:-1])
"""The root of Hann's window of 512 samples; its squares, 256 apart, add up to 1."""


def recording(path: Path) -> Array:
    """Samples of a recording of one channel, int16."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def frames(sound: Array) -> Array:
    """Spectra float32 [frames, 257, 2] of windows 256 samples apart, the ends reflected."""
    padded = np.pad(sound, 256, mode="reflect")
    starts = range(0, len(padded) - 511, 256)
    spectra = np.fft.rfft(np.stack([padded[s : s + 512] * WINDOW for s in starts]), axis=1)
    return np.stack([spectra.real, spectra.imag], -1).astype(np.float32)


def samples(spectra: Array) -> Array:
    """The inverse: windows added up, over the sum of their squares."""
    parts = np.fft.irfft(spectra[..., 0] + 1j * spectra[..., 1], axis=1) * WINDOW
    total, weight = np.zeros(256 * (len(parts) + 1)), np.zeros(256 * (len(parts) + 1))
    for i, part in enumerate(parts):
        total[256 * i : 256 * i + 512] += part
        weight[256 * i : 256 * i + 512] += WINDOW**2
    return np.asarray(total[256:-256] / weight[256:-256])
