"""What is measured: one recurrent layer, its weights and its work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

__all__ = ["CELLS", "HIDDEN", "STEPS", "Array", "LayerCase", "layer_cases"]

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Form: TypeAlias = Literal["open", "fixed", "step"]

CELLS = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Cells and their numbers of gates."""
HIDDEN = (32, 64, 128, 256, 512)
STEPS = (1, 100)


@dataclass(frozen=True)
class LayerCase:
    """One forward recurrent layer of ONNX with ``I = H = hidden``, ``B = 1`` and T = ``steps``."""

    cell: str
    hidden: int
    steps: int

    @property
    def gates(self) -> int:
        """Number of gates of the cell."""
        return CELLS[self.cell]

    @property
    def name(self) -> str:
        """The case as reports name it."""
        return f"{self.cell} H={self.hidden} T={self.steps}"

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the state a step carries."""
        return ("h", "c") if self.cell == "LSTM" else ("h",)

    @property
    def matrix_bytes(self) -> int:
        """Bytes of W, and of R, which has the same size here."""
        return 4 * self.gates * self.hidden * self.hidden

    @property
    def bytes_read(self) -> int:
        """Bytes of weights that a call has to read: R for every step, W once."""
        return self.matrix_bytes * (self.steps + 1)

    @property
    def projection_flops(self) -> int:
        """Floating-point operations of the input projection over all steps."""
        return 2 * self.gates * self.hidden * self.hidden * self.steps

    def input(self) -> Array:
        """Input [T, 1, I], drawn from N(0, 1)."""
        rng = np.random.default_rng([self.hidden, self.steps])
        return rng.standard_normal((self.steps, 1, self.hidden), dtype=np.float32)

    def weights(self) -> dict[str, Array]:
        """W [1, G*H, I], R [1, G*H, H] and B [1, 2*G*H], uniform in +-1/sqrt(H), ONNX order."""
        rng = np.random.default_rng([self.hidden, self.gates])
        rows, bound = self.gates * self.hidden, self.hidden**-0.5
        shapes = {"W": (1, rows, self.hidden), "R": (1, rows, self.hidden), "B": (1, 2 * rows)}
        return {
            name: rng.uniform(-bound, bound, shape).astype(np.float32)
            for name, shape in shapes.items()
        }

    def onnx_bytes(self, form: Form) -> bytes:
        """Build the layer as an ONNX model.

        Parameters
        ----------
        form : {"open", "fixed", "step"}
            ``open``: ``x [time, 1, I]`` -> ``y [time, 1, 1, H]`` of any length. ``fixed``: the
            same with T as a number. ``step``: ``x [1, 1, I]`` and the state ``h`` (and ``c``)
            -> ``h_next`` (and ``c_next``), [1, 1, H] each.

        Returns
        -------
        bytes
            A serialized ModelProto, opset 14. The GRU is of the form PyTorch and cuDNN use
            (``linear_before_reset=1``).
        """
        from onnx import TensorProto, helper, numpy_helper

        def value(name: str, *shape: int | str) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

        time = "time" if form == "open" else self.steps
        inputs = [value("x", time, 1, self.hidden)]
        outputs = [value("y", time, 1, 1, self.hidden)]
        operands, results = ["x", "W", "R", "B"], ["y"]
        if form == "step":
            inputs += [value(name, 1, 1, self.hidden) for name in self.states]
            outputs = [value(f"{name}_next", 1, 1, self.hidden) for name in self.states]
            operands += ["", *self.states]
            results = ["", *(f"{name}_next" for name in self.states)]
        attributes: dict[str, Any] = {"hidden_size": self.hidden}
        if self.cell == "GRU":
            attributes["linear_before_reset"] = 1
        graph = helper.make_graph(
            [helper.make_node(self.cell, operands, results, "layer", **attributes)],
            "layer",
            inputs,
            outputs,
            [numpy_helper.from_array(array, name) for name, array in self.weights().items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
        model.ir_version = 8
        content: bytes = model.SerializeToString()
        return content


def layer_cases(
    cells: Sequence[str], hidden: Sequence[int], steps: Sequence[int]
) -> Iterator[LayerCase]:
    """Every combination, steps outermost, so that tables read by number of steps."""
    for count in steps:
        for cell in cells:
            for size in hidden:
                yield LayerCase(cell, size, count)
