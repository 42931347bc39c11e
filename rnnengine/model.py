"""Model: an immutable network that runs whole sequences and opens streams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rnnengine._c import cpu
from rnnengine._c.convert import to_array
from rnnengine._c.plan import Plan
from rnnengine._c.runtime import Runner
from rnnengine.compiler import Form, Outline, Source, Variants, choices_of, compute_type_of
from rnnengine.errors import RNNEngineError, ShapeError, UnsupportedModelError
from rnnengine.records import record
from rnnengine.stream import Stream

if TYPE_CHECKING:
    import numpy as np

    from rnnengine.compiler.lowering import Lowering
    from rnnengine.graph import Choice, Fusion, Graph, TensorType, Value

__all__ = ["Model", "SizedModel", "TensorInfo"]


@record
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
    threads : int, optional
        As in :func:`rnnengine.load`.
    free : sequence of str
        Sizes to free that the graph writes down: ``'batch'``, ``'time'``.
    compute_type : str, optional
    keep : iterable of str
        As in :func:`rnnengine.load`.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        As the file declares them.
    graph : Graph
        The network with everything folded that is known at load; printable.
    fused : tuple of Fusion
        Recurrent cells, loops and normalisations that the file writes out as many nodes.
    isa : str
        Kernel table in use.
    threads : int
        That a call may use, unless it says otherwise.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    isa: str

    def __init__(
        self,
        graph: Graph,
        threads: int | None = None,
        *,
        free: Sequence[str] = (),
        compute_type: str | None = None,
        keep: Iterable[str] = (),
    ) -> None:
        self.isa = cpu.chosen()
        lowering = _requested(compute_type, keep, self.isa)
        self._source = Source(graph, self.isa, free=free, lowering=lowering)
        self._form = self._source.form()
        self._with_lengths: Plan | None = None
        self._variants: Variants | None = None
        types = self._source.types
        self.inputs = tuple(_info(v.name, v.type) for v in self.graph.inputs)
        self.outputs = tuple(_info(name, types[name]) for name in self.graph.outputs)
        super().__init__(self._form.compiled.plan, _threads(threads))

    @property
    def graph(self) -> Graph:
        """The network with everything folded that is known at load."""
        return self._source.graph

    @property
    def fused(self) -> tuple[Fusion, ...]:
        """What was recognised in the file and put together: node, operator, the parts' names."""
        return self.graph.fused

    @property
    def compute_type(self) -> str:
        """How the layers are computed: float32, the one type that some have, or ``'mixed'``."""
        return compute_type_of(self.graph)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """How each layer with weights is computed: node, operator, compute type and reason."""
        return choices_of(self.graph)

    @property
    def declared_inputs(self) -> tuple[Value, ...]:
        """Inputs of the graph as the file declares them, with symbolic sizes."""
        return self._source.imported.inputs

    def imported_graph(self, sizes: Mapping[str, int]) -> Graph:  # noqa: ARG002
        """Return the network as imported, which the float64 oracle judges the engine by.

        Where layers have another compute type than float32, their weights are those of that type.
        ``sizes`` gives every free size of the inputs a number; a model that can only be compiled
        for given sizes needs them.
        """
        return self._source.imported

    def portable_graph(self) -> Graph:
        """Return the graph that a file of this model needs to hold."""
        return self._source.portable(self._form)

    def stream(
        self,
        batch: int | None = None,
        *,
        state: Mapping[str, str] | None = None,
        threads: int | None = None,
    ) -> Stream:
        """Open a stream: it owns the recurrent state and advances by any number of steps.

        Parameters
        ----------
        batch : int, optional
            Rows that advance together; default the model's own, or 1 where it is free.
        state : mapping of str to str, optional
            Pairs that carry state, ``{"output": "input"}``, for graphs whose structure does not
            show them. An output may be sliced along its first axis: ``"out[2]"``, ``"out[0:2]"``.
        threads : int, optional
            Threads that a step may use, instead of the model's.

        Raises
        ------
        UnsupportedModelError
            Where the model cannot be followed step by step; the message names the node.
        """
        most = self.threads if threads is None else cpu.check_threads(threads)
        return Stream(self._stream_form(state), batch, most)

    def _stream_form(self, state: Mapping[str, str] | None) -> Form:
        form = self._source.form(state) if state else self._form
        if form.refusal is not None:
            raise UnsupportedModelError(f"stream: {form.refusal}")
        return form

    def _run_with(
        self,
        x: Any,
        out: Any,
        state: dict[str, Any] | None,
        return_state: bool,
        lengths: Any,
        threads: int | None,
    ) -> Any:
        if lengths is not None:
            if state is not None or return_state:
                raise UnsupportedModelError(
                    "run: lengths cannot be combined with state or return_state; final states of "
                    "rows of different lengths are the model's own final-state outputs"
                )
            return self._run_lengths(x, out, lengths, threads)
        stream = self.stream(self._batch_of(x), threads=threads)
        if state is not None:
            stream.state = state
        y = stream.step(x, out=out)
        return (y, stream.state) if return_state else y

    def _run_at(self, x: Any, out: Any, threads: int | None, reason: str) -> Any:
        """Run a program made for these sizes, such as slices that end before the axis does."""
        if self._variants is None:
            self._variants = Variants.of(self._source)
        if not self._variants.symbols:
            return super()._run_at(x, out, threads, reason)
        feeds = x if isinstance(x, dict) else {self._only_input(None): x}
        return _run_variant(self, self._variants, feeds, out, threads)

    def _batch_of(self, x: Any) -> int | None:
        """Rows in the caller's arrays, where the batch is free."""
        for info in self.inputs:
            array = x.get(info.name) if isinstance(x, dict) else x
            axis = self._form.batch_axis(info.name)
            if axis is None or array is None:
                continue
            shape = to_array(array, int(info.dtype.kind != "f"), f"input {info.name!r}").shape
            if axis < len(shape):
                return int(shape[axis])
        return None

    def _run_lengths(self, x: Any, out: Any, lengths: Any, threads: int | None) -> Any:
        own = self._source.own_lengths
        feeds = dict(x) if isinstance(x, dict) else {self._only_input(own): x}
        if own is not None:
            return self._execute(self.plan, {**feeds, own: lengths}, out, threads)
        if self._with_lengths is None:
            self._with_lengths = self._source.lengths_form().plan
        return self._execute(self._with_lengths, {**feeds, "lengths": lengths}, out, threads)

    def _only_input(self, apart_from: str | None) -> str:
        names = [info.name for info in self.inputs if info.name != apart_from]
        if len(names) != 1:
            raise TypeError(
                f"this model takes {len(names)} inputs; pass a dict of arrays by name: "
                f"{', '.join(names)}"
            )
        return names[0]

    def _state_text(self) -> str:
        if self._form.refusal is not None:
            return f"no streams ({self._form.refusal})"
        return ", ".join(s.name for s in self._form.graph.states) or "none"

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        return self

    def __repr__(self) -> str:
        lines = [f"<rnnengine.Model {self.graph.name!r} on {self.isa}"]
        lines += [f"  input  {info!r}" for info in self.inputs]
        lines += [f"  output {info!r}" for info in self.outputs]
        if self.compute_type != "float32":
            lines += [f"  layer  {choice}" for choice in self.choices]
        lines.append(f"  state  {self._state_text()}>")
        return "\n".join(lines)


class SizedModel(Model):
    """A model whose arithmetic on sizes has no general answer: compiled for the sizes at hand.

    Parameters
    ----------
    variants : Variants
    outline : Outline
        Of the variants.
    reason : str
        Why there is no program for all sizes.
    """

    def __init__(
        self, variants: Variants, outline: Outline, reason: str, threads: int | None = None
    ) -> None:
        self.isa = variants.isa
        Runner.__init__(self, None, _threads(threads))
        self.inputs = tuple(_info(v.name, v.type) for v in variants.inputs)
        self.outputs = tuple(_info(name, kind) for name, kind in outline.outputs.items())
        self._sized = variants
        self._outline = outline
        self._reason = f"the model can only be compiled for given sizes, because of {reason}"

    @classmethod
    def attempt(
        cls,
        graph_at: Callable[[Mapping[str, int]], Graph],
        inputs: tuple[Value, ...],
        reason: str,
        threads: int | None = None,
        *,
        compute_type: str | None = None,
        keep: Iterable[str] = (),
    ) -> SizedModel | None:
        """Return a model that is compiled for the sizes at hand; None where no sizes help."""
        isa = cpu.chosen()
        lowering = _requested(compute_type, keep, isa)
        variants = Variants(graph_at, inputs, isa, lowering=lowering)
        outline = variants.outline(reason) if variants.symbols else None
        return None if outline is None else cls(variants, outline, reason, threads)

    @property
    def graph(self) -> Graph:
        """The network folded for some sizes."""
        return self._outline.graph

    @property
    def declared_inputs(self) -> tuple[Value, ...]:
        """Inputs of the graph as the file declares them, with symbolic sizes."""
        return self._sized.inputs

    def imported_graph(self, sizes: Mapping[str, int]) -> Graph:
        """Return the network as imported with numbers for its sizes."""
        return self._sized.graph_at(sizes)

    def portable_graph(self) -> Graph:
        """Refuse: a file holds one graph for all sizes."""
        raise UnsupportedModelError(f"save: {self._reason}; keep the file that it was loaded from")

    def run(
        self,
        x: Any,
        *,
        out: Any = None,
        state: dict[str, Any] | None = None,
        return_state: bool = False,
        lengths: Any = None,
        threads: int | None = None,
    ) -> Any:
        """Compute the outputs for whole sequences; see :meth:`Model.run`."""
        if state is not None or return_state:
            raise UnsupportedModelError(f"run: state needs a stream: {self._reason}")
        own = self._outline.lengths if lengths is not None else None
        feeds = dict(x) if isinstance(x, dict) else {self._only_input(own): x}
        if own is not None:
            feeds[own] = lengths
        return _run_variant(self, self._sized, feeds, out, threads, None if own else lengths)

    def _stream_form(self, _: Mapping[str, str] | None) -> Form:
        raise UnsupportedModelError(f"stream: {self._reason}")

    def _state_text(self) -> str:
        return f"no streams ({self._reason})"


def _requested(compute_type: str | None, keep: Iterable[str], isa: str) -> Lowering | None:
    """What is to become of the weights; what does that is imported where something is asked."""
    if compute_type is None and not keep:
        return None
    from rnnengine.compiler.lowering import requested  # noqa: PLC0415 - few models need it

    return requested(compute_type, keep, isa)


def _threads(given: int | None) -> int:
    return cpu.default_threads() if given is None else cpu.check_threads(given)


def _run_variant(
    model: Model,
    variants: Variants,
    feeds: dict[str, Any],
    out: Any,
    threads: int | None,
    lengths: Any = None,
) -> Any:
    """Compile for the sizes of the arrays where that is not done, and run."""
    sizes, arrays = variants.sizes_of(feeds)
    extra = {} if lengths is None else {"lengths": lengths}
    try:
        compiled = variants.at(sizes, lengths=lengths is not None)
    except RNNEngineError as error:
        where = ", ".join(f"{name} = {size}" for name, size in sizes.items())
        raise ShapeError(f"run: the model cannot run at {where}: {error}") from None
    return model._execute(compiled.plan, {**arrays, **extra}, out, threads)


def _info(name: str, kind: TensorType) -> TensorInfo:
    shape = tuple(s if isinstance(s, int) else str(s) for s in kind.shape)
    return TensorInfo(name, kind.dtype, shape)
