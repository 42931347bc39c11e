"""The models of examples/models: their files, expected values, and PyTorch modules."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import rnnengine as rn

Array = np.ndarray[Any, Any]

HERE = Path(__file__).resolve().parent.parent / "examples" / "models"
PARTS = {
    "crnn": ("crnn", "CRNN", ""),
    "additive_encoder": ("additive", "AdditiveTranslator", "encoder"),
    "additive_decoder": ("additive", "AdditiveTranslator", "decoder"),
    "dot_encoder": ("dot", "DotTranslator", "encoder"),
    "dot_decoder": ("dot", "DotTranslator", "decoder"),
    "forecaster": ("forecaster", "Forecaster", ""),
    "deepar": ("deepar", "DeepAR", ""),
}
"""ONNX files: file of weights, class, submodule."""


def source(name: str) -> ModuleType:
    """A module of the folder, without the clone on the path of imports."""
    known = f"examples_models_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        assert spec and spec.loader
        sys.modules[known] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[known]


def recorded(name: str, kind: str) -> dict[str, Array]:
    """Inputs ``x``, float64 outputs ``y`` or the framework's ``w`` of one file."""
    with np.load(HERE / f"{name}.npz") as file:
        return {key[2:]: file[key] for key in file.files if key[0] == kind}


def whole(weights: str, of: str, *, wide: bool = False) -> Any:
    """A trained PyTorch module, in float64 if ``wide``."""
    import torch

    module = getattr(source("networks"), of)()
    module.load_state_dict(torch.load(HERE / f"{weights}.pt"))
    return (module.double() if wide else module).eval()


def part(name: str, *, wide: bool = False) -> Any:
    """The trained PyTorch module behind an ONNX file."""
    weights, of, inner = PARTS[name]
    module = whole(weights, of, wide=wide)
    return getattr(module, inner) if inner else module


def answers(module: Any, inputs: dict[str, Array]) -> list[Array]:
    """What a module in float64 makes of arrays."""
    import torch

    tensors = [torch.from_numpy(x) for x in inputs.values()]
    with torch.no_grad():
        found = module(*(t.double() if t.is_floating_point() else t for t in tensors))
    return [y.numpy() for y in ([found] if isinstance(found, torch.Tensor) else found)]


def outputs(model: rn.Model, inputs: dict[str, Array], **words: Any) -> list[Array]:
    """Outputs of a model, inputs by position."""
    named = zip(model.inputs, inputs.values(), strict=True)
    found = model.run({info.name: x for info, x in named}, **words)
    return list(found.values()) if isinstance(found, dict) else [found]


def close(found: list[Array], exact: list[Array], steps: int = 50) -> None:
    """The accuracy contract: 2e-6 of max(1, max|y|), 1e-5 of it beyond 50 steps."""
    assert len(found) == len(exact)
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.shape == theirs.shape
        scale = max(1.0, float(np.abs(theirs).max(initial=0.0)))
        bound = (2e-6 if steps <= 50 else 1e-5) * scale
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)
