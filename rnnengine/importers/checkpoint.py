"""Checkpoint: weights by name, and what the file says of its modules, in no framework's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Checkpoint", "Module"]


@dataclass(frozen=True)
class Module:
    """What a file says of one module.

    Attributes
    ----------
    kind : str
        Name of its class, for example ``'LSTM'``.
    attrs : mapping of str to Any
        Attributes in the words of its constructor, as far as the file has them.
    """

    kind: str
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """Weights without a graph.

    Attributes
    ----------
    tensors : mapping of str to array
        In the order of the file; native byte order. float16 and bfloat16 are widened to float32,
        integers keep their type. Quantised weights may be
        :class:`~rnnengine.graph.integers.ScaledIntegers`.
    modules : mapping of str to Module
        By path, where the file describes its modules; the root has the path ``''``.
    framework : str
        Who wrote the file: ``'torch'``, ``'keras'``, ``'safetensors'``, ``'npz'``.
    source : str
        Name of the file, for messages.
    """

    tensors: Mapping[str, np.ndarray[Any, Any]]
    modules: Mapping[str, Module]
    framework: str
    source: str
