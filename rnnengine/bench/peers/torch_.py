"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from rnnengine.bench.cases import Array, LayerCase
from rnnengine.bench.peers.base import STEPS_COMPARED, Loop, Prepared

__all__ = ["prepare"]

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where torch's gates (i f g o; r z n) stand in ONNX's order (i o f c; z r h)."""


def prepare(case: LayerCase) -> Prepared:
    """Inference mode; compiled too, where the compiler takes the module."""
    import torch

    torch.set_num_threads(case.threads)
    module = _module(case)
    x = torch.from_numpy(case.input())
    with torch.inference_mode():
        output = _steps(module, x) if case.carries_state else module(x)[0].numpy().copy()
    ways: dict[str, Loop] = {"eager": _loop(case, module, x)}
    compiled = torch.compile(module)
    try:
        _loop(case, compiled, x)(2)
    except Exception:  # no compiler for it on this machine: eager stands alone
        return Prepared(output, ways)
    ways["compiled"] = _loop(case, compiled, x)
    return Prepared(output, ways)


def _module(case: LayerCase) -> Any:
    import torch

    make: Callable[..., Any] = getattr(torch.nn, case.cell)
    module = make(
        case.hidden, case.hidden, num_layers=case.layers, bidirectional=case.directions == 2
    ).eval()
    for layer in range(case.layers):
        weights = case.weights(layer)
        b_w, b_r = np.split(weights["B"], 2, axis=1)
        arrays = {"weight_ih": weights["W"], "weight_hh": weights["R"], "bias_ih": b_w}
        arrays["bias_hh"] = b_r
        for name, array in arrays.items():
            for side, suffix in enumerate(("", "_reverse")[: case.directions]):
                gates = np.split(array[side], case.gates)
                ordered = np.concatenate([gates[g] for g in ORDER[case.cell]])
                getattr(module, f"{name}_l{layer}{suffix}").data = torch.from_numpy(ordered)
    module.flatten_parameters()
    return module


def _steps(module: Any, x: Any) -> Array:
    """The first steps of a stream, [STEPS_COMPARED, H]."""
    state, rows = None, []
    for _ in range(STEPS_COMPARED):
        y, state = module(x, state)
        rows.append(y[0, 0].numpy().copy())
    return np.stack(rows)


def _loop(case: LayerCase, module: Any, x: Any) -> Loop:
    import torch

    def run(count: int) -> None:
        with torch.inference_mode():
            for _ in repeat(None, count):
                module(x)

    def step(count: int) -> None:
        with torch.inference_mode():
            _, state = module(x)
            for _ in repeat(None, count):
                _, state = module(x, state)

    return step if case.carries_state else run
