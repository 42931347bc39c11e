"""Scan of ONNX, in both of its forms."""

from __future__ import annotations

from typing import Any

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Dim, Size, TensorType
from rnnengine.importers.onnx.body import Body, emit_scan, flipped
from rnnengine.importers.onnx.builder import Call, Convert, Scope

__all__ = ["convert_scan"]

MOST_ROWS = 64
"""Rows of a batch that have a loop each, in the form of Scan of opset 8."""


def convert_scan(
    call: Call,
    scope: Scope,
    convert: Convert,
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
    lists = _lists(call, count, results)
    sequences = [
        _sequence(call, states + i, lists["input_axes"][i], bool(lists["input_directions"][i]))
        for i in range(count)
    ]
    kinds = call.builder.inference.types
    trip: Size = kinds[sequences[0]].shape[0]
    body = Body(call, graph, scope)
    for i in range(states):
        body.input(i, call.type(i))
    for i, name in enumerate(sequences):
        kind = kinds[name]
        body.input(states + i, TensorType(kind.dtype, kind.shape[1:]))
    built, _ = body.built(convert, {})
    inputs = [*call.inputs[:states], *sequences, *body.shared]
    attrs = {"body": built, "states": states, "sequences": count, "trip": trip}
    axes, directions = lists["output_axes"], lists["output_directions"]
    emit_scan(call, inputs, attrs, axes, [bool(d) for d in directions])


def _lists(call: Call, count: int, results: int) -> dict[str, list[int]]:
    """Axes and directions of the sequences and of the results."""
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
    return lists


def _scan_of_rows(
    call: Call,
    scope: Scope,
    convert: Convert,
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
    body = Body(call, graph, scope)
    for i, kind in enumerate(kinds):
        body.input(i, TensorType(kind.dtype, kind.shape[1 if i < states else 2 :]))
    built, _ = body.built(convert, {})
    attrs = {"body": built, "states": states, "sequences": count, "trip": trip}
    backwards = [False] * states + [bool(d) for d in directions]
    rows = [_row(call, row, attrs, backwards, body.shared) for row in range(batch)]
    for i, output in enumerate(call.outputs):
        if output is not None:
            call.emit("Concat", [r[i] for r in rows], [output], {"axis": 0}, f"out{i}")


def _row(
    call: Call, row: int, attrs: dict[str, Any], backwards: list[bool], shared: list[str]
) -> list[str]:
    """Add the loop of one row of a batch; return its results, the row's axis in front."""
    cut = {"axes": (0,), "starts": (row,), "sizes": (1,), "steps": (1,)}
    inputs: list[str | None] = []
    for name, flip in zip(call.inputs[1:], backwards, strict=True):
        one = call.made("Slice", [name], cut, "row")
        one = call.made("Squeeze", [one], {"axes": (0,)}, "row")
        inputs.append(flipped(call, one, 0, attrs["trip"]) if flip else one)
    made = [call.fresh(f"row{row}") for _ in attrs["body"].outputs]
    call.emit("Scan", [*inputs, *shared], made, attrs, f"row{row}")
    return [call.made("Unsqueeze", [m], {"axes": (0,)}, "row") for m in made]


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
    return flipped(call, name, 0, kind.shape[axis]) if backwards else name
