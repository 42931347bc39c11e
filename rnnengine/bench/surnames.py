"""Made-up surnames for the ethnicolr model, from the pairs of letters it knows; nobody's names."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["PADDED", "numbers", "surnames"]

PADDED = 20
"""Pairs of letters that the model takes; shorter names are filled up with 0 at the front."""


def _vocabulary(folder: Path) -> list[str]:
    with open(folder / "census2010_ln_vocab.csv", encoding="utf-8") as file:
        return [row[0] for row in csv.reader(file)][1:]


def surnames(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Chains of known pairs, each beginning with the letter that the last one ends with.

    Parameters
    ----------
    folder : Path
        With the vocabulary of the model.
    count : int
    seed : int
    """
    pairs = [p for p in _vocabulary(folder) if len(p) == 2 and p.isalpha() and p.isascii()]
    first = [p for p in pairs if p[0].isupper() and p[1].islower()]
    after: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.islower():
            after.setdefault(pair[0], []).append(pair)
    rng = np.random.default_rng(seed)
    names = []
    for _ in range(count):
        name = first[rng.integers(len(first))]
        for _ in range(int(rng.integers(1, 16))):
            following = after[name[-1]]
            # Pairs stand in the order of their frequency or of the alphabet: take any, often early.
            name += following[int(len(following) * rng.random() ** 2)][1]
        names.append(name)
    return names


def numbers(folder: Path, names: list[str]) -> np.ndarray[Any, Any]:
    """What the model is fed: numbers of the pairs, [names, PADDED], int32; 0 where unknown."""
    known = {pair: i for i, pair in reversed(list(enumerate(_vocabulary(folder))))}
    made = np.zeros((len(names), PADDED), np.int32)
    for row, name in enumerate(names):
        ids = [known.get(name[i : i + 2], 0) for i in range(len(name) - 1)][:PADDED]
        made[row, PADDED - len(ids) :] = ids
    return made
