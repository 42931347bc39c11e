"""inspect: what is in a file, without running or compiling it."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnnengine.errors import ModelFormatError, RNNEngineError, UnsupportedModelError
from rnnengine.graph import Choice, Fusion, Graph, Node, UndecidedError
from rnnengine.importers import (
    Source,
    load_graph,
    read_checkpoint,
    read_exported_graph,
    read_native_file,
    read_source,
)
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.importers.single import Found, is_recurrent
from rnnengine.importers.weights import groups_of
from rnnengine.ops import infer_types
from rnnengine.ops.recurrent import DIRECTIONS
from rnnengine.ops.weights import choices_of, compute_type_of
from rnnengine.passes.fold import fold
from rnnengine.passes.recover import recover

__all__ = ["Inspection", "LayerInfo", "inspect"]

_SHOWN = 40


@dataclass(frozen=True)
class LayerInfo:
    """A recurrent layer: its path, cell, and sizes in the words of its constructor."""

    path: str
    cell: str
    words: Mapping[str, Any]

    def __str__(self) -> str:
        words = ", ".join(f"{k}={v}" for k, v in self.words.items())
        return f"{self.path or '(root)'}: {self.cell}({words})"


@dataclass(frozen=True)
class Inspection:
    """What a file holds; printable.

    Attributes
    ----------
    source : str
        Name of the file.
    format : str
        ``'rnne'``, ``'onnx'``, or the framework of a file of weights.
    size, parameters : int
        Bytes of the file; numbers in its floating-point tensors.
    inputs, outputs : tuple of str
        Of the graph, where the file has one.
    operators : mapping of str to int
        How often the graph has each operator.
    layers : tuple of LayerInfo
        Recurrent layers, those included that the file writes out as many nodes.
    fused : tuple of Fusion
        What the file writes out as many nodes and loading puts together.
    tensors : mapping of str to str
        Element type and shape of each tensor of a file of weights.
    origin : mapping of str to str
        What a ``.rnne`` file says of the file it was made from.
    validation : mapping of str to str
        What a ``.rnne`` file says of how it was validated.
    choices : tuple of Choice
        How each layer with weights is computed, where some layer is not in float32 or somebody
        chose: node, operator, compute type, reason.
    missing : str
        What has to be said for the file to be loaded; empty where nothing has.
    """

    source: str
    format: str
    size: int
    parameters: int = 0
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    layers: tuple[LayerInfo, ...] = ()
    fused: tuple[Fusion, ...] = ()
    tensors: Mapping[str, str] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)
    validation: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[Choice, ...] = ()
    missing: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.format}, {self.size} bytes, {self.parameters} parameters"]
        lines += [f"  input      {text}" for text in self.inputs]
        lines += [f"  output     {text}" for text in self.outputs]
        if self.operators:
            listed = ", ".join(f"{op} {count}" for op, count in self.operators.items())
            lines.append(f"  operators  {listed}")
        lines += [f"  recurrent  {layer}" for layer in self.layers]
        lines += [f"  fused      {_fusion(fusion)}" for fusion in self.fused]
        lines += [f"  computed   {choice}" for choice in self.choices]
        shown = list(self.tensors.items())[:_SHOWN]
        lines += [f"  tensor     {name}: {text}" for name, text in shown]
        if len(self.tensors) > _SHOWN:
            lines.append(f"  ... and {len(self.tensors) - _SHOWN} tensors more")
        lines += [f"  origin     {key}: {value}" for key, value in self.origin.items()]
        lines += [f"  validated  {key}: {value}" for key, value in self.validation.items()]
        if self.missing:
            lines.append(f"  missing    {self.missing}")
        return "\n".join(lines)


def inspect(source: Source, *, key: str | None = None) -> Inspection:
    """Say what is in a model file or a file of weights.

    Parameters
    ----------
    source : path, bytes or binary file
    key : str, optional
        Which object of a PyTorch file holds the weights, where several could.

    Returns
    -------
    Inspection

    Raises
    ------
    ModelFormatError, UnsupportedModelError, UnsafeFileError
        Where the file cannot be read at all.
    """
    content, name = read_source(source)
    native = read_native_file(content, name)
    if native is not None:
        found = _of_graph(native.graph, name, "rnne", len(content))
        return dataclasses.replace(
            found, origin=dict(native.origin), validation=dict(native.validation)
        )
    reason = ""
    try:
        exported = read_exported_graph(content, name)
        if exported is not None:
            return _of_graph(exported, name, "torch", len(content))
    except UnsupportedModelError as error:
        reason = f"its graph does not open ({error}); "
    checkpoint = read_checkpoint(content, name, key=key)
    if checkpoint is not None:
        found = _of_checkpoint(checkpoint, name, len(content))
        return dataclasses.replace(found, missing=reason + found.missing)
    again = source if isinstance(source, str | os.PathLike) else content
    return _of_graph(load_graph(again), name, "onnx", len(content))


def _of_graph(graph: Graph, name: str, kind: str, size: int) -> Inspection:
    types = infer_types(graph)
    whole = _recovered(graph)
    choices = choices_of(whole)
    return Inspection(
        name,
        kind,
        size,
        sum(v.size for v in graph.constants.values() if v.dtype.kind == "f"),
        tuple(f"{v.name}: {v.type}" for v in graph.inputs),
        tuple(f"{output}: {types[output]}" for output in graph.outputs),
        dict(sorted(Counter(node.op for node in graph.nodes).items())),
        tuple(_of_nodes(whole.nodes, infer_types(whole))),
        whole.fused,
        choices=choices if graph.choices or compute_type_of(whole) != "float32" else (),
    )


def _recovered(graph: Graph) -> Graph:
    """The graph as loading has it; as it is where it cannot be folded for all sizes."""
    try:
        return recover(fold(graph))
    except (RNNEngineError, UndecidedError):
        return graph


def _fusion(fusion: Fusion) -> str:
    shown = ", ".join(fusion.parts[:4]) + (", ..." if len(fusion.parts) > 4 else "")
    return f"{fusion.node}: {fusion.op} of {len(fusion.parts)} nodes ({shown})"


def _of_nodes(nodes: Iterable[Node], types: Mapping[str, Any]) -> Iterable[LayerInfo]:
    for node in nodes:
        if node.op in ("LSTM", "GRU", "RNN"):
            x = types[str(node.inputs[0])]
            words = {
                "input_size": str(x.shape[2]),
                "hidden_size": node.attrs["hidden_size"],
                "direction": node.attrs.get("direction", "forward"),
            }
            if len(DIRECTIONS[words["direction"]]) > 1:
                words["directions"] = 2
            yield LayerInfo(node.name, node.op, words)


def _of_checkpoint(checkpoint: Checkpoint, name: str, size: int) -> Inspection:
    groups = groups_of(checkpoint) if checkpoint.tensors else {}
    layers: list[LayerInfo] = []
    missing = "the network: the file has weights but no graph; load it with architecture="
    for path, group in groups.items():
        if not is_recurrent(group):
            continue
        try:
            found = Found(checkpoint.source, group)
        except ModelFormatError as error:
            layers.append(LayerInfo(path, "damaged", {"reason": str(error)}))
            continue
        module = checkpoint.modules.get(path)
        said = {} if module is None else {k: v for k, v in module.attrs.items() if _plain(v)}
        layers.append(LayerInfo(path, found.cell.__name__, {**said, **found.words}))
    if layers:
        missing += ", or take one recurrent layer with layer="
    return Inspection(
        name,
        checkpoint.framework,
        size,
        sum(v.size for v in checkpoint.tensors.values() if v.dtype.kind == "f"),
        layers=tuple(layers),
        tensors={k: f"{v.dtype}{list(v.shape)}" for k, v in checkpoint.tensors.items()},
        missing=missing,
    )


def _plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
