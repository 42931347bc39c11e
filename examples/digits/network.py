"""The network that the weights in digits.pt belong to, as the conversion is told."""

from __future__ import annotations

import rnnengine as rn

architecture = rn.Sequential(
    rn.LSTM(8, 64, batch_first=True, name="lstm"), rn.Linear(64, 10, name="linear"), rn.Softmax()
)
