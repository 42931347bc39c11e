"""The graph under construction: names, constants, nodes, and what is known about every value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Node, TensorType, Value
from rnnengine.importers.onnx.attributes import Attributes
from rnnengine.importers.onnx.proto import BFLOAT16, Tensors
from rnnengine.ops.registry import Array
from rnnengine.ops.types import Inference

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

__all__ = ["Builder", "Call", "Convert", "Scope", "scalar"]

_SMALL = 1 << 12
"""Elements of the largest value worked out while importing: shapes and conditions, no weights."""


@dataclass
class Scope:
    """Maps the names a (sub)graph may use to the names of the graph under construction."""

    names: dict[str, str] = field(default_factory=dict)
    outer: Scope | None = None

    def find(self, name: str) -> str | None:
        """Return what a name stands for, looking outwards; None if nothing defines it."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None


class Builder:
    """Collects constants and nodes, and infers types as they come.

    Parameters
    ----------
    opset : int
        Version of the default operator set the model asks for.
    tensors : Tensors
        Decoder of tensor messages.
    inputs : sequence of Value
    reserved : iterable of str
        Names that generated values must not take.
    """

    def __init__(
        self, opset: int, tensors: Tensors, inputs: Sequence[Value], reserved: set[str]
    ) -> None:
        self.opset = opset
        self.tensors = tensors
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.inference = Inference(inputs, {}, largest=_SMALL)
        self.bfloat16: set[str] = set()
        self.withheld: dict[str, object] = {}
        self._taken = set(reserved)
        self._node_names: set[str] = set()
        self._counts: dict[tuple[bool, str], int] = {}

    def fresh(self, base: str) -> str:
        """Return an unused value name."""
        return self._unused(base, self._taken, False)

    def node_name(self, base: str) -> str:
        """Return an unused node name."""
        return self._unused(base, self._node_names, True)

    def _unused(self, base: str, taken: set[str], nodes: bool) -> str:
        """The base, or the base with the next number that nothing has yet."""
        name, count = base, self._counts.get((nodes, base), 0)
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        self._counts[nodes, base] = count
        taken.add(name)
        return name

    def constant(self, name: str, value: Array) -> str:
        """Add a constant under a name that is free; return the name."""
        self.constants[name] = value
        self.inference.add_constant(name, value)
        return name

    def decoded(self, name: str, tensor: TensorProto, what: str) -> str:
        """Add a tensor message as a constant."""
        if tensor.data_type == BFLOAT16:
            self.bfloat16.add(name)
        return self.constant(name, self.tensors.decode(tensor, what))

    def add(self, node: Node) -> None:
        """Append a node and infer its outputs."""
        self.check_shown(node.inputs, f"node {node.name!r} ({node.op})")
        self.inference.add(node)
        self.nodes.append(node)

    def check_shown(self, names: Iterable[str | None], where: str) -> None:
        """Refuse what carries integers of a product on its way to its scale.

        Raises
        ------
        UnsupportedModelError
            Naming the value.
        """
        for name in names:
            if name in self.withheld:
                raise UnsupportedModelError(
                    f"{where}: {name!r} belongs to the integers of a quantised activation; "
                    "accepted: MatMulInteger or ConvInteger of it, Cast of those to float32, Mul "
                    "by the scales, DequantizeLinear, QLinearMatMul, QLinearConv"
                )


class Call:
    """One ONNX node while it is converted: its operands, attributes and a way to emit nodes.

    Parameters
    ----------
    builder : Builder
    message : NodeProto
    name : str
        Unique name of the node.
    inputs, outputs : list of str or None
        Names in the graph under construction; None where omitted.
    """

    def __init__(
        self,
        builder: Builder,
        message: NodeProto,
        name: str,
        inputs: list[str | None],
        outputs: list[str | None],
    ) -> None:
        self.builder = builder
        self.op = message.op_type
        self.name = name
        self.where = f"node {name!r} ({message.op_type})"
        self.inputs = list(inputs)
        self.outputs = list(outputs)
        self.attributes = Attributes(message, self.where)
        self.opset = builder.opset

    def arity(self, least: int, most: int, outputs: int = 1) -> None:
        """Check how many inputs and outputs the node has, and that the first ones are there."""
        while len(self.inputs) > least and self.inputs[-1] is None:
            self.inputs.pop()
        while len(self.outputs) > 1 and self.outputs[-1] is None:
            self.outputs.pop()
        count = len(self.inputs)
        if not least <= count <= most or None in self.inputs[:least]:
            raise ModelFormatError(
                f"{self.where}: has {count} inputs; expected "
                + (f"{least}" if least == most else f"{least} to {most}")
                + (", none of them omitted" if count >= least else "")
            )
        if not 1 <= len(self.outputs) <= outputs:
            raise ModelFormatError(
                f"{self.where}: has {len(self.outputs)} outputs; expected 1 to {outputs}"
            )

    def input(self, position: int) -> str | None:
        """Name of an input, None where it is omitted."""
        return self.inputs[position] if position < len(self.inputs) else None

    def output(self, position: int) -> str | None:
        """Name of an output, None where it is omitted."""
        return self.outputs[position] if position < len(self.outputs) else None

    def type(self, position: int) -> TensorType:
        """Type of an input that is there."""
        name = self.inputs[position]
        assert name is not None
        self.builder.check_shown([name], self.where)
        return self.builder.inference.types[name]

    def known(self, position: int) -> Array | None:
        """Value of an input where it is known and free of symbols, else None."""
        name = self.input(position)
        value = None if name is None else self.builder.inference.values.get(name)
        return None if value is None or value.dtype == object else value

    def fresh(self, suffix: str) -> str:
        """Return a name for an intermediate value."""
        return self.builder.fresh(f"{self.name}.{suffix}")

    def constant(self, suffix: str, value: Array) -> str:
        """Add a constant of the node's own."""
        return self.builder.constant(self.fresh(suffix), value)

    def emit(
        self,
        op: str,
        inputs: Sequence[str | None],
        outputs: Sequence[str | None],
        attrs: Mapping[str, Any] | None = None,
        suffix: str = "",
    ) -> None:
        """Append a node; the suffix tells it from others made of the same ONNX node."""
        base = f"{self.name}.{suffix}" if suffix else self.name
        name = self.builder.node_name(base) if suffix else base
        self.builder.add(Node(op, name, tuple(inputs), tuple(outputs), attrs or {}))

    def made(
        self, op: str, inputs: Sequence[str | None], attrs: Mapping[str, Any] | None, suffix: str
    ) -> str:
        """Append a node with one new output and return the output's name."""
        output = self.fresh(suffix)
        self.emit(op, inputs, [output], attrs, suffix)
        return output

    def refuse_withheld(self) -> None:
        """Refuse integers that only a product of integers may read."""
        self.builder.check_shown(self.inputs, self.where)

    def refuse_bfloat16(self) -> None:
        """Refuse bfloat16 constants, which are held in float32, for all but Cast."""
        for name in self.inputs:
            if name in self.builder.bfloat16:
                raise UnsupportedModelError(
                    f"{self.where}: input {name!r} is bfloat16; accepted: float32 (a bfloat16 "
                    "constant may only be read by Cast)"
                )


def scalar(value: Array, where: str, what: str) -> Any:
    """Return the only element of a one-element array."""
    if math.prod(value.shape) != 1:
        raise ModelFormatError(f"{where}: {what} has shape {value.shape}; expected one element")
    return np.asarray(value).reshape(()).item()


Convert: TypeAlias = Callable[[Builder, Iterable["NodeProto"], Scope], None]
"""Converts the nodes of a (sub)graph, whose names the scope maps, into the builder."""
