"""Stream: the recurrent state of one listener, advanced step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnengine._c.runtime import StreamRunner
from rnnengine.compiler import Compiled
from rnnengine.errors import ShapeError
from rnnengine.graph import Graph, symbols_of
from rnnengine.passes.timeline import Timeline

__all__ = ["Stream", "batch_symbol"]


def batch_symbol(graph: Graph, timeline: Timeline | None) -> str | None:
    """Name of the free batch size of the state, None where every state has a fixed shape.

    Raises
    ------
    ShapeError
        Where the states depend on several free sizes, or on the number of time steps.
    """
    kinds = {v.name: v.type for v in graph.inputs}
    axes = timeline.axes if timeline is not None else {}
    steps = {
        name
        for v in graph.inputs
        if (axis := axes.get(v.name)) is not None
        for name in symbols_of(v.type.shape[axis])
    }
    found = {n for s in graph.states for size in kinds[s.input].shape for n in symbols_of(size)}
    if found & steps or len(found) > 1:
        raise ShapeError(
            f"stream: the state's size depends on {', '.join(sorted(found))}; a stream can follow a "
            "state whose only free size is the batch"
        )
    return found.pop() if found else None


class Stream(StreamRunner):
    """One stream, or a batch of streams in lockstep, over a :class:`Model`.

    Streams come from :meth:`Model.stream`. A stream belongs to one thread at a time; any number of
    streams may run over the same model at once. Feeding a sequence in pieces of any size gives the
    bits of feeding it whole.

    Attributes
    ----------
    batch : int or None
        Rows that advance together; None where the model fixes it.
    """

    batch: int | None

    def __init__(
        self, compiled: Compiled, graph: Graph, timeline: Timeline | None, batch: int | None
    ) -> None:
        free = batch_symbol(graph, timeline)
        if batch is not None and batch < 0:
            raise ShapeError(f"stream: batch is {batch}; expected 0 or more")
        if free is None and batch is not None:
            _check_fixed(graph, timeline, batch)
        self._origin = (compiled, graph, timeline)
        self.batch = (1 if batch is None else batch) if free is not None else batch
        sizes = {} if free is None else {compiled.symbols.index(free): self.batch or 0}
        super().__init__(compiled.plan, sizes)

    @property
    def state(self) -> dict[str, NDArray[np.float32]]:
        """Copy of the state, by name; assigning a dict sets the states it names."""
        return self._get()

    @state.setter
    def state(self, arrays: Mapping[str, Any]) -> None:
        unknown = [name for name in arrays if name not in self.plan.state_names]
        if unknown:
            raise ShapeError(
                f"state: no state named {unknown[0]!r}; states: {', '.join(self.plan.state_names)}"
            )
        self._set(dict(arrays))

    def reset(self) -> None:
        """Return to the initial state."""
        self._reset()

    def clone(self) -> Stream:
        """Return an independent stream in the same state."""
        compiled, graph, timeline = self._origin
        twin = Stream(compiled, graph, timeline, self.batch)
        twin._set(self._get())
        return twin

    def __repr__(self) -> str:
        _, graph, _ = self._origin
        states = ", ".join(f"{name}{list(array.shape)}" for name, array in self.state.items())
        return f"<rnnengine.Stream of {graph.name!r}, batch {self.batch}, state {states or 'none'}>"


def _check_fixed(graph: Graph, timeline: Timeline | None, batch: int) -> None:
    """A batch given for a model of fixed batch must be that batch."""
    kinds = {v.name: v.type for v in graph.inputs}
    sizes = {kinds[s.input].shape[1] for s in graph.states if kinds[s.input].rank == 3}
    if sizes and batch not in sizes:
        raise ShapeError(
            f"stream: the model's batch is fixed at {sorted(map(str, sizes))}, got {batch}"
        )
