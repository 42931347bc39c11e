"""From a checkpoint and the description of its network to a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, TensorType, Value, symbol
from rnnengine.graph.verify import verify
from rnnengine.importers.checkpoint import Checkpoint
from rnnengine.importers.emitting import Nodes
from rnnengine.importers.masking import given_mask, handed_mask
from rnnengine.importers.single import recurrent_of
from rnnengine.importers.weights import Group, Place, assign, groups_of, has_weights
from rnnengine.layers import (
    Architecture,
    BatchNorm1d,
    Call,
    Conv1d,
    Elementwise,
    Embedding,
    InputLayer,
    Layer,
    LayerNorm,
    Linear,
    Merge,
    Pool,
    Recurrent,
    Sequential,
    Tensor,
    describe,
)

__all__ = ["Plan", "Step", "build_graph", "build_layer", "planned"]

_INPUT, _OUTPUT = "input", "output"


@dataclass(frozen=True)
class Step:
    """One use of a layer: where its inputs come from, (step, result) each."""

    layer: Layer
    path: str
    said: bool
    inputs: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Plan:
    """An architecture beside the weights it was given.

    Attributes
    ----------
    steps : sequence of Step
        In the order of evaluation; inputs of the network are steps too.
    groups : mapping of int to Group
        Weights by ``id`` of the layer.
    results : mapping of str to (int, str)
        Outputs of the network: step and result.
    """

    steps: Sequence[Step]
    groups: Mapping[int, Group]
    results: Mapping[str, tuple[int, str]]


class _Flat:
    """An architecture as a list of steps in the order of evaluation."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._done: dict[int, tuple[Call, tuple[int, str]]] = {}

    def tensor(self, value: Tensor) -> tuple[int, str]:
        """Append what a value needs, and return where it is."""
        call = value.call
        if id(call) not in self._done:
            inputs = tuple(self.tensor(t) for t in call.inputs)
            made = self.layer(call.layer, *_root(call.layer), inputs)
            self._done[id(call)] = (call, made)
        step, result = self._done[id(call)][1]
        return step, value.result if value.result != _OUTPUT else result

    def layer(
        self, layer: Layer, path: str, said: bool, inputs: tuple[tuple[int, str], ...]
    ) -> tuple[int, str]:
        """Append a layer; chains are unrolled."""
        if not isinstance(layer, Sequential):
            self.steps.append(Step(layer, path, said, inputs))
            return len(self.steps) - 1, _OUTPUT
        start = f"{path}." if path else ""
        for i, inner in enumerate(layer.layers):
            name = inner.name if inner.name is not None else str(i)
            inputs = (self.layer(inner, start + name, inner.name is not None, inputs),)
        return inputs[0]


def _root(layer: Layer) -> tuple[str, bool]:
    """Path of a layer that stands in no chain, and whether it was said."""
    if layer.name is not None:
        return layer.name, True
    return "" if isinstance(layer, Sequential) else type(layer).__name__.lower(), False


def build_graph(
    checkpoint: Checkpoint,
    architecture: Architecture | None,
    *,
    prefix: str = "",
    layer: str | None = None,
) -> Graph:
    """Give the weights of a checkpoint the graph that an architecture describes.

    Parameters
    ----------
    checkpoint : Checkpoint
    architecture : Layer, Tensor or mapping of str to Tensor, optional
        May be omitted where ``layer`` says which recurrent layer is meant.
    prefix : str
        Part of the checkpoint that the architecture describes.
    layer : str, optional
        Path of one recurrent layer; the rest of the checkpoint is ignored.

    Returns
    -------
    Graph

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        Where weights and description do not fit each other; the message names both.
    """
    return _emitted(checkpoint, planned(checkpoint, architecture, prefix=prefix, layer=layer))


def planned(
    checkpoint: Checkpoint,
    architecture: Architecture | None,
    *,
    prefix: str = "",
    layer: str | None = None,
) -> Plan:
    """Find the weights of every layer; parameters and errors are those of :func:`build_graph`."""
    groups = groups_of(checkpoint, prefix)
    if layer is not None:
        architecture, groups = recurrent_of(checkpoint, groups, layer, architecture)
    if architecture is None:
        raise UnsupportedModelError(
            f"{checkpoint.source}: the file has weights but no graph; describe the network with "
            "architecture=, or name one recurrent layer with layer=. Modules with weights: "
            + "; ".join(str(group) for group in list(groups.values())[:12])
        )
    if isinstance(architecture, Layer):
        return _chain(checkpoint, groups, architecture)
    return _network(checkpoint, groups, architecture)


def build_layer(checkpoint: Checkpoint, layer: Layer, inputs: Sequence[Value]) -> Graph:
    """Give a layer or a chain its weights and its inputs, whose types are known.

    Parameters
    ----------
    checkpoint : Checkpoint
        Nothing but the weights of the layer.
    layer : Layer
    inputs : sequence of Value

    Returns
    -------
    Graph
        Of one output.

    Raises
    ------
    ModelFormatError, UnsupportedModelError
        As for :func:`build_graph`.
    """
    least, most = layer.inputs
    if not least <= len(inputs) <= most:
        raise UnsupportedModelError(
            f"{checkpoint.source}: {describe(layer)} takes {least} to {most} inputs; got "
            f"{len(inputs)}"
        )
    flat = _Flat()
    for value in inputs:
        flat.steps.append(Step(InputLayer(name=value.name), value.name, False, ()))
    last = flat.layer(layer, *_root(layer), tuple((i, _OUTPUT) for i in range(len(inputs))))
    groups = groups_of(checkpoint) if checkpoint.tensors else {}
    found = _assigned(checkpoint, groups, flat.steps)
    return _emitted(checkpoint, Plan(flat.steps, found, {_OUTPUT: last}), inputs)


def _chain(checkpoint: Checkpoint, groups: Mapping[str, Group], layer: Layer) -> Plan:
    """A layer or a chain, whose input follows from its first layers."""
    flat = _Flat()
    flat.layer(layer, *_root(layer), ((-1, _OUTPUT),))
    found = _assigned(checkpoint, groups, flat.steps)
    first = _input_of(flat.steps, found)
    steps = [Step(InputLayer(*first, name=_INPUT), _INPUT, False, ())]
    steps += [replace(s, inputs=tuple((i + 1, word) for i, word in s.inputs)) for s in flat.steps]
    last = len(steps) - 1
    results: dict[str, tuple[int, str]] = {_OUTPUT: (last, _OUTPUT)}
    if len(steps) == 2:
        results = {word: (last, word) for word in steps[-1].layer.results}
    return Plan(steps, found, results)


def _input_of(
    steps: Sequence[Step], found: Mapping[int, Group]
) -> tuple[tuple[int | str, ...], str]:
    """Shape and element type of the input of a chain."""
    layers = [step.layer for step in steps]
    recurrent = next((la for la in layers if isinstance(la, Recurrent)), None)
    batch_first = recurrent is None or bool(recurrent.batch_first)
    axes: tuple[str, ...] = ("batch", "time") if batch_first else ("time", "batch")
    sized = next((la for la in layers if isinstance(la, _SIZED)), None)
    if sized is None:
        raise UnsupportedModelError(
            "architecture: no layer says the size of the input; expected a recurrent layer, "
            "Linear, Conv1d, BatchNorm1d or Embedding, or a network that starts with rn.Input"
        )
    if isinstance(sized, Embedding):
        return axes, "int32"
    if isinstance(sized, Conv1d | BatchNorm1d):
        return _before_windows(sized, found[id(sized)]), "float32"
    if recurrent is None:
        axes = ("batch",)
    group = found[id(sized)]
    leaf = "weight" if isinstance(sized, Linear) else "weight_ih"
    weight = next(tensor for name, tensor in group.tensors.items() if name.startswith(leaf))
    return (*axes, int(weight.shape[1])), "float32"


_SIZED = (Recurrent, Linear, Embedding, Conv1d, BatchNorm1d)
"""Layers whose weights say how many features their input has."""


def _before_windows(layer: Conv1d | BatchNorm1d, group: Group) -> tuple[int | str, ...]:
    """Shape of the input of a layer that works on channels over time."""
    size = int(group.tensors["running_mean"].shape[0]) if isinstance(layer, BatchNorm1d) else 0
    if isinstance(layer, Conv1d):
        size = int(group.tensors["weight"].shape[1]) * layer.groups
    return ("batch", "time", size) if layer.channels_last else ("batch", size, "time")


def _network(
    checkpoint: Checkpoint,
    groups: Mapping[str, Group],
    architecture: Tensor | Mapping[str, Tensor],
) -> Plan:
    """A network written by calling layers."""
    named = architecture if isinstance(architecture, Mapping) else {_OUTPUT: architecture}
    if not named or not all(isinstance(t, Tensor) for t in named.values()):
        raise UnsupportedModelError(
            f"architecture: got {architecture!r}; expected a layer, a value made by calling "
            "layers, or a dict of such values by output name"
        )
    flat = _Flat()
    results = {name: flat.tensor(value) for name, value in named.items()}
    found = _assigned(checkpoint, groups, flat.steps)
    return Plan(flat.steps, found, results)


def _assigned(
    checkpoint: Checkpoint, groups: Mapping[str, Group], steps: Sequence[Step]
) -> dict[int, Group]:
    places: dict[int, Place] = {}
    for step in steps:
        if has_weights(step.layer):
            places.setdefault(id(step.layer), Place(step.layer, step.path, step.said))
    return assign(checkpoint, groups, list(places.values()))


def _emitted(checkpoint: Checkpoint, plan: Plan, inputs: Sequence[Value] = ()) -> Graph:
    """Nodes of the steps; inputs are those that the steps declare unless they are given."""
    steps, found, results = plan.steps, plan.groups, plan.results
    declared = [step.layer for step in steps if isinstance(step.layer, InputLayer)]
    inputs = inputs or [_declared(layer) for layer in declared]
    taken = [value.name for value in inputs] + list(results)
    if len(set(taken)) != len(taken):
        raise UnsupportedModelError(
            f"architecture: inputs and outputs are named {', '.join(taken)}; each name must be "
            "used once"
        )
    out = Nodes(inputs, list(results))
    values: list[dict[str, str]] = []
    masks: list[str | None] = []
    for step in steps:
        operands = [values[i][word] for i, word in step.inputs]
        mask = given_mask(step.layer, [masks[i] if w == _OUTPUT else None for i, w in step.inputs])
        values.append(_one(out, step, operands, found, mask))
        masks.append(handed_mask(out, step.layer, values[-1][_OUTPUT], operands, mask))
    for name, (i, word) in results.items():
        out.alias(values[i][word], name)
    name = steps[-1].path if len(steps) == 2 else "network"
    return verify(
        Graph(
            name,
            tuple(inputs),
            tuple(results),
            tuple(out.nodes),
            out.constants,
            source=checkpoint.source,
        )
    )


def _declared(layer: InputLayer) -> Value:
    shape = tuple(s if isinstance(s, int) else symbol(s) for s in layer.shape)
    return Value(layer.name or _INPUT, TensorType(np.dtype(layer.dtype), shape))


def _one(
    out: Nodes, step: Step, operands: list[str], found: Mapping[int, Group], mask: str | None
) -> dict[str, str]:
    """Results of one step by name."""
    layer, group = step.layer, found.get(id(step.layer))
    path = step.path if step.said or group is None else group.path or step.path
    path = path or type(layer).__name__.lower()
    if isinstance(layer, InputLayer):
        return {_OUTPUT: layer.name or _INPUT}
    if isinstance(layer, Recurrent):
        return out.recurrent(layer, path, operands, found[id(layer)], mask)
    if isinstance(layer, Linear):
        return {_OUTPUT: out.linear(layer, path, operands[0], found[id(layer)])}
    if isinstance(layer, Embedding):
        return {_OUTPUT: out.embedding(layer, path, operands[0], found[id(layer)])}
    if isinstance(layer, Conv1d):
        return {_OUTPUT: out.conv(layer, path, operands[0], found[id(layer)])}
    if isinstance(layer, Pool):
        return {_OUTPUT: out.windowed(layer, layer.op, path, operands)}
    if isinstance(layer, LayerNorm):
        return {_OUTPUT: out.layer_norm(layer, path, operands[0], group)}
    if isinstance(layer, BatchNorm1d):
        return {_OUTPUT: out.batch_norm(layer, path, operands[0], found[id(layer)])}
    if isinstance(layer, Elementwise | Merge):
        return {_OUTPUT: out.add(layer.op, path, operands, layer.attrs())[0]}
    raise ModelFormatError(f"architecture: {describe(layer)} is not a layer of rnnengine")
