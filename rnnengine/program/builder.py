"""The builder of a program: expressions, buffers, operands and instructions as flat tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnengine.errors import UnsupportedModelError
from rnnengine.graph import Dim, LoweredBlock, Packing, Size, as_lowered, as_packed, product
from rnnengine.graph.packed import block_size
from rnnengine.program.opcodes import ELEMENT_IDS, Opcode
from rnnengine.program.view import ARENA, CONSTANT, INPUT, OUTPUT, Buffer, View
from rnnengine.records import record

__all__ = [
    "MAX_RANK",
    "MAX_SYMBOLS",
    "Constant",
    "Instruction",
    "Matrix",
    "ProgramBuilder",
    "ProgramTables",
]

MAX_RANK = 8
MAX_SYMBOLS = 8
MAX_POWER = 8
_LARGEST = 2**63 - 1
_HALVES = {"bfloat16": "bf16", "float16": "f16"}

Array = np.ndarray[Any, Any]


@record
class Constant:
    """A constant buffer's content.

    Attributes
    ----------
    array : array
        The content; [D, G, U, K] matrices where it is still to be packed.
    packed : bool
        Whether the buffer holds weights in packed form.
    ready : bool
        ``array`` is the packed form already, and belongs to the graph.
    """

    array: Array
    packed: bool
    ready: bool = False


@record
class Matrix:
    """A packed matrix as operands of an instruction.

    Attributes
    ----------
    weights : View
        Flat; the element type of its buffer is that of the matrix.
    scale, offset, zero : View or None
        What belongs to integer weights, as ``src_c/core/matrix.h`` lists it.
    bits : int
        1 where the activations of integer weights have 8 bits, 0 otherwise.
    """

    weights: View
    scale: View | None = None
    offset: View | None = None
    zero: View | None = None
    bits: int = 0

    @property
    def beside(self) -> tuple[View | None, View | None, View | None]:
        """Scale, offset and zero point."""
        return self.scale, self.offset, self.zero


@record
class Instruction:
    """One instruction over views; None stands for an absent operand."""

    opcode: Opcode
    operands: tuple[View | None, ...]
    ints: tuple[int, ...]
    floats: tuple[float, ...]
    name: str


@record
class ProgramTables:
    """The flat form of a program that the C core reads."""

    tables: dict[str, Array]
    constants: list[Constant]
    symbols: list[str]
    n_inputs: int
    n_outputs: int
    n_slots: int


class ProgramBuilder:
    """Collects a program; sizes may be polynomials in named symbols.

    Parameters
    ----------
    symbols : list of str
        The program's run-time integers, in its order.
    """

    def __init__(self, symbols: list[str] | None = None) -> None:
        self.symbols: list[str] = symbols if symbols is not None else []
        self.instructions: list[Instruction] = []
        self.constants: list[Constant] = []
        self.buffers: list[Buffer] = []
        self._exprs: dict[Size, int] = {}
        self._counts: dict[int, int] = dict.fromkeys(range(4), 0)

    def expr(self, size: Size) -> int:
        """Return the number of a size's expression, adding it when it is new.

        Raises
        ------
        UnsupportedModelError
            A number in it does not fit 64 bits, or a symbol's power is above what the C core takes.
        """
        if size not in self._exprs:
            monomials = size.terms if isinstance(size, Dim) else (((), int(size)),)
            powers = [power for monomial, _ in monomials for _, power in monomial]
            if any(abs(c) > _LARGEST for _, c in monomials) or max(powers, default=0) > MAX_POWER:
                raise UnsupportedModelError(f"a tensor of {size} elements is too large")
        return self._exprs.setdefault(size, len(self._exprs))

    def buffer(self, kind: int, size: Size, dtype: int = 0) -> Buffer:
        """Make a new buffer of the given kind."""
        made = Buffer(kind, self._counts[kind], dtype, size)
        self._counts[kind] += 1
        self.buffers.append(made)
        return made

    def port(self, kind: int, shape: Sequence[Size], dtype: int = 0) -> View:
        """Make the next input or output, contiguous; float32 unless ``dtype`` is 1 (int32)."""
        return View.whole(self.buffer(kind, product(shape), dtype), shape)

    def arena(self, shape: Sequence[Size], dtype: int = 0) -> View:
        """Make a temporary, contiguous; float32 unless ``dtype`` is 1 (int32)."""
        return View.whole(self.buffer(ARENA, product(shape), dtype), shape)

    def window(
        self, kind: int, shape: Sequence[Size], axis: int, steps: Size, dtype: int = 0
    ) -> View:
        """Make the next input or output: part of an array with ``steps`` places along an axis.

        The buffer starts at the part's first element and ends with its last.
        """
        whole = View.whole(Buffer(kind, 0, dtype, 0), (*shape[:axis], steps, *shape[axis + 1 :]))
        step = whole.strides[axis]
        size = (product(shape[:axis]) - 1) * steps * step + shape[axis] * step
        return View(self.buffer(kind, size, dtype), 0, tuple(shape), whole.strides)

    def constant(self, array: Array) -> View:
        """Make a float32 or int32 constant."""
        kind = 0 if array.dtype.kind == "f" else 1
        array = np.require(array, np.float32 if kind == 0 else np.int32, ["C", "A"])
        self.constants.append(Constant(array, packed=False))
        return View.whole(self.buffer(CONSTANT, array.size, kind), array.shape)

    def packed(self, matrices: Array, gates: int = 1) -> View:
        """Make a constant of matrices [D, gates * units, K], or [units, K], in packed form.

        The view is flat. Matrices that are kept packed in the form wanted are taken as they are.
        """
        directions, rows, k = matrices.shape if matrices.ndim == 3 else (1, *matrices.shape)
        units = rows // gates
        kept = as_packed(matrices)
        ready = kept.block(gates) if kept is not None else None
        if ready is not None:
            self.constants.append(Constant(ready, packed=True, ready=True))
        else:
            array = np.asarray(matrices, np.float32).reshape(directions, gates, units, k)
            self.constants.append(Constant(array, packed=True))
        size = block_size(directions, gates, units, k)
        return View.whole(self.buffer(CONSTANT, size), (size,))

    def matrix(self, matrices: Array, gates: int = 1) -> Matrix:
        """As :meth:`packed`, for weights of any type: those that were lowered stay so."""
        lowered = as_lowered(matrices)
        if lowered is None:
            return Matrix(self.packed(matrices, gates))
        block = lowered.packed_as(Packing((gates,))).block(gates)
        assert block is not None
        return self.block(block)

    def block(self, block: LoweredBlock) -> Matrix:
        """Make constants of lowered weights, which belong to the graph and are used as they lie."""
        if block.scales is None:
            return Matrix(self._ready(block.codes, ELEMENT_IDS[_HALVES[block.compute_type]]))
        scales = block.scales
        return Matrix(
            self._ready(block.codes, ELEMENT_IDS["i8"]),
            self._ready(scales, ELEMENT_IDS["f32"]),
            self._ready(block.offsets, ELEMENT_IDS["i32"]),
            None if block.zeros is None else self._ready(block.zeros, ELEMENT_IDS["i32"]),
            int(block.compute_type == "int8_fast"),
        )

    def _ready(self, array: Array, dtype: int) -> View:
        self.constants.append(Constant(array, packed=True, ready=True))
        return View.whole(self.buffer(CONSTANT, array.size, dtype), (array.size,))

    def emit(
        self,
        opcode: Opcode,
        operands: Sequence[View | None],
        ints: Sequence[int] = (),
        floats: Sequence[float] = (),
        name: str = "",
    ) -> None:
        """Append an instruction."""
        self.instructions.append(
            Instruction(opcode, tuple(operands), tuple(ints), tuple(floats), name)
        )

    def finish(self, slots: dict[Buffer, int]) -> ProgramTables:
        """Flatten; ``slots`` gives each arena buffer its slot."""
        operands: dict[View, int] = {}
        refs: list[int] = []
        ints: list[int] = []
        floats: list[float] = []
        instrs: list[list[int]] = []
        for step in self.instructions:
            row = [int(step.opcode), len(refs), len(step.operands)]
            refs += [
                -1 if view is None else operands.setdefault(view, len(operands))
                for view in step.operands
            ]
            row += [len(ints), len(step.ints), len(floats), len(step.floats)]
            ints.extend(step.ints)
            floats.extend(step.floats)
            instrs.append(row)
        number = {buffer: i for i, buffer in enumerate(self.buffers)}
        operand_rows = [self._operand_row(view, number) for view in operands]
        buffer_rows = [
            [b.kind, slots[b] if b.kind == ARENA else b.index, b.dtype, self.expr(b.size)]
            for b in self.buffers
        ]
        terms, exprs = self._expression_rows()
        tables = {
            "operands": _table(operand_rows, 3 + 2 * MAX_RANK),
            "buffers": _table(buffer_rows, 4),
            "terms": _table(terms, 1 + MAX_SYMBOLS),
            "exprs": _table(exprs, 2),
            "instrs": _table(instrs, 7),
            "refs": np.asarray(refs, np.int64),
            "ints": np.asarray(ints, np.int64),
            "floats": np.asarray(floats, np.float32),
        }
        return ProgramTables(
            tables,
            self.constants,
            self.symbols,
            self._counts[INPUT],
            self._counts[OUTPUT],
            max(slots.values(), default=-1) + 1,
        )

    def _operand_row(self, view: View, number: dict[Buffer, int]) -> list[int]:
        if view.rank > MAX_RANK:
            raise UnsupportedModelError(
                f"a tensor has rank {view.rank}; accepted: up to {MAX_RANK}"
            )
        pad = [0] * (MAX_RANK - view.rank)
        dims = [self.expr(size) for size in view.shape]
        strides = [self.expr(size) for size in view.strides]
        return [
            number[view.buffer],
            self.expr(view.offset),
            view.rank,
            *dims,
            *pad,
            *strides,
            *pad,
        ]

    def _expression_rows(self) -> tuple[list[list[int]], list[list[int]]]:
        terms: list[list[int]] = []
        exprs = []
        for size in self._exprs:
            monomials = size.terms if isinstance(size, Dim) else (((), int(size)),)
            exprs.append([len(terms), len(monomials)])
            for monomial, factor in monomials:
                powers = [0] * MAX_SYMBOLS
                for name, power in monomial:
                    powers[self._symbol(name)] = power
                terms.append([factor, *powers])
        return terms, exprs

    def _symbol(self, name: str) -> int:
        if name not in self.symbols:
            raise UnsupportedModelError(f"size {name!r} is not the size of any input axis")
        return self.symbols.index(name)


def _table(rows: list[list[int]], columns: int) -> Array:
    return np.asarray(rows, np.int64).reshape(len(rows), columns)
