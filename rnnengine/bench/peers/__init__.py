"""The engines under measurement, each called in the fastest ways its public interface offers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rnnengine.bench.cases import Case, LayerCase, ModelCase
from rnnengine.bench.peers import models, onnxruntime_, openvino_, own, torch_
from rnnengine.bench.peers.base import Prepared

__all__ = [
    "COMPUTE_TYPES",
    "ENGINES",
    "LOW_PEERS",
    "MODEL_ENGINES",
    "OWN",
    "PEERS",
    "own_name",
    "prepare_case",
    "takes",
]

COMPUTE_TYPES = ("bfloat16", "float16", "int8", "int8_fast", "auto")
"""What this engine can store weights as, beside float32."""

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

LOW_PEERS: dict[str, Callable[[LayerCase], Prepared]] = {
    "onnxruntime, int8": onnxruntime_.prepare_int8,
    "openvino, bfloat16": openvino_.prepare_bfloat16,
    "torch, int8": torch_.prepare_int8,
}
"""The others with fewer bytes a weight."""

_LOW_CELLS = {"onnxruntime, int8": ("LSTM",), "torch, int8": ("LSTM", "GRU")}


def own_name(compute_type: str) -> str:
    """Name of this engine, with weights of a compute type, among the engines."""
    return "rnnengine" if compute_type == "float32" else f"rnnengine, {compute_type}"


ENGINES = (
    OWN
    | {own_name(kind): partial(own.prepare_as, kind) for kind in COMPUTE_TYPES}
    | PEERS
    | LOW_PEERS
)

MODEL_ENGINES: dict[str, Callable[[ModelCase], Prepared]] = {
    "rnnengine": models.prepare_own,
    "onnxruntime": models.prepare_onnxruntime,
}
"""Those that open whole models."""


def takes(engine: str, case: LayerCase) -> bool:
    """Whether an engine has something for the case."""
    if engine == "rnnengine, 1 thread":
        return case.threads > 1
    if engine == "rnnengine, avx2":
        return case.batch == 1 and case.threads == 1
    return case.cell in _LOW_CELLS.get(engine, (case.cell,))


def prepare_case(engine: str, case: Case) -> Prepared:
    """Make a case ready in an engine."""
    return ENGINES[engine](case) if isinstance(case, LayerCase) else MODEL_ENGINES[engine](case)
