"""Modules of torch for the tests of its two ONNX exporters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["MODULES", "Exported"]

STEPS, WIDTH, HIDDEN = 5, 3, 4


class Cells(nn.Module):
    """A cell in a loop over time, from a zero state; the states h of all steps."""

    def __init__(self, cell: nn.Module, head: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.head = nn.Linear(HIDDEN, 2) if head else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], HIDDEN)
        c, steps = h, []
        for t in range(x.shape[1]):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
            steps.append(self.head(h))
        return torch.stack(steps, 1)


class Last(nn.Module):
    """The last step of a layer, classified."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.head(self.layer(x)[0][:, -1]), -1)


class ConvLSTM(nn.Module):
    """Convolutions over time, then an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, 6, 3, padding=1)
        self.norm = nn.BatchNorm1d(6)
        self.lstm = nn.LSTM(6, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x.transpose(1, 2))))
        return self.lstm(y.transpose(1, 2))[0]


class EncoderDecoder(nn.Module):
    """The final state of one GRU starts another one over other inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(WIDTH, HIDDEN, batch_first=True)
        self.decoder = nn.GRU(2, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.decoder(y, self.encoder(x)[1])[0])


class NormGRU(nn.Module):
    """A layer norm, a GRU, and the input added to its output."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.gru = nn.LayerNorm(HIDDEN), nn.GRU(HIDDEN, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gru(self.norm(x))[0]


class Stateful(nn.Module):
    """An LSTM whose state comes in and goes out."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Any:
        return self.lstm(x, (h, c))


class Packed(nn.Module):
    """Rows of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        output, (h, c) = self.lstm(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
        return padded, h, c


class Tagger(nn.Module):
    """Tokens, both directions, a label for each."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, WIDTH)
        self.lstm = nn.LSTM(WIDTH, HIDDEN, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * HIDDEN, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.log_softmax(self.head(self.lstm(self.table(tokens))[0]), -1)


@dataclass(frozen=True)
class Exported:
    """A module, shapes of its inputs at batch 1, and the recurrent nodes its graph must have.

    ``axes`` are the batch axes of the inputs; ``tokens`` says that the input is one of tokens.
    """

    make: Callable[[], nn.Module]
    nodes: dict[str, int]
    shapes: tuple[tuple[int, ...], ...] = ((1, STEPS, WIDTH),)
    axes: tuple[int, ...] = (0,)
    tokens: bool = False
    dynamo: bool = True


STATE = (1, 1, HIDDEN)
MODULES: dict[str, Exported] = {
    "lstm": Exported(lambda: nn.LSTM(WIDTH, HIDDEN, batch_first=True), {"LSTM": 1}),
    "gru": Exported(lambda: nn.GRU(WIDTH, HIDDEN), {"GRU": 1}, ((STEPS, 1, WIDTH),), axes=(1,)),
    "rnn": Exported(lambda: nn.RNN(WIDTH, HIDDEN, batch_first=True), {"RNN": 1}),
    "rnn_relu": Exported(
        lambda: nn.RNN(WIDTH, HIDDEN, 2, nonlinearity="relu", batch_first=True),
        {"RNN": 2},
    ),
    "lstm_bidirectional": Exported(
        lambda: nn.LSTM(WIDTH, HIDDEN, bidirectional=True, batch_first=True),
        {"LSTM": 1},
    ),
    "gru_stacked": Exported(lambda: nn.GRU(WIDTH, HIDDEN, 3, batch_first=True), {"GRU": 3}),
    "lstm_state": Exported(
        Stateful,
        {"LSTM": 1},
        ((1, STEPS, WIDTH), STATE, STATE),
        axes=(0, 1, 1),
    ),
    "gru_state": Exported(
        lambda: nn.GRU(WIDTH, HIDDEN, batch_first=True),
        {"GRU": 1},
        ((1, STEPS, WIDTH), STATE),
        axes=(0, 1),
    ),
    "lstm_cell": Exported(lambda: Cells(nn.LSTMCell(WIDTH, HIDDEN)), {"LSTM": 1}),
    "gru_cell": Exported(lambda: Cells(nn.GRUCell(WIDTH, HIDDEN)), {"GRU": 1}),
    "rnn_cell": Exported(lambda: Cells(nn.RNNCell(WIDTH, HIDDEN)), {"RNN": 1}),
    "cell_head": Exported(lambda: Cells(nn.GRUCell(WIDTH, HIDDEN), head=True), {"GRU": 1}),
    "classifier": Exported(
        lambda: Last(nn.LSTM(WIDTH, HIDDEN, 2, batch_first=True), HIDDEN), {"LSTM": 2}
    ),
    "conv_lstm": Exported(ConvLSTM, {"LSTM": 1}),
    "encoder_decoder": Exported(
        EncoderDecoder, {"GRU": 2}, ((1, STEPS, WIDTH), (1, 4, 2)), axes=(0, 0)
    ),
    "norm_gru": Exported(NormGRU, {"GRU": 1}, ((1, STEPS, HIDDEN),)),
    "tagger": Exported(Tagger, {"LSTM": 1}, ((1, STEPS),), tokens=True),
    "packed": Exported(Packed, {"LSTM": 1}, ((1, STEPS, WIDTH), (1,)), axes=(0, 0), dynamo=False),
}
