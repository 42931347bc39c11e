"""Compile a graph: emission, memory, packing, the description of its ports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnengine._c import core
from rnnengine._c.plan import Plan
from rnnengine.compiler.emit import emit_graph
from rnnengine.compiler.memory import assign_slots
from rnnengine.compiler.pool import Pool
from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Graph, Size, State, TensorType, fresh, product, symbol, symbols_of
from rnnengine.ops import infer_types
from rnnengine.program import ProgramBuilder, View
from rnnengine.program.builder import MAX_RANK, MAX_SYMBOLS, ProgramTables
from rnnengine.program.view import INPUT, OUTPUT
from rnnengine.records import record

__all__ = ["Chunks", "Compiled", "compile_graph"]

Array = np.ndarray[Any, Any]

_PORT_TYPES = {"float32": 0, "int32": 1, "int64": 2, "bool": 3}
"""Element types that inputs and outputs may have, and their numbers in the binding."""

_MAX_PORTS = 4096
"""Inputs, or outputs, that a program may have."""


@record
class Compiled:
    """A plan and what is needed to talk about it.

    Attributes
    ----------
    plan : Plan
    symbols : tuple of str
        Names of the run-time integers, in the program's order.
    types : mapping of str to TensorType
        Of every value of the graph.
    tables : ProgramTables
        The program as the C core read it.
    constants : list of arrays
        Content of its constant buffers, packed.
    """

    plan: Plan
    symbols: tuple[str, ...]
    types: Mapping[str, TensorType]
    tables: ProgramTables
    constants: list[Array]


@record
class Chunks:
    """How a program shall run over long sequences, chunk by chunk.

    Attributes
    ----------
    steps : str
        Symbol of the number of steps; in the program it is that of a chunk.
    lengths : str or None
        Input of sequence lengths.
    """

    steps: str
    lengths: str | None


def compile_graph(
    graph: Graph,
    isa: str,
    *,
    time_axes: Mapping[str, int | None],
    declared: Mapping[str, tuple[Size, ...]],
    pool: Pool | None = None,
    chunks: Chunks | None = None,
) -> Compiled:
    """Compile a graph in settled form.

    Parameters
    ----------
    graph : Graph
    isa : str
        Kernel table.
    time_axes : mapping of str to int or None
        Time axis of each graph input and output.
    declared : mapping of str to shape
        Shapes of the inputs as the file declares them; ``run`` insists on their fixed sizes.
    pool : Pool, optional
        Constants to share with other programs of the same weights.
    chunks : Chunks, optional
        Compile for running in chunks, and only so: inputs and outputs along time are whole arrays,
        everything else is as large as a chunk.

    Raises
    ------
    UnsupportedModelError
        Naming what cannot be computed at run time.
    """
    types = infer_types(graph)
    _check_ports(graph, types)
    builder = ProgramBuilder(symbols=_symbols(graph))
    part = _Part(builder, chunks, time_axes) if chunks is not None else None
    emit_graph(graph, types, builder, part.port if part else None)
    slots = assign_slots(builder.instructions)
    for buffer in builder.buffers:
        if buffer.kind == 3:
            slots.setdefault(buffer, 0)
    inputs = [
        _input_port(
            builder,
            v.name,
            part.whole(INPUT, v.name, v.type) if part else v.type,
            time_axes.get(v.name),
            declared.get(v.name),
        )
        for v in graph.inputs
    ]
    outputs = [
        _output_port(
            builder,
            name,
            part.whole(OUTPUT, name, types[name]) if part else types[name],
            time_axes.get(name),
        )
        for name in dict.fromkeys(graph.outputs)
    ]
    states = [_state(builder, graph, types, state) for state in graph.states]
    hidden = {s[1] for s, state in zip(states, graph.states, strict=True) if state.implicit}
    rows = part.rows(graph, types, states) if part else None
    tables = builder.finish(slots)
    pool = pool if pool is not None else Pool()
    pool.sweep()
    constants = [pool.content(c) for c in tables.constants]
    program = core.Program(
        isa,
        tables.tables,
        constants,
        len(tables.symbols),
        tables.n_inputs,
        tables.n_outputs,
        tables.n_slots,
    )
    plan = Plan(program, inputs, outputs, states, hidden, rows)
    return Compiled(plan, tuple(tables.symbols), types, tables, constants)


class _Part:
    """The ports of a program that runs in chunks."""

    def __init__(
        self, builder: ProgramBuilder, chunks: Chunks, axes: Mapping[str, int | None]
    ) -> None:
        if len(builder.symbols) > MAX_SYMBOLS - 2:
            raise UnsupportedModelError(f"no symbols are left of {MAX_SYMBOLS}")
        self.builder = builder
        self.chunks = chunks
        self.axes = axes
        taken = set(builder.symbols)
        self.steps = {kind: fresh(f"{chunks.steps}.whole", taken) for kind in (INPUT, OUTPUT)}
        builder.symbols += self.steps.values()

    def port(self, kind: int, name: str, of: TensorType, held: int) -> View:
        """Make an input or output: the steps of a chunk in the caller's array."""
        axis = self.axes.get(name)
        if axis is None:
            return self.builder.port(kind, of.shape, held)
        return self.builder.window(kind, of.shape, axis, symbol(self.steps[kind]), held)

    def whole(self, kind: int, name: str, of: TensorType) -> TensorType:
        """Type of the caller's array."""
        axis = self.axes.get(name)
        if axis is None:
            return of
        steps = symbol(self.steps[kind])
        return TensorType(of.dtype, (*of.shape[:axis], steps, *of.shape[axis + 1 :]))

    def rows(
        self,
        graph: Graph,
        types: Mapping[str, TensorType],
        states: list[tuple[str, int, int, int, Array | None]],
    ) -> dict[str, Any]:
        """Numbers and tables of rnne_chunks."""
        number = {v.name: i for i, v in enumerate(graph.inputs)}
        links = {state[1]: [state[2], state[3]] for state in states}
        symbols = self.builder.symbols
        return {
            "steps": symbols.index(self.chunks.steps),
            "in_steps": symbols.index(self.steps[INPUT]),
            "out_steps": symbols.index(self.steps[OUTPUT]),
            "lengths": number.get(self.chunks.lengths or "", -1),
            "inputs": [
                [*self._advance(v.name, v.type), *links.get(i, [-1, -1])]
                for i, v in enumerate(graph.inputs)
            ],
            "outputs": [self._advance(name, types[name]) for name in dict.fromkeys(graph.outputs)],
        }

    def _advance(self, name: str, of: TensorType) -> list[int]:
        """Elements from a step to the next, and of a chunk; -1 for what is not along time."""
        axis = self.axes.get(name)
        if axis is None:
            return [-1, -1]
        step = product(of.shape[axis + 1 :])
        return [self.builder.expr(step), self.builder.expr(product(of.shape))]


def _check_ports(graph: Graph, types: Mapping[str, TensorType]) -> None:
    """Refuse inputs and outputs that no program can have."""
    for what, names in (("input", [v.name for v in graph.inputs]), ("output", graph.outputs)):
        if len(names) > _MAX_PORTS:
            raise UnsupportedModelError(
                f"the model has {len(names)} {what}s; accepted: up to {_MAX_PORTS}"
            )
        for name in names:
            kind = types[name]
            if str(kind.dtype) not in _PORT_TYPES:
                raise UnsupportedModelError(
                    f"{what} {name!r} has element type {kind.dtype}; accepted at run time: "
                    + ", ".join(_PORT_TYPES)
                    + (
                        "; a constant input can be fixed with constants={...}"
                        if what == "input"
                        else ""
                    )
                )
            if kind.rank > MAX_RANK:
                raise UnsupportedModelError(
                    f"{what} {name!r} has rank {kind.rank}; accepted: up to {MAX_RANK}"
                )


def _symbols(graph: Graph) -> list[str]:
    """Symbols that some axis of some input is, in order of appearance."""
    names: dict[str, None] = {}
    for value in graph.inputs:
        for size in value.type.shape:
            found = symbols_of(size)
            if len(found) == 1 and not isinstance(size, int):
                names.update(dict.fromkeys(found))
    if len(names) > MAX_SYMBOLS:
        raise UnsupportedModelError(
            f"the inputs have {len(names)} varying sizes ({', '.join(names)}); accepted: up to "
            f"{MAX_SYMBOLS}"
        )
    return list(names)


def _input_port(
    builder: ProgramBuilder,
    name: str,
    kind: TensorType,
    time_axis: int | None,
    declared: tuple[Size, ...] | None,
) -> dict[str, Any]:
    shape = declared or kind.shape
    code = [s if isinstance(s, int) else ~builder.symbols.index(str(s)) for s in kind.shape]
    return {
        "name": name,
        "dtype": _PORT_TYPES[str(kind.dtype)],
        "expr": [builder.expr(s) for s in kind.shape],
        "code": code,
        "declared": [s if isinstance(s, int) else -1 for s in shape],
        "time_axis": time_axis,
        "text": f"[{', '.join(map(str, shape))}]",
    }


def _output_port(
    builder: ProgramBuilder, name: str, kind: TensorType, time_axis: int | None
) -> dict[str, Any]:
    return {
        "name": name,
        "dtype": _PORT_TYPES[str(kind.dtype)],
        "expr": [builder.expr(s) for s in kind.shape],
        "time_axis": time_axis,
    }


def _state(
    builder: ProgramBuilder, graph: Graph, types: Mapping[str, TensorType], state: State
) -> tuple[str, int, int, int, Array | None]:
    names = [v.name for v in graph.inputs]
    outputs = list(dict.fromkeys(graph.outputs))
    offset: Size = 0
    shape = types[state.output].shape
    for axis, start in enumerate(state.start or ()):
        offset = offset + start * product(shape[axis + 1 :])
    return (
        state.name,
        names.index(state.input),
        outputs.index(state.output),
        builder.expr(offset),
        state.initial,
    )
