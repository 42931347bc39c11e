"""Loop of ONNX.

It becomes a ``Scan`` (:mod:`rnnengine.ops.loop`) where its number of steps is known before it runs.
A Loop whose condition has to be worked out step by step is written out while importing, as long as
every condition follows from constants and shapes. Loops that data decides are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Dim, Size, TensorType
from rnnengine.importers.onnx.body import Body, emit_scan, results_of
from rnnengine.importers.onnx.builder import Call, Convert, Scope, scalar

if TYPE_CHECKING:
    from onnx import GraphProto

__all__ = ["convert_loop"]

MOST_NODES = 10_000
"""Nodes that a loop may be written out to while importing."""


def convert_loop(
    call: Call,
    scope: Scope,
    convert: Convert,
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
    convert: Convert,
) -> bool:
    """Make a Scan, where the condition is true after every step; False where it is not."""
    states = len(call.inputs) - 2
    body = Body(call, graph, scope)
    for i in range(states):
        body.input(i + 2, call.type(i + 2))
    body.input(0, TensorType(np.dtype(np.int64), ()))
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
    emit_scan(call, inputs, attrs, [0] * results, [False] * results)
    return True


def _written_out(
    call: Call,
    graph: GraphProto,
    scope: Scope,
    trip: Size | None,
    convert: Convert,
) -> None:
    """Convert the body once for each step, as long as the condition is known."""
    if isinstance(trip, Dim):
        raise _refused(call, "its condition after a step")
    states: list[str] = [name for name in call.inputs[2:] if name is not None]
    collected: list[list[str]] = [[] for _ in graph.output[1 + len(states) :]]
    goes_on, step = True, 0
    while goes_on and (trip is None or step < trip):
        results = _step(call, graph, scope, step, states, convert)
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
    _stacked(call, states, collected)


def _step(
    call: Call,
    graph: GraphProto,
    scope: Scope,
    step: int,
    states: list[str],
    convert: Convert,
) -> list[str]:
    """Convert the body for one step; return what its outputs became."""
    inner = Scope(outer=scope)
    for tensor in graph.initializer:
        name = call.builder.fresh(tensor.name)
        inner.names[tensor.name] = call.builder.decoded(name, tensor, call.where)
    inner.names[graph.input[0].name] = call.constant("step", np.array(step, np.int64))
    inner.names[graph.input[1].name] = call.constant("condition", np.array(True))
    names = [info.name for info in graph.input[2:]]
    inner.names.update(zip(names, states, strict=True))
    convert(call.builder, graph.node, inner)
    return results_of(graph, inner, call.where)


def _stacked(call: Call, states: list[str], collected: list[list[str]]) -> None:
    """Give the outputs of the loop their last states, and the results of all steps."""
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
