"""Functions that an ONNX model defines itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.onnx.builder import Call, Convert, Scope

if TYPE_CHECKING:
    from onnx import FunctionProto, NodeProto

__all__ = ["Inliner"]

MOST_CALLS = 20_000
"""Calls of functions that a model may have, those inside functions included."""


class Inliner:
    """Functions that a model defines itself, as nodes in the place of a call.

    Parameters
    ----------
    functions : iterable of FunctionProto
    opset : int
        Of the model; functions must be written for the same.
    """

    def __init__(self, functions: Iterable[FunctionProto], opset: int) -> None:
        self.opset = opset
        self._functions = {(f.domain, f.name, f.overload): f for f in functions}
        self._open: list[tuple[str, str, str]] = []
        self._calls = 0

    def find(self, message: NodeProto) -> FunctionProto | None:
        """Return the function that a node calls, None where it is an operator."""
        return self._functions.get((message.domain, message.op_type, message.overload))

    def inline(
        self,
        call: Call,
        message: NodeProto,
        function: FunctionProto,
        convert: Convert,
    ) -> None:
        """Convert the nodes of a function for one call of it."""
        self._calls += 1
        if self._calls > MOST_CALLS:
            raise UnsupportedModelError(f"{call.where}: the model has more than {MOST_CALLS} calls")
        key = (function.domain, function.name, function.overload)
        if key in self._open:
            raise ModelFormatError(f"{call.where}: function {function.name!r} calls itself")
        for opset in function.opset_import:
            if opset.domain in ("", "ai.onnx") and opset.version != self.opset:
                raise UnsupportedModelError(
                    f"{call.where}: function {function.name!r} uses opset {opset.version}, the "
                    f"model {self.opset}; accepted: the same"
                )
        if len(call.inputs) > len(function.input) or len(call.outputs) > len(function.output):
            raise ModelFormatError(
                f"{call.where}: has {len(call.inputs)} inputs and {len(call.outputs)} outputs; "
                f"function {function.name!r} has {len(function.input)} and {len(function.output)}"
            )
        names: dict[str, str] = {}
        given = [*call.inputs, *[None] * len(function.input)]
        omitted = set()
        for name, value in zip(function.input, given, strict=False):
            if value is None:
                omitted.add(name)
            else:
                names[name] = value
        attributes = {a.name: a for a in (*function.attribute_proto, *message.attribute)}
        unknown = {a.name for a in message.attribute} - set(function.attribute)
        unknown -= {a.name for a in function.attribute_proto}
        if unknown:
            raise ModelFormatError(
                f"{call.where}: function {function.name!r} has no attribute {sorted(unknown)[0]!r}"
            )
        call.attributes.skip()
        nodes = [_bound(node, attributes, omitted) for node in function.node]
        inner = Scope(names, outer=Scope())
        self._open.append(key)
        convert(call.builder, nodes, inner)
        self._open.pop()
        for i, (name, output) in enumerate(zip(function.output, call.outputs, strict=False)):
            found = inner.find(name)
            if output is None:
                continue
            if found is None:
                raise ModelFormatError(f"{call.where}: nothing computes output {name!r}")
            call.emit("Identity", [found], [output], suffix=f"out{i}")


def _bound(node: NodeProto, attributes: Mapping[str, Any], omitted: set[str]) -> NodeProto:
    """Copy a function's node with the attributes that a call gives."""
    from onnx import NodeProto

    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = ["" if name in omitted else name for name in node.input]
    del copy.attribute[:]
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            added = copy.attribute.add()
            added.CopyFrom(attribute)
            for graph in (*([added.g] if added.HasField("g") else []), *added.graphs):
                bound = [_bound(n, attributes, omitted) for n in graph.node]
                del graph.node[:]
                graph.node.extend(bound)
        elif attribute.ref_attr_name in attributes:
            added = copy.attribute.add()
            added.CopyFrom(attributes[attribute.ref_attr_name])
            added.name = attribute.name
    return copy
