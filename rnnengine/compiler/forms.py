"""Forms of a graph: the one that runs and streams, and the one that takes sequence lengths.

Passes that few graphs need are imported where one does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from rnnengine._c.plan import Plan
from rnnengine.compiler.compile import Chunks, Compiled, compile_graph
from rnnengine.compiler.form import Form
from rnnengine.compiler.pool import Pool
from rnnengine.errors import RNNEngineError, UnsupportedModelError
from rnnengine.graph import (
    Graph,
    Size,
    State,
    TensorType,
    UndecidedError,
    Value,
    as_integers,
    fresh,
    symbol,
    symbols_of,
)
from rnnengine.ops import infer_types
from rnnengine.passes.expose_state import expose_state
from rnnengine.passes.fold import fold
from rnnengine.passes.fuse_products import fuse_products, fuse_windows
from rnnengine.passes.pair_state import find_pairs, given_pairs, structural_pairs
from rnnengine.passes.recover import recover
from rnnengine.passes.timeline import Timeline, find_timeline

if TYPE_CHECKING:
    from rnnengine.passes.lower import Lowering

__all__ = ["Source"]

_TIME = "time"


class Source:
    """A loaded graph, and the forms compiled from it.

    Parameters
    ----------
    imported : Graph
        As the importer made it.
    isa : str
        Kernel table.
    pool : Pool, optional
        Constants to share with other sources of the same weights.
    free : sequence of str
        Which sizes that the file writes down to free: ``'batch'``, ``'time'``.
    lowering : Lowering, optional
        Compute type of the layers; None leaves them as they are. Nothing of a source then holds
        the weights in float32.

    Raises
    ------
    UnsupportedModelError
        Naming the node that ties the graph to a size that is to be free, or the layer that cannot
        have the compute type.
    """

    def __init__(
        self,
        imported: Graph,
        isa: str,
        pool: Pool | None = None,
        *,
        free: Sequence[str] = (),
        lowering: Lowering | None = None,
    ) -> None:
        self.isa = isa
        self.pool = pool if pool is not None else Pool()
        self.imported = imported
        self.graph = recover(fold(imported))
        self._freed_before: dict[frozenset[tuple[str, int]], Graph] = {}
        # Time first: what counts from its end is only to be told from what counts from its start
        # in the graph as imported; the batch is followed through the settled one.
        if "time" in free:
            self.imported = self.graph = self._free_time()
        if "batch" in free:
            from rnnengine.passes.free_axis import free_batch

            self.imported = self.graph = fold(free_batch(self.graph))
        if lowering is None and any(as_integers(v) for v in self.graph.constants.values()):
            from rnnengine.passes.lower import STORED, Lowering

            lowering = Lowering(STORED)
        self._lowered = lowering is not None and lowering.compute_type != "float32"
        if lowering is not None:
            self._lower(lowering)
        self.types = infer_types(self.graph)
        self._declared = {v.name: v.type.shape for v in self.graph.inputs}
        self._said: dict[tuple[tuple[str, str], ...], Form] = {}

    def _free_time(self) -> Graph:
        """The graph with a symbol for the number of steps."""
        timeline = find_timeline(fuse_windows(self.graph))
        if timeline is None:
            raise UnsupportedModelError(
                "time='dynamic': no recurrent layer runs along an axis of an input"
            )
        try:
            return self._with_free_time(timeline)
        except (RNNEngineError, UndecidedError) as error:
            raise UnsupportedModelError(f"time='dynamic': {error}") from None

    def _lower(self, lowering: Lowering) -> None:
        """Give weights fewer bytes, in the graph and in those that free its time axis.

        The graph as imported is given up: its weights are float32. What only it can show, the graph
        with a free time axis, is made of it before.
        """
        from rnnengine.passes.lower import lower, with_numbers

        if lowering.compute_type == "float32":
            self.graph = lower(self.graph, lowering)
            self.imported = with_numbers(self.imported)
            return
        freed = {}
        for timeline in self._timelines():
            fixed = self._fixed(timeline)
            if fixed:
                with suppress(RNNEngineError, UndecidedError):
                    graph = lower(self._with_free_time(timeline), lowering)
                    freed[frozenset(fixed.items())] = graph
        self.imported = self.graph = lower(self.graph, lowering)
        self._freed_before = freed

    def _timelines(self) -> Iterator[Timeline]:
        """Time lines that a form may have."""
        for windows in (False, True):
            with suppress(RNNEngineError, UndecidedError):
                line = find_timeline(fuse_windows(self.graph), windows=windows)
                if line is not None and line.obstacle is None:
                    yield line

    def form(self, mapping: Mapping[str, str] | None = None) -> Form:
        """Compile with its state exposed: the graph's own pairs, or those the caller says."""
        if not mapping:
            form = self._build(None)
            form.compiled.plan.in_chunks = self._in_chunks
            return form
        pairs = given_pairs(self.graph, mapping)
        key = tuple(mapping.items())
        if key not in self._said:
            self._said[key] = self._build(pairs)
        return self._said[key]

    def plain(self) -> Compiled:
        """Compile without any state: for whole sequences alone."""
        return self._compile(self.graph, None)

    @property
    def own_lengths(self) -> str | None:
        """Input of the graph that is its sequence lengths."""
        from rnnengine.passes.lengths import own_lengths

        return own_lengths(self.graph)

    def lengths_form(self) -> Compiled:
        """Compile with an input of sequence lengths, where the graph has none."""
        from rnnengine.passes.lengths import with_lengths

        compiled = self._compile(with_lengths(self.graph, find_timeline(self.graph)), None)
        compiled.plan.in_chunks = partial(self._in_chunks, add_lengths=True)
        return compiled

    def _in_chunks(self, *, add_lengths: bool = False) -> Plan | None:
        """Compile for long sequences; None where the graph needs the whole sequence at once."""
        from rnnengine.passes.in_chunks import steps_of_chunks
        from rnnengine.passes.lengths import LENGTHS, with_lengths

        try:
            pairs = structural_pairs(self.graph)
            timeline = find_timeline(fuse_windows(self.graph.with_(states=pairs)), windows=True)
            if timeline is None or timeline.obstacle is not None:
                return None
            graph, line = self._freed(timeline, pairs, windows=True)
            if add_lengths:
                graph = with_lengths(graph, line)
                found = find_timeline(graph, windows=True)
                if found is None or found.obstacle is not None:
                    return None
                line = found
            lengths = LENGTHS if add_lengths else self.own_lengths
            chunks = Chunks(steps_of_chunks(graph, line, lengths), lengths)
            graph = _with_past(expose_state(graph, line, every=True), line)
            return self._compile(graph, line, chunks).plan
        except (RNNEngineError, UndecidedError):
            return None

    def portable(self, form: Form) -> Graph:
        """Return the folded graph if it gives the same form again, else the graph as imported.

        Folding writes sizes down; where a size is a time axis that the form has freed, only the
        graph as imported can be freed again.
        """
        again = Source(self.graph, self.isa)._build(None)
        if _ports(again) == _ports(form):
            return self.graph
        if self._lowered:
            raise UnsupportedModelError(
                "save: in fewer bytes, a file would hold this model with a fixed number of steps "
                "and without its streams; load it with time='dynamic', or save it in float32"
            )
        return self.imported

    def _compile(
        self, graph: Graph, timeline: Timeline | None, chunks: Chunks | None = None
    ) -> Compiled:
        axes = timeline.axes if timeline is not None else {}
        return compile_graph(
            fuse_products(graph),
            self.isa,
            time_axes=axes,
            declared=self._declared,
            pool=self.pool,
            chunks=chunks,
        )

    def _build(self, given: tuple[State, ...] | None) -> Form:
        pairs: tuple[State, ...] = ()
        refusal = None
        try:
            pairs = find_pairs(self.graph) if given is None else given
        except (RNNEngineError, UndecidedError) as error:
            refusal = str(error)
        if pairs:
            return self._explicit(pairs)
        if refusal is None:
            try:
                return self._implicit()
            except (RNNEngineError, UndecidedError) as error:
                refusal = str(error)
        return Form(self._compile(self.graph, None), self.graph, None, refusal)

    def _explicit(self, pairs: tuple[State, ...]) -> Form:
        """Use the graph's own pairs as state; free the time axis where its arithmetic allows."""
        stated = self.graph.with_(states=pairs)
        timeline = find_timeline(stated)
        if timeline is not None and timeline.obstacle is None:
            try:
                freed, line = self._freed(timeline, pairs)
                exposed = expose_state(freed, line)
                return Form(self._compile(exposed, line), exposed, line, None)
            except (RNNEngineError, UndecidedError):
                pass  # the declared sizes remain: a stream takes frames as they are declared
        return Form(self._compile(stated, None), stated, None, None)

    def _implicit(self) -> Form:
        """Expose the state of every recurrent node along time, and the past of causal windows."""
        timeline = find_timeline(fuse_windows(self.graph), windows=True)
        if timeline is None:
            raise UnsupportedModelError("no recurrent layer runs along an axis of an input")
        if timeline.obstacle is not None:
            raise UnsupportedModelError(timeline.obstacle)
        graph, line = self._freed(timeline, (), windows=True)
        exposed = _with_past(expose_state(graph, line), line)
        return Form(self._compile(exposed, line), exposed, line, None)

    def _freed(
        self, timeline: Timeline, pairs: tuple[State, ...], *, windows: bool = False
    ) -> tuple[Graph, Timeline]:
        """Free a time axis of fixed size; find the time line again."""
        graph = self._with_free_time(timeline).with_(states=pairs)
        graph = fuse_windows(graph) if windows else graph
        line = find_timeline(graph, windows=windows)
        if line is None or line.obstacle is not None:
            raise UnsupportedModelError(line.obstacle if line and line.obstacle else "no time axis")
        return graph, line

    def _fixed(self, timeline: Timeline) -> dict[str, int]:
        """Time axes of the inputs that have a fixed size."""
        return {
            v.name: axis
            for v in self.graph.inputs
            if (axis := timeline.axes.get(v.name)) is not None
            and isinstance(v.type.shape[axis], int)
        }

    def _with_free_time(self, timeline: Timeline) -> Graph:
        """Put a symbol in the place of a time axis of fixed size.

        The imported graph is folded again with it. A loop that was unrolled ties that graph to its
        number of steps; then the axis is followed through the graph that was put together again.
        """
        fixed = self._fixed(timeline)
        if not fixed:
            return self.graph
        before = self._freed_before.get(frozenset(fixed.items()))
        if before is not None:
            return before
        sizes = [s for v in self.imported.inputs for s in v.type.shape]
        name = fresh(_TIME, {n for s in sizes for n in symbols_of(s)})
        inputs = tuple(
            _free(v, fixed[v.name], name) if v.name in fixed else v for v in self.imported.inputs
        )

        def folded() -> Graph:
            graph = recover(fold(self.imported.with_(inputs=inputs)))
            if find_timeline(fuse_windows(graph)) is None:
                raise UnsupportedModelError("no time axis")
            return graph

        def followed() -> Graph:
            from rnnengine.passes.free_axis import free_axis

            return fold(free_axis(self.graph, fixed, name))

        first, second = (followed, folded) if self.graph.fused else (folded, followed)
        try:
            return first()
        except (RNNEngineError, UndecidedError):
            return second()


def _with_past(graph: Graph, line: Timeline) -> Graph:
    """The graph with the history of its windows as state, where it has windows along time."""
    if not line.windows:
        return graph
    from rnnengine.passes.convolution_state import convolution_state

    return convolution_state(graph, line)


def _ports(form: Form) -> tuple[object, ...]:
    """What a caller sees of a form."""
    states = [(s.name, s.input, s.output, s.start, s.implicit) for s in form.graph.states]
    return form.graph.inputs, form.graph.outputs, states, form.refusal


def _free(value: Value, axis: int, name: str) -> Value:
    """Return the input with a symbol for the size of one axis."""
    shape: list[Size] = list(value.type.shape)
    shape[axis] = symbol(name)
    return Value(value.name, TensorType(value.type.dtype, tuple(shape)))
