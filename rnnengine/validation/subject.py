"""The model under test: the engine, its float64 definition, and the file it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnengine.errors import RNNEngineError
from rnnengine.graph import Graph, Value
from rnnengine.importers import read_checkpoint, read_native_file, read_source
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.loading import load
from rnnengine.model import Model
from rnnengine.ops import evaluate, infer_types
from rnnengine.ops.binding import bind_sizes
from rnnengine.passes.fix_sizes import fix_sizes
from rnnengine.passes.fold import fold
from rnnengine.passes.recover import recover

__all__ = ["Subject"]

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

_ROUNDING = (b"DynamicQuantize", b"MatMulIntegerToFloat")
"""Names of ONNX operators that round activations, or start with that."""


class Subject:
    """A model and what is known of it.

    Parameters
    ----------
    given : Model, path or bytes
    source : path or bytes, optional
        The file that a model was made from.
    options : mapping
        As :func:`rnnengine.load` takes them, for a file.
    """

    def __init__(self, given: Any, source: Any, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        if isinstance(given, Model):
            self.model, self.name = given, given.graph.name or "model"
            self.content: bytes | None = None
        else:
            found, name = read_source(given)
            content = bytes(found)
            again = given if isinstance(given, str | os.PathLike) else content
            self.model, self.content = load(again, **options), content
            self.name = Path(name).name
        if source is not None:
            found, name = read_source(source)
            self.content = bytes(found)
            if isinstance(source, str | os.PathLike):
                self.name = Path(name).name
        self.kind = "" if self.content is None else _kind(self.content)
        self._settled: dict[tuple[tuple[str, int], ...], Graph] = {}

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The weights in the file, where it has no graph of its own."""
        if self.content is None or self.kind in ("rnne", "onnx"):
            return None
        try:
            return read_checkpoint(self.content, self.name, key=self.options.get("key"))
        except RNNEngineError:
            return None

    @property
    def rounds_activations(self) -> bool:
        """Whether a framework that runs the file rounds activations by their own range."""
        return self.kind == "onnx" and any(op in (self.content or b"") for op in _ROUNDING)

    @property
    def checkpoint_options(self) -> dict[str, Any]:
        """What the caller said of a file of weights; empty for a file that is complete."""
        words = ("architecture", "layer", "prefix")
        return {key: self.options[key] for key in words if key in self.options}

    @property
    def inputs(self) -> tuple[Value, ...]:
        """Inputs as the graph declares them."""
        return self.model.declared_inputs

    def imported(self, feeds: Arrays) -> Graph:
        """The graph as imported, for inputs of the given shapes."""
        return self.model.imported_graph(self._sizes(feeds))

    def _sizes(self, feeds: Arrays) -> dict[str, int]:
        return bind_sizes(Graph("", self.inputs, (), (), {}), feeds)

    def settled(self, feeds: Arrays) -> Graph:
        """The graph as the compiler takes it, with numbers for all its sizes."""
        sizes = self._sizes(feeds)
        key = tuple(sorted(sizes.items()))
        if key not in self._settled:
            graph = self.model.imported_graph(sizes)
            self._settled[key] = recover(fold(fix_sizes(graph, sizes)))
        return self._settled[key]

    def exact(self, feeds: Arrays) -> dict[str, Array]:
        """The float64 answer."""
        return evaluate(self.imported(feeds), feeds)

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """The engine's answer, by output name."""
        found = self.model.run(dict(feeds))
        if isinstance(found, dict):
            return found
        return {self.model.outputs[0].name: found}

    def time_axes(self, feeds: Arrays, steps: int) -> dict[str, int]:
        """Axis of each output that is as long as the sequence; only where one axis is."""
        if steps < 2:
            return {}
        types = infer_types(self.settled(feeds))
        found = {}
        for name in self.settled(feeds).outputs:
            axes = [i for i, size in enumerate(types[name].shape) if size == steps]
            if axes:
                found[name] = axes[0]
        return found


def _kind(content: bytes) -> str:
    """``'rnne'``, ``'onnx'``, ``'keras'``, ``'torch'`` or ``'weights'``."""
    if read_native_file(content, "") is not None:
        return "rnne"
    if content.startswith((b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")):
        from rnnengine.importers.keras import is_keras

        if is_keras(content):
            return "keras"
    checkpoint = read_checkpoint(content, "")
    if checkpoint is None:
        return "onnx"
    return "torch" if checkpoint.framework == "torch" else "weights"
