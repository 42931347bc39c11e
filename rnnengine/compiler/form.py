"""A compiled form of a graph: what runs, what state it has, and what its caller may ask of it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from rnnengine.compiler.compile import Compiled
from rnnengine.errors import ShapeError, UnsupportedModelError
from rnnengine.graph import Graph, symbol, symbols_of
from rnnengine.ops.weights import choices_of, compute_type_of
from rnnengine.passes.timeline import Timeline
from rnnengine.records import record

__all__ = ["Form"]


@record
class Form:
    """One compiled form of a graph.

    Attributes
    ----------
    compiled : Compiled
    graph : Graph
        With its states; implicit ones were exposed as inputs and outputs.
    timeline : Timeline or None
        Where time runs; None where it is not known or must keep its declared size.
    refusal : str or None
        Why the graph cannot be followed step by step.
    """

    compiled: Compiled
    graph: Graph
    timeline: Timeline | None
    refusal: str | None

    @cached_property
    def fingerprint(self) -> str:
        """What tells the model from any other: its program, weights and states, on any machine."""
        import hashlib

        whole = hashlib.sha256()
        for name, table in sorted(self.compiled.tables.tables.items()):
            whole.update(f"{name} {table.dtype.str} {table.shape} ".encode())
            whole.update(np.ascontiguousarray(table).data)
        for constant in self.compiled.constants:
            whole.update(hashlib.sha256(np.ascontiguousarray(constant).data).digest())
        states = [(s.name, s.input, s.output, s.start) for s in self.graph.states]
        whole.update(repr(states).encode())
        small = [c.compute_type for c in choices_of(self.graph) if c.compute_type != "float32"]
        whole.update(repr(small).encode() if small else b"")
        return whole.hexdigest()

    @cached_property
    def compute_type(self) -> str:
        """How the layers are computed: float32, the one type that some have, or ``'mixed'``."""
        return compute_type_of(self.graph)

    @property
    def batch(self) -> str | None:
        """Name of the free batch size of the state, None where every state has a fixed shape.

        Raises
        ------
        UnsupportedModelError
            Where the states depend on several free sizes, or on the number of time steps.
        """
        kinds = {v.name: v.type for v in self.graph.inputs}
        axes = self.timeline.axes if self.timeline is not None else {}
        steps = {
            name
            for v in self.graph.inputs
            if (axis := axes.get(v.name)) is not None
            for name in symbols_of(v.type.shape[axis])
        }
        states = self.graph.states
        found = {n for s in states for size in kinds[s.input].shape for n in symbols_of(size)}
        if found & steps or len(found) > 1:
            raise UnsupportedModelError(
                f"stream: the state's size depends on {', '.join(sorted(found))}; a stream can "
                "follow a state whose only free size is the batch"
            )
        return found.pop() if found else None

    def check_batch(self, batch: int) -> None:
        """Hold a batch that the caller gave against a model whose batch is fixed."""
        kinds = {v.name: v.type for v in self.graph.inputs}
        sizes = {
            kinds[s.input].shape[s.batch_axis]
            for s in self.graph.states
            if kinds[s.input].rank == 3 or s.batch_axis == 0
        }
        if sizes and batch not in sizes:
            fixed = ", ".join(sorted(map(str, sizes)))
            raise ShapeError(f"stream: the model's batch is fixed at {fixed}, got {batch}")

    def batch_axis(self, name: str) -> int | None:
        """Axis of an input that is the free batch."""
        for value in self.graph.inputs:
            free = self.batch
            if value.name == name and free is not None and symbol(free) in value.type.shape:
                return value.type.shape.index(symbol(free))
        return None
