"""PyTorch: nn.LSTM, nn.GRU and nn.RNN, eager and compiled; the first two in dynamic int8."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from rnnengine.bench.cases import Array, LayerCase
from rnnengine.bench.peers.base import STEPS_COMPARED, Loop, Prepared

__all__ = ["prepare", "prepare_int8"]

ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Where torch's gates (i f g o; r z n) stand in ONNX's order (i o f c; z r h)."""


def prepare(case: LayerCase) -> Prepared:
    """Inference mode; compiled too, where the compiler takes the module."""
    import torch

    torch.set_num_threads(case.threads)
    module = _module(case)
    x = torch.from_numpy(case.input())
    output = _output(case, module)
    ways: dict[str, Loop] = {"eager": _loop(case, module, x)}
    compiled = torch.compile(module)
    try:
        _loop(case, compiled, x)(2)
    except Exception:  # no compiler for it on this machine: eager stands alone
        return Prepared(output, ways)
    ways["compiled"] = _loop(case, compiled, x)
    return Prepared(output, ways)


def prepare_int8(case: LayerCase) -> Prepared:
    """The quantised modules that ``quantize_dynamic`` makes, eager: no compiler takes them."""
    import torch
    from torch.ao.quantization import quantize_dynamic

    torch.set_num_threads(case.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and what replaces it has no LSTM
        whole = torch.nn.Sequential(_module(case))
        module = quantize_dynamic(whole, {type(whole[0])}, dtype=torch.qint8)[0]
    eager = _loop(case, module, torch.from_numpy(case.input()))
    return Prepared(_output(case, module), {"eager": eager})


def _output(case: LayerCase, module: Any) -> Array:
    import torch

    x = torch.from_numpy(case.input())
    starts = [torch.from_numpy(start) for start in case.initial().values()]
    state = tuple(starts) if len(starts) > 1 else starts[0] if starts else None
    with torch.inference_mode():
        if case.carries_state:
            return _steps(module, x)
        y: Array = module(x, state)[0].numpy().copy()
    return y


def _module(case: LayerCase) -> Any:
    import torch

    make: Callable[..., Any] = getattr(torch.nn, case.cell)
    module = make(
        case.widths()[0], case.hidden, num_layers=case.layers, bidirectional=case.directions == 2
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
