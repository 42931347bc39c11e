"""Model: an immutable network that runs whole sequences and opens streams."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnengine._c import cpu
from rnnengine._c.runtime import Plan, Runner
from rnnengine.compiler import Source
from rnnengine.errors import UnsupportedModelError
from rnnengine.stream import Stream

if TYPE_CHECKING:
    from rnnengine.graph import Graph, TensorType

__all__ = ["Model", "TensorInfo"]


@dataclass(frozen=True)
class TensorInfo:
    """Name, element type and shape of a model's input or output; symbolic sizes are strings."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]

    def __repr__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class Model(Runner):
    """A network ready to run. Immutable: any number of threads and streams may share it.

    Models come from :func:`rnnengine.load`.

    Parameters
    ----------
    graph : Graph
        As an importer made it.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        As the file declares them.
    graph : Graph
        The network with everything folded that is known at load; printable.
    isa : str
        Kernel table in use.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    isa: str

    def __init__(self, graph: Graph) -> None:
        self.isa = cpu.chosen()
        self._source = Source(graph, self.isa)
        self._form = self._source.form()
        self._with_lengths: Plan | None = None
        types = self._source.types
        self.inputs = tuple(_info(v.name, v.type) for v in self.graph.inputs)
        self.outputs = tuple(_info(name, types[name]) for name in self.graph.outputs)
        super().__init__(self._form.compiled.plan)

    @property
    def graph(self) -> Graph:
        """The network with everything folded that is known at load."""
        return self._source.graph

    def portable_graph(self) -> Graph:
        """Return the graph that a file of this model needs to hold."""
        return self._source.portable(self._form)

    def stream(self, batch: int | None = None, *, state: Mapping[str, str] | None = None) -> Stream:
        """Open a stream: it owns the recurrent state and advances by any number of steps.

        Parameters
        ----------
        batch : int, optional
            Rows that advance together; default the model's own, or 1 where it is free.
        state : mapping of str to str, optional
            Pairs that carry state, ``{"output": "input"}``, for graphs whose structure does not
            show them. An output may be sliced along its first axis: ``"out[2]"``, ``"out[0:2]"``.

        Raises
        ------
        UnsupportedModelError
            Where the model cannot be followed step by step; the message names the node.
        """
        form = self._source.form(state) if state else self._form
        if form.refusal is not None:
            raise UnsupportedModelError(f"stream: {form.refusal}")
        return Stream(form, batch)

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
        for info in self.inputs:
            array = x.get(info.name) if isinstance(x, dict) else x
            axis = self._form.batch_axis(info.name)
            shape = () if array is None else np.shape(array)
            if axis is not None and axis < len(shape):
                return int(shape[axis])
        return None

    def _run_lengths(self, x: Any, out: Any, lengths: Any) -> Any:
        own = self._source.own_lengths
        feeds = dict(x) if isinstance(x, dict) else {self._only_input(own): x}
        if own is not None:
            return self._execute(self.plan, {**feeds, own: lengths}, out)
        if self._with_lengths is None:
            self._with_lengths = self._source.lengths_form().plan
        return self._execute(self._with_lengths, {**feeds, "lengths": lengths}, out)

    def _only_input(self, apart_from: str | None) -> str:
        names = [info.name for info in self.inputs if info.name != apart_from]
        if len(names) != 1:
            raise TypeError(
                f"this model takes {len(names)} inputs; pass a dict of arrays by name: "
                f"{', '.join(names)}"
            )
        return names[0]

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
