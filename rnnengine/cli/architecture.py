"""Descriptions of networks in files of the caller's: JSON, or his own program."""

from __future__ import annotations

import json
import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnengine import layers
from rnnengine.errors import UnsupportedModelError

__all__ = ["read_architecture"]


def read_architecture(path: str | os.PathLike[str]) -> layers.Architecture:
    """Read the description of a network.

    Parameters
    ----------
    path : path
        A ``.json`` file: ``[{"type": "LSTM", "input_size": 40, "hidden_size": 64}, ...]``, layers
        one after the other in the words of :mod:`rnnengine.layers`. Or a ``.py`` file, which is
        run as the program of its owner that it is, and sets the name ``architecture``.

    Raises
    ------
    UnsupportedModelError
        Naming the layer that is not known or cannot be made.
    """
    if Path(path).suffix == ".py":
        found = runpy.run_path(os.fspath(path)).get("architecture")
        if found is None:
            raise UnsupportedModelError(f"{path}: it does not set the name 'architecture'")
        made: layers.Architecture = found
        return made
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnsupportedModelError(f"{path}: no JSON: {error}") from None
    if not isinstance(listed, list):
        raise UnsupportedModelError(f"{path}: expected a list of layers")
    return layers.Sequential(*(_layer(item, f"{path}: layer {i}") for i, item in enumerate(listed)))


def _layer(item: Any, where: str) -> layers.Layer:
    kinds = {name: kind for name, kind in vars(layers).items() if _is_layer(kind)}
    if not isinstance(item, Mapping) or item.get("type") not in kinds:
        raise UnsupportedModelError(
            f"{where} is {str(item)[:80]}; expected an object whose 'type' is one of "
            f"{', '.join(sorted(kinds))}"
        )
    words = {key: value for key, value in item.items() if key != "type"}
    try:
        layer: layers.Layer = kinds[item["type"]](**words)
    except TypeError as error:
        raise UnsupportedModelError(f"{where}: {error}") from None
    return layer


def _is_layer(kind: Any) -> bool:
    """Whether JSON may name it: a layer of one input that stands for itself."""
    if kind in (layers.Dense, layers.Conv1D, layers.LayerNormalization, layers.BatchNormalization):
        return True
    concrete = (layers.Conv1d, layers.MaxPool1d, layers.AvgPool1d)
    abstract = (layers.Layer, layers.Recurrent, layers.Elementwise, layers.Sequential)
    if isinstance(kind, type) and issubclass(kind, layers.Windowed):
        return kind in concrete
    return (
        isinstance(kind, type)
        and issubclass(kind, layers.Layer)
        and kind not in abstract
        and kind.inputs[0] == 1
    )
