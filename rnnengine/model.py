"""Model: an immutable network that runs whole sequences and opens streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnengine._c import cpu
from rnnengine._c.runtime import Plan, Runner
from rnnengine.compiler import Compiled, compile_graph
from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import Graph, Size, State, TensorType, UndecidedError, Value, symbol
from rnnengine.ops import infer_types
from rnnengine.passes.expose_state import expose_state
from rnnengine.passes.fold import fold
from rnnengine.passes.fuse_linear import fuse_linear
from rnnengine.passes.lengths import LENGTHS, own_lengths, with_lengths
from rnnengine.passes.pair_state import find_pairs, given_pairs
from rnnengine.passes.timeline import Timeline, find_timeline
from rnnengine.stream import Stream, batch_symbol

__all__ = ["Model", "TensorInfo"]

_TIME = "time"


@dataclass(frozen=True)
class TensorInfo:
    """Name, element type and shape of a model's input or output; symbolic sizes are strings."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class _Form:
    """One compiled form of the graph: with which states it streams, or why it does not."""

    compiled: Compiled
    graph: Graph
    timeline: Timeline | None
    refusal: str | None


class Model(Runner):
    """A network ready to run. Immutable: any number of threads and streams may share it.

    Models come from :func:`rnnengine.load`.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        As the file declares them.
    graph : Graph
        The network after folding; ``print(model.graph)`` is readable.
    isa : str
        Kernel table in use.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    graph: Graph
    isa: str

    def __init__(self, graph: Graph) -> None:
        self.isa = cpu.chosen()
        self._imported = graph
        self.graph = fold(graph)
        types = infer_types(self.graph)
        self.inputs = tuple(_info(v.name, v.type) for v in self.graph.inputs)
        self.outputs = tuple(_info(name, types[name]) for name in self.graph.outputs)
        self._declared = {v.name: v.type.shape for v in self.graph.inputs}
        self._pairs_given: dict[tuple[tuple[str, str], ...], _Form] = {}
        self._form = self._build(None)
        self._with_lengths: Plan | None = None
        super().__init__(self._form.compiled.plan)

    def stream(
        self,
        batch: int | None = None,
        *,
        state: Mapping[str, str] | None = None,
    ) -> Stream:
        """Open a stream: it owns the recurrent state and advances by any number of steps.

        Parameters
        ----------
        batch : int, optional
            Rows that advance together; default the model's own, or 1 where it is free.
        state : mapping of str to str, optional
            Pairs that carry state, ``{"output": "input"}``, for graphs whose structure does not show
            them. An output may be sliced along its first axis: ``"out_state[2]"``, ``"out[0:2]"``.

        Raises
        ------
        UnsupportedModelError
            Where the model cannot be followed step by step; the message names the node.
        """
        form = self._form if not state else self._form_with(state)
        if form.refusal is not None:
            raise UnsupportedModelError(f"stream: {form.refusal}")
        return Stream(form.compiled, form.graph, form.timeline, batch)

    def _run_with(
        self, x: Any, out: Any, state: dict[str, Any] | None, return_state: bool, lengths: Any
    ) -> Any:
        if lengths is not None:
            if state is not None or return_state:
                raise UnsupportedModelError(
                    "run: lengths cannot be combined with state or return_state; final states of "
                    "rows of different lengths are the model's own final-state outputs"
                )
            return self._run_lengths(x, out, lengths)
        stream = self.stream(self._batch_of(x))
        if state is not None:
            stream.state = state
        y = stream.step(x, out=out)
        return (y, stream.state) if return_state else y

    def _batch_of(self, x: Any) -> int | None:
        """Rows in the caller's arrays, where the batch is free."""
        batch = batch_symbol(self._form.graph, self._form.timeline)
        for value in self._form.graph.inputs:
            array = x.get(value.name) if isinstance(x, dict) else x
            if batch is not None and array is not None and symbol(batch) in value.type.shape:
                shape = np.shape(array)
                axis = value.type.shape.index(symbol(batch))
                return shape[axis] if axis < len(shape) else None
        return None

    def _run_lengths(self, x: Any, out: Any, lengths: Any) -> Any:
        own = own_lengths(self.graph)
        feeds = dict(x) if isinstance(x, dict) else {self._first_input(own): x}
        if own is not None:
            return self._execute(self.plan, {**feeds, own: lengths}, out)
        if self._with_lengths is None:
            graph = with_lengths(self.graph, find_timeline(self.graph))
            self._with_lengths = self._compile(graph, None).plan
        return self._execute(self._with_lengths, {**feeds, LENGTHS: lengths}, out)

    def _first_input(self, apart_from: str | None) -> str:
        names = [info.name for info in self.inputs if info.name != apart_from]
        if len(names) != 1:
            raise TypeError(
                f"this model takes {len(names)} inputs; pass a dict of arrays by name: "
                f"{', '.join(names)}"
            )
        return names[0]

    def _compile(self, graph: Graph, timeline: Timeline | None) -> Compiled:
        axes = timeline.axes if timeline is not None else {}
        return compile_graph(
            fuse_linear(graph), self.isa, time_axes=axes, declared=self._declared
        )

    def _form_with(self, mapping: Mapping[str, str]) -> _Form:
        key = tuple(mapping.items())
        if key not in self._pairs_given:
            self._pairs_given[key] = self._build(given_pairs(self.graph, mapping))
        return self._pairs_given[key]

    def _build(self, given: tuple[State, ...] | None) -> _Form:
        """Compile the graph with its state exposed where it can be followed along time."""
        try:
            pairs = find_pairs(self.graph) if given is None else given
            refusal = None
        except UnsupportedModelError as error:
            pairs, refusal = (), str(error)
        if pairs:
            return self._explicit(pairs)
        if refusal is None:
            try:
                return self._implicit()
            except (RNNEngineError, UndecidedError) as error:
                refusal = str(error)
        return _Form(self._compile(self.graph, None), self.graph, None, refusal)

    def _explicit(self, pairs: tuple[State, ...]) -> _Form:
        """Use the graph's own pairs as the state; free the time axis where its arithmetic allows."""
        stated = self.graph.with_(states=pairs)
        timeline = find_timeline(stated)
        if timeline is not None and timeline.obstacle is None:
            try:
                freed, line = self._freed(timeline, pairs)
                exposed = expose_state(freed, line)
                return _Form(self._compile(exposed, line), exposed, line, None)
            except (RNNEngineError, UndecidedError):
                pass  # the declared sizes remain: a stream takes frames as they are declared
        fixed = timeline if timeline is not None and timeline.obstacle is None else None
        return _Form(self._compile(stated, fixed), stated, fixed, None)

    def _implicit(self) -> _Form:
        """Expose the state of every recurrent node along time."""
        timeline = find_timeline(self.graph)
        if timeline is None:
            raise UnsupportedModelError("no recurrent layer runs along an axis of an input")
        if timeline.obstacle is not None:
            raise UnsupportedModelError(timeline.obstacle)
        graph, line = self._freed(timeline, ())
        exposed = expose_state(graph, line)
        return _Form(self._compile(exposed, line), exposed, line, None)

    def _freed(self, timeline: Timeline, pairs: tuple[State, ...]) -> tuple[Graph, Timeline]:
        """Fold the imported graph again with a symbol for a time axis of fixed size."""
        fixed = [
            v
            for v in self.graph.inputs
            if (axis := timeline.axes.get(v.name)) is not None
            and isinstance(v.type.shape[axis], int)
        ]
        graph = self.graph.with_(states=pairs)
        if fixed:
            inputs = tuple(
                _free(v, timeline.axes[v.name]) if v in fixed else v for v in self._imported.inputs
            )
            graph = fold(self._imported.with_(inputs=inputs)).with_(states=pairs)
        line = find_timeline(graph)
        if line is None or line.obstacle is not None:
            raise UnsupportedModelError(line.obstacle if line and line.obstacle else "no time axis")
        return graph, line

    def __repr__(self) -> str:
        state = ", ".join(s.name for s in self._form.graph.states) or "none"
        if self._form.refusal is not None:
            state = f"no streams ({self._form.refusal})"
        lines = [f"<rnnengine.Model {self.graph.name!r} on {self.isa}"]
        lines += [f"  input  {info!r}" for info in self.inputs]
        lines += [f"  output {info!r}" for info in self.outputs]
        lines.append(f"  state  {state}>")
        return "\n".join(lines)


def _info(name: str, kind: TensorType) -> TensorInfo:
    shape = tuple(s if isinstance(s, int) else str(s) for s in kind.shape)
    return TensorInfo(name, kind.dtype, shape)


def _free(value: Value, axis: int | None) -> Value:
    """Return the input with a symbol for the size of one axis."""
    shape: list[Size] = list(value.type.shape)
    if axis is not None:
        shape[axis] = symbol(_TIME)
    return Value(value.name, TensorType(value.type.dtype, tuple(shape)))
