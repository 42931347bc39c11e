"""A graph that is repeated: what the Loop and Scan of ONNX become.

Inputs: the states before the first step; the sequences, whose axis 0 is time; values that all steps
share. Attributes: ``body``, a graph with as many inputs, in the same order, whose outputs are the
states after a step and then the values of the step; ``states`` and ``sequences``, how many there
are; ``trip``, the number of steps. Outputs: the states after the last step, then the values of all
steps, stacked along axis 0.

There is no instruction for it: :mod:`rnnengine.passes.loops` turns it into something else.
"""

from __future__ import annotations

import numpy as np

from rnnengine.errors import ShapeError
from rnnengine.graph import Graph, Size, TensorType, UndecidedError, Value
from rnnengine.ops.oracle import evaluate
from rnnengine.ops.registry import (
    Array,
    Attrs,
    Known,
    NotAlongTime,
    Op,
    TimeAxes,
    Types,
    Values,
    register,
)
from rnnengine.ops.sizes import unify
from rnnengine.ops.types import Inference
from rnnengine.records import replace

__all__ = ["body_types", "typed_body"]

_MOST_STEPS = 1 << 16
"""Steps that the reference takes."""


def typed_body(attrs: Attrs, types: Types) -> Graph:
    """Return the body with the types that its inputs have in the graph around it."""
    body: Graph = attrs["body"]
    states, sequences = attrs["states"], attrs["sequences"]
    if len(types) != len(body.inputs):
        raise ShapeError(f"Scan: has {len(types)} inputs; its body takes {len(body.inputs)}")
    inputs = []
    for position, (value, kind) in enumerate(zip(body.inputs, types, strict=True)):
        if kind is None:
            raise ShapeError(f"Scan: input {position} is missing; it is required")
        shape = kind.shape
        if states <= position < states + sequences:
            if not shape:
                raise ShapeError(f"Scan: sequence {value.name!r} is {kind}; expected an axis")
            unify(shape[0], attrs["trip"], f"Scan: steps of {value.name!r} and of the loop")
            shape = shape[1:]
        inputs.append(replace(value, type=TensorType(kind.dtype, shape)))
    return body.with_(inputs=tuple(inputs))


def body_types(attrs: Attrs, types: Types, known: Known) -> tuple[Graph, Inference]:
    """Types and known values inside the body; values that all steps share may be known."""
    body = typed_body(attrs, types)
    inference = Inference(body.inputs, {k: np.asarray(v) for k, v in body.constants.items()})
    first = attrs["states"] + attrs["sequences"]
    for value, constant in zip(body.inputs[first:], known[first:], strict=True):
        if constant is not None:
            inference.values[value.name] = constant
    for node in body.nodes:
        inference.add(node)
    return body, inference


def _infer(attrs: Attrs, types: Types, known: Known) -> list[TensorType]:
    body, inference = body_types(attrs, types, known)
    trip: Size = attrs["trip"]
    found = [inference.types[name] for name in body.outputs]
    states = attrs["states"]
    for value, kind in zip(body.inputs[:states], found, strict=False):
        if value.type.dtype != kind.dtype or value.type.rank != kind.rank:
            raise ShapeError(f"Scan: state {value.name!r} is {value.type} and becomes {kind}")
        for before, after in zip(value.type.shape, kind.shape, strict=True):
            unify(before, after, f"Scan: state {value.name!r} before and after a step")
    kept = [value.type for value in body.inputs[:states]]
    return kept + [TensorType(t.dtype, (trip, *t.shape)) for t in found[states:]]


def _reference(attrs: Attrs, values: Values) -> list[Array]:
    """Evaluate the body step by step."""
    body: Graph = attrs["body"]
    states, sequences = attrs["states"], attrs["sequences"]
    given = [np.asarray(v) for v in values]
    trip = attrs["trip"]
    if not isinstance(trip, int) or trip > _MOST_STEPS:
        raise UndecidedError(f"Scan of {trip} steps")
    state, shared = given[:states], given[states + sequences :]
    kinds = [TensorType(v.dtype, v.shape) for v in given]
    collected: list[list[Array]] = [[] for _ in body.outputs[states:]]
    for t in range(trip):
        now = [*state, *(s[t] for s in given[states : states + sequences]), *shared]
        inputs = tuple(
            Value(v.name, TensorType(v.type.dtype, a.shape))
            for v, a in zip(body.inputs, now, strict=True)
        )
        feeds = {v.name: a for v, a in zip(body.inputs, now, strict=True)}
        results = evaluate(body.with_(inputs=inputs), feeds)
        after = [results[name] for name in body.outputs]
        state = after[:states]
        for whole, part in zip(collected, after[states:], strict=True):
            whole.append(part)
    if trip:
        return [*state, *(np.stack(parts) for parts in collected)]
    declared = _infer(attrs, kinds, [None] * len(kinds))
    return [*state, *(np.zeros([int(s) for s in t.shape]) for t in declared[states:])]


def _stream(attrs: Attrs, types: Types, known: Known, axes: TimeAxes) -> list[int | None]:
    if any(axis is not None for axis in axes):
        raise NotAlongTime("Scan: the loop was not recognised as a recurrent layer")
    return [None] * len(attrs["body"].outputs)


register(Op("Scan", _infer, _reference, _stream))
