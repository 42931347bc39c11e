"""Networks of PyTorch that the golden files are made of; module pickles name these classes."""

from __future__ import annotations

import torch
from torch import nn


class Tagger(nn.Module):
    """Two bidirectional layers and a Linear, batch first."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, time, 3] -> [batch, time, 2]."""
        return self.fc(self.lstm(x)[0])


class Classifier(nn.Module):
    """Table, GRU, Linear on the last step, probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 3)
        self.gru = nn.GRU(3, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """[batch, time] -> [batch, 3]."""
        return torch.softmax(self.head(self.gru(self.embed(ids))[0][:, -1]), -1)


class Cells(nn.Module):
    """One cell of each kind, stepped by hand; each sees the state of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(3, 4)
        self.gru = nn.GRUCell(4, 5)
        self.tanh = nn.RNNCell(5, 4)
        self.relu = nn.RNNCell(4, 3, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[time, batch, 3] -> [time, batch, 3]."""
        like = {"dtype": x.dtype, "device": x.device}
        h = torch.zeros(x.shape[1], 4, **like)
        c = torch.zeros(x.shape[1], 4, **like)
        g = torch.zeros(x.shape[1], 5, **like)
        t = torch.zeros(x.shape[1], 4, **like)
        r = torch.zeros(x.shape[1], 3, **like)
        out = []
        for step in x:
            h, c = self.lstm(step, (h, c))
            g = self.gru(h, g)
            t = self.tanh(g, t)
            r = self.relu(t, r)
            out.append(r)
        return torch.stack(out)


class Head(nn.Module):
    """A lone recurrent layer under the name ``rnn``, with a Linear that nobody asks for."""

    def __init__(self, rnn: nn.Module, width: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.fc = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Whatever the layer makes of x."""
        return self.fc(self.rnn(x)[0])


class Lit(nn.Module):
    """What Lightning does to names."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Tagger()
