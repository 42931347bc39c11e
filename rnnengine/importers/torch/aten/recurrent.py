"""Recurrent layers and cells of ATen, kept whole.

``rnnengine::lstm`` and its kin are the same calls under a name of the engine's own; see
:mod:`rnnengine.importers.torch.live`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnengine.errors import ModelFormatError, UnsupportedModelError
from rnnengine.graph import Size
from rnnengine.importers.torch.aten.call import Call, aten
from rnnengine.importers.weights import Group, misfit
from rnnengine.layers import GRU, LSTM, RNN, Recurrent

__all__: list[str] = []

Array = np.ndarray[Any, Any]

_LEAVES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _layer(kind: str, words: dict[str, Any]) -> Recurrent:
    if kind == "lstm":
        return LSTM(**words)
    if kind == "gru":
        return GRU(**words)
    return RNN(**words, nonlinearity=kind.removeprefix("rnn_"))


def _path(call: Call, weight: str) -> str:
    """Path of the module that a weight belongs to; the call's own name where that is not known."""
    found = call.builder.paths.get(weight)
    return call.node.name if found is None else found.rpartition(".")[0]


def _group(call: Call, path: str, names: list[str], values: list[str]) -> Group:
    arrays = [call.array(v, f"weight {n!r}") for n, v in zip(names, values, strict=True)]
    return Group(path, dict(zip(names, arrays, strict=True)))


def _checked(call: Call, layer: Recurrent, group: Group) -> None:
    reason = misfit(layer, group)
    if reason is not None:
        raise ModelFormatError(f"{call.where}: {reason}")


def _check_state(call: Call, layer: Recurrent, states: list[str], batch: Size, lead: int) -> None:
    """Initial states must have the shape [layers * directions, batch, width]."""
    for i, state in enumerate(states):
        wanted = (lead, batch, layer.width if i == 0 else layer.hidden)
        found = call.type(state).shape
        if found != wanted:
            shown = ", ".join(map(str, wanted))
            raise ModelFormatError(
                f"{call.where}: initial state {i} has shape {list(found)}; expected [{shown}]"
            )


@aten(
    "lstm.input", "gru.input", "rnn_tanh.input", "rnn_relu.input",
    "rnnengine.lstm.default", "rnnengine.gru.default", "rnnengine.rnn_tanh.default",
    "rnnengine.rnn_relu.default",
)  # fmt: skip
def _recurrent(call: Call) -> list[str]:
    kind = call.target.split(".")[1]
    x = call.tensor("input")
    states = call.tensors("hx") if kind == "lstm" else [call.tensor("hx")]
    params = call.tensors("params")
    bias, layers = call.flag("has_biases"), call.integer("num_layers")
    dropout, train = call.number("dropout", 0.0), call.flag("train")
    if train and dropout and layers > 1:
        raise UnsupportedModelError(
            f"{call.where}: argument 'train' is True with dropout {dropout}; accepted: False. Call "
            ".eval() on the module before exporting"
        )
    bidirectional, batch_first = call.flag("bidirectional"), call.flag("batch_first")
    ends = ["", "_reverse"][: 2 if bidirectional else 1]
    leaves = [*(_LEAVES if bias else _LEAVES[:2])]
    places = layers * len(ends)
    if layers < 1 or places > len(params) or len(params) not in (
        places * len(leaves), places * (len(leaves) + 1)
    ):  # fmt: skip
        raise ModelFormatError(
            f"{call.where}: argument 'params' has {len(params)} tensors; expected {len(leaves)} "
            f"for each of {places} layers and directions, one more with a projection"
        )
    if len(params) == places * (len(leaves) + 1):
        leaves.append("weight_hr")
    names = [f"{leaf}_l{k}{end}" for k in range(layers) for end in ends for leaf in leaves]
    path = _path(call, params[0])
    group = _group(call, path, names, params)
    rows, columns = group.tensors["weight_ih_l0"].shape, group.tensors["weight_hh_l0"].shape
    projected = kind == "lstm" and "weight_hr_l0" in group.tensors
    words: dict[str, Any] = {
        "input_size": rows[-1],
        "hidden_size": group.tensors["weight_hr_l0"].shape[-1] if projected else columns[-1],
        "num_layers": layers,
        "bias": bias,
        "batch_first": batch_first,
        "bidirectional": bidirectional,
    }
    if projected:
        words["proj_size"] = columns[-1]
    layer = _layer(kind, words)
    _checked(call, layer, group)
    shape = call.type(x).shape
    if len(shape) != 3:
        raise ModelFormatError(f"{call.where}: its input is {call.type(x)}; expected 3 axes")
    _check_state(call, layer, states, shape[0 if batch_first else 1], places)
    made = call.builder.recurrent(layer, path or kind, [x, *states], group)
    for word, value in made.items():
        call.builder.words.setdefault(value, f"{path}.{word}" if path else word)
    return list(made.values())


@aten("lstm_cell.default", "gru_cell.default", "rnn_tanh_cell.default", "rnn_relu_cell.default")
def _cell(call: Call) -> list[str]:
    """A cell is a layer over one step."""
    kind = call.target.split(".")[1].removesuffix("_cell")
    x = call.tensor("input")
    states = call.tensors("hx") if kind == "lstm" else [call.tensor("hx")]
    weights = [call.tensor("w_ih"), call.tensor("w_hh")]
    biases = [call.optional("b_ih"), call.optional("b_hh")]
    given = [b for b in biases if b is not None]
    if len(given) == 1:
        raise UnsupportedModelError(f"{call.where}: it has one bias; accepted: both or none")
    path = _path(call, weights[0])
    group = _group(call, path, list(_LEAVES[: 2 + len(given)]), [*weights, *given])
    sizes = [group.tensors[leaf].shape[-1] for leaf in _LEAVES[:2]]
    words = {"input_size": sizes[0], "hidden_size": sizes[1], "bias": bool(given)}
    layer = _layer(kind, words)
    _checked(call, layer, group)
    if call.type(x).rank != 2:
        raise ModelFormatError(f"{call.where}: its input is {call.type(x)}; expected 2 axes")
    step = [call.one("Unsqueeze", [value], {"axes": (0,)}) for value in (x, *states)]
    _check_state(call, layer, step[1:], call.type(x).shape[0], 1)
    made = call.builder.recurrent(layer, path or kind, step, group)
    finals = [v for word, v in made.items() if word != "output"]
    return [call.one("Squeeze", [value], {"axes": (0,)}) for value in finals]


@aten("lstm.data", "gru.data", "rnn_tanh.data", "rnn_relu.data", "_pack_padded_sequence.default")
def _packed(call: Call) -> list[str]:
    raise UnsupportedModelError(
        f"{call.where}: packed sequences are not supported in a graph; export the module without "
        "packing and give the lengths to run(..., lengths=)"
    )
