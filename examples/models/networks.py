"""The PyTorch networks of this folder, as their authors would write them.

``train.py`` trains them and writes their files; nothing here knows the engine.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CRNN",
    "AdditiveDecoder",
    "AdditiveTranslator",
    "DeepAR",
    "DotDecoder",
    "DotTranslator",
    "Forecaster",
]

DIGITS = 11
"""Classes of the line reader: 0 is the blank of CTC, 1 to 10 are the digits 0 to 9."""
SYMBOLS = 12
"""Tokens of the translators: 0 pads, 1 starts and ends a sentence, the others are words."""


class CRNN(nn.Module):
    """Lines of text: convolutions over the image, two recurrent layers over its columns."""

    def __init__(self) -> None:
        super().__init__()
        sizes = ((1, 8, (2, 2)), (8, 12, (2, 2)), (12, 12, (2, 1)))
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                    nn.MaxPool2d(pool),
                )
                for before, after, pool in sizes
            )
        )
        self.rnn = nn.LSTM(24, 12, num_layers=2, bidirectional=True)
        self.head = nn.Linear(24, DIGITS)

    def forward(self, image: Tensor) -> Tensor:
        """Return log-probabilities [W/4, B, 11] of an image [B, 1, 16, W]."""
        columns = self.features(image).flatten(1, 2)  # [B, 12 * 2, W/4]
        steps, _ = self.rnn(columns.permute(2, 0, 1))
        return F.log_softmax(self.head(steps), dim=-1)


class AdditiveEncoder(nn.Module):
    """Tokens to one vector for each, read in both directions, and the decoder's first state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 8, padding_idx=0)
        self.gru = nn.GRU(8, 16, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(32, 24)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return memory [B, S, 32] and state [B, 24] of tokens [B, S]."""
        memory, last = _over(self.gru, self.embedding(tokens), lengths)
        return memory, torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))


class AdditiveDecoder(nn.Module):
    """One step of Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly learning
    to align and translate", section 3.1: attention by v tanh(W s + U h), then a GRU.
    """  # noqa: D205

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 8)
        self.query = nn.Linear(24, 16, bias=False)
        self.key = nn.Linear(32, 16)
        self.score = nn.Linear(16, 1, bias=False)
        self.cell = nn.GRUCell(8 + 32, 24)
        self.head = nn.Linear(24 + 32 + 8, SYMBOLS)

    def forward(
        self, token: Tensor, state: Tensor, memory: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [B, 12], the next state [B, 24] and the attention [B, S]."""
        mixed = torch.tanh(self.query(state).unsqueeze(1) + self.key(memory))
        scores = self.score(mixed).squeeze(-1).masked_fill(~valid, float("-inf"))
        attention = torch.softmax(scores, dim=-1)
        context = torch.bmm(attention.unsqueeze(1), memory).squeeze(1)
        word = self.embedding(token)
        state = self.cell(torch.cat([word, context], dim=-1), state)
        return self.head(torch.cat([state, context, word], dim=-1)), state, attention


class AdditiveTranslator(nn.Module):
    """Encoder and decoder with additive attention."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = AdditiveEncoder()
        self.decoder = AdditiveDecoder()

    def forward(self, tokens: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Return logits [B, U, 12], each step fed with the true word before it."""
        memory, state = self.encoder(tokens, lengths)
        valid = tokens[:, : memory.shape[1]] != 0
        steps = []
        for token in targets.unbind(1):
            logits, state, _ = self.decoder(token, state, memory, valid)
            steps.append(logits)
        return torch.stack(steps, 1)


class DotEncoder(nn.Module):
    """Tokens to one vector for each, read forwards; the decoder starts from the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 24, batch_first=True)

    def forward(
        self, tokens: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return memory [B, S, 24] and states [1, B, 24] of tokens [B, S]."""
        memory, (h, c) = _over(self.lstm, self.embedding(tokens), lengths)
        return memory, h, c


class DotDecoder(nn.Module):
    """One step of Luong, Pham and Manning (2015), "Effective approaches to attention-based neural
    machine translation", section 3: an LSTM fed with its last answer, then scaled dot products.
    """  # noqa: D205

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 8)
        self.lstm = nn.LSTM(8 + 24, 24, batch_first=True)
        self.combine = nn.Linear(48, 24, bias=False)
        self.head = nn.Linear(24, SYMBOLS)

    def forward(
        self, token: Tensor, fed: Tensor, h: Tensor, c: Tensor, memory: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return logits [B, 12], what to feed next [B, 24], and the states [1, B, 24]."""
        step = torch.cat([self.embedding(token), fed], dim=-1).unsqueeze(1)
        query, (h, c) = self.lstm(step, (h, c))
        keys = memory.unsqueeze(1)  # one head
        context = F.scaled_dot_product_attention(
            query.unsqueeze(1), keys, keys, valid[:, None, None]
        ).squeeze(1)
        fed = torch.tanh(self.combine(torch.cat([context, query], dim=-1))).squeeze(1)
        return self.head(fed), fed, h, c


class DotTranslator(nn.Module):
    """Encoder and decoder with dot-product attention."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = DotEncoder()
        self.decoder = DotDecoder()

    def forward(self, tokens: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Return logits [B, U, 12], each step fed with the true word before it."""
        memory, h, c = self.encoder(tokens, lengths)
        valid = tokens[:, : memory.shape[1]] != 0
        fed = memory.new_zeros(len(tokens), 24)
        steps = []
        for token in targets.unbind(1):
            logits, fed, h, c = self.decoder(token, fed, h, c, memory, valid)
            steps.append(logits)
        return torch.stack(steps, 1)


class Block(nn.Module):
    """A recurrent and a feed-forward part, each normalised before and added to what it was fed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.gru = nn.GRU(size, size, batch_first=True)
        self.mix = nn.Linear(size, size)
        self.norm2 = nn.LayerNorm(size)
        self.up = nn.Linear(size, 32)
        self.down = nn.Linear(32, size)
        self.drop = nn.Dropout(0.05)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, T, size] of [B, T, size]."""
        x = x + self.drop(self.mix(self.gru(self.norm1(x))[0]))
        return x + self.drop(self.down(F.gelu(self.up(self.norm2(x)))))


class Forecaster(nn.Module):
    """Four measurements an hour; after every hour, the load of the next six."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(4, 20)
        self.blocks = nn.ModuleList([Block(20), Block(20)])
        self.norm = nn.LayerNorm(20)
        self.head = nn.Linear(20, 6)

    def forward(self, series: Tensor) -> Tensor:
        """Return forecasts [B, T, 6] of a series [B, T, 4]."""
        x = self.entry(series)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class DeepAR(nn.Module):
    """Salinas, Flunkert, Gasthaus and Januschowski (2020), "DeepAR", section 3: an LSTM fed with
    the last value and what is known of this hour gives the distribution of the value of this hour.
    """  # noqa: D205

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1 + 2, 20, num_layers=2, batch_first=True, dropout=0.05)
        self.mean = nn.Linear(20, 1)
        self.deviation = nn.Linear(20, 1)

    def forward(self, last: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation [B, T, 1] of last [B, T, 1] and known [B, T, 2]."""
        y, _ = self.lstm(torch.cat([last, known], dim=-1))
        return self.mean(y), F.softplus(self.deviation(y)) + 1e-3


def _over(layer: nn.Module, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """A recurrent layer over whole rows, or over the valid steps of each."""
    if lengths is None:
        y, state = layer(x)
        return y, state
    packed = nn.utils.rnn.pack_padded_sequence(
        x, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    y, state = layer(packed)
    return nn.utils.rnn.pad_packed_sequence(y, batch_first=True)[0], state
