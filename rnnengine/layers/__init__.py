"""Words that describe a network whose file has weights but no graph.

A description says nothing about values: :func:`rnnengine.load` takes it as ``architecture=`` and
finds the weights of each layer in the checkpoint, by name, or else by order and shape. The
constructor words are those of ``torch.nn``; recurrent layers also take those of Keras. A layer's
``name`` is its path in the checkpoint; layers of a :class:`Sequential` without one are counted from
0, as ``torch.nn.Sequential`` does.

Networks that are no chain are written by calling layers::

    x = rn.Input(("batch", "time", 257))
    y = rn.LSTM(257, 128, batch_first=True, name="encoder")(x)
    mask = rn.Sigmoid()(rn.Linear(128, 257, name="head")(y))
    model = rn.load("weights.pth", architecture=rn.Multiply()(mask, x))

Dropout and its like do nothing at inference, and are accepted so that a description can be copied.
"""

from __future__ import annotations

from rnnengine.layers.base import (
    Architecture,
    Call,
    Input,
    InputLayer,
    Layer,
    Sequential,
    Tensor,
    describe,
)
from rnnengine.layers.plain import (
    ELU,
    GELU,
    SELU,
    Add,
    Concatenate,
    Dense,
    Dropout,
    Elementwise,
    Embedding,
    Hardsigmoid,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Merge,
    Mish,
    Multiply,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
)
from rnnengine.layers.recurrent import (
    GRU,
    LSTM,
    RNN,
    Recurrent,
)
from rnnengine.layers.replacing import LayerCall, Replacement, Value
from rnnengine.layers.windows import (
    AvgPool1d,
    BatchNorm1d,
    BatchNormalization,
    Conv1D,
    Conv1d,
    LayerNorm,
    LayerNormalization,
    MaxPool1d,
    Pool,
    Windowed,
)
from rnnengine.layers.words import (
    cell_activation,
    operator,
)

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "Add",
    "Architecture",
    "AvgPool1d",
    "BatchNorm1d",
    "BatchNormalization",
    "Call",
    "Concatenate",
    "Conv1D",
    "Conv1d",
    "Dense",
    "Dropout",
    "Elementwise",
    "Embedding",
    "Hardsigmoid",
    "Identity",
    "Input",
    "InputLayer",
    "Layer",
    "LayerCall",
    "LayerNorm",
    "LayerNormalization",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "Merge",
    "Mish",
    "Multiply",
    "Pool",
    "ReLU",
    "Recurrent",
    "Replacement",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
    "Tensor",
    "Value",
    "Windowed",
    "cell_activation",
    "describe",
    "operator",
]
