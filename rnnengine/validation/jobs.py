"""What each reference framework is asked to compute for a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnengine.errors import FrameworkError, RNNEngineError
from rnnengine.exporting import onnx_content
from rnnengine.graph import Graph, Node
from rnnengine.importers import load_graph
from rnnengine.importers.architecture import Plan, Step, planned
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.layers import (
    GRU,
    LSTM,
    RNN,
    Elementwise,
    Embedding,
    InputLayer,
    Linear,
    Recurrent,
    describe,
    operator,
)
from rnnengine.model import SizedModel
from rnnengine.ops.recurrent import Activation, RecurrentAttrs
from rnnengine.validation.frameworks import FRAMEWORKS, Job, installed
from rnnengine.validation.samples import RECURRENT, Sample
from rnnengine.validation.subject import Subject

__all__ = ["choose", "job_for"]

Array = np.ndarray[Any, Any]

_TORCH_ACTIVATIONS: dict[str, list[tuple[str, ...]]] = {
    "LSTM": [("sigmoid", "tanh", "tanh")],
    "GRU": [("sigmoid", "tanh")],
    "RNN": [("tanh",), ("relu",)],
}
"""Activations of each layer of torch.nn."""


def choose(subject: Subject, python: Any) -> str | None:
    """The framework that wrote a file, or that reads its export, where it is installed."""
    order = {
        "onnx": ("onnxruntime",), "keras": ("keras", "tf_keras"), "torch": ("torch",),
        "weights": ("torch",),
    }.get(subject.kind, ("onnxruntime",))  # fmt: skip
    if subject.kind == "keras" and not _by_keras_3(subject):
        order = ("tf_keras", "keras")
    return next((name for name in order if installed(name, python)), None)


def _by_keras_3(subject: Subject) -> bool:
    """Whether a Keras file says that Keras 3 or newer wrote it."""
    from rnnengine.importers.keras.archive import is_keras_archive, read_archive
    from rnnengine.importers.keras.hdf5 import read_hdf5

    content, name = subject.content or b"", subject.name
    if is_keras_archive(content):
        said = json.loads(read_archive(content, name).metadata).get("keras_version", "")
    else:
        said = read_hdf5(content, name).attrs.get("keras_version", "")
    return str(said).split(".")[0] not in ("", "0", "1", "2")


def job_for(subject: Subject, framework: str, samples: Sequence[Sample]) -> Job:
    """Put a model in the terms of a framework.

    Raises
    ------
    FrameworkError
        Naming what the framework has no words for.
    """
    makers = {"onnxruntime": _onnxruntime, "keras": _keras, "tf_keras": _keras, "torch": _torch}
    if framework not in makers:
        raise FrameworkError(f"against is {framework!r}; accepted: {', '.join(FRAMEWORKS)}")
    return makers[framework](subject, framework, samples)


def _onnxruntime(subject: Subject, framework: str, samples: Sequence[Sample]) -> Job:
    """The file itself where it is ONNX and complete, else the export."""
    words: dict[str, Any] = {}
    if subject.kind == "onnx" and not subject.options.get("external_data"):
        assert subject.content is not None
        constants = subject.options.get("constants") or {}
        words["constants"] = {k: np.asarray(v).tolist() for k, v in constants.items()}
        return Job(framework, samples, ("model.onnx", subject.content), words)
    if isinstance(subject.model, SizedModel):
        raise FrameworkError(
            "the model has no ONNX form for all sizes; pass the file it was made from"
        )
    try:
        content = onnx_content(subject.model.graph)
    except ImportError:
        raise FrameworkError("the export for onnxruntime needs the package onnx") from None
    except RNNEngineError as error:
        raise FrameworkError(f"the model has no ONNX form for onnxruntime: {error}") from None
    return Job(framework, samples, ("model.onnx", content), words)


def _keras(subject: Subject, framework: str, samples: Sequence[Sample]) -> Job:
    if subject.kind != "keras" or subject.checkpoint_options:
        raise FrameworkError(
            f"{framework} opens Keras models with their configuration; this is no such file"
        )
    if subject.options.get("replacements"):
        raise FrameworkError(
            f"{framework} would run the code of the layers that replacements= stands for; compare "
            "with expected= outputs instead"
        )
    assert subject.content is not None
    load_graph(subject.content)  # a source= of the caller's may not have been imported yet
    end = "keras" if subject.content.startswith(b"PK") else "h5"
    words = {"names": [info.name for info in subject.model.outputs]}
    return Job(framework, samples, (f"model.{end}", subject.content), words)


def _torch(subject: Subject, framework: str, samples: Sequence[Sample]) -> Job:
    """The layers of the description over the file's own weights, else the graph node by node."""
    checkpoint = subject.checkpoint
    if checkpoint is not None and subject.checkpoint_options:
        plan = _planned(checkpoint, subject.checkpoint_options)
        steps = [_step(i, step, plan, subject) for i, step in enumerate(plan.steps)]
        if all(step is not None for step in steps):
            parts = [part for step in steps if step is not None for part in step]
            outputs = {name: _value(plan, i, word) for name, (i, word) in plan.results.items()}
            used = {n for part in parts for n in part["inputs"] if n in checkpoint.tensors}
            weights = {name: checkpoint.tensors[name] for name in sorted(used)}
            words = {"steps": parts, "outputs": outputs, "key": subject.options.get("key")}
            file = None
            if subject.kind == "torch" and subject.content is not None:
                file = ("weights.pt", subject.content)
            return Job(framework, samples, file, words, weights)
    graphs = [subject.settled(sample.feeds) for sample in samples]
    outputs = {info.name: info.name for info in subject.model.outputs}
    constants: dict[str, Array] = {}
    nodes = [_nodes(i, graph, constants) for i, graph in enumerate(graphs)]
    return Job(framework, samples, None, {"nodes": nodes, "outputs": outputs}, constants)


def _planned(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Plan:
    return planned(
        checkpoint, options.get("architecture"), prefix=options.get("prefix", ""),
        layer=options.get("layer"),
    )  # fmt: skip


def _nodes(i: int, graph: Graph, constants: dict[str, Array]) -> list[dict[str, Any]]:
    """Nodes of the graph of one sample; a constant that depends on sizes has a name for each."""
    names: dict[str | None, str] = {}
    for name, value in graph.constants.items():
        there = constants.get(name)
        same = there is None or np.array_equal(there, value, equal_nan=value.dtype.kind == "f")
        names[name] = name if same else f"{i}:{name}"
        constants[names[name]] = value
    made = [_node(node) for node in graph.nodes]
    for node in made:
        node["inputs"] = [names.get(n, n) for n in node["inputs"]]
    return made


def _value(plan: Plan, i: int, word: str) -> str:
    layer = plan.steps[i].layer
    return str(layer.name) if isinstance(layer, InputLayer) else f"step{i}.{word}"


def _step(i: int, step: Step, plan: Plan, subject: Subject) -> list[dict[str, Any]] | None:
    """A layer in the words of torch.nn; None where torch.nn has none for it."""
    layer = step.layer
    operands: list[str | None] = [_value(plan, j, word) for j, word in step.inputs]
    group = plan.groups.get(id(layer))
    prefix = subject.options.get("prefix", "")

    def full(leaf: str) -> str:
        assert group is not None
        return f"{prefix}.{group.full(leaf)}" if prefix else group.full(leaf)

    def made(op: str, inputs: Sequence[str | None], attrs: Mapping[str, Any]) -> dict[str, Any]:
        outputs = [f"step{i}.{word}" for word in layer.results]
        return {"op": op, "inputs": list(inputs), "outputs": outputs, "attrs": dict(attrs)}

    if isinstance(layer, InputLayer):
        return []
    if isinstance(layer, Recurrent) and group is not None:
        words = _torch_words(layer)
        if words is None:
            return None
        ends = {leaf: leaf if "_l" in leaf else f"{leaf}_l0" for leaf in group.tensors}
        words["names"] = list(ends.values())
        given = [*operands, None, None][:3]
        return [made(f"nn.{type(layer).__name__}", [*given, *map(full, ends)], words)]
    if isinstance(layer, Linear) and group is not None:
        leaves = ["weight", "bias"][: 1 + layer.bias]
        linear = made("nn.Linear", [*operands, *map(full, leaves)], {})
        op, attrs = operator(layer.activation, describe(layer))
        if op == "Identity":
            return [linear]
        linear["outputs"] = [f"step{i}.linear"]
        return [linear, made(op, [f"step{i}.linear"], attrs)]
    if isinstance(layer, Embedding) and group is not None:
        return [made("nn.Embedding", [*operands, full("weight")], {})]
    if isinstance(layer, Elementwise):
        return [made(layer.op, operands, layer.attrs())]
    return None


def _torch_words(layer: Recurrent) -> dict[str, Any] | None:
    """Constructor words of a layer of torch.nn; None where it has an option that torch has not."""
    plain = type(layer)(hidden_size=layer.hidden)
    kept = ("merge_mode", "go_backwards", "return_sequences", "gate_order")
    same = all(getattr(layer, word) == getattr(plain, word) for word in kept)
    names = tuple(a.name for a in layer.cell_activations())
    kind = type(layer).__name__
    if not same or names not in _TORCH_ACTIVATIONS[kind] or not getattr(layer, "reset_after", True):
        return None
    words: dict[str, Any] = {
        "hidden_size": layer.hidden, "num_layers": layer.num_layers, "bias": layer.bias,
        "batch_first": bool(layer.batch_first), "bidirectional": layer.bidirectional,
    }  # fmt: skip
    if isinstance(layer, LSTM) and layer.proj_size:
        words["proj_size"] = layer.proj_size
    if isinstance(layer, RNN):
        words["nonlinearity"] = names[0]
    assert isinstance(layer, LSTM | GRU | RNN)
    return words


def _node(node: Node) -> dict[str, Any]:
    """A node of a settled graph with numbers for its sizes."""
    attrs = {key: _plain(value) for key, value in node.attrs.items()}
    if node.op in RECURRENT:
        attrs = _recurrent(node)
    return {
        "op": node.op, "inputs": list(node.inputs), "outputs": list(node.outputs), "attrs": attrs,
    }  # fmt: skip


def _recurrent(node: Node) -> dict[str, Any]:
    read = RecurrentAttrs.read(node.op, node.attrs)
    names = {tuple(a.name for a in row) for row in read.activations}
    beyond = {
        "activations": len(names) != 1 or not names <= set(_TORCH_ACTIVATIONS[node.op]),
        "clip": read.clip is not None,
        "cell_clip": read.cell_clip is not None,
        "proj_clip": read.proj_clip is not None,
        "coupling": read.coupling is not None,
        "reset_after=False": node.op == "GRU" and not read.reset_after,
    }
    found = [word for word, there in beyond.items() if there]
    if found:
        raise FrameworkError(
            f"node {node.name!r} ({node.op}): torch.nn has no {', '.join(found)} of this kind"
        )
    attrs = {"hidden_size": read.hidden_size, "direction": read.direction}
    return {**attrs, "nonlinearity": read.activations[0][0].name} if node.op == "RNN" else attrs


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.dtype | Activation):
        return str(value)
    return value if isinstance(value, bool | int | float | str | None) else str(value)
