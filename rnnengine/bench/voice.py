"""A voice-activity detector as deployed ones are built, with random weights, as an ONNX file.

Spectra by a convolution, four convolutions, one step of an LSTM, a probability. Two sample rates
share the file: what belongs to each stands in a branch of nested ``If`` nodes, its weights as
Constants among the nodes.
"""

from __future__ import annotations

import argparse
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["HIDDEN", "RATES", "SAMPLES", "Rate", "main", "signal", "vad_bytes"]

HIDDEN = 128
_OPSET = 18


SAMPLES, OVERLAP = 576, 64
"""Samples of a chunk, and how many of them it shares with the one before."""


@dataclass(frozen=True)
class Rate:
    """What differs between sample rates: the window of the spectra, and how far convolutions move.

    Spectra are half a window apart; the strides make one frame of all those of a chunk.
    """

    hertz: int
    window: int
    strides: tuple[int, int, int, int]


RATES = {16000: Rate(16000, 256, (1, 2, 2, 1)), 8000: Rate(8000, 128, (2, 2, 2, 1))}


def signal(rate: int, chunks: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise and tones that come and go, float32 [chunks, 576], chunks overlapping."""
    hop = SAMPLES - OVERLAP
    rng = np.random.default_rng(seed)
    t = np.arange(hop * (chunks + 1)) / rate
    loud = np.clip(np.sin(2 * np.pi * 0.7 * t), 0, None) ** 2
    tones = sum(np.sin(2 * np.pi * f * t + f) / f for f in (140, 280, 560, 1130, 2260))
    sound = 60 * loud * tones + 0.05 * rng.standard_normal(len(t))
    starts = hop * np.arange(chunks)[:, None]
    return np.asarray(sound[starts + np.arange(SAMPLES)], np.float32)


def _network(rate: Rate, cell: str) -> Any:
    """The network at one rate as a torch module: chunk [N, 576], state [2, N, 128]."""
    import torch
    from torch import nn

    bins = rate.window // 2 + 1
    angle = 2 * np.pi * np.outer(np.arange(bins), np.arange(rate.window)) / rate.window
    window = np.sin(np.pi * np.arange(rate.window) / rate.window) ** 2
    basis = np.concatenate([np.cos(angle), -np.sin(angle)]) * window

    class Network(nn.Module):  # type: ignore[misc]  # untyped where torch is absent
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("basis", torch.tensor(basis[:, None], dtype=torch.float32))
            channels = (bins, 128, 64, 64, HIDDEN)
            self.encoder = nn.Sequential(
                *(
                    layer
                    for c, m, stride in zip(channels, channels[1:], rate.strides, strict=False)
                    for layer in (nn.Conv1d(c, m, 3, stride, padding=1), nn.ReLU())
                )
            )
            steps = {"LSTM": nn.LSTM, "LSTMCell": nn.LSTMCell}
            self.rnn = steps[cell](HIDDEN, HIDDEN)
            self.decoder = nn.Conv1d(HIDDEN, 1, 1)
            for layer in self.encoder[::2]:
                nn.init.kaiming_normal_(layer.weight)
            for parameter in self.rnn.parameters():
                nn.init.uniform_(parameter, -0.25, 0.25)
            nn.init.normal_(self.decoder.weight)

        def forward(self, x: Any, state: Any) -> tuple[Any, Any]:
            x = nn.functional.pad(x, (0, rate.window // 4), mode="reflect")
            spectra = nn.functional.conv1d(x[:, None], self.basis, stride=rate.window // 2)
            re, im = spectra[:, :bins], spectra[:, bins:]
            x = self.encoder(torch.sqrt(re * re + im * im))[:, :, 0]
            if cell == "LSTMCell":
                h, c = self.rnn(x, (state[0], state[1]))
            else:
                _, (h, c) = self.rnn(x[None], (state[:1], state[1:]))
                h, c = h[0], c[0]
            y = torch.sigmoid(self.decoder(torch.relu(h)[:, :, None]))
            return y[:, 0], torch.stack([h, c])

    return Network()


def _exported(rate: Rate, cell: str, seed: int) -> Any:
    """The graph of one rate as torch exports it: by tracing, or, for the cell, by torch.export."""
    import onnx
    import torch

    torch.manual_seed(seed)
    network = _network(rate, cell).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of themselves
        torch.onnx.export(
            network,
            (torch.zeros(1, SAMPLES), torch.zeros(2, 1, HIDDEN)),
            file,
            input_names=["x", "state"],
            output_names=["probability", "next"],
            dynamo=cell == "LSTMCell",
            opset_version=_OPSET,
            verbose=False,
        )
    file.seek(0)
    return onnx.load(file)


def _branch(rate: Rate, cell: str, seed: int) -> Any:
    """The graph of one rate as a branch: constants among its nodes, names of its own."""
    from onnx import compose, helper

    model = _exported(rate, cell, seed)
    graph = compose.add_prefix(model, f"r{rate.hertz}/").graph
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in graph.initializer]
    chunk, state = (value.name for value in graph.input)
    nodes = [
        *constants,
        *_chunk_with_rows("x", chunk),
        helper.make_node("Identity", ["state"], [state]),
    ]
    return helper.make_graph([*nodes, *graph.node], f"at {rate.hertz} Hz", [], graph.output)


def _chunk_with_rows(x: str, rows: str) -> list[Any]:
    """An If on the rank of x, as scripted modules have it: without rows it gets an axis of them."""
    from onnx import TensorProto, helper

    def made(name: str) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)]

    axis = helper.make_node("Constant", [], [f"{rows}/axis"], value_ints=[0])
    unsqueeze = helper.make_node("Unsqueeze", [x, f"{rows}/axis"], [f"{rows}/made"])
    kept = helper.make_node("Identity", [x], [f"{rows}/kept"])
    return [
        helper.make_node("Shape", [x], [f"{rows}/shape"]),
        helper.make_node("Size", [f"{rows}/shape"], [f"{rows}/rank"]),
        helper.make_node("Constant", [], [f"{rows}/one"], value_int=1),
        helper.make_node("Equal", [f"{rows}/rank", f"{rows}/one"], [f"{rows}/flat"]),
        helper.make_node(
            "If",
            [f"{rows}/flat"],
            [rows],
            then_branch=helper.make_graph([axis, unsqueeze], "a chunk", [], made(f"{rows}/made")),
            else_branch=helper.make_graph([kept], "rows of chunks", [], made(f"{rows}/kept")),
        ),
    ]


def _choice(hertz: int, then: Any, otherwise: Any) -> Any:
    """A graph that is ``then`` if the input ``sr`` is ``hertz``, else ``otherwise``."""
    from onnx import TensorProto, helper

    names = [f"is{hertz}/probability", f"is{hertz}/next"]
    return helper.make_graph(
        [
            helper.make_node("Constant", [], [f"is{hertz}/rate"], value_int=hertz),
            helper.make_node("Equal", ["sr", f"is{hertz}/rate"], [f"is{hertz}/known"]),
            helper.make_node(
                "If", [f"is{hertz}/known"], names, then_branch=then, else_branch=otherwise
            ),
        ],
        f"is it {hertz} Hz",
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
    )


def _silence() -> Any:
    """What another rate gives: probability 0, the state as it was."""
    from onnx import TensorProto, helper, numpy_helper

    zero = numpy_helper.from_array(np.zeros((1, 1), np.float32))
    names = ["unknown/probability", "unknown/next"]
    return helper.make_graph(
        [
            helper.make_node("Constant", [], names[:1], value=zero),
            helper.make_node("Identity", ["state"], names[1:]),
        ],
        "at another rate",
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
    )


def vad_bytes(cell: str = "LSTM", seed: int = 0) -> bytes:
    """Write the detector with torch and onnx.

    Parameters
    ----------
    cell : {"LSTM", "LSTMCell"}
        Whether the recurrent step is an LSTM node, or written out in products and activations.
        The weights are the same.
    seed : int
        Of the weights.

    Returns
    -------
    bytes
        A ModelProto: ``x`` float32 [1, 576], ``state`` float32 [2, 1, 128] (h, then c) and ``sr``
        int64 [] -> ``probability`` [1, 1] and ``next``, the state of the next call.
    """
    from onnx import TensorProto, helper

    branches = {hertz: _branch(rate, cell, seed) for hertz, rate in RATES.items()}
    inner = _choice(8000, branches[8000], _silence())
    graph = _choice(16000, branches[16000], inner)
    graph.name = "voice activity"
    for i, name in enumerate(["probability", "next"]):
        graph.node[-1].output[i] = graph.output[i].name = name
    state = [2, 1, HIDDEN]
    graph.input.extend(
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, SAMPLES]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, state),
            helper.make_tensor_value_info("sr", TensorProto.INT64, []),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1, 1]),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, state),
        ]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 8
    content: bytes = model.SerializeToString()
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the detector to a file; return the exit code."""
    parser = argparse.ArgumentParser(prog="make_vad", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--cell", choices=["LSTM", "LSTMCell"], default="LSTM")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.file.write_bytes(vad_bytes(options.cell, options.seed))
    return 0
