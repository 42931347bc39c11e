"""The engines under measurement, each called in the fastest ways its public interface offers."""

from __future__ import annotations

from collections.abc import Callable

from rnnengine.bench.cases import Case, LayerCase, ModelCase
from rnnengine.bench.peers import models, onnxruntime_, openvino_, own, torch_
from rnnengine.bench.peers.base import Prepared

__all__ = ["ENGINES", "MODEL_ENGINES", "OWN", "PEERS", "prepare_case"]

OWN: dict[str, Callable[[LayerCase], Prepared]] = {
    "rnnengine": own.prepare,
    "rnnengine, 1 thread": own.prepare_alone,
    "rnnengine, avx2": own.prepare_avx2,
}
"""This engine: as the case says, and in two ways for comparison with itself."""

PEERS: dict[str, Callable[[LayerCase], Prepared]] = {
    "onnxruntime": onnxruntime_.prepare,
    "openvino": openvino_.prepare,
    "torch": torch_.prepare,
}
"""The others; the modules import them when they are asked for a case."""

ENGINES = OWN | PEERS

MODEL_ENGINES: dict[str, Callable[[ModelCase], Prepared]] = {
    "rnnengine": models.prepare_own,
    "onnxruntime": models.prepare_onnxruntime,
}
"""Those that open whole models."""


def prepare_case(engine: str, case: Case) -> Prepared:
    """Make a case ready in an engine."""
    return ENGINES[engine](case) if isinstance(case, LayerCase) else MODEL_ENGINES[engine](case)
