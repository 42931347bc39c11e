"""The body of a loop: what it takes from outside, and its graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Graph, Size, TensorType, Value, as_integers
from rnnengine.graph.verify import verify
from rnnengine.importers.onnx.builder import Builder, Call, Convert, Scope
from rnnengine.ops.registry import Array

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

__all__ = ["Body", "emit_scan", "flipped", "reads", "results_of"]


def reads(message: NodeProto) -> set[str]:
    """Names a node reads, those its subgraphs take from outside included."""
    names = {name for name in message.input if name}
    for attribute in message.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            names |= captured(graph)
    return names


def captured(graph: GraphProto) -> set[str]:
    """Names that a subgraph takes from outside."""
    inside = {name for node in graph.node for name in node.output}
    inside |= {tensor.name for tensor in graph.initializer}
    inside |= {info.name for info in graph.input}
    used = {name for node in graph.node for name in reads(node)}
    return (used | {info.name for info in graph.output}) - inside


def results_of(graph: GraphProto, scope: Scope, where: str) -> list[str]:
    """Return what the outputs of a subgraph became."""
    results = []
    for info in graph.output:
        found = scope.find(info.name)
        if found is None:
            raise ModelFormatError(f"{where}: nothing computes {info.name!r}")
        results.append(found)
    return results


class Body:
    """The graph of a loop under construction.

    Parameters
    ----------
    call : Call
        The loop.
    graph : GraphProto
    scope : Scope
        Around the loop.
    """

    def __init__(self, call: Call, graph: GraphProto, scope: Scope) -> None:
        self.call = call
        self.graph = graph
        if graph.sparse_initializer:
            raise UnsupportedModelError(f"{call.where}: its body has sparse initializers")
        self.shared: list[str] = []
        self._inputs: list[Value] = []
        self._captured: dict[str, str] = {}
        self._constants: dict[str, Array] = {}
        outer = call.builder
        for name in sorted(captured(graph)):
            found = scope.find(name)
            if found is None:
                raise ModelFormatError(f"{call.where}: nothing computes {name!r}")
            outer.check_shown([found], call.where)
            constant = outer.constants.get(found)
            known = outer.inference.values.get(found)
            if constant is None and known is not None and known.dtype != object:
                constant = known.astype(outer.inference.types[found].dtype)
            if constant is not None:
                kept = as_integers(constant) is not None
                self._constants[name] = constant if kept else np.asarray(constant)
            else:
                self._captured[name] = found

    def input(self, position: int, kind: TensorType) -> None:
        """Say the type of the next input of the body."""
        self._inputs.append(Value(self.graph.input[position].name, kind))

    def built(
        self,
        convert: Convert,
        fixed: Mapping[str, Array],
    ) -> tuple[Graph, Builder]:
        """Convert the nodes; ``fixed`` are inputs whose values are known."""
        outer = self.call.builder
        kinds = outer.inference.types
        self.shared = list(self._captured.values())
        shared = [Value(name, kinds[found]) for name, found in self._captured.items()]
        inputs = [*self._inputs, *shared]
        names = {v.name for v in inputs}
        reserved = names | {name for node in self.graph.node for name in node.output}
        reserved |= {tensor.name for tensor in self.graph.initializer} | set(self._constants)
        builder = Builder(outer.opset, outer.tensors, inputs, reserved | set(fixed))
        scope = Scope({name: name for name in names})
        for name, value in {**self._constants, **fixed}.items():
            scope.names[name] = builder.constant(name, value)
        for tensor in self.graph.initializer:
            scope.names[tensor.name] = tensor.name
            builder.decoded(tensor.name, tensor, self.call.where)
        convert(builder, self.graph.node, scope)
        outputs = results_of(self.graph, scope, self.call.where)
        builder.check_shown(outputs, self.call.where)
        body = Graph(
            self.graph.name or "body",
            tuple(inputs),
            tuple(outputs),
            tuple(builder.nodes),
            builder.constants,
        )
        return verify(body), builder


def flipped(call: Call, name: str, axis: int, steps: Size) -> str:
    """Turn an axis round."""
    attrs = {"axes": (axis,), "starts": (steps - 1,), "sizes": (steps,), "steps": (-1,)}
    return call.made("Slice", [name], attrs, "flip")


def emit_scan(
    call: Call,
    inputs: list[str | None],
    attrs: dict[str, Any],
    axes: list[int],
    backwards: list[bool],
) -> None:
    """Add the Scan, and give its results their axes and directions."""
    states = attrs["states"]
    made = [
        None if name is None else call.fresh(f"out{i}") if i >= states else name
        for i, name in enumerate(call.outputs)
    ]
    made += [None] * (len(attrs["body"].outputs) - len(made))
    call.emit("Scan", inputs, made, attrs)
    for i, name in enumerate(call.outputs[states:]):
        stacked = made[states + i]
        if name is None or stacked is None:
            continue
        kind = call.builder.inference.types[stacked]
        if backwards[i]:
            stacked = flipped(call, stacked, 0, kind.shape[0])
        if not -kind.rank <= axes[i] < kind.rank:
            raise ModelFormatError(f"{call.where}: attribute 'scan_output_axes' holds {axes[i]}")
        axis = axes[i] % kind.rank
        perm = list(range(1, kind.rank))
        perm.insert(axis, 0)
        call.emit("Transpose", [stacked], [name], {"perm": tuple(perm)}, f"result{i}")
