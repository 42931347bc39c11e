"""Letters to phonemes with the published g2p_en: an encoder, and a decoder fed with its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import rnnengine as rn

__all__ = ["Phonemes"]

Array = np.ndarray[Any, Any]

_FIRST_LETTER, _END_OF_WORD = 3, 2
_BEGIN, _END, _LONGEST = 2, 3, 20
_ENDS = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}


class Phonemes:
    """The network of ``g2p_en/checkpoint20.npz``.

    Parameters
    ----------
    path : Path
    words
        As :func:`rnnengine.load` takes them, for both layers.
    """

    def __init__(self, path: Path, **words: Any) -> None:
        self._arrays = dict(np.load(path))
        self.encoder, self.decoder = (self._layer(path, part, words) for part in ("enc", "dec"))

    @staticmethod
    def _layer(path: Path, part: str, words: dict[str, Any]) -> rn.Model:
        names = {f"{ours}_l0": f"{part}_{theirs}" for ours, theirs in _ENDS.items()}
        network = rn.GRU(256, 256, weights=names, name=part)
        return rn.load(path, layer=part, architecture=network, **words)

    def letters(self, word: str) -> Array:
        """What the encoder is given for a word of a to z: float32 [letters + 1, 1, 256]."""
        ids = [_FIRST_LETTER + ord(letter) - ord("a") for letter in word] + [_END_OF_WORD]
        return np.asarray(self._arrays["enc_emb"][ids][:, None])

    def say(self, word: str) -> list[int]:
        """Phonemes of a word, greedily, by their numbers in the table of the model."""
        stream = self.decoder.stream(batch=1)
        (state,) = stream.state
        stream.state = {state: self.encoder.run(self.letters(word))["h_n"]}
        weights, bias = self._arrays["fc_w"], self._arrays["fc_b"]
        said: list[int] = []
        last = _BEGIN
        while len(said) < _LONGEST:
            h: Any = stream.step(self._arrays["dec_emb"][last][None, None])
            h = h["output"] if isinstance(h, dict) else h
            last = int(np.argmax(weights @ h[0, 0] + bias))
            if last == _END:
                break
            said.append(last)
        return said

    def heard(self, word: str) -> tuple[Array, Array]:
        """What the decoder is given while it says a word: float32 [T, 1, 256], and its state."""
        x = self._arrays["dec_emb"][[_BEGIN, *self.say(word)]][:, None]
        return np.asarray(x), np.asarray(self.encoder.run(self.letters(word))["h_n"])
