"""Cells and unrolled layers as torch's two exporters write them: ``tests/golden/exports``.

    python tests/golden/make_exports.py

Needs torch and onnxscript. The files hold no expected values: the tests compare with onnxruntime.
Notes that the exporter leaves for people (source lines, stack traces) are taken out.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

__all__ = ["Loop", "Step", "export", "networks"]

FOLDER = Path(__file__).parent / "exports"
STEPS = 4


class Step(nn.Module):
    """One step of a cell with its state as inputs and outputs."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, h: Tensor, c: Tensor | None = None) -> Any:
        """Return the state after the step."""
        return self.cell(x, h if c is None else (h, c))


class Loop(nn.Module):
    """A cell in a loop over time, from a zero state."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        """Return the states h after all steps, stacked along axis 1."""
        zero = x.new_zeros(x.shape[0], self.cell.hidden_size)
        h, c = zero, zero
        steps = []
        for t in range(x.shape[1]):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
            steps.append(h)
        return torch.stack(steps, 1)


def networks() -> Iterator[tuple[str, nn.Module, tuple[Tensor, ...]]]:
    """Yield name, module and example inputs."""
    generator = torch.Generator().manual_seed(0)
    x, h, c = (torch.randn(2, size, generator=generator) for size in (3, 4, 4))
    sequence = torch.randn(2, STEPS, 3, generator=generator)
    cells = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
    for name, cell in cells.items():
        yield f"{name}_step", Step(cell(3, 4)), (x, h, c) if name == "lstm" else (x, h)
        yield f"{name}_loop", Loop(cell(3, 4)), (sequence,)
    both = nn.RNN(3, 4, 2, batch_first=True, bidirectional=True)
    yield "rnn_layers", both, (sequence,)
    yield "rnn_relu", nn.RNN(3, 4, nonlinearity="relu"), (sequence,)
    yield "lstm_layers", nn.LSTM(3, 4, 2, batch_first=True), (sequence,)
    yield "gru_layers", nn.GRU(3, 4, 2, bidirectional=True), (sequence,)


def export(module: nn.Module, inputs: tuple[Tensor, ...], *, dynamo: bool) -> bytes:
    """Return the bytes of the module's ONNX file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module.eval(), inputs, dynamo=True, verbose=False)
            model = program.model_proto
        else:
            file = io.BytesIO()
            torch.onnx.export(module.eval(), inputs, file, dynamo=False)
            model = onnx.load_from_string(file.getvalue())
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    return bytes(model.SerializeToString())


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    for name, module, inputs in networks():
        for dynamo in (False, True):
            path = FOLDER / f"{name}_{'dynamo' if dynamo else 'script'}.onnx"
            path.write_bytes(export(module, inputs, dynamo=dynamo))


if __name__ == "__main__":
    main()
