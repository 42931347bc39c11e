"""An ONNX model to a graph: inputs, constants, nodes in order, branches, outputs."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rnnengine.errors import ModelFormatError, ShapeError, UnsupportedModelError
from rnnengine.graph import Graph, Size, Value, substitute
from rnnengine.graph.verify import verify
from rnnengine.importers.onnx.body import reads
from rnnengine.importers.onnx.builder import Builder, Call, Scope, scalar
from rnnengine.importers.onnx.functions import Inliner
from rnnengine.importers.onnx.loop import convert_loop
from rnnengine.importers.onnx.proto import Tensors, parse
from rnnengine.importers.onnx.scan import convert_scan
from rnnengine.importers.onnx.table import CONVERTERS, REFUSED, full_name
from rnnengine.importers.onnx.values import (
    check_declared,
    fixed_value,
    input_value,
    named_symbols,
    solve,
)
from rnnengine.importers.onnx.versions import check_operator, default_opset
from rnnengine.importers.onnx.withheld import follow
from rnnengine.ops.sizes import Clash

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

__all__ = ["import_onnx", "onnx_inputs"]

_DOMAINS = ("", "ai.onnx")


def import_onnx(
    content: bytes,
    name: str,
    *,
    constants: Mapping[str, Any] | None = None,
    external_data: str | os.PathLike[str] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Graph:
    """Read an ONNX model; see :func:`rnnengine.importers.load_graph`.

    Sizes that the model leaves open but uses as equal are identified: the graph's inputs then
    declare one symbol, or a number, in both places.
    """
    model = parse(content, name)
    importer = _Importer(model, name, Tensors(external_data), dict(constants or {}))
    importer.sizes.update(sizes or {})
    try:
        while True:
            try:
                return verify(importer.run())
            except Clash as clash:
                importer.identify(clash)
    except ShapeError as error:
        raise ModelFormatError(f"{name}: {error}") from None


def onnx_inputs(
    content: bytes, name: str, *, constants: Mapping[str, Any] | None = None
) -> tuple[Value, ...]:
    """Inputs of an ONNX model as it declares them, those fixed by the caller left out."""
    model = parse(content, name)
    return tuple(_Importer(model, name, Tensors(None), dict(constants or {})).inputs())


class _Importer:
    """One model, imported again whenever two of its symbols turn out to be one."""

    def __init__(
        self, model: ModelProto, name: str, tensors: Tensors, constants: dict[str, Any]
    ) -> None:
        self.model = model
        self.name = name
        self.tensors = tensors
        self.opset = default_opset([(o.domain, o.version) for o in model.opset_import])
        self.inliner = Inliner(model.functions, self.opset)
        self.named = named_symbols(model.graph.input)
        self.sizes: dict[str, Size] = {}
        self.fixed = constants
        self._fix_inputs()

    def _fix_inputs(self) -> None:
        """Check the caller's constants; their shapes settle the symbols of their inputs."""
        infos = {info.name: info for info in self.model.graph.input}
        unknown = sorted(set(self.fixed) - set(infos))
        if unknown:
            raise UnsupportedModelError(
                f"constants names {unknown[0]!r}, which is no input of the model; inputs: "
                f"{', '.join(infos)}"
            )
        for name, given in self.fixed.items():
            value = input_value(infos[name], self.named, {})
            self.fixed[name] = fixed_value(value, given)
            for size, got in zip(value.type.shape, self.fixed[name].shape, strict=True):
                if size != got:
                    self.sizes.setdefault(str(size), got)

    def identify(self, clash: Clash) -> None:
        """Make the two sizes of a clash equal from now on."""
        name, value = solve(clash, self.named)
        self.sizes = {n: substitute(s, {name: value}) for n, s in self.sizes.items()}
        self.sizes[name] = value

    def inputs(self) -> list[Value]:
        """Inputs that are fed at run time, with what is known of their symbols."""
        constants = {t.name for t in self.model.graph.initializer}
        return [
            input_value(info, self.named, self.sizes)
            for info in self.model.graph.input
            if info.name not in constants and info.name not in self.fixed
        ]

    def run(self) -> Graph:
        """Import the model with what is known of its symbols."""
        graph = self.model.graph
        if graph.sparse_initializer:
            raise UnsupportedModelError("model has sparse initializers; accepted: dense ones")
        constants = {t.name: t for t in graph.initializer}
        if len(constants) != len(graph.initializer) or "" in constants:
            raise ModelFormatError("two initializers of the model have one name, or one has none")
        inputs = self.inputs()
        if len({v.name for v in inputs}) != len(inputs) or any(not v.name for v in inputs):
            raise ModelFormatError("two inputs of the model have one name, or one has none")
        reserved = {v.name for v in inputs} | set(constants) | set(self.fixed)
        reserved |= {name for node in graph.node for name in node.output}
        builder = Builder(self.opset, self.tensors, inputs, reserved)
        scope = Scope({v.name: v.name for v in inputs})
        for name, tensor in constants.items():
            scope.names[name] = name
            if name not in self.fixed:
                builder.decoded(name, tensor, "initializer")
        for name, value in self.fixed.items():
            scope.names[name] = builder.constant(name, value)
        self._nodes(builder, graph.node, scope)
        outputs = self._outputs(builder, graph, scope)
        return Graph(
            name=graph.name or "onnx",
            inputs=tuple(inputs),
            outputs=outputs,
            nodes=tuple(builder.nodes),
            constants=builder.constants,
            source=self.name,
        )

    @staticmethod
    def _outputs(builder: Builder, graph: GraphProto, scope: Scope) -> tuple[str, ...]:
        outputs = tuple(info.name for info in graph.output)
        if not outputs or len(set(outputs)) != len(outputs):
            raise ModelFormatError("model has no outputs, or two of one name")
        for name in outputs:
            if scope.find(name) is None:
                raise ModelFormatError(f"nothing computes output {name!r} of the model")
            builder.check_shown([scope.find(name)], f"output {name!r} of the model")
            if name in builder.bfloat16:
                raise UnsupportedModelError(f"output {name!r} is bfloat16; accepted: float32")
        for info in (*graph.value_info, *graph.output):
            hidden = info.name in builder.bfloat16 or info.name in builder.withheld
            if info.name in scope.names and not hidden:
                check_declared(info, builder.inference.types[info.name])
        return outputs

    def _nodes(self, builder: Builder, messages: Iterable[NodeProto], scope: Scope) -> None:
        for message in _ordered(list(messages)):
            self._node(builder, message, scope)

    def _node(self, builder: Builder, message: NodeProto, scope: Scope) -> None:
        name = builder.node_name(message.name or message.op_type)
        where = f"node {name!r} ({message.op_type})"
        function = self.inliner.find(message)
        own = message.domain in _DOMAINS or full_name(message.op_type, message.domain) in CONVERTERS
        if not own and function is None:
            raise UnsupportedModelError(
                f"{where}: operator {message.domain}.{message.op_type} is of domain "
                f"{message.domain!r}; accepted: operators of the default domain, functions of the "
                f"model itself, {', '.join(n for n in sorted(CONVERTERS) if '.' in n)}"
            )
        inputs: list[str | None] = []
        for used in message.input:
            found = scope.find(used) if used else None
            if used and found is None:
                raise ModelFormatError(f"{where}: nothing computes its input {used!r}")
            inputs.append(found)
        outputs: list[str | None] = []
        for made in message.output:
            if made in scope.names:
                raise ModelFormatError(f"{where}: output {made!r} is defined twice")
            new = None if not made else made if scope.outer is None else builder.fresh(made)
            outputs.append(new)
        call = Call(builder, message, name, inputs, outputs)
        if function is not None:
            self.inliner.inline(call, message, function, self._nodes)
        else:
            self._convert(call, message, scope)
        call.attributes.finish()
        scope.names.update(
            {old: new for old, new in zip(message.output, outputs, strict=True) if new}
        )

    def _convert(self, call: Call, message: NodeProto, scope: Scope) -> None:
        name = full_name(message.op_type, message.domain)
        if name == call.op:
            check_operator(call.op, call.opset, call.where)
        if follow(call):
            return
        if call.op == "If":
            self._branch(call, scope)
        elif call.op == "Loop":
            convert_loop(call, scope, self._nodes)
        elif call.op == "Scan":
            convert_scan(call, scope, self._nodes)
        elif name in CONVERTERS:
            if call.op != "Cast":
                call.refuse_bfloat16()
            CONVERTERS[name](call)
        else:
            raise UnsupportedModelError(
                f"{call.where}: operator {message.op_type} is not supported: "
                + REFUSED.get(
                    call.op,
                    f"accepted: {', '.join(sorted([*CONVERTERS, 'If', 'Loop', 'Scan']))}",
                )
            )

    def _branch(self, call: Call, scope: Scope) -> None:
        """Inline the branch of an If whose condition is known."""
        call.arity(1, 1, len(call.outputs))
        condition = call.known(0)
        if condition is None:
            raise UnsupportedModelError(
                f"{call.where}: condition {call.input(0)!r} depends on data; accepted: conditions "
                "that follow from constants and input shapes (fix an input with constants={...})"
            )
        branches = {word: call.attributes.graph(f"{word}_branch") for word in ("then", "else")}
        graph = branches["then" if scalar(condition, call.where, "condition") else "else"]
        if graph.input or graph.sparse_initializer or len(graph.output) != len(call.outputs):
            raise ModelFormatError(
                f"{call.where}: branch {graph.name!r} has inputs or sparse initializers, or "
                f"{len(graph.output)} outputs for the node's {len(call.outputs)}"
            )
        inner = Scope(outer=scope)
        for tensor in graph.initializer:
            name = call.builder.fresh(tensor.name)
            inner.names[tensor.name] = call.builder.decoded(name, tensor, call.where)
        self._nodes(call.builder, graph.node, inner)
        for i, (info, output) in enumerate(zip(graph.output, call.outputs, strict=True)):
            found = inner.find(info.name)
            if found is None:
                raise ModelFormatError(f"{call.where}: nothing computes output {info.name!r}")
            if found in call.builder.bfloat16:
                raise UnsupportedModelError(f"{call.where}: output {info.name!r} is bfloat16")
            if output is not None:
                call.emit("Identity", [found], [output], suffix=f"out{i}")


def _ordered(messages: Sequence[NodeProto]) -> Iterable[NodeProto]:
    """Nodes so that each comes after what it reads; otherwise as in the file.

    Raises
    ------
    ModelFormatError
        A value is computed twice, or nodes need each other in a circle.
    """
    makers: dict[str, int] = {}
    for i, message in enumerate(messages):
        for name in message.output:
            if name and makers.setdefault(name, i) != i:
                raise ModelFormatError(f"value {name!r} is computed by two nodes")
    needs = [{makers[n] for n in reads(m) if n in makers} for m in messages]
    waiting = [len(n) for n in needs]
    readers: dict[int, list[int]] = {}
    for i, makers_of_i in enumerate(needs):
        for j in makers_of_i:
            readers.setdefault(j, []).append(i)
    ready = [i for i, count in enumerate(waiting) if count == 0]
    done = 0
    while ready:
        i = heapq.heappop(ready)
        done += 1
        yield messages[i]
        for j in readers.get(i, ()):
            waiting[j] -= 1
            if waiting[j] == 0:
                heapq.heappush(ready, j)
    if done < len(messages):
        stuck = next(m for m, count in zip(messages, waiting, strict=True) if count)
        raise ModelFormatError(
            f"node {stuck.name!r} ({stuck.op_type}): it depends on its own output, or on a node "
            "that does"
        )
