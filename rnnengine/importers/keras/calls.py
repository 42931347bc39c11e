"""One call of a layer: its number, its arguments, and what every layer's call must keep to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.importers.keras.config import NETWORKS, OPERATION
from rnnengine.importers.keras.context import Context, Steps, Tensor
from rnnengine.importers.keras.kinds import Kind
from rnnengine.importers.keras.records import Call, Network, Ref
from rnnengine.importers.keras.version import Version

__all__ = ["called", "check", "find", "first_calls", "floating"]


def called(ctx: Context, call: Call, tensors: Sequence[Tensor]) -> Context:
    """The context of one call; `tensors` are its inputs, its states and its masks."""
    count = len(call.inputs)
    queue = list(tensors[count + len(call.states) :])
    given: list[Steps | None] = []
    for ref in call.masks:
        steps = None if ref is None else queue.pop(0).steps
        if ref is not None and steps is None:
            raise UnsupportedModelError(
                f"{ctx.where}: its mask is {ref.layer!r}, which is computed; accepted: masks "
                "of Masking, of Embedding and of what joins them"
            )
        given.append(steps)
    return replace(
        ctx,
        states=tuple(tensors[count : count + len(call.states)]),
        given_masks=tuple(given),
        numbers=call.numbers,
        options=call.options,
    )


def first_calls(network: Network, version: Version) -> tuple[dict[str, int], dict[str, int]]:
    """Number of the first call of each network inside, for references of calls and of outputs.

    Keras 2 counts the calls of some networks from 1, and Keras 3 those of all but Sequential ones
    where outputs refer to them. Every call leads to an output, so something refers to each of
    them; that tells how Keras 2 counts.
    """
    asked: dict[str, set[int]] = {}
    for one in network.layers:
        for call in one.calls:
            for ref in call.refs:
                asked.setdefault(ref.layer, set()).add(ref.node)
    returned: dict[str, set[int]] = {}
    for ref in network.outputs:
        returned.setdefault(ref.layer, set()).add(ref.node)
    calls, ends = dict[str, int](), dict[str, int]()
    for one in network.layers:
        if one.kind not in NETWORKS:
            continue
        last = returned.get(one.name, set())
        if version.major >= 3:
            ends[one.name] = int(one.kind != "Sequential" and 0 not in last)
            continue
        every = asked.get(one.name, set()) | last
        calls[one.name] = ends[one.name] = int(len(one.calls) in every and 0 not in every)
    return calls, ends


def find(first: Mapping[str, int], values: Mapping[Ref, Tensor], ref: Ref) -> Tensor | None:
    """A value, whose call is counted from where its layer's calls are."""
    return values.get(replace(ref, node=ref.node - first.get(ref.layer, 0)))


def check(ctx: Context, kind: Kind, count: int) -> None:
    """Refuse a call with other inputs, options or types than its class of layers takes."""
    if count == 0 or (kind.inputs is not None and count != kind.inputs):
        raise ModelFormatError(
            f"{ctx.where}: has {count} inputs; expected {kind.inputs or 'one or more'}"
        )
    odd = sorted(ctx.options - set(kind.options))
    if odd:
        raise UnsupportedModelError(
            f"{ctx.where}: is called with {odd[0]}=True; accepted: tensors, initial_state and mask"
            + "".join(f", {option}" for option in kind.options)
        )
    if ctx.layer.kind.startswith(OPERATION):
        return
    policy: Any = ctx.get("dtype")
    if isinstance(policy, dict):
        inner = policy.get("config")
        named = inner.get("name") if isinstance(inner, dict) else None
        policy = named if policy.get("class_name") in _POLICIES else policy.get("class_name")
    if policy is not None and policy not in _DTYPES:
        raise UnsupportedModelError(
            f"{ctx.where}: dtype is {policy!r}; accepted: {', '.join(sorted(_DTYPES))}"
        )


_POLICIES = ("DTypePolicy", "Policy")
_DTYPES = (
    "float32",
    "float16",
    "bfloat16",
    "mixed_float16",
    "mixed_bfloat16",
    "int32",
    "int64",
    "uint8",
)
"""Halves are computed in float32, which is what they approximate; integers are tables' numbers."""


def floating(ctx: Context, tensor: Tensor) -> Tensor:
    """Numbers of a table's input that another layer reads as floats."""
    if tensor.steps is not None:
        raise UnsupportedModelError(f"{ctx.where}: its input is a mask; accepted: numbers")
    if ctx.type(tensor).dtype.kind == "f":
        return tensor
    floats = ctx.emit("Cast", [tensor.name], {"to": np.dtype(np.float32)}, "floats")
    return replace(tensor, name=floats)
