"""Plans of a graph for given sizes of its inputs, where no plan serves all sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from rnnengine._c.convert import to_array
from rnnengine.compiler.compile import Compiled
from rnnengine.compiler.forms import Source
from rnnengine.compiler.pool import Pool
from rnnengine.errors import RNNEngineError, ShapeError
from rnnengine.graph import Graph, Size, TensorType, Value, symbol, symbols_of
from rnnengine.ops.binding import bind_sizes
from rnnengine.passes.fix_sizes import fix_sizes
from rnnengine.records import record

if TYPE_CHECKING:
    from rnnengine.passes.lower import Lowering

__all__ = ["Outline", "Variants"]

_KEPT = 8
"""Plans that are kept, the last used ones."""

_TRIALS = (960, 64, 1, 7)
"""Sizes for all symbols at once, to see whether a model can be compiled at all: the first has many
divisors."""


@record
class Outline:
    """What is known of a model before the sizes are.

    Attributes
    ----------
    graph : Graph
        At the sizes of the trial.
    outputs : mapping of str to TensorType
        Sizes that differ between trials are symbols ``<output>_<axis>``.
    lengths : str or None
        Input of sequence lengths, where the model has one.
    """

    graph: Graph
    outputs: Mapping[str, TensorType]
    lengths: str | None


class Variants:
    """Compiles a graph for the sizes at hand; the plans of the last few sets of sizes are kept.

    Parameters
    ----------
    graph_at : callable(sizes) -> Graph
        The graph with numbers for its symbols.
    inputs : tuple of Value
        With symbols, as declared.
    isa : str
        Kernel table.
    pool : Pool, optional
        Constants to share with other programs of the model.
    lowering : Lowering, optional
        Compute type of the layers.
    """

    def __init__(
        self,
        graph_at: Callable[[Mapping[str, int]], Graph],
        inputs: tuple[Value, ...],
        isa: str,
        pool: Pool | None = None,
        lowering: Lowering | None = None,
    ) -> None:
        self.inputs = inputs
        self.isa = isa
        self._graph_at = graph_at
        self._lowering = lowering
        self._pool = pool if pool is not None else Pool()
        self._kept: dict[tuple[bool, tuple[tuple[str, int], ...]], Compiled] = {}

    @classmethod
    def of(cls, source: Source) -> Variants:
        """Variants of a graph that is already loaded."""
        graph = source.imported
        return cls(partial(fix_sizes, graph), graph.inputs, source.isa, source.pool)

    @property
    def symbols(self) -> list[str]:
        """Names of the sizes that vary."""
        return sorted({n for v in self.inputs for s in v.type.shape for n in symbols_of(s)})

    def graph_at(self, sizes: Mapping[str, int]) -> Graph:
        """The graph with numbers for its symbols, its weights as they are computed with."""
        graph = self._graph_at(sizes)
        return graph if self._lowering is None else self._source(sizes).imported

    def sizes_of(self, feeds: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, Any]]:
        """Sizes that arrays stand for, and the arrays in the types of the inputs.

        Raises
        ------
        TypeError, ShapeError
            Naming the input that is missing or does not fit.
        """
        missing = [v.name for v in self.inputs if v.name not in feeds]
        if missing:
            names = ", ".join(v.name for v in self.inputs)
            raise ShapeError(f"inputs: missing {', '.join(missing)}; expected {names}")
        arrays = {
            v.name: to_array(feeds[v.name], int(v.type.dtype.kind != "f"), f"input {v.name!r}")
            for v in self.inputs
        }
        return bind_sizes(Graph("", self.inputs, (), (), {}), arrays), {**feeds, **arrays}

    def at(self, sizes: Mapping[str, int], *, lengths: bool = False) -> Compiled:
        """Program for the given sizes; with an extra input of sequence lengths where asked for.

        Raises
        ------
        RNNEngineError
            The model contradicts itself at these sizes, or something in it is not supported.
        """
        key = (lengths, tuple(sorted(sizes.items())))
        compiled = self._kept.pop(key, None)
        if compiled is None:
            source = self._source(sizes)
            compiled = source.lengths_form() if lengths else source.plain()
        self._kept[key] = compiled
        for old in list(self._kept)[:-_KEPT]:
            self._kept.pop(old, None)
        return compiled

    def outline(self, reason: str) -> Outline | None:
        """Try some sizes; None where none of them compiles, or all fail for the given reason.

        Raises
        ------
        UnsupportedModelError
            They would compile in float32, but not in the compute type that is asked for.
        """
        source: Source | None = None
        trial = 0
        for size in _TRIALS:
            try:
                source, trial = self._tried(size), size
                break
            except RNNEngineError as error:
                failure = error
                if str(error) == reason:
                    break
        if source is None:
            plain = Variants(self._graph_at, self.inputs, self.isa)
            if self._lowering is not None and plain.outline(reason) is not None:
                raise failure
            return None
        try:
            other = self._tried(2 * trial).types
        except RNNEngineError:
            other = {}
        found = source.types
        outputs = {n: _common(n, found[n], other.get(n)) for n in source.graph.outputs}
        return Outline(source.graph, outputs, source.own_lengths)

    def _tried(self, size: int) -> Source:
        source = self._source(dict.fromkeys(self.symbols, size))
        source.plain()
        return source

    def _source(self, sizes: Mapping[str, int]) -> Source:
        return Source(self._graph_at(sizes), self.isa, self._pool, lowering=self._lowering)


def _common(name: str, one: TensorType, other: TensorType | None) -> TensorType:
    """Return what two types of an output have in common."""
    if other is None or other.rank != one.rank:
        other = TensorType(one.dtype, (-1,) * one.rank)
    shape: list[Size] = [
        size if size == twin else symbol(f"{name}_{axis}")
        for axis, (size, twin) in enumerate(zip(one.shape, other.shape, strict=True))
    ]
    return TensorType(one.dtype, tuple(shape))
