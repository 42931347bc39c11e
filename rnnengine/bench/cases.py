"""What is measured: recurrent layers and whole models, their inputs and their work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rnnengine.bench.work import Work

__all__ = [
    "CELLS",
    "GRIDS",
    "HIDDEN",
    "LOW_GRIDS",
    "STEPS",
    "Array",
    "Case",
    "LayerCase",
    "ModelCase",
    "grid",
    "layer_cases",
    "low_grid",
]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

CELLS = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Cells and their numbers of gates."""
HIDDEN = (32, 64, 128, 256, 512)
STEPS = (1, 100)
GRIDS = ("step", "sequence", "batch", "threads", "deep")
"""The parts of the full grid."""
LOW_GRIDS = ("step", "sequence", "rows", "batch")
"""Those of the grid of compute types."""


@dataclass(frozen=True)
class LayerCase:
    """Recurrent layers with ``I = H = hidden``, T = ``steps`` and B = ``batch``.

    ``layers`` follow each other, each of one direction or two; ``threads`` is how many an engine
    may use; ``grid`` is the part of the full grid the case belongs to.
    """

    cell: str
    hidden: int
    steps: int
    batch: int = 1
    layers: int = 1
    directions: int = 1
    threads: int = 1
    grid: str = ""

    @property
    def gates(self) -> int:
        """Number of gates of the cell."""
        return CELLS[self.cell]

    @property
    def name(self) -> str:
        """The case as reports name it."""
        parts = [self.cell, f"H={self.hidden}", f"T={self.steps}"]
        parts += [f"B={self.batch}"] * (self.batch > 1)
        parts += [f"{self.layers} layers"] * (self.layers > 1)
        parts += ["bidirectional"] * (self.directions > 1)
        parts += [f"{self.threads} threads"] * (self.threads > 1)
        return " ".join(parts)

    @property
    def carries_state(self) -> bool:
        """Whether the call is one step of a stream, with its state in and out."""
        return self.steps == 1 and self.batch == 1 and self.layers == 1 and self.directions == 1

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state a step carries."""
        return ("h", "c") if self.cell == "LSTM" else ("h",)

    def widths(self) -> list[int]:
        """Input size of each layer."""
        return [self.hidden] + [self.hidden * self.directions] * (self.layers - 1)

    @property
    def recurrent_bytes(self) -> int:
        """Bytes of R of one layer, all directions."""
        return 4 * self.directions * self.gates * self.hidden * self.hidden

    @property
    def input_bytes(self) -> int:
        """Bytes of W of all layers."""
        return sum(4 * self.directions * self.gates * self.hidden * i for i in self.widths())

    @property
    def bytes_read(self) -> int:
        """Bytes of weights that a call has to read: R for every step, W once."""
        return self.recurrent_bytes * self.layers * self.steps + self.input_bytes

    @property
    def projection_flops(self) -> int:
        """Floating-point operations of the input projections over all steps and rows."""
        return self.input_bytes // 2 * self.steps * self.batch

    @property
    def recurrent_flops(self) -> int:
        """Floating-point operations of the recurrent products of one step, all layers and rows."""
        return self.recurrent_bytes // 2 * self.layers * self.batch

    def initial(self) -> Mapping[str, Array]:
        """State before the first step, ``h`` (and ``c``) [D, B, H]; empty where it is zero."""
        return {}

    def input(self) -> Array:
        """Input [T, B, I], drawn from N(0, 1)."""
        rng = np.random.default_rng([self.hidden, self.steps])
        return rng.standard_normal((self.steps, self.batch, self.hidden), dtype=np.float32)

    def weights(self, layer: int = 0) -> Mapping[str, Array]:
        """W [D, G*H, I], R [D, G*H, H] and B [D, 2*G*H], uniform in +-1/sqrt(H), ONNX order."""
        rng = np.random.default_rng([self.hidden, self.gates, layer])
        rows, bound, sides = self.gates * self.hidden, self.hidden**-0.5, self.directions
        shapes = {
            "W": (sides, rows, self.widths()[layer]),
            "R": (sides, rows, self.hidden),
            "B": (sides, 2 * rows),
        }
        return {
            name: rng.uniform(-bound, bound, shape).astype(np.float32)
            for name, shape in shapes.items()
        }


@dataclass(frozen=True)
class ModelCase:
    """One call of a whole model: a step of its stream, or a run where no input is state.

    Attributes
    ----------
    name : str
    content : bytes
        An ONNX file.
    constants : mapping of str to array
        Inputs that stay the same for ever.
    inputs : mapping of str to array
        What each call is given.
    states : sequence of (str, str, tuple of int or None)
        Pairs of state: the input, the output, and where in the output the input's elements start.
    shapes : mapping of str to shape
        Of all outputs, and of the inputs that are state.
    work : Work
        Of one call.
    """

    name: str
    content: bytes
    constants: Mapping[str, Any]
    inputs: Mapping[str, Any]
    states: Sequence[tuple[str, str, tuple[int, ...] | None]]
    shapes: Mapping[str, tuple[int, ...]]
    work: Work

    @property
    def compared(self) -> tuple[str, ...]:
        """Outputs that are not state."""
        paired = {output for _, output, _ in self.states}
        return tuple(n for n in self.outputs if n not in paired)

    @property
    def outputs(self) -> tuple[str, ...]:
        """All outputs, in the file's order."""
        return tuple(n for n in self.shapes if n not in {name for name, _, _ in self.states})


Case: TypeAlias = LayerCase | ModelCase


def layer_cases(
    cells: Sequence[str], hidden: Sequence[int], steps: Sequence[int]
) -> Iterator[LayerCase]:
    """Every combination, steps outermost, so that tables read by number of steps."""
    for count in steps:
        for cell in cells:
            for size in hidden:
                yield LayerCase(cell, size, count, grid="step" if count == 1 else "sequence")


def grid(name: str, cells: Sequence[str]) -> Iterator[LayerCase]:
    """The cases of one part of the full grid.

    ``step`` and ``sequence``: one row, H from 16 to 1024, 1 and 100 steps. ``batch``: 4 to 64 rows
    of 20 steps. ``threads``: 100 steps of one row on two threads. ``deep``: an LSTM of two
    directions, and one of two layers, 200 steps on two threads.
    """
    one_row = (16, 32, 64, 128, 256, 512, 1024)
    if name in ("step", "sequence"):
        yield from layer_cases(cells, one_row, (1,) if name == "step" else (100,))
        return
    for cell in cells:
        if name == "batch":
            for size in (64, 256, 512):
                for rows in (4, 8, 16, 64):
                    yield LayerCase(cell, size, 20, rows, grid=name)
        elif name == "threads":
            for size in (256, 512, 1024):
                yield LayerCase(cell, size, 100, threads=2, grid=name)
        elif name == "deep" and cell == "LSTM":
            for size in (128, 256):
                yield LayerCase(cell, size, 200, directions=2, threads=2, grid=name)
                yield LayerCase(cell, size, 200, layers=2, threads=2, grid=name)


def low_grid(name: str, cells: Sequence[str]) -> Iterator[LayerCase]:
    """The cases of one part of the grid of compute types, on one thread.

    ``step``: one row and step, H from 16 to 2048. ``sequence``: 100 steps of one row, and ``rows``
    of 16, H from 64 to 1024. ``batch``: 20 steps of 64 rows, H of 256 and 512.
    """
    sizes, steps, rows = {
        "step": ((16, 32, 64, 128, 256, 512, 1024, 2048), 1, 1),
        "sequence": ((64, 128, 256, 512, 1024), 100, 1),
        "rows": ((64, 128, 256, 512, 1024), 100, 16),
        "batch": ((256, 512), 20, 64),
    }[name]
    for cell in cells:
        for size in sizes:
            yield LayerCase(cell, size, steps, rows, grid=name)
