"""Pairs of state that names or shapes show, where the structure of a graph does not.

A cache of past frames enters a convolution, not a recurrent node, so nothing in the structure says
that the output beside it is what the next call wants. Names do:

=====================================  =====================================
input                                  output
=====================================  =====================================
``s``                                  ``s_out``, ``s_new``, ``s_next``, ``s_updated``, ``s.1``
``s``                                  ``out_s``, ``new_s``, ``next_s``, ``updated_s``
``s``, ``s0``, ``s_0``                 ``sN``, ``sn``, ``s_n``
``s_in``, ``in_s``, ``s_input``        ``s_out``, ``out_s``, ``s_output``
``s_prev``, ``prev_s``, ``s_old``      ``s_next``, ``next_s``, ``s_new``, ``new_s``, ``s``
``past_s``                             ``present_s``
=====================================  =====================================

Capitals do not matter, digits may follow (``cache_in_2``, ``cache_out_2``). A pair has one type,
float32. The first input is data if the names of all inputs say state.

In a graph that has pairs already, an input and an output that alone have a shape are a pair too, as
long as the first input and an output remain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Graph, State, TensorType

__all__ = ["by_name", "by_shape"]

_AFTER = ("out", "new", "next", "updated")
_ENDS = ("in", "input"), ("out", "output")
_PAST = ("prev", "previous", "old")


def _stems(name: str) -> Iterable[tuple[str, str]]:
    """The name without its digits, and the digits; and the name as it is."""
    lowered = name.lower()
    yield lowered, ""
    base = lowered.rstrip("0123456789")
    base = base.removesuffix("_")
    if base and base != lowered:
        yield base, lowered[len(base) :]


def _outputs_for(name: str) -> set[str]:
    """Names, in small letters, that the output for an input may have."""
    found: set[str] = set()
    for stem, digits in _stems(name):
        forms = {f"{stem}_{word}" for word in _AFTER} | {f"{word}_{stem}" for word in _AFTER}
        forms |= {f"{stem}n", f"{stem}_n", f"{stem}.1"}
        if digits in ("0", "_0"):
            found |= {f"{stem}n", f"{stem}_n"}
        for given, wanted in zip(*_ENDS, strict=True):
            if stem.endswith(f"_{given}"):
                forms.add(f"{stem[: -len(given)]}{wanted}")
            if stem.startswith(f"{given}_"):
                forms.add(f"{wanted}{stem[len(given) :]}")
        for word in _PAST:
            base = ""
            if stem.endswith(f"_{word}"):
                base = stem[: -len(word) - 1]
            elif stem.startswith(f"{word}_"):
                base = stem[len(word) + 1 :]
            if base:
                forms |= {base} | {f"{base}_{after}" for after in _AFTER}
                forms |= {f"{after}_{base}" for after in _AFTER}
        if stem.startswith("past_"):
            forms.add(f"present_{stem[5:]}")
        found |= {f"{form}{digits}" for form in forms}
    return found


def by_name(
    graph: Graph, types: Mapping[str, TensorType], known: Sequence[State]
) -> tuple[State, ...]:
    """Pairs that names show, among the inputs and outputs that have none.

    Raises
    ------
    UnsupportedModelError
        Where several outputs could be meant, with the candidates.
    """
    outputs = _left(graph, known)
    found: list[State] = []
    inputs = [v for v in graph.inputs if v.name not in {s.input for s in known}]
    for value in inputs:
        wanted = _outputs_for(value.name)
        fits = [name for name in outputs if name.lower() in wanted and types[name] == value.type]
        if len(fits) > 1:
            raise UnsupportedModelError(
                f"input {value.name!r} could be the state that outputs {', '.join(fits)} return; "
                f"say which with stream(state={{'<output>': {value.name!r}}})"
            )
        if fits and value.type.dtype == np.float32:
            found.append(State(value.name, value.name, fits[0], None, None, implicit=False))
    targets = [state.output for state in found]
    shared = sorted({name for name in targets if targets.count(name) > 1})
    if shared:
        givers = [state.input for state in found if state.output == shared[0]]
        raise UnsupportedModelError(
            f"output {shared[0]!r} could be the state of inputs {', '.join(givers)}; say which "
            f"with stream(state={{{shared[0]!r}: '<input>'}})"
        )
    data = [v.name for v in graph.inputs if v.type.dtype.kind == "f"]
    stated = {state.input for state in (*known, *found)}
    if data and stated.issuperset(data):
        found = [state for state in found if state.input != data[0]]
    return tuple(found)


def by_shape(
    graph: Graph, types: Mapping[str, TensorType], known: Sequence[State]
) -> tuple[State, ...]:
    """Pairs that alone have their shape, in a graph that has other pairs."""
    if not known:
        return ()
    stated = {state.input for state in known}
    data = [v for v in graph.inputs if v.type.dtype.kind == "f"]
    inputs = [v for v in data[1:] if v.name not in stated]
    outputs = _left(graph, known)
    found = []
    for value in inputs:
        twins = [v for v in data if v.type == value.type and v.name not in stated]
        fits = [name for name in outputs if types[name] == value.type]
        if len(twins) == 1 and len(fits) == 1 and value.type.dtype == np.float32:
            found.append(State(value.name, value.name, fits[0], None, None, implicit=False))
    return tuple(found) if len(found) < len(outputs) else ()


def _left(graph: Graph, known: Sequence[State]) -> list[str]:
    """Outputs that are no state as a whole, each once."""
    whole = {state.output for state in known}
    return [name for name in dict.fromkeys(graph.outputs) if name not in whole]
