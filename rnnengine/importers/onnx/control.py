"""Control flow of ONNX: Loop, Scan, and functions that a model defines itself.

A loop becomes a ``Scan`` (:mod:`rnnengine.ops.loop`) where its number of steps is known before it
runs. A Loop whose condition has to be worked out step by step is written out while importing, as
long as every condition follows from constants and shapes. Loops that data decides are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Dim, Graph, Size, TensorType, Value
from rnnengine.graph.verify import verify
from rnnengine.importers.onnx.builder import Builder, Call, Scope, scalar
from rnnengine.ops.registry import Array

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, NodeProto

__all__ = ["Inliner", "convert_loop", "convert_scan", "reads"]

MOST_NODES = 10_000
"""Nodes that a loop may be written out to while importing."""

MOST_ROWS = 64
"""Rows of a batch that have a loop each, in the form of Scan of opset 8."""

MOST_CALLS = 20_000
"""Calls of functions that a model may have, those inside functions included."""


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
        convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
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


class _Body:
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
            constant = outer.constants.get(found)
            known = outer.inference.values.get(found)
            if constant is None and known is not None and known.dtype != object:
                constant = known.astype(outer.inference.types[found].dtype)
            if constant is not None:
                self._constants[name] = np.asarray(constant)
            else:
                self._captured[name] = found

    def input(self, position: int, kind: TensorType) -> None:
        """Say the type of the next input of the body."""
        self._inputs.append(Value(self.graph.input[position].name, kind))

    def built(
        self,
        convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
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
        outputs: list[str] = []
        for info in self.graph.output:
            found = scope.find(info.name)
            if found is None:
                raise ModelFormatError(f"{self.call.where}: nothing computes {info.name!r}")
            outputs.append(found)
        body = Graph(
            self.graph.name or "body",
            tuple(inputs),
            tuple(outputs),
            tuple(builder.nodes),
            builder.constants,
        )
        return verify(body), builder


def convert_scan(
    call: Call,
    scope: Scope,
    convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
) -> None:
    """Scan: sequences along any axis, in either direction; in opset 8 for each row of a batch."""
    if call.opset < 9:
        _scan_of_rows(call, scope, convert)
        return
    graph = call.attributes.graph("body")
    count = call.attributes.integer("num_scan_inputs")
    if count is None or not 0 < count <= len(call.inputs) or len(graph.input) != len(call.inputs):
        raise ModelFormatError(
            f"{call.where}: attribute 'num_scan_inputs' is {count}, with {len(call.inputs)} inputs "
            f"and a body of {len(graph.input)}"
        )
    if None in call.inputs:
        raise ModelFormatError(f"{call.where}: an input is omitted; all are required")
    states = len(call.inputs) - count
    results = len(graph.output) - states
    if results < 0 or len(call.outputs) > len(graph.output):
        raise ModelFormatError(f"{call.where}: its body has {len(graph.output)} outputs")
    lists = {
        name: list(call.attributes.integers(f"scan_{name}") or [0] * size)
        for name, size in (
            ("input_axes", count),
            ("input_directions", count),
            ("output_axes", results),
            ("output_directions", results),
        )
    }
    if any(
        len(found) != (count if name.startswith("input") else results)
        or ("directions" in name and not set(found) <= {0, 1})
        for name, found in lists.items()
    ):
        raise ModelFormatError(f"{call.where}: attributes scan_* do not fit its inputs: {lists}")
    sequences = [
        _sequence(call, states + i, lists["input_axes"][i], bool(lists["input_directions"][i]))
        for i in range(count)
    ]
    kinds = call.builder.inference.types
    trip: Size = kinds[sequences[0]].shape[0]
    body = _Body(call, graph, scope)
    for i in range(states):
        body.input(i, call.type(i))
    for i, name in enumerate(sequences):
        kind = kinds[name]
        body.input(states + i, TensorType(kind.dtype, kind.shape[1:]))
    built, _ = body.built(convert, {})
    inputs = [*call.inputs[:states], *sequences, *body.shared]
    attrs = {"body": built, "states": states, "sequences": count, "trip": trip}
    axes, directions = lists["output_axes"], lists["output_directions"]
    _emit(call, inputs, attrs, axes, [bool(d) for d in directions])


def _scan_of_rows(
    call: Call,
    scope: Scope,
    convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
) -> None:
    """Scan of opset 8: axis 0 of everything is the batch, and each row has a loop of its own."""
    graph = call.attributes.graph("body")
    count = call.attributes.integer("num_scan_inputs")
    directions = list(call.attributes.integers("directions") or [0] * (count or 0))
    given = call.inputs[1:]
    if count is None or not 0 < count <= len(given) or len(graph.input) != len(given):
        raise ModelFormatError(
            f"{call.where}: attribute 'num_scan_inputs' is {count}, with {len(given)} inputs and a "
            f"body of {len(graph.input)}"
        )
    if call.inputs[0] is not None:
        raise UnsupportedModelError(
            f"{call.where}: input 'sequence_lens' is given; accepted: sequences of one length"
        )
    states = len(given) - count
    fits = len(directions) == count and set(directions) <= {0, 1}
    if None in given or not fits or len(call.outputs) > len(graph.output):
        raise ModelFormatError(f"{call.where}: an input is omitted, or 'directions' do not fit")
    kinds = [call.type(i + 1) for i in range(len(given))]
    batch = kinds[0].shape[0] if kinds[0].rank else 0
    if isinstance(batch, Dim) or not 0 < batch <= MOST_ROWS:
        raise UnsupportedModelError(
            f"{call.where}: runs a body for each of {batch} rows; accepted: a fixed number of rows "
            f"up to {MOST_ROWS} (opset 9 and newer have no rows)"
        )
    if any(k.rank < (1 if i < states else 2) or k.shape[0] != batch for i, k in enumerate(kinds)):
        raise ModelFormatError(f"{call.where}: its inputs {', '.join(map(str, kinds))} do not fit")
    trip: Size = kinds[states].shape[1]
    body = _Body(call, graph, scope)
    for i, kind in enumerate(kinds):
        body.input(i, TensorType(kind.dtype, kind.shape[1 if i < states else 2 :]))
    built, _ = body.built(convert, {})
    attrs = {"body": built, "states": states, "sequences": count, "trip": trip}
    rows: list[list[str]] = []
    for row in range(batch):
        cut = {"axes": (0,), "starts": (row,), "sizes": (1,), "steps": (1,)}
        inputs: list[str | None] = []
        for i, name in enumerate(given):
            one = call.made("Slice", [name], cut, "row")
            one = call.made("Squeeze", [one], {"axes": (0,)}, "row")
            inputs.append(
                _flipped(call, one, 0, trip) if i >= states and directions[i - states] else one
            )
        made = [call.fresh(f"row{row}") for _ in graph.output]
        call.emit("Scan", [*inputs, *body.shared], made, attrs, f"row{row}")
        rows.append([call.made("Unsqueeze", [m], {"axes": (0,)}, "row") for m in made])
    for i, output in enumerate(call.outputs):
        if output is not None:
            call.emit("Concat", [r[i] for r in rows], [output], {"axis": 0}, f"out{i}")


def _sequence(call: Call, position: int, axis: int, backwards: bool) -> str:
    """An input with its sequence axis in front, in the order in which the body sees it."""
    name, kind = call.inputs[position], call.type(position)
    assert name is not None
    if not -kind.rank <= axis < kind.rank:
        raise ModelFormatError(f"{call.where}: attribute 'scan_input_axes' holds {axis}")
    axis %= kind.rank
    if axis:
        perm = (axis, *(a for a in range(kind.rank) if a != axis))
        name = call.made("Transpose", [name], {"perm": perm}, f"sequence{position}")
    return _flipped(call, name, 0, kind.shape[axis]) if backwards else name


def _flipped(call: Call, name: str, axis: int, steps: Size) -> str:
    attrs = {"axes": (axis,), "starts": (steps - 1,), "sizes": (steps,), "steps": (-1,)}
    return call.made("Slice", [name], attrs, "flip")


def _emit(
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
            stacked = _flipped(call, stacked, 0, kind.shape[0])
        if not -kind.rank <= axes[i] < kind.rank:
            raise ModelFormatError(f"{call.where}: attribute 'scan_output_axes' holds {axes[i]}")
        axis = axes[i] % kind.rank
        perm = list(range(1, kind.rank))
        perm.insert(axis, 0)
        call.emit("Transpose", [stacked], [name], {"perm": tuple(perm)}, f"result{i}")


def convert_loop(
    call: Call,
    scope: Scope,
    convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
) -> None:
    """Loop with a number of steps and a condition, either of which may be absent."""
    graph = call.attributes.graph("body")
    states = len(call.inputs) - 2
    if states < 0 or len(graph.input) != states + 2 or len(graph.output) < states + 1:
        raise ModelFormatError(
            f"{call.where}: has {len(call.inputs)} inputs, its body {len(graph.input)} inputs and "
            f"{len(graph.output)} outputs"
        )
    if None in call.inputs[2:] or len(call.outputs) > len(graph.output) - 1:
        raise ModelFormatError(f"{call.where}: a state is omitted, or there are too many outputs")
    runs = True
    if call.input(1) is not None:
        start = call.known(1)
        if start is None:
            raise _refused(call, "its condition before the first step")
        runs = bool(scalar(start, call.where, "condition"))
    trip = _trip(call)
    if not runs:
        trip = 0
    if trip is not None and _repeated(call, graph, scope, trip, convert):
        return
    _written_out(call, graph, scope, trip, convert)


def _refused(call: Call, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{call.where}: {what} depends on data; accepted: loops whose number of steps follows from "
        "constants and input shapes (fix an input with constants={...})"
    )


def _trip(call: Call) -> Size | None:
    """Steps that the loop takes at most, None where it does not say."""
    name = call.input(0)
    if name is None:
        return None
    value = call.builder.inference.values.get(name)
    if value is None or value.size != 1:
        raise _refused(call, "its number of steps")
    found = value.reshape(()).item()
    return found if isinstance(found, Dim) else max(int(found), 0)


def _repeated(
    call: Call,
    graph: GraphProto,
    scope: Scope,
    trip: Size,
    convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
) -> bool:
    """Make a Scan, where the condition is true after every step; False where it is not."""
    states = len(call.inputs) - 2
    body = _Body(call, graph, scope)
    for i in range(states):
        body.input(i + 2, call.type(i + 2))
    count = graph.input[0].name
    counter = Value(count, TensorType(np.dtype(np.int64), ()))
    body._inputs.append(counter)
    built, builder = body.built(convert, {graph.input[1].name: np.array(True)})
    after = builder.inference.values.get(built.outputs[0])
    if after is None or after.dtype == object or not bool(scalar(after, call.where, "condition")):
        return False
    built = built.with_(outputs=built.outputs[1:])
    zero = call.constant("zero", np.array(0, np.int64))
    one = call.constant("one", np.array(1, np.int64))
    limit = call.fresh("trip")
    if isinstance(trip, Dim):
        call.builder.inference.types[limit] = TensorType(np.dtype(np.int64), ())
        name = call.input(0)
        assert name is not None
        scalar_trip = call.made("Reshape", [name], {"shape": ()}, "trip")
    else:
        scalar_trip = call.builder.constant(limit, np.array(trip, np.int64))
    steps = call.made("Range", [zero, scalar_trip, one], None, "steps")
    inputs = [*call.inputs[2:], steps, *body.shared]
    attrs = {"body": built, "states": states, "sequences": 1, "trip": trip}
    results = len(built.outputs) - states
    _emit(call, inputs, attrs, [0] * results, [False] * results)
    return True


def _written_out(
    call: Call,
    graph: GraphProto,
    scope: Scope,
    trip: Size | None,
    convert: Callable[[Builder, Iterable[NodeProto], Scope], None],
) -> None:
    """Convert the body once for each step, as long as the condition is known."""
    if isinstance(trip, Dim):
        raise _refused(call, "its condition after a step")
    states: list[str] = [name for name in call.inputs[2:] if name is not None]
    collected: list[list[str]] = [[] for _ in graph.output[1 + len(states) :]]
    goes_on, step = True, 0
    while goes_on and (trip is None or step < trip):
        inner = Scope(outer=scope)
        for tensor in graph.initializer:
            name = call.builder.fresh(tensor.name)
            inner.names[tensor.name] = call.builder.decoded(name, tensor, call.where)
        inner.names[graph.input[0].name] = call.constant("step", np.array(step, np.int64))
        inner.names[graph.input[1].name] = call.constant("condition", np.array(True))
        names = [info.name for info in graph.input[2:]]
        inner.names.update(zip(names, states, strict=True))
        convert(call.builder, graph.node, inner)
        results = []
        for info in graph.output:
            found = inner.find(info.name)
            if found is None:
                raise ModelFormatError(f"{call.where}: nothing computes {info.name!r}")
            results.append(found)
        condition = call.builder.inference.values.get(results[0])
        if condition is None or condition.dtype == object:
            raise _refused(call, f"its condition after step {step}")
        goes_on = bool(scalar(condition, call.where, "condition"))
        states = results[1 : 1 + len(states)]
        for whole, part in zip(collected, results[1 + len(states) :], strict=True):
            whole.append(part)
        step += 1
        if step + len(call.builder.nodes) > MOST_NODES:
            raise UnsupportedModelError(
                f"{call.where}: written out, it has more than {MOST_NODES} nodes; accepted: fewer"
            )
    for i, output in enumerate(call.outputs):
        if output is None:
            continue
        if i < len(states):
            call.emit("Identity", [states[i]], [output], suffix=f"out{i}")
            continue
        parts = collected[i - len(states)]
        if not parts:
            raise UnsupportedModelError(f"{call.where}: runs no step; its results have no shape")
        lifted = [call.made("Unsqueeze", [p], {"axes": (0,)}, "step") for p in parts]
        call.emit("Concat", lifted, [output], {"axis": 0}, suffix=f"out{i}")
